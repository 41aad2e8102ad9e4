#include "tools/workspace.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "tools/base64.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum { MAX_FILES = 1000, MAX_PATH_BYTES = 1024, MAX_ARTIFACTS = 100, MAX_DEPTH = 16 };
enum { MAX_ARTIFACT_BYTES = 32 << 20 };

/* The path within the folder; NULL for one that is none. */
static const char *within(const char *path) {
    size_t length = strlen(WORKSPACE_GUEST_PATH);
    if (strncmp(path, WORKSPACE_GUEST_PATH "/", length + 1) == 0) path += length + 1;
    if (path[0] == 0 || path[0] == '/' || strlen(path) >= MAX_PATH_BYTES) return NULL;
    for (const char *at = path; *at != 0;) { /* no part is empty, "." or ".." */
        size_t part = strcspn(at, "/");
        if (part == 0 || (part == 1 && at[0] == '.') || (part == 2 && at[0] == '.' && at[1] == '.'))
            return NULL;
        at += part;
        if (*at == '/' && *++at == 0) return NULL;
    }
    return path;
}

/* Beneath `dir`, whatever it is that stands on the way. */
static int open_beneath(int dir, const char *path, uint64_t flags) {
    const struct open_how how = {.flags = flags | O_CLOEXEC,
                                 .mode = (flags & O_CREAT) != 0 ? 0644 : 0,
                                 .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
    int fd = (int)syscall(SYS_openat2, dir, path, &how, sizeof how);
    return fd >= 0 ? fd : -errno;
}

static int make_parents(int dir, const char *path) {
    char part[MAX_PATH_BYTES];
    for (const char *slash = strchr(path, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        (void)snprintf(part, sizeof part, "%.*s", (int)(slash - path), path);
        if (mkdirat(dir, part, 0755) != 0 && errno != EEXIST) return -errno;
    }
    return 0;
}

/* A file's bytes from its value in the request. */
static int bytes_of(const char *name, const json_t *value, struct buffer *bytes,
                    struct error *err) {
    const char *text = json_string_value(value);
    const json_t *encoded = json_object_get(value, "base64");
    if (text != NULL) {
        return buffer_append(bytes, text, json_string_length(value)) == 0
                   ? 0
                   : error_set(err, PA_INTERNAL, "files: out of memory");
    }
    if (!json_is_string(encoded) || json_object_size(value) != 1) {
        return error_set(err, PA_INVALID_ARGUMENT,
                         "files.%.100s: must be a string, or {\"base64\": STRING}", name);
    }
    size_t length = json_string_length(encoded), wrong;
    bytes->data = malloc(length / 4 * 3 + 3);
    if (bytes->data == NULL) return error_set(err, PA_INTERNAL, "files: out of memory");
    bytes->capacity = length / 4 * 3 + 3;
    ptrdiff_t size = base64_decode(json_string_value(encoded), length, bytes->data, &wrong);
    if (size < 0) {
        return error_set(err, PA_INVALID_ARGUMENT, "files.%.100s: not base64, at character %zu",
                         name, wrong);
    }
    bytes->size = (size_t)size;
    return 0;
}

static int put(int dir, const char *name, const json_t *value, struct error *err) {
    struct buffer bytes = {0};
    const char *path = within(name);
    if (path == NULL) {
        return error_set(err, PA_INVALID_ARGUMENT,
                         "files.%.100s: is no path beneath " WORKSPACE_GUEST_PATH, name);
    }
    int result = bytes_of(name, value, &bytes, err);
    if (result == 0) {
        result = make_parents(dir, path);
        _cleanup_(fd_closep) int fd =
            result == 0 ? open_beneath(dir, path, O_WRONLY | O_CREAT | O_EXCL) : result;
        if (result == 0) result = fd < 0 ? fd : fd_write_all(fd, bytes.data, bytes.size);
        if (result == -EEXIST || result == -ENOTDIR || result == -EISDIR) {
            error_set(err, PA_INVALID_ARGUMENT, "files.%.100s: stands in the way of another", name);
        } else if (result != 0) {
            error_set_errno(err, PA_INTERNAL, -result, "files.%.100s", name);
        }
    }
    buffer_fini(&bytes);
    return result == 0 ? 0 : -1;
}

/* A folder within the run's, with files in it. */
static int fill(const char *path, const json_t *files, struct error *err) {
    const char *name;
    json_t *value;
    if (mkdir(path, 0755) != 0) return error_set_errno(err, PA_INTERNAL, errno, "make %s", path);
    _cleanup_(fd_closep) int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) return error_set_errno(err, PA_INTERNAL, errno, "files: %s", path);
    json_object_foreach((json_t *)(uintptr_t)files, name, value) {
        if (put(dir, name, value, err) != 0) return -1;
    }
    return 0;
}

int workspace_make(struct workspace *w, const json_t *files, bool output, struct error *err) {
    const char *temp = getenv("TMPDIR");
    int result = 0;
    *w = (struct workspace){.path = NULL};
    if (temp == NULL) temp = "/tmp";
    if (json_object_size(files) > MAX_FILES)
        return error_set(err, PA_INVALID_ARGUMENT, "files: at most %d", MAX_FILES);
    if (strlen(temp) > sizeof w->output - 64)
        return error_set(err, PA_INVALID_ARGUMENT, "TMPDIR: the path is too long");
    if (asprintf(&w->path, "%s/polyagent-run-XXXXXX", temp) < 0) {
        w->path = NULL;
        return error_set(err, PA_INTERNAL, "files: out of memory");
    }
    if (mkdtemp(w->path) == NULL) {
        error_set_errno(err, PA_INTERNAL, errno, "files: make a folder %s", w->path);
        free(steal_ptr(w->path));
        return -1;
    }
    if (files != NULL) {
        (void)snprintf(w->workspace, sizeof w->workspace, "%.480s%s", w->path,
                       WORKSPACE_GUEST_PATH);
        result = fill(w->workspace, files, err);
    }
    if (output && result == 0) {
        (void)snprintf(w->output, sizeof w->output, "%.480s%s", w->path, OUTPUT_GUEST_PATH);
        result = fill(w->output, NULL, err);
    }
    if (result != 0) workspace_remove(w);
    return result;
}

size_t workspace_mounts(const struct workspace *w, struct pa_mount mounts[WORKSPACE_FOLDERS]) {
    size_t count = 0;
    if (w->workspace[0] != 0)
        mounts[count++] = (struct pa_mount){
            .host_path = w->workspace, .guest_path = WORKSPACE_GUEST_PATH, .writable = true};
    if (w->output[0] != 0)
        mounts[count++] = (struct pa_mount){
            .host_path = w->output, .guest_path = OUTPUT_GUEST_PATH, .writable = true};
    return count;
}

/* By the name's ending; what programs leave most. */
static const char *mime_of(const char *name) {
    static const char *const known[][2] = {
        {".png", "image/png"},       {".jpg", "image/jpeg"},     {".jpeg", "image/jpeg"},
        {".gif", "image/gif"},       {".svg", "image/svg+xml"},  {".webp", "image/webp"},
        {".pdf", "application/pdf"}, {".csv", "text/csv"},       {".txt", "text/plain"},
        {".html", "text/html"},      {".md", "text/markdown"},   {".json", "application/json"},
        {".zip", "application/zip"}, {".xml", "application/xml"}};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot != NULL && i < sizeof known / sizeof *known; i++)
        if (strcasecmp(dot, known[i][0]) == 0) return known[i][1];
    return "application/octet-stream";
}

struct artifacts {
    json_t *list;
    int dir;
    size_t bytes;
    bool truncated;
};

/* A file that the run has made: a regular one, or it does not count. */
static int add_artifact(struct artifacts *a, const char *name) {
    struct stat st;
    struct buffer bytes = {0};
    _cleanup_(fd_closep) int fd = open_beneath(a->dir, name, O_RDONLY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) return 0;
    if (json_array_size(a->list) == MAX_ARTIFACTS || st.st_size > MAX_ARTIFACT_BYTES ||
        a->bytes + (size_t)st.st_size > MAX_ARTIFACT_BYTES ||
        buffer_read_fd(&bytes, fd, (size_t)st.st_size) != 0) {
        buffer_fini(&bytes);
        a->truncated = true;
        return 0;
    }
    a->bytes += bytes.size;
    char *encoded = base64_encode(bytes.data, bytes.size);
    json_t *name_text = json_string(name); /* NULL: no UTF-8 */
    json_t *entry = NULL;
    if (encoded != NULL && name_text != NULL) {
        entry = json_pack("{s:O, s:s, s:s}", "name", name_text, "mime", mime_of(name),
                          "bytes_base64", encoded);
    }
    a->truncated = a->truncated || name_text == NULL;
    int result = name_text == NULL || (entry != NULL && json_array_append(a->list, entry) == 0);
    json_decref(entry);
    json_decref(name_text);
    free(encoded);
    buffer_fini(&bytes);
    return result != 0 ? 0 : -1;
}

/* All of a folder, in the order of the names. `prefix` is "" or ends with a slash. */
static int add_folder(struct artifacts *a, const char *prefix, unsigned depth) {
    struct dirent **entries = NULL;
    char name[MAX_PATH_BYTES];
    int result = 0;
    int fd = open_beneath(a->dir, prefix[0] != 0 ? prefix : ".", O_RDONLY | O_DIRECTORY);
    if (fd < 0) return 0;
    int count = scandirat(fd, ".", &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        const char *entry = entries[i]->d_name;
        bool dots = strcmp(entry, ".") == 0 || strcmp(entry, "..") == 0;
        int length = snprintf(name, sizeof name - 1, "%s%s", prefix, entry);
        if (result == 0 && !dots && length < (int)sizeof name - 1) {
            if (entries[i]->d_type == DT_REG) {
                result = add_artifact(a, name);
            } else if (entries[i]->d_type == DT_DIR && depth < MAX_DEPTH) {
                (void)strcpy(name + length, "/");
                result = add_folder(a, name, depth + 1);
            }
        }
        free(entries[i]);
    }
    free(entries);
    (void)close(fd);
    return result;
}

int workspace_add_artifacts(const struct workspace *w, json_t *result) {
    if (w->output[0] == 0) return 0;
    struct artifacts a = {.list = json_array(),
                          .dir = open(w->output, O_PATH | O_DIRECTORY | O_CLOEXEC)};
    int done = a.list != NULL && a.dir >= 0 ? add_folder(&a, "", 0) : -1;
    json_t *others = json_object_get(result, "artifacts"); /* of the answer */
    if (done == 0 && json_array_size(a.list) > 0)
        done = others != NULL ? json_array_extend(others, a.list)
                              : json_object_set(result, "artifacts", a.list);
    if (done == 0 && a.truncated)
        done = json_object_set_new(result, "artifacts_truncated", json_true());
    json_decref(a.list);
    fd_closep(&a.dir);
    return done;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *place) {
    (void)st;
    (void)place;
    return kind == FTW_DP ? rmdir(path) : unlink(path);
}

void workspace_remove(struct workspace *w) {
    if (w->path == NULL) return;
    /* FTW_PHYS: what a run has linked to is not followed; FTW_MOUNT: nor what is mounted. */
    if (nftw(w->path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) != 0) {
        log_event(LOG_ERROR, "tools", "a run's folder cannot be removed", {"path", w->path, 0},
                  {"error", strerror(errno), 0});
    }
    free(w->path);
    *w = (struct workspace){.path = NULL};
}

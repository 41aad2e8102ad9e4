#include "tools/folder.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "tools/base64.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum { MAX_FILES = 1000, COPY_BYTES = 16 << 20 };

const char *folder_path(const char *path) {
    size_t length = strlen(WORKSPACE_GUEST_PATH);
    if (strncmp(path, WORKSPACE_GUEST_PATH "/", length + 1) == 0) path += length + 1;
    if (path[0] == 0 || path[0] == '/' || strlen(path) >= FOLDER_MAX_PATH_BYTES) return NULL;
    for (const char *at = path; *at != 0;) { /* no part is empty, "." or ".." */
        size_t part = strcspn(at, "/");
        if (part == 0 || (part == 1 && at[0] == '.') || (part == 2 && at[0] == '.' && at[1] == '.'))
            return NULL;
        at += part;
        if (*at == '/' && *++at == 0) return NULL;
    }
    return path;
}

int folder_open(int dir, const char *path, uint64_t flags) {
    const struct open_how how = {.flags = flags | O_CLOEXEC,
                                 .mode = (flags & O_CREAT) != 0 ? 0644 : 0,
                                 .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
    int fd = (int)syscall(SYS_openat2, dir, path, &how, sizeof how);
    return fd >= 0 ? fd : -errno;
}

/* The folder that a name lies in, made where it is not there; `leaf` is the rest of the name. */
static int open_parent(int dir, const char *path, const char **leaf) {
    char part[FOLDER_MAX_PATH_BYTES];
    int parent = folder_open(dir, ".", O_PATH | O_DIRECTORY);
    *leaf = path;
    for (const char *slash = strchr(path, '/'); slash != NULL && parent >= 0;
         slash = strchr(*leaf, '/')) {
        (void)snprintf(part, sizeof part, "%.*s", (int)(slash - *leaf), *leaf);
        int next = mkdirat(parent, part, 0755) == 0 || errno == EEXIST
                       ? folder_open(parent, part, O_PATH | O_DIRECTORY)
                       : -errno;
        (void)close(parent);
        parent = next;
        *leaf = slash + 1;
    }
    return parent;
}

int folder_bytes(const char *name, const json_t *value, struct buffer *bytes, struct error *err) {
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

int folder_write(int dir, const char *name, const struct buffer *bytes, bool replace,
                 struct error *err) {
    struct stat st;
    const char *path = folder_path(name), *leaf;
    if (path == NULL) {
        return error_set(err, PA_INVALID_ARGUMENT,
                         "files.%.100s: is no path beneath " WORKSPACE_GUEST_PATH, name);
    }
    _cleanup_(fd_closep) int parent = open_parent(dir, path, &leaf);
    int result = parent < 0 ? parent : 0;
    /* What is there may be open in a guest, or a link: it goes, and a new file takes its place. */
    if (result == 0 && replace && fstatat(parent, leaf, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        !S_ISDIR(st.st_mode) && unlinkat(parent, leaf, 0) != 0) {
        result = -errno;
    }
    _cleanup_(fd_closep) int fd =
        result == 0 ? folder_open(parent, leaf, O_WRONLY | O_CREAT | O_EXCL) : result;
    if (result == 0) result = fd < 0 ? fd : fd_write_all(fd, bytes->data, bytes->size);
    if (result == 0) return 0;
    if (result == -EEXIST || result == -ENOTDIR || result == -EISDIR || result == -ELOOP)
        return error_set(err, PA_INVALID_ARGUMENT, "files.%.100s: stands in the way of another",
                         name);
    return error_set_errno(err, PA_INTERNAL, -result, "files.%.100s", name);
}

int folder_fill(int dir, const json_t *files, bool replace, struct error *err) {
    const char *name;
    json_t *value;
    if (json_object_size(files) > MAX_FILES)
        return error_set(err, PA_INVALID_ARGUMENT, "files: at most %d", MAX_FILES);
    json_object_foreach((json_t *)(uintptr_t)files, name, value) {
        struct buffer bytes = {0};
        int result = folder_bytes(name, value, &bytes, err);
        if (result == 0) result = folder_write(dir, name, &bytes, replace, err);
        buffer_fini(&bytes);
        if (result != 0) return -1;
    }
    return 0;
}

int folder_read(int dir, const char *name, size_t most, struct buffer *bytes, struct error *err) {
    struct stat st;
    const char *path = folder_path(name);
    if (path == NULL) {
        return error_set(err, PA_INVALID_ARGUMENT,
                         "path: %.100s is no path beneath " WORKSPACE_GUEST_PATH, name);
    }
    _cleanup_(fd_closep) int fd = folder_open(dir, path, O_RDONLY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return error_set(err, PA_NOT_FOUND, "path: there is no file %.100s", name);
    if ((uint64_t)st.st_size > most)
        return error_set(err, PA_INVALID_ARGUMENT,
                         "path: %.100s has %lld bytes; at most %zu can be read at once", name,
                         (long long)st.st_size, most);
    int result = buffer_read_fd(bytes, fd, most);
    return result == 0 ? 0 : error_set_errno(err, PA_INTERNAL, -result, "read %.100s", name);
}

/* Calls `visit` for each name beneath, a folder before what is in it. `prefix` is "" or ends with a
 * slash. */
static int walk(int dir, const char *prefix, unsigned depth,
                int (*visit)(void *context, int dir, const char *name, const struct stat *st),
                void *context) {
    struct dirent **entries = NULL;
    char name[FOLDER_MAX_PATH_BYTES];
    struct stat st;
    int result = 0;
    int fd = folder_open(dir, prefix[0] != 0 ? prefix : ".", O_RDONLY | O_DIRECTORY);
    if (fd < 0) return 0; /* gone, or no folder any more */
    int count = scandirat(fd, ".", &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        const char *entry = entries[i]->d_name;
        bool dots = strcmp(entry, ".") == 0 || strcmp(entry, "..") == 0;
        int length = snprintf(name, sizeof name - 1, "%s%s", prefix, entry);
        if (result == 0 && !dots && length < (int)sizeof name - 1 &&
            fstatat(fd, entry, &st, AT_SYMLINK_NOFOLLOW) == 0) {
            result = visit(context, dir, name, &st);
            if (result == 0 && S_ISDIR(st.st_mode) && depth < FOLDER_MAX_DEPTH) {
                (void)strcpy(name + length, "/");
                result = walk(dir, name, depth + 1, visit, context);
            }
        }
        free(entries[i]);
    }
    free(entries);
    (void)close(fd);
    return result;
}

static int list_one(void *context, int dir, const char *name, const struct stat *st) {
    (void)dir;
    json_t *text = S_ISREG(st->st_mode) ? json_string(name) : NULL; /* NULL, too: no UTF-8 */
    if (text == NULL) return 0;
    return json_array_append_new(context, json_pack("{s:o, s:I, s:I}", "path", text, "bytes",
                                                    (json_int_t)st->st_size, "modified",
                                                    (json_int_t)st->st_mtim.tv_sec));
}

json_t *folder_list(int dir) {
    json_t *list = json_array();
    if (list == NULL || walk(dir, "", 0, list_one, list) == 0) return list;
    json_decref(list);
    return NULL;
}

struct usage {
    uint64_t bytes, names;
};

static int count_one(void *context, int dir, const char *name, const struct stat *st) {
    struct usage *usage = context;
    (void)dir;
    (void)name;
    usage->names++;
    if (S_ISREG(st->st_mode)) usage->bytes += (uint64_t)st->st_size;
    return 0;
}

void folder_usage(int dir, uint64_t *bytes, uint64_t *names) {
    struct usage usage = {0};
    (void)walk(dir, "", 0, count_one, &usage);
    *bytes = usage.bytes;
    *names = usage.names;
}

static int copy_bytes(int from, int to, const struct stat *st) {
    if (ioctl(to, FICLONE, from) == 0) return 0;
    off_t left = st->st_size;
    while (left > 0) {
        ssize_t put = copy_file_range(from, NULL, to, NULL, COPY_BYTES, 0);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return put == 0 ? 0 : -errno;
        left -= put;
    }
    return 0;
}

static int copy_file(int from, int to, const char *name, const struct stat *st) {
    _cleanup_(fd_closep) int in = folder_open(from, name, O_RDONLY | O_NONBLOCK);
    if (in < 0) return 0; /* gone meanwhile */
    _cleanup_(fd_closep) int out = folder_open(to, name, O_WRONLY | O_CREAT | O_EXCL);
    if (out < 0) return out;
    const struct timespec times[2] = {st->st_atim, st->st_mtim};
    int result = copy_bytes(in, out, st);
    if (result == 0) (void)futimens(out, times);
    return result;
}

static int copy_link(int from, int to, const char *name) {
    char target[PATH_MAX];
    ssize_t length = readlinkat(from, name, target, sizeof target - 1);
    if (length <= 0) return 0;
    target[length] = 0;
    return symlinkat(target, to, name) == 0 ? 0 : -errno;
}

static int copy_one(void *context, int dir, const char *name, const struct stat *st) {
    int to = *(const int *)context;
    if (S_ISDIR(st->st_mode)) return mkdirat(to, name, 0755) == 0 ? 0 : -errno;
    if (S_ISREG(st->st_mode)) return copy_file(dir, to, name, st);
    return S_ISLNK(st->st_mode) ? copy_link(dir, to, name) : 0;
}

int folder_copy(int from, int to, struct error *err) {
    int result = walk(from, "", 0, copy_one, &to);
    return result == 0 ? 0 : error_set_errno(err, PA_INTERNAL, -result, "copy /workspace");
}

/* FTW_PHYS: what a run has linked to is not followed; FTW_MOUNT: nor what is mounted. */
enum { WALK_FLAGS = FTW_DEPTH | FTW_PHYS | FTW_MOUNT, WALK_FDS = 16 };

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *place) {
    (void)st;
    (void)place;
    return kind == FTW_DP ? rmdir(path) : unlink(path);
}

static int remove_below(const char *path, const struct stat *st, int kind, struct FTW *place) {
    return place->level == 0 ? 0 : remove_one(path, st, kind, place);
}

static void tell(const char *path) {
    log_event(LOG_ERROR, "tools", "a run's folder cannot be removed", {"path", path, 0},
              {"error", strerror(errno), 0});
}

void folder_empty(const char *path) {
    if (nftw(path, remove_below, WALK_FDS, WALK_FLAGS) != 0) tell(path);
}

void folder_remove(const char *path) {
    if (nftw(path, remove_one, WALK_FDS, WALK_FLAGS) != 0) tell(path);
}

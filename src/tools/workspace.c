#include "tools/workspace.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "tools/base64.h"

#include <fcntl.h>
#include <ftw.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum { MAX_FILES = 1000, MAX_PATH_BYTES = 1024 };

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

char *workspace_make(const json_t *files, struct error *err) {
    const char *temp = getenv("TMPDIR"), *name;
    char *path = NULL;
    json_t *value;
    if (json_object_size(files) > MAX_FILES) {
        error_set(err, PA_INVALID_ARGUMENT, "files: at most %d", MAX_FILES);
        return NULL;
    }
    if (asprintf(&path, "%s/polyagent-run-XXXXXX", temp != NULL ? temp : "/tmp") < 0) {
        error_set(err, PA_INTERNAL, "files: out of memory");
        return NULL;
    }
    if (mkdtemp(path) == NULL) {
        error_set_errno(err, PA_INTERNAL, errno, "files: make a folder %s", path);
        free(path);
        return NULL;
    }
    _cleanup_(fd_closep) int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int result = dir >= 0 ? 0 : error_set_errno(err, PA_INTERNAL, errno, "files: %s", path);
    json_object_foreach((json_t *)(uintptr_t)files, name, value) {
        if (result == 0) result = put(dir, name, value, err);
    }
    if (result == 0) return path;
    workspace_remove(path);
    return NULL;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *place) {
    (void)st;
    (void)place;
    return kind == FTW_DP ? rmdir(path) : unlink(path);
}

void workspace_remove(char *path) {
    if (path == NULL) return;
    /* FTW_PHYS: what a run has linked to is not followed; FTW_MOUNT: nor what is mounted. */
    if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) != 0) {
        log_event(LOG_ERROR, "tools", "a run's folder cannot be removed", {"path", path, 0},
                  {"error", strerror(errno), 0});
    }
    free(path);
}

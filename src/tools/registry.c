#include "tools/registry.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "config/state.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define SUFFIX ".wasm"

int registry_path(const char *given, char *out, size_t size, struct error *err) {
    return state_path(given, "modules", "modules.registry", out, size, err);
}

/* NAME, or NAME@VERSION: letters, digits and "._-", beginning with one of the first two, so that no
 * name is a path. `versioned`: it must have a version. */
static int check_name(const char *name, bool versioned, struct error *err) {
    size_t length = strlen(name), ats = 0;
    bool good = length > 0 && length < REGISTRY_NAME_BYTES - sizeof SUFFIX;
    for (size_t i = 0; i < length && good; i++) {
        bool first = i == 0 || name[i - 1] == '@';
        ats += name[i] == '@';
        good = isalnum((unsigned char)name[i]) || (!first && strchr("._-@", name[i]) != NULL);
    }
    if (good && name[length - 1] != '@' && (ats == 1 || (ats == 0 && !versioned))) return 0;
    return error_set(err, PA_INVALID_ARGUMENT, "module '%.100s': must be %s", name,
                     versioned ? "NAME@VERSION" : "NAME or NAME@VERSION");
}

static int open_dir(const char *dir) {
    return open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Entries NAME@VERSION.wasm. */
static int is_module(const struct dirent *entry) {
    size_t length = strlen(entry->d_name), tail = sizeof SUFFIX - 1;
    return entry->d_name[0] != '.' && length > tail && length < REGISTRY_NAME_BYTES &&
           strcmp(entry->d_name + length - tail, SUFFIX) == 0 && strchr(entry->d_name, '@') != NULL;
}

/* In the order of their versions. The count, or -1; the entries are to be freed. */
static int scan(const char *dir, struct dirent ***entries, struct error *err) {
    int count = scandir(dir, entries, is_module, versionsort);
    if (count >= 0) return count;
    *entries = NULL;
    return errno == ENOENT ? 0
                           : error_set_errno(err, PA_INTERNAL, errno, "module registry %s", dir);
}

static void free_entries(struct dirent **entries, int count) {
    for (int i = 0; i < count; i++)
        free(entries[i]);
    free(entries);
}

int registry_open(const char *dir, const char *name, char found[REGISTRY_NAME_BYTES],
                  struct error *err) {
    char file[REGISTRY_NAME_BYTES] = "";
    if (check_name(name, false, err) != 0) return -1;
    size_t length = strlen(name);
    if (strchr(name, '@') != NULL) {
        (void)snprintf(file, sizeof file, "%s%s", name, SUFFIX);
    } else {
        struct dirent **entries;
        int count = scan(dir, &entries, err);
        if (count < 0) return -1;
        for (int i = 0; i < count; i++) { /* the last is the highest */
            if (strncmp(entries[i]->d_name, name, length) == 0 && entries[i]->d_name[length] == '@')
                (void)snprintf(file, sizeof file, "%.127s", entries[i]->d_name);
        }
        free_entries(entries, count);
    }
    _cleanup_(fd_closep) int dir_fd = open_dir(dir);
    int fd = dir_fd >= 0 && file[0] != 0
                 ? openat(dir_fd, file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK)
                 : -1;
    if (fd < 0) {
        return error_set(err, PA_NOT_FOUND, "module %.100s: the registry has none of that name",
                         name);
    }
    if (found != NULL)
        (void)snprintf(found, REGISTRY_NAME_BYTES, "%.*s", (int)(strlen(file) - strlen(SUFFIX)),
                       file);
    return fd;
}

static int make_dir(const char *dir, struct error *err) {
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/", dir) >= (int)sizeof path)
        return error_set(err, PA_INVALID_ARGUMENT, "module registry: the path is too long");
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (mkdir(path, 0700) != 0 && errno != EEXIST)
            return error_set_errno(err, PA_INTERNAL, errno, "make directory %s", path);
        *slash = '/';
    }
    return 0;
}

int registry_push(const char *dir, const char *name, int fd, struct error *err) {
    char file[REGISTRY_NAME_BYTES], link[64];
    struct buffer bytes = {0};
    if (check_name(name, true, err) != 0 || make_dir(dir, err) != 0) return -1;
    _cleanup_(fd_closep) int dir_fd = open_dir(dir);
    _cleanup_(fd_closep) int out = -1; /* without a name until it is complete */
    if (dir_fd >= 0) out = openat(dir_fd, ".", O_WRONLY | O_TMPFILE | O_CLOEXEC, 0600);
    int result = out >= 0 ? buffer_read_fd(&bytes, fd, SIZE_MAX / 2) : -errno;
    if (result == 0) result = fd_write_all(out, bytes.data, bytes.size);
    if (result == 0 && fsync(out) != 0) result = -errno;
    buffer_fini(&bytes);
    (void)snprintf(file, sizeof file, "%s%s", name, SUFFIX);
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", out);
    if (result == 0 && linkat(AT_FDCWD, link, dir_fd, file, AT_SYMLINK_FOLLOW) != 0)
        result = -errno;
    if (result == -EEXIST) {
        return error_set(err, PA_INVALID_ARGUMENT,
                         "module %s: is there already; a version never changes: remove it, or "
                         "push another",
                         name);
    }
    return result == 0 ? 0 : error_set_errno(err, PA_INTERNAL, -result, "module %s", name);
}

int registry_remove(const char *dir, const char *name, struct error *err) {
    char file[REGISTRY_NAME_BYTES];
    if (check_name(name, true, err) != 0) return -1;
    (void)snprintf(file, sizeof file, "%s%s", name, SUFFIX);
    _cleanup_(fd_closep) int dir_fd = open_dir(dir);
    if (dir_fd >= 0 && unlinkat(dir_fd, file, 0) == 0) return 0;
    if (errno == ENOENT)
        return error_set(err, PA_NOT_FOUND, "module %s: the registry has none of that name", name);
    return error_set_errno(err, PA_INTERNAL, errno, "module %s", name);
}

int registry_walk(const char *dir, void (*visit)(void *context, const char *name, int fd),
                  void *context, struct error *err) {
    struct dirent **entries;
    int count = scan(dir, &entries, err);
    if (count < 0) return -1;
    _cleanup_(fd_closep) int dir_fd = open_dir(dir);
    for (int i = 0; i < count && dir_fd >= 0; i++) {
        char *name = entries[i]->d_name;
        _cleanup_(fd_closep) int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        name[strlen(name) - strlen(SUFFIX)] = 0;
        if (fd >= 0) visit(context, name, fd);
    }
    free_entries(entries, count);
    return 0;
}

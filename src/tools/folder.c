#include "tools/folder.h"

#include "base/cleanup.h"
#include "base/copy.h"
#include "base/log.h"
#include "wasi/wasi.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum { BARE_BYTES = 64 << 10 };

const char *folder_path(const char *path) {
    size_t length = strlen(WORKSPACE_GUEST_PATH);
    if (strncmp(path, WORKSPACE_GUEST_PATH "/", length + 1) == 0) path += length + 1;
    if (path[0] == 0 || path[0] == '/' || strlen(path) >= FOLDER_MAX_PATH_BYTES) return NULL;
    unsigned folders = 0;
    for (const char *at = path; *at != 0;) { /* no part is empty, "." or ".." */
        size_t part = strcspn(at, "/");
        if (at[part] == '/' && ++folders > FOLDER_MAX_DEPTH) return NULL;
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

int folder_file(int dir, const char *name, uint64_t most, struct error *err) {
    struct stat st;
    const char *path = folder_path(name);
    if (path == NULL) {
        return error_set(err, PA_INVALID_ARGUMENT,
                         "path: %.100s is no path beneath " WORKSPACE_GUEST_PATH
                         ", at most %d folders deep",
                         name, FOLDER_MAX_DEPTH);
    }
    _cleanup_(fd_closep) int fd = folder_open(dir, path, O_RDONLY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return error_set(err, PA_NOT_FOUND, "path: there is no file %.100s", name);
    if ((uint64_t)st.st_size > most)
        return error_set(err, PA_INVALID_ARGUMENT,
                         "path: %.100s has more than the %llu bytes that can be read at once", name,
                         (unsigned long long)most);
    return steal_fd(&fd);
}

int folder_read(int dir, const char *name, size_t most, struct buffer *bytes, struct error *err) {
    _cleanup_(fd_closep) int fd = folder_file(dir, name, most, err);
    if (fd < 0) return -1;
    /* A running program may make it longer meanwhile: what was read decides. */
    int result = buffer_read_fd(bytes, fd, most);
    return result == 0 ? 0 : error_set_errno(err, PA_INTERNAL, -result, "read %.100s", name);
}

static int open_child(int dir, const char *name) {
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 ? fd : -errno;
}

static bool is_dots(const char *name) {
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

struct walk {
    folder_visit *visit;
    void *context;
    bool too_deep;
};

/* `prefix` is "", or ends with a slash, or is NULL. */
static int walk(struct walk *w, int dir, int to, const char *prefix, unsigned depth) {
    struct dirent **entries = NULL;
    char path[FOLDER_MAX_PATH_BYTES];
    struct stat st;
    int count = scandirat(dir, ".", &entries, NULL, alphasort);
    int result = count < 0 ? -errno : 0;
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        if (result == 0 && !is_dots(name) && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
            int length =
                prefix != NULL ? snprintf(path, sizeof path - 1, "%s%s", prefix, name) : INT_MAX;
            bool fits = length < (int)sizeof path - 1;
            result = w->visit(w->context, &(struct folder_place){dir, to, name, fits ? path : NULL},
                              &st);
            if (result == 0 && S_ISDIR(st.st_mode) && depth >= FOLDER_MAX_DEPTH) {
                w->too_deep = true;
            } else if (result == 0 && S_ISDIR(st.st_mode)) {
                if (fits) (void)strcpy(path + length, "/");
                _cleanup_(fd_closep) int child = open_child(dir, name);
                _cleanup_(fd_closep) int copy = to >= 0 ? open_child(to, name) : -1;
                result = child < 0 ? child
                         : to >= 0 && copy < 0
                             ? copy
                             : walk(w, child, copy, fits ? path : NULL, depth + 1);
            }
        }
        free(entries[i]);
    }
    free(entries);
    return result;
}

int folder_walk(int dir, int to, folder_visit *visit, void *context) {
    struct walk w = {.visit = visit, .context = context};
    _cleanup_(fd_closep) int top = open_child(dir, ".");
    int result = top >= 0 ? walk(&w, top, to, "", 0) : top;
    return result == 0 && w.too_deep ? -ELOOP : result;
}

static int list_one(void *context, const struct folder_place *place, const struct stat *st) {
    json_t *text = S_ISREG(st->st_mode) && place->path != NULL ? json_string(place->path) : NULL;
    if (text == NULL) return 0; /* or no UTF-8 */
    return json_array_append_new(context, json_pack("{s:o, s:I, s:I}", "path", text, "bytes",
                                                    (json_int_t)st->st_size, "modified",
                                                    (json_int_t)st->st_mtim.tv_sec));
}

json_t *folder_list(int dir) {
    json_t *list = json_array();
    int result = list != NULL ? folder_walk(dir, -1, list_one, list) : -ENOMEM;
    if (result == 0 || result == -ELOOP) return list;
    json_decref(list);
    return NULL;
}

struct usage {
    uint64_t bytes, names, most;
};

static int count_one(void *context, const struct folder_place *place, const struct stat *st) {
    struct usage *usage = context;
    (void)place;
    if (usage->names >= usage->most) return -E2BIG;
    usage->names++;
    uint64_t bytes = wasi_disk_bytes(st->st_mode, (uint64_t)st->st_size);
    /* A file of several names is one: each has its part of it. */
    usage->bytes += S_ISDIR(st->st_mode) ? bytes : bytes / (st->st_nlink > 0 ? st->st_nlink : 1);
    return 0;
}

int folder_usage(int dir, uint64_t most, uint64_t *bytes, uint64_t *names) {
    struct usage usage = {.most = most};
    int result = folder_walk(dir, -1, count_one, &usage);
    *bytes = usage.bytes;
    *names = usage.names;
    return result;
}

bool folder_is_bare(int at, const char *path) {
    struct stat st;
    int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 && fstat(fd, &st) == 0 && st.st_size <= BARE_BYTES ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        fd_closep(&fd);
        return false;
    }
    const struct dirent *entry = readdir(dir);
    while (entry != NULL && is_dots(entry->d_name))
        entry = readdir(dir);
    (void)closedir(dir);
    return entry == NULL;
}

static int copy_bytes(int from, int to) {
    return ioctl(to, FICLONE, from) == 0 ? 0 : fd_copy_all(from, to);
}

/* Files of several names, and where the copy of each is: it has as many. Else a file with
 * thousands of names would fill the disk. */
struct copying {
    int to; /* the copy */
    struct copied {
        dev_t dev;
        ino_t ino;
        char *path; /* owned */
    } * files;      /* owned */
    size_t count, capacity;
};

static void copying_fini(struct copying *c) {
    for (size_t i = 0; i < c->count; i++)
        free(c->files[i].path);
    free(c->files);
}

static const char *find_copy(const struct copying *c, const struct stat *st) {
    for (size_t i = 0; i < c->count; i++)
        if (c->files[i].ino == st->st_ino && c->files[i].dev == st->st_dev) return c->files[i].path;
    return NULL;
}

static int remember_copy(struct copying *c, const struct stat *st, const char *path) {
    if (c->count == c->capacity) {
        size_t capacity = c->capacity > 0 ? 2 * c->capacity : 16;
        struct copied *grown = reallocarray(c->files, capacity, sizeof *grown);
        if (grown == NULL) return -ENOMEM;
        c->files = grown;
        c->capacity = capacity;
    }
    struct copied *file = &c->files[c->count];
    *file = (struct copied){.dev = st->st_dev, .ino = st->st_ino, .path = strdup(path)};
    if (file->path == NULL) return -ENOMEM;
    c->count++;
    return 0;
}

static int copy_file(const struct folder_place *at, const struct stat *st) {
    _cleanup_(fd_closep) int in = folder_open(at->dir, at->name, O_RDONLY | O_NONBLOCK);
    if (in < 0) return 0; /* gone meanwhile */
    _cleanup_(fd_closep) int out = folder_open(at->to, at->name, O_WRONLY | O_CREAT | O_EXCL);
    if (out < 0) return out;
    const struct timespec times[2] = {st->st_atim, st->st_mtim};
    int result = copy_bytes(in, out);
    if (result == 0) (void)futimens(out, times);
    return result;
}

static int copy_link(const struct folder_place *at) {
    char target[PATH_MAX];
    ssize_t length = readlinkat(at->dir, at->name, target, sizeof target - 1);
    if (length <= 0) return 0;
    target[length] = 0;
    return symlinkat(target, at->to, at->name) == 0 ? 0 : -errno;
}

static int copy_one(void *context, const struct folder_place *at, const struct stat *st) {
    struct copying *c = context;
    if (S_ISDIR(st->st_mode)) return mkdirat(at->to, at->name, 0755) == 0 ? 0 : -errno;
    if (S_ISREG(st->st_mode)) {
        bool several = st->st_nlink > 1;
        const char *first = several ? find_copy(c, st) : NULL;
        if (first != NULL) return linkat(c->to, first, at->to, at->name, 0) == 0 ? 0 : -errno;
        int result = copy_file(at, st);
        if (result == 0 && several)
            result = at->path != NULL ? remember_copy(c, st, at->path) : -ENAMETOOLONG;
        return result;
    }
    return S_ISLNK(st->st_mode) ? copy_link(at) : 0;
}

int folder_copy(int from, int to, struct error *err) {
    struct copying c = {.to = to};
    int result = folder_walk(from, to, copy_one, &c);
    copying_fini(&c);
    if (result == 0) return 0;
    if (result == -ELOOP)
        return error_set(err, PA_INVALID_ARGUMENT,
                         "copy /workspace: more than %d folders in each other", FOLDER_MAX_DEPTH);
    if (result == -ENAMETOOLONG)
        return error_set(
            err, PA_INVALID_ARGUMENT,
            "copy /workspace: a file of several names has a path of more than %d bytes",
            FOLDER_MAX_PATH_BYTES);
    return error_set_errno(err, PA_INTERNAL, -result, "copy /workspace");
}

/* 0, or a negative errno; 1: a folder that is not empty. */
static int remove_name(int dir, const char *name) {
    if (unlinkat(dir, name, 0) == 0 || errno == ENOENT) return 0;
    if (errno != EISDIR) return -errno;
    if (unlinkat(dir, name, AT_REMOVEDIR) == 0) return 0;
    return errno == ENOTEMPTY || errno == EEXIST ? 1 : -errno;
}

static int each_name(int dir, int (*act)(void *context, int dir, const char *name), void *context) {
    struct dirent **entries = NULL;
    int count = scandirat(dir, ".", &entries, NULL, NULL);
    int result = count < 0 ? -errno : 0;
    for (int i = 0; i < count; i++) {
        if (result == 0 && !is_dots(entries[i]->d_name))
            result = act(context, dir, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    return result;
}

struct emptying {
    int top;
    uint64_t moved, seen;
};

/* What is deeper comes up: no depth, and no length of a path, is too much. */
static int raise_name(void *context, int dir, const char *name) {
    struct emptying *e = context;
    char up[32];
    int result = remove_name(dir, name);
    while (result == 1) {
        (void)snprintf(up, sizeof up, "%" PRIu64, e->moved++);
        if (renameat2(dir, name, e->top, up, RENAME_NOREPLACE) == 0) return 0;
        if (errno != EEXIST) return -errno;
    }
    return result;
}

static int empty_name(void *context, int dir, const char *name) {
    struct emptying *e = context;
    e->seen++;
    int result = remove_name(dir, name);
    if (result != 1) return result;
    _cleanup_(fd_closep) int child = open_child(dir, name);
    result = child >= 0 ? each_name(child, raise_name, e) : child;
    return result == 0 ? remove_name(dir, name) : result;
}

/* What a run has linked to is not followed, and what is mounted stays. */
static int empty(int at, const char *path) {
    _cleanup_(fd_closep) int top =
        openat(at, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct emptying e = {.top = top};
    int result = top >= 0 ? 0 : -errno;
    do {
        e.seen = 0;
        if (result == 0) result = each_name(top, empty_name, &e);
    } while (result == 0 && e.seen > 0);
    return result;
}

static void tell(const char *path, int number) {
    log_event(LOG_ERROR, "tools", "a run's folder cannot be removed", {"path", path, 0},
              {"error", strerror(number), 0});
}

void folder_empty(int at, const char *path) {
    int result = empty(at, path);
    if (result != 0) tell(path, result < 0 ? -result : ENOTEMPTY);
}

void folder_remove(int at, const char *path) {
    int result = empty(at, path);
    if (result == 0 && unlinkat(at, path, AT_REMOVEDIR) != 0) result = -errno;
    if (result != 0) tell(path, result < 0 ? -result : ENOTEMPTY);
}

static int move_name(void *context, int dir, const char *name) {
    return renameat(dir, name, *(const int *)context, name) == 0 ? 0 : -errno;
}

int folder_move(int from, int to, struct error *err) {
    int result = each_name(from, move_name, &to);
    return result == 0 ? 0 : error_set_errno(err, PA_INTERNAL, -result, "move /workspace");
}

/* What a session has open, from turn to turn. A branch has a workspace of its own, and after a
 * rollback the files are others: a descriptor is then opened again by its path, at the same offset,
 * or is lost, so that a number never becomes another file's without a word. Within one workspace
 * only the offset is set again, which a turn that was undone may have moved: copies of a process
 * share it. */
#include "wasi/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* How to open again what is open. */
struct wasi_origin {
    uint64_t flags; /* of openat2(); O_APPEND is the entry's matter */
    bool named;     /* its path led to it when the turn ended */
    off_t offset;   /* what follows: likewise */
    off_t size;
    struct timespec modified;
    char path[]; /* from the mount, without needless dots and slashes */
};

/* The path of a name in a directory, as short as it can be told without a look; owned by the
 * caller. NULL when memory runs out. */
static char *join(const char *dir, const char *rest) {
    const char *const parts[] = {dir, rest};
    char *path = malloc(strlen(dir) + strlen(rest) + 3), *at = path;
    if (path == NULL) return NULL;
    for (int i = 0; i < 2; i++) {
        for (const char *part = parts[i]; *part != 0;) {
            size_t length = strcspn(part, "/");
            if (length > 1 || (length == 1 && part[0] != '.')) {
                if (at != path) *at++ = '/';
                at = mempcpy(at, part, length);
            }
            part += length + (part[length] == '/');
        }
    }
    if (at == path) *at++ = '.';
    *at = 0;
    return path;
}

static const char *path_of(const struct wasi_fd *dir) {
    return dir->preopened ? "." : dir->origin != NULL ? dir->origin->path : NULL;
}

void wasi_origin_note(struct wasi *w, struct wasi_fd *entry, const struct wasi_fd *dir,
                      const char *path, uint64_t flags) {
    const char *above = path_of(dir);
    entry->origin = NULL;
    if (!w->stays || w->mounts[entry->mount].fixed || above == NULL) return;
    char *whole = join(above, path);
    size_t size = whole != NULL ? strlen(whole) + 1 : 0;
    struct wasi_origin *origin = whole != NULL ? malloc(sizeof *origin + size) : NULL;
    if (origin != NULL) {
        *origin = (struct wasi_origin){.flags = flags & ~(uint64_t)(O_TRUNC | O_APPEND)};
        memcpy(origin->path, whole, size);
        entry->origin = origin;
    }
    free(whole);
}

/* A new path for what has one that is `from`, or begins with it. */
static void move_origin(struct wasi_fd *entry, const char *from, const char *to) {
    size_t length = strlen(from);
    struct wasi_origin *origin = entry->origin;
    if (strncmp(origin->path, from, length) != 0 ||
        (origin->path[length] != 0 && origin->path[length] != '/')) {
        return;
    }
    char *whole = join(to, origin->path + length);
    size_t size = whole != NULL ? strlen(whole) + 1 : 0;
    struct wasi_origin *moved = whole != NULL ? malloc(sizeof *moved + size) : NULL;
    if (moved != NULL) {
        *moved = *origin;
        memcpy(moved->path, whole, size);
    }
    free(whole);
    free(origin);
    entry->origin = moved; /* without memory, it is not known where it is */
}

void wasi_origins_move(struct wasi *w, const struct wasi_fd *from_dir, const char *from,
                       const struct wasi_fd *to_dir, const char *to) {
    const char *from_above = path_of(from_dir), *to_above = path_of(to_dir);
    if (!w->stays || from_above == NULL || to_above == NULL) return;
    char *former = join(from_above, from), *now = join(to_above, to);
    for (uint32_t i = 0; former != NULL && now != NULL && i < w->fd_top; i++) {
        struct wasi_fd *entry = &w->fds[i];
        if (entry->origin == NULL || entry->mount != from_dir->mount) continue;
        move_origin(entry, former, now);
        entry->mount = to_dir->mount;
    }
    free(former);
    free(now);
}

static bool is_same_file(const struct stat *left, const struct stat *right) {
    return left->st_dev == right->st_dev && left->st_ino == right->st_ino;
}

static bool leads_to(int root, const struct wasi_origin *origin, const struct stat *st) {
    struct stat found;
    int fd = wasi_path_resolve(root, origin->path, O_PATH | (origin->flags & O_NOFOLLOW), 0);
    bool same = fd >= 0 && fstat(fd, &found) == 0 && is_same_file(&found, st);
    if (fd >= 0) (void)close(fd);
    return same;
}

void wasi_origins_rest(struct wasi *w) {
    for (uint32_t i = 0; i < w->fd_top; i++) {
        const struct wasi_fd *entry = &w->fds[i];
        struct wasi_origin *origin = entry->origin;
        struct stat st;
        if (origin == NULL) continue;
        origin->named =
            fstat(entry->host_fd, &st) == 0 && leads_to(w->mounts[entry->mount].fd, origin, &st);
        if (!origin->named && entry->kind == WASI_DIRECTORY) continue;
        origin->offset = lseek(entry->host_fd, 0, SEEK_CUR);
        origin->size = st.st_size;
        origin->modified = st.st_mtim;
    }
}

static void lose(struct wasi *w, struct wasi_fd *entry) {
    const struct wasi_fd lost = {.kind = WASI_LOST, .host_fd = -1};
    wasi_fd_release(w, entry);
    *entry = lost;
    w->lost++;
}

/* Whether what stands at its path in another workspace is its copy: as it was when the turn ended,
 * or made of what the path led to until now. */
static bool is_copy(const struct wasi_fd *entry, const struct stat *former, const struct stat *now,
                    int former_root) {
    const struct wasi_origin *origin = entry->origin;
    if (entry->kind == WASI_DIRECTORY) return S_ISDIR(now->st_mode);
    if (!S_ISREG(now->st_mode)) return false;
    bool as_it_was = now->st_size == origin->size &&
                     now->st_mtim.tv_sec == origin->modified.tv_sec &&
                     now->st_mtim.tv_nsec == origin->modified.tv_nsec;
    return as_it_was || (former_root >= 0 && leads_to(former_root, origin, former));
}

static bool reopen(struct wasi *w, struct wasi_fd *entry) {
    const struct wasi_origin *origin = entry->origin;
    const struct wasi_mount *mount = &w->mounts[entry->mount];
    struct stat former, now;
    if (origin == NULL || !origin->named || fstat(entry->host_fd, &former) != 0) return false;
    uint64_t flags = origin->flags | wasi_host_fdflags(entry->flags);
    int fd = wasi_path_resolve(mount->fd, origin->path, flags, 0);
    if (fd < 0) return false;
    bool right = fstat(fd, &now) == 0 && is_copy(entry, &former, &now, mount->former_fd) &&
                 (entry->kind == WASI_DIRECTORY || lseek(fd, origin->offset, SEEK_SET) >= 0) &&
                 wasi_inode_keep(w, &former, &now);
    if (!right) {
        (void)close(fd);
        return false;
    }
    (void)close(entry->host_fd);
    entry->host_fd = fd;
    entry->held = false;
    return true;
}

/* In the same workspace. False if somebody else has removed it since the turn ended. */
static bool go_on(const struct wasi_fd *entry) {
    const struct wasi_origin *origin = entry->origin;
    struct stat st;
    if (origin == NULL) return true;
    if (origin->named && (fstat(entry->host_fd, &st) != 0 || st.st_nlink == 0)) return false;
    if (entry->kind == WASI_DIRECTORY) return true;
    int append = entry->flags & WASI_FDFLAG_APPEND ? O_APPEND : 0;
    return lseek(entry->host_fd, origin->offset, SEEK_SET) >= 0 &&
           fcntl(entry->host_fd, F_SETFL, O_NONBLOCK | append) == 0;
}

void wasi_origins_begin(struct wasi *w, bool moved) {
    w->lost = 0;
    for (uint32_t i = 0; i < w->fd_top; i++) {
        struct wasi_fd *entry = &w->fds[i];
        bool is_open = entry->kind == WASI_FILE || entry->kind == WASI_DIRECTORY;
        if (!is_open || entry->preopened || w->mounts[entry->mount].fixed) continue;
        if (moved ? !reopen(w, entry) : !go_on(entry)) lose(w, entry);
    }
}

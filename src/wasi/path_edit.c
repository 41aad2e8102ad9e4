/* Making, moving and removing names. The parent is opened beneath the directory by the kernel; the
 * *at() call then gets a bare leaf: no slash in it, never "", "." or "..". */
#include "wasi/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

struct place {
    struct wasi_path path;
    struct wasi_fd *dir;
    int parent_fd;    /* owned */
    const char *leaf; /* within path.text */
    bool is_dots;     /* the leaf is "." or "..": no name that could be changed */
};

static void place_fini(struct place *place) {
    if (place->parent_fd >= 0) (void)close(place->parent_fd);
}

/* Finds the directory that holds the name. On an error nothing is open. */
static wasi_errno place_find(struct wasi *w, uint64_t fd, uint64_t right, uint64_t ptr,
                             uint64_t len, struct place *place) {
    place->parent_fd = -1;
    wasi_errno e = wasi_fd_require(w, (uint32_t)fd, WASI_DIRECTORY, WASI_ENOTDIR, 0, &place->dir);
    if (e == WASI_SUCCESS) e = wasi_path_copy(w, (uint32_t)ptr, (uint32_t)len, &place->path);
    if (e != WASI_SUCCESS) return e;
    if (!place->dir->writable_mount) return WASI_EROFS;
    if (!(place->dir->rights_base & right)) return WASI_ENOTCAPABLE;

    char *slash = strrchr(place->path.text, '/');
    place->leaf = slash == NULL ? place->path.text : slash + 1;
    place->is_dots = strcmp(place->leaf, ".") == 0 || strcmp(place->leaf, "..") == 0;
    if (place->is_dots) { /* only where it leads to matters: outside is EPERM before all else */
        place->parent_fd = wasi_path_resolve(place->dir->host_fd, place->path.text, O_PATH, 0);
    } else if (slash == NULL) {
        place->parent_fd = wasi_path_resolve(place->dir->host_fd, ".", O_PATH | O_DIRECTORY, 0);
    } else {
        *slash = 0;
        place->parent_fd =
            wasi_path_resolve(place->dir->host_fd, place->path.text, O_PATH | O_DIRECTORY, 0);
    }
    if (place->parent_fd >= 0) return WASI_SUCCESS;
    e = (wasi_errno)-place->parent_fd;
    place->parent_fd = -1;
    return e;
}

/* The status of the name itself, never of what a link leads to. */
static wasi_errno place_stat(const struct place *place, struct stat *st) {
    int result = fstatat(place->parent_fd, place->leaf, st, AT_SYMLINK_NOFOLLOW);
    return result == 0 ? WASI_SUCCESS : wasi_from_errno(errno);
}

/* path_create_directory(fd, *path, path_len) */
WASI_FN(path_create_directory) {
    struct place at;
    wasi_errno e = place_find(w, a[0], WASI_RIGHT_PATH_CREATE_DIRECTORY, a[1], a[2], &at);
    if (e != WASI_SUCCESS) return e;
    e = at.is_dots ? WASI_EEXIST : wasi_quota_take_name(w, S_IFDIR);
    if (e == WASI_SUCCESS && mkdirat(at.parent_fd, at.leaf, 0777 & ~w->mask) != 0) {
        e = wasi_from_errno(errno);
        wasi_quota_give_name(w, S_IFDIR);
    }
    place_fini(&at);
    return e;
}

/* path_remove_directory(fd, *path, path_len) */
WASI_FN(path_remove_directory) {
    struct place at;
    struct stat st;
    wasi_errno e = place_find(w, a[0], WASI_RIGHT_PATH_REMOVE_DIRECTORY, a[1], a[2], &at);
    if (e != WASI_SUCCESS) return e;
    e = at.is_dots ? WASI_EINVAL : place_stat(&at, &st);
    if (e == WASI_SUCCESS && unlinkat(at.parent_fd, at.leaf, AT_REMOVEDIR) != 0)
        e = wasi_from_errno(errno);
    if (e == WASI_SUCCESS) wasi_quota_unlinked(w, &st);
    place_fini(&at);
    return e;
}

/* path_unlink_file(fd, *path, path_len) */
WASI_FN(path_unlink_file) {
    struct place at;
    struct stat st;
    wasi_errno e = place_find(w, a[0], WASI_RIGHT_PATH_UNLINK_FILE, a[1], a[2], &at);
    if (e != WASI_SUCCESS) return e;
    e = at.is_dots ? WASI_EISDIR : place_stat(&at, &st);
    if (e == WASI_SUCCESS && S_ISDIR(st.st_mode)) e = WASI_EISDIR;
    if (e == WASI_SUCCESS && at.path.must_be_directory) e = WASI_ENOTDIR;
    if (e == WASI_SUCCESS && unlinkat(at.parent_fd, at.leaf, 0) != 0) e = wasi_from_errno(errno);
    if (e == WASI_SUCCESS) wasi_quota_unlinked(w, &st);
    place_fini(&at);
    return e;
}

/* path_symlink(*old_path, old_path_len, fd, *new_path, new_path_len). The target may dangle and may
 * climb, since lookups stop it; an absolute one could only ever mean the host, and is refused. */
WASI_FN(path_symlink) {
    char target[PATH_MAX];
    struct place at;
    struct stat st;
    uint32_t length = (uint32_t)a[1];
    uint8_t *span;
    if (!guest_span(w->memory, (uint32_t)a[0], length, &span)) return WASI_EFAULT;
    if (length == 0) return WASI_ENOENT;
    if (length >= sizeof target) return WASI_ENAMETOOLONG;
    memcpy(target, span, length);
    target[length] = 0;
    if (memchr(target, 0, length) != NULL) return WASI_EINVAL;
    if (target[0] == '/') return WASI_EPERM;
    wasi_errno e = place_find(w, a[2], WASI_RIGHT_PATH_SYMLINK, a[3], a[4], &at);
    if (e != WASI_SUCCESS) return e;
    if (at.is_dots || place_stat(&at, &st) == WASI_SUCCESS) {
        e = WASI_EEXIST;
    } else if (at.path.must_be_directory) {
        e = WASI_ENOENT; /* "name/" cannot be made to be a link */
    } else {
        e = wasi_quota_take_name(w, S_IFLNK);
    }
    if (e == WASI_SUCCESS && symlinkat(target, at.parent_fd, at.leaf) != 0) {
        e = wasi_from_errno(errno);
        wasi_quota_give_name(w, S_IFLNK);
    }
    place_fini(&at);
    return e;
}

/* path_link(old_fd, old_flags, *old_path, old_len, new_fd, *new_path, new_len). Both mounts must be
 * writable: a second name in a writable one would make a read-only file writable. */
WASI_FN(path_link) {
    struct place from, to;
    struct stat st, other;
    if ((uint32_t)a[1] != 0) return WASI_EINVAL; /* following would link files from outside */
    wasi_errno e = place_find(w, a[0], WASI_RIGHT_PATH_LINK_SOURCE, a[2], a[3], &from);
    if (e != WASI_SUCCESS) return e;
    e = place_find(w, a[4], WASI_RIGHT_PATH_LINK_TARGET, a[5], a[6], &to);
    if (e == WASI_SUCCESS) {
        if (from.is_dots) {
            e = WASI_EPERM;
        } else if (to.is_dots) {
            e = WASI_EEXIST;
        } else {
            e = place_stat(&from, &st);
        }
        if (e == WASI_SUCCESS && S_ISDIR(st.st_mode)) e = WASI_EPERM;
        if (e == WASI_SUCCESS && from.path.must_be_directory) e = WASI_ENOTDIR;
        if (e == WASI_SUCCESS && to.path.must_be_directory) {
            e = place_stat(&to, &other) == WASI_SUCCESS ? WASI_EEXIST : WASI_ENOENT;
        }
        if (e == WASI_SUCCESS) e = wasi_quota_take_name(w, S_IFREG);
        if (e == WASI_SUCCESS && linkat(from.parent_fd, from.leaf, to.parent_fd, to.leaf, 0) != 0) {
            e = wasi_from_errno(errno);
            wasi_quota_give_name(w, S_IFREG);
        }
        place_fini(&to);
    }
    place_fini(&from);
    return e;
}

/* The path of a name, put together again: its last slash is a NUL. */
static const char *whole_path(struct place *place) {
    if (place->leaf != place->path.text) place->path.text[place->leaf - place->path.text - 1] = '/';
    return place->path.text;
}

/* path_rename(fd, *old_path, old_len, new_fd, *new_path, new_len) */
WASI_FN(path_rename) {
    struct place from, to;
    struct stat st, replaced;
    wasi_errno e = place_find(w, a[0], WASI_RIGHT_PATH_RENAME_SOURCE, a[1], a[2], &from);
    if (e != WASI_SUCCESS) return e;
    e = place_find(w, a[3], WASI_RIGHT_PATH_RENAME_TARGET, a[4], a[5], &to);
    if (e == WASI_SUCCESS) {
        bool slash = from.path.must_be_directory || to.path.must_be_directory;
        e = from.is_dots || to.is_dots ? WASI_EBUSY : place_stat(&from, &st);
        if (e == WASI_SUCCESS && slash && !S_ISDIR(st.st_mode)) e = WASI_ENOTDIR;
        bool replaces = e == WASI_SUCCESS && place_stat(&to, &replaced) == WASI_SUCCESS &&
                        (replaced.st_ino != st.st_ino || replaced.st_dev != st.st_dev);
        if (e == WASI_SUCCESS &&
            renameat2(from.parent_fd, from.leaf, to.parent_fd, to.leaf, 0) != 0) {
            e = wasi_from_errno(errno);
        } else if (replaces) {
            wasi_quota_unlinked(w, &replaced);
        }
        if (e == WASI_SUCCESS)
            wasi_origins_move(w, from.dir, whole_path(&from), to.dir, whole_path(&to));
        place_fini(&to);
    }
    place_fini(&from);
    return e;
}

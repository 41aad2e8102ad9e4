/* Looking at what a path names, through an O_PATH descriptor: nothing is opened, no link outside
 * the directory is followed. */
#include "wasi/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* An O_PATH descriptor for `path`; or a negative WASI errno. */
static int locate(const struct wasi_fd *dir, const struct wasi_path *path, uint32_t lookup) {
    struct stat st;
    bool follow = lookup & WASI_LOOKUP_SYMLINK_FOLLOW || path->must_be_directory;
    int fd = wasi_path_resolve(dir->host_fd, path->text, O_PATH | (follow ? 0 : O_NOFOLLOW), 0);
    if (fd >= 0 && path->must_be_directory && (fstat(fd, &st) != 0 || !S_ISDIR(st.st_mode))) {
        (void)close(fd);
        return -WASI_ENOTDIR;
    }
    return fd;
}

static wasi_errno prepare(struct wasi *w, uint64_t fd, uint64_t right, uint64_t ptr, uint64_t len,
                          struct wasi_fd **dir, struct wasi_path *path) {
    wasi_errno e = wasi_fd_require(w, (uint32_t)fd, WASI_DIRECTORY, WASI_ENOTDIR, right, dir);
    return e != WASI_SUCCESS ? e : wasi_path_copy(w, (uint32_t)ptr, (uint32_t)len, path);
}

/* path_filestat_get(fd, flags, *path, path_len, *filestat) */
WASI_FN(path_filestat_get) {
    struct wasi_path path;
    struct wasi_fd *dir;
    struct stat st;
    wasi_errno e = prepare(w, a[0], WASI_RIGHT_PATH_FILESTAT_GET, a[2], a[3], &dir, &path);
    if (e != WASI_SUCCESS) return e;
    int fd = locate(dir, &path, (uint32_t)a[1]);
    if (fd < 0) return (wasi_errno)-fd;
    e = fstat(fd, &st) == 0 ? wasi_write_filestat(w, &st, (uint32_t)a[4]) : wasi_from_errno(errno);
    (void)close(fd);
    return e;
}

/* Times are set by an open descriptor: the filter of system calls knows no path here. A link that
 * is not followed cannot be opened. */
static wasi_errno set_times(struct wasi *w, const struct wasi_fd *dir, const struct wasi_path *path,
                            bool follow, const struct timespec times[2]) {
    const uint64_t flags = O_NONBLOCK | O_NOCTTY | (follow ? 0 : O_NOFOLLOW);
    int fd = wasi_path_resolve(dir->host_fd, path->text, flags | O_RDONLY, 0);
    if (fd == -WASI_EACCES) fd = wasi_path_resolve(dir->host_fd, path->text, flags | O_WRONLY, 0);
    if (fd < 0) return (wasi_errno)-fd;
    wasi_errno e = wasi_set_times(w, fd, times);
    (void)close(fd);
    return e;
}

/* path_filestat_set_times(fd, flags, *path, path_len, atim, mtim, fst_flags) */
WASI_FN(path_filestat_set_times) {
    struct timespec times[2];
    struct wasi_path path;
    struct wasi_fd *dir;
    struct stat st;
    wasi_errno e = wasi_times(w, a[4], a[5], (uint16_t)a[6], times);
    if (e == WASI_SUCCESS) {
        e = prepare(w, a[0], 0, a[2], a[3], &dir, &path);
    }
    if (e != WASI_SUCCESS) return e;
    if (!dir->writable_mount) return WASI_EROFS;
    if (!(dir->rights_base & WASI_RIGHT_PATH_FILESTAT_SET_TIMES)) return WASI_ENOTCAPABLE;
    int fd = locate(dir, &path, (uint32_t)a[1]);
    if (fd < 0) return (wasi_errno)-fd;
    bool found = fstat(fd, &st) == 0;
    (void)close(fd);
    if (!found || !(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))) return WASI_ENOTSUP;
    return set_times(w, dir, &path, (uint32_t)a[1] & WASI_LOOKUP_SYMLINK_FOLLOW, times);
}

/* path_readlink(fd, *path, path_len, *buf, buf_len, *bufused); cuts as readlink(2) does. */
WASI_FN(path_readlink) {
    char target[PATH_MAX];
    struct wasi_path path;
    struct wasi_fd *dir;
    struct stat st;
    wasi_errno e = prepare(w, a[0], WASI_RIGHT_PATH_READLINK, a[1], a[2], &dir, &path);
    if (e != WASI_SUCCESS) return e;
    int fd = wasi_path_resolve(dir->host_fd, path.text, O_PATH | O_NOFOLLOW, 0);
    if (fd < 0) return (wasi_errno)-fd;
    ssize_t length = -1;
    if (fstat(fd, &st) != 0 || !S_ISLNK(st.st_mode)) {
        errno = path.must_be_directory && !S_ISDIR(st.st_mode) ? ENOTDIR : EINVAL;
    } else if (path.must_be_directory) {
        errno = EINVAL; /* "link/" names the directory behind it, which is no link */
    } else {
        length = readlinkat(fd, "", target, sizeof target);
    }
    e = length < 0 ? wasi_from_errno(errno) : WASI_SUCCESS;
    (void)close(fd);
    if (e != WASI_SUCCESS) return e;
    uint32_t used = (uint32_t)length < (uint32_t)a[4] ? (uint32_t)length : (uint32_t)a[4];
    bool ok = guest_put(w->memory, (uint32_t)a[3], target, used) &&
              guest_put_u32(w->memory, (uint32_t)a[5], used);
    return ok ? WASI_SUCCESS : WASI_EFAULT;
}

/* Names from the guest, and opening them. No string is ever judged by its "..": the kernel
 * resolves, and openat2(RESOLVE_BENEATH) refuses whatever would leave the directory. */
#include "wasi/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    RESOLVE_ATTEMPTS = 64
}; /* openat2 says EAGAIN while somebody renames directories above it */

static bool is_utf8(const uint8_t *s, size_t size) {
    size_t i = 0;
    while (i < size) {
        uint8_t lead = s[i++];
        if (lead < 0x80) continue;
        size_t more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
        if (lead < 0xc2 || lead > 0xf4 || size - i < more) return false;
        uint8_t second = s[i];
        if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f) ||
            (lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f)) {
            return false; /* overlong, a surrogate, or beyond U+10FFFF */
        }
        for (; more > 0; more--, i++) {
            if ((s[i] & 0xc0) != 0x80) return false;
        }
    }
    return true;
}

wasi_errno wasi_path_copy(struct wasi *w, uint32_t ptr, uint32_t len, struct wasi_path *path) {
    uint8_t *span;
    if (!guest_span(w->memory, ptr, len, &span)) return WASI_EFAULT;
    if (len == 0) return WASI_ENOENT;
    if (len >= sizeof path->text) return WASI_ENAMETOOLONG;
    memcpy(path->text, span, len); /* copied once; checked on the copy */
    path->text[len] = 0;
    if (memchr(path->text, 0, len) != NULL) return WASI_EINVAL;
    if (!is_utf8((const uint8_t *)path->text, len)) return WASI_EILSEQ;
    if (path->text[0] == '/') return WASI_EPERM;
    /* A trailing slash reaches the kernel never: with NOFOLLOW it would follow the link all the
     * same (fstatat, openat, utimensat, linkat). It becomes a demand instead. */
    path->must_be_directory = path->text[len - 1] == '/';
    while (path->text[len - 1] == '/')
        path->text[--len] = 0;
    return WASI_SUCCESS;
}

int wasi_path_resolve(int dir_fd, const char *path, uint64_t flags, uint64_t mode) {
    struct open_how how = {.flags = flags | O_CLOEXEC,
                           .mode = mode,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    for (int attempt = 0; attempt < RESOLVE_ATTEMPTS; attempt++) {
        long fd = syscall(SYS_openat2, dir_fd, path, &how, sizeof how);
        if (fd >= 0) return (int)fd;
        if (errno != EAGAIN && errno != EINTR) break;
    }
    return -(int)wasi_from_errno(errno);
}

/* What path_open's oflags demand of the directory's rights. */
static wasi_errno check_open_rights(const struct wasi_fd *dir, uint32_t oflags, bool write) {
    bool changes = (oflags & (WASI_OFLAG_CREAT | WASI_OFLAG_TRUNC)) != 0 || write;
    if (changes && !dir->writable_mount) return WASI_EROFS;
    if ((oflags & WASI_OFLAG_CREAT) && !(dir->rights_base & WASI_RIGHT_PATH_CREATE_FILE)) {
        return WASI_ENOTCAPABLE;
    }
    /* Linux truncates even what is opened for reading only: the flag needs a right of its own. */
    if ((oflags & WASI_OFLAG_TRUNC) && !(dir->rights_base & WASI_RIGHT_PATH_FILESTAT_SET_SIZE)) {
        return WASI_ENOTCAPABLE;
    }
    return WASI_SUCCESS;
}

uint64_t wasi_host_fdflags(uint16_t fdflags) {
    return (fdflags & WASI_FDFLAG_APPEND ? (uint64_t)O_APPEND : 0) |
           (fdflags & WASI_FDFLAG_DSYNC ? (uint64_t)O_DSYNC : 0) |
           (fdflags & (WASI_FDFLAG_SYNC | WASI_FDFLAG_RSYNC) ? (uint64_t)O_SYNC : 0);
}

/* The status of the file that O_TRUNC is about to empty; one of size 0 if there is none. */
static void look_before_truncation(int dir_fd, const char *path, uint64_t nofollow,
                                   struct stat *st) {
    int fd = wasi_path_resolve(dir_fd, path, O_PATH | nofollow, 0);
    if (fd < 0 || fstat(fd, st) != 0 || !S_ISREG(st->st_mode)) *st = (struct stat){.st_nlink = 1};
    if (fd >= 0) (void)close(fd);
}

/* Opens for path_open; a descriptor or a negative WASI errno. Creating is tried exclusively first,
 * so that a new file is charged as a name. */
static int open_or_create(struct wasi *w, const struct wasi_fd *dir, const char *path,
                          uint64_t flags, bool create, bool exclusive) {
    if (!create) return wasi_path_resolve(dir->host_fd, path, flags, 0);
    if (!exclusive) {
        int fd = wasi_path_resolve(dir->host_fd, path, flags, 0);
        if (fd != -WASI_ENOENT) return fd;
    }
    wasi_errno e = wasi_quota_take_name(w, S_IFREG);
    if (e != WASI_SUCCESS) return -(int)e;
    int fd = wasi_path_resolve(dir->host_fd, path, flags | O_CREAT | O_EXCL, 0666 & ~w->mask);
    if (fd == -WASI_EEXIST && !exclusive) {
        /* A link that leads to nothing yet: the file is made behind it. Should somebody else have
         * been faster, it is charged all the same. */
        fd = wasi_path_resolve(dir->host_fd, path, flags | O_CREAT, 0666 & ~w->mask);
    }
    if (fd < 0) wasi_quota_give_name(w, S_IFREG);
    return fd;
}

/* A directory is asked for, to be written to: EISDIR, if it is one. */
static wasi_errno open_is_directory(const struct wasi_fd *dir, const struct wasi_path *path,
                                    bool follow) {
    uint64_t flags = O_PATH | O_DIRECTORY | (follow ? 0 : O_NOFOLLOW);
    int fd = wasi_path_resolve(dir->host_fd, path->text, flags, 0);
    if (fd < 0) return (wasi_errno)-fd;
    (void)close(fd);
    return WASI_EISDIR;
}

/* path_open(dirfd, dirflags, *path, path_len, oflags, rights_base, rights_inheriting, fdflags, *fd)
 */
WASI_FN(path_open) {
    struct wasi_path path;
    struct wasi_fd *dir;
    struct stat st;
    uint32_t slot, oflags = (uint32_t)a[4];
    uint8_t *span;
    const uint64_t write_rights =
        WASI_RIGHT_FD_WRITE | WASI_RIGHT_FD_ALLOCATE | WASI_RIGHT_FD_FILESTAT_SET_SIZE;

    if ((uint32_t)a[1] & ~1u || oflags & ~(uint32_t)WASI_OFLAGS_ALL ||
        (uint32_t)a[7] & ~(uint32_t)WASI_FDFLAGS_ALL) {
        return WASI_EINVAL;
    }
    wasi_errno e = wasi_fd_require(w, (uint32_t)a[0], WASI_DIRECTORY, WASI_ENOTDIR,
                                   WASI_RIGHT_PATH_OPEN, &dir);
    if (e == WASI_SUCCESS) e = wasi_path_copy(w, (uint32_t)a[2], (uint32_t)a[3], &path);
    if (e != WASI_SUCCESS) return e;
    if (!guest_span(w->memory, (uint32_t)a[8], 4, &span)) return WASI_EFAULT;

    bool directory = oflags & WASI_OFLAG_DIRECTORY || path.must_be_directory;
    /* As in POSIX, a trailing slash asks for what the link leads to. */
    bool follow = a[1] & WASI_LOOKUP_SYMLINK_FOLLOW || path.must_be_directory;
    bool create = oflags & WASI_OFLAG_CREAT, truncate = oflags & WASI_OFLAG_TRUNC;
    if (create && oflags & WASI_OFLAG_DIRECTORY) return WASI_EINVAL;
    if (create && path.must_be_directory) return WASI_EISDIR;
    if (directory && a[5] & WASI_RIGHT_FD_WRITE) return open_is_directory(dir, &path, follow);
    bool write = (a[5] & write_rights) != 0 && !directory;
    bool read = (a[5] & (WASI_RIGHT_FD_READ | WASI_RIGHT_FD_READDIR)) != 0;
    e = check_open_rights(dir, oflags, write);
    if (e != WASI_SUCCESS) return e;
    if ((write && (a[5] & write_rights & ~dir->rights_inheriting)) ||
        (!directory && a[5] & WASI_RIGHT_FD_READ & ~dir->rights_inheriting)) {
        return WASI_ENOTCAPABLE;
    }
    e = wasi_fd_reserve(w, &slot);
    if (e != WASI_SUCCESS) return e;

    uint64_t nofollow = follow ? 0 : O_NOFOLLOW;
    uint64_t flags = O_NONBLOCK | O_NOCTTY | nofollow | wasi_host_fdflags((uint16_t)a[7]);
    flags |= directory ? O_DIRECTORY : 0;
    /* O_RDONLY|O_TRUNC is unspecified: truncating opens for writing, the rights keep the guest out.
     */
    flags |= (uint64_t)((write || truncate) ? (read || !write ? O_RDWR : O_WRONLY) : O_RDONLY);
    struct stat before = {.st_nlink = 1};
    if (truncate) look_before_truncation(dir->host_fd, path.text, nofollow, &before);
    flags |= truncate && !directory ? O_TRUNC : 0;

    int fd = open_or_create(w, dir, path.text, flags, create, oflags & WASI_OFLAG_EXCL);
    if (fd < 0) return (wasi_errno)-fd;
    if (fstat(fd, &st) != 0 || (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))) {
        (void)close(fd); /* FIFOs, sockets and devices are no part of this world */
        return WASI_EACCES;
    }
    (void)wasi_quota_resize(w, &before, (uint64_t)before.st_size, 0);
    bool is_directory = S_ISDIR(st.st_mode);
    uint64_t kind_rights = is_directory ? WASI_RIGHTS_DIRECTORY : WASI_RIGHTS_FILE;
    if (!dir->writable_mount) kind_rights &= ~WASI_RIGHTS_MUTATE;
    w->fds[slot] = (struct wasi_fd){
        .kind = is_directory ? WASI_DIRECTORY : WASI_FILE,
        .host_fd = fd,
        .rights_base = a[5] & dir->rights_inheriting & kind_rights,
        .rights_inheriting = a[6] & dir->rights_inheriting,
        .flags = (uint16_t)a[7],
        .writable_mount = dir->writable_mount,
        .mount = dir->mount,
    };
    wasi_origin_note(w, &w->fds[slot], dir, path.text, flags);
    memcpy(span, &slot, sizeof slot);
    return WASI_SUCCESS;
}

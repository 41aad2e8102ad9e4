/* The table of descriptors, and the functions that only look at or change an entry. */
#include "wasi/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* One that is taken, even if it is lost. */
static wasi_errno get_taken(struct wasi *w, uint32_t fd, struct wasi_fd **out) {
    if (fd >= w->fd_capacity || w->fds[fd].kind == WASI_CLOSED) return WASI_EBADF;
    *out = &w->fds[fd];
    return WASI_SUCCESS;
}

wasi_errno wasi_fd_get(struct wasi *w, uint32_t fd, struct wasi_fd **out) {
    wasi_errno e = get_taken(w, fd, out);
    return e == WASI_SUCCESS && (*out)->kind == WASI_LOST ? WASI_EIO : e;
}

wasi_errno wasi_fd_require(struct wasi *w, uint32_t fd, enum wasi_kind kind, wasi_errno wrong_kind,
                           uint64_t rights, struct wasi_fd **out) {
    wasi_errno e = wasi_fd_get(w, fd, out);
    if (e != WASI_SUCCESS) return e;
    if ((*out)->kind != kind) return wrong_kind;
    return ((*out)->rights_base & rights) == rights ? WASI_SUCCESS : WASI_ENOTCAPABLE;
}

wasi_errno wasi_fd_reserve(struct wasi *w, uint32_t *fd) {
    for (uint32_t i = 0; i < w->fd_capacity; i++) {
        if (w->fds[i].kind == WASI_CLOSED) {
            *fd = i;
            if (i >= w->fd_top) w->fd_top = i + 1;
            return WASI_SUCCESS;
        }
    }
    return WASI_EMFILE;
}

/* Whether a descriptor is one of the file's. */
static bool is_of(const struct wasi_fd *entry, const struct stat *st) {
    struct stat other;
    return entry->kind == WASI_FILE && fstat(entry->host_fd, &other) == 0 &&
           other.st_dev == st->st_dev && other.st_ino == st->st_ino;
}

bool wasi_fd_is_held(const struct wasi *w, const struct stat *st) {
    for (uint32_t i = 0; i < w->fd_top; i++)
        if (w->fds[i].held && is_of(&w->fds[i], st)) return true;
    return false;
}

bool wasi_fd_hold(struct wasi *w, const struct stat *st) {
    bool any = false;
    for (uint32_t i = 0; i < w->fd_top; i++) {
        if (!is_of(&w->fds[i], st)) continue;
        w->fds[i].held = true;
        any = true;
    }
    return any;
}

void wasi_fd_release(struct wasi *w, struct wasi_fd *entry) {
    struct stat st;
    bool held = entry->held && fstat(entry->host_fd, &st) == 0;
    entry->held = false;
    if (held && !wasi_fd_is_held(w, &st)) wasi_quota_released(w, &st);
    if (entry->host_fd >= 0 && !entry->preopened) (void)close(entry->host_fd);
    wasi_listing_free(entry->listing);
    free(entry->origin);
    *entry = (struct wasi_fd){.host_fd = -1};
}

/* fd_close(fd). A closed preopen is gone from the guest's view for good. */
WASI_FN(fd_close) {
    struct wasi_fd *entry;
    wasi_errno e = get_taken(w, (uint32_t)a[0], &entry);
    if (e == WASI_SUCCESS) wasi_fd_release(w, entry);
    return e;
}

/* fd_renumber(fd, to): `to` must be open, is closed, and takes over fd's entry. */
WASI_FN(fd_renumber) {
    struct wasi_fd *from = NULL, *to = NULL;
    wasi_errno e = get_taken(w, (uint32_t)a[0], &from);
    if (e == WASI_SUCCESS) e = get_taken(w, (uint32_t)a[1], &to);
    if (e != WASI_SUCCESS || from == to) return e;
    wasi_fd_release(w, to);
    *to = *from;
    *from = (struct wasi_fd){.host_fd = -1};
    return WASI_SUCCESS;
}

int wasi_host_fd(const struct wasi *w, const struct wasi_fd *entry) {
    switch (entry->kind) {
    case WASI_INPUT: return w->input.fd;
    case WASI_OUTPUT: return entry->stream->fd;
    default: return entry->host_fd;
    }
}

static uint8_t filetype_of(const struct wasi *w, const struct wasi_fd *entry) {
    struct stat st;
    int fd = wasi_host_fd(w, entry);
    if (entry->kind == WASI_DIRECTORY) return WASI_FILETYPE_DIRECTORY;
    if (entry->kind == WASI_FILE) return WASI_FILETYPE_REGULAR;
    /* A stream looks like a terminal only if it is one: libc's isatty() goes by this. */
    if (fd >= 0 && fstat(fd, &st) == 0) return wasi_filetype(st.st_mode);
    return WASI_FILETYPE_UNKNOWN;
}

/* fd_fdstat_get(fd, *fdstat) */
WASI_FN(fd_fdstat_get) {
    struct wasi_fd *entry;
    wasi_errno e = wasi_fd_get(w, (uint32_t)a[0], &entry);
    if (e != WASI_SUCCESS) return e;
    uint8_t out[WASI_FDSTAT_BYTES] = {0}; /* padding must not carry host bytes */
    out[0] = filetype_of(w, entry);
    memcpy(out + 2, &entry->flags, 2);
    memcpy(out + 8, &entry->rights_base, 8);
    memcpy(out + 16, &entry->rights_inheriting, 8);
    return guest_put(w->memory, (uint32_t)a[1], out, sizeof out) ? WASI_SUCCESS : WASI_EFAULT;
}

/* fd_fdstat_set_flags(fd, flags). Linux cannot switch synchronous writing on an open file. */
WASI_FN(fd_fdstat_set_flags) {
    const uint16_t sync = WASI_FDFLAG_DSYNC | WASI_FDFLAG_RSYNC | WASI_FDFLAG_SYNC;
    struct wasi_fd *entry;
    wasi_errno e = wasi_fd_get(w, (uint32_t)a[0], &entry);
    if (e != WASI_SUCCESS) return e;
    if ((uint32_t)a[1] & ~(uint32_t)WASI_FDFLAGS_ALL) return WASI_EINVAL;
    if (!(entry->rights_base & WASI_RIGHT_FD_FDSTAT_SET_FLAGS)) return WASI_ENOTCAPABLE;
    uint16_t flags = (uint16_t)a[1];
    if ((flags ^ entry->flags) & sync) return WASI_ENOTSUP;
    if (entry->kind == WASI_FILE) {
        int append = flags & WASI_FDFLAG_APPEND ? O_APPEND : 0;
        int now = fcntl(entry->host_fd, F_GETFL);
        if (now < 0 || fcntl(entry->host_fd, F_SETFL, (now & ~O_APPEND) | append) != 0) {
            return wasi_from_errno(errno);
        }
    }
    entry->flags = flags; /* NONBLOCK is ours alone: the host's stdin is shared with others */
    return WASI_SUCCESS;
}

/* fd_fdstat_set_rights(fd, base, inheriting): rights only ever shrink. */
WASI_FN(fd_fdstat_set_rights) {
    struct wasi_fd *entry;
    wasi_errno e = wasi_fd_get(w, (uint32_t)a[0], &entry);
    if (e != WASI_SUCCESS) return e;
    if ((a[1] & ~entry->rights_base) || (a[2] & ~entry->rights_inheriting)) return WASI_ENOTCAPABLE;
    entry->rights_base = a[1];
    entry->rights_inheriting = a[2];
    return WASI_SUCCESS;
}

/* fd_prestat_get(fd, *prestat): libc asks from 3 upwards until EBADF. */
WASI_FN(fd_prestat_get) {
    struct wasi_fd *entry;
    wasi_errno e = wasi_fd_get(w, (uint32_t)a[0], &entry);
    if (e != WASI_SUCCESS) return e;
    if (!entry->preopened) return WASI_EBADF;
    uint8_t out[WASI_PRESTAT_BYTES] = {0}; /* tag 0: a directory */
    uint32_t length = (uint32_t)strlen(w->mounts[entry->mount].guest_path);
    memcpy(out + 4, &length, 4);
    return guest_put(w->memory, (uint32_t)a[1], out, sizeof out) ? WASI_SUCCESS : WASI_EFAULT;
}

/* fd_prestat_dir_name(fd, *path, path_len) */
WASI_FN(fd_prestat_dir_name) {
    struct wasi_fd *entry;
    wasi_errno e = wasi_fd_get(w, (uint32_t)a[0], &entry);
    if (e != WASI_SUCCESS) return e;
    if (!entry->preopened) return WASI_EBADF;
    const char *path = w->mounts[entry->mount].guest_path;
    size_t length = strlen(path);
    if (length > (uint32_t)a[2]) return WASI_ENAMETOOLONG;
    return guest_put(w->memory, (uint32_t)a[1], path, length) ? WASI_SUCCESS : WASI_EFAULT;
}

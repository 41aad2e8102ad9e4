/* Growth of the writable mounts: names, and bytes in whole blocks by logical size. So a sparse file
 * costs what it could come to, and a file of one byte what it takes on the disk. A file without a
 * name that is still open is held: it stays charged, but is no part of what the mounts have grown
 * by, as it ends with its last descriptor. */
#include "wasi/internal.h"

#include <errno.h>

enum { BLOCK_BYTES = 4096 };

uint64_t wasi_disk_bytes(mode_t mode, uint64_t size) {
    if (S_ISDIR(mode) || S_ISLNK(mode)) return BLOCK_BYTES;
    if (!S_ISREG(mode)) return 0;
    return size > INT64_MAX - BLOCK_BYTES ? INT64_MAX
                                          : (size + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
}

static int64_t cost_of(const struct stat *st) {
    return (int64_t)wasi_disk_bytes(st->st_mode, (uint64_t)st->st_size);
}

static int64_t saturated(int64_t left, int64_t right) {
    int64_t sum;
    if (!__builtin_add_overflow(left, right, &sum)) return sum;
    return right > 0 ? INT64_MAX : INT64_MIN;
}

/* Some growth, or with negative numbers some shrinking. */
static void count(struct wasi *w, int64_t bytes, int64_t names, bool held) {
    struct wasi_growth *growth = w->growth;
    w->quota_bytes = saturated(w->quota_bytes, -bytes);
    w->quota_names = saturated(w->quota_names, -names);
    if (held) {
        w->held_bytes = saturated(w->held_bytes, bytes);
    } else if (growth != NULL) {
        growth->bytes = saturated(growth->bytes, bytes);
        growth->names = saturated(growth->names, names);
    }
}

static wasi_errno charge(struct wasi *w, int64_t bytes, int64_t names, bool held) {
    if ((bytes > 0 && bytes > w->quota_bytes) || (names > 0 && names > w->quota_names))
        return WASI_EDQUOT;
    count(w, bytes, names, held);
    return WASI_SUCCESS;
}

void wasi_quota_begin(struct wasi *w, uint64_t bytes, uint64_t names, struct wasi_growth *growth) {
    w->quota_bytes = bytes < INT64_MAX ? (int64_t)bytes : INT64_MAX;
    w->quota_names = names < INT64_MAX ? (int64_t)names : INT64_MAX;
    w->held_bytes = 0;
    w->growth = growth;
    for (uint32_t i = 0; i < w->fd_top; i++)
        w->fds[i].held = false;
    for (uint32_t i = 0; i < w->fd_top; i++) { /* of a former turn */
        struct wasi_fd *entry = &w->fds[i];
        struct stat st;
        if (entry->kind == WASI_FILE && entry->writable_mount && fstat(entry->host_fd, &st) == 0 &&
            st.st_nlink == 0) {
            if (!wasi_fd_is_held(w, &st)) count(w, cost_of(&st), 1, true);
            entry->held = true;
        }
    }
}

wasi_errno wasi_quota_take_name(struct wasi *w, mode_t mode) {
    return charge(w, (int64_t)wasi_disk_bytes(mode, 0), 1, false);
}

void wasi_quota_give_name(struct wasi *w, mode_t mode) {
    count(w, -(int64_t)wasi_disk_bytes(mode, 0), -1, false);
}

wasi_errno wasi_quota_resize(struct wasi *w, const struct stat *st, uint64_t from, uint64_t to) {
    int64_t bytes = (int64_t)wasi_disk_bytes(S_IFREG, to) - (int64_t)wasi_disk_bytes(S_IFREG, from);
    return charge(w, bytes, 0, st->st_nlink == 0);
}

void wasi_quota_unlinked(struct wasi *w, const struct stat *st) {
    bool last = S_ISDIR(st->st_mode) || st->st_nlink == 1;
    int64_t bytes = last ? cost_of(st) : 0;
    count(w, -bytes, -1, false);
    /* wasi_quota_released() gives the blocks of one that is open back. */
    bool held = last && wasi_fd_hold(w, st);
    if (held) count(w, bytes, 1, true);
    if (last && !held) wasi_inode_forget(w, st);
}

void wasi_quota_released(struct wasi *w, const struct stat *st) {
    count(w, -cost_of(st), -1, true);
    wasi_inode_forget(w, st);
}

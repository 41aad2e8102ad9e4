/* Growth of the writable mounts, counted by logical size, so that sparse files and files that were
 * unlinked but are still open cost what they could come to. */
#include "wasi/internal.h"

#include <errno.h>

wasi_errno wasi_quota_take_bytes(struct wasi *w, uint64_t bytes) {
    if (bytes > w->quota_bytes) return WASI_EDQUOT;
    w->quota_bytes -= bytes;
    return WASI_SUCCESS;
}

void wasi_quota_give_bytes(struct wasi *w, uint64_t bytes) {
    if (__builtin_add_overflow(w->quota_bytes, bytes, &w->quota_bytes)) w->quota_bytes = UINT64_MAX;
}

wasi_errno wasi_quota_take_inode(struct wasi *w) {
    if (w->quota_inodes == 0) return WASI_EDQUOT;
    w->quota_inodes--;
    return WASI_SUCCESS;
}

void wasi_quota_give_inode(struct wasi *w) {
    if (w->quota_inodes < UINT64_MAX) w->quota_inodes++;
}

wasi_errno wasi_quota_grow_to(struct wasi *w, int fd, uint64_t new_size, uint64_t *charged) {
    struct stat st;
    *charged = 0;
    if (fstat(fd, &st) != 0) return wasi_from_errno(errno);
    uint64_t size = (uint64_t)st.st_size;
    if (new_size <= size) return WASI_SUCCESS;
    wasi_errno e = wasi_quota_take_bytes(w, new_size - size);
    if (e == WASI_SUCCESS) *charged = new_size - size;
    return e;
}

void wasi_quota_unlinked(struct wasi *w, const struct stat *st) {
    if (S_ISDIR(st->st_mode)) {
        wasi_quota_give_inode(w);
    } else if (st->st_nlink == 1) { /* this was its last name */
        wasi_quota_give_inode(w);
        /* An open one keeps its blocks: wasi_fd_release() gives them back. */
        if (S_ISREG(st->st_mode) && !wasi_fd_is_open_elsewhere(w, NULL, st)) {
            wasi_quota_give_bytes(w, (uint64_t)st->st_size);
        }
    }
}

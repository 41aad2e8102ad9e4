#include "wasi/internal.h"

#include <errno.h>
#include <sodium.h>
#include <sys/random.h>

enum { CHUNK_BYTES = 65536 }; /* the deadline is looked at between chunks */

static int fill(struct wasi *w, uint8_t *at, size_t size) {
    if (w->deterministic) {
        /* ChaCha20 keyed by the job's seed. Each call starts at a fresh 64-byte block, so that the
         * stream depends on the sequence of calls only. */
        static const uint8_t nonce[crypto_stream_chacha20_NONCEBYTES] = {0};
        memset(at, 0, size);
        (void)crypto_stream_chacha20_xor_ic(at, at, size, nonce, w->random_block, w->random_key);
        w->random_block += (size + 63) / 64;
        return 0;
    }
    while (size > 0) {
        /* Straight from the kernel each time: a user-space pool would be shared by forked copies.
         */
        ssize_t got = getrandom(at, size, 0);
        if (got < 0) {
            if (errno == EINTR) continue;
            return -1;
        }
        at += got;
        size -= (size_t)got;
    }
    return 0;
}

/* random_get(*buf, buf_len) */
WASI_FN(random_get) {
    uint8_t *span;
    uint64_t left = (uint32_t)a[1];
    if (!guest_span(w->memory, (uint32_t)a[0], left, &span)) return WASI_EFAULT;
    /* An interpreter's own start is not the program's: without a hash seed there would be none. */
    if (w->deny_random && (w->before_input == NULL || w->reached_input)) return WASI_ENOTCAPABLE;
    while (left > 0) {
        size_t chunk = left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES;
        if (fill(w, span, chunk) != 0) return WASI_EIO;
        span += chunk;
        left -= chunk;
        if (left > 0 && clock_now_ns() >= w->deadline_ns) {
            w->stop = WASI_STOP_DEADLINE;
            return WASI_EINTR;
        }
    }
    return WASI_SUCCESS;
}

/* Arguments and environment: two functions each, over the same shape. */
#include "wasi/internal.h"

static wasi_errno put_sizes(const struct wasi *w, const struct wasi_strings *s, const uint64_t *a) {
    bool ok = guest_put_u32(w->memory, (uint32_t)a[0], s->count) &&
              guest_put_u32(w->memory, (uint32_t)a[1], s->bytes);
    return ok ? WASI_SUCCESS : WASI_EFAULT;
}

static wasi_errno put_strings(const struct wasi *w, const struct wasi_strings *s,
                              const uint64_t *a) {
    uint32_t pointers = (uint32_t)a[0], at = (uint32_t)a[1];
    uint8_t *span;
    /* Both areas are checked as a whole before anything is written. */
    if (!guest_span(w->memory, pointers, (uint64_t)s->count * 4, &span) ||
        !guest_put(w->memory, at, s->data, s->bytes)) {
        return WASI_EFAULT;
    }
    const char *string = s->data;
    for (uint32_t i = 0; i < s->count; i++) {
        (void)guest_put_u32(w->memory, pointers + 4 * i, at + (uint32_t)(string - s->data));
        string += strlen(string) + 1;
    }
    return WASI_SUCCESS;
}

/* args_get(*argv, *argv_buf) */
WASI_FN(args_get) {
    return put_strings(w, &w->argv, a);
}
/* args_sizes_get(*argc, *argv_buf_size) */
WASI_FN(args_sizes_get) {
    return put_sizes(w, &w->argv, a);
}
/* environ_get(*environ, *environ_buf) */
WASI_FN(environ_get) {
    return put_strings(w, &w->env, a);
}
/* environ_sizes_get(*count, *buf_size) */
WASI_FN(environ_sizes_get) {
    return put_sizes(w, &w->env, a);
}

/* The only place where guest numbers become host pointers. Linear memory may grow while a call is
 * under way, never shrink or move: `size_bytes` is read anew on each check. */
#ifndef PA_WASI_GUEST_MEMORY_H
#define PA_WASI_GUEST_MEMORY_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "guest memory is little-endian; so must the host be"
#endif

struct guest_memory {
    uint8_t *base;
    uint64_t size_bytes;
};

/* *span = host address of [ptr, ptr+len); false when any part lies outside linear memory. */
static inline bool guest_span(const struct guest_memory *memory, uint32_t ptr, uint64_t len,
                              uint8_t **span) {
    uint64_t end;
    if (memory == NULL || __builtin_add_overflow((uint64_t)ptr, len, &end) ||
        end > memory->size_bytes) {
        return false;
    }
    *span = memory->base + ptr;
    return true;
}

static inline bool guest_put(const struct guest_memory *memory, uint32_t ptr, const void *data,
                             uint64_t len) {
    uint8_t *span;
    if (!guest_span(memory, ptr, len, &span)) return false;
    if (len > 0) memcpy(span, data, len);
    return true;
}

static inline bool guest_get(const struct guest_memory *memory, uint32_t ptr, void *data,
                             uint64_t len) {
    uint8_t *span;
    if (!guest_span(memory, ptr, len, &span)) return false;
    if (len > 0) memcpy(data, span, len);
    return true;
}

static inline bool guest_put_u32(const struct guest_memory *memory, uint32_t ptr, uint32_t value) {
    return guest_put(memory, ptr, &value, sizeof value);
}

static inline bool guest_put_u64(const struct guest_memory *memory, uint32_t ptr, uint64_t value) {
    return guest_put(memory, ptr, &value, sizeof value);
}

#endif

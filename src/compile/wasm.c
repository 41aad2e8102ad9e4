#include "compile/wasm.h"

#include <string.h>

void bytes_add(struct bytes *b, const void *data, size_t size) {
    if (b->size + size > b->room) {
        size_t room = (b->size + size) * 2 + 64;
        uint8_t *more = unit_allocate(b->unit, room);
        if (b->size > 0) memcpy(more, b->data, b->size);
        b->data = more;
        b->room = room;
    }
    if (size > 0) memcpy(b->data + b->size, data, size);
    b->size += size;
}

void bytes_put(struct bytes *b, uint8_t byte) {
    if (b->size < b->room) {
        b->data[b->size++] = byte;
    } else {
        bytes_add(b, &byte, 1);
    }
}

void bytes_leb(struct bytes *b, uint64_t value) {
    for (; value > 127; value >>= 7)
        bytes_put(b, (uint8_t)(value | 128));
    bytes_put(b, (uint8_t)value);
}

void bytes_signed(struct bytes *b, int64_t value) {
    for (;;) {
        uint8_t byte = value & 127;
        value >>= 7; /* cppcheck-suppress shiftNegativeLHS */
        if ((value == 0 && !(byte & 64)) || (value == -1 && byte & 64)) {
            bytes_put(b, byte);
            return;
        }
        bytes_put(b, byte | 128);
    }
}

void bytes_u32(struct bytes *b, uint32_t value) {
    const uint8_t little[] = {(uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16),
                              (uint8_t)(value >> 24)};
    bytes_add(b, little, sizeof little);
}

void bytes_u64(struct bytes *b, uint64_t value) {
    bytes_u32(b, (uint32_t)value);
    bytes_u32(b, (uint32_t)(value >> 32));
}

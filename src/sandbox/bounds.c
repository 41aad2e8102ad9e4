#include "sandbox/bounds.h"

#include <stdio.h>

/* A number in LEB128 of at most 32 bits; false: there is none. */
static bool take_number(const uint8_t *bytes, size_t size, size_t *at, uint32_t *out) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 35 && *at < size; shift += 7) {
        uint8_t byte = bytes[(*at)++];
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) {
            *out = (uint32_t)value;
            return value <= UINT32_MAX;
        }
    }
    return false;
}

bool bounds_check(const uint8_t *wasm, size_t size, char *why, size_t why_bytes) {
    /* By their ids; NULL: no list (WebAssembly, 5.5.2). */
    static const char *const lists[] = {
        NULL,      "types", "imports",  "functions", "tables",        "memories", "globals",
        "exports", NULL,    "elements", "functions", "data segments", NULL,       "tags"};
    enum { HEAD_BYTES = 8, LISTS = sizeof lists / sizeof *lists };
    for (size_t at = HEAD_BYTES; at < size;) {
        uint8_t id = wasm[at++];
        uint32_t bytes, count;
        if (!take_number(wasm, size, &at, &bytes) || bytes > size - at) return true;
        size_t inside = at;
        at += bytes;
        if (id >= LISTS || lists[id] == NULL || !take_number(wasm, at, &inside, &count)) continue;
        if (count <= BOUNDS_MOST) continue;
        (void)snprintf(why, why_bytes, "it has %u %s; at most %d can be compiled", count, lists[id],
                       BOUNDS_MOST);
        return false;
    }
    return true;
}

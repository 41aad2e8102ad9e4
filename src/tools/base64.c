#include "tools/base64.h"

#include <sodium.h>
#include <stdbool.h>
#include <stdlib.h>

enum { NONE = 64 };

/* The value of each character; NONE for the others. */
struct table {
    uint8_t values[256];
};

static struct table make_table(void) {
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    struct table table;
    for (size_t i = 0; i < sizeof table.values; i++)
        table.values[i] = NONE;
    for (uint8_t i = 0; i < 64; i++)
        table.values[(uint8_t)alphabet[i]] = i;
    return table;
}

/* As many whole groups of four as there are without anything between; the characters taken. */
static size_t take_groups(const struct table *t, const uint8_t *at, size_t length, uint8_t **out) {
    size_t taken = 0;
    uint8_t *to = *out;
    for (; length - taken >= 4; taken += 4, to += 3) {
        uint32_t a = t->values[at[taken]], b = t->values[at[taken + 1]],
                 c = t->values[at[taken + 2]], d = t->values[at[taken + 3]];
        if (((a | b | c | d) & NONE) != 0) break;
        uint32_t all = a << 18 | b << 12 | c << 6 | d;
        to[0] = (uint8_t)(all >> 16);
        to[1] = (uint8_t)(all >> 8);
        to[2] = (uint8_t)all;
    }
    *out = to;
    return taken;
}

ptrdiff_t base64_decode(const char *text, size_t length, uint8_t *out, size_t *wrong) {
    const struct table table = make_table();
    const uint8_t *at = (const uint8_t *)text;
    uint8_t *to = out;
    uint32_t group = 0;
    unsigned count = 0, padding = 0; /* of the group under way */
    bool ended = false;
    for (size_t i = 0; i < length;) {
        if (count == 0 && !ended) i += take_groups(&table, at + i, length - i, &to);
        if (i == length) break;
        uint8_t character = at[i], value = table.values[character];
        *wrong = i++;
        if (character == '\r' || character == '\n') continue;
        if (ended || (value == NONE && (character != '=' || count < 2)) ||
            (value != NONE && padding > 0)) {
            return -1;
        }
        padding += character == '=';
        group = group << 6 | (value & 63U & (value == NONE ? 0U : 63U));
        if (++count < 4) continue;
        if (padding > 0 && (group & (padding == 1 ? 0xffU : 0xffffU)) != 0) return -1;
        *to++ = (uint8_t)(group >> 16);
        if (padding < 2) *to++ = (uint8_t)(group >> 8);
        if (padding < 1) *to++ = (uint8_t)group;
        ended = padding > 0;
        group = 0;
        count = 0;
    }
    *wrong = length;
    return count == 0 ? to - out : -1;
}

char *base64_encode(const void *bytes, size_t size) {
    size_t room = sodium_base64_encoded_len(size, sodium_base64_VARIANT_ORIGINAL);
    char *text = malloc(room);
    return text != NULL ? sodium_bin2base64(text, room, bytes, size, sodium_base64_VARIANT_ORIGINAL)
                        : NULL;
}

#include "base/json_scan.h"

#include <string.h>

const char *json_scan_text(const char *at, const char *end, bool *plain) {
    const char *quote = memchr(at, '"', (size_t)(end - at));
    *plain = true;
    while (quote != NULL) {
        const char *escape = memchr(at, '\\', (size_t)(quote - at));
        if (escape == NULL) return quote;
        *plain = false;
        at = escape + 2;
        /* Looked for again only when it was the escaped one: else each escape would cost the way
         * to the end. */
        if (at > quote) quote = memchr(at, '"', (size_t)(end - at));
    }
    return end;
}

bool json_scan_is_within(const char *text, size_t size, size_t most_values, size_t most_depth) {
    const char *at = text, *end = text + size;
    size_t values = 1, depth = 0;
    bool plain;
    while (at < end) {
        char character = *at++;
        bool opens = character == '[' || character == '{';
        values += opens || character == ',';
        depth += opens;
        if (values > most_values || depth > most_depth) return false;
        if ((character == ']' || character == '}') && depth > 0) depth--;
        if (character == '"') {
            at = json_scan_text(at, end, &plain);
            if (at < end) at++;
        }
    }
    return true;
}

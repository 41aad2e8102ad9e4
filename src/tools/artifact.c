#include "tools/artifact.h"

#include "tools/base64.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

bool artifact_is_name(const char *name, bool folders) {
    size_t part = 0;
    for (const char *at = name;; at++) {
        const uint8_t byte = (uint8_t)*at, next = byte != 0 ? (uint8_t)at[1] : 0;
        if (byte == 0 || byte == '/') {
            const char *start = at - part;
            if (part == 0 || (part == 1 && start[0] == '.') ||
                (part == 2 && start[0] == '.' && start[1] == '.') || (byte == '/' && !folders))
                return false;
            if (byte == 0) return true;
            part = 0;
            continue;
        }
        /* C0, DEL, and C1 in UTF-8 */
        if (byte < 0x20 || byte == 0x7f || (byte == 0xc2 && next < 0xa0)) return false;
        part++;
    }
}

static size_t token(const char *text) {
    return strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$&-^_.+");
}

static bool is_mime(const char *text) {
    size_t type = token(text);
    if (type == 0 || text[type] != '/') return false;
    size_t subtype = token(text + type + 1);
    return subtype > 0 && text[type + 1 + subtype] == 0 && type + 1 + subtype <= 255;
}

static bool is_base64(const json_t *value) {
    size_t length = json_string_length(value), wrong;
    uint8_t *bytes = malloc(length / 4 * 3 + 3);
    bool sound =
        bytes != NULL && base64_decode(json_string_value(value), length, bytes, &wrong) >= 0;
    free(bytes);
    return sound;
}

bool artifact_is_sound(const json_t *entry) {
    const char *name = json_string_value(json_object_get(entry, "name")),
               *mime = json_string_value(json_object_get(entry, "mime"));
    const json_t *bytes = json_object_get(entry, "bytes_base64");
    return json_object_size(entry) == 3 && name != NULL && mime != NULL && json_is_string(bytes) &&
           strlen(name) <= ARTIFACT_NAME_BYTES && artifact_is_name(name, false) && is_mime(mime) &&
           is_base64(bytes);
}

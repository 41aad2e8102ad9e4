#include "base/json_text.h"

#include "base/text.h"
#include <stdint.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Into room that is there: then nothing is allocated on the way. */
char *json_text(const json_t *value, size_t flags) {
    size_t bytes = json_dumpb(value, NULL, 0, flags);
    char *text = bytes > 0 ? malloc(bytes + 1) : NULL;
    if (text == NULL) return NULL;
    if (json_dumpb(value, text, bytes, flags) != bytes) {
        free(text);
        return NULL;
    }
    text[bytes] = 0;
    return text;
}

json_t *json_of_text(const char *text) {
    json_t *value = json_string(text);
    if (value != NULL) return value;
    char *shown = text_shown(text, strlen(text), TEXT_LINES); /* it is no UTF-8, or memory is out */
    if (shown != NULL) value = json_string(shown);
    free(shown);
    return value;
}

static int put_shown(const char *text) {
    const uint8_t *at = (const uint8_t *)text;
    size_t left = strlen(text);
    int result = 0;
    while (left > 0 && result >= 0) {
        size_t length = text_character(at, left);
        unsigned code;
        if (length > 0 && *at >= 0x7f && text_controls(at, length, &code))
            result = printf("\\u%04x", code);
        else
            result = fwrite(at, 1, length > 0 ? length : 1, stdout) > 0 ? 0 : EOF;
        at += length > 0 ? length : 1;
        left -= length > 0 ? length : 1;
    }
    return result < 0 ? result : putchar('\n');
}

int json_print(const json_t *value, size_t flags) {
    char *text = value != NULL ? json_text(value, flags) : NULL;
    if (text == NULL) return -ENOMEM;
    errno = 0;
    int result = isatty(STDOUT_FILENO) ? put_shown(text) : puts(text);
    free(text);
    if (result >= 0 && fflush(stdout) == 0) return 0;
    return errno != 0 ? -errno : -EIO;
}

enum { VALUE_BYTES = 16 }; /* of numbers, and what stands around each value */

/* Takes what a value is from `left`; false if that is not enough. */
static bool fits(const json_t *value, size_t *left) {
    size_t size = VALUE_BYTES + json_string_length(value), index;
    const char *key;
    json_t *member;
    if (size > *left) return false;
    *left -= size;
    json_object_foreach((json_t *)(uintptr_t)value, key,
                        member) if (!fits(member, left)) return false;
    json_array_foreach(value, index, member) if (!fits(member, left)) return false;
    return true;
}

bool json_is_larger(const json_t *value, size_t bytes) {
    return !fits(value, &bytes);
}

/* Of the library, for an object, an array and any other value; of a member, its key as well. */
enum { OBJECT_BYTES = 320, ARRAY_BYTES = 144, OTHER_BYTES = 64, MEMBER_BYTES = 80 };

size_t json_memory(const json_t *value) {
    size_t bytes = json_is_object(value)  ? OBJECT_BYTES
                   : json_is_array(value) ? ARRAY_BYTES
                                          : OTHER_BYTES + json_string_length(value),
           index;
    const char *key;
    json_t *member;
    json_object_foreach((json_t *)(uintptr_t)value, key, member) bytes +=
        MEMBER_BYTES + strlen(key) + json_memory(member);
    json_array_foreach(value, index, member) bytes += json_memory(member);
    return bytes;
}

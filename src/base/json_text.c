#include "base/json_text.h"

#include <stdlib.h>

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

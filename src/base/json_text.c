#include "base/json_text.h"

#include "base/text.h"

#include <stdlib.h>
#include <string.h>

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

#include "base/nearest.h"

#include <string.h>

enum { NAME_BYTES = 64 };

/* Edits from one word to the other (Levenshtein), for words of less than NAME_BYTES. */
static size_t distance(const char *from, const char *to) {
    size_t row[NAME_BYTES + 1], from_length = strlen(from), to_length = strlen(to);
    if (from_length >= NAME_BYTES || to_length >= NAME_BYTES) return NAME_BYTES;
    for (size_t j = 0; j <= to_length; j++)
        row[j] = j;
    for (size_t i = 1; i <= from_length; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= to_length; j++) {
            size_t replaced = diagonal + (from[i - 1] != to[j - 1]);
            size_t shorter = row[j] < row[j - 1] ? row[j] : row[j - 1];
            diagonal = row[j];
            row[j] = replaced < shorter + 1 ? replaced : shorter + 1;
        }
    }
    return row[to_length];
}

void nearest_consider(struct nearest *nearest, const char *known) {
    size_t edits = distance(nearest->wrong, known);
    if (nearest->best != NULL && edits >= nearest->edits) return;
    nearest->best = known;
    nearest->edits = edits;
}

const char *nearest_hint(const struct nearest *nearest) {
    if (nearest->best == NULL) return NULL;
    return nearest->edits <= 2 + strlen(nearest->best) / 4 ? nearest->best : NULL;
}

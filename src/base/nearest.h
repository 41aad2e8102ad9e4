/* The name that somebody who mistyped it may have meant. */
#ifndef PA_BASE_NEAREST_H
#define PA_BASE_NEAREST_H

#include <stddef.h>

/* Feed it the known names one by one; zero-initialise all but `wrong`. */
struct nearest {
    const char *wrong;
    const char *best; /* so far; NULL: none */
    size_t edits;     /* from one to the other */
};

void nearest_consider(struct nearest *nearest, const char *known);

/* The best of them if it is near enough for a hint; else NULL. */
const char *nearest_hint(const struct nearest *nearest);

#endif

/* What programs can call: built-in functions, methods, and what math and sys have. */
#ifndef PA_COMPILE_LIBRARY_H
#define PA_COMPILE_LIBRARY_H

#include "compile/ast.h"

enum { MAX_ARGUMENTS = 4, NO_EXTRA = -99 };

/* A call that is nothing but a call of the runtime: each argument as a value, UNDEF for one that is
 * not given, and then `extra`, if it has one. */
struct entry {
    const char *name, *runtime;
    uint8_t least, most;
    char result;  /* of the runtime's function: V, I, F, B, or N: nothing, which is None */
    uint8_t type; /* enum kind of what comes of it */
    int extra;
    const char *keywords; /* "at:name": which argument may be given by name */
    uint8_t receiver;     /* of a method: enum kind it must be of; K_ANY: the runtime looks */
};

const struct entry *library_function(const char *name, uint32_t size);
const struct entry *library_method(const char *name, uint32_t size);
const struct entry *library_math(const char *name, uint32_t size);
bool library_constant(const char *name, uint32_t size, double *out); /* of math */
/* Its number for the runtime; 0: no such class. */
int library_error(const char *name, uint32_t size);
/* Whether the name is one of Python's own that is compiled in a way of its own. */
bool library_is_special(const char *name, uint32_t size);
/* For isinstance(): 0.., or -1. */
int library_class(const char *name, uint32_t size);

#endif

/* Compiles a part of Python, whose types and names can be told from the text, to a WebAssembly
 * module for WASI preview1 that needs nothing else. What it cannot compile rightly it refuses; it
 * never guesses. Nothing here touches files or the network, and there is no state between calls. */
#ifndef PA_COMPILE_COMPILE_H
#define PA_COMPILE_COMPILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { COMPILE_ERROR_BYTES = 256, COMPILE_MAX_SOURCE_BYTES = 4 << 20 };

/* A module, for the caller to free(). */
struct compiled {
    uint8_t *wasm;
    size_t size;
    bool ends_in_value; /* its last statement is an expression that comes to something */
};

/* Why a program was refused. */
struct compile_error {
    uint32_t line, column; /* from 1; 0: of the program as a whole */
    bool no_memory;        /* the program is not at fault */
    char text[COMPILE_ERROR_BYTES];
};

/* `source` is a program in UTF-8, `name` what tracebacks call its file. 0; or -1 with `error`, and
 * there is nothing to free. Thread-safe. */
int compile_python(const char *source, size_t size, const char *name, struct compiled *out,
                   struct compile_error *error);

/* A module in the text form, ended by a 0, for the caller to free(); NULL: it is none, or memory is
 * out. */
char *compile_text(const uint8_t *wasm, size_t size);

#endif

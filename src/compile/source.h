/* Python on its way to the process that compiles it (sandbox/compiler.h): it travels where a module
 * would, behind a header. Who sends it needs no compiler; the header names the one that is meant,
 * so that code which another one made of the same program is not taken for this one's. */
#ifndef PA_COMPILE_SOURCE_H
#define PA_COMPILE_SOURCE_H

#include "compile_version.h" /* COMPILE_VERSION, generated: a digest of src/compile */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* "\0python ", the version, how it is wanted, a line feed. */
#define SOURCE_MAGIC "\0python "
enum {
    SOURCE_MAGIC_BYTES = sizeof SOURCE_MAGIC - 1,
    SOURCE_HEADER_BYTES = SOURCE_MAGIC_BYTES + sizeof COMPILE_VERSION - 1 + 2,
    SOURCE_MAX_BYTES = 256 << 10, /* of a program, less its header */
    SOURCE_EXIT_UNSUPPORTED = 70  /* of a run that came upon what only an interpreter can do */
};
/* Whether a program that ends in a value is refused, as only an interpreter tells that value. */
enum source_mode { SOURCE_ANY = 'c', SOURCE_WITHOUT_VALUE = 'a' };

static inline void source_header(char out[SOURCE_HEADER_BYTES], enum source_mode mode) {
    memcpy(out, SOURCE_MAGIC COMPILE_VERSION, SOURCE_HEADER_BYTES - 2);
    out[SOURCE_HEADER_BYTES - 2] = (char)mode;
    out[SOURCE_HEADER_BYTES - 1] = '\n';
}

/* The compiler's side. 1: these bytes are no such program; 0, and a module for the caller to
 * free(); -1, and in `why` the place and the reason; -2, when memory ran out. */
int source_translate(const uint8_t *bytes, size_t size, uint8_t **wasm, size_t *wasm_size,
                     char *why, size_t why_bytes);

#endif

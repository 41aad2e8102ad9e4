#include "compile/source.h"

#include "compile/compile.h"

#include <stdio.h>
#include <stdlib.h>

int source_translate(const uint8_t *bytes, size_t size, uint8_t **wasm, size_t *wasm_size,
                     char *why, size_t why_bytes) {
    struct compiled made;
    struct compile_error error;
    char header[SOURCE_HEADER_BYTES];
    if (size < SOURCE_HEADER_BYTES || memcmp(bytes, SOURCE_MAGIC, SOURCE_MAGIC_BYTES) != 0)
        return 1;
    char mode = (char)bytes[SOURCE_HEADER_BYTES - 2];
    source_header(header, (enum source_mode)mode);
    if (memcmp(bytes, header, sizeof header) != 0) {
        (void)snprintf(why, why_bytes, "the server and its compiler are of different versions");
        return -1;
    }
    size -= SOURCE_HEADER_BYTES;
    if (size > SOURCE_MAX_BYTES) {
        (void)snprintf(why, why_bytes, "at most %d bytes can be compiled; run it interpreted",
                       SOURCE_MAX_BYTES);
        return -1;
    }
    if (compile_python((const char *)bytes + SOURCE_HEADER_BYTES, size, "<code>", &made, &error) !=
        0) {
        (void)snprintf(why, why_bytes, "line %u, column %u: %s", error.line, error.column,
                       error.text);
        return error.no_memory ? -2 : -1;
    }
    if (mode == SOURCE_WITHOUT_VALUE && made.ends_in_value) {
        free(made.wasm);
        (void)snprintf(why, why_bytes, "its last line has a value, which an interpreter tells");
        return -1;
    }
    *wasm = made.wasm;
    *wasm_size = made.size;
    return 0;
}

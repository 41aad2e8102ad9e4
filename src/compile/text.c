#include "compile/compile.h"

#include <stdlib.h>

/* Of the engine (engine/src/lib.rs): how many bytes it takes, written if there is room; 0: no
 * module. */
extern size_t polyagent_module_text(const uint8_t *wasm, size_t size, uint8_t *buffer,
                                    size_t capacity);

char *compile_text(const uint8_t *wasm, size_t size) {
    size_t bytes = polyagent_module_text(wasm, size, NULL, 0);
    uint8_t *text = bytes > 0 ? malloc(bytes + 1) : NULL;
    if (text == NULL || polyagent_module_text(wasm, size, text, bytes) != bytes) {
        free(text);
        return NULL;
    }
    text[bytes] = 0;
    return (char *)text;
}

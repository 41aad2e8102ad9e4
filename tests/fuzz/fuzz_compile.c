/* The compiler of Python, with a stranger's text: it makes a module that is valid, or refuses with
 * a reason, and a place within the text. */
#include "compile/compile.h"
#include "fuzz.h"
#include "sandbox/engine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static wasm_engine_t *engine;
    struct compiled made;
    struct compile_error error;
    if (engine == NULL) engine = wasm_engine_new_with_config(engine_config(0, true));
    char *source = malloc(size + 1); /* just so long: what is read behind it shows */
    if (source == NULL) return 0;
    memcpy(source, data, size);
    if (compile_python(source, size, "<fuzz>", &made, &error) != 0) {
        PROMISE(error.text[0] != 0 && made.wasm == NULL);
    } else {
        wasmtime_error_t *invalid = wasmtime_module_validate(engine, made.wasm, made.size);
        PROMISE(invalid == NULL);
        free(made.wasm);
    }
    free(source);
    return 0;
}

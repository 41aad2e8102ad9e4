/* The compiler of Python, with a stranger's text: it makes a module that is valid, or refuses with
 * a reason, and a place within the text. */
#include "compile/compile.h"
#include "fuzz.h"
#include "sandbox/engine.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed);

/* Mostly as ever. Now and then a fragment comes many times over, up to the limit: what is in its
 * like, or in a row, is where a compiler's stack and time go. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed) {
    enum { MOST_FRAGMENT = 24, ONE_IN = 64 };
    struct input random = {(const uint8_t *)&seed, sizeof seed};
    if (size == 0 || take_byte(&random) % ONE_IN != 0) return LLVMFuzzerMutate(data, size, most);
    uint8_t shape = take_byte(&random);
    size_t at = (size_t)(seed >> 16) % size, length = 1 + shape % MOST_FRAGMENT;
    if (length > size - at) length = size - at;
    size_t times = (size_t)1 << (4 + shape % 14), room = most - size;
    if (times * length > room) times = room / length;
    size_t end = at + length, more = times * length;
    memmove(data + end + more, data + end, size - end);
    for (size_t i = 0; i < more; i++)
        data[end + i] = data[at + i % length];
    return size + more;
}

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

/* The engine in one of its variants, with the WASI functions linked and our own linear memory.
 *
 * A variant is a set of compiler settings; code compiled for one does not run in another. An engine
 * serves one run at a time, in one thread: `wasi` and `memory` are those of the run. */
#ifndef PA_SANDBOX_ENGINE_H
#define PA_SANDBOX_ENGINE_H

#include "base/error.h"
#include "wasi/wasi.h"

#include <wasmtime.h>

enum engine_variant {
    ENGINE_PLAIN = 0,
    ENGINE_FUEL = 1,          /* counts instructions; about 1.6 times slower */
    ENGINE_EPOCH = 2,         /* can be interrupted within the process; for runs without one */
    ENGINE_DETERMINISTIC = 4, /* canonical NaNs */
    ENGINE_EXCEPTIONS = 8,    /* the module may throw and catch; a proposal that few need */
    ENGINE_VARIANTS = 16
};

/* Of the thread's stack, of which Linux gives 8 MiB. More is refused: the engine compares it with
 * the 2 MiB of its stacks for async calls, which we have not, and the C API cannot set those. */
static inline unsigned engine_variant(bool fuel, bool epoch, bool exceptions, bool deterministic) {
    return (fuel ? ENGINE_FUEL : 0u) | (epoch ? ENGINE_EPOCH : 0u) |
           (exceptions ? ENGINE_EXCEPTIONS : 0u) | (deterministic ? ENGINE_DETERMINISTIC : 0u);
}

enum { ENGINE_WASM_STACK_BYTES = 2 << 20 };

struct engine;

/* One function as the linker knows it. */
struct engine_import {
    struct engine *engine;
    const struct wasi_function *function;
};

struct engine {
    wasm_engine_t *wasm;
    wasmtime_linker_t *linker;
    unsigned variant;
    struct engine_import *imports; /* owned, referred to by the linker */

    /* Of the run under way: */
    struct wasi *wasi;
    const struct guest_memory *memory; /* NULL: none yet, or gone */
    uint64_t memory_limit_bytes;
    uint64_t *peak_memory_bytes; /* kept up to date as memory grows */
    bool memory_refused;         /* memory could not grow because of the limit */
    /* If not NULL: called when a host function stops the guest, before its frames are unwound. */
    void (*stopped)(void *context);
    void *stopped_context;
};

/* Settings of a variant; `compiling` adds threads, which no process that forks may have. */
wasm_config_t *engine_config(unsigned variant, bool compiling);

/* NULL on error. The engine must not move in memory. */
struct engine *engine_new(unsigned variant, struct error *err);
void engine_free(struct engine *engine);

/* Names the engine's version, the variant, and the CPU features that code may depend on. */
void engine_describe(unsigned variant, char *out, size_t size);

/* One line of text from an error of the engine, which is consumed. */
void engine_error_text(wasmtime_error_t *error, char *out, size_t size);

/* memory.c: linear memories of `engine`. */
wasmtime_error_t *linear_memory_new(void *engine, const wasm_memorytype_t *type, size_t minimum,
                                    size_t maximum, size_t reserved_bytes, size_t guard_bytes,
                                    wasmtime_linear_memory_t *out);

#endif

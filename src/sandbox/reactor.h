/* Reactors that are started by several calls, some of which take texts: interpreters whose exports
 * have the form of WIT's first canonical ABI (Ruby's). */
#ifndef PA_SANDBOX_REACTOR_H
#define PA_SANDBOX_REACTOR_H

#include "sandbox/engine.h"

/* Calls the functions of `script`, a line each: NAME, or NAME TAB "argv" for one that takes all
 * arguments but the last as list<string>, or NAME TAB "last" for one that takes that one. Texts are
 * put into memory that `cabi_realloc` gives, each with a NUL. Results are dropped. NULL when all
 * have returned; else an error, or NULL with `trap`. `missing` (`size` bytes) names a function that
 * is not exported: then nothing was called; else it is "". */
wasmtime_error_t *reactor_run(struct engine *engine, wasmtime_context_t *context,
                              const wasmtime_instance_t *instance, const char *script,
                              const char *const *argv, size_t argc, wasm_trap_t **trap,
                              char *missing, size_t size);

/* Defines what such a module imports for handles of values ("canonical_abi"): a handle is its
 * value. An error of the engine, or NULL. */
wasmtime_error_t *reactor_define_handles(struct engine *engine, const wasmtime_module_t *module);

#endif

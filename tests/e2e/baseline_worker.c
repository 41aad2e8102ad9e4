/* polyagent-worker whose compiler knows of no processor features beyond those that every x86-64
 * has: what it makes must run to the same bytes as what is made for this machine. Built for tests
 * only (--wrap=engine_config). */
#include "sandbox/engine.h"

#include <stdlib.h>

wasm_config_t *__wrap_engine_config(unsigned variant, bool compiling);
wasm_config_t *__real_engine_config(unsigned variant, bool compiling);

wasm_config_t *__wrap_engine_config(unsigned variant, bool compiling) {
    wasm_config_t *config = __real_engine_config(variant, compiling);
    if (config != NULL && compiling) {
        wasmtime_error_t *error = wasmtime_config_target_set(config, TARGET);
        if (error != NULL) abort();
    }
    return config;
}

#include "sandbox/engine.h"

#include <stdio.h>
#include <stdlib.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <sys/auxv.h>

#define ENGINE_VERSION "wasmtime 48.0.8"
#define MODULE_NAME "wasi_snapshot_preview1"

enum { MAX_PARAMS = 9 }; /* path_open */

wasm_config_t *engine_config(unsigned variant, bool compiling) {
    wasm_config_t *config = wasm_config_new();
    if (config == NULL) return NULL;
    /* MVP and the finished proposals that toolchains emit; nothing else gets past validation. */
    wasmtime_config_wasm_simd_set(config, true);
    wasmtime_config_wasm_bulk_memory_set(config, true);
    wasmtime_config_wasm_multi_value_set(config, true);
    wasmtime_config_wasm_reference_types_set(config, true);
    wasmtime_config_wasm_tail_call_set(config, false);
    wasmtime_config_wasm_relaxed_simd_set(config, false);
    wasmtime_config_wasm_multi_memory_set(config, false);
    wasmtime_config_wasm_memory64_set(config, false);
    wasmtime_config_wasm_function_references_set(config, false);
    wasmtime_config_wasm_gc_set(config, false);
    wasmtime_config_wasm_exceptions_set(config, (variant & ENGINE_EXCEPTIONS) != 0);
    wasmtime_config_wasm_custom_page_sizes_set(config, false);
    wasmtime_config_wasm_wide_arithmetic_set(config, false);
    wasmtime_config_wasm_stack_switching_set(config, false);

    wasmtime_config_parallel_compilation_set(config, compiling);
    wasmtime_config_cranelift_opt_level_set(config, WASMTIME_OPT_LEVEL_SPEED);
    wasmtime_config_consume_fuel_set(config, (variant & ENGINE_FUEL) != 0);
    wasmtime_config_epoch_interruption_set(config, (variant & ENGINE_EPOCH) != 0);
    wasmtime_config_cranelift_nan_canonicalization_set(config,
                                                       (variant & ENGINE_DETERMINISTIC) != 0);
    wasmtime_config_max_wasm_stack_set(config, ENGINE_WASM_STACK_BYTES);
    /* Copy-on-write images need the engine's own memories; ours tell a refused growth apart. */
    wasmtime_config_memory_init_cow_set(config, false);
    return config;
}

void engine_describe(unsigned variant, char *out, size_t size) {
    unsigned features[8] = {0};
#if defined(__x86_64__)
    (void)__get_cpuid_count(1, 0, &features[0], &features[1], &features[2], &features[3]);
    features[0] = features[1] = 0; /* stepping, and the number of the core that we are on */
    (void)__get_cpuid_count(7, 0, &features[4], &features[5], &features[6], &features[7]);
#else
    unsigned long hwcap[] = {getauxval(AT_HWCAP), getauxval(AT_HWCAP2)};
    memcpy(features, hwcap, sizeof hwcap < sizeof features ? sizeof hwcap : sizeof features);
#endif
    (void)snprintf(out, size, "%s|%s|variant %u|%x %x %x %x %x %x", ENGINE_VERSION,
#if defined(__x86_64__)
                   "x86_64",
#else
                   "aarch64",
#endif
                   variant, features[2] & ~(1u << 27), features[3], features[4], features[5],
                   features[6], features[7]);
}

void engine_error_text(wasmtime_error_t *error, char *out, size_t size) {
    wasm_byte_vec_t text;
    wasmtime_error_message(error, &text);
    size_t length = 0;
    bool space = false;
    for (size_t i = 0; i < text.size && length + 2 < size; i++) { /* one line, single spaces */
        unsigned char c = (unsigned char)text.data[i];
        if (c <= ' ' || c == 127) {
            space = length > 0;
            continue;
        }
        if (space) out[length++] = ' ';
        space = false;
        out[length++] = (char)c;
    }
    out[length] = 0;
    wasm_byte_vec_delete(&text);
    wasmtime_error_delete(error);
}

/* Every call of a guest into the host comes through here. */
static wasm_trap_t *host_call(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *raw,
                              size_t count) {
    const struct engine_import *import = env;
    struct wasi *wasi = import->engine->wasi;
    uint64_t args[MAX_PARAMS] = {0};
    (void)caller;
    (void)count;
    for (size_t i = 0; import->function->params[i] != 0; i++) {
        args[i] = import->function->params[i] == 'i' ? (uint32_t)raw[i].i32 : (uint64_t)raw[i].i64;
    }
    wasi_errno e = wasi_call(wasi, import->function, args);
    if (wasi_stopped(wasi) != WASI_RUNNING) {
        struct engine *engine = import->engine;
        if (engine->stopped != NULL) engine->stopped(engine->stopped_context);
        return wasmtime_trap_new("stopped", strlen("stopped"));
    }
    if (import->function->returns_errno) raw[0].i32 = e;
    return NULL;
}

static wasm_functype_t *function_type(const struct wasi_function *function) {
    wasm_valtype_t *params[MAX_PARAMS], *results[1];
    wasm_valtype_vec_t param_vec, result_vec;
    size_t count = strlen(function->params);
    for (size_t i = 0; i < count; i++) {
        params[i] = wasm_valtype_new(function->params[i] == 'i' ? WASM_I32 : WASM_I64);
    }
    results[0] = function->returns_errno ? wasm_valtype_new(WASM_I32) : NULL;
    wasm_valtype_vec_new(&param_vec, count, params);
    wasm_valtype_vec_new(&result_vec, function->returns_errno ? 1 : 0, results);
    return wasm_functype_new(&param_vec, &result_vec);
}

static int link_wasi(struct engine *engine, struct error *err) {
    engine->linker = wasmtime_linker_new(engine->wasm);
    engine->imports = calloc(wasi_function_count, sizeof *engine->imports);
    if (engine->linker == NULL || engine->imports == NULL) {
        return error_set(err, PA_INTERNAL, "linker: out of memory");
    }
    for (size_t i = 0; i < wasi_function_count; i++) {
        const struct wasi_function *function = &wasi_functions[i];
        engine->imports[i] = (struct engine_import){.engine = engine, .function = function};
        wasm_functype_t *type = function_type(function);
        wasmtime_error_t *error = wasmtime_linker_define_func_unchecked(
            engine->linker, MODULE_NAME, strlen(MODULE_NAME), function->name,
            strlen(function->name), type, host_call, &engine->imports[i], NULL);
        wasm_functype_delete(type);
        if (error != NULL) {
            char text[256];
            engine_error_text(error, text, sizeof text);
            return error_set(err, PA_INTERNAL, "link %s: %s", function->name, text);
        }
    }
    return 0;
}

struct engine *engine_new(unsigned variant, struct error *err) {
    struct engine *engine = calloc(1, sizeof *engine);
    wasm_config_t *config = engine_config(variant, false);
    if (engine == NULL || config == NULL) {
        free(engine);
        if (config != NULL) wasm_config_delete(config);
        error_set(err, PA_INTERNAL, "engine: out of memory");
        return NULL;
    }
    wasmtime_memory_creator_t creator = {.env = engine, .new_memory = linear_memory_new};
    wasmtime_config_host_memory_creator_set(config, &creator);
    engine->variant = variant;
    engine->wasm = wasm_engine_new_with_config(config);
    if (engine->wasm == NULL) {
        error_set(err, PA_INTERNAL, "engine: cannot start");
    } else if (link_wasi(engine, err) == 0) {
        return engine;
    }
    engine_free(engine);
    return NULL;
}

void engine_free(struct engine *engine) {
    if (engine == NULL) return;
    if (engine->linker != NULL) wasmtime_linker_delete(engine->linker);
    if (engine->wasm != NULL) wasm_engine_delete(engine->wasm);
    free(engine->imports);
    free(engine);
}

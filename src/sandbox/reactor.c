#include "sandbox/reactor.h"

#include <stdio.h>
#include <string.h>

enum { NAME_BYTES = 256 };

struct reactor {
    struct engine *engine;
    wasmtime_context_t *context;
    const wasmtime_instance_t *instance;
    wasm_trap_t **trap;
};

static bool find(const struct reactor *r, const char *name, wasmtime_func_t *out) {
    wasmtime_extern_t found;
    if (!wasmtime_instance_export_get(r->context, r->instance, name, strlen(name), &found) ||
        found.kind != WASMTIME_EXTERN_FUNC)
        return false;
    *out = found.of.func;
    return true;
}

static wasmtime_error_t *call(const struct reactor *r, const wasmtime_func_t *function,
                              const int32_t *values, size_t count) {
    wasmtime_val_t args[4], results[4];
    wasm_functype_t *type = wasmtime_func_type(r->context, function);
    size_t result_count = wasm_functype_results(type)->size;
    bool fits = wasm_functype_params(type)->size == count && result_count <= 4;
    wasm_functype_delete(type);
    if (!fits) return wasmtime_error_new("a function of the interpreter has an unknown form");
    for (size_t i = 0; i < count; i++)
        args[i] = (wasmtime_val_t){.kind = WASMTIME_I32, .of.i32 = values[i]};
    return wasmtime_func_call(r->context, function, args, count, results, result_count, r->trap);
}

/* Memory of the guest's: its place, or 0 with `error` or a trap. */
static uint32_t allocate(const struct reactor *r, uint32_t align, uint32_t bytes,
                         wasmtime_error_t **error) {
    wasmtime_func_t function;
    wasmtime_val_t args[4], result;
    const uint32_t values[] = {0, 0, align, bytes};
    if (!find(r, "cabi_realloc", &function)) {
        *error = wasmtime_error_new("the interpreter exports no cabi_realloc");
        return 0;
    }
    for (size_t i = 0; i < 4; i++)
        args[i] = (wasmtime_val_t){.kind = WASMTIME_I32, .of.i32 = (int32_t)values[i]};
    *error = wasmtime_func_call(r->context, &function, args, 4, &result, 1, r->trap);
    return *error == NULL && *r->trap == NULL ? (uint32_t)result.of.i32 : 0;
}

/* A copy of `bytes` in the guest's memory. */
static uint32_t put(const struct reactor *r, uint32_t align, const void *data, size_t bytes,
                    wasmtime_error_t **error) {
    uint8_t *span;
    uint32_t at = bytes <= UINT32_MAX / 2 ? allocate(r, align, (uint32_t)bytes, error) : 0;
    if (at == 0) return 0;
    if (r->engine->memory == NULL || !guest_span(r->engine->memory, at, bytes, &span)) {
        *error = wasmtime_error_new("the interpreter's cabi_realloc gives no memory");
        return 0;
    }
    memcpy(span, data, bytes);
    return at;
}

static wasmtime_error_t *call_with_text(const struct reactor *r, const wasmtime_func_t *function,
                                        const char *text) {
    wasmtime_error_t *error = NULL;
    uint32_t bytes = (uint32_t)strlen(text) + 1, at = put(r, 1, text, bytes, &error);
    const int32_t values[] = {(int32_t)at, (int32_t)bytes};
    return at != 0 ? call(r, function, values, 2) : error;
}

static wasmtime_error_t *call_with_list(const struct reactor *r, const wasmtime_func_t *function,
                                        const char *const *argv, size_t count) {
    uint32_t pairs[64][2];
    wasmtime_error_t *error = NULL;
    if (count == 0 || count > sizeof pairs / sizeof *pairs)
        return wasmtime_error_new("the interpreter's arguments are too many, or none");
    for (size_t i = 0; i < count; i++) {
        uint32_t bytes = (uint32_t)strlen(argv[i]) + 1;
        pairs[i][0] = put(r, 1, argv[i], bytes, &error);
        pairs[i][1] = bytes;
        if (pairs[i][0] == 0) return error;
    }
    uint32_t at = put(r, 4, pairs, count * sizeof *pairs, &error);
    const int32_t values[] = {(int32_t)at, (int32_t)count};
    return at != 0 ? call(r, function, values, 2) : error;
}

/* One line of the script: the function's name, and how it is called. */
static const char *next_line(const char *script, char name[NAME_BYTES], char *kind) {
    size_t length = strcspn(script, "\n"), part = strcspn(script, "\t\n");
    (void)snprintf(name, NAME_BYTES, "%.*s", (int)part, script);
    *kind = script[part] == '\t' ? script[part + 1] : 0;
    return script[length] == '\n' ? script + length + 1 : NULL;
}

wasmtime_error_t *reactor_run(struct engine *engine, wasmtime_context_t *context,
                              const wasmtime_instance_t *instance, const char *script,
                              const char *const *argv, size_t argc, wasm_trap_t **trap,
                              char *missing, size_t size) {
    const struct reactor r = {
        .engine = engine, .context = context, .instance = instance, .trap = trap};
    char name[NAME_BYTES], kind;
    wasmtime_func_t function;
    wasmtime_error_t *error = NULL;
    missing[0] = 0;
    for (const char *at = script; at != NULL;) {
        at = next_line(at, name, &kind);
        if (find(&r, name, &function)) continue;
        (void)snprintf(missing, size, "%s", name);
        return NULL;
    }
    for (const char *at = script; at != NULL && error == NULL && *trap == NULL;) {
        at = next_line(at, name, &kind);
        if (!find(&r, name, &function)) break;
        error = kind == 'a'   ? call_with_list(&r, &function, argv, argc > 0 ? argc - 1 : 0)
                : kind == 'l' ? call_with_text(&r, &function, argc > 0 ? argv[argc - 1] : "")
                              : call(&r, &function, NULL, 0);
    }
    return error;
}

/* The result stands where the argument stood. */
static wasm_trap_t *same(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *raw,
                         size_t count) {
    (void)env;
    (void)caller;
    (void)raw;
    (void)count;
    return NULL;
}

wasmtime_error_t *reactor_define_handles(struct engine *engine, const wasmtime_module_t *module) {
    static const char handles[] = "canonical_abi";
    wasm_importtype_vec_t imports;
    wasmtime_error_t *error = NULL;
    wasmtime_module_imports(module, &imports);
    for (size_t i = 0; i < imports.size && error == NULL; i++) {
        const wasm_name_t *from = wasm_importtype_module(imports.data[i]);
        const wasm_name_t *name = wasm_importtype_name(imports.data[i]);
        const wasm_externtype_t *type = wasm_importtype_type(imports.data[i]);
        if (from->size != sizeof handles - 1 || memcmp(from->data, handles, from->size) != 0)
            continue;
        const wasm_functype_t *function = wasm_externtype_as_functype_const(type);
        if (function == NULL || wasm_functype_params(function)->size != 1 ||
            wasm_functype_results(function)->size > 1 ||
            wasm_valtype_kind(wasm_functype_params(function)->data[0]) != WASM_I32)
            continue;
        error = wasmtime_linker_define_func_unchecked(engine->linker, from->data, from->size,
                                                      name->data, name->size, function, same, NULL,
                                                      NULL);
    }
    wasm_importtype_vec_delete(&imports);
    return error;
}

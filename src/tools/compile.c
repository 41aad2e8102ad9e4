#include "tools/compile.h"

#include "base/cleanup.h"
#include "compile/compile.h"
#include "tools/base64.h"

#include <stdlib.h>
#include <string.h>

/* It is compiled between two events of a server's loop: milliseconds; 0.2 s is the worst of what
 * fits. */
enum { MAX_SOURCE_BYTES = 256 << 10 };

static int compile(const json_t *parameters, struct compiled *made, struct error *err) {
    const json_t *code = json_object_get(parameters, "code");
    struct compile_error error;
    size_t size = json_string_length(code);
    if (size > MAX_SOURCE_BYTES)
        return error_set(err, PA_INVALID_ARGUMENT,
                         "code: at most %d bytes can be compiled; run it interpreted",
                         MAX_SOURCE_BYTES);
    if (compile_python(json_string_value(code), size, "<code>", made, &error) == 0) return 0;
    return error_set(err, PA_INVALID_ARGUMENT, "code, line %u, column %u: %s", error.line,
                     error.column, error.text);
}

json_t *tool_python_compile(const json_t *parameters, const struct tool_rules *rules,
                            struct error *err) {
    struct compiled made;
    json_t *answer = json_object();
    char *text = NULL;
    int result = 0;
    (void)rules;
    if (compile(parameters, &made, err) != 0) {
        json_decref(answer);
        return NULL;
    }
    char *encoded = base64_encode(made.wasm, made.size);
    if (answer == NULL || encoded == NULL ||
        json_object_set_new(answer, "wasm_base64", json_string(encoded)) != 0)
        result = -1;
    if (result == 0 && json_is_true(json_object_get(parameters, "wat"))) {
        text = compile_text(made.wasm, made.size);
        if (text == NULL || json_object_set_new(answer, "wat", json_string(text)) != 0) result = -1;
    }
    free(text);
    free(encoded);
    free(made.wasm);
    if (result == 0) return answer;
    json_decref(answer);
    error_set(err, PA_INTERNAL, "the compiled module: out of memory");
    return NULL;
}

/* What only an interpreter has. */
static const char *beyond(const struct tool_call *call, const json_t *parameters) {
    static const char *const names[] = {"interpreter_wasm_path", "interpreter_wasm_base64",
                                        "interpreter", "session_id", "files"};
    if (call->turn != NULL) return "session_id";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (json_object_get(parameters, names[i]) != NULL) return names[i];
    }
    return json_array_size(json_object_get(parameters, "packages")) > 0 ? "packages" : NULL;
}

int tool_take_compiled(struct tool_call *call, const json_t *parameters, struct error *err) {
    const char *mode = json_string_value(json_object_get(parameters, "mode")),
               *other = beyond(call, parameters);
    struct compiled made;
    if (mode == NULL || strcmp(mode, "interpreted") == 0) return 0;
    bool must = strcmp(mode, "compiled") == 0;
    if (other != NULL)
        return must ? error_set(err, PA_INVALID_ARGUMENT, "%s: cannot stand beside mode compiled",
                                other)
                    : 0;
    if (compile(parameters, &made, err) != 0) {
        if (must) return -1;
        *err = (struct error){0};
        return 0;
    }
    if (!must && made.ends_in_value) { /* the interpreter tells what it comes to */
        free(made.wasm);
        return 0;
    }
    call->on_trial = !must;
    call->module = (struct buffer){.data = made.wasm, .size = made.size, .capacity = made.size};
    return 1;
}

json_t *tool_interpreted(const struct tool_call *call, const json_t *parameters) {
    json_t *again = call->on_trial ? json_copy((json_t *)(uintptr_t)parameters) : NULL;
    if (json_object_set_new(again, "mode", json_string("interpreted")) == 0) return again;
    json_decref(again);
    return NULL;
}

bool tool_gave_up(const struct pa_result *result) {
    return result->status == PA_OK && result->exit_code == COMPILED_EXIT_UNSUPPORTED;
}

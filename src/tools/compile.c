#include "tools/compile.h"

#include "base/cleanup.h"
#include "compile/source.h"
#include "sandbox/compiler.h"
#include "tools/base64.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The program as what the compiler process takes in the place of a module. */
static int take_source(struct tool_call *call, const json_t *parameters, enum source_mode mode,
                       struct error *err) {
    const json_t *code = json_object_get(parameters, "code");
    char header[SOURCE_HEADER_BYTES];
    size_t size = json_string_length(code);
    if (size > SOURCE_MAX_BYTES)
        return error_set(err, PA_INVALID_ARGUMENT,
                         "code: at most %d bytes can be compiled; run it interpreted",
                         SOURCE_MAX_BYTES);
    source_header(header, mode);
    if (buffer_append(&call->module, header, sizeof header) == 0 &&
        buffer_append(&call->module, json_string_value(code), size) == 0)
        return 0;
    return error_set(err, PA_INTERNAL, "code: out of memory");
}

int tool_prepare_module(struct tool_call *call, const json_t *parameters, struct error *err) {
    call->to_module = true;
    return take_source(call, parameters, SOURCE_ANY, err);
}

json_t *tool_module(const struct result_files *files, bool text) {
    struct compiler_module head;
    struct stat st;
    int fd = files->outputs[0];
    if (fstat(fd, &st) != 0 || pread(fd, &head, sizeof head, 0) != (ssize_t)sizeof head ||
        head.wasm_bytes > COMPILER_MODULE_BYTES || head.text_bytes > COMPILER_MODULE_BYTES ||
        sizeof head + head.wasm_bytes + head.text_bytes > (uint64_t)st.st_size)
        return NULL;
    size_t size = (size_t)(head.wasm_bytes + head.text_bytes);
    uint8_t *both = malloc(size + 1);
    json_t *answer = json_object();
    bool read = both != NULL && pread(fd, both, size, sizeof head) == (ssize_t)size;
    char *encoded = read ? base64_encode(both, (size_t)head.wasm_bytes) : NULL;
    int result =
        encoded != NULL ? json_object_set_new(answer, "wasm_base64", json_string(encoded)) : -1;
    if (result == 0 && text)
        result = json_object_set_new(
            answer, "wat",
            json_stringn((const char *)both + head.wasm_bytes, (size_t)head.text_bytes));
    if (result == 0) result = json_object_set_new(answer, "status", json_string("OK"));
    free(encoded);
    free(both);
    if (result == 0) return answer;
    json_decref(answer);
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
    if (mode == NULL || strcmp(mode, "interpreted") == 0) return 0;
    bool must = strcmp(mode, "compiled") == 0;
    if (other != NULL)
        return must ? error_set(err, PA_INVALID_ARGUMENT, "%s: cannot stand beside mode compiled",
                                other)
                    : 0;
    if (take_source(call, parameters, must ? SOURCE_ANY : SOURCE_WITHOUT_VALUE, err) != 0) {
        if (must || err->code != PA_INVALID_ARGUMENT) return -1;
        *err = (struct error){0};
        return 0;
    }
    call->on_trial = !must;
    return 1;
}

json_t *tool_interpreted(const struct tool_call *call, const json_t *parameters) {
    json_t *again = call->on_trial ? json_copy((json_t *)(uintptr_t)parameters) : NULL;
    if (json_object_set_new(again, "mode", json_string("interpreted")) == 0) return again;
    json_decref(again);
    return NULL;
}

bool tool_gave_up(const struct pa_result *result) {
    return result->status == PA_INVALID_ARGUMENT || result->status == PA_INVALID_MODULE ||
           (result->status == PA_OK && result->exit_code == SOURCE_EXIT_UNSUPPORTED);
}

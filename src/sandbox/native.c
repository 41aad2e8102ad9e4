/* Native code on its way into a process that runs it: apart from module.c, as zygotes need no more
 * than this. */
#include "sandbox/module.h"

#include "base/huge.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static int check_loaded(wasmtime_error_t *error, struct error *err) {
    char text[300];
    if (error == NULL) return 0;
    engine_error_text(error, text, sizeof text);
    return error_set(err, PA_INTERNAL, "load compiled code: %s", text);
}

wasmtime_module_t *module_load(struct engine *engine, const char *path, struct error *err) {
    wasmtime_module_t *module = NULL;
    wasmtime_error_t *error = wasmtime_module_deserialize_file(engine->wasm, path, &module);
    return check_loaded(error, err) == 0 ? module : NULL;
}

wasmtime_module_t *module_load_fd(struct engine *engine, int proc_fd, int fd, struct error *err) {
    char path[32];
    (void)snprintf(path, sizeof path, "self/fd/%d", fd);
    wasmtime_module_t *code = NULL;
    if (fchdir(proc_fd) != 0) {
        error_set_errno(err, PA_INTERNAL, errno, "reach /proc");
        return NULL;
    }
    code = module_load(engine, path, err);
    if (chdir("/") == 0) return code;
    error_set_errno(err, PA_INTERNAL, errno, "leave /proc");
    if (code != NULL) wasmtime_module_delete(code);
    return NULL;
}

void module_use_huge_pages(int proc_fd, const wasmtime_module_t *module) {
    void *start, *end;
    wasmtime_module_image_range(module, &start, &end);
    huge_pages_for_code(proc_fd, start, end);
}

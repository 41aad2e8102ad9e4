#include "sandbox/module.h"

#include "base/cleanup.h"
#include "sandbox/compiler.h"

#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

static int check_size(uint64_t size, uint64_t max_bytes, struct error *err) {
    if (size <= max_bytes) return 0;
    return error_set(err, PA_MODULE_TOO_LARGE,
                     "WASM module too large: %llu bytes, allowed are %llu; raise --max-module",
                     (unsigned long long)size, (unsigned long long)max_bytes);
}

int module_open_file(struct pa_module *module, struct cache *cache, const char *path,
                     uint64_t max_bytes, struct error *err) {
    struct stat st;
    *module = (struct pa_module){0};
    _cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0) {
        enum pa_status status = errno == ENOENT || errno == ENOTDIR ? PA_NOT_FOUND : PA_DENIED;
        return error_set_errno(err, status, errno, "cannot read %s", path);
    }
    if (!S_ISREG(st.st_mode)) {
        return error_set(err, PA_INVALID_ARGUMENT, "cannot read %s: not a regular file", path);
    }
    if (check_size((uint64_t)st.st_size, max_bytes, err) != 0) return error_prefix(err, "%s", path);
    if (st.st_size == 0) {
        return error_set(err, PA_INVALID_MODULE, "Invalid WASM module: %s is empty", path);
    }
    void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) return error_set_errno(err, PA_INTERNAL, errno, "map %s", path);
    module->data = data;
    module->size = (size_t)st.st_size;
    module->mapped = true;
    if (cache_file_digest(cache, fd, data, module->size, module->digest, err) == 0) return 0;
    module_fini(module);
    return -1;
}

int module_copy(struct pa_module *module, const void *data, size_t size, uint64_t max_bytes,
                struct error *err) {
    *module = (struct pa_module){0};
    if (check_size(size, max_bytes, err) != 0) return -1;
    if (size == 0) return error_set(err, PA_INVALID_MODULE, "Invalid WASM module: it is empty");
    uint8_t *copy = malloc(size);
    if (copy == NULL) return error_set(err, PA_INTERNAL, "module: out of memory");
    memcpy(copy, data, size);
    module->data = copy;
    module->size = size;
    (void)crypto_hash_sha256(module->digest, copy, size);
    return 0;
}

void module_fini(struct pa_module *module) {
    for (int i = 0; i < ENGINE_VARIANTS; i++) {
        if (module->code[i] != NULL) wasmtime_module_delete(module->code[i]);
    }
    if (module->mapped) {
        (void)munmap((void *)(uintptr_t)module->data, module->size);
    } else {
        free((void *)(uintptr_t)module->data);
    }
    *module = (struct pa_module){0};
}

/* Maps native code. The descriptor stays the caller's. */
static int load_code(struct engine *engine, int fd, wasmtime_module_t **out, struct error *err) {
    char path[32], text[300];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    wasmtime_error_t *error = wasmtime_module_deserialize_file(engine->wasm, path, out);
    if (error == NULL) return 0;
    engine_error_text(error, text, sizeof text);
    return error_set(err, PA_INTERNAL, "load compiled code: %s", text);
}

static int compile(struct pa_module *module, struct engine *engine, struct cache *cache,
                   const char *name, const char *helper, uint64_t timeout_ms, struct error *err) {
    char temp[CACHE_NAME_BYTES];
    bool cached = cache->dir_fd >= 0;
    _cleanup_(fd_closep) int fd =
        cached ? cache_begin(cache, temp) : memfd_create("code", MFD_CLOEXEC);
    if (fd < 0) {
        return error_set_errno(err, PA_INTERNAL, errno, "make a file for compiled code in %s",
                               cached ? cache->path : "memory");
    }
    if (compiler_run(helper, module->data, module->size, engine->variant, fd, timeout_ms, err) !=
        0) {
        if (cached) cache_abort(cache, temp);
        return -1;
    }
    if (cached && cache_commit(cache, fd, temp, name, err) != 0) return -1;
    return load_code(engine, fd, &module->code[engine->variant], err);
}

const wasmtime_module_t *module_code(struct pa_module *module, struct engine *engine,
                                     struct cache *cache, const char *helper,
                                     uint64_t compile_timeout_ms, struct error *err) {
    wasmtime_module_t **code = &module->code[engine->variant];
    char settings[256], name[CACHE_NAME_BYTES];
    if (*code != NULL) return *code;
    engine_describe(engine->variant, settings, sizeof settings);
    cache_entry_name(module->digest, settings, name);
    _cleanup_(fd_closep) int fd = cache_load(cache, name);
    if (fd >= 0 && load_code(engine, fd, code, err) == 0) {
        module->cache_hit = true;
        return *code;
    }
    module->cache_hit = false;
    if (compile(module, engine, cache, name, helper, compile_timeout_ms, err) != 0) return NULL;
    return *code;
}

/* A module: a descriptor of its bytes, its digest, and ways to its native code. */
#ifndef PA_SANDBOX_MODULE_H
#define PA_SANDBOX_MODULE_H

#include "sandbox/cache.h"
#include "sandbox/compiler.h"
#include "sandbox/engine.h"

/* Of a memfd that is taken as it is, without a copy: nobody can change it any more. */
#define MODULE_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)

struct pa_module {
    int fd;        /* owned: the file itself, or a sealed memfd with its bytes */
    bool is_image; /* fd is a sealed memfd */
    uint8_t digest[32];
    wasmtime_module_t *code[ENGINE_VARIANTS]; /* owned; of runs within this process */
};

/* Fill `module` from a file, from an open one (which stays the caller's), or by copying bytes. 0 or
 * -1; on failure there is nothing to release. */
int module_open_file(struct pa_module *module, struct cache *cache, const char *path,
                     uint64_t max_bytes, struct error *err);
int module_open_fd(struct pa_module *module, struct cache *cache, int fd, uint64_t max_bytes,
                   struct error *err);
int module_copy(struct pa_module *module, const void *data, size_t size, uint64_t max_bytes,
                struct error *err);
void module_fini(struct pa_module *module);

/* A sealed memfd with bytes that have the module's digest, to compile from: a file may change after
 * it was hashed. The module keeps it. -1 on error. */
int module_image(struct pa_module *module, struct error *err);

/* The name of the cache's entry for the code of a variant. */
void module_code_name(const struct cache *cache, const uint8_t digest[32], unsigned variant,
                      char name[CACHE_NAME_BYTES]);

/* The code for `engine`: from the cache, or compiled by `helper` and put there. NULL on error; the
 * module keeps it. `hit` tells which. */
const wasmtime_module_t *module_code(struct pa_module *module, struct engine *engine,
                                     struct cache *cache, const char *helper,
                                     const struct compiler_bounds *bounds, bool *hit,
                                     struct error *err);

/* Maps native code from a file that is known to be ours: its pages are read as they are needed. */
wasmtime_module_t *module_load(struct engine *engine, const char *path, struct error *err);

/* The same, of the file at `fd`, where there is no way to /proc but `proc_fd`: the current
 * directory is that for a moment, and "/" then. */
wasmtime_module_t *module_load_fd(struct engine *engine, int proc_fd, int fd, struct error *err);

/* Copies a module's code into huge pages (base/huge.h). */
void module_use_huge_pages(int proc_fd, const wasmtime_module_t *module);

#endif

/* A module: its bytes, its digest, and the native code of the variants that were needed so far. */
#ifndef PA_SANDBOX_MODULE_H
#define PA_SANDBOX_MODULE_H

#include "sandbox/cache.h"
#include "sandbox/engine.h"

struct pa_module {
    const uint8_t *data;
    size_t size;
    bool mapped; /* data is a file mapping; else it was allocated */
    uint8_t digest[32];
    wasmtime_module_t *code[ENGINE_VARIANTS]; /* owned */
    bool cache_hit;                           /* of the variant that ran last */
};

/* Fill `module` from a file, or by copying bytes. 0 or -1; on failure there is nothing to release.
 */
int module_open_file(struct pa_module *module, struct cache *cache, const char *path,
                     uint64_t max_bytes, struct error *err);
int module_copy(struct pa_module *module, const void *data, size_t size, uint64_t max_bytes,
                struct error *err);
void module_fini(struct pa_module *module);

/* The code for `engine`: from the cache, or compiled by `helper` and put there. NULL on error; the
 * module keeps it. */
const wasmtime_module_t *module_code(struct pa_module *module, struct engine *engine,
                                     struct cache *cache, const char *helper,
                                     uint64_t compile_timeout_ms, struct error *err);

#endif

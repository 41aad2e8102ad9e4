/* Sampling the guest's call stack once a millisecond, for the Firefox profiler. Only in a worker:
 * the process's SIGALRM and its timer are taken. A run that is killed at its deadline leaves no
 * profile. */
#ifndef PA_SANDBOX_PROFILE_H
#define PA_SANDBOX_PROFILE_H

#include <wasmtime.h>

struct profile; /* zero or one in a process */

/* Starts; the engine must be of a variant with ENGINE_EPOCH. NULL on failure. */
struct profile *profile_start(wasm_engine_t *engine, wasmtime_store_t *store,
                              const wasmtime_module_t *module, const char *name);

/* Stops, writes the profile as JSON, and releases it. 0 or a negative errno. */
int profile_finish(struct profile *profile, int fd);

#endif

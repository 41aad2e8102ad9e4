#include "sandbox/profile.h"

#include "base/buffer.h"
#include "base/clock.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

enum { INTERVAL_US = 1000 };

struct profile {
    wasmtime_guestprofiler_t *sampler; /* owned */
    wasmtime_store_t *store;
    uint64_t last_ns;
};

/* What the signal handler can see: a signal has no other way to name its engine. */
static _Atomic(wasm_engine_t *) sampled_engine;

static void tick(int signal) {
    (void)signal;
    wasm_engine_t *engine = atomic_load(&sampled_engine);
    if (engine != NULL) wasmtime_engine_increment_epoch(engine); /* an atomic addition */
}

/* The guest reaches its next check after a tick. */
static wasmtime_error_t *sample(wasmtime_context_t *context, void *data, uint64_t *delta,
                                wasmtime_update_deadline_kind_t *kind) {
    struct profile *profile = data;
    uint64_t now_ns = clock_now_ns();
    (void)context;
    wasmtime_guestprofiler_sample(profile->sampler, profile->store, now_ns - profile->last_ns);
    profile->last_ns = now_ns;
    *delta = 1;
    *kind = WASMTIME_UPDATE_DEADLINE_CONTINUE;
    return NULL;
}

static int set_timer(suseconds_t interval_us) {
    const struct itimerval when = {.it_interval = {.tv_usec = interval_us},
                                   .it_value = {.tv_usec = interval_us}};
    return setitimer(ITIMER_REAL, &when, NULL);
}

struct profile *profile_start(wasm_engine_t *engine, wasmtime_store_t *store,
                              const wasmtime_module_t *module, const char *name) {
    struct sigaction action = {.sa_handler = tick, .sa_flags = SA_RESTART | SA_ONSTACK};
    struct profile *profile = calloc(1, sizeof *profile);
    if (profile == NULL) return NULL;
    wasm_name_t text;
    wasm_name_new(&text, strlen(name), name);
    const wasmtime_guestprofiler_modules_t modules = {.name = &text, .mod = module};
    profile->store = store;
    profile->last_ns = clock_now_ns();
    profile->sampler = wasmtime_guestprofiler_new(engine, &text, INTERVAL_US * 1000, &modules, 1);
    wasm_name_delete(&text);
    wasmtime_store_epoch_deadline_callback(store, sample, profile, NULL);
    atomic_store(&sampled_engine, engine);
    if (profile->sampler != NULL && sigaction(SIGALRM, &action, NULL) == 0 &&
        set_timer(INTERVAL_US) == 0) {
        return profile;
    }
    atomic_store(&sampled_engine, NULL);
    if (profile->sampler != NULL) wasmtime_guestprofiler_delete(profile->sampler);
    free(profile);
    return NULL;
}

int profile_finish(struct profile *profile, int fd) {
    wasm_byte_vec_t json;
    (void)set_timer(0);
    atomic_store(&sampled_engine, NULL);
    wasmtime_error_t *error = wasmtime_guestprofiler_finish(profile->sampler, &json);
    free(profile);
    if (error != NULL) {
        wasmtime_error_delete(error);
        return -EIO;
    }
    int result = fd_write_all(fd, json.data, json.size);
    wasm_byte_vec_delete(&json);
    return result;
}

/* Interrupts runs within the process at their deadlines: one thread for a sandbox, started when it
 * is first needed. Arming costs a lock; the thread is woken only if it sleeps past the new
 * deadline. */
#ifndef PA_EMBED_WATCHDOG_H
#define PA_EMBED_WATCHDOG_H

#include "base/error.h"
#include "sandbox/engine.h"

#include <pthread.h>

struct watchdog {
    pthread_t thread;
    bool started;
    bool ends;
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t changed;
    wasm_engine_t *engine; /* of the run under way; NULL: none */
    clockid_t cpu_clock;   /* of its thread */
    uint64_t deadline_ns;
    uint64_t cpu_deadline_ns; /* on cpu_clock */
    uint64_t wakes_ns;        /* when the thread looks again */
};

/* For the calling thread, from now on: interrupts `engine` at `deadline_ns`, or after `cpu_time_ms`
 * (0 = none) of CPU time, until watchdog_disarm(). After that it never touches the engine again. */
int watchdog_arm(struct watchdog *dog, wasm_engine_t *engine, uint64_t deadline_ns,
                 uint64_t cpu_time_ms, struct error *err);
void watchdog_disarm(struct watchdog *dog);

/* Ends the thread. A zeroed watchdog that was never armed is fine. */
void watchdog_fini(struct watchdog *dog);

#endif

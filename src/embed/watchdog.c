#include "embed/watchdog.h"

#include "base/clock.h"

#include <signal.h>

/* After the first time again and again, in case the guest was in a host call meanwhile. */
enum { REPEAT_MS = 10 };

/* When to look at the run again, interrupting it if its time has come. CPU time passes no faster
 * than wall time, so looking after what is left of it is early enough. */
static uint64_t look(struct watchdog *dog) {
    uint64_t now_ns = clock_now_ns(), next_ns = dog->deadline_ns;
    bool over = now_ns >= dog->deadline_ns;
    if (dog->cpu_deadline_ns != CLOCK_NEVER) {
        uint64_t used_ns = clock_read_ns(dog->cpu_clock);
        over = over || used_ns >= dog->cpu_deadline_ns;
        uint64_t left_ns = over ? 0 : dog->cpu_deadline_ns - used_ns;
        if (now_ns + left_ns < next_ns) next_ns = now_ns + left_ns;
    }
    if (!over) return next_ns;
    wasmtime_engine_increment_epoch(dog->engine);
    return now_ns + REPEAT_MS * NS_PER_MS;
}

static void *watch(void *argument) {
    struct watchdog *dog = argument;
    (void)pthread_mutex_lock(&dog->lock);
    while (!dog->ends) {
        if (dog->engine == NULL || dog->wakes_ns == CLOCK_NEVER) {
            dog->wakes_ns = CLOCK_NEVER;
            (void)pthread_cond_wait(&dog->changed, &dog->lock);
        } else if (clock_now_ns() >= dog->wakes_ns) {
            dog->wakes_ns = look(dog);
        } else {
            struct timespec until = clock_timespec(dog->wakes_ns);
            (void)pthread_cond_timedwait(&dog->changed, &dog->lock, &until);
        }
    }
    (void)pthread_mutex_unlock(&dog->lock);
    return NULL;
}

static int start(struct watchdog *dog, struct error *err) {
    pthread_condattr_t monotonic;
    sigset_t all, old;
    int result = pthread_condattr_init(&monotonic);
    if (result == 0) result = pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    if (result == 0) result = pthread_cond_init(&dog->changed, &monotonic);
    if (result == 0) result = pthread_mutex_init(&dog->lock, NULL);
    if (result == 0) {
        dog->wakes_ns = CLOCK_NEVER;
        /* Signals are the host program's business, none of this thread's. */
        (void)sigfillset(&all);
        (void)pthread_sigmask(SIG_SETMASK, &all, &old);
        result = pthread_create(&dog->thread, NULL, watch, dog);
        (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    }
    if (result != 0)
        return error_set_errno(err, PA_INTERNAL, result, "start the watchdog's thread");
    dog->started = true;
    return 0;
}

int watchdog_arm(struct watchdog *dog, wasm_engine_t *engine, uint64_t deadline_ns,
                 uint64_t cpu_time_ms, struct error *err) {
    clockid_t cpu_clock;
    if (!dog->started && start(dog, err) != 0) return -1;
    int result = pthread_getcpuclockid(pthread_self(), &cpu_clock);
    if (result != 0) return error_set_errno(err, PA_INTERNAL, result, "the thread's CPU clock");
    (void)pthread_mutex_lock(&dog->lock);
    uint64_t first_ns = clock_deadline_ns(cpu_time_ms);
    dog->engine = engine;
    dog->cpu_clock = cpu_clock;
    dog->deadline_ns = deadline_ns;
    dog->cpu_deadline_ns =
        first_ns == CLOCK_NEVER ? CLOCK_NEVER : clock_read_ns(cpu_clock) + cpu_time_ms * NS_PER_MS;
    if (deadline_ns < first_ns) first_ns = deadline_ns;
    if (first_ns < dog->wakes_ns) {
        dog->wakes_ns = first_ns;
        (void)pthread_cond_signal(&dog->changed);
    }
    (void)pthread_mutex_unlock(&dog->lock);
    return 0;
}

void watchdog_disarm(struct watchdog *dog) {
    (void)pthread_mutex_lock(&dog->lock);
    dog->engine = NULL;
    (void)pthread_mutex_unlock(&dog->lock);
}

void watchdog_fini(struct watchdog *dog) {
    if (!dog->started) return;
    (void)pthread_mutex_lock(&dog->lock);
    dog->ends = true;
    (void)pthread_cond_signal(&dog->changed);
    (void)pthread_mutex_unlock(&dog->lock);
    (void)pthread_join(dog->thread, NULL);
    (void)pthread_cond_destroy(&dog->changed);
    (void)pthread_mutex_destroy(&dog->lock);
    dog->started = false;
}

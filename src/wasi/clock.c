/* Clocks. In deterministic mode time is virtual: it starts at a fixed instant, and advances by a
 * fixed step with each reading and by what the guest sleeps (poll.c). */
#include "wasi/internal.h"

enum { VIRTUAL_STEP_NS = 1000 };
#define VIRTUAL_EPOCH_NS (UINT64_C(1704067200) * NS_PER_SECOND) /* 2024-01-01T00:00:00Z */

static bool host_clock(uint32_t clock, clockid_t *id) {
    switch (clock) {
    case WASI_CLOCK_REALTIME: *id = CLOCK_REALTIME; return true;
    case WASI_CLOCK_MONOTONIC: *id = CLOCK_MONOTONIC; return true;
    case WASI_CLOCK_PROCESS_CPUTIME: *id = CLOCK_PROCESS_CPUTIME_ID; return true;
    case WASI_CLOCK_THREAD_CPUTIME: *id = CLOCK_THREAD_CPUTIME_ID; return true;
    default: return false;
    }
}

uint64_t wasi_clock_now_ns(struct wasi *w, uint32_t clock) {
    clockid_t id = CLOCK_MONOTONIC;
    if (w->deterministic) {
        return w->virtual_ns + (clock == WASI_CLOCK_REALTIME ? VIRTUAL_EPOCH_NS : 0);
    }
    (void)host_clock(clock, &id);
    uint64_t now_ns = clock_read_ns(id);
    /* Counted from the run's start: how long the host is up is none of the guest's business. */
    return id == CLOCK_MONOTONIC ? now_ns - w->start_ns : now_ns;
}

/* clock_res_get(id, *resolution) */
WASI_FN(clock_res_get) {
    clockid_t id;
    struct timespec resolution = {.tv_nsec = VIRTUAL_STEP_NS};
    if (!host_clock((uint32_t)a[0], &id)) return WASI_EINVAL;
    if (w->deny_clock) return WASI_ENOTCAPABLE;
    if (!w->deterministic) (void)clock_getres(id, &resolution);
    uint64_t ns = (uint64_t)resolution.tv_sec * NS_PER_SECOND + (uint64_t)resolution.tv_nsec;
    return guest_put_u64(w->memory, (uint32_t)a[1], ns) ? WASI_SUCCESS : WASI_EFAULT;
}

/* clock_time_get(id, precision, *time); the precision is a hint that needs no heed. */
WASI_FN(clock_time_get) {
    clockid_t id;
    if (!host_clock((uint32_t)a[0], &id)) return WASI_EINVAL;
    if (w->deny_clock) return WASI_ENOTCAPABLE;
    if (w->deterministic) w->virtual_ns += VIRTUAL_STEP_NS;
    uint64_t ns = wasi_clock_now_ns(w, (uint32_t)a[0]);
    return guest_put_u64(w->memory, (uint32_t)a[2], ns) ? WASI_SUCCESS : WASI_EFAULT;
}

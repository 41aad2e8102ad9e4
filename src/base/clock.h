/* One clock inside the program: monotonic nanoseconds. Conversion happens at the edges. */
#ifndef PA_BASE_CLOCK_H
#define PA_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NS_PER_SECOND UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)
#define CLOCK_NEVER UINT64_MAX /* a deadline that does not come */

static inline uint64_t clock_read_ns(clockid_t clock) {
    struct timespec now = {0};
    (void)clock_gettime(clock, &now); /* cannot fail for the clocks that we pass */
    return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

static inline uint64_t clock_now_ns(void) {
    return clock_read_ns(CLOCK_MONOTONIC);
}

/* now + duration, saturating at CLOCK_NEVER; duration 0 means "no limit". */
static inline uint64_t clock_deadline_ns(uint64_t duration_ms) {
    uint64_t duration_ns, deadline_ns;
    if (duration_ms == 0 || __builtin_mul_overflow(duration_ms, NS_PER_MS, &duration_ns) ||
        __builtin_add_overflow(clock_now_ns(), duration_ns, &deadline_ns)) {
        return CLOCK_NEVER;
    }
    return deadline_ns;
}

static inline struct timespec clock_timespec(uint64_t ns) {
    return (struct timespec){.tv_sec = (time_t)(ns / NS_PER_SECOND),
                             .tv_nsec = (long)(ns % NS_PER_SECOND)};
}

#endif

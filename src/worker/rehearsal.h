/* A rehearsal: a throw-away fork of a zygote does what its workers will do, to learn which pages
 * they write to. Workers have their own copies of these made while they wait for their job, all at
 * once: a fault for each would cost 1-2 us of the run. It is only a matter of speed: what goes
 * wrong leaves an empty result. */
#ifndef PA_WORKER_REHEARSAL_H
#define PA_WORKER_REHEARSAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rehearsal {
    struct hot_range {
        uintptr_t start;
        uint32_t pages;
    } ranges[512];
    size_t count;
};

/* Ahead, while the zygote may still map memory that is shared. False if there is none. */
bool rehearsal_prepare(void);
/* After it, whether there was a rehearsal or not: no worker has that memory. */
void rehearsal_discard(void);

/* In the zygote, prepared; `proc_fd` is /proc. True in the fork, which plays its part and then
 * calls rehearsal_end(); false in the zygote, when that is over and `out` is filled. */
bool rehearse(int proc_fd, struct rehearsal *out);

/* In the fork. */
void rehearsal_end(void);

/* In a worker: makes its own copies of the pages. */
void rehearsal_use(const struct rehearsal *rehearsal);

#endif

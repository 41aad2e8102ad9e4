/* A rehearsal: an interpreter at its checkpoint does a job for practice in a throw-away fork, to
 * learn which pages of its memory a job writes to. Workers have their own copies of these made
 * while they wait for their job, all at once: a fault for each would cost 1-2 us of the run. */
#ifndef PA_WORKER_REHEARSAL_H
#define PA_WORKER_REHEARSAL_H

#include "sandbox/run.h"

struct rehearsal {
    struct hot_range { /* of linear memory */
        uint32_t first_page;
        uint32_t pages;
    } ranges[256];
    size_t count;
};

/* In the zygote. `job` is its start, with the rehearsal's data. What goes wrong leaves `out` empty:
 * it is only a matter of speed. True in the child, which returns to its guest. */
bool rehearse(struct run *run, const struct engine *engine, const struct pa_job *job,
              const struct wasi_mount_config *mounts, struct rehearsal *out);

/* In a worker: makes its own copies of the pages. */
void rehearsal_use(const struct rehearsal *rehearsal, const struct guest_memory *memory);

#endif

/* One run of a compiled module in the calling thread. What happened goes into a report of fixed
 * size without pointers, which may lie in memory shared with a parent process: that one can read it
 * even after it had to kill the run, and must treat what it reads as a stranger's. */
#ifndef PA_SANDBOX_RUN_H
#define PA_SANDBOX_RUN_H

#include "base/buffer.h"
#include "sandbox/engine.h"

struct run_report {
    bool finished;
    enum pa_status status;
    int32_t exit_code;
    uint64_t started_ns; /* monotonic; the guest's first instruction */
    uint64_t ended_ns;
    uint64_t fuel;
    uint64_t peak_memory_bytes;
    uint64_t cpu_ns; /* of the thread */
    struct wasi_output_counts output[2];
    char message[1024];
    char backtrace[8192];
};

/* `captured` (stdout, stderr) are used where the job has no descriptors of its own; may be NULL.
 * `mounts` has job->mount_count entries. `deadline_ns` ends calls that block in the host. */
void run_module(struct engine *engine, const wasmtime_module_t *module, const struct pa_job *job,
                const struct wasi_mount_config *mounts, const int output_fds[2],
                struct buffer *captured, uint64_t deadline_ns, struct run_report *report);

#endif

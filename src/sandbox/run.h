/* One run of a compiled module in the calling thread. What happened goes into a report of fixed
 * size without pointers, which may lie in memory shared with a parent process: that one can read it
 * even after it had to kill the run, and must treat what it reads as a stranger's. */
#ifndef PA_SANDBOX_RUN_H
#define PA_SANDBOX_RUN_H

#include "base/buffer.h"
#include "sandbox/engine.h"

struct run_report {
    uint8_t finished; /* no bool: a stranger may have put any number there */
    enum pa_status status;
    int32_t exit_code;
    uint64_t started_ns; /* monotonic; the guest's first instruction */
    uint64_t ended_ns;
    uint64_t fuel;
    uint64_t peak_memory_bytes;
    uint64_t cpu_ns; /* of the thread */
    struct wasi_output_counts output[2];
    struct wasi_growth growth;
    uint32_t files_lost; /* wasi_lost() */
    char message[1024];
    char backtrace[8192];
};

/* What a run gets; everything stays the caller's and must live until run_module() returns. */
struct run_setup {
    const struct pa_job *job;
    const struct wasi_mount_config *mounts; /* job->mount_count entries */
    int output_fds[2];                      /* stdout, stderr, where there is no `captured` */
    struct buffer *captured;                /* two, or NULL */
    uint64_t deadline_ns;                   /* ends calls that block in the host */
    struct run_report *report;
    struct wasi_tails *tails; /* wasi_config; NULL: none */
    void (*held)(void);       /* wasi_config */
    mode_t mask;              /* wasi_config */
    bool same_mounts;
    bool moved; /* wasi_config */
    bool stays; /* the checkpoint is reached again at the end of the job: a session */
    /* If not NULL: called once, when all is ready and the guest's first instruction is next. */
    void (*before_guest)(void *context);
    void *before_guest_context;
    /* If not NULL: called when the report is complete, before anything is released. */
    void (*ended)(void);
};

struct run; /* in progress */

/* Called in the middle of the guest's first read of its standard input: the checkpoint of a warm
 * interpreter. It calls run_resume() or stops the run. Once, or where a setup `stays`, at the end
 * of that job again. */
struct run_checkpoint {
    void (*reached)(struct run *run, void *context);
    void *context;
};

/* `checkpoint` may be NULL. */
void run_module(struct engine *engine, const wasmtime_module_t *module,
                const struct run_setup *setup, const struct run_checkpoint *checkpoint);

/* At the checkpoint: from here on the guest serves `setup`, whose job has the mounts (by name), the
 * open files, and the mode of determinism that the run was started with. Fuel, memory and time are
 * counted anew. -1 with `err`: the guest must not go on. */
int run_resume(struct run *run, const struct run_setup *setup, struct error *err);

/* At the checkpoint again: completes the report of the job that has ended. */
void run_rest(struct run *run);

#endif

/* A worker: the process of one run. It is forked by a zygote, waits for its job, seals itself, runs
 * the guest and ends. What it has to say goes into a report in memory that it shares with the
 * supervisor, who reads it when the worker is dead and believes the kernel before it believes that.
 */
#ifndef PA_WORKER_WORKER_H
#define PA_WORKER_WORKER_H

#include "sandbox/run.h"
#include "worker/packet.h"
#include "worker/seal.h"

struct worker_report {
    uint32_t layers;  /* in force before the guest's first instruction of the job */
    uint32_t started; /* 1: the guest may have run */
    struct run_report run;
    struct wasi_tails tails; /* what of its output is still to be written when it is killed */
};

/* What a worker says on its channel when its report is complete. */
enum { WORKER_ENDS = 0, WORKER_RESTS = 'R' };

/* How a worker process ends when its report is complete, and when its CPU time is used up. */
enum { WORKER_EXIT_REPORTED = 0, WORKER_EXIT_FAILED = 1, WORKER_EXIT_CPU_TIME = 3 };

/* Makes SIGPROF end the process, and SIGPIPE and SIGXFSZ mere errors. In the zygote: workers
 * inherit it, and the handler works where a namespace's first process would ignore the signal. */
int worker_set_signals(void);

/* In a fresh child: the descriptor of its socket and its report. */
struct worker_start {
    uint32_t slot;
    int channel; /* has the place of the zygote's socket already */
    struct worker_report *report;
    bool stays;      /* for a session */
    bool has_pid_ns; /* it is in a pid namespace of its own, or of its session */
    uint32_t max_processes;
    bool is_sealed; /* its origin was, which had a job before */
};

/* Waits for the job of a plain worker and runs it. Never returns. */
_Noreturn void worker_run_plain(struct engine *engine, const struct seal *seal,
                                const struct worker_start *start, int proc_fd);

/* Waits for the job of a warm worker, whose interpreter is at its checkpoint, and lets it go on.
 * Ends the process if it must not. `resumed` outlives the call. */
struct worker_resumed {
    struct packet packet;
    struct packet_view view;
    struct run_setup setup;
    uint32_t layers;
};
void worker_resume(struct run *run, const struct seal *seal, const struct worker_start *start,
                   struct worker_resumed *resumed);

/* The job of a warm worker that stays has ended: completes its report, lets go of all that was the
 * job's, and says so. */
void worker_rest(struct run *run, const struct worker_start *start, struct worker_resumed *resumed);

#endif

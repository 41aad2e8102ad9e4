/* A run in a process of its own, ended by the kernel at its limits. What it did is judged from
 * outside: by waitid, rusage and the report that it left in shared memory. */
#ifndef PA_WORKER_WORKER_H
#define PA_WORKER_WORKER_H

#include "sandbox/run.h"

/* Forks, runs and reaps. `captured` (stdout, stderr) is filled unless the job has descriptors of
 * its own. `report` is complete afterwards; -1 with `err` only if no process could be started. */
int worker_run(struct engine *engine, const wasmtime_module_t *module, const struct pa_job *job,
               const struct wasi_mount_config *mounts, struct buffer captured[2],
               uint64_t deadline_ns, struct run_report *report, struct error *err);

#endif

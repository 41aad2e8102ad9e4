/* The decisions of the supervisor in the log, at level debug: who did what with which module, run
 * or process, and why. Nothing is made of it unless it is asked for. */
#ifndef PA_SUPERVISOR_TELL_H
#define PA_SUPERVISOR_TELL_H

#include "supervisor/internal.h"

/* `component` is cache, engine or compiler; `why` may be "". */
void tell_code(const struct code *code, const char *component, const char *message,
               const char *why);
void tell_zygote(const struct zygote_process *zygote, const char *message, const char *why);
void tell_run(const struct supervisor_run *run, const char *message);
void tell_verdict(const struct supervisor_run *run, const struct run_report *report);
/* How the kernel says that it ended. */
void tell_worker(const siginfo_t *info, uint64_t cpu_ns);

#endif

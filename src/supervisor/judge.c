#include "supervisor/internal.h"

#include "base/text.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void set(struct run_report *report, enum pa_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void set(struct run_report *report, enum pa_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    report->status = status;
    report->exit_code = 0;
    report->ended_ns = clock_now_ns();
    report->backtrace[0] = 0;
    (void)vsnprintf(report->message, sizeof report->message, format, args);
    va_end(args);
}

/* How the kernel ended it, where that tells what happened. */
static void judge_death(const struct verdict_facts *facts, struct run_report *report) {
    const siginfo_t *info = facts->info;
    bool killed = info->si_code == CLD_KILLED || info->si_code == CLD_DUMPED;
    if ((info->si_code == CLD_EXITED && info->si_status == WORKER_EXIT_CPU_TIME) ||
        (killed && info->si_status == SIGXCPU)) {
        set(report, PA_TIMEOUT,
            "Execution timeout: %llu ms of CPU time are used; raise cpu_time_ms",
            (unsigned long long)facts->limits->cpu_time_ms);
    } else if (killed && info->si_status == SIGSYS) {
        set(report, PA_INTERNAL,
            "policy violation: the worker made a system call that its filter forbids, and was "
            "killed (SIGSYS)");
    } else {
        set(report, PA_INTERNAL, "the worker process ended by %s %d before it could report",
            killed ? "signal" : "exit code", info->si_status);
    }
}

static int64_t between(int64_t least, int64_t value, uint64_t most) {
    if (value < least) return least;
    return value > 0 && (uint64_t)value > most ? (int64_t)most : value;
}

/* No more than its quota can have been added, and what was there before is as good as unbounded. */
static void bound_growth(const struct verdict_facts *facts, struct run_report *report) {
    struct wasi_growth *growth = &report->growth;
    growth->bytes = between(-INT64_MAX, growth->bytes, facts->limits->workspace_bytes);
    growth->names = between(-INT64_MAX, growth->names, facts->limits->workspace_inodes);
}

void judge_run(const struct verdict_facts *facts, struct worker_report *shared) {
    struct run_report *report = &shared->run;
    text_tidy(report->message, sizeof report->message, TEXT_ONE_LINE);
    text_tidy(report->backtrace, sizeof report->backtrace, TEXT_LINES);
    bound_growth(facts, report);
    bool reported = facts->info == NULL || (facts->info->si_code == CLD_EXITED &&
                                            facts->info->si_status == WORKER_EXIT_REPORTED);
    bool ended_well = reported && report->finished && report->status <= PA_INTERNAL;
    uint32_t lacking = facts->required_layers & ~shared->layers;
    if (facts->cancelled) {
        set(report, PA_INTERNAL, "cancelled by the caller");
    } else if (ended_well && shared->started && lacking != 0) {
        set(report, PA_DENIED, "isolation: the worker ran without a layer that is required");
    } else if (ended_well) {
        return;
    } else if (facts->out_of_time) {
        set(report, PA_TIMEOUT,
            "Execution timeout: %llu ms of wall time have passed, and it got %llu ms of processor "
            "time; "
            "raise execution_timeout_ms",
            (unsigned long long)facts->limits->execution_timeout_ms,
            (unsigned long long)(facts->cpu_ns / NS_PER_MS));
    } else if (facts->info == NULL) {
        set(report, PA_INTERNAL, "the worker's report makes no sense");
    } else {
        judge_death(facts, report);
    }
}

/* Short runs first: one that lasts gets a lower priority, so that a wake-up of any other process of
 * ours comes before it, and no number of endless loops keeps the short ones waiting. It still gets
 * what nobody else wants, and a tenth of what somebody does (sched(7), nice values). */
#include "supervisor/internal.h"

#include <stdio.h>
#include <sys/resource.h>

enum { SHORT_MS = 10, LONG_NICE = 10 };

pid_t pid_of(int pidfd) {
    char path[64], line[256];
    pid_t pid = 0;
    (void)snprintf(path, sizeof path, "/proc/self/fdinfo/%d", pidfd);
    FILE *file = fopen(path, "re");
    while (file != NULL && pid == 0 && fgets(line, sizeof line, file) != NULL)
        (void)sscanf(line, "Pid: %d", &pid);
    if (file != NULL) (void)fclose(file);
    return pid > 0 ? pid : 0;
}

static void set_nice(struct worker *worker, int nice) {
    pid_t pid = pid_of(worker->pidfd); /* ours, and not reaped: nobody else's meanwhile */
    if (pid > 0 && setpriority(PRIO_PROCESS, (id_t)pid, nice) == 0) worker->is_slow = nice > 0;
}

static void make_way(struct supervisor_run *run) {
    set_nice(run->worker, LONG_NICE);
    run->is_long = true;
}

static int on_pace(sd_event_source *source, uint64_t now_us, void *context) {
    struct supervisor *s = context;
    struct supervisor_run *run;
    uint64_t now_ns = clock_now_ns(), next_ns = UINT64_MAX;
    (void)now_us;
    TAILQ_FOREACH(run, &s->runs, all) {
        if (run->state != RUN_RUNNING || run->is_long) continue;
        uint64_t due_ns = run->dispatched_ns + SHORT_MS * NS_PER_MS;
        if (due_ns <= now_ns) {
            make_way(run);
        } else if (due_ns < next_ns) {
            next_ns = due_ns;
        }
    }
    if (next_ns == UINT64_MAX) return 0; /* until the next run begins */
    int result = sd_event_source_set_time(source, next_ns / 1000 + 1);
    return result < 0 ? result : sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

int pace_new(struct supervisor *s) {
    int result = sd_event_add_time(s->event, &s->pace, CLOCK_MONOTONIC, UINT64_MAX, 1, on_pace, s);
    return result < 0 ? result : sd_event_source_set_enabled(s->pace, SD_EVENT_OFF);
}

void pace_run_begins(struct supervisor *s, struct worker *worker) {
    /* The copy of a session that had a long turn. Without privileges it stays as it is. */
    if (worker->is_slow) set_nice(worker, 0);
    int enabled = SD_EVENT_OFF;
    if (sd_event_source_get_enabled(s->pace, &enabled) != 0) return; /* it is on, or failed */
    if (sd_event_source_set_time_relative(s->pace, SHORT_MS * 1000) >= 0) {
        (void)sd_event_source_set_enabled(s->pace, SD_EVENT_ONESHOT);
    }
}

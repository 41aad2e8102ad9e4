/* Short runs first: one that lasts gets a lower priority, so that a wake-up of any other process of
 * ours comes before it, and no number of endless loops keeps the short ones waiting. It still gets
 * what no other run wants, and a tenth of what one does (sched(7), nice values).
 *
 * That is a matter between runs, and not with whatever else there is on the host. In a control
 * group with a weight of its own, nice values count within it only. Without one, a run is slow only
 * while others of ours run, and as soon as it is alone (and we have the right to say so) it is not.
 */
#include "supervisor/internal.h"

#include <stdio.h>
#include <sys/resource.h>

enum { SHORT_MS = 10, ALONE_MS = 50, LONG_NICE = 10 };

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

/* What is long makes way, or need not any more. */
static void weigh(const struct supervisor *s, struct supervisor_run *run) {
    bool makes_way = run->is_long && (cgroup_weighs(s->cgroup) || s->running > 1);
    if (makes_way != run->worker->is_slow) set_nice(run->worker, makes_way ? LONG_NICE : 0);
}

/* One timer for all; the earlier time counts. */
static void look_in(struct supervisor *s, uint64_t ms) {
    int enabled = SD_EVENT_OFF;
    uint64_t due_us = 0, now_us = clock_now_ns() / 1000;
    (void)sd_event_source_get_enabled(s->pace, &enabled);
    if (enabled != SD_EVENT_OFF && sd_event_source_get_time(s->pace, &due_us) >= 0 &&
        due_us <= now_us + ms * 1000) {
        return;
    }
    if (sd_event_source_set_time(s->pace, now_us + ms * 1000) >= 0)
        (void)sd_event_source_set_enabled(s->pace, SD_EVENT_ONESHOT);
}

static int on_pace(sd_event_source *source, uint64_t now_us, void *context) {
    struct supervisor *s = context;
    struct supervisor_run *run;
    uint64_t now_ns = clock_now_ns(), next_ns = UINT64_MAX;
    (void)now_us;
    TAILQ_FOREACH(run, &s->runs, all) {
        if (run->state != RUN_RUNNING) continue;
        uint64_t due_ns = run->dispatched_ns + SHORT_MS * NS_PER_MS;
        run->is_long = due_ns <= now_ns;
        if (run->is_long) weigh(s, run);
        if (!run->is_long && due_ns < next_ns) next_ns = due_ns;
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
    struct supervisor_run *run;
    /* The copy of a session that had a long turn. Without privileges it stays as it is. */
    if (worker->is_slow) set_nice(worker, 0);
    look_in(s, SHORT_MS);
    if (cgroup_weighs(s->cgroup)) return;
    TAILQ_FOREACH(run, &s->runs, all) { /* those that were alone until now */
        if (run->state == RUN_RUNNING && run->is_long) weigh(s, run);
    }
}

void pace_run_ended(struct supervisor *s) {
    if (s->running == 1 && !cgroup_weighs(s->cgroup)) look_in(s, ALONE_MS);
}

void pace_compiler(const struct supervisor *s, pid_t pid) {
    if (cgroup_weighs(s->cgroup)) (void)setpriority(PRIO_PROCESS, (id_t)pid, LONG_NICE);
}

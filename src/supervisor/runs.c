/* A job's way through the supervisor, and its one result. */
#include "base/cleanup.h"
#include "supervisor/internal.h"
#include "supervisor/tell.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>

enum { DRAIN_BYTES = 65536, PAUSE_US = 20000, MAX_PAUSES = 500 };

static int on_output(sd_event_source *source, int fd, uint32_t events, void *context);

/* Tells the caller, and forgets the run. */
static void finish(struct supervisor_run *run, struct run_report *report, uint32_t layers) {
    struct supervisor *s = run->supervisor;
    const struct supervisor_result result = {.report = report,
                                             .captured = run->captured,
                                             .layers = layers,
                                             .submitted_ns = run->submitted_ns,
                                             .dispatched_ns = run->dispatched_ns,
                                             .cache_hit = run->cache_hit,
                                             .node = run->rested != NULL ? run->rested->node : 0};
    tell_verdict(run, report);
    TAILQ_REMOVE(&s->runs, run, all);
    s->finished++;
    sd_event_source_disable_unref(run->deadline);
    sd_event_source_disable_unref(run->pause);
    for (int i = 0; i < 2; i++) {
        sd_event_source_disable_unref(run->outputs[i]);
        fd_closep(&run->output_fds[i]);
    }
    trace_end(run);
    packet_fini(&run->packet);
    run->done(run->context, &result);
    for (int i = 0; i < 2; i++)
        buffer_fini(&run->captured[i]);
    if (run->code != NULL) code_release(run->code);
    if (run->tenant != NULL) queue_release(s, run->tenant);
    free(run);
    supervisor_schedule(s);
}

/* WAITING and RUNNING ones hold a place. */
static void leave_place(struct supervisor_run *run) {
    if (run->state == RUN_WAITING || run->state == RUN_RUNNING) queue_worker_done(run);
}

void run_fail(struct supervisor_run *run, const struct error *err) {
    struct run_report *report = calloc(1, sizeof *report);
    static struct run_report spare; /* when memory is out, the status at least */
    if (report == NULL) {
        memset(&spare, 0, sizeof spare);
        report = &spare;
    }
    report->status = err->code;
    report->ended_ns = clock_now_ns();
    (void)snprintf(report->message, sizeof report->message, "%s", err->text);
    leave_place(run);
    finish(run, report, 0);
    if (report != &spare) free(report);
}

void run_again_or_fail(struct supervisor_run *run, const struct error *err) {
    struct supervisor *s = run->supervisor;
    if (++run->attempts >= MAX_ATTEMPTS || run->out_of_time || run->cancelled || s->closing) {
        run_fail(run, err);
        return;
    }
    s->retried++;
    leave_place(run);
    for (int i = 0; i < 2; i++) {
        run->outputs[i] = sd_event_source_disable_unref(run->outputs[i]);
        fd_closep(&run->output_fds[i]);
    }
    queue_push(run);
    supervisor_schedule(s);
}

static int on_pause(sd_event_source *source, uint64_t now_us, void *context) {
    struct supervisor_run *run = context;
    struct error err = {0};
    (void)source;
    (void)now_us;
    run->pause = sd_event_source_disable_unref(run->pause);
    if (zygote_request(run, &err) != 0) run_fail(run, &err);
    return 0;
}

void run_pause(struct supervisor_run *run, const struct error *err) {
    run->worker = NULL;
    if (++run->pauses <= MAX_PAUSES &&
        sd_event_add_time_relative(run->supervisor->event, &run->pause, CLOCK_MONOTONIC, PAUSE_US,
                                   1, on_pause, run) >= 0)
        return;
    run_fail(run, err);
}

/* The caller's pipes, unless the job has its own. */
void run_start_output(struct supervisor_run *run, struct error *err) {
    static const int places[] = {PACKET_STDOUT, PACKET_STDERR};
    if (run->packet.fds[PACKET_STDOUT] >= 0) return;
    for (int i = 0; i < 2; i++) {
        int pipe_fds[2];
        if (pipe2(pipe_fds, O_CLOEXEC) != 0) {
            error_set_errno(err, PA_INTERNAL, errno, "pipe for the output");
            return;
        }
        run->output_fds[i] = pipe_fds[0];
        run->packet.fds[places[i]] = pipe_fds[1];
        (void)fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK);
        int result = sd_event_add_io(run->supervisor->event, &run->outputs[i], pipe_fds[0], EPOLLIN,
                                     on_output, run);
        if (result < 0) {
            error_set_errno(err, PA_INTERNAL, -result, "watch the output");
            return;
        }
    }
}

/* Takes what is in a pipe; beyond the limit it is read and dropped. False at its end, or when there
 * is nothing now. */
static bool drain(struct supervisor_run *run, int which) {
    char chunk[DRAIN_BYTES];
    uint64_t limit = run->packet.header.limits.output_limit_bytes;
    struct buffer *buffer = &run->captured[which];
    ssize_t got = read(run->output_fds[which], chunk, sizeof chunk);
    if (got < 0 && errno == EINTR) return true;
    if (got < 0 && errno == EAGAIN) return false;
    if (got > 0) {
        uint64_t room = limit == 0 ? UINT64_MAX : limit > buffer->size ? limit - buffer->size : 0;
        size_t part = (uint64_t)got < room ? (size_t)got : (size_t)room;
        if (buffer_append(buffer, chunk, part) == 0) return true;
    }
    run->outputs[which] = sd_event_source_disable_unref(run->outputs[which]);
    fd_closep(&run->output_fds[which]); /* without memory, the guest sees a closed pipe */
    return false;
}

static int on_output(sd_event_source *source, int fd, uint32_t events, void *context) {
    struct supervisor_run *run = context;
    (void)source;
    (void)events;
    (void)drain(run, fd == run->output_fds[0] ? 0 : 1);
    return 0;
}

/* What a worker had still to write when it was stopped. Nobody waits for a reader that does not
 * read: what a pipe has room for at once is written, as are files. */
static void write_tails(struct supervisor_run *run, const struct worker_report *report) {
    static const int places[] = {PACKET_STDOUT, PACKET_STDERR};
    for (int i = 0; i < 2; i++) {
        size_t held = report->run.output[i].held;
        struct pollfd out = {.fd = run->packet.fds[places[i]], .events = POLLOUT};
        if (held == 0 || held > WASI_TAIL_BYTES || out.fd < 0) continue;
        if (poll(&out, 1, 0) == 1 && out.revents & POLLOUT)
            (void)!write(out.fd, report->tails.bytes[i], held); /* the output is cut, as it was */
    }
}

void run_worker_ended(struct supervisor_run *run, const siginfo_t *info, uint64_t cpu_ns) {
    struct supervisor *s = run->supervisor;
    /* Copied once: one that has only said that it is done could still write to it. */
    static struct worker_report copy;
    struct worker_report *report = &copy;
    copy = *run->worker->report;
    const struct verdict_facts facts = {.limits = &run->packet.header.limits,
                                        .info = info,
                                        .cpu_ns = cpu_ns,
                                        .required_layers = run->packet.header.policy.required,
                                        .out_of_time = run->out_of_time,
                                        .cancelled = run->cancelled};
    bool innocent = info != NULL && !report->started && !report->run.finished && !run->out_of_time;
    run->worker = NULL;
    if (innocent) { /* somebody killed it before the guest began: nothing has happened yet */
        struct error err = {0};
        error_set(&err, PA_INTERNAL, "the worker process ended before the run began (%s %d)",
                  info->si_code == CLD_EXITED ? "exit code" : "signal", info->si_status);
        run_again_or_fail(run, &err);
        return;
    }
    write_tails(run, report);
    for (int i = 0; i < 2; i++) {
        while (run->output_fds[i] >= 0 && drain(run, i)) {
        }
    }
    judge_run(&facts, report);
    if (run->rested != NULL && report->run.status != PA_OK) {
        worker_kill(run->rested);
        run->rested = NULL;
    }
    /* The kernel's figure; the report's times must lie within the run. */
    uint64_t now_ns = clock_now_ns();
    if (info != NULL) report->run.cpu_ns = cpu_ns;
    uint64_t most_ns = now_ns - run->dispatched_ns;
    if (report->run.cpu_ns > most_ns) report->run.cpu_ns = most_ns;
    if (report->run.started_ns < run->dispatched_ns || report->run.started_ns > now_ns) {
        report->run.started_ns = run->dispatched_ns;
    }
    if (report->run.ended_ns < report->run.started_ns || report->run.ended_ns > now_ns) {
        report->run.ended_ns = now_ns;
    }
    s->mean_run_ns += (now_ns - run->dispatched_ns) / 16 - s->mean_run_ns / 16;
    leave_place(run);
    finish(run, &report->run, report->layers & LAYERS_ALL);
}

static void dispatch(struct supervisor *s) {
    struct supervisor_run *run;
    while (!s->closing && (run = queue_pop(s)) != NULL) {
        struct error err = {0};
        run->state = RUN_WAITING;
        tell_run(run, "dispatched");
        if (zygote_request(run, &err) != 0) run_fail(run, &err);
    }
}

static int on_turn(sd_event_source *source, void *context) {
    (void)source;
    code_compile_next(context);
    dispatch(context);
    return 0;
}

void supervisor_schedule(struct supervisor *s) {
    (void)sd_event_source_set_enabled(s->turn, SD_EVENT_ONESHOT);
}

/* Ends a run from whatever state. */
static void stop(struct supervisor_run *run, const struct error *err) {
    switch (run->state) {
    case RUN_COMPILING: code_cancel(run); break;
    case RUN_QUEUED: queue_remove(run); break;
    case RUN_WAITING: zygote_cancel(run); break;
    case RUN_RUNNING: worker_kill(run->worker); return; /* its death brings the result */
    }
    run_fail(run, err);
}

static int on_deadline(sd_event_source *source, uint64_t now_us, void *context) {
    struct supervisor_run *run = context;
    struct error err = {0};
    (void)source;
    (void)now_us;
    error_set(&err, PA_TIMEOUT, "Execution timeout: %llu ms have passed before the run could start",
              (unsigned long long)run->packet.header.limits.execution_timeout_ms);
    run->out_of_time = true;
    stop(run, &err);
    return 0;
}

void supervisor_cancel(struct supervisor_run *run) {
    struct error err = {0};
    error_set(&err, PA_INTERNAL, "cancelled by the caller");
    run->cancelled = true;
    stop(run, &err);
}

/* What was wanted is the code itself. */
static int give_module(struct supervisor_run *run, struct error *err) {
    static struct run_report report;
    int from = run->code->fd, to = run->packet.fds[PACKET_STDOUT];
    struct stat in, out;
    off_t at = 0;
    if (fstat(from, &in) != 0 || fstat(to, &out) != 0)
        return error_set_errno(err, PA_INTERNAL, errno, "look at the module");
    if (!S_ISREG(out.st_mode))
        return error_set(err, PA_INVALID_ARGUMENT, "job: a module goes to a file only");
    while (at < in.st_size) {
        ssize_t sent = sendfile(to, from, &at, (size_t)(in.st_size - at));
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0)
            return error_set_errno(err, PA_INTERNAL, sent < 0 ? errno : EIO, "write the module");
    }
    report = (struct run_report){.finished = true, .ended_ns = clock_now_ns()};
    finish(run, &report, 0);
    return 0;
}

int run_code_ready(struct supervisor_run *run, struct error *err) {
    struct supervisor *s = run->supervisor;
    if (run->packet.header.flags & PACKET_TO_MODULE) return give_module(run, err);
    if (run->deadline_ns != CLOCK_NEVER) {
        int result = sd_event_add_time(s->event, &run->deadline, CLOCK_MONOTONIC,
                                       run->deadline_ns / 1000 + 1, 1, on_deadline, run);
        if (result < 0) return error_set_errno(err, PA_INTERNAL, -result, "watch the deadline");
    }
    queue_push(run);
    supervisor_schedule(s);
    return 0;
}

/* An interpreter that started before the job can serve it only if the job changes nothing of what
 * it has seen: random numbers of a seed are another story from the first on (CPython's hash seed).
 */
static bool can_be_warm(const struct supervisor *s, const struct packet *packet) {
    return s->config.keep_warm && packet->header.flags & PACKET_WARM &&
           !(packet->header.flags & PACKET_DETERMINISTIC) && packet->fds[PACKET_PROFILE] < 0;
}

int supervisor_submit(struct supervisor *s, struct packet *packet, struct pa_module *module,
                      supervisor_done done, void *context, struct supervisor_run **out,
                      struct error *err) {
    struct packet_header *h = &packet->header;
    struct supervisor_run *run = calloc(1, sizeof *run);
    if (out != NULL) *out = NULL;
    struct tenant *tenant = run != NULL ? queue_tenant(s, h->tenant, err) : NULL;
    if (tenant == NULL) {
        if (run == NULL) error_set(err, PA_INTERNAL, "the job: out of memory");
        free(run);
        packet_fini(packet);
        return -1;
    }
    h->variant = engine_variant(h->limits.max_fuel > 0, packet->fds[PACKET_PROFILE] >= 0,
                                h->flags & PACKET_EXCEPTIONS, h->flags & PACKET_DETERMINISTIC);
    if (h->flags & PACKET_TO_MODULE) h->variant = COMPILER_TO_MODULE;
    h->policy = s->config.policy;
    if (!mounts_can_be_mapped(&s->probe, packet)) h->policy.enabled &= ~(LAYER_UID | LAYER_USER_NS);
    if (h->limits.cpu_time_ms == 0) h->limits.cpu_time_ms = h->limits.execution_timeout_ms;
    *run = (struct supervisor_run){.supervisor = s,
                                   .packet = *packet,
                                   .warm = can_be_warm(s, packet),
                                   .submitted_ns = clock_now_ns(),
                                   .deadline_ns = clock_deadline_ns(h->limits.execution_timeout_ms),
                                   .output_fds = {-1, -1},
                                   .tenant = tenant,
                                   .done = done,
                                   .context = context};
    run->stays = h->flags & PACKET_STAYS;
    trace_start(run);
    packet_init(packet);
    if (queue_check(s, tenant, err) == 0 &&
        packet_check_mounts(&run->packet, s->config.cache, err) == 0) {
        TAILQ_INSERT_TAIL(&s->runs, run, all);
        if (out != NULL) *out = run;
        int result = run->stays && !run->warm
                         ? error_set(err, PA_INVALID_ARGUMENT,
                                     "a session needs an interpreter that stays: without "
                                     "deterministic")
                     : module == NULL ? run_code_ready(run, err)
                                      : code_request(run, module, err);
        if (result == 0) return 0;
        TAILQ_REMOVE(&s->runs, run, all);
        if (out != NULL) *out = NULL;
    }
    trace_end(run);
    packet_fini(&run->packet);
    free(run);
    queue_release(s, tenant);
    return -1;
}

static void default_to(uint32_t *value, uint32_t standard) {
    if (*value == 0) *value = standard;
}

/* A directory without a name: nothing can be made in it. */
static int nameless_dir(struct error *err) {
    char path[] = "/tmp/polyagent-XXXXXX";
    int fd = mkdtemp(path) != NULL ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0 && rmdir(path) == 0) return fd;
    error_set_errno(err, PA_INTERNAL, errno, "make an empty directory in /tmp");
    fd_closep(&fd);
    return -1;
}

struct supervisor *supervisor_new(sd_event *event, const struct supervisor_config *config,
                                  struct error *err) {
    struct supervisor *s = calloc(1, sizeof *s);
    if (s == NULL) {
        error_set(err, PA_INTERNAL, "supervisor: out of memory");
        return NULL;
    }
    *s = (struct supervisor){.config = *config,
                             .event = sd_event_ref(event),
                             .empty_dir = -1,
                             .cloner.socket = -1,
                             .probe.id_map = -1};
    TAILQ_INIT(&s->free_slots);
    TAILQ_INIT(&s->tenants);
    TAILQ_INIT(&s->codes);
    SLIST_INIT(&s->interpreters);
    TAILQ_INIT(&s->zygotes);
    TAILQ_INIT(&s->runs);
    TAILQ_INIT(&s->nodes);
    TAILQ_INIT(&s->families);
    default_to(&s->config.max_nodes, 4096);
    queue_new(s);
    default_to(&s->config.max_zygotes, 8);
    default_to(&s->config.runs_per_zygote, 10000);
    s->empty_dir = nameless_dir(err);
    int result = s->empty_dir < 0 ? -1 : sd_event_add_defer(event, &s->turn, on_turn, s);
    if (result >= 0) result = sd_event_source_set_enabled(s->turn, SD_EVENT_OFF);
    if (result >= 0) result = pace_new(s);
    if (result >= 0) result = node_new(s);
    if (result >= 0) result = family_new(s);
    if (result < 0) {
        if (s->empty_dir >= 0) error_set_errno(err, PA_INTERNAL, -result, "start the event loop");
        supervisor_free(s);
        return NULL;
    }
    if (s->config.policy.enabled & LAYER_CGROUP && s->config.keep_warm) {
        /* Twice as many as there can be at once: dead ones count until they are reaped. */
        uint32_t workers = s->config.max_running + s->config.max_zygotes * s->config.spare_workers;
        s->process_bound = 2 * (workers + s->config.max_zygotes) + 64;
        s->process_bound += MAX_COMPILERS * ((uint32_t)get_nprocs() + 8); /* threads count */
        s->cgroup =
            cgroup_new(CGROUP_ROOT, config->may_move, config->memory_bytes, s->process_bound);
    }
    return s;
}

void supervisor_free(struct supervisor *s) {
    struct supervisor_run *run;
    struct error err = {0};
    if (s == NULL) return;
    s->closing = true;
    error_set(&err, PA_INTERNAL, "cancelled: the supervisor ends");
    TAILQ_FOREACH(run, &s->runs, all) {
        if (run->state == RUN_RUNNING) run->worker->run = NULL; /* nobody is told of its death */
    }
    zygote_free_all(s);
    family_free_all(s);
    while ((run = TAILQ_FIRST(&s->runs)) != NULL) {
        if (run->state == RUN_COMPILING) code_cancel(run);
        if (run->state == RUN_QUEUED) queue_remove(run);
        run_fail(run, &err);
    }
    code_free_all(s);
    slot_free_all(s);
    cgroup_free(s->cgroup);
    fd_closep(&s->empty_dir);
    cloner_end(&s->cloner);
    fd_closep(&s->probe.id_map);
    sd_event_source_disable_unref(s->tire);
    sd_event_source_disable_unref(s->look);
    sd_event_source_disable_unref(s->turn);
    sd_event_source_disable_unref(s->pace);
    sd_event_unref(s->event);
    free(s);
}

void supervisor_get_stats(const struct supervisor *s, struct supervisor_stats *stats) {
    *stats = (struct supervisor_stats){.running = s->running,
                                       .queued = s->queued,
                                       .zygotes = s->zygote_count,
                                       .nodes = s->node_count,
                                       .workers = s->workers,
                                       .finished = s->finished,
                                       .retried = s->retried,
                                       .zygotes_started = s->zygotes_started};
    const struct zygote_process *zygote;
    TAILQ_FOREACH(zygote, &s->zygotes, link) {
        stats->parked += zygote->parked;
    }
    const struct worker *node;
    TAILQ_FOREACH(node, &s->nodes, by_node) {
        stats->parked += node->spare != NULL;
    }
}

#include "worker/worker.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "sandbox/module.h"
#include "worker/zygote.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>

enum { FLUSH_US = 5000 };

/* Says that the report is complete, for the supervisor need not wait until the kernel has taken the
 * process apart, which takes as long as a short run. Tearing a store and a world down would touch
 * many pages, and help nobody. */
static void end_process(void) {
    (void)!write(ZYGOTE_SOCKET_FD, "", 1);
    _exit(WORKER_EXIT_REPORTED);
}

/* Ends with a verdict of our own making, or the guest's in the report already. */
static _Noreturn void give_up(struct worker_report *report, const struct error *err) {
    report->run.status = err->code;
    (void)snprintf(report->run.message, sizeof report->run.message, "%s", err->text);
    report->run.ended_ns = clock_now_ns();
    report->run.finished = true;
    end_process();
    _exit(WORKER_EXIT_REPORTED);
}

static void out_of_cpu_time(int signal) {
    (void)signal;
    _exit(WORKER_EXIT_CPU_TIME);
}

/* Pieces of lines are seen soon, even if the guest goes on computing. */
static void flush_soon(void) {
    const struct itimerval soon = {.it_value = {.tv_usec = FLUSH_US}};
    (void)setitimer(ITIMER_REAL, &soon, NULL); /* else they come with the next line */
}

static void flush_now(int signal) {
    (void)signal;
    wasi_flush_in_signal();
}

int worker_set_signals(void) {
    /* On the engine's own stack for signals: the guest's may be full. */
    const struct sigaction flush = {.sa_handler = flush_now, .sa_flags = SA_RESTART | SA_ONSTACK};
    const struct sigaction end = {.sa_handler = out_of_cpu_time};
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigset_t none;
    if (sigaction(SIGPROF, &end, NULL) != 0 || sigaction(SIGPIPE, &ignore, NULL) != 0 ||
        sigaction(SIGALRM, &flush, NULL) != 0 || sigaction(SIGXFSZ, &ignore, NULL) != 0 ||
        sigemptyset(&none) != 0 || sigprocmask(SIG_SETMASK, &none, NULL) != 0) {
        return -errno;
    }
    return 0;
}

static void begin(const struct seal *seal, const struct worker_start *start, uint32_t *layers) {
    struct error err = {0};
    const struct seal_place place = {.slot = start->slot,
                                     .stays = start->stays,
                                     .has_pid_ns = start->has_pid_ns,
                                     .max_processes = start->max_processes};
    int result = start->is_sealed ? seal_inherit(&err) : seal_worker(seal, &place, layers, &err);
    if (result != 0) give_up(start->report, &err);
}

static void receive_job(const struct worker_start *start, struct packet *packet,
                        struct packet_view *view) {
    struct error err = {0};
    int got = packet_receive(packet, start->channel, 1);
    if (got == 0) _exit(WORKER_EXIT_REPORTED); /* nobody needs us */
    if (got < 0) {
        error_set_errno(&err, PA_INTERNAL, -got, "receive the job");
        give_up(start->report, &err);
    }
    if (packet_open(packet, view, &err) != 0) give_up(start->report, &err);
}

/* The last step before the guest. */
static void seal_for(const struct seal *seal, const struct worker_start *start,
                     const struct packet *packet, const struct packet_view *view, bool files_sealed,
                     uint64_t space_bytes, uint32_t *layers) {
    struct error err = {0};
    char missing[300];
    struct worker_report *report = start->report;
    const struct seal_needs needs = {.stays = start->stays,
                                     .scope_fd = packet->fds[PACKET_SCOPE],
                                     .cpu_only = start->is_sealed,
                                     .files_sealed = files_sealed,
                                     .space_bytes = space_bytes};
    if (seal_job(seal, &view->job, view->mounts, &needs, layers, &err) != 0) give_up(report, &err);
    report->layers = *layers;
    uint32_t lacking = packet->header.policy.required & ~*layers;
    if (lacking != 0) {
        layers_format(lacking, missing, sizeof missing);
        error_set(&err, PA_DENIED,
                  "isolation: %s required, but not in force; see polyagent doctor, or change "
                  "POLYAGENT_WASI_ISOLATION_REQUIRED",
                  missing);
        give_up(report, &err);
    }
    report->run.started_ns = clock_now_ns();
    report->started = 1;
}

static struct run_setup setup_for(const struct packet *packet, const struct packet_view *view,
                                  struct worker_report *report) {
    return (struct run_setup){
        .job = &view->job,
        .mounts = view->mounts,
        .output_fds = {view->job.stdout_fd, view->job.stderr_fd},
        .deadline_ns = packet->header.deadline_ns,
        .mask = packet->header.mask,
        .tails = &report->tails,
        .held = flush_soon,
        .report = &report->run,
        .ended = end_process,
    };
}

/* Of addresses: what a module's linear memory is reserved, at most 4 GiB, and its guards. */
#define MEMORY_SPACE_BYTES (UINT64_C(16) << 30)

struct plain { /* what seals a plain worker when its module is ready to run */
    const struct seal *seal;
    const struct packet *packet;
    const struct packet_view *view;
    uint32_t layers;
    int measure_fd; /* owned */
    const struct worker_start *start;
};

static void before_guest(void *context) {
    struct plain *p = context;
    uint64_t space_bytes, data_bytes;
    seal_measure(p->measure_fd, &space_bytes, &data_bytes);
    fd_closep(&p->measure_fd);
    if (space_bytes > 0) space_bytes += MEMORY_SPACE_BYTES; /* it is reserved only now */
    seal_for(p->seal, p->start, p->packet, p->view, true, space_bytes, &p->layers);
}

_Noreturn void worker_run_plain(struct engine *engine, const struct seal *seal,
                                const struct worker_start *start, int proc_fd) {
    static struct packet packet;
    static struct packet_view view;
    struct plain plain = {.seal = seal, .packet = &packet, .view = &view, .start = start};
    struct error err = {0};
    begin(seal, start, &plain.layers);
    receive_job(start, &packet, &view);
    if (packet.header.variant != engine->variant || packet.fds[PACKET_MODULE] < 0) {
        error_set(&err, PA_INTERNAL, "the job is not for this zygote");
        give_up(start->report, &err);
    }
    /* The code is a stranger's: from here on there is no other file of the host to open. */
    plain.measure_fd = seal_open_measure(proc_fd);
    seal_files(seal, view.mounts, view.job.mount_count, packet.fds[PACKET_SCOPE],
               packet.fds[PACKET_MODULE], &plain.layers);
    wasmtime_module_t *code = module_load_fd(engine, proc_fd, packet.fds[PACKET_MODULE], &err);
    if (code == NULL) give_up(start->report, &err);
    fd_closep(&proc_fd);
    fd_closep(&packet.fds[PACKET_MODULE]);
    struct run_setup setup = setup_for(&packet, &view, start->report);
    setup.before_guest = before_guest;
    setup.before_guest_context = &plain;
    run_module(engine, code, &setup, NULL);
    _exit(WORKER_EXIT_REPORTED);
}

void worker_resume(struct run *run, const struct seal *seal, const struct worker_start *start,
                   struct worker_resumed *resumed) {
    struct error err = {0};
    begin(seal, start, &resumed->layers);
    receive_job(start, &resumed->packet, &resumed->view);
    resumed->setup = setup_for(&resumed->packet, &resumed->view, start->report);
    resumed->setup.stays = start->stays;
    resumed->setup.same_mounts = resumed->packet.header.flags & PACKET_SAME_MOUNTS;
    resumed->setup.moved = resumed->packet.header.flags & PACKET_MOVED;
    if (run_resume(run, &resumed->setup, &err) != 0) give_up(start->report, &err);
    seal_for(seal, start, &resumed->packet, &resumed->view, false, seal->space_bytes,
             &resumed->layers);
}

void worker_rest(struct run *run, const struct worker_start *start,
                 struct worker_resumed *resumed) {
    const struct itimerval never = {.it_value = {0}};
    const char word = WORKER_RESTS;
    (void)setitimer(ITIMER_PROF, &never, NULL);
    run_rest(run);
    packet_view_fini(&resumed->view);
    packet_fini(&resumed->packet);
    if (write(start->channel, &word, 1) != 1) _exit(WORKER_EXIT_FAILED);
}

#include "worker/zygote.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/huge.h"
#include "sandbox/module.h"
#include "worker/rehearsal.h"
#include "worker/wire.h"
#include "worker/worker.h"

#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum { PRACTICE_MS = 5000, MAX_OWN_FDS = 256 }; /* it has a dozen, and one for each mount */

struct zygote {
    struct seal seal;
    struct engine *engine;
    const void *code_low, *code_high; /* of the program */
    int proc_fd;                      /* /proc, out of reach by name once the root is empty */
    int task_fd;                   /* /proc/self/task: its link count tells the number of threads */
    struct worker_start start;     /* in a child: what it was made with */
    struct worker_resumed resumed; /* in a warm child: its job */
    const struct packet_view *view; /* of a warm one's start */
    struct rehearsal rehearsal;
};

static int reply(uint32_t kind, const struct zygote *zygote, uint32_t status, uint32_t slot,
                 const char *text, int fd) {
    struct zygote_reply message = {
        .kind = kind, .layers = zygote->seal.in_force, .status = status, .slot = slot};
    (void)snprintf(message.text, sizeof message.text, "%s", text);
    const struct iovec part = {&message, sizeof message};
    return wire_send(ZYGOTE_SOCKET_FD, &part, 1, &fd, fd >= 0 ? 1 : 0, 1);
}

static _Noreturn void fail(const struct zygote *zygote, const struct error *err) {
    (void)reply(ZYGOTE_FAILED, zygote, err->code, 0, err->text, -1);
    _exit(1);
}

/* A process with threads must not be forked: locks of theirs would stay locked for ever. */
static bool has_one_thread(const struct zygote *zygote) {
    struct stat st;
    return fstat(zygote->task_fd, &st) == 0 && st.st_nlink == 3; /* ".", "..", the thread */
}

/* fork(), but that the child's parent is the supervisor. */
static pid_t clone_sibling(unsigned long more_flags, int *pidfd) {
    const unsigned long flags = WORKER_CLONE_FLAGS | SIGCHLD;
    return (pid_t)syscall(SYS_clone, flags | more_flags, NULL, pidfd, NULL, NULL);
}

/* The same, and first in a pid namespace of its own where that is to be had. */
static pid_t clone_worker(struct zygote *zygote, int *pidfd) {
    if (zygote->seal.enabled & LAYER_PID_NS) {
        zygote->start.has_pid_ns = true;
        pid_t pid = clone_sibling(CLONE_NEWPID, pidfd);
        if (pid == 0) return 0;
        zygote->start.has_pid_ns = false;
        if (pid > 0 || (errno != EPERM && errno != EINVAL && errno != ENOSPC)) return pid;
    }
    return clone_sibling(0, pidfd);
}

/* In the child. What the report's memfd is was decided by the supervisor. */
static void become_worker(struct zygote *zygote, const struct zygote_request *request, int *fds) {
    int channel = fds[0], report_fd = fds[1];
    struct worker_report *former = zygote->start.report; /* of the turn before */
    void *report =
        mmap(NULL, sizeof(struct worker_report), PROT_READ | PROT_WRITE, MAP_SHARED, report_fd, 0);
    if (report == MAP_FAILED || dup3(channel, ZYGOTE_SOCKET_FD, O_CLOEXEC) < 0) {
        _exit(WORKER_EXIT_FAILED);
    }
    zygote->start = (struct worker_start){.slot = request->slot,
                                          .channel = ZYGOTE_SOCKET_FD,
                                          .report = report,
                                          .stays = request->stays,
                                          .has_pid_ns = zygote->start.has_pid_ns,
                                          .max_processes = request->max_processes,
                                          .is_sealed = former != NULL};
    wire_close_fds(fds, 2);
    if (former != NULL) (void)munmap(former, sizeof *former);
    fd_closep(&zygote->task_fd);
}

static int reply_no_fork(const struct zygote *zygote, uint32_t slot, int error) {
    return reply(ZYGOTE_NO_FORK, zygote, (uint32_t)error, slot, strerrordesc_np(error), -1);
}

static void end_group(int signal) {
    (void)signal;
    (void)kill(0, SIGKILL); /* all of its id, itself included, unless it is first in a namespace */
    _exit(0);
}

/* The keeper of a session. The supervisor makes it the leader of a group of processes, and kills
 * that; when the supervisor is gone, the keeper does. */
static _Noreturn void keep(const struct zygote *zygote, const struct zygote_request *request) {
    const struct sigaction end = {.sa_handler = end_group};
    const struct timespec now = {0};
    struct pollfd supervisor = {.fd = ZYGOTE_SOCKET_FD};
    if (seal_keeper(&zygote->seal, request->slot) != 0 || sigaction(SIGTERM, &end, NULL) != 0 ||
        prctl(PR_SET_PDEATHSIG, SIGTERM) != 0 || ppoll(&supervisor, 1, &now, NULL) != 0 ||
        close_range(0, ~0U, 0) != 0) { /* it may have died before it could tell us by a signal */
        _exit(1);
    }
    for (;;)
        (void)ppoll(NULL, 0, NULL, NULL);
}

/* In a helper, which alone can enter a pid namespace for its children: there is no way back. True
 * in the worker. */
static bool make_session(struct zygote *zygote, const struct zygote_request *request, int *fds) {
    int made[] = {-1, -1}; /* the worker's pidfd, its keeper's */
    zygote->start.has_pid_ns = zygote->seal.enabled & LAYER_PID_NS && unshare(CLONE_NEWPID) == 0;
    pid_t pid = clone_sibling(0, &made[1]);
    if (pid == 0) keep(zygote, request);
    if (pid > 0) pid = clone_sibling(0, &made[0]);
    if (pid == 0) {
        wire_close_fds(&made[1], 1);
        become_worker(zygote, request, fds);
        return true;
    }
    int error = errno;
    struct zygote_reply message = {.kind = ZYGOTE_FORKED, .slot = request->slot};
    const struct iovec part = {&message, sizeof message};
    if (pid > 0) {
        (void)wire_send(ZYGOTE_SOCKET_FD, &part, 1, made, 2, 1);
    } else {
        (void)reply_no_fork(zygote, request->slot, error);
    }
    _exit(0);
}

/* Makes a worker for one request. True in the child. */
static bool serve(struct zygote *zygote, const struct zygote_request *request, int *fds) {
    int pidfd = -1;
    bool had_job = zygote->start.report != NULL;
    /* One that had a job cannot have made a thread: its filter forbids it. */
    if (!had_job && !has_one_thread(zygote)) {
        (void)reply(ZYGOTE_NO_FORK, zygote, 0, request->slot, "the zygote has more than one thread",
                    -1);
        return false;
    }
    bool needs_helper = !had_job && request->stays;
    pid_t pid = needs_helper || had_job ? clone_sibling(0, &pidfd) : clone_worker(zygote, &pidfd);
    int error = errno;
    if (pid == 0 && needs_helper) return make_session(zygote, request, fds);
    if (pid == 0) {
        become_worker(zygote, request, fds);
        return true;
    }
    int result = 0; /* a helper answers for itself */
    if (pid < 0) {
        result = reply_no_fork(zygote, request->slot, error);
    } else if (!needs_helper) {
        result = reply(ZYGOTE_FORKED, zygote, PA_OK, request->slot, "", pidfd);
    }
    fd_closep(&pidfd);
    if (result != 0) _exit(1); /* the supervisor is gone; the kernel ends the worker, too */
    return false;
}

/* The number after the last descriptor that is open now. */
static int first_free_fd(void) {
    int last = 0;
    for (int fd = 0; fd < MAX_OWN_FDS; fd++) {
        if (fcntl(fd, F_GETFD) >= 0) last = fd;
    }
    return last + 1;
}

/* Serves until the supervisor closes the socket. Returns only in a worker. */
static void serve_all(struct zygote *zygote) {
    for (;;) {
        struct zygote_request request;
        int fds[WIRE_MAX_FDS];
        size_t fd_count;
        const struct iovec part = {&request, sizeof request};
        ssize_t got = wire_receive(ZYGOTE_SOCKET_FD, &part, 1, fds, &fd_count, 1);
        if (got != sizeof request || fd_count != 2) _exit(got == 0 ? 0 : 1);
        if (serve(zygote, &request, fds)) return;
        wire_close_fds(fds, fd_count);
    }
}

static void prepare_to_serve(struct zygote *zygote) {
    rehearsal_discard();
    zygote->seal.first_fd = first_free_fd();
    (void)malloc_trim(0); /* each page less is one less to copy the entry of */
}

/* In a rehearsal: the interpreter gets the job for practice. */
static void practise(struct run *run, const struct packet_view *view) {
    static struct run_report report;
    static struct buffer output[2];
    static struct pa_job job;
    static struct run_setup setup;
    struct error err = {0};
    job = view->job;
    job.job_data = job.rehearsal_data;
    job.job_bytes = job.rehearsal_bytes;
    setup = (struct run_setup){.job = &job,
                               .mounts = view->mounts,
                               .captured = output,
                               .deadline_ns = clock_deadline_ns(PRACTICE_MS),
                               .report = &report,
                               .ended = rehearsal_end};
    if (run_resume(run, &setup, &err) != 0) _exit(1);
}

/* In a worker that stays: its turn is over, and each next one is a copy's. */
static void at_rest(struct zygote *zygote, struct run *run) {
    worker_rest(run, &zygote->start, &zygote->resumed);
    serve_all(zygote);
    rehearsal_use(&zygote->rehearsal);
    worker_resume(run, &zygote->seal, &zygote->start, &zygote->resumed);
}

static void measure(struct zygote *zygote, uint64_t *data_bytes) {
    _cleanup_(fd_closep) int fd = seal_open_measure(zygote->proc_fd);
    seal_measure(fd, &zygote->seal.space_bytes, data_bytes);
}

/* The interpreter has asked for its program. */
static void at_checkpoint(struct run *run, void *context) {
    struct zygote *zygote = context;
    const struct guest_memory *memory = zygote->engine->memory;
    if (zygote->start.report != NULL) {
        at_rest(zygote, run);
        return;
    }
    if (memory != NULL) huge_pages_for_data(memory->base, memory->size_bytes);
    if (zygote->view->job.rehearsal_bytes > 0 && rehearse(zygote->proc_fd, &zygote->rehearsal)) {
        practise(run, zygote->view);
        return;
    }
    uint64_t data_bytes; /* of the interpreter, too, which is the linear memory's limit's */
    measure(zygote, &data_bytes);
    fd_closep(&zygote->proc_fd);
    if (reply(ZYGOTE_READY, zygote, PA_OK, 0, "", -1) != 0) _exit(1);
    prepare_to_serve(zygote);
    serve_all(zygote);
    rehearsal_use(&zygote->rehearsal);
    worker_resume(run, &zygote->seal, &zygote->start, &zygote->resumed);
}

/* Starts the interpreter; returns only by ending the process. */
static _Noreturn void run_warm(struct zygote *zygote, const struct packet *packet,
                               const struct packet_view *view, wasmtime_module_t *code) {
    static struct run_report report;
    struct buffer output[2] = {{0}, {0}};
    const struct run_checkpoint checkpoint = {.reached = at_checkpoint, .context = zygote};
    const struct run_setup setup = {.job = &view->job,
                                    .mounts = view->mounts,
                                    .captured = output,
                                    .deadline_ns = packet->header.deadline_ns,
                                    .report = &report};
    struct error err = {0};
    if (zygote->seal.enabled & LAYER_SECCOMP) { /* it is a stranger's code, too */
        if (seccomp_filter_build(&zygote->seal.filters, SECCOMP_ZYGOTE, &err) != 0) {
            fail(zygote, &err);
        }
        int result = seccomp_install(&zygote->seal.filters, SECCOMP_ZYGOTE);
        if (result != 0) {
            error_set_errno(&err, PA_INTERNAL, -result, "filter the zygote's system calls");
            fail(zygote, &err);
        }
    }
    run_module(zygote->engine, code, &setup, &checkpoint);
    if (report.status == PA_OK) {
        error_set(&err, PA_INVALID_MODULE,
                  "the interpreter ended (exit code %d) before it read its program: %.300s",
                  report.exit_code, output[1].data != NULL ? (const char *)output[1].data : "");
    } else {
        error_set(&err, report.status, "the interpreter cannot start: %s", report.message);
    }
    fail(zygote, &err);
}

static wasmtime_module_t *load(const struct zygote *zygote, const struct packet *packet,
                               struct error *err) {
    return module_load_fd(zygote->engine, zygote->proc_fd, packet->fds[PACKET_MODULE], err);
}

static void start(struct zygote *zygote, const struct packet *packet,
                  const struct packet_view *view) {
    struct error err = {0};
    wasmtime_module_t *code = NULL;
    zygote->seal.enabled = packet->header.policy.enabled;
    zygote->seal.in_force =
        packet->header.policy.enabled & LAYER_CGROUP; /* as the supervisor says */
    zygote->proc_fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    zygote->task_fd = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (zygote->proc_fd < 0 || zygote->task_fd < 0) {
        error_set_errno(&err, PA_INTERNAL, errno, "open /proc");
        fail(zygote, &err);
    }
    bool warm = packet->header.flags & PACKET_WARM, lasts = packet->header.flags & PACKET_LASTS;
    if (seccomp_filter_build(&zygote->seal.filters, SECCOMP_WORKER, &err) != 0 ||
        (warm && lasts &&
         seccomp_filter_build(&zygote->seal.filters, SECCOMP_SESSION, &err) != 0)) {
        fail(zygote, &err);
    }
    zygote->engine = engine_new(packet->header.variant, &err);
    if (zygote->engine == NULL) fail(zygote, &err);
    if (lasts) huge_pages_for_code(zygote->proc_fd, zygote->code_low, zygote->code_high);
    /* What is loaded from here on is a stranger's. */
    if (seal_zygote(&zygote->seal, &err) != 0 || seal_loading(&zygote->seal, &err) != 0)
        fail(zygote, &err);
    if (warm || lasts) {
        code = load(zygote, packet, &err);
        if (code == NULL) fail(zygote, &err);
    }
    if (warm) {
        module_use_huge_pages(zygote->proc_fd, code);
    } else if (lasts) {
        wasmtime_module_delete(code); /* what the engine does once, at its first module, is done */
        (void)malloc_trim(0);
        if (rehearsal_prepare() && rehearse(zygote->proc_fd, &zygote->rehearsal)) {
            (void)load(zygote, packet, &err);
            rehearsal_end();
        }
    }
    (void)rehearsal_prepare();
    measure(zygote, &zygote->seal.data_bytes);
    if (warm) {
        zygote->view = view;
        run_warm(zygote, packet, view, code);
    }
}

int zygote_main(const void *code_low, const void *code_high) {
    static struct zygote zygote = {.proc_fd = -1, .task_fd = -1};
    static struct packet packet;
    static struct packet_view view;
    struct error err = {0};
    zygote.code_low = code_low;
    zygote.code_high = code_high;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || close_range(ZYGOTE_SOCKET_FD + 1, ~0U, 0) != 0 ||
        worker_set_signals() != 0) {
        return 1;
    }
    (void)umask(0); /* each job brings its own */
    if (packet_receive(&packet, ZYGOTE_SOCKET_FD, 1) != 1) return 1;
    if (packet_open(&packet, &view, &err) != 0) fail(&zygote, &err);
    start(&zygote, &packet, &view);
    if (reply(ZYGOTE_READY, &zygote, PA_OK, 0, "", -1) != 0) return 1;
    prepare_to_serve(&zygote);
    serve_all(&zygote);
    rehearsal_use(&zygote.rehearsal);
    worker_run_plain(zygote.engine, &zygote.seal, &zygote.start, zygote.proc_fd);
}

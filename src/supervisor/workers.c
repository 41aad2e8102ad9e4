/* Workers and their slots: asked for, parked, given a job, reaped. */
#include "base/cleanup.h"
#include "supervisor/internal.h"
#include "worker/wire.h"
#include "supervisor/tell.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* The memfd cannot shrink: a worker that truncated it would kill us by SIGBUS. Each worker has one
 * of its own: what shares the memory of another's could still write there. The descriptor, or a
 * negative errno. */
static int new_report(struct worker *worker) {
    _cleanup_(fd_closep) int fd = memfd_create("report", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, sizeof *worker->report) != 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        return -errno;
    }
    void *report = mmap(NULL, sizeof *worker->report, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (report == MAP_FAILED) return -errno;
    worker->report = report;
    return steal_fd(&fd);
}

static struct slot *take_slot(struct supervisor *s) {
    struct slot *slot = TAILQ_FIRST(&s->free_slots);
    if (slot != NULL) {
        TAILQ_REMOVE(&s->free_slots, slot, link);
        return slot;
    }
    slot = calloc(1, sizeof *slot);
    if (slot == NULL) return NULL;
    slot->number = s->slot_count++;
    slot->id_map = -1;
    return slot;
}

void slot_free_all(struct supervisor *s) {
    struct slot *slot;
    while ((slot = TAILQ_FIRST(&s->free_slots)) != NULL) {
        TAILQ_REMOVE(&s->free_slots, slot, link);
        fd_closep(&slot->id_map);
        free(slot);
    }
}

/* `run` and `origin` may be NULL; with both, it is a spare one. */
static int request(struct zygote_process *zygote, struct supervisor_run *run, struct worker *origin,
                   struct worker **made, struct error *err) {
    struct supervisor *s = zygote->supervisor;
    int pair[2];
    struct worker *worker = calloc(1, sizeof *worker);
    if (worker == NULL) return error_set(err, PA_INTERNAL, "a worker: out of memory");
    *worker = (struct worker){.channel = -1,
                              .pidfd = -1,
                              .zygote = zygote,
                              .run = run,
                              .is_spare = run == NULL && origin == NULL,
                              .is_slow = origin != NULL && origin->is_slow,
                              .origin = origin};
    worker->slot = take_slot(s);
    if (worker->slot == NULL) {
        free(worker);
        return error_set(err, PA_INTERNAL, "a worker: out of memory");
    }
    _cleanup_(fd_closep) int report_fd = new_report(worker);
    int result = report_fd >= 0 ? wire_pair(pair) : report_fd;
    TAILQ_INSERT_TAIL(&zygote->workers, worker, link);
    if (worker->is_spare) zygote->forking++;
    if (origin != NULL) family_join(worker, origin->family);
    s->workers++;
    if (result == 0) {
        const struct zygote_request request = {.slot = worker->slot->number,
                                               .stays = !worker->is_spare,
                                               .max_processes = family_max_processes(worker)};
        const struct iovec part = {(void *)(uintptr_t)&request, sizeof request};
        const int fds[] = {pair[1], report_fd};
        worker->channel = pair[0];
        int socket = origin != NULL ? origin->channel : zygote->socket;
        if (origin != NULL) {
            origin->copies++;
            family_bound_copies(origin);
        }
        result = wire_send(socket, &part, 1, fds, 2, 0);
        (void)close(pair[1]);
    }
    if (result == 0) {
        *made = worker;
        return 0;
    }
    worker_discard(worker);
    if (result == -EPIPE || result == -ECONNRESET || result == -EAGAIN) return 1;
    return error_set_errno(err, PA_INTERNAL, -result, "ask the zygote for a worker");
}

int worker_request(struct zygote_process *zygote, struct error *err) {
    struct worker *made;
    return request(zygote, NULL, NULL, &made, err);
}

int worker_request_copy(struct worker *origin, struct worker **copy, struct error *err) {
    return request(origin->zygote, NULL, origin, copy, err);
}

int worker_request_for(struct supervisor_run *run, struct zygote_process *zygote,
                       struct worker *origin, struct error *err) {
    return request(zygote, run, origin, &run->worker, err);
}

void worker_discard(struct worker *worker) {
    struct zygote_process *zygote = worker->zygote;
    struct supervisor *s = zygote->supervisor;
    sd_event_source_disable_unref(worker->death);
    sd_event_source_disable_unref(worker->word);
    fd_closep(&worker->channel);
    fd_closep(&worker->pidfd);
    if (worker->is_spare && worker->state == WORKER_FORKING) zygote->forking--;
    if (worker->is_spare && worker->state == WORKER_PARKED) zygote->parked--;
    if (worker->origin != NULL && worker->origin->spare == worker) worker->origin->spare = NULL;
    node_unmade(worker);
    TAILQ_REMOVE(&zygote->workers, worker, link);
    if (worker->report != NULL) (void)munmap(worker->report, sizeof *worker->report);
    if (worker->slot != NULL)
        TAILQ_INSERT_HEAD(&s->free_slots, worker->slot, link); /* its map is made */
    if (worker->family != NULL) family_leave(worker);
    s->workers--;
    free(worker);
}

/* The source first: epoll forgets a descriptor that is closed, and would take its successor of the
 * same number for it. */
void worker_release(struct worker *worker) {
    worker->word = sd_event_source_disable_unref(worker->word);
    fd_closep(&worker->channel);
}

static void reap(struct worker *worker, siginfo_t *info, uint64_t *cpu_ns) {
    struct rusage usage = {0};
    while (syscall(SYS_waitid, P_PIDFD, worker->pidfd, info, WEXITED, &usage) != 0) {
        if (errno != EINTR) break; /* ECHILD: somebody else in this process took it */
    }
    *cpu_ns = ((uint64_t)usage.ru_utime.tv_sec + (uint64_t)usage.ru_stime.tv_sec) * NS_PER_SECOND +
              ((uint64_t)usage.ru_utime.tv_usec + (uint64_t)usage.ru_stime.tv_usec) * 1000;
}

static int on_death(sd_event_source *source, int fd, uint32_t events, void *context) {
    struct worker *worker = context;
    struct zygote_process *zygote = worker->zygote;
    struct supervisor_run *run = worker->run;
    siginfo_t info = {0};
    uint64_t cpu_ns;
    (void)source;
    (void)fd;
    (void)events;
    reap(worker, &info, &cpu_ns);
    tell_worker(&info, cpu_ns);
    if (run != NULL) run_worker_ended(run, &info, cpu_ns); /* reads the report */
    worker_discard(worker);
    zygote_worker_gone(zygote);
    return 0;
}

/* A byte: the report is complete. Whatever it does from here on, it does not do for long. */
static int on_word(sd_event_source *source, int fd, uint32_t events, void *context) {
    struct worker *worker = context;
    struct supervisor_run *run = worker->run;
    char byte;
    (void)source;
    (void)events;
    if (worker->state == WORKER_RESTING || worker->state == WORKER_CLOSING) {
        node_message(worker);
        return 0;
    }
    ssize_t got = recv(fd, &byte, 1, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    if (got == 1 && byte == WORKER_RESTS && worker->state == WORKER_RUNNING && run != NULL &&
        run->stays && !run->cancelled && !run->out_of_time) {
        node_made(worker);
        worker->run = NULL;
        run->rested = worker;
        run_worker_ended(run, NULL, 0);
        return 0;
    }
    worker->word = sd_event_source_disable_unref(worker->word);
    if (got != 1) return 0; /* its death follows */
    worker_kill(worker);
    if (worker->state != WORKER_RUNNING) return 0;
    worker->state = WORKER_ENDING;
    worker->run = NULL;
    if (run != NULL) run_worker_ended(run, NULL, 0);
    return 0;
}

void worker_kill(struct worker *worker) {
    (void)syscall(SYS_pidfd_send_signal, worker->pidfd, SIGKILL, NULL, 0);
}

void worker_end_now(struct worker *worker) {
    siginfo_t info = {0};
    uint64_t cpu_ns;
    if (worker->pidfd >= 0) {
        worker_kill(worker);
        reap(worker, &info, &cpu_ns);
    }
    worker_discard(worker);
}

/* That it is a child of ours the kernel must confirm; and of a session's, that it is of its family
 * and no other member. */
static bool is_as_told(struct worker *worker, const int *fds, size_t fd_count) {
    siginfo_t info = {0};
    for (size_t i = 0; i < fd_count; i++) {
        if (waitid(P_PIDFD, (id_t)fds[i], &info, WEXITED | WNOHANG | WNOWAIT) != 0) return false;
    }
    if (worker->is_spare) return fd_count == 1;
    pid_t pid = pid_of(fds[0]);
    if (pid <= 0 || (worker->origin != NULL && !family_has(worker->family, pid))) return false;
    worker->pid = pid;
    return fd_count == (worker->origin != NULL ? 1 : 2);
}

int worker_forked(struct worker *worker, int *fds, size_t fd_count) {
    struct zygote_process *zygote = worker->zygote;
    sd_event *event = zygote->supervisor->event;
    bool fits =
        is_as_told(worker, fds, fd_count) &&
        sd_event_add_io(event, &worker->death, fds[0], EPOLLIN, on_death, worker) >= 0 &&
        sd_event_add_io(event, &worker->word, worker->channel, EPOLLIN, on_word, worker) >= 0 &&
        (fd_count < 2 || family_found(worker, steal_fd(&fds[1])) == 0);
    if (!fits) {
        struct supervisor_run *run = worker->run;
        struct error err = {0};
        error_set(&err, PA_INTERNAL, "whoever was asked for a worker has told of another process");
        worker_discard(worker);
        if (run == NULL) return -1;
        run->worker = NULL;
        run_again_or_fail(run, &err);
        return -1;
    }
    worker->pidfd = steal_fd(&fds[0]);
    worker->state = WORKER_PARKED;
    if (worker->is_spare) {
        zygote->forking--;
        zygote->parked++;
    } else if (worker->run != NULL) {
        worker->origin = NULL;
        worker_give(worker, worker->run);
    } else if (worker->origin == NULL || worker->origin->spare != worker) {
        worker->origin = NULL; /* may be gone before it */
        worker_kill(worker);   /* its run was cancelled meanwhile, or nobody wants it ready */
    }
    return 0;
}

/* That there are no more processes to have is not the caller's fault, and passes. */
void worker_refused(struct supervisor_run *run, const struct zygote_reply *reply) {
    struct error err = {0};
    bool passes = reply->status == EAGAIN || reply->status == ENOMEM;
    run->worker = NULL;
    error_set(&err, passes ? PA_OVERLOADED : PA_INTERNAL, "make a worker: %.*s%s",
              (int)strnlen(reply->text, sizeof reply->text), reply->text,
              passes ? "; retry in 1000 ms" : "");
    if (passes) {
        run_pause(run, &err);
    } else {
        run_fail(run, &err);
    }
}

void worker_give(struct worker *worker, struct supervisor_run *run) {
    struct zygote_process *zygote = worker->zygote;
    struct packet *packet = &run->packet;
    struct error err = {0};
    int result = 0;
    worker->state = WORKER_RUNNING;
    worker->run = run;
    if (worker->is_spare) zygote->parked--;
    zygote->runs++;
    run->worker = worker;
    run->state = RUN_RUNNING;
    run->dispatched_ns = clock_now_ns();
    run->is_long = false;
    packet->header.slot = worker->slot != NULL ? worker->slot->number : 0;
    packet->header.deadline_ns = run->deadline_ns;
    if (!run->warm) {
        packet->fds[PACKET_MODULE] = fcntl(run->code->fd, F_DUPFD_CLOEXEC, 3);
        if (packet->fds[PACKET_MODULE] < 0) result = -errno;
    }
    run_start_output(run, &err);
    uint32_t ids = LAYER_USER_NS | LAYER_UID; /* with either of them, a worker is not us */
    bool is_other =
        ((zygote->layers & LAYER_USER_NS) | (packet->header.policy.enabled & LAYER_UID)) & ids;
    bool has_folders = packet->header.mount_count > 0 || packet->fds[PACKET_SCOPE] >= 0;
    if (err.code == PA_OK && has_folders && is_other) {
        struct family *family = worker->family;
        (void)mounts_for_slot(packet, &zygote->supervisor->cloner,
                              family != NULL ? family->slot : worker->slot, &err);
    }
    if (err.code == PA_OK && result == 0) result = packet_send(packet, worker->channel, 0);
    /* The write ends are the worker's now; we see the end when it is gone. */
    if (run->output_fds[0] >= 0) {
        fd_closep(&packet->fds[PACKET_STDOUT]);
        fd_closep(&packet->fds[PACKET_STDERR]);
    }
    fd_closep(&packet->fds[PACKET_MODULE]);
    if (err.code == PA_OK && result == 0) {
        pace_run_begins(zygote->supervisor, worker);
        return;
    }
    if (err.code == PA_OK)
        error_set_errno(&err, PA_INTERNAL, -result, "send the job to its worker");
    worker->run = NULL; /* on_death reaps it */
    run->worker = NULL;
    worker_kill(worker);
    run_again_or_fail(run, &err);
}

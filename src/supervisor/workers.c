/* Workers and their slots: asked for, parked, given a job, reaped. */
#include "base/cleanup.h"
#include "supervisor/internal.h"
#include "worker/wire.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* The memfd cannot shrink: a worker that truncated it would kill us by SIGBUS. */
static struct slot *new_slot(struct supervisor *s, struct error *err) {
    struct slot *slot = calloc(1, sizeof *slot);
    _cleanup_(fd_closep) int fd = memfd_create("report", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    void *report = MAP_FAILED;
    if (slot != NULL && fd >= 0 && ftruncate(fd, sizeof *slot->report) == 0 &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0) {
        report = mmap(NULL, sizeof *slot->report, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    if (report == MAP_FAILED) {
        free(slot);
        error_set_errno(err, PA_INTERNAL, errno, "memory for a worker's report");
        return NULL;
    }
    slot->number = s->slot_count++;
    slot->id_map = -1;
    slot->report_fd = steal_fd(&fd);
    slot->report = report;
    return slot;
}

static struct slot *take_slot(struct supervisor *s, struct error *err) {
    struct slot *slot = TAILQ_FIRST(&s->free_slots);
    if (slot == NULL) return new_slot(s, err);
    TAILQ_REMOVE(&s->free_slots, slot, link);
    memset(slot->report, 0, offsetof(struct worker_report, run.message));
    slot->report->run.message[0] = slot->report->run.backtrace[0] = 0;
    return slot;
}

void slot_free_all(struct supervisor *s) {
    struct slot *slot;
    while ((slot = TAILQ_FIRST(&s->free_slots)) != NULL) {
        TAILQ_REMOVE(&s->free_slots, slot, link);
        (void)munmap(slot->report, sizeof *slot->report);
        fd_closep(&slot->report_fd);
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
    worker->slot = take_slot(s, err);
    if (worker->slot == NULL) {
        free(worker);
        return -1;
    }
    int result = wire_pair(pair);
    if (result == 0) {
        const struct zygote_request request = {.slot = worker->slot->number,
                                               .stays = !worker->is_spare};
        const struct iovec part = {(void *)(uintptr_t)&request, sizeof request};
        const int fds[] = {pair[1], worker->slot->report_fd};
        worker->channel = pair[0];
        int socket = origin != NULL ? origin->channel : zygote->socket;
        result = wire_send(socket, &part, 1, fds, 2, 0);
        (void)close(pair[1]);
    }
    TAILQ_INSERT_TAIL(&zygote->workers, worker, link);
    if (worker->is_spare) zygote->forking++;
    if (origin != NULL) family_join(worker, origin->family);
    s->workers++;
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
    struct slot *slot = worker->family != NULL ? family_leave(worker) : worker->slot;
    if (slot != NULL) TAILQ_INSERT_HEAD(&s->free_slots, slot, link); /* warm in the caches */
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

/* A zygote tells us of a process. That it is a child of ours the kernel must confirm. */
void worker_forked(struct zygote_process *zygote, uint32_t slot, int pidfd) {
    struct worker *worker;
    siginfo_t info = {0};
    TAILQ_FOREACH(worker, &zygote->workers, link) {
        if (worker->state == WORKER_FORKING && worker->slot->number == slot) break;
    }
    if (worker == NULL || waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
        sd_event_add_io(zygote->supervisor->event, &worker->death, pidfd, EPOLLIN, on_death,
                        worker) < 0 ||
        sd_event_add_io(zygote->supervisor->event, &worker->word, worker->channel, EPOLLIN, on_word,
                        worker) < 0) {
        (void)close(pidfd);
        if (worker != NULL) worker_discard(worker);
        (void)kill(zygote->pid, SIGKILL); /* it lies, or we are out of memory */
        return;
    }
    worker->pidfd = pidfd;
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
    packet->header.slot = worker->slot->number;
    packet->header.deadline_ns = run->deadline_ns;
    if (!run->warm) {
        packet->fds[PACKET_MODULE] = fcntl(run->code->fd, F_DUPFD_CLOEXEC, 3);
        if (packet->fds[PACKET_MODULE] < 0) result = -errno;
    }
    if (run->stays && worker->family == NULL) (void)family_found(worker, &err);
    if (err.code == PA_OK) run_start_output(run, &err);
    if (err.code == PA_OK && packet->header.mount_count > 0 && zygote->layers & LAYER_USER_NS) {
        struct family *family = worker->family;
        (void)mounts_for_slot(packet, family != NULL ? family->slot : worker->slot, &err);
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

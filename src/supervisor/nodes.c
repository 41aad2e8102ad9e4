/* Nodes: workers that have ended a turn of a session, and rest at their interpreter's next read.
 * Each further turn is run by a copy that the node makes of itself; so a node is a checkpoint that
 * any number of branches can start from. Whether one is still of use, only its owner knows. */
#include "base/cleanup.h"
#include "supervisor/internal.h"
#include "worker/wire.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

/* How long a session that rests keeps a copy ready: agents think for seconds, people for minutes.
 */
enum { SPARE_MS = 5000, LOOK_US = 1000000, NODES_STEP = 32 };
/* What one at rest may use of the processor, and for each copy besides: it only forks. */
#define REST_NS (500 * NS_PER_MS)
#define COPY_NS (50 * NS_PER_MS)
enum { CLOSING_MS = 2000 }; /* how long one that is dropped may take to tell of its last copies */

static void release_spare(struct worker *node) {
    struct worker *spare = node->spare;
    node->spare = NULL;
    if (spare == NULL) return;
    spare->origin = spare->state == WORKER_FORKING ? node : NULL;
    if (spare->state == WORKER_PARKED) worker_kill(spare);
}

static void look_later(struct supervisor *s) {
    int on = SD_EVENT_OFF;
    (void)sd_event_source_get_enabled(s->tire, &on);
    if (on == SD_EVENT_OFF && sd_event_source_set_time_relative(s->tire, LOOK_US) >= 0)
        (void)sd_event_source_set_enabled(s->tire, SD_EVENT_ONESHOT);
}

/* The next turn is not to wait for it. */
static void make_spare(struct worker *node) {
    struct supervisor *s = node->zygote->supervisor;
    struct error err = {0};
    if (s->closing || worker_request_copy(node, &node->spare, &err) != 0) return;
    look_later(s);
}

static int on_tire(sd_event_source *source, uint64_t now_us, void *context) {
    struct supervisor *s = context;
    struct worker *node;
    uint64_t now_ns = clock_now_ns();
    bool more = false;
    (void)now_us;
    TAILQ_FOREACH(node, &s->nodes, by_node) {
        uint64_t rested_ms = (now_ns - node->rested_ns) / NS_PER_MS;
        more |= node->spare != NULL || node->state == WORKER_CLOSING;
        if (node->spare != NULL && rested_ms > SPARE_MS) release_spare(node);
        if (node->state == WORKER_CLOSING && rested_ms > CLOSING_MS) worker_kill(node);
    }
    if (!more) return 0;
    int result = sd_event_source_set_time_relative(source, LOOK_US);
    return result < 0 ? result : sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* Of the processor, all threads of a child of ours. */
static uint64_t cpu_ns(pid_t pid) {
    clockid_t clock;
    struct timespec used;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) != 0) return 0;
    return (uint64_t)used.tv_sec * NS_PER_SECOND + (uint64_t)used.tv_nsec;
}

void node_look(struct supervisor *s) {
    const struct worker *node;
    TAILQ_FOREACH(node, &s->nodes, by_node) {
        uint64_t most_ns = node->rested_cpu_ns + REST_NS + node->copies * COPY_NS;
        if (cpu_ns(node->pid) > most_ns) family_end(node->family);
    }
}

int node_new(struct supervisor *s) {
    int result = sd_event_add_time(s->event, &s->tire, CLOCK_MONOTONIC, UINT64_MAX, 1, on_tire, s);
    return result < 0 ? result : sd_event_source_set_enabled(s->tire, SD_EVENT_OFF);
}

/* The bound of processes grows with the nodes, each of which may have a copy, and not before: until
 * then it is as tight as fresh runs need it. */
static void make_room(struct supervisor *s) {
    uint32_t wanted = (s->node_count / NODES_STEP + 2) * NODES_STEP;
    if (s->cgroup == NULL || wanted == s->nodes_bound) return;
    if (cgroup_bound_processes(s->cgroup, s->process_bound + 3 * wanted) == 0)
        s->nodes_bound = wanted;
}

/* A random number is no secret among processes of one user, but none is met by chance. */
void node_made(struct worker *worker) {
    struct supervisor *s = worker->zygote->supervisor;
    worker->state = WORKER_RESTING;
    worker->holder = worker->run->packet.header.holder;
    do {
        randombytes_buf(&worker->node, sizeof worker->node);
    } while (worker->node == 0);
    TAILQ_INSERT_TAIL(&s->nodes, worker, by_node);
    s->node_count++;
    make_room(s);
    worker->rested_ns = clock_now_ns();
    worker->rested_cpu_ns = cpu_ns(worker->pid);
    make_spare(worker);
}

static struct worker *find(struct supervisor *s, uint64_t node) {
    struct worker *worker;
    TAILQ_FOREACH(worker, &s->nodes, by_node) {
        if (worker->node == node) return worker;
    }
    return NULL;
}

static bool is_copy_of(const struct worker *worker, const struct worker *node) {
    return worker->state == WORKER_FORKING && worker->origin == node;
}

/* The runs that wait for copies of it. True: there are copies still to come. */
static bool fail_forking(struct worker *node) {
    struct worker *worker, *next;
    struct error err = {0};
    bool any = false;
    error_set(&err, PA_NOT_FOUND, "the session's interpreter has ended");
    for (worker = TAILQ_FIRST(&node->zygote->workers); worker != NULL; worker = next) {
        struct supervisor_run *run = worker->run;
        next = TAILQ_NEXT(worker, link);
        if (!is_copy_of(worker, node)) continue;
        any = true;
        if (run == NULL) continue;
        worker->run = NULL; /* ends when it is made */
        run->worker = NULL;
        run_fail(run, &err);
    }
    return any;
}

/* Of a node that is gone, and tells of no copy any more. */
static void discard_forking(struct worker *node) {
    struct worker *worker, *next;
    for (worker = TAILQ_FIRST(&node->zygote->workers); worker != NULL; worker = next) {
        next = TAILQ_NEXT(worker, link);
        if (!is_copy_of(worker, node)) continue;
        worker->origin = NULL;
        worker_discard(worker);
    }
}

void node_unmade(struct worker *worker) {
    struct supervisor *s = worker->zygote->supervisor;
    if (worker->state != WORKER_RESTING && worker->state != WORKER_CLOSING) return;
    TAILQ_REMOVE(&s->nodes, worker, by_node);
    s->node_count--;
    worker->state = WORKER_ENDING;
    release_spare(worker);
    (void)fail_forking(worker);
    discard_forking(worker);
}

/* From now on nobody finds it. It is killed once it has told of the copies that it was asked for:
 * of one that it made and did not tell of we would have no pidfd, and so could not reap it. */
static void drop(struct worker *worker) {
    if (worker->state != WORKER_RESTING) return;
    worker->state = WORKER_CLOSING;
    worker->node = 0;
    worker->rested_ns = clock_now_ns();
    release_spare(worker);
    if (fail_forking(worker)) {
        look_later(worker->zygote->supervisor);
    } else {
        worker_kill(worker);
    }
}

void supervisor_drop_node(struct supervisor *s, uint64_t node) {
    struct worker *worker = find(s, node);
    if (worker != NULL) drop(worker);
}

void supervisor_drop_nodes_of(struct supervisor *s, uint64_t holder) {
    struct worker *worker, *next;
    for (worker = TAILQ_FIRST(&s->nodes); worker != NULL; worker = next) {
        next = TAILQ_NEXT(worker, by_node);
        if (worker->holder == holder) drop(worker);
    }
}

int node_request(struct supervisor_run *run, struct error *err) {
    struct supervisor *s = run->supervisor;
    struct worker *node = find(s, run->packet.header.node);
    if (node == NULL) {
        return error_set(err, PA_NOT_FOUND, "the session's interpreter has ended");
    }
    if (run->stays && s->node_count >= s->config.max_nodes) {
        return error_set(err, PA_OVERLOADED,
                         "there are %u interpreters at rest already; close a session, and retry "
                         "in 1000 ms",
                         s->node_count);
    }
    struct worker *spare = node->spare;
    if (spare != NULL) {
        node->spare = NULL;
        run->state = RUN_WAITING;
        run->worker = spare;
        spare->run = run;
        if (spare->state == WORKER_PARKED) {
            spare->origin = NULL;
            worker_give(spare, run);
        }
        return 0;
    }
    int result = worker_request_for(run, node->zygote, node, err);
    if (result > 0) {
        drop(node); /* it is dead, or does not listen */
        result = error_set(err, PA_NOT_FOUND, "the session's interpreter has ended");
    }
    if (result == 0) run->state = RUN_WAITING;
    return result;
}

static struct worker *find_copy(const struct worker *node, uint32_t slot) {
    struct worker *worker;
    TAILQ_FOREACH(worker, &node->zygote->workers, link) {
        if (is_copy_of(worker, node) && worker->slot->number == slot) return worker;
    }
    return NULL;
}

/* Whatever does not fit is a lie, and ends it. */
void node_message(struct worker *node) {
    struct zygote_reply reply;
    int fds[WIRE_MAX_FDS];
    size_t fd_count;
    const struct iovec part = {&reply, sizeof reply};
    ssize_t got = wire_receive(node->channel, &part, 1, fds, &fd_count, 0);
    if (got == -EAGAIN) return;
    struct worker *copy = got == sizeof reply ? find_copy(node, reply.slot) : NULL;
    if (copy != NULL && reply.kind == ZYGOTE_FORKED && fd_count == 1) {
        if (worker_forked(copy, fds, fd_count) != 0) { /* it lies */
            family_end(node->family);
            drop(node);
        }
    } else if (copy != NULL && reply.kind == ZYGOTE_NO_FORK && fd_count == 0) {
        struct supervisor_run *run = copy->run;
        worker_discard(copy);
        if (run != NULL) worker_refused(run, &reply);
    } else { /* or its end, which the kernel may tell of as an error */
        if (got > 0 || got == -EMSGSIZE) family_end(node->family);
        worker_kill(node);
        drop(node);
        node->word = sd_event_source_disable_unref(node->word);
    }
    wire_close_fds(fds, fd_count);
    if (node->state == WORKER_CLOSING && !fail_forking(node)) worker_kill(node);
}

#include "server/work.h"

#include "base/cleanup.h"
#include "base/log.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

STAILQ_HEAD(job_list, work_job);

/* One tenant's jobs of one kind; there is one as long as there are any. */
struct lane {
    enum work_kind kind;
    char tenant[WORK_TENANT_BYTES];
    struct job_list waiting;
    unsigned count;
    bool running; /* one of them */
    TAILQ_ENTRY(lane) link;
};

struct work {
    sd_event *event; /* owned reference */
    void (*idle)(void *context);
    void *context;
    sd_event_source *wake;
    int wake_fd; /* owned; eventfd: there are jobs to be told */
    pthread_t threads[WORK_THREADS];
    unsigned thread_count;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t changed;
    TAILQ_HEAD(lane_list, lane) lanes; /* whose turn comes first, first */
    unsigned running[WORK_KINDS];
    struct job_list ended;
    bool ending;
    unsigned count; /* of the loop alone */
};

static const unsigned most_running[WORK_KINDS] = {
    [WORK_TEXT] = WORK_THREADS, [WORK_FILES] = WORK_THREADS - 1, [WORK_REMOVAL] = 1};

/* The next that may be begun; NULL: none. */
static struct lane *choose(struct work *work) {
    struct lane *lane;
    TAILQ_FOREACH(lane, &work->lanes, link) {
        if (!lane->running && lane->count > 0 &&
            work->running[lane->kind] < most_running[lane->kind])
            return lane;
    }
    return NULL;
}

static void set_running(struct work *work, struct lane *lane, bool running) {
    lane->running = running;
    work->running[lane->kind] += running ? 1 : -1U;
    TAILQ_REMOVE(&work->lanes, lane, link);
    if (!running && lane->count == 0)
        free(lane);
    else
        TAILQ_INSERT_TAIL(&work->lanes, lane, link); /* others' turn */
}

static void *serve(void *context) {
    struct work *work = context;
    const uint64_t one = 1;
    (void)pthread_mutex_lock(&work->lock);
    for (;;) {
        struct lane *lane = choose(work);
        if (lane == NULL && work->ending && TAILQ_EMPTY(&work->lanes)) break;
        if (lane == NULL) {
            (void)pthread_cond_wait(&work->changed, &work->lock);
            continue;
        }
        struct work_job *job = STAILQ_FIRST(&lane->waiting);
        STAILQ_REMOVE_HEAD(&lane->waiting, link);
        lane->count--;
        set_running(work, lane, true);
        (void)pthread_mutex_unlock(&work->lock);
        job->act(job);
        (void)pthread_mutex_lock(&work->lock);
        set_running(work, lane, false);
        STAILQ_INSERT_TAIL(&work->ended, job, link);
        (void)pthread_cond_broadcast(&work->changed);
        (void)write(work->wake_fd, &one, sizeof one);
    }
    (void)pthread_mutex_unlock(&work->lock);
    return NULL;
}

/* Those that are done when it is called: what they submit is told next time. */
static void tell(struct work *work) {
    struct job_list ended = STAILQ_HEAD_INITIALIZER(ended);
    uint64_t number;
    (void)!read(work->wake_fd, &number, sizeof number);
    (void)pthread_mutex_lock(&work->lock);
    STAILQ_CONCAT(&ended, &work->ended);
    (void)pthread_mutex_unlock(&work->lock);
    struct work_job *job;
    while ((job = STAILQ_FIRST(&ended)) != NULL) {
        STAILQ_REMOVE_HEAD(&ended, link);
        work->count--;
        job->done(job);
    }
    if (work->count == 0 && work->idle != NULL) work->idle(work->context);
}

static int on_wake(sd_event_source *source, int fd, uint32_t events, void *context) {
    (void)source;
    (void)fd;
    (void)events;
    tell(context);
    return 0;
}

struct work *work_new(sd_event *event, void (*idle)(void *context), void *context,
                      struct error *err) {
    struct work *work = calloc(1, sizeof *work);
    if (work == NULL) {
        error_set(err, PA_INTERNAL, "threads: out of memory");
        return NULL;
    }
    *work = (struct work){.event = sd_event_ref(event),
                          .idle = idle,
                          .context = context,
                          .wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    TAILQ_INIT(&work->lanes);
    STAILQ_INIT(&work->ended);
    (void)pthread_mutex_init(&work->lock, NULL);
    (void)pthread_cond_init(&work->changed, NULL);
    int result = work->wake_fd < 0
                     ? -errno
                     : sd_event_add_io(event, &work->wake, work->wake_fd, EPOLLIN, on_wake, work);
    if (result >= 0) return work;
    error_set_errno(err, PA_INTERNAL, -result, "watch the threads");
    work_free(work);
    return NULL;
}

/* Signals are the loop's. One thread less is no failure, none is. */
static int start_threads(struct work *work, struct error *err) {
    sigset_t all, former;
    if (work->thread_count > 0) return 0;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &former);
    int result = 0;
    while (work->thread_count < WORK_THREADS && result == 0) {
        result = pthread_create(&work->threads[work->thread_count], NULL, serve, work);
        if (result == 0) work->thread_count++;
    }
    (void)pthread_sigmask(SIG_SETMASK, &former, NULL);
    return work->thread_count > 0 ? 0 : error_set_errno(err, PA_INTERNAL, result, "start a thread");
}

static struct lane *lane_of(struct work *work, const struct work_job *job) {
    struct lane *lane;
    TAILQ_FOREACH(lane, &work->lanes, link) {
        if (lane->kind == job->kind && strncmp(lane->tenant, job->tenant, WORK_TENANT_BYTES) == 0)
            return lane;
    }
    lane = calloc(1, sizeof *lane);
    if (lane == NULL) return NULL;
    lane->kind = job->kind;
    memcpy(lane->tenant, job->tenant, sizeof lane->tenant);
    STAILQ_INIT(&lane->waiting);
    TAILQ_INSERT_TAIL(&work->lanes, lane, link);
    return lane;
}

int work_submit(struct work *work, struct work_job *job, struct error *err) {
    if (start_threads(work, err) != 0) return -1;
    int result = 0;
    (void)pthread_mutex_lock(&work->lock);
    struct lane *lane = lane_of(work, job);
    if (lane == NULL) {
        result = error_set(err, PA_INTERNAL, "a job: out of memory");
    } else if (lane->count >= WORK_MAX_WAITING && job->kind != WORK_REMOVAL) {
        result = error_set(err, PA_OVERLOADED,
                           "%d of your calls wait for files or large texts; retry in 1000 ms",
                           WORK_MAX_WAITING);
    } else {
        STAILQ_INSERT_TAIL(&lane->waiting, job, link);
        lane->count++;
        work->count++;
        (void)pthread_cond_signal(&work->changed);
    }
    (void)pthread_mutex_unlock(&work->lock);
    return result;
}

unsigned work_count(const struct work *work) {
    return work->count;
}

void work_finish(struct work *work) {
    while (work != NULL && work->count > 0) { /* what is told may have more to do */
        struct pollfd ready = {.fd = work->wake_fd, .events = POLLIN};
        (void)poll(&ready, 1, -1);
        tell(work);
    }
}

void work_free(struct work *work) {
    if (work == NULL) return;
    work_finish(work);
    (void)pthread_mutex_lock(&work->lock);
    work->ending = true;
    (void)pthread_cond_broadcast(&work->changed);
    (void)pthread_mutex_unlock(&work->lock);
    for (unsigned i = 0; i < work->thread_count; i++)
        (void)pthread_join(work->threads[i], NULL);
    sd_event_source_disable_unref(work->wake);
    fd_closep(&work->wake_fd);
    (void)pthread_cond_destroy(&work->changed);
    (void)pthread_mutex_destroy(&work->lock);
    sd_event_unref(work->event);
    free(work);
}

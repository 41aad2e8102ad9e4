/* Zygotes: started when a job needs one, kept while they are useful, replaced in time. */
#include "base/cleanup.h"
#include "supervisor/internal.h"
#include "worker/wire.h"
#include "supervisor/tell.h"

#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* Of an interpreter's start. */
enum { START_TIMEOUT_MS = 60000, MAX_FORKING = 16 };
enum { RUNS_PER_LOOK = 256, MAX_GROWTH_PAGES = 8192 };
#define START_MEMORY_BYTES (UINT64_C(1) << 30)

static void zygote_died(struct zygote_process *zygote);

static void hash_strings(crypto_generichash_state *hash, const char *const *strings, size_t count) {
    uint64_t number = count;
    (void)crypto_generichash_update(hash, (const uint8_t *)&number, sizeof number);
    for (size_t i = 0; i < count; i++) {
        (void)crypto_generichash_update(hash, (const uint8_t *)strings[i], strlen(strings[i]) + 1);
    }
}

/* Jobs with the same key can be served by the same zygote: everything that an interpreter sees
 * before its checkpoint is in it. */
static int make_key(struct supervisor_run *run, const struct packet_view *view) {
    const struct packet_header *h = &run->packet.header;
    crypto_generichash_state hash;
    const uint32_t numbers[] = {run->warm,
                                h->variant,
                                h->policy.enabled,
                                h->flags & PACKET_STUBS,
                                h->mount_count,
                                h->limits.max_open_files,
                                h->limits.table_elements};
    (void)crypto_generichash_init(&hash, NULL, 0, KEY_BYTES);
    if (!run->warm) {
        (void)crypto_generichash_update(&hash, (const uint8_t *)numbers, 4 * sizeof *numbers);
    } else {
        (void)crypto_generichash_update(&hash, (const uint8_t *)numbers, sizeof numbers);
        (void)crypto_generichash_update(&hash, run->code->digest, sizeof run->code->digest);
        hash_strings(&hash, &view->job.invoke, view->job.invoke != NULL ? 1 : 0);
        hash_strings(&hash, view->job.argv, view->job.argc);
        hash_strings(&hash, view->job.env, view->job.env_count);
        for (uint32_t i = 0; i < h->mount_count; i++) {
            struct stat st;
            hash_strings(&hash, &view->mounts[i].guest_path, 1);
            if (!view->mounts[i].fixed || fstat(view->mounts[i].dir_fd, &st) != 0) continue;
            const uint64_t directory[] = {st.st_dev, st.st_ino};
            (void)crypto_generichash_update(&hash, (const uint8_t *)directory, sizeof directory);
        }
    }
    return crypto_generichash_final(&hash, run->key, KEY_BYTES);
}

/* What the zygote is to start: the job without everything that is the job's own. */
static int make_setup(struct supervisor_run *run, const struct packet_view *view,
                      struct packet *setup, struct error *err) {
    struct supervisor *s = run->supervisor;
    struct pa_mount mounts[PACKET_MAX_MOUNTS];
    char path[32], fixed[PACKET_MAX_MOUNTS][32];
    struct pa_job job = {.limits = run->packet.header.limits,
                         .stub_imports = run->packet.header.flags & PACKET_STUBS,
                         .wasm_exceptions = run->packet.header.flags & PACKET_EXCEPTIONS};
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", s->empty_dir);
    if (run->warm) {
        job.invoke = view->job.invoke;
        job.argv = view->job.argv;
        job.argc = view->job.argc;
        job.env = view->job.env;
        job.env_count = view->job.env_count;
        job.rehearsal_data = view->job.rehearsal_data;
        job.rehearsal_bytes = view->job.rehearsal_bytes;
        job.mounts = mounts;
        job.mount_count = run->packet.header.mount_count;
        for (size_t i = 0; i < job.mount_count; i++) {
            const struct wasi_mount_config *mount = &view->mounts[i];
            (void)snprintf(fixed[i], sizeof *fixed, "/proc/self/fd/%d", mount->dir_fd);
            mounts[i] = (struct pa_mount){.host_path = mount->fixed ? fixed[i] : path,
                                          .guest_path = mount->guest_path,
                                          .fixed = mount->fixed};
        }
        job.limits.memory_limit_bytes = START_MEMORY_BYTES;
        if (job.limits.max_fuel > 0) job.limits.max_fuel = INT64_MAX;
    }
    if (packet_pack(setup, &job, err) != 0) return -1;
    setup->header.flags |= (run->warm ? PACKET_WARM : 0) | (s->config.keep_warm ? PACKET_LASTS : 0);
    setup->header.variant = run->packet.header.variant;
    setup->header.policy = run->packet.header.policy;
    if (s->cgroup == NULL) setup->header.policy.enabled &= ~(uint32_t)LAYER_CGROUP;
    if (geteuid() != 0 && setup->header.policy.enabled & LAYER_UID)
        (void)mounts_for_slot(setup, &s->cloner, NULL, err);
    setup->fds[PACKET_MODULE] = fcntl(run->code->fd, F_DUPFD_CLOEXEC, 3);
    if (setup->fds[PACKET_MODULE] >= 0) return 0;
    error_set_errno(err, PA_INTERNAL, errno, "keep the module's code");
    packet_fini(setup);
    return -1;
}

static int spawn(struct supervisor *s, int socket, pid_t *pid) {
    char *argv[] = {(char *)"polyagent", (char *)ZYGOTE_ROLE, NULL};
    char *env[] = {NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    int result = posix_spawn_file_actions_init(&actions);
    if (result != 0) return result;
    result = posix_spawnattr_init(&attr);
    if (result != 0) {
        (void)posix_spawn_file_actions_destroy(&actions);
        return result;
    }
    int safe =
        fcntl(socket, F_DUPFD_CLOEXEC, ZYGOTE_SOCKET_FD + 1); /* dup2 to itself keeps CLOEXEC */
    if (safe < 0) result = errno;
    if (result == 0) result = posix_spawn_file_actions_adddup2(&actions, safe, ZYGOTE_SOCKET_FD);
#if defined(__SANITIZE_ADDRESS__)
    int last = 1; /* its reports are wanted */
#else
    int last = 2;
#endif
    for (int fd = 0; fd <= last && result == 0; fd++)
        result = posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
    if (result == 0 && s->config.own_groups) {
        result = posix_spawnattr_setpgroup(&attr, 0);
        if (result == 0) result = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP);
    }
    if (result == 0) result = posix_spawn(pid, s->config.helper, &actions, &attr, argv, env);
    fd_closep(&safe);
    (void)posix_spawnattr_destroy(&attr);
    (void)posix_spawn_file_actions_destroy(&actions);
    return result;
}

static void free_zygote(struct zygote_process *zygote) {
    struct supervisor *s = zygote->supervisor;
    sd_event_source_disable_unref(zygote->message);
    sd_event_source_disable_unref(zygote->death);
    sd_event_source_disable_unref(zygote->timer);
    fd_closep(&zygote->socket);
    fd_closep(&zygote->pidfd);
    packet_fini(&zygote->setup);
    TAILQ_REMOVE(&s->zygotes, zygote, link);
    free(zygote);
}

/* When its workers are gone, too: until then, its being unreaped keeps the group's id from meaning
 * anybody else. Workers that nobody heard of are ended with the group. */
static void bury(struct zygote_process *zygote) {
    siginfo_t info;
    if (zygote->state != ZYGOTE_IS_DEAD || !TAILQ_EMPTY(&zygote->workers)) return;
    if (zygote->supervisor->config.own_groups) {
        (void)kill(-zygote->pid, SIGKILL);
        while (waitid(P_PGID, (id_t)zygote->pid, &info, WEXITED) == 0 || errno == EINTR) {
        }
    }
    while (waitid(P_PIDFD, (id_t)zygote->pidfd, &info, WEXITED) != 0 && errno == EINTR) {
    }
    free_zygote(zygote);
}

void zygote_worker_gone(struct zygote_process *zygote) {
    bury(zygote);
}

static void drop_waiting(struct zygote_process *zygote, struct supervisor_run *run) {
    TAILQ_REMOVE(&zygote->waiting, run, link);
    zygote->waiting_count--;
    run->zygote = NULL;
}

void zygote_cancel(struct supervisor_run *run) {
    if (run->zygote != NULL) drop_waiting(run->zygote, run);
    if (run->worker != NULL) run->worker->run = NULL; /* ends when it is made */
    run->worker = NULL;
}

/* No new work; the parked end by themselves when their channel closes. */
void zygote_retire(struct zygote_process *zygote) {
    struct worker *worker = TAILQ_FIRST(&zygote->workers);
    while (worker != NULL) {
        struct worker *next = TAILQ_NEXT(worker, link);
        if (worker->state == WORKER_PARKED && worker->is_spare) worker_release(worker);
        worker = next;
    }
    tell_zygote(zygote, "zygote retired",
                zygote->retiring                   ? "worn: its successor is ready"
                : zygote->state == ZYGOTE_IS_READY ? "its place is needed, or the server ends"
                                                   : "it did not get ready");
    (void)kill(zygote->pid, SIGKILL);
    zygote_died(zygote);
}

static struct zygote_process *find(struct supervisor *s, const uint8_t key[KEY_BYTES]) {
    struct zygote_process *zygote, *best = NULL;
    TAILQ_FOREACH(zygote, &s->zygotes, link) {
        if (zygote->state == ZYGOTE_IS_DEAD || memcmp(zygote->key, key, KEY_BYTES) != 0) continue;
        if (best == NULL || zygote->state == ZYGOTE_IS_READY) best = zygote;
        if (zygote->state == ZYGOTE_IS_READY) break;
    }
    return best;
}

/* Asks for as many workers as jobs wait for, and the spare ones. */
static void ask_for_workers(struct zygote_process *zygote) {
    struct supervisor *s = zygote->supervisor;
    struct error err = {0};
    if (zygote->state != ZYGOTE_IS_READY || s->closing) return;
    uint32_t wanted = zygote->waiting_count + s->config.spare_workers;
    while (zygote->parked + zygote->forking < wanted && zygote->forking < MAX_FORKING) {
        int result = worker_request(zygote, &err);
        if (result == 0) continue;
        if (result > 0) return;
        struct supervisor_run *run = zygote->forking == 0 ? TAILQ_FIRST(&zygote->waiting) : NULL;
        if (run == NULL) return; /* a reply that is still to come asks again */
        drop_waiting(zygote, run);
        run_fail(run, &err);
        wanted--;
    }
}

/* Those that stay get workers that were made to. */
static void serve_sessions(struct zygote_process *zygote) {
    struct supervisor_run *run, *next;
    for (run = TAILQ_FIRST(&zygote->waiting); run != NULL; run = next) {
        struct error err = {0};
        next = TAILQ_NEXT(run, link);
        if (!run->stays) continue;
        int result = worker_request_for(run, zygote, NULL, &err);
        if (result > 0) return; /* its next reply brings us back, or its death */
        drop_waiting(zygote, run);
        if (result < 0) run_fail(run, &err);
    }
}

static void serve_waiting(struct zygote_process *zygote) {
    serve_sessions(zygote);
    struct worker *worker = TAILQ_FIRST(&zygote->workers), *next;
    for (; worker != NULL && !TAILQ_EMPTY(&zygote->waiting); worker = next) {
        next = TAILQ_NEXT(worker, link);
        if (worker->state != WORKER_PARKED || !worker->is_spare || worker->channel < 0) continue;
        struct supervisor_run *run = TAILQ_FIRST(&zygote->waiting);
        while (run != NULL && run->stays)
            run = TAILQ_NEXT(run, link);
        if (run == NULL) break;
        drop_waiting(zygote, run);
        worker_give(worker, run);
    }
    ask_for_workers(zygote);
}

/* Its jobs go to another zygote; what it had to say about its failure is theirs. */
static void fail_waiting(struct zygote_process *zygote, const struct error *err) {
    struct supervisor_run *run;
    while ((run = TAILQ_FIRST(&zygote->waiting)) != NULL) {
        drop_waiting(zygote, run);
        if (zygote->reported) {
            run_fail(run, err);
        } else {
            run_again_or_fail(run, err);
        }
    }
}

static void zygote_died(struct zygote_process *zygote) {
    struct supervisor *s = zygote->supervisor;
    struct worker *worker, *next;
    struct error err = {0};
    if (zygote->state == ZYGOTE_IS_DEAD) return;
    tell_zygote(zygote, "zygote is gone", "");
    error_set(&err, PA_INTERNAL, "the zygote ended unexpectedly");
    zygote->state = ZYGOTE_IS_DEAD;
    s->zygote_count--;
    zygote->message = sd_event_source_disable_unref(zygote->message);
    zygote->death = sd_event_source_disable_unref(zygote->death);
    zygote->timer = sd_event_source_disable_unref(zygote->timer);
    fd_closep(&zygote->socket);
    for (worker = TAILQ_FIRST(&zygote->workers); worker != NULL; worker = next) {
        next = TAILQ_NEXT(worker, link);
        if (worker->state == WORKER_FORKING && worker->origin == NULL) {
            struct supervisor_run *run = worker->run;
            worker_discard(worker);
            if (run == NULL) continue;
            run->worker = NULL;
            run_again_or_fail(run, &err);
        } else if (worker->state == WORKER_PARKED && worker->is_spare) {
            worker_release(worker);
        }
    }
    fail_waiting(zygote, &err);
    bury(zygote);
}

static int on_zygote_death(sd_event_source *source, int fd, uint32_t events, void *context) {
    (void)source;
    (void)fd;
    (void)events;
    zygote_died(context);
    return 0;
}

static int on_start_timeout(sd_event_source *source, uint64_t now_us, void *context) {
    struct zygote_process *zygote = context;
    struct error err = {0};
    (void)source;
    (void)now_us;
    error_set(&err, PA_TIMEOUT,
              "Execution timeout: the interpreter did not read its program "
              "within %d s",
              START_TIMEOUT_MS / 1000);
    zygote->reported = true;
    fail_waiting(zygote, &err);
    zygote_retire(zygote);
    return 0;
}

static void became_ready(struct zygote_process *zygote, uint32_t layers) {
    struct supervisor *s = zygote->supervisor;
    struct zygote_process *old = TAILQ_FIRST(&s->zygotes), *next;
    zygote->state = ZYGOTE_IS_READY;
    zygote->layers = layers;
    tell_zygote(zygote, "zygote is ready", "");
    zygote->timer = sd_event_source_disable_unref(zygote->timer);
    for (; old != NULL; old = next) { /* those that it takes over from */
        next = TAILQ_NEXT(old, link);
        if (old->retiring && memcmp(old->key, zygote->key, KEY_BYTES) == 0) {
            TAILQ_CONCAT(&zygote->waiting, &old->waiting, link);
            zygote->waiting_count += old->waiting_count;
            old->waiting_count = 0;
            struct supervisor_run *run;
            TAILQ_FOREACH(run, &zygote->waiting, link) run->zygote = zygote;
            zygote_retire(old);
        }
    }
    serve_waiting(zygote);
}

/* A message is checked for size, descriptors and state; whatever does not fit ends the zygote. */
static bool handle(struct zygote_process *zygote, const struct zygote_reply *reply, int *fds,
                   size_t fd_count) {
    struct error err = {0};
    struct worker *worker = NULL;
    bool starting = zygote->state == ZYGOTE_IS_STARTING;
    if (reply->kind == ZYGOTE_FORKED || reply->kind == ZYGOTE_NO_FORK) {
        TAILQ_FOREACH(worker, &zygote->workers, link) {
            if (worker->state == WORKER_FORKING && worker->origin == NULL &&
                worker->slot->number == reply->slot)
                break;
        }
        if (starting || worker == NULL) return false;
    }
    switch (reply->kind) {
    case ZYGOTE_READY:
        if (!starting || fd_count != 0) return false;
        became_ready(zygote, reply->layers & LAYERS_ALL);
        return true;
    case ZYGOTE_FAILED:
        if (!starting || fd_count != 0) return false;
        error_set(&err,
                  reply->status > PA_OK && reply->status <= PA_INTERNAL
                      ? (enum pa_status)reply->status
                      : PA_INTERNAL,
                  "%.*s", (int)strnlen(reply->text, sizeof reply->text), reply->text);
        zygote->reported = true;
        fail_waiting(zygote, &err);
        return true; /* its death follows */
    case ZYGOTE_FORKED:
        if (worker_forked(worker, fds, fd_count) != 0) return false;
        serve_waiting(zygote);
        return true;
    case ZYGOTE_NO_FORK:
        if (fd_count != 0) return false;
        struct supervisor_run *run = worker->run; /* that it was made for, or whoever waits */
        bool is_spare = worker->is_spare;
        worker_discard(worker);
        if (run == NULL && is_spare && (run = TAILQ_FIRST(&zygote->waiting)) != NULL)
            drop_waiting(zygote, run);
        if (run != NULL) worker_refused(run, reply);
        return true;
    default: return false;
    }
}

static int on_message(sd_event_source *source, int fd, uint32_t events, void *context) {
    struct zygote_process *zygote = context;
    struct zygote_reply reply;
    int fds[WIRE_MAX_FDS];
    size_t fd_count;
    const struct iovec part = {&reply, sizeof reply};
    (void)source;
    (void)events;
    ssize_t got = wire_receive(fd, &part, 1, fds, &fd_count, 0);
    if (got == -EAGAIN) return 0;
    bool fits = got == sizeof reply && handle(zygote, &reply, fds, fd_count);
    wire_close_fds(fds, fd_count);
    if (!fits) {
        (void)kill(zygote->pid, SIGKILL); /* not reaped yet, so the id is still its own */
        zygote_died(zygote);
    }
    return 0;
}

/* Takes over `setup`. */
static struct zygote_process *start(struct supervisor *s, const uint8_t key[KEY_BYTES],
                                    const char *owner, struct packet *setup, struct error *err) {
    int pair[2] = {-1, -1};
    struct zygote_process *zygote = calloc(1, sizeof *zygote);
    int result = zygote == NULL ? -ENOMEM : wire_pair(pair);
    if (result == 0) result = -spawn(s, pair[1], &zygote->pid);
    fd_closep(&pair[1]);
    if (result != 0) {
        fd_closep(&pair[0]);
        free(zygote);
        packet_fini(setup);
        error_set_errno(err, PA_INTERNAL, -result,
                        "start the zygote %s (POLYAGENT_HELPER names another)", s->config.helper);
        return NULL;
    }
    zygote->supervisor = s;
    zygote->socket = pair[0];
    zygote->pidfd = pidfd_open(zygote->pid, 0);
    zygote->setup = *setup;
    zygote->used_at = ++s->tick;
    memcpy(zygote->key, key, KEY_BYTES);
    (void)snprintf(zygote->owner, sizeof zygote->owner, "%s", owner);
    TAILQ_INIT(&zygote->workers);
    TAILQ_INIT(&zygote->waiting);
    TAILQ_INSERT_TAIL(&s->zygotes, zygote, link);
    s->zygote_count++;
    s->zygotes_started++;
    setup->header.deadline_ns = CLOCK_NEVER;
    result = zygote->pidfd < 0 ? -errno : 0;
    if (result == 0 && s->cgroup != NULL) result = cgroup_add(s->cgroup, zygote->pid);
    if (result == 0) result = packet_send(&zygote->setup, zygote->socket, 0);
    if (result == 0) {
        result = sd_event_add_io(s->event, &zygote->message, zygote->socket, EPOLLIN, on_message,
                                 zygote);
    }
    if (result >= 0) {
        result = sd_event_add_io(s->event, &zygote->death, zygote->pidfd, EPOLLIN, on_zygote_death,
                                 zygote);
    }
    if (result >= 0) {
        /* What it said before it died comes first. */
        result = sd_event_source_set_priority(zygote->death, SD_EVENT_PRIORITY_IDLE);
    }
    if (result >= 0) {
        result = sd_event_add_time_relative(s->event, &zygote->timer, CLOCK_MONOTONIC,
                                            START_TIMEOUT_MS * 1000, 1, on_start_timeout, zygote);
    }
    if (result >= 0) {
        tell_zygote(zygote, "zygote started", "");
        return zygote;
    }
    error_set_errno(err, PA_INTERNAL, -result, "set up a zygote");
    zygote_retire(zygote);
    return NULL;
}

/* Pages in memory; 0 if it cannot be told. */
static uint64_t resident_pages(const struct zygote_process *zygote) {
    char path[64];
    unsigned long pages = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/statm", zygote->pid);
    FILE *file = fopen(path, "re");
    if (file == NULL || fscanf(file, "%*u %lu", &pages) != 1) pages = 0;
    if (file != NULL) (void)fclose(file);
    return pages;
}

/* A zygote only forks, and so has no reason to grow; should it, it is worn as well. */
static bool is_worn(struct zygote_process *zygote) {
    if (zygote->runs >= zygote->supervisor->config.runs_per_zygote) return true;
    if (zygote->runs % RUNS_PER_LOOK != 0) return false;
    uint64_t pages = resident_pages(zygote);
    if (zygote->ready_pages == 0) zygote->ready_pages = pages;
    return pages > zygote->ready_pages + MAX_GROWTH_PAGES;
}

/* A worn zygote goes on until its successor is ready. */
static void replace_when_worn(struct zygote_process *zygote) {
    struct packet setup;
    struct packet_view view;
    struct supervisor *s = zygote->supervisor;
    struct error err = {0};
    if (zygote->retiring || !is_worn(zygote)) return;
    /* A packet is made anew from a view of the old one, as descriptors have one owner. */
    if (packet_open(&zygote->setup, &view, &err) != 0) return;
    struct supervisor_run like = {
        .supervisor = s, .warm = zygote->setup.header.flags & PACKET_WARM, .packet = zygote->setup};
    struct code code = {.fd = zygote->setup.fds[PACKET_MODULE]};
    like.code = &code;
    int result = make_setup(&like, &view, &setup, &err);
    packet_view_fini(&view);
    if (result != 0 || start(s, zygote->key, zygote->owner, &setup, &err) == NULL) {
        zygote->runs = 0; /* the next try, after as many runs again */
        return;
    }
    zygote->retiring = true;
}

int zygote_request(struct supervisor_run *run, struct error *err) {
    struct supervisor *s = run->supervisor;
    struct packet_view view;
    struct packet setup;
    if (run->packet.header.node != 0) return node_request(run, err);
    if (packet_open(&run->packet, &view, err) != 0) return -1;
    int result = make_key(run, &view);
    struct zygote_process *zygote = find(s, run->key);
    char owner[PACKET_TENANT_BYTES];
    zygote_name_owner(run, owner);
    if (zygote == NULL && result == 0 && !zygote_make_room(s, owner, run->tenant->max_zygotes)) {
        packet_view_fini(&view);
        struct error busy = {0};
        error_set(
            &busy, PA_OVERLOADED,
            "your own interpreters are all being started (%u of them, tenants.NAME.interpreters); "
            "retry in 1000 ms",
            run->tenant->max_zygotes);
        run->state = RUN_WAITING;
        run_pause(run, &busy);
        return 0;
    }
    if (zygote == NULL && result == 0) {
        result = make_setup(run, &view, &setup, err);
        if (result == 0) zygote = start(s, run->key, owner, &setup, err);
    }
    packet_view_fini(&view);
    if (zygote == NULL) return -1;
    zygote->used_at = ++s->tick;
    run->state = RUN_WAITING;
    run->zygote = zygote;
    TAILQ_INSERT_TAIL(&zygote->waiting, run, link);
    zygote->waiting_count++;
    if (zygote->state == ZYGOTE_IS_READY) {
        serve_waiting(zygote);
        replace_when_worn(zygote);
    }
    return 0;
}

void zygote_free_all(struct supervisor *s) {
    struct zygote_process *zygote;
    struct worker *worker;
    while ((zygote = TAILQ_FIRST(&s->zygotes)) != NULL) {
        (void)kill(zygote->pid, SIGKILL);
        while ((worker = TAILQ_FIRST(&zygote->workers)) != NULL)
            worker_end_now(worker);
        if (zygote->state != ZYGOTE_IS_DEAD) {
            zygote_died(zygote); /* buries it */
        } else {
            bury(zygote);
        }
    }
}

/* Families: all processes that came of a session's first worker. A worker that stays may make
 * copies of itself, and one that was broken makes what it likes, and tells us or not. So a family
 * is ended as a whole: by its group of processes and by its keeper, whose end is that of its pid
 * namespace. Whoever is in it and nobody told us of is looked for once a second: reaped if dead; if
 * it lives, the family is ended. */
#include "base/cleanup.h"
#include "supervisor/internal.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LOOK_US = 1000000, SOON_US = 10000, SLACK = 8, PATIENCE = 2 };

static void look_in(struct supervisor *s, uint64_t us) {
    if (sd_event_source_set_time_relative(s->look, us) >= 0)
        (void)sd_event_source_set_enabled(s->look, SD_EVENT_ONESHOT);
}

void family_look(struct supervisor *s) {
    int on = SD_EVENT_OFF;
    (void)sd_event_source_get_enabled(s->look, &on);
    if (on == SD_EVENT_OFF) look_in(s, LOOK_US);
}

static bool is_member(const struct family *family, pid_t pid) {
    const struct zygote_process *zygote;
    const struct worker *worker;
    TAILQ_FOREACH(zygote, &family->supervisor->zygotes, link) {
        TAILQ_FOREACH(worker, &zygote->workers, link) {
            if (worker->family == family && worker->pid == pid) return true;
        }
    }
    return false;
}

static bool is_of_zygote(const struct zygote_process *zygote, pid_t pid) {
    const struct worker *worker;
    if (pid == zygote->pid) return true;
    TAILQ_FOREACH(worker, &zygote->workers, link) {
        if (worker->pidfd >= 0 && worker->pid == 0 && pid_of(worker->pidfd) == pid) return true;
    }
    return false;
}

/* The first child of a group that is dead; 0: none is. */
static pid_t first_dead(pid_t group) {
    siginfo_t info = {0};
    return waitid(P_PGID, (id_t)group, &info, WEXITED | WNOHANG | WNOWAIT) == 0 ? info.si_pid : 0;
}

static void reap(pid_t pid) {
    siginfo_t info;
    (void)waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG);
}

/* Whoever is dead and nobody else will reap. One that somebody will stops it: there is a next look.
 */
static void reap_strangers(const struct family *family) {
    for (pid_t pid; (pid = first_dead(family->group)) > 0;) {
        if (pid == family->group || is_member(family, pid)) return;
        reap(pid);
    }
}

/* The helpers that made sessions. */
static void reap_helpers(const struct supervisor *s) {
    const struct zygote_process *zygote;
    TAILQ_FOREACH(zygote, &s->zygotes, link) {
        if (!s->config.own_groups) return;
        for (pid_t pid; (pid = first_dead(zygote->pid)) > 0 && !is_of_zygote(zygote, pid);)
            reap(pid);
    }
}

static struct family *family_of_group(const struct supervisor *s, pid_t group) {
    struct family *family;
    TAILQ_FOREACH(family, &s->families, link) {
        if (family->group == group) return family;
    }
    return NULL;
}

/* Whom we asked for a copy may have made it already. */
static uint32_t expected(const struct family *family) {
    const struct zygote_process *zygote;
    const struct worker *worker;
    uint32_t count = 0;
    TAILQ_FOREACH(zygote, &family->supervisor->zygotes, link) {
        TAILQ_FOREACH(worker, &zygote->workers, link)
        count += worker->family == family && worker->state == WORKER_FORKING;
    }
    return count;
}

/* Of all our children, by the kernel's list where it has one (CONFIG_PROC_CHILDREN). Without it,
 * the bound of processes stands alone. */
static void count_strangers(struct supervisor *s) {
    int pid;
    struct family *family;
    TAILQ_FOREACH(family, &s->families, link) family->strangers = 0;
    FILE *file = fopen("/proc/thread-self/children", "re");
    if (file == NULL) return;
    while (fscanf(file, "%d", &pid) == 1) {
        pid_t group = getpgid(pid);
        family = group > 0 && group != pid ? family_of_group(s, group) : NULL;
        if (family != NULL && !is_member(family, pid)) family->strangers++;
    }
    (void)fclose(file);
}

/* Nothing of it is left. */
static void forget(struct family *family) {
    struct supervisor *s = family->supervisor;
    TAILQ_REMOVE(&s->families, family, link);
    TAILQ_INSERT_HEAD(&s->free_slots, family->slot, link);
    reap_helpers(s);
    sd_event_source_disable_unref(family->death);
    fd_closep(&family->keeper);
    free(family);
}

/* Without members, all that is left of it is ours to reap: its keeper, and strangers. With the last
 * of them the group's number is free. */
static bool is_gone(const struct family *family, int how) {
    siginfo_t info = {0};
    if (family->members > 0) return false;
    while (waitid(P_PGID, (id_t)family->group, &info, WEXITED | how) == 0 || errno == EINTR) {
        if (info.si_pid == 0) return false; /* it dies yet */
        info.si_pid = 0;
    }
    return true;
}

static int on_look(sd_event_source *source, uint64_t now_us, void *context) {
    struct supervisor *s = context;
    struct family *family, *next;
    bool soon = false;
    (void)source;
    (void)now_us;
    for (family = TAILQ_FIRST(&s->families); family != NULL; family = next) {
        next = TAILQ_NEXT(family, link);
        if (!family->ending) {
            reap_strangers(family);
        } else if (is_gone(family, WNOHANG)) {
            forget(family);
        } else {
            soon = true;
        }
    }
    if (!soon) {
        reap_helpers(s);
        node_look(s);
        count_strangers(s);
        TAILQ_FOREACH(family, &s->families, link) {
            bool any = family->strangers > 0 && family->strangers > expected(family);
            family->strangers_seen = any ? family->strangers_seen + 1 : 0;
            if (family->strangers_seen >= PATIENCE) family_end(family);
        }
    }
    if (!TAILQ_EMPTY(&s->families)) look_in(s, soon ? SOON_US : LOOK_US);
    return 0;
}

int family_new(struct supervisor *s) {
    int result = sd_event_add_time(s->event, &s->look, CLOCK_MONOTONIC, UINT64_MAX, 1, on_look, s);
    return result < 0 ? result : sd_event_source_set_enabled(s->look, SD_EVENT_OFF);
}

static int on_keeper_death(sd_event_source *source, int fd, uint32_t events, void *context) {
    struct family *family = context;
    struct supervisor *s = family->supervisor;
    (void)fd;
    (void)events;
    family_end(family); /* whoever killed it: a session is not left without one */
    (void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
    if (is_gone(family, WNOHANG)) {
        forget(family);
    } else {
        look_in(s, SOON_US);
    }
    return 0;
}

int family_found(struct worker *worker, int keeper) {
    struct supervisor *s = worker->zygote->supervisor;
    struct family *family = calloc(1, sizeof *family);
    pid_t group = pid_of(keeper);
    int result = family == NULL ? -ENOMEM : group <= 0 ? -ESRCH : 0;
    if (result == 0) {
        *family = (struct family){.supervisor = s, .group = group, .keeper = keeper};
        /* Both were forked, and have executed nothing: until then a parent may do that. */
        if (setpgid(group, group) != 0 || setpgid(worker->pid, group) != 0) result = -errno;
    }
    if (result == 0)
        result =
            sd_event_add_io(s->event, &family->death, keeper, EPOLLIN, on_keeper_death, family);
    if (result < 0) {
        (void)close(keeper);
        free(family);
        return result;
    }
    family->slot = steal_ptr(worker->slot);
    TAILQ_INSERT_TAIL(&s->families, family, link);
    family_join(worker, family);
    family_look(s);
    return 0;
}

void family_join(struct worker *worker, struct family *family) {
    family->members++;
    worker->family = family;
}

void family_leave(struct worker *worker) {
    struct family *family = worker->family;
    worker->family = NULL;
    if (--family->members == 0) family_end(family);
}

void family_end(struct family *family) {
    if (family->ending) return;
    family->ending = true;
    (void)kill(-family->group, SIGKILL);
    look_in(family->supervisor, SOON_US);
}

bool family_has(const struct family *family, pid_t pid) {
    return pid != family->group && getpgid(pid) == family->group && !is_member(family, pid);
}

static uint32_t families(const struct supervisor *s) {
    const struct family *family;
    uint32_t count = 1; /* the one that is being made */
    TAILQ_FOREACH(family, &s->families, link) count++;
    return count;
}

/* Where a session has no id of its own, the kernel counts all that are in its user namespace, which
 * is its zygote's; and without one of these, all processes of the user: that is none of our
 * business. */
uint32_t family_max_processes(const struct worker *worker) {
    const struct zygote_process *zygote = worker->zygote;
    const struct supervisor *s = zygote->supervisor;
    if (worker->is_spare) return 0;
    if (geteuid() == 0) {
        bool has_id = s->config.policy.enabled & LAYER_UID;
        return has_id ? (worker->family != NULL ? worker->family->members : 1) + 1 + SLACK : 0;
    }
    return zygote->layers & LAYER_USER_NS ? s->workers + families(s) + s->zygote_count + SLACK : 0;
}

void family_bound_copies(const struct worker *origin) {
    struct rlimit limit;
    uint32_t most = family_max_processes(origin);
    if (most == 0 || origin->pid == 0 || prlimit(origin->pid, RLIMIT_NPROC, NULL, &limit) != 0)
        return; /* it is dead */
    limit.rlim_cur = most < limit.rlim_max ? most : limit.rlim_max;
    (void)prlimit(origin->pid, RLIMIT_NPROC, &limit, NULL);
}

void family_free_all(struct supervisor *s) {
    struct family *family;
    while ((family = TAILQ_FIRST(&s->families)) != NULL) {
        family_end(family);
        if (family->members == 0) (void)is_gone(family, 0);
        forget(family);
    }
}

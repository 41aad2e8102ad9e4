#include "cli/front.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "cli/listen.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>

extern char **environ;

enum { RESTART_US = 1000000, FAILED_RESTART_US = 5000000, ADDRESS_BYTES = 96, SERVICES = 2 };
static const char *const names[SERVICES] = {"http", "grpc"};

struct front {
    sd_event *event;
    const struct supervisor *supervisor;
    char *config_path, *socket_path; /* owned */
    char program[PATH_MAX];
    char addresses[SERVICES][ADDRESS_BYTES]; /* "": not served */
    int sockets[SERVICES];                   /* owned; -1 */
    struct supervisor_stats *stats;          /* owned mapping, for the process to read */
    int stats_fd;                            /* owned */
    int ready_fd;                            /* owned; closes when the process serves, or dies */
    pid_t pid;                               /* 0: none */
    int pidfd;                               /* owned; -1 */
    sd_event_source *death, *restart, *post, *ready;
    bool asks_for_tokens; /* since the server began */
    bool is_ready, has_served, stopping, over;
};

static int spawn(struct front *front, struct error *err);

static int on_restart(sd_event_source *source, uint64_t now_us, void *context) {
    struct front *front = context;
    struct error err = {0};
    (void)source;
    (void)now_us;
    front->restart = sd_event_source_disable_unref(front->restart);
    if (spawn(front, &err) != 0) {
        log_event(LOG_ERROR, "server", "cannot start polyagent-net", {"error", err.text, 0});
        front->over = true;
    }
    return 0;
}

static int on_death(sd_event_source *source, int fd, uint32_t events, void *context) {
    struct front *front = context;
    siginfo_t info = {.si_code = 0};
    (void)source;
    (void)fd;
    (void)events;
    (void)waitid(P_PID, (id_t)front->pid, &info, WEXITED);
    front->death = sd_event_source_disable_unref(front->death);
    fd_closep(&front->pidfd);
    front->pid = 0;
    bool was_ready = front->is_ready;
    front->is_ready = false;
    if (front->stopping || !front->has_served) { /* it has told why */
        front->over = true;
        return 0;
    }
    log_event(LOG_ERROR, "server", "polyagent-net has died; it is started again",
              {"by", info.si_code == CLD_EXITED ? "exit" : "signal", 0},
              {"code", NULL, info.si_status});
    if (sd_event_add_time_relative(front->event, &front->restart, CLOCK_MONOTONIC,
                                   was_ready ? RESTART_US : FAILED_RESTART_US, 1, on_restart,
                                   front) < 0) {
        front->over = true;
    }
    return 0;
}

static int on_ready(sd_event_source *source, int fd, uint32_t events, void *context) {
    struct front *front = context;
    char byte;
    (void)source;
    (void)events;
    front->is_ready = read(fd, &byte, 1) == 1;
    front->has_served = front->has_served || front->is_ready;
    front->ready = sd_event_source_disable_unref(front->ready);
    fd_closep(&front->ready_fd);
    return 0;
}

/* After each event of the loop: what there is to tell. */
static int on_post(sd_event_source *source, void *context) {
    struct front *front = context;
    (void)source;
    supervisor_get_stats(front->supervisor, front->stats);
    return 0;
}

/* Descriptors that the process is to have, under the numbers that it is told. */
static int spawn_with(struct front *front, int ready_fd, char *const *argv) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    int keep[] = {front->sockets[0], front->sockets[1], front->stats_fd, ready_fd};
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    int result = posix_spawn_file_actions_init(&actions);
    if (result != 0) return result;
    result = posix_spawnattr_init(&attributes);
    for (size_t i = 0; i < sizeof keep / sizeof *keep && result == 0; i++) {
        if (keep[i] >= 0) result = posix_spawn_file_actions_adddup2(&actions, keep[i], keep[i]);
    }
    if (result == 0) result = posix_spawnattr_setsigmask(&attributes, &none);
    if (result == 0) result = posix_spawnattr_setsigdefault(&attributes, &all);
    if (result == 0) {
        result =
            posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    }
    if (result == 0)
        result = posix_spawn(&front->pid, front->program, &actions, &attributes, argv, environ);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    if (result != 0) front->pid = 0;
    return result;
}

static int spawn(struct front *front, struct error *err) {
    int ends[2];
    char numbers[4][16];
    if (pipe2(ends, O_CLOEXEC) != 0) return error_set_errno(err, PA_INTERNAL, errno, "pipe");
    front->ready_fd = ends[0];
    const int fds[] = {front->sockets[0], front->sockets[1], front->stats_fd, ends[1]};
    for (int i = 0; i < 4; i++)
        (void)snprintf(numbers[i], sizeof numbers[i], "%d", fds[i]);
    char *const argv[] = {"polyagent-net",
                          "front",
                          front->socket_path,
                          front->config_path,
                          numbers[0],
                          numbers[1],
                          numbers[2],
                          numbers[3],
                          front->asks_for_tokens ? "tokens" : "all",
                          NULL};
    int result = spawn_with(front, ends[1], argv);
    (void)close(ends[1]);
    if (result != 0) {
        return error_set_errno(err, PA_INTERNAL, result, "start %s", front->program);
    }
    front->pidfd = (int)syscall(SYS_pidfd_open, front->pid, 0);
    if (front->pidfd < 0) return error_set_errno(err, PA_INTERNAL, errno, "watch polyagent-net");
    result = sd_event_add_io(front->event, &front->death, front->pidfd, EPOLLIN, on_death, front);
    if (result >= 0)
        result = sd_event_add_io(front->event, &front->ready, front->ready_fd, EPOLLIN | EPOLLHUP,
                                 on_ready, front);
    return result >= 0 ? 0 : error_set_errno(err, PA_INTERNAL, -result, "watch polyagent-net");
}

/* Sockets from systemd (sd_listen_fds_with_names) come first. */
static void take_given(struct front *front) {
    char **given = NULL;
    int count = sd_listen_fds_with_names(1, &given);
    for (int i = 0; i < count; i++) {
        int fd = SD_LISTEN_FDS_START + i;
        for (int j = 0; j < SERVICES; j++) {
            if (given == NULL || given[i] == NULL || strcmp(given[i], names[j]) != 0) continue;
            front->sockets[j] = fd;
            (void)snprintf(front->addresses[j], ADDRESS_BYTES, "systemd");
        }
        free(given != NULL ? given[i] : NULL);
    }
    free(given);
}

static int listen_all(struct front *front, const struct config *config, struct error *err) {
    const char *const wanted[SERVICES] = {config->http, config->grpc};
    static const char *const keys[SERVICES] = {"server.http", "server.grpc"};
    bool remote = config->allow_remote || config->tokens_file[0] != 0 || config->client_ca[0] != 0;
    take_given(front);
    for (int i = 0; i < SERVICES; i++) {
        if (front->sockets[i] >= 0 || wanted[i][0] == 0) continue;
        front->sockets[i] =
            listen_at(keys[i], wanted[i], remote, front->addresses[i], ADDRESS_BYTES, err);
        if (front->sockets[i] < 0) return -1;
    }
    return 0;
}

static int open_stats(struct front *front, struct error *err) {
    front->stats_fd = memfd_create("stats", MFD_CLOEXEC);
    void *page = MAP_FAILED;
    if (front->stats_fd >= 0 && ftruncate(front->stats_fd, sizeof *front->stats) == 0) {
        page = mmap(NULL, sizeof *front->stats, PROT_READ | PROT_WRITE, MAP_SHARED, front->stats_fd,
                    0);
    }
    if (page == MAP_FAILED) return error_set_errno(err, PA_INTERNAL, errno, "memory for figures");
    front->stats = page;
    int result = sd_event_add_post(front->event, &front->post, on_post, front);
    return result >= 0 ? 0 : error_set_errno(err, PA_INTERNAL, -result, "figures");
}

struct front *front_start(sd_event *event, const struct config *config, const char *config_path,
                          const char *socket_path, const struct supervisor *supervisor,
                          struct error *err) {
    struct front *front = calloc(1, sizeof *front);
    if (front == NULL) {
        error_set(err, PA_INTERNAL, "out of memory");
        return NULL;
    }
    *front = (struct front){.event = event,
                            .supervisor = supervisor,
                            .config_path = strdup(config_path != NULL ? config_path : ""),
                            .socket_path = strdup(socket_path),
                            .asks_for_tokens = config->tokens_file[0] != 0,
                            .sockets = {-1, -1},
                            .stats_fd = -1,
                            .ready_fd = -1,
                            .pidfd = -1};
    if (front->config_path == NULL || front->socket_path == NULL) {
        error_set(err, PA_INTERNAL, "out of memory");
    } else if (supervisor_find_net(front->program, sizeof front->program, err) == 0 &&
               listen_all(front, config, err) == 0 && open_stats(front, err) == 0 &&
               spawn(front, err) == 0) {
        return front;
    }
    front_free(front);
    return NULL;
}

const char *front_http(const struct front *front) {
    return front->addresses[0];
}

const char *front_grpc(const struct front *front) {
    return front->addresses[1];
}

bool front_is_ready(const struct front *front) {
    return front->is_ready;
}

void front_reload(struct front *front) {
    if (front->pid > 0) (void)kill(front->pid, SIGHUP);
}

void front_stop(struct front *front) {
    front->stopping = true;
    for (int i = 0; i < SERVICES; i++)
        fd_closep(&front->sockets[i]);
    if (front->pid > 0)
        (void)kill(front->pid, SIGTERM);
    else
        front->over = true;
}

bool front_is_over(const struct front *front) {
    return front->over;
}

void front_free(struct front *front) {
    if (front == NULL) return;
    front->death = sd_event_source_disable_unref(front->death);
    if (front->pid > 0) { /* it had its time */
        (void)kill(front->pid, SIGKILL);
        (void)waitpid(front->pid, NULL, 0);
    }
    sd_event_source_disable_unref(front->restart);
    sd_event_source_disable_unref(front->ready);
    sd_event_source_disable_unref(front->post);
    for (int i = 0; i < SERVICES; i++)
        fd_closep(&front->sockets[i]);
    fd_closep(&front->ready_fd);
    fd_closep(&front->pidfd);
    if (front->stats != NULL) (void)munmap(front->stats, sizeof *front->stats);
    fd_closep(&front->stats_fd);
    free(front->config_path);
    free(front->socket_path);
    free(front);
}

/* The role front: HTTP, MCP and gRPC in one process, which polyagent serve starts, and which it
 * ends. */
#include "net/net.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "server/http.h"
#include "server/rpc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

enum { FAILURE = 125 };

struct front {
    struct service service;
    const char *config_path; /* NULL: none */
    struct tasks *tasks;
    struct mcp *mcp;
    struct http_server *http;
    struct rpc_server *rpc;
    bool ending;
};

static int on_end(sd_event_source *source, const struct signalfd_siginfo *info, void *context) {
    struct front *front = context;
    (void)source;
    (void)info;
    front->ending = true;
    return 0;
}

static int on_reload(sd_event_source *source, const struct signalfd_siginfo *info, void *context) {
    struct front *front = context;
    struct error err = {0};
    (void)source;
    (void)info;
    if (service_reload(&front->service, front->config_path, &err) == 0)
        log_event(LOG_INFO, "server", "configuration read again", {"by", "SIGHUP", 0});
    else
        log_event(LOG_ERROR, "server", "configuration not taken: all stays as it was",
                  {"error", err.text, 0});
    return 0;
}

/* Runs under way come to their end, and their answers get out. */
static void drain(struct front *front) {
    uint64_t until_ns = clock_now_ns() + front->service.config.drain_seconds * NS_PER_SECOND;
    if (front->http != NULL) http_server_stop_listening(front->http);
    if (front->rpc != NULL) rpc_server_stop_listening(front->rpc);
    for (int quiet = 0; quiet < 3 && clock_now_ns() < until_ns;) {
        bool busy = (front->http != NULL && http_server_busy(front->http) > 0) ||
                    (front->rpc != NULL && rpc_server_busy(front->rpc) > 0);
        quiet = busy ? 0 : quiet + 1;
        if (sd_event_run(front->service.event, 20000) < 0) return;
    }
}

static int start(struct front *front, int http_fd, int rpc_fd, struct error *err) {
    sd_event *event = front->service.event;
    front->tasks = tasks_new(&front->service, err);
    front->mcp = mcp_new(&front->service);
    if (front->tasks == NULL || front->mcp == NULL) {
        return error_set(err, PA_INTERNAL, "out of memory");
    }
    if (http_fd >= 0 && (front->http = http_server_new(&front->service, front->tasks, front->mcp,
                                                       http_fd, err)) == NULL) {
        return -1;
    }
    if (rpc_fd >= 0 &&
        (front->rpc = rpc_server_new(&front->service, front->tasks, rpc_fd, err)) == NULL) {
        return -1;
    }
    int result = sd_event_add_signal(event, NULL, SIGTERM, on_end, front);
    if (result >= 0) result = sd_event_add_signal(event, NULL, SIGINT, on_end, front);
    if (result >= 0) result = sd_event_add_signal(event, NULL, SIGHUP, on_reload, front);
    return result >= 0 ? 0 : error_set_errno(err, PA_INTERNAL, -result, "signals");
}

static void prepare_process(void) {
    sigset_t block;
    struct rlimit files;
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM); /* without the supervisor there is nothing to serve */
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    (void)prctl(PR_SET_DUMPABLE, 0); /* keys are in its memory */
    (void)sigemptyset(&block);
    (void)sigaddset(&block, SIGTERM);
    (void)sigaddset(&block, SIGINT);
    (void)sigaddset(&block, SIGHUP);
    (void)sigprocmask(SIG_BLOCK, &block, NULL); /* they come by the loop; threads inherit it */
    (void)signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max; /* one for each connection, and some a run */
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
}

static int own(const char *number) {
    int fd = atoi(number);
    if (fd >= 0) (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    return fd;
}

/* front SOCKET CONFIG HTTP_FD GRPC_FD STATS_FD READY_FD */
int net_front_main(int argc, char **argv) {
    struct front front = {.config_path = NULL};
    struct config config;
    struct error err = {0};
    if (argc != 7) {
        (void)fputs("polyagent-net front: is started by polyagent serve\n", stderr);
        return FAILURE;
    }
    prepare_process();
    front.config_path = argv[2][0] != 0 ? argv[2] : NULL;
    int http_fd = own(argv[3]), rpc_fd = own(argv[4]), stats_fd = own(argv[5]),
        ready_fd = own(argv[6]);
    bool set_up = config_load(&config, front.config_path, &err) == 0 &&
                  service_init(&front.service, NULL, &config, argv[1], stats_fd, true, &err) == 0;
    int result = set_up ? start(&front, http_fd, rpc_fd, &err) : -1;
    if (result == 0) {
        if (write(ready_fd, "r", 1) != 1) front.ending = true; /* nobody waits */
        fd_closep(&ready_fd);
        while (result >= 0 && !front.ending)
            result = sd_event_run(front.service.event, UINT64_MAX);
        if (result < 0) error_set_errno(&err, PA_INTERNAL, -result, "the event loop");
        drain(&front);
    }
    if (result < 0) (void)fprintf(stderr, "polyagent: serve: %s\n", err.text);
    http_server_free(front.http);
    rpc_server_free(front.rpc);
    mcp_free(front.mcp);
    tasks_free(front.tasks);
    if (set_up) service_fini(&front.service);
    return result < 0 ? FAILURE : 0;
}

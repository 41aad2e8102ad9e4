/* The role front: HTTP, MCP and gRPC in one process, which polyagent serve starts, and which it
 * ends. */
#include "net/net.h"

#include "net/broker.h"
#include "net/places.h"
#include "net/seal.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "server/http.h"
#include "server/rpc.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

enum { FAILURE = 125, LARGE_BYTES = 256 << 10 };

struct front {
    struct service service;
    const char *config_path; /* NULL: none */
    struct tasks *tasks;
    struct mcp *mcp;
    struct http_server *http;
    struct rpc_server *rpc;
    struct places places;
    struct layer_policy policy;
    pid_t broker;  /* 0: none */
    int broker_fd; /* owned; ends with it */
    bool ending, lost;
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

/* Without it nothing can be opened: whoever started us does so again. */
static int on_broker_end(sd_event_source *source, int fd, uint32_t events, void *context) {
    struct front *front = context;
    (void)source;
    (void)fd;
    (void)events;
    log_event(LOG_ERROR, "server", "who opens files for polyagent-net has died; it ends, too",
              {"pid", NULL, front->broker});
    front->ending = front->lost = true;
    return sd_event_source_set_enabled(source, SD_EVENT_OFF);
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
    if (result >= 0)
        result = sd_event_add_io(event, NULL, front->broker_fd, 0, on_broker_end, front);
    return result >= 0 ? 0 : error_set_errno(err, PA_INTERNAL, -result, "signals");
}

static void prepare_process(void) {
    sigset_t block;
    struct rlimit files;
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM); /* without the supervisor there is nothing to serve */
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

/* jansson's parser (2.14) writes on where its buffer ends when that cannot grow. */
static void *allocate(size_t size) {
    void *memory = malloc(size);
    if (memory == NULL && size > 0) abort();
    return memory;
}

static void guard_json(void) {
    json_malloc_t now;
    json_free_t release;
    json_get_alloc_funcs(&now, &release);
    if (now == malloc) json_set_alloc_funcs(allocate, free);
}

/* Folders, a process that opens files, and then no privileges any more: after this, strangers may
 * come. */
static int give_up_privileges(struct front *front, const struct config *config,
                              const char *socket_path, struct error *err) {
    const struct layer_policy *policy = &front->policy;
    const struct broker_job job = {
        .config_path = front->config_path, .socket_path = socket_path, .runs = front->places.runs};
    bool own_user =
        policy->enabled & LAYER_UID && seal_can_change_user() && places_can_be_given(FRONT_UID);
    struct front_seal seal = {.enabled = policy->enabled,
                              .own_user = own_user,
                              .folders = front->places.folders,
                              .folder_count = PLACES,
                              .config = config};
    uint32_t in_force = 0;
    char names[300];
    pid_t parent = getppid();
    if (places_make(&front->places, config, own_user ? FRONT_UID : geteuid(), err) != 0) return -1;
    front->broker_fd = broker_start(&job, policy->enabled, &front->broker, err);
    if (front->broker_fd < 0 || seal_front(&seal, &in_force, err) != 0) return -1;
    if (getppid() != parent)
        return error_set(err, PA_INTERNAL, "the supervisor has died meanwhile");
    layers_format(policy->required & LAYERS_OF_SERVICES & ~in_force, names, sizeof names);
    if (names[0] != 0)
        return error_set(err, PA_INTERNAL,
                         "polyagent-net: isolation layers that are required are not in force: %s",
                         names);
    layers_format(in_force, names, sizeof names);
    log_event(LOG_DEBUG, "server", "polyagent-net is sealed", {"layers", names, 0});
    return 0;
}

static void end_broker(struct front *front) {
    fd_closep(&front->broker_fd);
    if (front->broker > 0) /* it removes what is left of runs */
        (void)waitpid(front->broker, NULL, 0);
    else if (front->places.runs[0] != 0)
        (void)rmdir(front->places.runs);
    places_close(&front->places);
}

/* When it is started again, it is as with a configuration that is read again (server/service.c). */
static int check_tokens(const struct config *config, const char *callers, struct error *err) {
    if (strcmp(callers, "tokens") != 0 || config->tokens_file[0] != 0) return 0;
    return error_set(err, PA_INVALID_ARGUMENT,
                     "server.auth.tokens_file: is gone from the configuration that the server "
                     "began with; to open the server, restart it");
}

/* front SOCKET CONFIG HTTP_FD GRPC_FD STATS_FD READY_FD CALLERS. The last is "tokens" if callers
 * were asked for them when the server began, else "all". */
int net_front_main(int argc, char **argv) {
    struct front front = {.broker_fd = -1, .places = {.folders = {-1, -1}}};
    struct config config;
    struct error err = {0};
    if (argc != 8) {
        (void)fputs("polyagent-net front: is started by polyagent serve\n", stderr);
        return FAILURE;
    }
    /* Large pieces are mapped: they grow without copying, and are given back. */
    (void)mallopt(M_MMAP_THRESHOLD, LARGE_BYTES);
    prepare_process();
    guard_json();
    front.config_path = argv[2][0] != 0 ? argv[2] : NULL;
    int http_fd = own(argv[3]), rpc_fd = own(argv[4]), stats_fd = own(argv[5]),
        ready_fd = own(argv[6]);
    bool set_up = false;
    if (layer_policy_default(&front.policy, &err) == 0 &&
        config_load(&config, front.config_path, &err) == 0) {
        if (check_tokens(&config, argv[7], &err) == 0 &&
            give_up_privileges(&front, &config, argv[1], &err) == 0)
            set_up = service_init(&front.service, NULL, &config, argv[1], stats_fd,
                                  front.places.sessions, &err) == 0;
        else
            config_fini(&config);
    }
    int result = set_up ? start(&front, http_fd, rpc_fd, &err) : -1;
    if (result == 0) {
        if (write(ready_fd, "r", 1) != 1) front.ending = true; /* nobody waits */
        fd_closep(&ready_fd);
        while (result >= 0 && !front.ending)
            result = metrics_turn(&front.service.metrics, front.service.event, UINT64_MAX);
        if (result < 0) error_set_errno(&err, PA_INTERNAL, -result, "the event loop");
        if (!front.lost) drain(&front);
    }
    if (result < 0) (void)fprintf(stderr, "polyagent: serve: %s\n", err.text);
    http_server_free(front.http);
    rpc_server_free(front.rpc);
    mcp_free(front.mcp);
    tasks_free(front.tasks);
    if (set_up) service_fini(&front.service);
    end_broker(&front);
    return result < 0 || front.lost ? FAILURE : 0;
}

/* layers: those that a front has on this machine, a name each line; for polyagent doctor. */
int net_layers_main(int argc, char **argv) {
    struct layer_policy policy;
    struct config config;
    struct error err = {0};
    uint32_t in_force = 0;
    (void)argv;
    if (argc != 1 || layer_policy_default(&policy, &err) != 0 ||
        config_load(&config, NULL, &err) != 0) {
        (void)fprintf(stderr, "polyagent-net layers: %s\n", err.text);
        return FAILURE;
    }
    const struct front_seal seal = {.enabled = policy.enabled,
                                    .own_user = policy.enabled & LAYER_UID &&
                                                seal_can_change_user() &&
                                                places_can_be_given(FRONT_UID),
                                    .config = &config};
    int result = seal_front(&seal, &in_force, &err);
    config_fini(&config);
    if (result != 0) (void)fprintf(stderr, "polyagent-net layers: %s\n", err.text);
    for (unsigned i = 0; i < LAYER_COUNT && result == 0; i++)
        if (in_force >> i & 1) (void)puts(layer_name(i));
    return result == 0 && fflush(stdout) == 0 ? 0 : FAILURE;
}

/* `polyagent serve`: a supervisor at a unix socket, with Python warm, and in front of it HTTP, MCP
 * and gRPC in a process of their own. */
#include "cli/cli.h"

#include "base/clock.h"
#include "base/log.h"
#include "cli/front.h"
#include "cli/host.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>

static const char help[] =
    "usage: polyagent serve [OPTION]...\n\n"
    "Serves the tools: gRPC, HTTP and MCP, and this user's other polyagent commands, which find it "
    "by\n"
    "its unix socket. Interpreters are kept warm.\n\n"
    "  --config FILE        settings; see config/polyagent.yaml\n"
    "  --print-config       shows the effective settings, and ends\n"
    "  --http ADDR:PORT     default 127.0.0.1:8000; port 0: any free one; off: not served\n"
    "  --grpc ADDR:PORT     default 127.0.0.1:50051; likewise\n"
    "  --socket PATH        default: $POLYAGENT_SOCKET, $XDG_RUNTIME_DIR/polyagent.sock, or for\n"
    "                       root /run/polyagent/polyagent.sock\n"
    "  --max-running N      runs at once, default 64\n"
    "  --max-queued N       runs that wait, default 1024; more are refused\n"
    "  --spare N            workers parked ahead of need for each interpreter, default 2\n"
    "  --memory SIZE        of all workers together, by cgroup; default: three quarters\n"
    "                       of the machine's\n"
    "  --drain SECONDS      how long to wait for runs at the end, default 30\n\n"
    "Options win over POLYAGENT_... variables, these over the file. SIGHUP reads the file again;\n"
    "places to listen at and TLS stay as they are. SIGTERM and SIGINT end it when the runs under\n"
    "way have ended.\n\n"
    "Examples:\n"
    "  polyagent serve & polyagent python -c 'print(2 + 2)'\n"
    "  curl -s 127.0.0.1:8000/tools/execute -d '{\"tool\": \"python_wasi_runner\",\n"
    "    \"parameters\": {\"code\": \"print(2 + 2)\"}}'\n"
    "  polyagent serve --config config/polyagent.yaml --http off --memory 8G\n";

struct serve {
    struct config config;
    const char *config_path; /* NULL: none */
    struct host host;
    struct front *front; /* NULL: neither HTTP nor gRPC */
    bool ending;
};

static int on_end(sd_event_source *source, const struct signalfd_siginfo *info, void *context) {
    struct serve *serve = context;
    (void)source;
    (void)info;
    serve->ending = true;
    return 0;
}

static int on_reload(sd_event_source *source, const struct signalfd_siginfo *info, void *context) {
    struct serve *serve = context;
    struct config config;
    struct error err = {0};
    (void)source;
    (void)info;
    (void)sd_notify(0, "RELOADING=1");
    if (config_load(&config, serve->config_path, &err) == 0) {
        (void)config_apply_log(&config, &err);
        config_fini(&config);
        if (serve->front != NULL) front_reload(serve->front);
    } else {
        log_event(LOG_ERROR, "server", "configuration not taken: all stays as it was",
                  {"error", err.text, 0});
    }
    (void)sd_notify(0, "READY=1");
    return 0;
}

/* Turns the loop until `over`, or that time. */
static int run_until(struct serve *serve, bool (*over)(const struct serve *), uint64_t seconds) {
    uint64_t until_ns = clock_now_ns() + seconds * NS_PER_SECOND;
    int result = 0;
    while ((result >= 0 || result == -EINTR) && !over(serve) && clock_now_ns() < until_ns)
        result = sd_event_run(serve->host.event, 1000000);
    return result == -EINTR ? 0 : result;
}

static bool front_has_spoken(const struct serve *serve) {
    return front_is_ready(serve->front) || front_is_over(serve->front);
}

static bool front_has_ended(const struct serve *serve) {
    return front_is_over(serve->front);
}

enum { START_SECONDS = 60, END_SECONDS = 10 };

static int start_front(struct serve *serve, const char *path) {
    struct error err = {0};
    if (serve->config.http[0] == 0 && serve->config.grpc[0] == 0) return 0;
    serve->front = front_start(serve->host.event, &serve->config, serve->config_path, path,
                               serve->host.supervisor, &err);
    if (serve->front == NULL) return cli_fail("serve: %s", err.text);
    (void)run_until(serve, front_has_spoken, START_SECONDS);
    if (front_is_ready(serve->front)) return 0;
    return CLI_EXIT_FAILURE; /* it has told why */
}

static void tell(const struct serve *serve, const char *path) {
    const char *http = serve->front != NULL ? front_http(serve->front) : "";
    const char *grpc = serve->front != NULL ? front_grpc(serve->front) : "";
    bool secure = serve->config.certificate[0] != 0;
    if (http[0] != 0)
        (void)fprintf(stderr, "polyagent: http at http%s://%s\n", secure ? "s" : "", http);
    if (grpc[0] != 0) (void)fprintf(stderr, "polyagent: grpc at %s\n", grpc);
    (void)fprintf(stderr, "polyagent: listening at %s\n", path);
    (void)sd_notify(0, "READY=1");
}

static int loop(struct serve *serve) {
    int result = sd_event_add_signal(serve->host.event, NULL, SIGTERM, on_end, serve);
    if (result >= 0) result = sd_event_add_signal(serve->host.event, NULL, SIGINT, on_end, serve);
    if (result >= 0)
        result = sd_event_add_signal(serve->host.event, NULL, SIGHUP, on_reload, serve);
    while (result >= 0 && !serve->ending) {
        result = sd_event_run(serve->host.event, UINT64_MAX);
        if (result == -EINTR) result = 0;
        if (serve->front != NULL && front_is_over(serve->front)) {
            return cli_fail("serve: polyagent-net cannot be kept running");
        }
    }
    return result >= 0 ? 0 : cli_fail("serve: %s", strerror(-result));
}

static int serve(struct serve *serve, const char *path) {
    struct error err = {0};
    int result = 0;
    if (config_apply_log(&serve->config, &err) != 0 ||
        host_start(&serve->host, &serve->config, path, &err) != 0) {
        return cli_fail("serve: %s", err.text);
    }
    result = start_front(serve, path);
    if (result == 0) {
        if (serve->config.compile_ahead) host_compile_ahead(&serve->host);
        tell(serve, path);
        result = loop(serve);
    }
    (void)sd_notify(0, "STOPPING=1");
    if (serve->front != NULL) { /* its runs need us */
        front_stop(serve->front);
        (void)run_until(serve, front_has_ended, serve->config.drain_seconds + END_SECONDS);
        front_free(serve->front);
    }
    host_stop(&serve->host);
    return result;
}

/* An option is the variable of a setting: so the other process has it, too. */
static int set(const char *variable, const char *value) {
    return setenv(variable, strcmp(value, "off") == 0 ? "" : value, 1) == 0
               ? 0
               : cli_fail("serve: out of memory");
}

static int set_number(const char *option, const char *variable, const char *value, uint64_t low,
                      uint64_t high) {
    uint64_t number;
    int result = cli_number(option, value, low, high, &number);
    return result == 0 ? set(variable, value) : result;
}

static int set_socket(const char *value) {
    char path[SOCKET_PATH_BYTES];
    int result = cli_socket_path(value, path);
    return result == 0 ? set("POLYAGENT_SERVER_SOCKET", value) : result;
}

static int set_size(const char *value) {
    char number[24];
    uint64_t bytes;
    int result = cli_size("--memory", value, &bytes);
    (void)snprintf(number, sizeof number, "%llu", (unsigned long long)bytes);
    return result == 0 ? set("POLYAGENT_QUEUE_MEMORY_BYTES", number) : result;
}

static int run(struct serve *state, bool print) {
    char path[SOCKET_PATH_BYTES] = "";
    struct error err = {0};
    if (config_load(&state->config, state->config_path, &err) != 0) {
        return cli_fail("serve: %s", err.text);
    }
    int result = 0;
    if (print) {
        if (config_print(&state->config, stdout) != 0) result = cli_fail("serve: cannot write");
    } else {
        if (state->config.socket[0] != 0) {
            result = cli_socket_path(state->config.socket, path);
        } else if (socket_default_path(path, &err) != 0) {
            result = cli_fail("serve: %s", err.text);
        }
        cli_leave_signals_to_loop();
        if (result == 0) result = serve(state, path);
    }
    config_fini(&state->config);
    return result;
}

int cli_serve_main(int argc, char **argv) {
    static const struct option table[] = {{"config", required_argument, NULL, 'c'},
                                          {"print-config", no_argument, NULL, 'P'},
                                          {"http", required_argument, NULL, 'H'},
                                          {"grpc", required_argument, NULL, 'G'},
                                          {"socket", required_argument, NULL, 'S'},
                                          {"max-running", required_argument, NULL, 'r'},
                                          {"max-queued", required_argument, NULL, 'q'},
                                          {"spare", required_argument, NULL, 's'},
                                          {"memory", required_argument, NULL, 'm'},
                                          {"drain", required_argument, NULL, 'D'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    struct serve state = {.config_path = NULL};
    bool print = false;
    int result = 0, option;
    opterr = 0;
    while (result == 0 && (option = getopt_long(argc, argv, "+h", table, NULL)) != -1) {
        switch (option) {
        case 'h': (void)fputs(help, stdout); return 0;
        case 'c': state.config_path = optarg; break;
        case 'P': print = true; break;
        case 'H': result = set("POLYAGENT_SERVER_HTTP", optarg); break;
        case 'G': result = set("POLYAGENT_SERVER_GRPC", optarg); break;
        case 'S': result = set_socket(optarg); break;
        case 'r':
            result = set_number("--max-running", "POLYAGENT_QUEUE_MAX_RUNNING", optarg, 1, 100000);
            break;
        case 'q':
            result = set_number("--max-queued", "POLYAGENT_QUEUE_MAX_QUEUED", optarg, 1, 1000000);
            break;
        case 's':
            result = set_number("--spare", "POLYAGENT_QUEUE_SPARE_WORKERS", optarg, 0, 1000);
            break;
        case 'm': result = set_size(optarg); break;
        case 'D':
            result = set_number("--drain", "POLYAGENT_SERVER_DRAIN_SECONDS", optarg, 0, 86400);
            break;
        default: result = cli_bad_option(argv, "polyagent serve", table);
        }
    }
    if (result == 0 && optind < argc) result = cli_fail("serve: what is '%s'?", argv[optind]);
    return result == 0 ? run(&state, print) : result;
}

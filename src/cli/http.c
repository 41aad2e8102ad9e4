/* `polyagent http`: the HTTP interface, in front of a running `polyagent serve`. */
#include "cli/cli.h"

#include "server/http.h"
#include "supervisor/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>

static const char help[] =
    "usage: polyagent http [OPTION]...\n\n"
    "Serves the tools over HTTP, on loopback, from a running polyagent serve.\n\n"
    "  --listen ADDR:PORT   default 127.0.0.1:8000; port 0: any free one\n"
    "  --socket PATH        of polyagent serve; default as there\n"
    "  --drain SECONDS      how long to wait for runs at the end, default 30\n\n"
    "GET /health, /ready, /metrics, /tools/list; POST /tools/execute\n"
    "SIGTERM and SIGINT end it when the runs under way have ended, or are cancelled. Modules "
    "may\n"
    "be named as files only beneath /opt/wasm-interpreters.\n\n"
    "Examples:\n"
    "  polyagent serve & polyagent http &\n"
    "  curl -s 127.0.0.1:8000/tools/execute -d '{\"tool\": \"python_wasi_runner\",\n"
    "    \"parameters\": {\"code\": \"print(2 + 2)\"}}'\n";

static const char *const module_paths[] = {"/opt/wasm-interpreters", NULL};

/* Loopback only: there is no authentication yet. */
static int parse_address(const char *text, struct sockaddr_in *out) {
    char host[INET_ADDRSTRLEN];
    const char *colon = strrchr(text, ':');
    size_t length = colon != NULL ? (size_t)(colon - text) : 0;
    uint64_t port = 0;
    *out = (struct sockaddr_in){.sin_family = AF_INET};
    if (length == 0 || length >= sizeof host) {
        return cli_fail("--listen: '%s' is not ADDR:PORT, such as 127.0.0.1:8000", text);
    }
    memcpy(host, text, length);
    host[length] = 0;
    if (inet_pton(AF_INET, host, &out->sin_addr) != 1) {
        return cli_fail("--listen: '%s' is no IPv4 address", host);
    }
    if (ntohl(out->sin_addr.s_addr) >> 24 != 127) {
        return cli_fail(
            "--listen: %s is not on loopback, and there is no authentication yet; put a "
            "proxy with one in front",
            host);
    }
    int result = cli_number("--listen", colon + 1, 0, 65535, &port);
    out->sin_port = htons((uint16_t)port);
    return result;
}

struct front {
    struct http_server *server;
    bool ending;
};

static int on_end(sd_event_source *source, const struct signalfd_siginfo *info, void *context) {
    struct front *front = context;
    (void)source;
    (void)info;
    http_server_stop_listening(front->server);
    front->ending = true;
    return 0;
}

/* The runs under way come to their end. */
static void drain(sd_event *event, struct http_server *server, uint64_t seconds) {
    for (uint64_t i = 0; i < seconds * 10 && http_server_in_flight(server) > 0; i++) {
        if (sd_event_run(event, 100000) < 0) return;
    }
    for (int i = 0; i < 5; i++) /* and their answers get out */
        (void)sd_event_run(event, 20000);
}

static int serve(const struct http_config *config, uint64_t drain_seconds) {
    struct error err = {0};
    sd_event *event = NULL;
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max; /* a descriptor for each connection, and some a run */
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    if (sd_event_new(&event) < 0) return cli_fail("http: out of memory");
    struct front front = {.server = http_server_new(event, config, &err)};
    int code = front.server != NULL ? 0 : cli_fail("http: %s", err.text);
    if (code == 0) {
        int result = sd_event_add_signal(event, NULL, SIGTERM, on_end, &front);
        if (result >= 0) result = sd_event_add_signal(event, NULL, SIGINT, on_end, &front);
        (void)fprintf(stderr, "polyagent: listening at http://%s:%u\n",
                      inet_ntoa(config->address.sin_addr), http_server_port(front.server));
        (void)sd_notify(0, "READY=1");
        while (result >= 0 && !front.ending)
            result = sd_event_run(event, UINT64_MAX);
        if (result < 0) code = cli_fail("http: %s", strerror(-result));
        drain(event, front.server, drain_seconds);
    }
    http_server_free(front.server);
    sd_event_unref(event);
    return code;
}

int cli_http_main(int argc, char **argv) {
    static const struct option table[] = {{"listen", required_argument, NULL, 'l'},
                                          {"socket", required_argument, NULL, 'S'},
                                          {"drain", required_argument, NULL, 'D'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    struct cli_run defaults;
    struct http_config config = {.rules.module_paths = module_paths};
    char path[SOCKET_PATH_BYTES] = "";
    struct error err = {0};
    uint64_t drain_seconds = 30;
    int option, result = parse_address("127.0.0.1:8000", &config.address);
    opterr = 0;
    while (result == 0 && (option = getopt_long(argc, argv, "+h", table, NULL)) != -1) {
        switch (option) {
        case 'h': (void)fputs(help, stdout); return 0;
        case 'D': result = cli_number("--drain", optarg, 0, 86400, &drain_seconds); break;
        case 'l': result = parse_address(optarg, &config.address); break;
        case 'S': result = cli_socket_path(optarg, path); break;
        default: result = cli_bad_option(argv, "polyagent http");
        }
    }
    if (result == 0 && optind < argc) result = cli_fail("http: what is '%s'?", argv[optind]);
    if (result == 0 && path[0] == 0 && socket_default_path(path, &err) != 0) {
        result = cli_fail("http: %s", err.text);
    }
    if (result == 0) result = cli_run_init(&defaults);
    if (result != 0) return result;
    config.rules.limits = defaults.job.limits;
    config.socket_path = path;
    cli_leave_signals_to_loop();
    result = serve(&config, drain_seconds);
    cli_run_fini(&defaults);
    return result;
}

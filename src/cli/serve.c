/* `polyagent serve`: a supervisor at a unix socket, with Python warm. */
#include "cli/cli.h"

#include "base/buffer.h"
#include "tools/python.h"
#include "base/cleanup.h"
#include "supervisor/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>

static const char help[] =
    "usage: polyagent serve [OPTION]...\n\n"
    "Keeps interpreters warm and runs jobs of this user's other polyagent commands, which find it "
    "by\n"
    "its socket: polyagent python -c then takes a few milliseconds as a whole process.\n\n"
    "  --socket PATH        default: $POLYAGENT_SOCKET, $XDG_RUNTIME_DIR/polyagent.sock, or for\n"
    "                       root /run/polyagent/polyagent.sock\n"
    "  --max-running N      jobs at once, default 64\n"
    "  --max-queued N       jobs that wait, default 1024; more are refused\n"
    "  --spare N            workers parked ahead of need for each interpreter, default 2\n"
    "  --memory SIZE        of all workers together, by cgroup; default: no limit\n\n"
    "SIGTERM and SIGINT end it.\n\n"
    "Examples:\n"
    "  polyagent serve & polyagent python -c 'print(2 + 2)'\n"
    "  polyagent serve --socket /tmp/mine.sock --spare 8 --memory 8G\n";

struct serve {
    struct cache cache;
    struct supervisor *supervisor;
    struct socket_server *server;
    sd_event *event;
    bool warmed;
    char failure[512];
};

static void on_warm(void *context, const struct supervisor_result *result) {
    struct serve *serve = context;
    serve->warmed = true;
    if (result->report->status != PA_OK) {
        (void)snprintf(serve->failure, sizeof serve->failure, "%.500s", result->report->message);
    }
}

/* The first request is to be as fast as the others. */
static int warm_python(struct serve *serve) {
    struct buffer data = {0}, rehearsal = {0};
    struct packet packet;
    struct pa_module module;
    struct error err = {0};
    char wasm[PATH_MAX];
    struct pa_job job = {.argv = python_argv, .argc = PYTHON_WARM_ARGC};
    if (!python_find(NULL, wasm, sizeof wasm)) return 0; /* nothing to keep warm */
    pa_limits_default(&job.limits);
    const struct python_program nothing = {.name = "<code>", .source = "", .argv0 = "-c"};
    int result = python_job(&data, &nothing, &err);
    if (result == 0) result = python_rehearsal(&rehearsal, &err);
    job.job_data = data.data;
    job.job_bytes = data.size;
    job.rehearsal_data = rehearsal.data;
    job.rehearsal_bytes = rehearsal.size;
    if (result == 0 &&
        module_open_file(&module, &serve->cache, wasm, job.limits.max_module_bytes, &err) == 0) {
        result = packet_pack(&packet, &job, &err) == 0 &&
                         supervisor_submit(serve->supervisor, &packet, &module, on_warm, serve,
                                           NULL, &err) == 0
                     ? 0
                     : 1;
        module_fini(&module);
    } else {
        result = 1;
    }
    buffer_fini(&data);
    buffer_fini(&rehearsal);
    while (result == 0 && !serve->warmed) {
        int turned = sd_event_run(serve->event, UINT64_MAX);
        if (turned < 0 && turned != -EINTR) result = 1;
    }
    if (result == 0 && serve->failure[0] == 0) return 0;
    return cli_fail("serve: Python cannot start: %s", err.text[0] != 0 ? err.text : serve->failure);
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *context) {
    (void)info;
    (void)context;
    return sd_event_exit(sd_event_source_get_event(source), 0);
}

static int serve(struct supervisor_config config, const char *path) {
    struct serve serve = {.cache = {.dir_fd = -1}};
    struct error err = {0};
    char helper[PATH_MAX];
    int result = sd_event_new(&serve.event) < 0 ? cli_fail("serve: out of memory") : 0;
    config.cache = &serve.cache;
    config.helper = helper;
    if (result == 0 && (supervisor_find_helper(NULL, helper, sizeof helper, &err) != 0 ||
                        cache_open(&serve.cache, NULL, &err) != 0 ||
                        layer_policy_default(&config.policy, &err) != 0 ||
                        (serve.supervisor = supervisor_new(serve.event, &config, &err)) == NULL)) {
        result = cli_fail("serve: %s", err.text);
    }
    if (result == 0) result = warm_python(&serve);
    if (result == 0) {
        serve.server = socket_server_new(serve.event, serve.supervisor, &serve.cache, path, &err);
        if (serve.server == NULL) result = cli_fail("serve: %s", err.text);
    }
    if (result == 0) {
        int added = sd_event_add_signal(serve.event, NULL, SIGTERM, on_signal, NULL);
        if (added >= 0) added = sd_event_add_signal(serve.event, NULL, SIGINT, on_signal, NULL);
        (void)fprintf(stderr, "polyagent: listening at %s\n", path);
        (void)sd_notify(0, "READY=1");
        if (added >= 0) added = sd_event_loop(serve.event);
        if (added < 0) result = cli_fail("serve: %s", strerror(-added));
    }
    if (serve.server != NULL) socket_server_stop_listening(serve.server);
    /* Jobs first: their clients are told, while there is somebody to tell them. */
    supervisor_free(serve.supervisor);
    socket_server_free(serve.server);
    sd_event_unref(serve.event);
    cache_close(&serve.cache);
    return result;
}

int cli_serve_main(int argc, char **argv) {
    static const struct option table[] = {{"socket", required_argument, NULL, 'S'},
                                          {"max-running", required_argument, NULL, 'r'},
                                          {"max-queued", required_argument, NULL, 'q'},
                                          {"spare", required_argument, NULL, 's'},
                                          {"memory", required_argument, NULL, 'm'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    struct supervisor_config config = {.compile_timeout_ms = 180000,
                                       .spare_workers = 2,
                                       .keep_warm = true,
                                       .own_groups = true,
                                       .may_move = true};
    char path[SOCKET_PATH_BYTES] = "";
    struct error err = {0};
    uint64_t value = 0;
    int result = 0, option;
    opterr = 0;
    while (result == 0 && (option = getopt_long(argc, argv, "+h", table, NULL)) != -1) {
        switch (option) {
        case 'h': (void)fputs(help, stdout); return 0;
        case 'S': result = cli_socket_path(optarg, path); break;
        case 'r':
            result = cli_number("--max-running", optarg, 1, 100000, &value);
            config.max_running = (uint32_t)value;
            break;
        case 'q':
            result = cli_number("--max-queued", optarg, 1, 1000000, &value);
            config.max_queued = (uint32_t)value;
            break;
        case 's':
            result = cli_number("--spare", optarg, 0, 1000, &value);
            config.spare_workers = (uint32_t)value;
            break;
        case 'm': result = cli_size("--memory", optarg, &config.memory_bytes); break;
        default: result = cli_bad_option(argv, "polyagent serve");
        }
    }
    if (result == 0 && optind < argc) result = cli_fail("serve: what is '%s'?", argv[optind]);
    if (result == 0 && path[0] == 0 && socket_default_path(path, &err) != 0) {
        result = cli_fail("serve: %s", err.text);
    }
    if (result != 0) return result;
    cli_leave_signals_to_loop();
    return serve(config, path);
}

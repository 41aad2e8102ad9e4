/* Running a job for a subcommand: by a server when there is one, else in processes of our own. */
#include "cli/cli.h"
#include "cli/progress.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/json_text.h"
#include "cli/screen.h"
#include "supervisor/socket.h"
#include "tools/result.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int cli_exit_code(const struct pa_result *result) {
    switch (result->status) {
    case PA_OK: return result->exit_code;
    case PA_TIMEOUT: return CLI_EXIT_TIMEOUT;
    case PA_MEMORY_LIMIT: return CLI_EXIT_MEMORY;
    case PA_FUEL_EXHAUSTED: return CLI_EXIT_FUEL;
    case PA_OUTPUT_LIMIT: return CLI_EXIT_OUTPUT;
    case PA_TRAP: return CLI_EXIT_TRAP;
    case PA_MODULE_TOO_LARGE:
    case PA_INVALID_MODULE: return CLI_EXIT_REFUSED;
    default: return CLI_EXIT_FAILURE;
    }
}

void cli_message(const char *message, char *out, size_t room) {
    static const char *const options[][2] = {
        {"execution_timeout_ms", "--timeout"},    {"cpu_time_ms", "--cpu-time"},
        {"memory_limit_bytes", "--memory"},       {"max_fuel", "--fuel"},
        {"output_limit_bytes", "--output-limit"}, {"max_module_bytes", "--max-module"}};
    const char *at = strstr(message, "raise ");
    (void)snprintf(out, room, "%s", message);
    if (at == NULL) return;
    at += strlen("raise ");
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        size_t length = strlen(options[i][0]);
        if (strncmp(at, options[i][0], length) == 0)
            (void)snprintf(out, room, "%.*s%s%s", (int)(at - message), message, options[i][1],
                           at + length);
    }
}

static void print_stats_json(const struct pa_result *r) {
    json_t *all = result_json(r);
    char *text = all != NULL ? json_text(all, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;
    (void)fprintf(stderr, "%s\n", text != NULL ? text : "{}");
    free(text);
    json_decref(all);
}

static void print_stats(const struct pa_result *r) {
    const struct pa_usage *u = &r->usage;
    (void)fprintf(stderr,
                  "status %s, exit code %d\n"
                  "wall %.2f ms (%.2f ms until the guest started), cpu %.2f ms\n"
                  "memory %.1f MiB, stdout %llu bytes, stderr %llu bytes, fuel %llu, cache %s\n",
                  pa_status_name(r->status), r->exit_code, u->wall_ms, u->start_ms, u->cpu_ms,
                  (double)u->peak_memory_bytes / 1048576, (unsigned long long)u->stdout_bytes,
                  (unsigned long long)u->stderr_bytes, (unsigned long long)u->fuel,
                  u->cache_hit ? "hit" : "miss");
}

/* Reads our stdin into `bytes`. */
static int read_module(struct buffer *bytes, const struct pa_limits *limits, struct error *err) {
    int result = buffer_read_fd(bytes, STDIN_FILENO, limits->max_module_bytes);
    if (result == -EFBIG) {
        return error_set(err, PA_MODULE_TOO_LARGE, "WASM module too large: raise max_module_bytes");
    }
    return result == 0 ? 0
                       : error_set_errno(err, PA_INTERNAL, -result, "read the module from stdin");
}

/* A file that the worker is to fill: made before the run, as the worker may make none. */
static int open_output(const char *option, const char *path, int *fd) {
    if (path == NULL) return 0;
    *fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    return *fd >= 0 ? 0 : cli_fail("%s: cannot write %s: %s", option, path, strerror(errno));
}

/* What stayed empty goes. */
static void close_output(const char *path, int fd) {
    if (path == NULL || fd <= 0) return;
    if (lseek(fd, 0, SEEK_END) == 0) (void)unlink(path);
    (void)close(fd);
}

static int redirect_stdin(struct cli_run *run, const char *module_path) {
    if (run->stdin_path != NULL) {
        run->job.stdin_fd = open(run->stdin_path, O_RDONLY | O_CLOEXEC);
        if (run->job.stdin_fd < 0) {
            return cli_fail("--stdin: cannot read %s: %s", run->stdin_path, strerror(errno));
        }
    } else if (strcmp(module_path, "-") == 0) { /* the module was there */
        run->job.use_stdin_fd = false;
        run->job.stdin_fd = -1;
    } else if (run->job.use_stdin_fd && isatty(STDIN_FILENO)) {
        /* For reading only: the terminal's own descriptor takes output, too. */
        int fd = open("/proc/self/fd/0", O_RDONLY | O_NOCTTY | O_CLOEXEC);
        if (fd >= 0) run->job.stdin_fd = fd;
    }
    return 0;
}

/* By the server of this user, if there is one. 1: there is none. */
static int run_by_server(const struct cli_work *work, struct socket_reply *reply,
                         struct error *err) {
    char path[SOCKET_PATH_BYTES];
    struct packet packet;
    struct pa_job job = *work->job;
    const struct cli_module *m = &work->module;
    if (work->local || socket_default_path(path, err) != 0 || access(path, F_OK) != 0) return 1;
    job.argc = socket_job_argc(&job, work->warm_argc);
    /* The log of a server is its own; here the lines come as --trace writes them. */
    if (job.trace_fd <= 0 && log_enabled(LOG_TRACE, "wasi")) job.trace_fd = STDERR_FILENO;
    if (packet_pack(&packet, &job, err) != 0) return -1;
    packet.header.flags |= PACKET_PATIENT;
    packet.fds[PACKET_MODULE] = socket_module_fd(m->path, m->bytes, m->size);
    int result = packet.fds[PACKET_MODULE] >= 0
                     ? socket_call(path, &packet, reply, err)
                     : 1; /* what is wrong with it is told by the way without a server */
    packet_fini(&packet);
    return result;
}

/* In processes of our own. NULL with `error`, or out of memory. */
static struct pa_result *run_locally(const struct cli_work *work, struct pa_error *error) {
    const struct cli_module *m = &work->module;
    const struct pa_limits *limits = &work->job->limits;
    const bool interprets = work->job->job_data != NULL;
    const struct pa_options options = {.compile_cpu_ms = interprets ? CLI_COMPILE_CPU_MS : 0};
    struct pa_sandbox *sandbox = pa_sandbox_new(&options, error);
    struct pa_module *module =
        sandbox == NULL   ? NULL
        : m->path != NULL ? pa_module_open(sandbox, m->path, limits, error)
                          : pa_module_from_bytes(sandbox, m->bytes, m->size, limits, error);
    struct pa_result *result = module != NULL ? pa_run(sandbox, module, work->job) : NULL;
    pa_module_free(module);
    pa_sandbox_free(sandbox);
    return result;
}

int cli_perform(const struct cli_work *work,
                int (*use)(void *context, const struct pa_result *result), void *context) {
    struct pa_error error = {.status = PA_INTERNAL, .message = "out of memory"};
    struct error err = {.code = PA_INTERNAL, .text = "out of memory"};
    struct socket_reply *reply = malloc(sizeof *reply);
    struct progress progress;
    progress_begin(&progress, work->module.path, work->job);
    int served = reply != NULL ? run_by_server(work, reply, &err) : -1, code;
    if (served <= 0) progress_end(&progress);
    if (served == 0) {
        const struct pa_result result = result_of_reply(reply);
        code = use(context, &result);
    } else if (served < 0) {
        const struct pa_result refused = {.status = err.code, .message = err.text};
        code = use(context, &refused);
    } else {
        struct pa_result *result = run_locally(work, &error);
        progress_end(&progress);
        const struct pa_result refused = {.status = error.status, .message = error.message};
        code = use(context, result != NULL ? result : &refused);
        pa_result_free(result);
    }
    free(reply);
    return code;
}

struct shown {
    const struct cli_run *run;
    struct screen *screen;
};

/* For cli_perform(): with the command line's options for a run. */
static int report(void *context, const struct pa_result *result) {
    const struct shown *shown = context;
    const struct cli_run *run = shown->run;
    screen_end(shown->screen); /* first what the program said */
    if (result->message != NULL) {
        char message[sizeof((struct pa_error *)NULL)->message];
        cli_message(result->message, message, sizeof message);
        (void)cli_fail("%s%s", result->status == PA_TRAP ? "Trap: " : "", message);
        if (result->backtrace != NULL) (void)fputs(result->backtrace, stderr);
    }
    if (run->stats == CLI_STATS_JSON) print_stats_json(result);
    if (run->stats == CLI_STATS_TEXT) print_stats(result);
    return cli_exit_code(result);
}

/* With what the program writes to a terminal made fit for it. */
static int perform_shown(struct cli_run *run, const struct cli_work *work) {
    struct screen screen = {.relays = {NULL, NULL}};
    struct error err = {0};
    int fds[2] = {run->job.stdout_fd, run->job.stderr_fd};
    if (!run->raw && screen_start(&screen, fds, &err) != 0) return cli_fail("%s", err.text);
    run->job.stdout_fd = fds[0];
    run->job.stderr_fd = fds[1];
    if (run->job.trace_fd == STDERR_FILENO) run->job.trace_fd = fds[1];
    struct shown shown = {.run = run, .screen = &screen};
    return cli_perform(work, report, &shown);
}

static int perform(struct cli_run *run, const char *module_path) {
    struct buffer bytes = {0};
    struct error err = {0};
    struct cli_work work = {.job = &run->job,
                            .warm_argc = run->warm_argc,
                            .local = run->local,
                            .module.path = module_path};
    if (strcmp(module_path, "-") == 0) {
        if (read_module(&bytes, &run->job.limits, &err) != 0) {
            const struct pa_result refused = {.status = err.code, .message = err.text};
            struct screen none = {.relays = {NULL, NULL}};
            struct shown shown = {.run = run, .screen = &none};
            buffer_fini(&bytes);
            return report(&shown, &refused);
        }
        work.module = (struct cli_module){.bytes = bytes.data, .size = bytes.size};
    }
    int code = perform_shown(run, &work);
    buffer_fini(&bytes);
    return code;
}

int cli_execute(struct cli_run *run, const char *module_path) {
    int code = redirect_stdin(run, module_path);
    if (code == 0) code = open_output("--coredump", run->coredump_path, &run->job.coredump_fd);
    if (code == 0) code = open_output("--profile", run->profile_path, &run->job.profile_fd);
    if (code == 0) code = perform(run, module_path);
    if (run->job.stdin_fd > STDIN_FILENO) (void)close(run->job.stdin_fd);
    close_output(run->coredump_path, run->job.coredump_fd);
    close_output(run->profile_path, run->job.profile_fd);
    return code;
}

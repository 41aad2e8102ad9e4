#include "cli/cli.h"

#include "base/buffer.h"
#include "base/clock.h"
#include "supervisor/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int cli_fail(const char *format, ...) {
    va_list args;
    va_start(args, format);
    (void)fputs("polyagent: ", stderr);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    va_end(args);
    return CLI_EXIT_FAILURE;
}

int cli_bad_option(char **argv, const char *command) {
    const char *option = argv[optind - 1];
    return cli_fail("%s: unknown option, or its value is missing; see %s --help", option, command);
}

struct suffix {
    const char *text;
    uint64_t factor;
};

static const struct suffix byte_suffixes[] = {{"", 1},          {"B", 1},         {"K", 1 << 10},
                                              {"M", 1 << 20},   {"G", 1 << 30},   {"KiB", 1 << 10},
                                              {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"k", 1 << 10},
                                              {"m", 1 << 20},   {"g", 1 << 30},   {NULL, 0}};
static const struct suffix time_suffixes[] = {{"", 1000},   {"ms", 1},      {"s", 1000},
                                              {"m", 60000}, {"h", 3600000}, {NULL, 0}};
static const struct suffix no_suffixes[] = {{"", 1}, {NULL, 0}};

/* A number with a unit; decimals are fine ("1.5s"). False if it is no such thing. */
static bool parse_quantity(const char *text, const struct suffix *suffixes, uint64_t *out) {
    char *end;
    if (text[0] < '0' || text[0] > '9') return false;
    errno = 0;
    double value = strtod(text, &end);
    for (const struct suffix *s = suffixes; s->text != NULL; s++) {
        if (strcmp(end, s->text) != 0) continue;
        double result = value * (double)s->factor;
        if (errno != 0 || !(result < 1e18)) return false;
        *out = (uint64_t)result;
        return true;
    }
    return false;
}

static int parse_into(const char *what, const char *text, const struct suffix *suffixes,
                      uint64_t low, uint64_t high, const char *wanted, uint64_t *out) {
    uint64_t value;
    if (!parse_quantity(text, suffixes, &value) || value < low || value > high) {
        return cli_fail("%s: '%s' is not %s", what, text, wanted);
    }
    *out = value;
    return 0;
}

static const char wanted_bytes[] = "a size such as 65536, 64K, 256M or 1G";

int cli_number(const char *what, const char *text, uint64_t low, uint64_t high, uint64_t *out) {
    char wanted[64];
    (void)snprintf(wanted, sizeof wanted, "a number of %llu to %llu", (unsigned long long)low,
                   (unsigned long long)high);
    return parse_into(what, text, no_suffixes, low, high, wanted, out);
}

int cli_size(const char *what, const char *text, uint64_t *out) {
    return parse_into(what, text, byte_suffixes, 1, INT64_MAX, wanted_bytes, out);
}

static const char wanted_memory[] = "a size of 64K to 4G, such as 256M";
static const char wanted_time[] = "a duration such as 500ms, 30s or 2m (0 = no limit)";

/* Limits by their name in the configuration, POLYAGENT_WASI_<NAME> in the environment. */
static int limits_from_environment(struct pa_limits *limits) {
    const struct {
        const char *name;
        uint64_t *value;
        uint64_t low, high;
    } keys[] = {
        {"POLYAGENT_WASI_MEMORY_LIMIT_BYTES", &limits->memory_limit_bytes, 65536,
         UINT64_C(4) << 30},
        {"POLYAGENT_WASI_MAX_FUEL", &limits->max_fuel, 0, INT64_MAX},
        {"POLYAGENT_WASI_EXECUTION_TIMEOUT_MS", &limits->execution_timeout_ms, 0, INT64_MAX},
        {"POLYAGENT_WASI_CPU_TIME_MS", &limits->cpu_time_ms, 0, INT64_MAX},
        {"POLYAGENT_WASI_MAX_MODULE_BYTES", &limits->max_module_bytes, 1, INT64_MAX},
        {"POLYAGENT_WASI_OUTPUT_LIMIT_BYTES", &limits->output_limit_bytes, 0, INT64_MAX},
        {"POLYAGENT_WASI_WORKSPACE_BYTES", &limits->workspace_bytes, 0, INT64_MAX},
        {"POLYAGENT_WASI_WORKSPACE_INODES", &limits->workspace_inodes, 0, INT64_MAX},
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *text = getenv(keys[i].name);
        if (text == NULL) continue;
        int code = parse_into(keys[i].name, text, no_suffixes, keys[i].low, keys[i].high,
                              "a number in its range", keys[i].value);
        if (code != 0) return code;
    }
    return 0;
}

int cli_run_init(struct cli_run *run) {
    *run = (struct cli_run){.job = {.stdin_fd = STDIN_FILENO,
                                    .use_stdin_fd = true,
                                    .stdout_fd = STDOUT_FILENO,
                                    .stderr_fd = STDERR_FILENO,
                                    .use_output_fds = true}};
    pa_limits_default(&run->job.limits);
    run->job.mounts = run->mounts;
    run->job.env = run->env;
    return limits_from_environment(&run->job.limits);
}

void cli_run_fini(struct cli_run *run) {
    for (size_t i = 0; i < run->job.mount_count; i++)
        free(run->mount_texts[i]);
}

/* HOST[::GUEST][:ro|:rw]; read-only unless said otherwise. */
static int add_mount(struct cli_run *run, const char *value) {
    size_t count = run->job.mount_count;
    if (count == CLI_MAX_MOUNTS) return cli_fail("--dir: at most %d directories", CLI_MAX_MOUNTS);
    char *host = strdup(value);
    if (host == NULL) return cli_fail("--dir: out of memory");
    size_t length = strlen(host);
    bool writable = length > 3 && strcmp(host + length - 3, ":rw") == 0;
    if (writable || (length > 3 && strcmp(host + length - 3, ":ro") == 0)) host[length - 3] = 0;
    char *guest = strstr(host, "::");
    if (guest != NULL) {
        *guest = 0;
        guest += 2;
    }
    run->mount_texts[count] = host;
    run->mounts[count] = (struct pa_mount){
        .host_path = host, .guest_path = guest != NULL ? guest : host, .writable = writable};
    run->job.mount_count++;
    if (host[0] == 0 || (guest != NULL && guest[0] == 0)) {
        return cli_fail("--dir: '%s' is not HOST, HOST::GUEST or one with :ro or :rw", value);
    }
    return 0;
}

static int add_env(struct cli_run *run, const char *value) {
    if (run->job.env_count == CLI_MAX_ENV) return cli_fail("--env: at most %d", CLI_MAX_ENV);
    if (value[0] == '=' || strchr(value, '=') == NULL) {
        return cli_fail("--env: '%s' is not NAME=VALUE", value);
    }
    run->env[run->job.env_count++] = value;
    return 0;
}

int cli_run_option(struct cli_run *run, int option, const char *value) {
    struct pa_limits *l = &run->job.limits;
    switch (option) {
    case 'd': return add_mount(run, value);
    case 'e': return add_env(run, value);
    case 'm':
        return parse_into("--memory", value, byte_suffixes, 65536, UINT64_C(4) << 30, wanted_memory,
                          &l->memory_limit_bytes);
    case 'f':
        return parse_into("--fuel", value, no_suffixes, 1, INT64_MAX, "a number of instructions",
                          &l->max_fuel);
    case 't':
        return parse_into("--timeout", value, time_suffixes, 0, INT64_MAX, wanted_time,
                          &l->execution_timeout_ms);
    case 'T':
        return parse_into("--cpu-time", value, time_suffixes, 0, INT64_MAX, wanted_time,
                          &l->cpu_time_ms);
    case 'o':
        return parse_into("--output-limit", value, byte_suffixes, 0, INT64_MAX, wanted_bytes,
                          &l->output_limit_bytes);
    case 'M':
        return parse_into("--max-module", value, byte_suffixes, 1, INT64_MAX, wanted_bytes,
                          &l->max_module_bytes);
    case 'D':
        run->job.deterministic = true;
        if (value == NULL) return 0;
        return parse_into("--deterministic", value, no_suffixes, 0, INT64_MAX, "a seed: a number",
                          &run->job.seed);
    case 'L': run->local = true; return 0;
    case 'C': run->job.deny_clock = true; return 0;
    case 'R': run->job.deny_random = true; return 0;
    case 'x': run->job.trace_fd = STDERR_FILENO; return 0;
    case 'i': run->stdin_path = value; return 0;
    case 's':
        if (value != NULL && strcmp(value, "json") != 0) {
            return cli_fail("--stats: '%s' is not json; without a value it prints text", value);
        }
        run->stats = value != NULL ? CLI_STATS_JSON : CLI_STATS_TEXT;
        return 0;
    default: return cli_fail("option -%c: not known here", option);
    }
}

static int exit_code(const struct pa_result *result) {
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

static void print_stats_json(const struct pa_result *r) {
    json_t *isolation = json_array();
    for (size_t i = 0; r->isolation[i] != NULL; i++) {
        (void)json_array_append_new(isolation, json_string(r->isolation[i]));
    }
    json_t *usage = json_pack(
        "{s:f, s:f, s:f, s:f, s:I, s:I, s:I, s:I, s:s}", "wall_ms", r->usage.wall_ms, "cpu_ms",
        r->usage.cpu_ms, "start_ms", r->usage.start_ms, "queue_ms", r->usage.queue_ms, "fuel",
        (json_int_t)r->usage.fuel, "peak_memory_bytes", (json_int_t)r->usage.peak_memory_bytes,
        "stdout_bytes", (json_int_t)r->usage.stdout_bytes, "stderr_bytes",
        (json_int_t)r->usage.stderr_bytes, "cache", r->usage.cache_hit ? "hit" : "miss");
    json_t *error = r->message == NULL
                        ? json_null()
                        : json_pack("{s:s, s:s, s:s}", "code", pa_status_name(r->status), "message",
                                    r->message, "backtrace", r->backtrace ? r->backtrace : "");
    json_t *all =
        json_pack("{s:s, s:i, s:b, s:b, s:o, s:o, s:o, s:s}", "status", pa_status_name(r->status),
                  "exit_code", r->exit_code, "stdout_truncated", r->stdout_truncated,
                  "stderr_truncated", r->stderr_truncated, "error", error, "usage", usage,
                  "isolation", isolation, "module_sha256", r->module_sha256);
    char *text = all != NULL ? json_dumps(all, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;
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

static struct pa_module *open_module(struct pa_sandbox *sandbox, const char *path,
                                     const struct pa_limits *limits, struct pa_error *error) {
    struct buffer bytes = {0};
    if (strcmp(path, "-") != 0) return pa_module_open(sandbox, path, limits, error);
    int result = buffer_read_fd(&bytes, STDIN_FILENO, limits->max_module_bytes);
    struct pa_module *module = NULL;
    if (result == 0) {
        module = pa_module_from_bytes(sandbox, bytes.data, bytes.size, limits, error);
    } else {
        error->status = result == -EFBIG ? PA_MODULE_TOO_LARGE : PA_INTERNAL;
        (void)snprintf(error->message, sizeof error->message, "%s",
                       result == -EFBIG ? "WASM module too large: raise --max-module"
                                        : "cannot read the module from stdin");
    }
    buffer_fini(&bytes);
    return module;
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
    }
    return 0;
}

static double ms_between(uint64_t from_ns, uint64_t to_ns) {
    return to_ns > from_ns ? (double)(to_ns - from_ns) / (double)NS_PER_MS : 0;
}

/* A server's reply in the form of a result; it points into the reply. */
static struct pa_result result_of(struct socket_reply *reply) {
    struct run_report *r = &reply->report;
    struct pa_result result = {
        .status = r->status <= PA_INTERNAL ? r->status : PA_INTERNAL,
        .exit_code = r->exit_code,
        .message = r->status != PA_OK ? r->message : NULL,
        .backtrace = r->backtrace[0] != 0 ? r->backtrace : NULL,
        .stdout_truncated = r->output[0].truncated,
        .stderr_truncated = r->output[1].truncated,
        .usage = {.wall_ms = ms_between(reply->submitted_ns, r->ended_ns),
                  .cpu_ms = (double)r->cpu_ns / (double)NS_PER_MS,
                  .start_ms = ms_between(reply->submitted_ns, r->started_ns),
                  .queue_ms = ms_between(reply->submitted_ns, reply->dispatched_ns),
                  .fuel = r->fuel,
                  .peak_memory_bytes = r->peak_memory_bytes,
                  .stdout_bytes = r->output[0].bytes,
                  .stderr_bytes = r->output[1].bytes,
                  .cache_hit = reply->cache_hit}};
    size_t layers = 0;
    for (unsigned i = 0; i < LAYER_COUNT; i++) {
        if (reply->layers >> i & 1) result.isolation[layers++] = layer_name(i);
    }
    (void)sodium_bin2hex(result.module_sha256, sizeof result.module_sha256, reply->module_sha256,
                         sizeof reply->module_sha256);
    return result;
}

/* By the server of this user, if there is one. 1: there is none. */
static int run_by_server(const struct cli_run *run, const char *module_path,
                         struct socket_reply *reply, struct error *err) {
    char path[SOCKET_PATH_BYTES];
    struct packet packet;
    struct pa_job job = run->job;
    if (run->local || strcmp(module_path, "-") == 0 || socket_default_path(path, err) != 0 ||
        access(path, F_OK) != 0) {
        return 1;
    }
    bool cold = job.deterministic || job.deny_random; /* then it is as without a server */
    if (run->warm_argc > 0 && !cold) job.argc = run->warm_argc;
    if (packet_pack(&packet, &job, err) != 0) return -1;
    packet.fds[PACKET_MODULE] = open(module_path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int result = packet.fds[PACKET_MODULE] >= 0
                     ? socket_call(path, &packet, reply, err)
                     : 1; /* what is wrong with it is told by the way without a server */
    packet_fini(&packet);
    return result;
}

/* In processes of our own. NULL with `error`, or out of memory. */
static struct pa_result *run_locally(const struct cli_run *run, const char *module_path,
                                     struct pa_error *error) {
    struct pa_sandbox *sandbox = pa_sandbox_new(NULL, error);
    struct pa_module *module =
        sandbox != NULL ? open_module(sandbox, module_path, &run->job.limits, error) : NULL;
    struct pa_result *result = module != NULL ? pa_run(sandbox, module, &run->job) : NULL;
    pa_module_free(module);
    pa_sandbox_free(sandbox);
    return result;
}

static void print_result(const struct cli_run *run, const struct pa_result *result) {
    if (result->message != NULL) {
        (void)cli_fail("%s%s", result->status == PA_TRAP ? "Trap: " : "", result->message);
        if (result->backtrace != NULL) (void)fputs(result->backtrace, stderr);
    }
    if (run->stats == CLI_STATS_JSON) print_stats_json(result);
    if (run->stats == CLI_STATS_TEXT) print_stats(result);
}

/* Runs, with everything open that the job needs. */
static int run_and_report(struct cli_run *run, const char *module_path) {
    struct pa_error error = {.status = PA_INTERNAL, .message = "out of memory"};
    struct socket_reply *reply = malloc(sizeof *reply);
    struct error err = {0};
    int served = reply != NULL ? run_by_server(run, module_path, reply, &err) : -1, code;
    if (served == 0) {
        const struct pa_result result = result_of(reply);
        print_result(run, &result);
        code = exit_code(&result);
    } else if (served < 0) {
        const struct pa_result refused = {.status = err.code};
        (void)cli_fail("%s", err.text);
        code = exit_code(&refused);
    } else {
        struct pa_result *result = run_locally(run, module_path, &error);
        const struct pa_result refused = {.status = error.status};
        if (result != NULL)
            print_result(run, result);
        else
            (void)cli_fail("%s", error.message);
        code = exit_code(result != NULL ? result : &refused);
        pa_result_free(result);
    }
    free(reply);
    return code;
}

int cli_execute(struct cli_run *run, const char *module_path) {
    int code = redirect_stdin(run, module_path);
    if (code == 0) code = open_output("--coredump", run->coredump_path, &run->job.coredump_fd);
    if (code == 0) code = open_output("--profile", run->profile_path, &run->job.profile_fd);
    if (code == 0) code = run_and_report(run, module_path);
    if (run->stdin_path != NULL && run->job.stdin_fd > 0) (void)close(run->job.stdin_fd);
    close_output(run->coredump_path, run->job.coredump_fd);
    close_output(run->profile_path, run->job.profile_fd);
    return code;
}

#include "cli/cli.h"

#include "base/nearest.h"
#include "base/text.h"
#include "config/config.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int cli_fail(const char *format, ...) {
    va_list args;
    char *text = NULL, *shown = NULL;
    va_start(args, format);
    int length = vasprintf(&text, format, args);
    va_end(args);
    if (length >= 0) shown = text_shown(text, (size_t)length, TEXT_LINES);
    (void)fprintf(stderr, "polyagent: %s\n", shown != NULL ? shown : "out of memory");
    free(shown);
    if (length >= 0) free(text);
    return CLI_EXIT_FAILURE;
}

int cli_bad_option(char **argv, const char *command, const struct option *table) {
    char name[64];
    const char *given = argv[optind - 1];
    if (strncmp(given, "--", 2) != 0)
        return cli_fail("%s: unknown option, or its value is missing; see %s --help", given,
                        command);
    size_t length = strcspn(given + 2, "=");
    struct nearest nearest = {.wrong = name};
    (void)snprintf(name, sizeof name, "%.*s", (int)(length < 63 ? length : 63), given + 2);
    for (const struct option *o = table; o->name != NULL; o++) {
        nearest_consider(&nearest, o->name);
        if (strcmp(o->name, name) != 0) continue;
        return cli_fail(o->has_arg == required_argument
                            ? "--%s: its value is missing; see %s --help"
                            : "--%s: takes no value; see %s --help",
                        name, command);
    }
    const char *hint = nearest_hint(&nearest);
    return cli_fail("--%s: unknown option%s%s%s; see %s --help", name,
                    hint != NULL ? "; did you mean --" : "", hint != NULL ? hint : "",
                    hint != NULL ? "?" : "", command);
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

int cli_run_init(struct cli_run *run) {
    struct config config;
    struct error err = {0};
    *run = (struct cli_run){.job = {.stdin_fd = STDIN_FILENO,
                                    .use_stdin_fd = true,
                                    .stdout_fd = STDOUT_FILENO,
                                    .stderr_fd = STDERR_FILENO,
                                    .use_output_fds = true}};
    run->job.mounts = run->mounts;
    run->job.env = run->env;
    if (config_load(&config, NULL, &err) != 0) return cli_fail("%s", err.text);
    run->job.limits = config.limits;
    config_fini(&config);
    return 0;
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
    case 'W': run->raw = true; return 0;
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

int cli_socket_path(const char *text, char out[SOCKET_PATH_BYTES]) {
    int length = snprintf(out, SOCKET_PATH_BYTES, "%s", text);
    if (length > 0 && length < SOCKET_PATH_BYTES) return 0;
    return cli_fail("--socket: a path of 1 to %d bytes", SOCKET_PATH_BYTES - 1);
}

void cli_leave_signals_to_loop(void) {
    sigset_t block;
    (void)sigemptyset(&block);
    (void)sigaddset(&block, SIGTERM);
    (void)sigaddset(&block, SIGINT);
    (void)sigaddset(&block, SIGHUP);
    (void)sigprocmask(SIG_BLOCK, &block, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
}

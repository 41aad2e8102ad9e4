/* What the subcommands share: arguments, limits, running and reporting. */
#ifndef PA_CLI_CLI_H
#define PA_CLI_CLI_H

#include "supervisor/socket.h"

#include <polyagent.h>
#include <getopt.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Exit codes of our own; the guest's are 0-125 as far as they go, and 128+n below. */
enum {
    CLI_EXIT_TIMEOUT = 124,
    CLI_EXIT_FAILURE = 125,
    CLI_EXIT_REFUSED = 126,
    CLI_EXIT_TRAP = 128 + 6,
    CLI_EXIT_MEMORY = 128 + 9,
    CLI_EXIT_FUEL = 128 + 24,
    CLI_EXIT_OUTPUT = 128 + 25
};

enum { CLI_MAX_MOUNTS = 64, CLI_MAX_ENV = 1024 };
enum cli_stats { CLI_STATS_NONE, CLI_STATS_TEXT, CLI_STATS_JSON };

/* A run as the command line asks for it. */
struct cli_run {
    struct pa_job job;
    struct pa_mount mounts[CLI_MAX_MOUNTS];
    char *mount_texts[CLI_MAX_MOUNTS]; /* owned; mounts point into them */
    const char *env[CLI_MAX_ENV];
    const char *stdin_path;    /* NULL: our own stdin */
    const char *profile_path;  /* NULL: none wanted */
    const char *coredump_path; /* NULL: none wanted */
    enum cli_stats stats;
    bool local;       /* not by a server */
    bool raw;         /* a terminal gets the output as it is */
    size_t warm_argc; /* of job.argv, where the interpreter stays; 0: as job.argc */
};

/* Options that every command with a run has, to be put into its getopt_long table. */
#define CLI_RUN_OPTIONS \
    {"dir", required_argument, NULL, 'd'}, {"env", required_argument, NULL, 'e'}, \
        {"memory", required_argument, NULL, 'm'}, {"fuel", required_argument, NULL, 'f'}, \
        {"timeout", required_argument, NULL, 't'}, {"cpu-time", required_argument, NULL, 'T'}, \
        {"output-limit", required_argument, NULL, 'o'}, \
        {"deterministic", optional_argument, NULL, 'D'}, {"no-clock", no_argument, NULL, 'C'}, \
        {"no-random", no_argument, NULL, 'R'}, {"max-module", required_argument, NULL, 'M'}, \
        {"stats", optional_argument, NULL, 's'}, {"trace", no_argument, NULL, 'x'}, \
        {"stdin", required_argument, NULL, 'i'}, {"local", no_argument, NULL, 'L'}, \
        {"raw", no_argument, NULL, 'W'}, { \
        "help", no_argument, NULL, 'h' \
    }

/* Prints "polyagent: ..." on stderr. Returns CLI_EXIT_FAILURE. */
int cli_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same for an option that getopt_long did not like, with the table that it had. */
int cli_bad_option(char **argv, const char *command, const struct option *table);

/* Option values: a number in a range, and a size such as 256M. 0, or an exit code after an error
 * message. */
int cli_number(const char *what, const char *text, uint64_t low, uint64_t high, uint64_t *out);
int cli_size(const char *what, const char *text, uint64_t *out);

/* The value of --socket. 0, or an exit code after an error message. */
int cli_socket_path(const char *text, char out[SOCKET_PATH_BYTES]);
/* For servers: SIGTERM and SIGINT come by the event loop (signalfd), and a client that hung up is
 * an error code, not a signal. */
void cli_leave_signals_to_loop(void);

/* Defaults, then POLYAGENT_WASI_... of the environment. 0 or an exit code. */
int cli_run_init(struct cli_run *run);
void cli_run_fini(struct cli_run *run);
/* Takes one of CLI_RUN_OPTIONS; 0, or an exit code after an error message. */
int cli_run_option(struct cli_run *run, int option, const char *value);

/* A result's message in the words of the command line: where it tells to raise a limit by its name
 * in the contract, `out` gets the option's. */
void cli_message(const char *message, char *out, size_t room);

/* The exit code for a result. */
int cli_exit_code(const struct pa_result *result);

/* What to run: a module's file, or its bytes. */
struct cli_module {
    const char *path; /* NULL: bytes */
    const void *bytes;
    size_t size;
};

/* Of an interpreter, which is the user's own choice: no bound but patience. */
enum { CLI_COMPILE_CPU_MS = 3600000 };

struct cli_work {
    const struct pa_job *job;
    size_t warm_argc; /* of job->argv, where the interpreter stays; 0: as job->argc */
    bool local;       /* not by a server */
    struct cli_module module;
};

/* Runs it, and hands the result to `use`, whose value is returned. What was refused before it began
 * is a result, too. */
int cli_perform(const struct cli_work *work,
                int (*use)(void *context, const struct pa_result *result), void *context);

/* Runs the module with our stdout and stderr, reports, and gives the exit code. */
int cli_execute(struct cli_run *run, const char *module_path);

/* The server's HTTP address: `given`, $POLYAGENT_SERVER, or the default. */
const char *cli_server(const char *given);
/* Becomes polyagent-net. Returns only on failure, with an exit code after an error message. */
int cli_exec_net(const char *command, char *const *argv);

/* The answer of python_compile (tools/compile.h) to these parameters, made in this process. NULL
 * with `err`: PA_INVALID_ARGUMENT says where and why. */
json_t *cli_build_module(const json_t *parameters, struct error *err);

/* The lines of --help for CLI_RUN_OPTIONS. */
extern const char cli_run_options_help[];

/* The subcommands: main() of each, with argv[0] their name. */
int cli_run_main(int argc, char **argv);
int cli_hello_main(int argc, char **argv);
int cli_python_main(int argc, char **argv);
int cli_js_main(int argc, char **argv);
int cli_interpreter_main(int argc, char **argv);
int cli_ruby_main(int argc, char **argv);
int cli_repl_main(int argc, char **argv);
int cli_build_main(int argc, char **argv);
int cli_tool_main(int argc, char **argv);
int cli_cache_main(int argc, char **argv);
int cli_bench_main(int argc, char **argv);
int cli_doctor_main(int argc, char **argv);
int cli_mcp_main(int argc, char **argv);
int cli_module_main(int argc, char **argv);
int cli_submit_main(int argc, char **argv);
int cli_serve_main(int argc, char **argv);

#endif

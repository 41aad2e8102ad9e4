/* polyagent: the command line. Only dispatches; each subcommand has a file of its own. */
#include "cli/cli.h"

#include "base/log.h"
#include "base/nearest.h"
#include "config/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] = "polyagent runs code that nobody trusts in a WebAssembly sandbox.\n\n"
                           "usage: polyagent COMMAND ...; polyagent COMMAND --help tells more\n\n"
                           "  run      run a WASI module (.wasm, .wat)\n"
                           "  python   run Python source\n"
                           "  js       run JavaScript source\n"
                           "  ruby     run Ruby source\n"
                           "  build    compile Python to a WebAssembly module\n"
                           "  repl     an interactive session\n"
                           "  tool     call a tool as an agent would, JSON in and out\n"
                           "  serve    the server: gRPC, HTTP, MCP, and warm interpreters\n"
                           "  submit   a task in words, for a server\n"
                           "  mcp      the tools for an MCP host, on stdin and stdout\n"
                           "  interpreter  the interpreters at hand, and your own\n"
                           "  module   the registry: named modules\n"
                           "  doctor   which isolation layers this machine gives\n"
                           "  bench    measure runs: latency, throughput, memory\n"
                           "  cache    list, verify or clear the compiled modules\n\n"
                           "Examples:\n"
                           "  polyagent run docs/assets/hello-wasi.wat\n"
                           "  polyagent python -c 'print(2 + 2)'\n";

/* What commands tell of themselves; a server's configuration may say otherwise. */
static int set_log(void) {
    struct error err = {0};
    char ours[256];
    const char *filter = getenv("POLYAGENT_LOG"), *rust = getenv("RUST_LOG");
    if (filter == NULL && rust != NULL && log_filter_of_rust(rust, ours, sizeof ours) > 0)
        filter = ours;
    log_set_format(LOG_FORMAT_AUTO);
    if (filter == NULL || log_set_filter(filter, &err) == 0) return 0;
    return cli_fail("POLYAGENT_LOG: %s", err.text);
}

static bool is_one_of(const char *word, const char *a, const char *b, const char *c) {
    return strcmp(word, a) == 0 || strcmp(word, b) == 0 || strcmp(word, c) == 0;
}

static void tell_variable(const char *name, const char *nearest) {
    (void)cli_fail("warning: %s in the environment: no such setting%s%s%s", name,
                   nearest != NULL ? "; did you mean " : "", nearest != NULL ? nearest : "",
                   nearest != NULL ? "?" : "");
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        int (*main)(int argc, char **argv);
    } commands[] = {
        {"run", cli_run_main},
        {"python", cli_python_main},
        {"js", cli_js_main},
        {"build", cli_build_main},
        {"tool", cli_tool_main},
        {"serve", cli_serve_main},
        {"mcp", cli_mcp_main},
        {"submit", cli_submit_main},
        {"module", cli_module_main},
        {"doctor", cli_doctor_main},
        {"bench", cli_bench_main},
        {"cache", cli_cache_main},
        {"interpreter", cli_interpreter_main},
        {"repl", cli_repl_main},
        {"ruby", cli_ruby_main},
        {NULL, NULL},
    };
    if (set_log() != 0) return CLI_EXIT_FAILURE;
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    const char *self = slash != NULL ? slash + 1 : argc > 0 ? argv[0] : "";
    if (strcmp(self, "wasi_hello") == 0) return cli_hello_main(argc, argv);
    if (argc < 2) {
        (void)fputs(help, stderr);
        return CLI_EXIT_FAILURE;
    }
    bool asks = is_one_of(argv[1], "--help", "-h", "help");
    if (asks && argc == 2) {
        (void)fputs(help, stdout);
        return 0;
    }
    if (is_one_of(argv[1], "--version", "-V", "version")) {
        (void)printf("polyagent %s (wasmtime 48.0.8)\n", PA_VERSION);
        return 0;
    }
    char *const question[] = {argv[asks ? 2 : 1], (char *)(uintptr_t) "--help", NULL};
    struct nearest nearest = {.wrong = question[0]};
    config_check_variables(tell_variable);
    for (size_t i = 0; commands[i].main != NULL; i++) {
        nearest_consider(&nearest, commands[i].name);
        if (strcmp(question[0], commands[i].name) != 0) continue;
        return asks ? commands[i].main(2, (char **)(uintptr_t)question)
                    : commands[i].main(argc - 1, argv + 1);
    }
    const char *hint = nearest_hint(&nearest);
    return cli_fail("%s: no such command%s%s%s; see polyagent --help", question[0],
                    hint != NULL ? "; did you mean " : "", hint != NULL ? hint : "",
                    hint != NULL ? "?" : "");
}

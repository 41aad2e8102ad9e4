/* `polyagent submit`: a task in words, for a server. */
#include "cli/cli.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "usage: polyagent submit [OPTION]... TEXT\n\n"
    "Gives a server a task. \"Use TOOL to execute: CODE\" runs CODE with no model; anything else "
    "is for\n"
    "the model that the server is configured with (llm).\n\n"
    "  --server ADDR        HTTP of polyagent serve; default $POLYAGENT_SERVER, else "
    "127.0.0.1:8000\n"
    "  --json               the whole result\n\n"
    "$POLYAGENT_TOKEN is sent as a bearer token; $POLYAGENT_CA is a PEM file of authorities. The "
    "exit\n"
    "code is 0, 124 where time was used up, 125 where there is no result.\n\n"
    "Examples:\n"
    "  polyagent submit 'Use python_wasi_runner to execute: print(\"Hello PolyAgent\")'\n"
    "  polyagent submit --json 'What is the sum of the first 100 primes?'\n";

const char *cli_server(const char *given) {
    const char *own = getenv("POLYAGENT_SERVER");
    return given != NULL ? given : own != NULL ? own : "127.0.0.1:8000";
}

int cli_exec_net(const char *command, char *const *argv) {
    char program[PATH_MAX];
    struct error err = {0};
    if (supervisor_find_net(program, sizeof program, &err) != 0) {
        return cli_fail("%s: %s", command, err.text);
    }
    (void)execv(program, argv);
    return cli_fail("%s: cannot start %s: %s", command, program, strerror(errno));
}

int cli_submit_main(int argc, char **argv) {
    static const struct option table[] = {{"server", required_argument, NULL, 's'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    const char *server = NULL;
    bool json = false;
    int option;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "+h", table, NULL)) != -1) {
        switch (option) {
        case 'h': (void)fputs(help, stdout); return 0;
        case 's': server = optarg; break;
        case 'j': json = true; break;
        default: return cli_bad_option(argv, "polyagent submit", table);
        }
    }
    if (argc - optind != 1) return cli_fail("submit: give one text; see polyagent submit --help");
    char *const args[] = {
        "polyagent-net",        "submit",     (char *)(uintptr_t)cli_server(server),
        json ? "json" : "text", argv[optind], NULL};
    return cli_exec_net("submit", args);
}

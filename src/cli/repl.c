/* `polyagent repl`: polyagent-repl does it. */
#include "cli/cli.h"

#include "supervisor/supervisor.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

int cli_repl_main(int argc, char **argv) {
    char program[PATH_MAX];
    struct error err = {0};
    (void)argc;
    if (supervisor_find_repl(program, sizeof program, &err) != 0) return cli_fail("%s", err.text);
    argv[0] = program;
    (void)execv(program, argv);
    return cli_fail("repl: start %s: %s", program, strerror(errno));
}

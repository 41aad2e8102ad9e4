#include "cli/cli.h"
int cli_serve_main(int argc, char **argv) {
    (void)argc;
    (void)argv;
    return 0;
}

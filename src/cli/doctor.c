#include "cli/cli.h"
int cli_doctor_main(int argc, char **argv) {
    (void)argc;
    (void)argv;
    return 0;
}

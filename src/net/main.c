#include "net/net.h"

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        int (*main)(int argc, char **argv);
    } roles[] = {{"front", net_front_main},   {"layers", net_layers_main},
                 {"submit", net_submit_main}, {"tool", net_tool_main},
                 {"bench", net_bench_main},   {NULL, NULL}};
    for (size_t i = 0; argc > 1 && roles[i].name != NULL; i++) {
        if (strcmp(argv[1], roles[i].name) == 0) return roles[i].main(argc - 1, argv + 1);
    }
    (void)fputs("polyagent-net: a part of polyagent, started by its commands\n", stderr);
    return 125;
}

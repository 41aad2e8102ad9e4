/* The roles of polyagent-net, the program that has all that speaks over the network: gRPC, HTTP,
 * TLS. It is one of its own so that the other commands need not load those libraries. main() of
 * each, with argv[0] the role. */
#ifndef PA_NET_NET_H
#define PA_NET_NET_H

#include <stdbool.h>

/* $POLYAGENT_TOKEN for a server, "HOST:PORT" or a URL; NULL: there is none. False after a message
 * that begins with `what`: it would go in clear (`secure`: it would not) to another machine, and
 * $POLYAGENT_TOKEN_IN_CLEAR is not 1. */
bool net_token(const char *what, const char *server, bool secure, const char **token);

int net_front_main(int argc, char **argv);
int net_layers_main(int argc, char **argv);
int net_submit_main(int argc, char **argv);
int net_tool_main(int argc, char **argv);
int net_bench_main(int argc, char **argv);

#endif

/* The roles of polyagent-net, the program that has all that speaks over the network: gRPC, HTTP,
 * TLS. It is one of its own so that the other commands need not load those libraries. main() of
 * each, with argv[0] the role. */
#ifndef PA_NET_NET_H
#define PA_NET_NET_H

int net_front_main(int argc, char **argv);
int net_submit_main(int argc, char **argv);
int net_tool_main(int argc, char **argv);
int net_bench_main(int argc, char **argv);

#endif

/* The HTTP interface (spec section 5): tools, health, readiness, metrics. It only translates: runs
 * are the supervisor's, in another process. One thread, in an sd-event loop of the caller's. */
#ifndef PA_SERVER_HTTP_H
#define PA_SERVER_HTTP_H

#include "tools/tools.h"

#include <netinet/in.h>
#include <systemd/sd-event.h>

struct http_config {
    struct sockaddr_in address;
    const char *socket_path; /* of the supervisor; outlives the server */
    struct tool_rules rules;
};

struct http_server;

/* Listens. NULL with `err`. `event` is referenced. */
struct http_server *http_server_new(sd_event *event, const struct http_config *config,
                                    struct error *err);
/* The port that it got, where the address had 0. */
uint16_t http_server_port(const struct http_server *server);
/* Takes no new connections; those that are there go on. */
void http_server_stop_listening(struct http_server *server);
uint32_t http_server_in_flight(const struct http_server *server);
/* Hangs up on all that is left; their runs are cancelled. */
void http_server_free(struct http_server *server);

#endif

/* The HTTP interface (spec section 5): tools, tasks, MCP, health, readiness, metrics. It only
 * translates. One thread, in the event loop of its service. */
#ifndef PA_SERVER_HTTP_H
#define PA_SERVER_HTTP_H

#include "server/mcp.h"
#include "server/service.h"
#include "server/task.h"

struct http_server;

/* Serves connections of `listen_fd`, which it takes over, with TLS where the configuration has it.
 * NULL with `err`. */
struct http_server *http_server_new(struct service *service, struct tasks *tasks, struct mcp *mcp,
                                    int listen_fd, struct error *err);
/* Takes no new connections; those that are there go on. */
void http_server_stop_listening(struct http_server *server);
/* Requests whose answer is not complete. */
uint32_t http_server_busy(const struct http_server *server);
/* Hangs up on all that is left; their runs are cancelled. */
void http_server_free(struct http_server *server);

#endif

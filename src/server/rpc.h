/* The gRPC interface (spec section 4), on gRPC core. Its library has threads of its own; all that
 * it reports is handed to the event loop of the service, where everything of ours happens. */
#ifndef PA_SERVER_RPC_H
#define PA_SERVER_RPC_H

#include "server/service.h"
#include "server/task.h"

struct rpc_server;

/* Serves connections of `listen_fd`, which it takes over, with TLS where the configuration has it.
 * NULL with `err`. */
struct rpc_server *rpc_server_new(struct service *service, struct tasks *tasks, int listen_fd,
                                  struct error *err);
/* Takes no new connections and no new calls; those that are there go on. */
void rpc_server_stop_listening(struct rpc_server *server);
/* Calls whose answer is not complete. */
uint32_t rpc_server_busy(const struct rpc_server *server);
/* Cancels what is left. */
void rpc_server_free(struct rpc_server *server);

#endif

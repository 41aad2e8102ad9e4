/* What the library leaves unbounded: it holds clients to the limits that it has told them
 * (SETTINGS, RFC 9113 section 6.5) once they acknowledge these. One that never does may open any
 * number of calls, each with 16 MiB of metadata, made of a few bytes by HPACK. So a call is looked
 * at as soon as it is there, and who is beyond the limits that hold for all others is hung up on.
 */
#include "base/log.h"
#include "server/rpc_internal.h"

#include <malloc.h>
#include <sys/socket.h>

/* What any client may have sent before it got the limits. */
enum { GRACE = 2 };

/* The library has no call for it, but a connection that is shut down is at its end. */
static void hang_up(struct rpc_connection *connection) {
    if (connection == NULL || connection->cookie == 0 ||
        connection->cookie != rpc_socket_of(connection->number)) {
        return; /* gone already */
    }
    connection->cookie = 0;
    (void)shutdown(connection->number, SHUT_RDWR);
    log_event(LOG_WARN, "grpc", "hung up: beyond the limits of a connection",
              {"connection", NULL, connection->number});
    (void)malloc_trim(0); /* what a flood has left in the heap would stay there */
}

bool rpc_call_came(struct rpc_call *call) {
    struct rpc_server *server = call->server;
    size_t bytes = 0;
    uint32_t of_connection = 0;
    call->connection = rpc_connection_of(server, call->call);
    if (call->connection != NULL) call->generation = call->connection->generation;
    call->is_listed = true;
    TAILQ_INSERT_TAIL(&server->calls, call, link);
    server->call_count++;
    for (size_t i = 0; i < call->metadata.count; i++) {
        const grpc_metadata *m = &call->metadata.metadata[i];
        bytes += GRPC_SLICE_LENGTH(m->key) + GRPC_SLICE_LENGTH(m->value);
    }
    if (server->call_count > GRACE * RPC_MAX_STREAMS) {
        const struct rpc_call *other;
        TAILQ_FOREACH(other, &server->calls, link) {
            of_connection += other->connection == call->connection && !other->is_closed;
        }
    }
    bool fits = bytes <= GRACE * RPC_MAX_METADATA_BYTES && of_connection <= GRACE * RPC_MAX_STREAMS;
    if (!fits) hang_up(call->connection);
    return fits;
}

void rpc_call_left(struct rpc_call *call) {
    if (!call->is_listed) return;
    TAILQ_REMOVE(&call->server->calls, call, link);
    call->server->call_count--;
}

/* What is being received, bounded. The library reads a message whole, whatever its length says, and
 * compares it with the limit then; so while a call waits for its message, what its connection has
 * received is looked at again and again, and counted as everybody's is (intake.h). */
#include "server/rpc_internal.h"

#include "base/clock.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

/* Between two looks a sender can have sent what its network lets through in that time. */
enum { LOOK_US = 20000, IDLE_SECONDS = 60 };
/* What comes with the smallest messages; and what the messages of open methods may have. */
enum { UNCOUNTED_BYTES = 16 << 10, OPEN_BYTES = 64 << 10 };

static uint64_t received_by(const struct rpc_connection *connection) {
    struct tcp_info info;
    socklen_t size = sizeof info;
    if (connection->count != NULL)
        return atomic_load_explicit(&connection->count->bytes, memory_order_relaxed);
    memset(&info, 0, sizeof info);
    (void)getsockopt(connection->number, IPPROTO_TCP, TCP_INFO, &info, &size);
    return info.tcpi_bytes_received;
}

/* Whose share it is: a caller's; where nobody is asked who it is, an address's. */
static const char *sender_of(const struct rpc_call *call, char text[PEER_NAME_BYTES]) {
    struct service *service = call->server->service;
    if (!auth_is_open(service->auth) && !call->method->open) return call->caller.name;
    peer_name(peers_find(&service->peers, &call->connection->address.any), text);
    return text;
}

/* NULL: nobody knows which, or it is gone. */
static struct rpc_connection *connection_of(const struct rpc_call *call) {
    return call->connection != NULL && call->connection->generation == call->generation
               ? call->connection
               : NULL;
}

static void refuse(struct rpc_call *call, enum intake_verdict verdict) {
    if (verdict == INTAKE_TOO_LARGE)
        rpc_finish(call, GRPC_STATUS_RESOURCE_EXHAUSTED, "the message is too large");
    else
        rpc_finish(call, GRPC_STATUS_RESOURCE_EXHAUSTED,
                   "too much is being sent; retry in 1 s, one large message at a time");
}

static void look_at(struct rpc_call *call, uint64_t now_ns) {
    struct rpc_connection *connection = call->connection;
    struct service *service = call->server->service;
    char text[PEER_NAME_BYTES];
    /* Other messages of the connection that came meanwhile are not this one's. */
    uint64_t received = received_by(connection) - call->received_before,
             delivered = connection->delivered_bytes - call->delivered_before;
    size_t bytes = received > delivered ? (size_t)(received - delivered) : 0;
    uint64_t patience_ns = intake_patience_ns(
        call->method->streams_in ? IDLE_SECONDS : service->config.body_seconds, bytes);
    if (bytes > UNCOUNTED_BYTES) {
        enum intake_verdict verdict =
            call->method->open && bytes > OPEN_BYTES
                ? INTAKE_TOO_LARGE
                : intake_grow(&service->intake, &connection->claim, sender_of(call, text), bytes);
        if (verdict != INTAKE_TAKEN) {
            refuse(call, verdict);
            return;
        }
    }
    if (now_ns - call->read_began_ns < patience_ns) return;
    if (call->method->streams_in)
        rpc_finish(call, GRPC_STATUS_OK, ""); /* it may ask again */
    else
        rpc_finish(call, GRPC_STATUS_DEADLINE_EXCEEDED, "the message did not come in time");
}

static int on_look(sd_event_source *source, uint64_t now_us, void *context) {
    struct rpc_server *server = context;
    struct rpc_call *call, *next;
    uint64_t now_ns = clock_now_ns();
    (void)now_us;
    server->is_looking = false;
    for (call = TAILQ_FIRST(&server->calls); call != NULL; call = next) {
        next = TAILQ_NEXT(call, link);
        if (!call->is_reading || call->has_status || connection_of(call) == NULL) continue;
        server->is_looking = true;
        look_at(call, now_ns);
    }
    if (!server->is_looking) return 0;
    (void)sd_event_source_set_time_relative(source, LOOK_US);
    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

void rpc_intake_begin(struct rpc_call *call) {
    struct rpc_server *server = call->server;
    struct rpc_connection *connection = connection_of(call);
    if (connection == NULL) return;
    connection->reading++;
    call->read_began_ns = clock_now_ns();
    call->received_before = received_by(connection);
    call->delivered_before = connection->delivered_bytes;
    if (server->is_looking) return;
    server->is_looking = true;
    if (server->look == NULL) {
        (void)sd_event_add_time_relative(server->service->event, &server->look, CLOCK_MONOTONIC,
                                         LOOK_US, 1, on_look, server);
        return;
    }
    (void)sd_event_source_set_time_relative(server->look, LOOK_US);
    (void)sd_event_source_set_enabled(server->look, SD_EVENT_ONESHOT);
}

void rpc_intake_end(struct rpc_call *call, size_t bytes) {
    struct rpc_connection *connection = connection_of(call);
    if (connection == NULL) return;
    connection->delivered_bytes += bytes;
    if (--connection->reading == 0)
        intake_release(&call->server->service->intake, &connection->claim);
    if (bytes <= UNCOUNTED_BYTES || call->has_status) return;
    char text[PEER_NAME_BYTES];
    enum intake_verdict verdict =
        intake_grow(&call->server->service->intake, &call->claim, sender_of(call, text), bytes);
    if (verdict != INTAKE_TAKEN) refuse(call, verdict);
}

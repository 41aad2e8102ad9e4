/* What the library leaves unbounded: it holds clients to the limits that it has told them
 * (SETTINGS, RFC 9113 section 6.5) once they acknowledge these. One that never does may open any
 * number of calls, each with 16 MiB of metadata, made of a few bytes by HPACK. So a call is looked
 * at as soon as it is there, and who is beyond the limits that hold for all others is hung up on.
 */
#include "base/log.h"
#include "server/rpc_internal.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <grpc/support/alloc.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* What any client may have sent before it got the limits. */
enum { GRACE = 2 };

/* FNV-1a (Fowler, Noll, Vo); never 0. */
static uint64_t hash(const char *text) {
    uint64_t value = UINT64_C(14695981039346656037);
    for (; *text != 0; text++)
        value = (value ^ (uint8_t)*text) * UINT64_C(1099511628211);
    return value != 0 ? value : 1;
}

/* Which socket this is, for as long as the system runs; 0: none. */
static uint64_t socket_of(int fd) {
    uint64_t cookie = 0;
    socklen_t size = sizeof cookie;
    return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0 ? cookie : 0;
}

/* The name that the library has for a connection which it accepted itself (TLS); "" for other
 * things. */
static void name_peer(int fd, char *out, size_t size) {
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    char text[INET6_ADDRSTRLEN] = "";
    out[0] = 0;
    if (getpeername(fd, (struct sockaddr *)&address, &length) != 0) return;
    if (address.ss_family == AF_INET) {
        const struct sockaddr_in *in = (struct sockaddr_in *)&address;
        (void)inet_ntop(AF_INET, &in->sin_addr, text, sizeof text);
        (void)snprintf(out, size, "ipv4:%s:%u", text, ntohs(in->sin_port));
    } else if (address.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (struct sockaddr_in6 *)&address;
        bool mapped = IN6_IS_ADDR_V4MAPPED(&in->sin6_addr);
        (void)inet_ntop(mapped ? AF_INET : AF_INET6, &in->sin6_addr.s6_addr[mapped ? 12 : 0], text,
                        sizeof text);
        (void)snprintf(out, size, mapped ? "ipv4:%s:%u" : "ipv6:%%5B%s%%5D:%u", text,
                       ntohs(in->sin6_port));
    }
}

int rpc_connection_number(struct rpc_server *server, int fd) {
    if (server->sockets == NULL) {
        server->sockets = calloc((size_t)server->acceptor.most_fd + 1, sizeof *server->sockets);
    }
    if (server->sockets == NULL || fd > server->acceptor.most_fd) return fd;
    int number = fcntl(fd, F_DUPFD_CLOEXEC, server->next_fd);
    if (number > server->acceptor.most_fd) { /* from the beginning again */
        (void)close(number);
        server->next_fd = 0;
        number = fcntl(fd, F_DUPFD_CLOEXEC, server->next_fd);
    }
    if (number < 0) return fd;
    (void)close(fd);
    if (number > server->acceptor.most_fd) return number;
    server->next_fd = number + 1;
    server->sockets[number] = socket_of(number);
    return number;
}

/* The library has no call for it, but a connection that is shut down is at its end. Those that it
 * was given it names by their descriptors. */
static void hang_up(struct rpc_server *server, const char *peer) {
    char name[96];
    int number = -1;
    if (sscanf(peer, "fd:%d", &number) == 1) {
        if (number < 0 || number > server->acceptor.most_fd || server->sockets == NULL ||
            server->sockets[number] == 0 || server->sockets[number] != socket_of(number)) {
            return; /* gone already */
        }
        server->sockets[number] = 0;
    } else {
        for (int fd = 3; fd <= server->acceptor.most_fd && number < 0; fd++) {
            name_peer(fd, name, sizeof name);
            if (strcmp(name, peer) == 0) number = fd;
        }
        if (number < 0) return;
    }
    (void)shutdown(number, SHUT_RDWR);
    log_event(LOG_WARN, "grpc", "hung up: beyond the limits of a connection", {"peer", peer, 0});
    (void)malloc_trim(0); /* what a flood has left in the heap would stay there */
}

bool rpc_call_came(struct rpc_call *call) {
    struct rpc_server *server = call->server;
    size_t bytes = 0;
    uint32_t of_peer = 0;
    char *name = grpc_call_get_peer(call->call);
    const char *peer = name != NULL ? name : "";
    call->peer = hash(peer);
    TAILQ_INSERT_TAIL(&server->calls, call, link);
    server->call_count++;
    for (size_t i = 0; i < call->metadata.count; i++) {
        const grpc_metadata *m = &call->metadata.metadata[i];
        bytes += GRPC_SLICE_LENGTH(m->key) + GRPC_SLICE_LENGTH(m->value);
    }
    if (server->call_count > GRACE * RPC_MAX_STREAMS) {
        const struct rpc_call *other;
        TAILQ_FOREACH(other, &server->calls, link) {
            of_peer += other->peer == call->peer && !other->is_closed;
        }
    }
    bool fits = bytes <= GRACE * RPC_MAX_METADATA_BYTES && of_peer <= GRACE * RPC_MAX_STREAMS;
    if (!fits) hang_up(server, peer);
    gpr_free(name);
    return fits;
}

void rpc_call_left(struct rpc_call *call) {
    if (call->peer == 0) return;
    TAILQ_REMOVE(&call->server->calls, call, link);
    call->server->call_count--;
}

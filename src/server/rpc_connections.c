/* Connections of gRPC's clients: accepted by us, given to the library. */
#include "server/rpc_internal.h"

#include "base/cleanup.h"
#include "base/clock.h"

#include <fcntl.h>
#include <grpc/grpc_posix.h>
#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define COUNT_NS (100 * NS_PER_MS)

uint64_t rpc_socket_of(int fd) {
    uint64_t cookie = 0;
    socklen_t size = sizeof cookie;
    return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0 ? cookie : 0;
}

/* The library does not tell when one ends: they are counted when it matters. */
static void count_connections(struct rpc_server *server, const uint8_t peer[16]) {
    uint8_t key[16];
    uint64_t of_peer = 0;
    server->connection_count = 0;
    for (int i = 0; i <= server->acceptor.most_fd; i++) {
        struct rpc_connection *connection = &server->connections[i];
        if (connection->cookie == 0) continue;
        if (connection->cookie != rpc_socket_of(connection->number)) {
            connection->cookie = 0;
            continue;
        }
        server->connection_count++;
        peer_key(&connection->address.any, key);
        of_peer += memcmp(key, peer, sizeof key) == 0;
    }
    server->counted_ns = clock_now_ns();
    memset(server->crowd, 0, sizeof server->crowd);
    if (of_peer >= server->service->config.max_connections / 8 * 7)
        memcpy(server->crowd, peer, sizeof server->crowd);
}

/* As many as there may be; and so many that none are left for others are not one peer's to have. */
static bool has_room(struct rpc_server *server, const struct sockaddr *address) {
    uint64_t most = server->service->config.max_connections;
    uint8_t peer[16];
    peer_key(address, peer);
    if (server->connection_count < most / 8 * 7) return true;
    if (clock_now_ns() - server->counted_ns > COUNT_NS) count_connections(server, peer);
    return server->connection_count < most && memcmp(server->crowd, peer, sizeof peer) != 0;
}

static struct rpc_connection *connection_new(struct rpc_server *server, int fd,
                                             const struct sockaddr *address) {
    int most = server->acceptor.most_fd;
    if (server->connections == NULL)
        server->connections = calloc((size_t)most + 1, sizeof *server->connections);
    if (server->connections == NULL || !has_room(server, address)) {
        (void)close(fd);
        return NULL;
    }
    int number = fcntl(fd, F_DUPFD_CLOEXEC, server->next_fd);
    if (number > most) { /* from the beginning again */
        (void)close(number);
        server->next_fd = 0;
        number = fcntl(fd, F_DUPFD_CLOEXEC, server->next_fd);
    }
    (void)close(fd);
    if (number < 0 || number > most) {
        fd_closep(&number);
        return NULL;
    }
    struct rpc_connection *connection = &server->connections[number];
    server->next_fd = number + 1;
    server->connection_count++;
    intake_release(&server->service->intake, &connection->claim);
    tls_count_release(connection->count);
    *connection = (struct rpc_connection){.number = number,
                                          .generation = connection->generation + 1,
                                          .cookie = rpc_socket_of(number)};
    memcpy(&connection->address, address,
           address->sa_family == AF_INET6 ? sizeof connection->address.in6
                                          : sizeof connection->address.in);
    return connection;
}

void rpc_connections_free(struct rpc_server *server) {
    for (int i = 0; server->connections != NULL && i <= server->acceptor.most_fd; i++) {
        intake_release(&server->service->intake, &server->connections[i].claim);
        tls_count_release(server->connections[i].count);
    }
    free(server->connections);
}

/* The library names those that it was given by their descriptors. */
struct rpc_connection *rpc_connection_of(const struct rpc_server *server, grpc_call *call) {
    char *name = grpc_call_get_peer(call);
    int number = -1;
    bool found = name != NULL && sscanf(name, "fd:%d", &number) == 1 && number >= 0 &&
                 number <= server->acceptor.most_fd && server->connections != NULL;
    gpr_free(name);
    return found ? &server->connections[number] : NULL;
}

static void take(struct rpc_server *server, int fd, const struct sockaddr *address,
                 const struct tls_client *client) {
    const int on = 1, received_bytes = 128 << 10; /* the kernel doubles it */
    struct rpc_connection *connection = connection_new(server, fd, address);
    if (connection == NULL) {
        if (client != NULL) tls_count_release(client->count);
        return;
    }
    fd = connection->number;
    if (client != NULL) {
        connection->count = client->count;
        memcpy(connection->certificate, client->certificate, sizeof connection->certificate);
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    /* What is there already is read to its end, whatever it is. */
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &received_bytes, sizeof received_bytes);
    if (write(server->accepted_fds[1], &fd, sizeof fd) != sizeof fd) {
        (void)close(fd); /* thousands wait there already */
    }
}

void rpc_connection_take(void *context, int fd, const struct sockaddr *address, socklen_t size) {
    struct rpc_server *server = context;
    (void)size;
    if (server->tls != NULL)
        tls_begin(server->tls, fd, address);
    else
        take(server, fd, address, NULL);
}

void rpc_connection_take_secure(void *context, const struct tls_client *client) {
    take(context, client->fd, &client->address.any, client);
}

/* Gives accepted connections to the library. Who does so also reads what has come by then, and what
 * comes meanwhile: a thread of its own, as the loop has others to serve. */
void *rpc_connections_give(void *context) {
    struct rpc_server *server = context;
    int client;
    while (read(server->accepted_fds[0], &client, sizeof client) == sizeof client) {
        grpc_server_credentials *plain = grpc_insecure_server_credentials_create();
        grpc_server_add_channel_from_fd(server->server, client, plain); /* owns the descriptor */
        grpc_server_credentials_release(plain);
    }
    return NULL;
}

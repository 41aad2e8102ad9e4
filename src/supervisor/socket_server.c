#include "base/cleanup.h"
#include "base/clock.h"
#include "supervisor/socket.h"

#include <stdio.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { MAX_CLIENTS = 8192, BACKLOG = 128, PAUSE_US = 100000 };

struct client {
    struct socket_server *server;
    int fd;
    sd_event_source *source;
    struct supervisor_run *run; /* at most one at a time */
    uint8_t digest[32];         /* of its module */
    char tenant[16];            /* "uid N" */
    uint64_t holder;            /* whose nodes end with the connection; 0: nobody's */
    bool gone;                  /* hung up while its job ran */
    TAILQ_ENTRY(client) link;
};

struct socket_server {
    sd_event *event;
    struct supervisor *supervisor;
    struct cache *cache;
    int fd;
    char path[SOCKET_PATH_BYTES];
    sd_event_source *source;
    sd_event_source *pause; /* while descriptors are short */
    TAILQ_HEAD(client_list, client) clients;
    unsigned count;
};

static void drop(struct client *client) {
    client->gone = true;
    client->source = sd_event_source_disable_unref(client->source);
    fd_closep(&client->fd);
    if (client->run != NULL) { /* its end brings us back */
        supervisor_cancel(client->run);
        return;
    }
    /* Once nobody listens any more, all nodes end with the supervisor, which may be gone already.
     */
    if (client->holder != 0 && client->server->fd >= 0) {
        supervisor_drop_nodes_of(client->server->supervisor, client->holder);
    }
    TAILQ_REMOVE(&client->server->clients, client, link);
    client->server->count--;
    free(client);
}

static void send_reply(struct client *client, const struct socket_reply *reply) {
    if (client->gone) return;
    if (send(client->fd, reply, sizeof *reply, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        client->gone = true;
}

static void on_done(void *context, const struct supervisor_result *result) {
    struct client *client = context;
    struct socket_reply reply = {.report = *result->report,
                                 .layers = result->layers,
                                 .cache_hit = result->cache_hit,
                                 .submitted_ns = result->submitted_ns,
                                 .dispatched_ns = result->dispatched_ns,
                                 .node = result->node};
    memcpy(reply.module_sha256, client->digest, sizeof client->digest);
    client->run = NULL;
    send_reply(client, &reply);
    if (client->gone && result->node != 0) /* nobody knows of it */
        supervisor_drop_node(client->server->supervisor, result->node);
    if (client->gone) drop(client);
}

static void refuse(struct client *client, const struct error *err) {
    struct socket_reply reply = {.report = {.finished = true, .status = err->code}};
    (void)snprintf(reply.report.message, sizeof reply.report.message, "%s", err->text);
    reply.report.ended_ns = clock_now_ns();
    send_reply(client, &reply);
}

/* A client of ours may speak for others; it cannot take the name of another user's. */
static void name_tenant(const struct client *client, struct packet *packet) {
    char given[PACKET_TENANT_BYTES];
    memcpy(given, packet->header.tenant, sizeof given);
    given[sizeof given - 1] = 0;
    (void)snprintf(packet->header.tenant, sizeof packet->header.tenant, "%s%s%.47s", client->tenant,
                   given[0] != 0 ? "/" : "", given);
}

/* Takes over the packet. */
static int take_job(struct client *client, struct packet *packet, struct error *err) {
    struct socket_server *server = client->server;
    struct packet_view view;
    struct pa_module module;
    if (packet_open(packet, &view, err) != 0) {
        packet_fini(packet);
        return -1;
    }
    bool goes_on = packet->header.node != 0;
    bool complete = (goes_on || packet->fds[PACKET_MODULE] >= 0) && view.job.use_output_fds;
    packet_view_fini(&view);
    if (complete && goes_on) {
        name_tenant(client, packet);
        return supervisor_submit(server->supervisor, packet, NULL, on_done, client, &client->run,
                                 err);
    }
    int result = complete
                     ? module_open_fd(&module, server->cache, packet->fds[PACKET_MODULE],
                                      packet->header.limits.max_module_bytes, err)
                     : error_set(err, PA_INVALID_ARGUMENT, "job: it lacks its module or output");
    if (result != 0) {
        packet_fini(packet);
        return -1;
    }
    fd_closep(&packet->fds[PACKET_MODULE]);
    name_tenant(client, packet);
    memcpy(client->digest, module.digest, sizeof client->digest);
    result =
        supervisor_submit(server->supervisor, packet, &module, on_done, client, &client->run, err);
    module_fini(&module);
    return result;
}

static int on_client(sd_event_source *source, int fd, uint32_t events, void *context) {
    struct client *client = context;
    struct packet packet;
    struct error err = {0};
    (void)source;
    (void)events;
    int got = packet_receive(&packet, fd, 0);
    if (got == -EAGAIN) return 0;
    if (got <= 0) {
        drop(client);
        return 0;
    }
    if (packet.header.flags & (PACKET_DROP | PACKET_HOLD | PACKET_CANCEL)) {
        if (packet.header.flags & PACKET_CANCEL && client->run != NULL)
            supervisor_cancel(client->run);
        if (packet.header.flags & PACKET_HOLD) client->holder = packet.header.holder;
        if (packet.header.flags & PACKET_DROP)
            supervisor_drop_node(client->server->supervisor, packet.header.node);
        packet_fini(&packet);
    } else if (client->run != NULL) {
        packet_fini(&packet);
        drop(client); /* one at a time is the rule */
    } else if (take_job(client, &packet, &err) != 0) {
        refuse(client, &err);
        if (client->gone) drop(client);
    }
    return 0;
}

static int on_pause_over(sd_event_source *source, uint64_t now_us, void *context) {
    struct socket_server *server = context;
    (void)source;
    (void)now_us;
    server->pause = sd_event_source_disable_unref(server->pause);
    (void)sd_event_source_set_enabled(server->source, SD_EVENT_ON);
    return 0;
}

/* Out of descriptors or memory: to try again at once would only burn the processor. */
static void pause_listening(struct socket_server *server) {
    if (sd_event_add_time_relative(server->event, &server->pause, CLOCK_MONOTONIC, PAUSE_US, 1,
                                   on_pause_over, server) >= 0) {
        (void)sd_event_source_set_enabled(server->source, SD_EVENT_OFF);
    }
}

static int on_connection(sd_event_source *source, int fd, uint32_t events, void *context) {
    struct socket_server *server = context;
    struct ucred peer;
    socklen_t size = sizeof peer;
    (void)source;
    (void)events;
    _cleanup_(fd_closep) int client_fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (client_fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            pause_listening(server);
        }
        return 0;
    }
    if (getsockopt(client_fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 ||
        (peer.uid != geteuid() && peer.uid != 0) || server->count >= MAX_CLIENTS) {
        return 0;
    }
    struct client *client = calloc(1, sizeof *client);
    if (client == NULL) return 0;
    *client = (struct client){.server = server, .fd = -1};
    (void)snprintf(client->tenant, sizeof client->tenant, "uid %u", peer.uid);
    if (sd_event_add_io(server->event, &client->source, client_fd, EPOLLIN, on_client, client) <
        0) {
        free(client);
        return 0;
    }
    client->fd = steal_fd(&client_fd);
    TAILQ_INSERT_TAIL(&server->clients, client, link);
    server->count++;
    return 0;
}

static int listen_at(struct socket_server *server, struct error *err) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char dir[SOCKET_PATH_BYTES];
    size_t length = strlen(server->path);
    memcpy(dir, server->path, length + 1);
    memcpy(address.sun_path, server->path, length + 1);
    char *slash = strrchr(dir, '/');
    if (slash != NULL && slash != dir) {
        *slash = 0;
        if (mkdir(dir, 0700) != 0 && errno != EEXIST) {
            return error_set_errno(err, PA_INTERNAL, errno, "make directory %s", dir);
        }
    }
    _cleanup_(fd_closep) int probe = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (probe >= 0 && connect(probe, (struct sockaddr *)&address, sizeof address) == 0) {
        return error_set(err, PA_INVALID_ARGUMENT, "socket %s: a server is running there",
                         server->path);
    }
    if (errno == ECONNREFUSED) (void)unlink(server->path); /* nobody listens any more */
    server->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    mode_t mask = umask(0177);
    int result = server->fd < 0 ||
                         bind(server->fd, (struct sockaddr *)&address, sizeof address) != 0 ||
                         listen(server->fd, BACKLOG) != 0
                     ? -errno
                     : 0;
    (void)umask(mask);
    return result == 0 ? 0
                       : error_set_errno(err, PA_INTERNAL, -result, "listen at %s", server->path);
}

struct socket_server *socket_server_new(sd_event *event, struct supervisor *supervisor,
                                        struct cache *cache, const char *path, struct error *err) {
    if (strlen(path) >= SOCKET_PATH_BYTES) {
        error_set(err, PA_INVALID_ARGUMENT, "socket %s: the name is longer than %d bytes", path,
                  SOCKET_PATH_BYTES - 1);
        return NULL;
    }
    struct socket_server *server = calloc(1, sizeof *server);
    if (server == NULL) {
        error_set(err, PA_INTERNAL, "socket: out of memory");
        return NULL;
    }
    *server =
        (struct socket_server){.event = event, .supervisor = supervisor, .cache = cache, .fd = -1};
    (void)snprintf(server->path, sizeof server->path, "%s", path);
    TAILQ_INIT(&server->clients);
    if (listen_at(server, err) != 0) {
        fd_closep(&server->fd);
        free(server);
        return NULL;
    }
    if (sd_event_add_io(event, &server->source, server->fd, EPOLLIN, on_connection, server) < 0) {
        error_set(err, PA_INTERNAL, "socket: cannot watch it");
        socket_server_free(server);
        return NULL;
    }
    return server;
}

void socket_server_stop_listening(struct socket_server *server) {
    if (server->fd < 0) return;
    (void)unlink(server->path);
    server->source = sd_event_source_disable_unref(server->source);
    server->pause = sd_event_source_disable_unref(server->pause);
    fd_closep(&server->fd);
}

void socket_server_free(struct socket_server *server) {
    struct client *client, *next;
    if (server == NULL) return;
    for (client = TAILQ_FIRST(&server->clients); client != NULL; client = next) {
        next = TAILQ_NEXT(client, link);
        drop(client);
    }
    while (!TAILQ_EMPTY(&server->clients)) { /* until the cancelled jobs have ended */
        if (sd_event_run(server->event, UINT64_MAX) < 0) break;
    }
    socket_server_stop_listening(server);
    free(server);
}

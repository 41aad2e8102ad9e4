/* What connections and bodies may take of time and room, and whose names a request may be for. */
#include "server/http_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "tools/result.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

/* From the beginning of a connection, or the end of a request, to the end of the next one's head:
 * the library itself ends connections on which nothing comes for a minute. */
enum { HEAD_SECONDS = 90, LOOK_US = 500000 };

struct http_connection *http_connection_of(const struct request *r) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info != NULL ? info->socket_context : NULL;
}

static void await_head(struct http_connection *connection) {
    connection->since_ns = clock_now_ns();
    connection->is_waiting = true;
    TAILQ_INSERT_TAIL(&connection->server->waiting, connection, link);
}

void http_on_connection(void *context, struct MHD_Connection *library, void **slot,
                        enum MHD_ConnectionNotificationCode code) {
    struct http_server *server = context;
    struct http_connection *connection = *slot;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        connection = calloc(1, sizeof *connection);
        if (connection == NULL) return; /* its requests are refused */
        *connection = (struct http_connection){
            .server = server, .connection = library, .peer = server->arriving.peer};
        (void)snprintf(connection->certificate, sizeof connection->certificate, "%s",
                       server->arriving.certificate);
        connection->peer->connections++;
        await_head(connection);
        *slot = connection;
    } else if (connection != NULL) {
        if (connection->is_waiting) TAILQ_REMOVE(&server->waiting, connection, link);
        connection->peer->connections--;
        free(connection);
        *slot = NULL;
    }
}

/* So many that none are left for others are not one peer's to have. */
bool http_connection_fits(const struct http_server *server, const struct peer *peer) {
    return peer->connections < server->most_connections / 8 * 7 + 1;
}

void http_head_came(struct request *r) {
    struct http_connection *connection = http_connection_of(r);
    if (connection == NULL || !connection->is_waiting) return;
    connection->is_waiting = false;
    TAILQ_REMOVE(&r->server->waiting, connection, link);
}

void http_head_awaited(struct request *r) {
    struct http_connection *connection = http_connection_of(r);
    if (connection != NULL && !connection->is_waiting) await_head(connection);
}

/* The library has no answer for that in the middle of a request. */
static void hang_up(struct MHD_Connection *connection, const char *status) {
    char answer[128];
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (info == NULL) return;
    int size = snprintf(answer, sizeof answer,
                        "HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", status);
    (void)send(info->connect_fd, answer, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)shutdown(info->connect_fd, SHUT_RDWR);
    log_event(LOG_INFO, "http", "hung up", {"status", status, 0});
}
static const char too_late[] = "408 Request Timeout";

static bool is_late(const struct request *r, uint64_t now_ns) {
    return now_ns - r->body_began_ns > intake_patience_ns(r->server->service->config.body_seconds,
                                                          r->body.size + r->dropped_bytes);
}

static int on_look(sd_event_source *source, uint64_t now_us, void *context) {
    struct http_server *server = context;
    struct http_connection *connection, *next_connection;
    struct request *r, *next;
    uint64_t now_ns = clock_now_ns();
    (void)now_us;
    for (r = TAILQ_FIRST(&server->reading); r != NULL; r = next) {
        next = TAILQ_NEXT(r, body_link);
        if (is_late(r, now_ns)) hang_up(r->connection, too_late);
    }
    for (connection = TAILQ_FIRST(&server->waiting); connection != NULL;
         connection = next_connection) {
        next_connection = TAILQ_NEXT(connection, link);
        if (now_ns - connection->since_ns < HEAD_SECONDS * NS_PER_SECOND) break;
        hang_up(connection->connection, too_late);
    }
    (void)sd_event_source_set_time_relative(source, LOOK_US);
    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

int http_bounds_start(struct http_server *server) {
    TAILQ_INIT(&server->waiting);
    TAILQ_INIT(&server->reading);
    return sd_event_add_time_relative(server->service->event, &server->look, CLOCK_MONOTONIC,
                                      LOOK_US, LOOK_US / 2, on_look, server);
}

/* Whose share a body is part of: a caller's; where nobody is asked who it is, an address's. */
static const char *sender_of(const struct request *r, char text[PEER_NAME_BYTES]) {
    if (r->is_known) return r->caller.name;
    peer_name(http_connection_of(r)->peer, text);
    return text;
}

int http_body_grow(struct request *r, size_t bytes, struct error *err) {
    char text[PEER_NAME_BYTES];
    struct intake *intake = &r->server->service->intake;
    switch (intake_grow(intake, &r->claim, sender_of(r, text), bytes)) {
    case INTAKE_TAKEN: return 0;
    case INTAKE_TOO_LARGE:
        return error_set(err, PA_MODULE_TOO_LARGE, "the body is too large: at most %zu bytes",
                         intake->most_bytes);
    default:
        return error_set(err, PA_OVERLOADED,
                         "too much is being sent; retry in 1 s, one large body at a time");
    }
}

size_t http_body_dropped(const struct http_server *server) {
    return server->service->intake.most_bytes * 4;
}

void http_body_awaited(struct request *r) {
    r->body_began_ns = clock_now_ns();
    r->is_reading = true;
    TAILQ_INSERT_TAIL(&r->server->reading, r, body_link);
}

void http_body_release(struct request *r) {
    if (r->is_reading) TAILQ_REMOVE(&r->server->reading, r, body_link);
    r->is_reading = false;
    buffer_fini(&r->body);
    intake_release(&r->server->service->intake, &r->claim);
}

void http_body_take(struct request *r, const char *data, size_t size) {
    struct error err = {0};
    size_t most = http_body_dropped(r->server);
    if (r->refused != 0) { /* the rest is read and dropped, so that the client gets its answer */
        r->dropped_bytes += size;
        if (r->dropped_bytes > most && r->dropped_bytes - size <= most)
            hang_up(r->connection, "413 Content Too Large");
        return;
    }
    if (size > SIZE_MAX - r->body.size || http_body_grow(r, r->body.size + size, &err) != 0) {
        http_refuse_later(r, http_status_of(err.code), &err);
    } else if (buffer_append(&r->body, data, size) != 0) {
        error_set(&err, PA_OVERLOADED, "out of memory; retry in 1 s");
        http_refuse_later(r, MHD_HTTP_TOO_MANY_REQUESTS, &err);
    }
    if (r->refused == 0) return;
    buffer_fini(&r->body);
    intake_release(&r->server->service->intake, &r->claim);
}

/* Of Host, or of what follows "://" in Origin, without the port; 0: it is no such thing. */
static size_t host_length(const char *authority) {
    const char *end = authority[0] == '[' ? strchr(authority, ']') : NULL;
    size_t length = end != NULL ? (size_t)(end + 1 - authority) : strcspn(authority, ":");
    const char *port = authority + length;
    bool good = port[0] == 0 || (port[0] == ':' && port[1 + strspn(port + 1, "0123456789")] == 0);
    return good ? length : 0;
}

static bool equals(const char *authority, size_t length, const char *name) {
    return strlen(name) == length && strncasecmp(authority, name, length) == 0;
}

static bool is_local(const char *authority, size_t length) {
    static const char *const own[] = {"localhost", "127.0.0.1", "[::1]"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (equals(authority, length, own[i])) return true;
    return false;
}

static bool is_address(const char *authority, size_t length) {
    char text[INET6_ADDRSTRLEN];
    uint8_t bytes[16];
    bool six = authority[0] == '[';
    size_t skip = six ? 1 : 0;
    if (length >= sizeof text || length <= 2 * skip) return false;
    (void)snprintf(text, sizeof text, "%.*s", (int)(length - 2 * skip), authority + skip);
    return inet_pton(six ? AF_INET6 : AF_INET, text, bytes) == 1;
}

/* A page's name can be bound to our address by whoever made the page (DNS rebinding); then all that
 * it does here is of its own origin. "localhost" and addresses cannot, and a server with TLS shows
 * whose names it has. */
bool http_is_for_us(const struct request *r) {
    const struct service *service = r->server->service;
    const char *host = MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, "Host");
    if (host == NULL || !auth_is_open(service->auth) || service->config.certificate[0] != 0)
        return true; /* browsers always send one */
    size_t length = host_length(host);
    if (is_local(host, length) || is_address(host, length)) return true;
    for (char *const *name = service->config.hosts; name != NULL && *name != NULL; name++)
        if (strcmp(*name, "*") == 0 || equals(host, length, *name)) return true;
    return false;
}

/* A page from elsewhere, in the browser of somebody who needs no token here, must not run things
 * (MCP, "Security Warning" of the transports). Its origin is our own, or one of this machine's. */
bool http_is_foreign_page(const struct request *r) {
    const char *origin = MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, "Origin");
    const char *host = MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, "Host");
    if (origin == NULL || auth_wants_tokens(r->server->service->auth)) return false;
    const char *from = strstr(origin, "://");
    if (from == NULL) return true;
    if (is_local(from + 3, host_length(from + 3))) return false;
    return host == NULL || strcasecmp(from + 3, host) != 0;
}

#include "server/http_internal.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "base/json_text.h"
#include "tools/result.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum { IDLE_SECONDS = 60, CONNECTION_BYTES = 16 << 10 };
enum { BEHIND_BYTES = 1 << 20, EVENT_BLOCK_BYTES = 32 << 10 };
/* What is said when there is no memory to say more. */
static const char no_memory[] = "{\"status\":\"INTERNAL\",\"exit_code\":0,\"error\":{\"code\":"
                                "\"INTERNAL\",\"message\":\"out of memory\",\"backtrace\":\"\"}}";

unsigned http_status_of(enum pa_status status) {
    switch (status) {
    case PA_MODULE_TOO_LARGE: return MHD_HTTP_CONTENT_TOO_LARGE;
    case PA_INVALID_MODULE:
    case PA_INVALID_ARGUMENT: return MHD_HTTP_BAD_REQUEST;
    case PA_NOT_FOUND: return MHD_HTTP_NOT_FOUND;
    case PA_DENIED: return MHD_HTTP_FORBIDDEN;
    case PA_OVERLOADED: return MHD_HTTP_TOO_MANY_REQUESTS;
    case PA_INTERNAL: return MHD_HTTP_INTERNAL_SERVER_ERROR;
    default: return MHD_HTTP_OK; /* however the program ended: the result tells */
    }
}

/* Takes over the response; NULL closes the connection. */
static enum MHD_Result queue(struct request *r, unsigned status, const char *type,
                             const char *allow, struct MHD_Response *response) {
    if (response == NULL) return MHD_NO;
    enum MHD_Result result = MHD_YES;
    char retry[24];
    (void)snprintf(retry, sizeof retry, "%llu",
                   (unsigned long long)(r->retry_ms > 0 ? (r->retry_ms + 999) / 1000 : 1));
    const char *const headers[][2] = {
        {"Content-Type", type},
        {"X-Request-Id", r->caller.request_id[0] != 0 ? r->caller.request_id : NULL},
        {"traceparent", r->caller.traceparent[0] != 0 ? r->caller.traceparent : NULL},
        {"Retry-After", status == MHD_HTTP_TOO_MANY_REQUESTS ? retry : NULL},
        {"WWW-Authenticate", status == MHD_HTTP_UNAUTHORIZED ? "Bearer" : NULL},
        {"Allow", allow},
        {"Connection", r->closes ? "close" : NULL},
        {"Mcp-Session-Id", r->mcp_session[0] != 0 ? r->mcp_session : NULL},
        /* Scripts and connections of our own only. What a program left as HTML is shown in a frame
         * without scripts; its styles may stand in it. */
        {"Content-Security-Policy",
         type != NULL && strncmp(type, "text/html", 9) == 0
             ? "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
               "img-src data: blob:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
               "form-action 'none'"
             : NULL},
        {"X-Content-Type-Options", "nosniff"}};
    for (size_t i = 0; i < sizeof headers / sizeof *headers && result == MHD_YES; i++) {
        if (headers[i][1] != NULL)
            result = MHD_add_response_header(response, headers[i][0], headers[i][1]);
    }
    if (result == MHD_YES) result = MHD_queue_response(r->connection, status, response);
    MHD_destroy_response(response);
    if (status / 100 < 6) r->server->service->metrics.http[status / 100]++;
    return result;
}

enum MHD_Result http_send_text(struct request *r, unsigned status, const char *type, char *text) {
    if (text == NULL) return MHD_NO;
    struct MHD_Response *response =
        MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
    if (response == NULL) free(text);
    return queue(r, status, type, NULL, response);
}

enum MHD_Result http_send_json(struct request *r, unsigned status, json_t *value) {
    char *text = value != NULL ? json_text(value, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;
    const json_t *message = json_object_get(json_object_get(value, "error"), "message");
    r->retry_ms = service_retry_ms(json_string_value(message));
    json_decref(value);
    if (text != NULL) return http_send_text(r, status, "application/json", text);
    return queue(r, MHD_HTTP_INTERNAL_SERVER_ERROR, "application/json", NULL,
                 MHD_create_response_from_buffer(sizeof no_memory - 1, (void *)(uintptr_t)no_memory,
                                                 MHD_RESPMEM_PERSISTENT));
}

enum MHD_Result http_send_empty(struct request *r, unsigned status) {
    return queue(r, status, NULL, NULL,
                 MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT));
}

enum MHD_Result http_send_not_allowed(struct request *r, const char *methods) {
    return queue(r, MHD_HTTP_METHOD_NOT_ALLOWED, NULL, methods,
                 MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT));
}

enum MHD_Result http_refuse(struct request *r, const struct error *err) {
    return http_send_json(r, http_status_of(err->code), service_refusal(&r->caller, err));
}

bool http_accepts_events(const struct request *r) {
    const char *accept = MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, "Accept");
    return accept != NULL && strstr(accept, "text/event-stream") != NULL;
}

static void run_soon(struct http_server *server) {
    (void)sd_event_source_set_time_relative(server->timer, 0);
    (void)sd_event_source_set_enabled(server->timer, SD_EVENT_ONESHOT);
}

/* The operation is over; nothing is to be cancelled any more. */
static void leave(struct request *r) {
    if (r->cancel == NULL) return;
    r->cancel = NULL;
    r->hangup = sd_event_source_disable_unref(r->hangup);
    TAILQ_REMOVE(&r->server->busy, r, link);
    r->server->busy_count--;
}

static void wake(struct request *r) {
    if (r->state == REQUEST_STREAMING && !r->sleeping) return;
    r->sleeping = false;
    MHD_resume_connection(r->connection); /* its handler is called again */
    run_soon(r->server);                  /* by the library's next turn */
}

static void cancel(struct request *r) {
    void (*end)(void *) = r->cancel;
    leave(r);
    end(r->operation);
    r->is_written = false;
    if (r->state == REQUEST_RUNNING) {
        r->state = REQUEST_DONE; /* without an answer: the connection is closed */
        wake(r);
    } else {
        http_stream_end(r);
    }
}

/* The client is gone. */
static int on_hangup(sd_event_source *source, int fd, uint32_t events, void *context) {
    (void)source;
    (void)fd;
    (void)events;
    cancel(context);
    return 0;
}

static int watch(struct request *r, void (*end)(void *), void *operation) {
    struct http_server *server = r->server;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    int result = info == NULL
                     ? -EBADF
                     : sd_event_add_io(server->service->event, &r->hangup, info->connect_fd,
                                       EPOLLRDHUP | EPOLLHUP, on_hangup, r);
    if (result < 0) return result;
    r->cancel = end;
    r->operation = operation;
    TAILQ_INSERT_TAIL(&server->busy, r, link);
    server->busy_count++;
    return 0;
}

static enum MHD_Result refuse_unwatched(struct request *r, int number, void (*end)(void *),
                                        void *operation) {
    struct error err = {0};
    end(operation);
    error_set_errno(&err, PA_INTERNAL, -number, "watch the connection");
    return http_refuse(r, &err);
}

enum MHD_Result http_wait(struct request *r, void (*end)(void *), void *operation) {
    int result = watch(r, end, operation);
    if (result < 0) return refuse_unwatched(r, result, end, operation);
    r->state = REQUEST_RUNNING;
    MHD_suspend_connection(r->connection);
    return MHD_YES;
}

void http_go_on(struct request *r) {
    leave(r);
    r->state = REQUEST_READING;
    wake(r);
}

void http_finish(struct request *r, unsigned status, json_t *answer) {
    r->status = status;
    if (http_write_later(r, NULL, answer)) return;
    leave(r);
    r->state = REQUEST_DONE;
    r->status = status;
    r->answer = answer;
    wake(r);
}

void http_finish_file(struct request *r, int fd) {
    r->file_fd = fd;
    http_finish(r, MHD_HTTP_OK, NULL);
}

/* Gives the library what is pending; without any, the connection sleeps. */
static ssize_t read_events(void *context, uint64_t position, char *out, size_t most) {
    struct request *r = context;
    (void)position;
    size_t left = r->pending.size - r->sent, size = left < most ? left : most;
    if (size == 0 && r->ended) return MHD_CONTENT_READER_END_OF_STREAM;
    if (size == 0) {
        r->sleeping = true;
        MHD_suspend_connection(r->connection);
        return 0;
    }
    memcpy(out, r->pending.data + r->sent, size);
    r->sent += size;
    if (r->sent == r->pending.size) {
        r->sent = r->pending.size = 0;
        if (r->paused && r->cancel != NULL && r->resume != NULL) r->resume(r->operation);
        r->paused = false;
    }
    return (ssize_t)size;
}

enum MHD_Result http_stream(struct request *r, void (*end)(void *), void *operation) {
    int result = watch(r, end, operation);
    if (result < 0) return refuse_unwatched(r, result, end, operation);
    r->state = REQUEST_STREAMING;
    struct MHD_Response *response = MHD_create_response_from_callback(
        MHD_SIZE_UNKNOWN, EVENT_BLOCK_BYTES, read_events, r, NULL);
    if (response != NULL) (void)MHD_add_response_header(response, "Cache-Control", "no-store");
    return queue(r, MHD_HTTP_OK, "text/event-stream", NULL, response);
}

/* All of it, or nothing: false. */
static bool add_event(struct request *r, const char *event, const char *text) {
    size_t before = r->pending.size;
    if ((event == NULL || (buffer_append(&r->pending, "event: ", 7) == 0 &&
                           buffer_append(&r->pending, event, strlen(event)) == 0 &&
                           buffer_append(&r->pending, "\n", 1) == 0)) &&
        buffer_append(&r->pending, "data: ", 6) == 0 &&
        buffer_append(&r->pending, text, strlen(text)) == 0 &&
        buffer_append(&r->pending, "\n\n", 2) == 0) {
        return true;
    }
    r->pending.size = before;
    return false;
}

/* Takes over the text; NULL: there was no memory for it. */
static void put_event(struct request *r, const char *event, char *text) {
    bool last = event != NULL && strcmp(event, "result") == 0;
    const char *told = last && (text == NULL || r->lossy) ? no_memory : text;
    if (told == NULL || !add_event(r, event, told)) {
        r->lossy = true;
        log_event(LOG_ERROR, "http", "an event is lost: out of memory",
                  {"request_id", r->caller.request_id, 0});
    }
    free(text);
    r->paused = r->paused || r->pending.size - r->sent > BEHIND_BYTES;
    wake(r);
}

void http_stream_event(struct request *r, const char *event, json_t *data) {
    if (http_write_later(r, event, data)) return;
    put_event(r, event,
              data != NULL ? json_text(data, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL);
    json_decref(data);
}

void http_written(struct request *r, const char *event, char *text) {
    r->is_written = false;
    if (r->state == REQUEST_STREAMING) {
        put_event(r, event, text);
        if (r->ends_later) http_stream_end(r);
        return;
    }
    leave(r);
    r->state = REQUEST_DONE;
    r->text = text != NULL ? text : strdup(no_memory);
    wake(r);
}

void http_stream_end(struct request *r) {
    r->ends_later = r->is_written;
    if (r->ends_later) return;
    leave(r);
    r->ended = true;
    wake(r);
}

void http_refuse_later(struct request *r, unsigned status, const struct error *err) {
    json_decref(r->refusal);
    r->refused = status;
    r->refusal = service_refusal(&r->caller, err);
}

/* A request begins: its target as it was sent. Later the library decodes it, as a text that a NUL
 * ends: what follows would be as if it had not been said. */
static void *begin(void *context, const char *target, struct MHD_Connection *connection) {
    struct request *r = calloc(1, sizeof *r);
    (void)connection;
    if (r == NULL) return NULL;
    *r = (struct request){
        .server = context, .file_fd = -1, .path_is_cut = strstr(target, "%00") != NULL};
    return r;
}

/* The library reads it part by part, as the client takes it, and closes it. */
static enum MHD_Result send_file(struct request *r) {
    struct stat st;
    struct MHD_Response *response =
        fstat(r->file_fd, &st) == 0
            ? MHD_create_response_from_fd64((uint64_t)st.st_size, r->file_fd)
            : NULL;
    if (response != NULL) r->file_fd = -1;
    return queue(r, r->status, "application/octet-stream", NULL, response);
}

/* Called when the head has come, for each part of the body, at its end, and after a resumption. */
static enum MHD_Result handle(void *context, struct MHD_Connection *connection, const char *path,
                              const char *method, const char *version, const char *data,
                              size_t *size, void **slot) {
    struct request *r = *slot;
    (void)context;
    (void)version;
    if (r == NULL) return MHD_NO; /* memory was out when it began */
    if (r->connection == NULL) {
        r->connection = connection;
        http_head_came(r);
        return http_admit(r, method, path);
    }
    if (*size > 0) {
        http_body_take(r, data, *size);
        *size = 0;
        return MHD_YES;
    }
    if (r->state == REQUEST_READING) {
        enum MHD_Result result = http_route(r, method, path);
        http_body_release(r); /* it has been looked at */
        return result;
    }
    if (r->state != REQUEST_DONE || r->status == 0) {
        return r->state == REQUEST_DONE ? MHD_NO : MHD_YES;
    }
    if (r->file_fd >= 0) return send_file(r);
    if (r->text != NULL)
        return http_send_text(r, r->status, "application/json", steal_ptr(r->text));
    return r->answer != NULL                ? http_send_json(r, r->status, steal_ptr(r->answer))
           : r->status == MHD_HTTP_ACCEPTED ? http_send_empty(r, r->status)
                                            : MHD_NO;
}

static void completed(void *context, struct MHD_Connection *connection, void **slot,
                      enum MHD_RequestTerminationCode code) {
    struct request *r = *slot;
    (void)context;
    (void)connection;
    (void)code;
    if (r == NULL) return;
    if (r->cancel != NULL) {
        void (*end)(void *) = r->cancel;
        leave(r);
        end(r->operation);
    }
    http_body_release(r);
    json_decref(r->refusal);
    if (r->connection != NULL) http_head_awaited(r);
    fd_closep(&r->file_fd);
    buffer_fini(&r->pending);
    buffer_fini(&r->held[0]);
    buffer_fini(&r->held[1]);
    json_decref(r->answer);
    json_decref(r->parsed);
    free(r->text);
    free(r);
    *slot = NULL;
}

static int turn(struct http_server *server) {
    MHD_UNSIGNED_LONG_LONG wait_ms;
    (void)MHD_run(server->daemon);
    if (MHD_get_timeout(server->daemon, &wait_ms) != MHD_YES) {
        return sd_event_source_set_enabled(server->timer, SD_EVENT_OFF);
    }
    int result = sd_event_source_set_time_relative(server->timer, wait_ms * 1000);
    return result < 0 ? result : sd_event_source_set_enabled(server->timer, SD_EVENT_ONESHOT);
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *context) {
    (void)source;
    (void)fd;
    (void)events;
    return turn(context);
}

static int on_timer(sd_event_source *source, uint64_t now_us, void *context) {
    (void)source;
    (void)now_us;
    return turn(context);
}

/* What the library has to say beside its results: of no interest above the level debug. */
static void log_line(void *context, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));
static void log_line(void *context, const char *format, va_list args) {
    char text[512];
    (void)context;
    if (!log_enabled(LOG_DEBUG, "http")) return;
    (void)vsnprintf(text, sizeof text, format, args);
    text[strcspn(text, "\r\n")] = 0;
    log_event(LOG_DEBUG, "http", "library", {"text", text, 0});
}

/* The library owns the descriptor, and closes it where it has too many connections. */
static void take(struct http_server *server, int fd, const struct sockaddr *address,
                 const char *certificate) {
    server->arriving.peer = peers_find(&server->service->peers, address);
    server->arriving.certificate = certificate;
    if (http_connection_fits(server, server->arriving.peer)) {
        socklen_t size = address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                                        : sizeof(struct sockaddr_in);
        (void)MHD_add_connection(server->daemon, fd, address, size);
    } else {
        (void)close(fd);
    }
    if (turn(server) < 0) log_event(LOG_ERROR, "http", "the event loop refuses a timer", {0});
}

static void take_plain(void *context, int fd, const struct sockaddr *address, socklen_t size) {
    struct http_server *server = context;
    (void)size;
    if (server->tls != NULL)
        tls_begin(server->tls, fd, address);
    else
        take(server, fd, address, "");
}

static void take_secure(void *context, const struct tls_client *client) {
    tls_count_release(client->count);
    take(context, client->fd, &client->address.any, client->certificate);
}

static struct MHD_Daemon *start(struct http_server *server) {
    const struct config *config = &server->service->config;
    struct rlimit files = {.rlim_cur = 1024};
    (void)getrlimit(RLIMIT_NOFILE, &files);
    unsigned most = server->most_connections =
        (unsigned)(files.rlim_cur / 8 * 5 < config->max_connections
                       ? files.rlim_cur / 8 * 5 /* the rest is for gRPC, */
                       : config->max_connections);
    server->acceptor.most_fd = (int)(files.rlim_cur / 16 * 15); /* and for runs */
    return MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG | MHD_USE_NO_LISTEN_SOCKET, 0,
        NULL, NULL, handle, server, MHD_OPTION_EXTERNAL_LOGGER, log_line, NULL,
        MHD_OPTION_NOTIFY_COMPLETED, completed, server, MHD_OPTION_NOTIFY_CONNECTION,
        http_on_connection, server, MHD_OPTION_URI_LOG_CALLBACK, begin, server,
        MHD_OPTION_CONNECTION_LIMIT, most, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES, MHD_OPTION_END);
}

struct http_server *http_server_new(struct service *service, struct tasks *tasks, struct mcp *mcp,
                                    int listen_fd, struct error *err) {
    struct http_server *server = calloc(1, sizeof *server);
    if (server == NULL) {
        (void)close(listen_fd);
        error_set(err, PA_INTERNAL, "http: out of memory");
        return NULL;
    }
    *server = (struct http_server){
        .service = service,
        .tasks = tasks,
        .mcp = mcp,
        .acceptor = {
            .component = "http", .take = take_plain, .context = server, .listen_fd = listen_fd}};
    TAILQ_INIT(&server->busy);
    server->daemon = start(server);
    const union MHD_DaemonInfo *info =
        server->daemon != NULL ? MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD)
                               : NULL;
    if (info == NULL) {
        error_set(err, PA_INTERNAL, "http: the library cannot start");
        http_server_free(server);
        return NULL;
    }
    const struct tls_options secure = {.protocol = "http/1.1",
                                       .take = take_secure,
                                       .context = server,
                                       .max_connections = server->most_connections};
    if (service->config.certificate[0] != 0 &&
        (server->tls = tls_new(service->event, &service->config, &secure, err)) == NULL) {
        http_server_free(server);
        return NULL;
    }
    int result =
        sd_event_add_io(service->event, &server->io, info->epoll_fd, EPOLLIN, on_io, server);
    if (result >= 0) {
        result = sd_event_add_time_relative(service->event, &server->timer, CLOCK_MONOTONIC, 0, 1,
                                            on_timer, server);
    }
    if (result >= 0) result = http_bounds_start(server);
    if (result < 0) {
        error_set_errno(err, PA_INTERNAL, -result, "watch the connections");
    } else if (acceptor_start(&server->acceptor, service->event, listen_fd, err) == 0) {
        return server;
    }
    http_server_free(server);
    return NULL;
}

void http_server_stop_listening(struct http_server *server) {
    acceptor_stop(&server->acceptor);
}

uint32_t http_server_busy(const struct http_server *server) {
    return server->busy_count;
}

void http_server_free(struct http_server *server) {
    if (server == NULL) return;
    acceptor_stop(&server->acceptor);
    tls_free(server->tls);
    if (server->daemon != NULL) {
        struct request *r;
        while ((r = TAILQ_FIRST(&server->busy)) != NULL)
            cancel(r); /* the library must not be stopped with sleeping connections */
        (void)MHD_run(server->daemon);
        MHD_stop_daemon(server->daemon);
    }
    sd_event_source_disable_unref(server->io);
    sd_event_source_disable_unref(server->timer);
    sd_event_source_disable_unref(server->look);
    free(server);
}

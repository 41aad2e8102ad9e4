#include "server/http.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "server/metrics.h"
#include "server/remote.h"
#include "supervisor/socket.h"
#include "tools/result.h"

#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

enum { MAX_CONNECTIONS = 12000, IDLE_SECONDS = 60, CONNECTION_BYTES = 32 << 10 };
/* Of a body, beside the module in it. */
#define BODY_BYTES ((size_t)4 << 20)
#define TYPE_JSON "application/json"
#define TYPE_METRICS "text/plain; version=0.0.4"

struct http_server {
    sd_event *event;
    struct http_config config;
    struct MHD_Daemon *daemon;
    int listen_fd; /* -1 until it has stopped listening; then owned */
    sd_event_source *io, *timer;
    struct metrics metrics;
    TAILQ_HEAD(request_list, request) running;
};

/* READING -> answered at once, or RUNNING -> DONE -> answered */
enum request_state { REQUEST_READING, REQUEST_RUNNING, REQUEST_DONE };

struct request {
    struct http_server *server;
    struct MHD_Connection *connection;
    enum request_state state;
    struct buffer body;        /* owned */
    bool too_large;            /* the rest of the body is read and dropped */
    json_t *root;              /* owned */
    unsigned tool;             /* its number in the table */
    struct remote_run *run;    /* RUNNING only */
    sd_event_source *hangup;   /* RUNNING only */
    TAILQ_ENTRY(request) link; /* RUNNING only */
    uint64_t began_ns;
    enum pa_status status; /* DONE */
    json_t *result;        /* DONE; owned; NULL: memory was out */
};

static unsigned http_status_of(enum pa_status status) {
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

/* Takes over `text`, from malloc(); NULL closes the connection. */
static enum MHD_Result send_text(struct request *r, unsigned status, const char *type, char *text,
                                 const char *header, const char *value) {
    if (text == NULL) return MHD_NO;
    struct MHD_Response *response =
        MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
    if (response == NULL) {
        free(text);
        return MHD_NO;
    }
    enum MHD_Result result = MHD_add_response_header(response, "Content-Type", type);
    if (result == MHD_YES && header != NULL) {
        result = MHD_add_response_header(response, header, value);
    }
    if (result == MHD_YES) result = MHD_queue_response(r->connection, status, response);
    MHD_destroy_response(response);
    metrics_count_request(&r->server->metrics, status);
    return result;
}

/* Takes over `value`. */
static enum MHD_Result send_json(struct request *r, unsigned status, json_t *value,
                                 const char *header, const char *header_value) {
    char *text = value != NULL ? json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;
    json_decref(value);
    return send_text(r, status, TYPE_JSON, text, header, header_value);
}

static enum MHD_Result send_error(struct request *r, unsigned status, const char *message) {
    return send_json(r, status, json_pack("{s:{s:s}}", "error", "message", message), NULL, NULL);
}

/* Takes over `result`, as a run's, or for one that was refused. */
static enum MHD_Result send_result(struct request *r, enum pa_status status, json_t *result) {
    bool later = status == PA_OVERLOADED;
    return send_json(r, http_status_of(status), result, later ? "Retry-After" : NULL, "1");
}

static enum MHD_Result refuse(struct request *r, const struct error *err) {
    const struct pa_result refused = {.status = err->code, .message = (char *)(uintptr_t)err->text};
    return send_result(r, err->code, result_json(&refused));
}

static enum MHD_Result get_health(struct request *r) {
    return send_json(r, MHD_HTTP_OK, json_pack("{s:s}", "status", "ok"), NULL, NULL);
}

static enum MHD_Result get_ready(struct request *r) {
    struct error err = {0};
    _cleanup_(fd_closep) int fd = socket_connect(r->server->config.socket_path, false, &err);
    return fd >= 0 ? send_json(r, MHD_HTTP_OK, json_pack("{s:s}", "status", "ready"), NULL, NULL)
                   : send_error(r, MHD_HTTP_SERVICE_UNAVAILABLE, err.text);
}

static enum MHD_Result get_metrics(struct request *r) {
    struct buffer text = {0};
    if (metrics_write(&r->server->metrics, &text) != 0) buffer_fini(&text);
    return send_text(r, MHD_HTTP_OK, TYPE_METRICS, (char *)text.data, NULL, NULL);
}

static enum MHD_Result get_tools(struct request *r) {
    return send_json(r, MHD_HTTP_OK, tools_list(), NULL, NULL);
}

static void run_soon(struct http_server *server) {
    (void)sd_event_source_set_time_relative(server->timer, 0);
    (void)sd_event_source_set_enabled(server->timer, SD_EVENT_ONESHOT);
}

/* RUNNING -> DONE */
static void leave(struct request *r) {
    r->state = REQUEST_DONE;
    r->run = NULL;
    r->hangup = sd_event_source_disable_unref(r->hangup);
    TAILQ_REMOVE(&r->server->running, r, link);
    r->server->metrics.in_flight--;
}

static void go_on(struct request *r) {
    leave(r);
    MHD_resume_connection(r->connection); /* whose handler is called again, to answer, */
    run_soon(r->server);                  /* by the library's next turn */
}

static void on_done(void *context, enum pa_status status, json_t *result) {
    struct request *r = context;
    r->status = status;
    r->result = result;
    metrics_count_run(&r->server->metrics, r->tool, status, clock_now_ns() - r->began_ns);
    go_on(r);
}

/* Ends a run whose result nobody will have. Without a result, the connection is closed. */
static void cancel(struct request *r) {
    remote_cancel(r->run);
    r->status = PA_INTERNAL;
    go_on(r);
}

/* The client is gone. */
static int on_hangup(sd_event_source *source, int fd, uint32_t events, void *context) {
    (void)source;
    (void)fd;
    (void)events;
    cancel(context);
    return 0;
}

/* Starts the run; the connection sleeps until it has ended. */
static enum MHD_Result run(struct request *r, const char *name, const json_t *parameters) {
    struct http_server *server = r->server;
    struct tool_call call;
    struct error err = {0};
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (tool_call_init(&call, name, parameters, &server->config.rules, &err) != 0) {
        return refuse(r, &err);
    }
    r->tool = (unsigned)(call.tool - tools);
    r->run = remote_start(server->event, server->config.socket_path, &call, on_done, r, &err);
    tool_call_fini(&call);
    if (r->run == NULL) return refuse(r, &err);
    int result = info == NULL ? -EBADF
                              : sd_event_add_io(server->event, &r->hangup, info->connect_fd,
                                                EPOLLRDHUP | EPOLLHUP, on_hangup, r);
    if (result < 0) {
        remote_cancel(r->run);
        r->run = NULL;
        error_set_errno(&err, PA_INTERNAL, -result, "watch the connection");
        return refuse(r, &err);
    }
    r->state = REQUEST_RUNNING;
    TAILQ_INSERT_TAIL(&server->running, r, link);
    server->metrics.in_flight++;
    MHD_suspend_connection(r->connection);
    return MHD_YES;
}

/* {"tool": NAME, "parameters": {...}} */
static enum MHD_Result post_execute(struct request *r) {
    struct error err = {0};
    json_error_t error;
    const char *text = r->body.size > 0 ? (const char *)r->body.data : "";
    r->root = json_loadb(text, r->body.size, JSON_REJECT_DUPLICATES, &error);
    const char *name = json_string_value(json_object_get(r->root, "tool"));
    json_t *parameters = json_object_get(r->root, "parameters");
    if (r->root == NULL) {
        error_set(&err, PA_INVALID_ARGUMENT, "the body is no JSON: line %d, column %d: %s",
                  error.line, error.column, error.text);
    } else if (name == NULL) {
        error_set(&err, PA_INVALID_ARGUMENT, "tool: must be a string, the tool's name");
    } else if (parameters != NULL) {
        return run(r, name, parameters);
    } else {
        error_set(&err, PA_INVALID_ARGUMENT, "parameters: must be an object");
    }
    return refuse(r, &err);
}

static const struct route {
    const char *method, *path;
    enum MHD_Result (*answer)(struct request *request);
} routes[] = {{"GET", "/health", get_health},
              {"GET", "/ready", get_ready},
              {"GET", "/metrics", get_metrics},
              {"GET", "/tools/list", get_tools},
              {"POST", "/tools/execute", post_execute}};

static enum MHD_Result route(struct request *r, const char *method, const char *path) {
    if (r->too_large) {
        return send_error(r, MHD_HTTP_CONTENT_TOO_LARGE, "the body is too large");
    }
    if (strcmp(method, "HEAD") == 0) method = "GET"; /* the body is left out by the library */
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        if (strcmp(routes[i].path, path) != 0) continue;
        if (strcmp(routes[i].method, method) == 0) return routes[i].answer(r);
        return send_json(r, MHD_HTTP_METHOD_NOT_ALLOWED,
                         json_pack("{s:{s:s}}", "error", "message", "not by this method"), "Allow",
                         routes[i].method);
    }
    return send_error(r, MHD_HTTP_NOT_FOUND, "there is no such path");
}

static void take_body(struct request *r, const char *data, size_t size) {
    size_t most = (size_t)r->server->config.rules.limits.max_module_bytes / 3 * 4 + BODY_BYTES;
    if (r->too_large) return;
    r->too_large = size > most - r->body.size || buffer_append(&r->body, data, size) != 0;
    if (r->too_large) buffer_fini(&r->body);
}

/* Called when the head has come, for each part of the body, at its end, and after a resumption. */
static enum MHD_Result handle(void *context, struct MHD_Connection *connection, const char *path,
                              const char *method, const char *version, const char *data,
                              size_t *size, void **slot) {
    struct request *r = *slot;
    (void)version;
    if (r == NULL) {
        r = calloc(1, sizeof *r);
        if (r == NULL) return MHD_NO;
        *r = (struct request){
            .server = context, .connection = connection, .began_ns = clock_now_ns()};
        *slot = r;
        return MHD_YES;
    }
    if (*size > 0) {
        take_body(r, data, *size);
        *size = 0;
        return MHD_YES;
    }
    if (r->state == REQUEST_READING) return route(r, method, path);
    if (r->state == REQUEST_RUNNING) return MHD_YES;
    json_t *result = r->result;
    r->result = NULL;
    return send_result(r, r->status, result);
}

static void completed(void *context, struct MHD_Connection *connection, void **slot,
                      enum MHD_RequestTerminationCode code) {
    struct request *r = *slot;
    (void)context;
    (void)connection;
    (void)code;
    if (r == NULL) return;
    if (r->state == REQUEST_RUNNING) {
        remote_cancel(r->run);
        leave(r);
    }
    buffer_fini(&r->body);
    json_decref(r->root);
    json_decref(r->result);
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

struct http_server *http_server_new(sd_event *event, const struct http_config *config,
                                    struct error *err) {
    struct http_server *server = calloc(1, sizeof *server);
    if (server == NULL) {
        error_set(err, PA_INTERNAL, "http: out of memory");
        return NULL;
    }
    *server =
        (struct http_server){.event = sd_event_ref(event), .config = *config, .listen_fd = -1};
    TAILQ_INIT(&server->running);
    server->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, handle, server,
        MHD_OPTION_SOCK_ADDR, &server->config.address, MHD_OPTION_NOTIFY_COMPLETED, completed,
        server, MHD_OPTION_CONNECTION_LIMIT, (unsigned)MAX_CONNECTIONS,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_BYTES, MHD_OPTION_END);
    const union MHD_DaemonInfo *info =
        server->daemon != NULL ? MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD)
                               : NULL;
    if (info == NULL) {
        error_set_errno(err, PA_INTERNAL, errno, "listen for HTTP");
        http_server_free(server);
        return NULL;
    }
    int result = sd_event_add_io(event, &server->io, info->epoll_fd, EPOLLIN, on_io, server);
    if (result >= 0) {
        result = sd_event_add_time_relative(event, &server->timer, CLOCK_MONOTONIC, 0, 1, on_timer,
                                            server);
    }
    if (result >= 0) return server;
    error_set_errno(err, PA_INTERNAL, -result, "watch the connections");
    http_server_free(server);
    return NULL;
}

uint16_t http_server_port(const struct http_server *server) {
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_BIND_PORT);
    return info != NULL ? info->port : 0;
}

void http_server_stop_listening(struct http_server *server) {
    if (server->listen_fd < 0) server->listen_fd = MHD_quiesce_daemon(server->daemon);
}

uint32_t http_server_in_flight(const struct http_server *server) {
    return server->metrics.in_flight;
}

void http_server_free(struct http_server *server) {
    if (server == NULL) return;
    if (server->daemon != NULL) {
        struct request *r;
        while ((r = TAILQ_FIRST(&server->running)) != NULL)
            cancel(r); /* the library must not be stopped with sleeping connections */
        (void)MHD_run(server->daemon);
        MHD_stop_daemon(server->daemon);
    }
    sd_event_source_disable_unref(server->io);
    sd_event_source_disable_unref(server->timer);
    fd_closep(&server->listen_fd);
    sd_event_unref(server->event);
    free(server);
}

/* Which path is answered how. */
#include "server/http_internal.h"

#include "openapi_template.h" /* generated from openapi.json */
#include "base/log.h"
#include "server/json_body.h"
#include "tools/result.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <string.h>

#define TYPE_METRICS "text/plain; version=0.0.4"

static enum MHD_Result get_health(struct request *r) {
    return http_send_json(r, MHD_HTTP_OK, json_pack("{s:s}", "status", "ok"));
}

static enum MHD_Result get_ready(struct request *r) {
    struct error err = {0};
    if (service_is_ready(r->server->service, &err))
        return http_send_json(r, MHD_HTTP_OK, json_pack("{s:s}", "status", "ready"));
    return http_send_json(
        r, MHD_HTTP_SERVICE_UNAVAILABLE,
        json_pack("{s:s, s:{s:s}}", "status", "not ready", "error", "message", err.text));
}

static enum MHD_Result get_metrics(struct request *r) {
    struct buffer text = {0};
    const struct service *service = r->server->service;
    if (metrics_write(&service->metrics, service->stats, sessions_count(service->sessions),
                      &text) != 0)
        buffer_fini(&text);
    return http_send_text(r, MHD_HTTP_OK, TYPE_METRICS, (char *)text.data);
}

static enum MHD_Result get_tools(struct request *r) {
    return http_send_json(r, MHD_HTTP_OK, tools_list());
}

/* The document as it is in openapi.json, with a call of each tool of the table. */
static enum MHD_Result get_openapi(struct request *r) {
    json_t *document = json_loads(openapi_template, 0, NULL), *calls = json_array();
    for (const struct tool *tool = tools; tool->name != NULL; tool++) {
        (void)json_array_append_new(
            calls,
            json_pack("{s:s, s:s, s:s, s:[s, s], s:{s:{s:s}, s:O}, s:b}", "title", tool->name,
                      "description", tool->description, "type", "object", "required", "tool",
                      "parameters", "properties", "tool", "const", tool->name, "parameters",
                      r->server->service->rules.schemas[tool - tools], "additionalProperties", 0));
    }
    json_t *schemas = json_object_get(json_object_get(document, "components"), "schemas");
    json_t *call = json_pack("{s:o}", "oneOf", calls);
    if (call == NULL || json_object_set_new(schemas, "ToolCall", call) != 0) {
        json_decref(document);
        document = NULL;
    }
    return http_send_json(r, MHD_HTTP_OK, document);
}

/* The body as a JSON object; NULL after the refusal, whose value is in `answered`. */
static json_t *parse_body(struct request *r, enum MHD_Result *answered) {
    struct error err = {0};
    json_t *root = json_body_parse(&r->body, &err);
    if (json_is_object(root)) return root;
    if (root != NULL) error_set(&err, PA_INVALID_ARGUMENT, "the body must be an object");
    json_decref(root);
    *answered = http_refuse(r, &err);
    return NULL;
}

/* Keys of the body that are not known are errors, as they are in a tool's parameters. */
static int check_keys(const json_t *body, const char *const *known, struct error *err) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)body, key, value) {
        const char *const *at = known;
        while (*at != NULL && strcmp(*at, key) != 0)
            at++;
        if (*at == NULL)
            return error_set(err, PA_INVALID_ARGUMENT, "%.100s: no such key here", key);
    }
    return 0;
}

static void on_result(void *context, enum pa_status status, json_t *result) {
    http_finish(context, http_status_of(status), result);
}

static void on_last_event(void *context, enum pa_status status, json_t *result) {
    struct request *r = context;
    static const char *const names[] = {"stdout", "stderr"};
    for (int i = 0; i < 2; i++) { /* what was held back is no character */
        if (r->held[i].size == 0) continue;
        http_stream_event(r, names[i],
                          json_pack("{s:o}", "text", result_chunk(&r->held[i], NULL, 0, true)));
    }
    (void)status;
    http_stream_event(r, "result", result);
    http_stream_end(r);
}

static void on_output(void *context, int stream, const void *data, size_t size) {
    struct request *r = context;
    http_stream_event(
        r, stream == 0 ? "stdout" : "stderr",
        json_pack("{s:o}", "text", result_chunk(&r->held[stream], data, size, false)));
    if (r->paused && r->cancel != NULL) service_pause(r->operation, true);
}

static void cancel_run(void *run) {
    service_cancel(run);
}

static void resume_run(void *run) {
    service_pause(run, false);
}

static const struct service_callbacks whole = {.done = on_result},
                                      streamed = {.output = on_output, .done = on_last_event};

const struct service_callbacks *http_run_callbacks(bool streams) {
    return streams ? &streamed : &whole;
}

enum MHD_Result http_wait_for_run(struct request *r, struct service_run *run, bool streams) {
    r->resume = streams ? resume_run : NULL;
    return streams ? http_stream(r, cancel_run, run) : http_wait(r, cancel_run, run);
}

/* {"tool": NAME, "parameters": {...}} */
static enum MHD_Result post_execute(struct request *r) {
    static const char *const keys[] = {"tool", "parameters", "session_id", NULL};
    enum MHD_Result answered;
    struct error err = {0};
    bool streams = http_accepts_events(r);
    json_t *body = parse_body(r, &answered);
    if (body == NULL) return answered;
    const char *name = json_string_value(json_object_get(body, "tool"));
    const json_t *parameters = json_object_get(body, "parameters");
    struct service_run *run = NULL;
    if (name == NULL) {
        error_set(&err, PA_INVALID_ARGUMENT, "tool: must be a string, the tool's name");
    } else if (parameters == NULL) {
        error_set(&err, PA_INVALID_ARGUMENT, "parameters: must be an object");
    } else if (check_keys(body, keys, &err) == 0) {
        const json_t *id = json_object_get(body, "session_id");
        if (json_string_length(id) > 0) /* the same as among the parameters */
            (void)json_object_set((json_t *)(uintptr_t)parameters, "session_id",
                                  (json_t *)(uintptr_t)id);
        run = service_start(r->server->service, &r->caller, name, parameters,
                            streams ? &streamed : &whole, r, &err);
    }
    json_decref(body);
    return run != NULL ? http_wait_for_run(r, run, streams) : http_refuse(r, &err);
}

static void on_task_update(void *context, const json_t *tool_call, const json_t *tool_result) {
    const json_t *data = tool_call != NULL ? tool_call : tool_result;
    http_stream_event(context, tool_call != NULL ? "tool_call" : "tool_result",
                      json_incref((json_t *)(uintptr_t)data));
}

static void cancel_task(void *task) {
    task_cancel(task);
}

static const struct task_callbacks whole_task = {.done = on_result},
                                   streamed_task = {.update = on_task_update,
                                                    .done = on_last_event};

/* {"query": TEXT, "context": {"tool_parameters": {"tool": NAME, ...}}, "task_id"} */
static enum MHD_Result post_tasks(struct request *r) {
    static const char *const keys[] = {"query", "context", "task_id", "mode", NULL};
    enum MHD_Result answered;
    struct error err = {0};
    bool streams = http_accepts_events(r);
    json_t *body = parse_body(r, &answered);
    if (body == NULL) return answered;
    const json_t *query = json_object_get(body, "query"), *id = json_object_get(body, "task_id");
    const json_t *context = json_object_get(body, "context");
    const json_t *tool = json_object_get(context, "tool_parameters");
    struct task_request request = {.query = query != NULL ? json_string_value(query) : "",
                                   .tool = tool,
                                   .task_id = id != NULL ? json_string_value(id) : ""};
    struct task *task = NULL;
    if (request.query == NULL || request.task_id == NULL) {
        error_set(&err, PA_INVALID_ARGUMENT, "%s: must be a string",
                  request.query == NULL ? "query" : "task_id");
    } else if ((context != NULL && !json_is_object(context)) ||
               (tool != NULL && !json_is_object(tool))) {
        error_set(&err, PA_INVALID_ARGUMENT, "context: must be an object, as its tool_parameters");
    } else if (check_keys(body, keys, &err) == 0) {
        task = task_start(r->server->tasks, &r->caller, &request,
                          streams ? &streamed_task : &whole_task, r, &err);
    }
    json_decref(body);
    if (task == NULL) return http_refuse(r, &err);
    return streams ? http_stream(r, cancel_task, task) : http_wait(r, cancel_task, task);
}

static const struct route {
    const char *method, *path;
    enum MHD_Result (*answer)(struct request *request);
    bool open; /* without credentials */
} routes[] = {{"GET", "/", http_get_page, true},
              {"GET", "/playground.css", http_get_style, true},
              {"GET", "/playground.js", http_get_script, true},
              {"GET", "/health", get_health, true},
              {"GET", "/ready", get_ready, true},
              {"GET", "/openapi.json", get_openapi, true},
              {"GET", "/metrics", get_metrics, false},
              {"GET", "/tools/list", get_tools, false},
              {"POST", "/tools/execute", post_execute, false},
              {"POST", "/api/v1/tasks", post_tasks, false},
              {"POST", "/mcp", http_post_mcp, false},
              {"GET", "/mcp", http_get_mcp, false},
              {"DELETE", "/mcp", http_delete_mcp, false}};
enum { ROUTES = sizeof routes / sizeof *routes };

/* Where certificates of clients are asked for: whether it showed a good one. */
static bool has_certificate(struct request *r) {
    unsigned status = 0;
    if (r->server->client_ca == NULL) return true;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    return info != NULL &&
           gnutls_certificate_verify_peers2((gnutls_session_t)info->tls_session, &status) == 0 &&
           status == 0;
}

/* Fills in who asks; false if that is nobody who may. */
static bool identify(struct request *r) {
    struct MHD_Connection *c = r->connection;
    const char *name = auth_check(r->server->service->auth,
                                  MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Authorization"));
    service_caller_init(&r->caller, "http", name != NULL ? name : "unknown",
                        MHD_lookup_connection_value(c, MHD_HEADER_KIND, "X-Request-Id"),
                        MHD_lookup_connection_value(c, MHD_HEADER_KIND, "traceparent"));
    return name != NULL && has_certificate(r);
}

/* A page from elsewhere, in the browser of somebody who runs a server without credentials, must not
 * run things there (DNS rebinding; MCP, "Security Warning" of the transports). */
static bool is_foreign_page(const struct request *r) {
    const char *origin = MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, "Origin");
    static const char *const own[] = {"localhost", "127.0.0.1", "[::1]"};
    if (origin == NULL || !auth_is_open(r->server->service->auth)) return false;
    const char *host = strstr(origin, "://");
    for (size_t i = 0; host != NULL && i < sizeof own / sizeof *own; i++) {
        size_t length = strlen(own[i]);
        if (strncmp(host + 3, own[i], length) == 0 &&
            (host[3 + length] == 0 || host[3 + length] == ':'))
            return false;
    }
    return true;
}

static enum MHD_Result refuse_method(struct request *r, const char *path) {
    char allowed[64] = "";
    http_session_methods(path, allowed, sizeof allowed);
    for (size_t i = 0; i < ROUTES; i++) {
        if (strcmp(routes[i].path, path) != 0) continue;
        size_t length = strlen(allowed);
        (void)snprintf(allowed + length, sizeof allowed - length, "%s%s", length > 0 ? ", " : "",
                       routes[i].method);
    }
    return http_send_not_allowed(r, allowed);
}

/* Among "GET, POST". */
static bool has_method(const char *methods, const char *method) {
    size_t length = strlen(method);
    const char *at = strstr(methods, method);
    return length > 0 && at != NULL && (at[length] == 0 || at[length] == ',');
}

enum MHD_Result http_route(struct request *r, const char *method, const char *path) {
    struct error err = {.code = PA_DENIED};
    const struct route *found = NULL;
    static const struct route session = {.answer = NULL};
    char methods[64];
    bool identified = identify(r);
    if (strcmp(method, "HEAD") == 0) method = "GET"; /* the body is left out by the library */
    http_session_methods(path, methods, sizeof methods);
    bool known = methods[0] != 0;
    if (known && has_method(methods, method)) found = &session;
    for (size_t i = 0; i < ROUTES && found == NULL; i++) {
        if (strcmp(routes[i].path, path) != 0) continue;
        known = true;
        if (strcmp(routes[i].method, method) == 0) found = &routes[i];
    }
    if (is_foreign_page(r)) {
        error_set(&err, PA_DENIED, "Origin: pages from elsewhere may not call this server");
        return http_refuse(r, &err);
    }
    if (!known || r->path_is_cut) {
        error_set(&err, PA_NOT_FOUND, "there is no such path");
        return http_refuse(r, &err);
    }
    if (!identified && (found == NULL || !found->open)) {
        error_set(&err, PA_DENIED, "no credential: send Authorization: Bearer TOKEN%s",
                  r->server->client_ca != NULL ? ", over a connection with a certificate" : "");
        log_event(LOG_WARN, "http", "no credential", {"request_id", r->caller.request_id, 0});
        return http_send_json(r, MHD_HTTP_UNAUTHORIZED, service_refusal(&r->caller, &err));
    }
    if (found == NULL) return refuse_method(r, path);
    if (r->too_many) {
        error_set(&err, PA_OVERLOADED, "too much is being sent by others; retry in 1 s");
        return http_refuse(r, &err);
    }
    if (r->too_large) {
        error_set(&err, PA_MODULE_TOO_LARGE, "the body is too large");
        return http_refuse(r, &err);
    }
    return found->answer != NULL ? found->answer(r) : http_session(r, method, path);
}

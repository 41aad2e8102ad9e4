/* Which path is answered how. */
#include "server/http_internal.h"

#include "openapi_template.h" /* generated from openapi.json */
#include "base/cleanup.h"
#include "base/log.h"
#include "tools/result.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

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
    return http_send_json(r, MHD_HTTP_OK, tools_list(&r->server->service->rules));
}

/* The document as it is in openapi.json, with a call of each tool of the table. */
static enum MHD_Result get_openapi(struct request *r) {
    json_t *document = json_loads(openapi_template, 0, NULL), *calls = json_array();
    for (const struct tool *tool = tools; tool->name != NULL; tool++) {
        (void)json_array_append_new(
            calls,
            json_pack("{s:s, s:s, s:s, s:[s, s], s:{s:{s:s}, s:o}, s:b}", "title", tool->name,
                      "description", tool->description, "type", "object", "required", "tool",
                      "parameters", "properties", "tool", "const", tool->name, "parameters",
                      tool_schema(&r->server->service->rules, tool), "additionalProperties", 0));
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
    json_t *root = http_body_json(r, &err);
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

static const struct http_path {
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

/* Fills in who asks. NULL: nobody who may, with `err`. */
static const char *identify(struct request *r, struct error *err) {
    struct MHD_Connection *c = r->connection;
    struct service *service = r->server->service;
    const struct http_connection *connection = http_connection_of(r);
    const struct auth_proof proof = {
        .header = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Authorization"),
        .certificate = connection->certificate[0] != 0 ? connection->certificate : NULL,
        .peer = connection->peer};
    const char *name = auth_check(service->auth, &proof, err);
    service_caller_init(&r->caller, "http", name != NULL ? name : "unknown",
                        MHD_lookup_connection_value(c, MHD_HEADER_KIND, "X-Request-Id"),
                        MHD_lookup_connection_value(c, MHD_HEADER_KIND, "traceparent"));
    r->caller.claim = &r->claim;
    r->is_known = name != NULL && !auth_is_open(service->auth);
    return name;
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

/* Among "GET, POST": all of the word, not "T". */
static bool has_method(const char *methods, const char *method) {
    for (const char *at = methods; *at != 0; at += strspn(at, ", ")) {
        size_t length = strcspn(at, ",");
        if (length == strlen(method) && strncmp(at, method, length) == 0) return true;
        at += length;
    }
    return false;
}

/* A complete request as it was decided when its head came. */
enum MHD_Result http_route(struct request *r, const char *method, const char *path) {
    enum MHD_Result result;
    if (r->refused == MHD_HTTP_METHOD_NOT_ALLOWED) return refuse_method(r, path);
    if (r->refused != 0) return http_send_json(r, r->refused, steal_ptr(r->refusal));
    if (strcmp(method, "HEAD") == 0) method = "GET"; /* the body is left out by the library */
    if (strcmp(method, "POST") == 0 && http_parse_later(r, &result)) return result;
    return r->route->answer != NULL ? r->route->answer(r) : http_session(r, method, path);
}

static const struct http_path session_path = {.answer = NULL};

/* Which path it is; false: there is none. `r->route` NULL: it has another method. */
static bool find_route(struct request *r, const char *method, const char *path) {
    char methods[64];
    http_session_methods(path, methods, sizeof methods);
    bool known = methods[0] != 0;
    if (strcmp(method, "HEAD") == 0) method = "GET";
    if (known && has_method(methods, method)) r->route = &session_path;
    for (size_t i = 0; i < ROUTES && r->route == NULL; i++) {
        if (strcmp(routes[i].path, path) != 0) continue;
        known = true;
        if (strcmp(routes[i].method, method) == 0) r->route = &routes[i];
    }
    return known && !r->path_is_cut;
}

struct lengths {
    const char *length, *encoding;
    unsigned lengths, encodings;
};

static enum MHD_Result count_length(void *context, enum MHD_ValueKind kind, const char *key,
                                    const char *value) {
    struct lengths *found = context;
    (void)kind;
    if (strcasecmp(key, "Content-Length") == 0) {
        found->lengths++;
        found->length = value;
    } else if (strcasecmp(key, "Transfer-Encoding") == 0) {
        found->encodings++;
        found->encoding = value;
    }
    return MHD_YES;
}

/* How long the body is, must be said once and in one way: else who passes requests on to us (a
 * proxy) may hold another part of them for the body (request smuggling). 0: there is none, or it
 * comes in chunks. -1 with `err`. */
static int body_length(struct request *r, uint64_t *length, struct error *err) {
    struct lengths found = {.length = NULL};
    (void)MHD_get_connection_values(r->connection, MHD_HEADER_KIND, count_length, &found);
    *length = 0;
    if (found.lengths + found.encodings > 1 ||
        (found.encodings == 1 && strcasecmp(found.encoding, "chunked") != 0)) {
        r->closes = true;
        return error_set(err, PA_INVALID_ARGUMENT,
                         "the length of the body must be said once: by Content-Length or by "
                         "Transfer-Encoding: chunked");
    }
    r->has_body = found.encodings == 1;
    if (found.lengths == 0) return 0;
    char *end;
    errno = 0;
    *length = strtoumax(found.length, &end, 10); /* the library has seen to its being a number */
    r->has_body = *length > 0;
    return 0;
}

/* The status of a refusal; 0: none. In this order nobody learns more than it may. */
static unsigned decide(struct request *r, const char *method, const char *path, uint64_t *length,
                       struct error *err) {
    const char *name = identify(r, err);
    if (body_length(r, length, err) != 0) return MHD_HTTP_BAD_REQUEST;
    struct error other = {0};
    if (!http_is_for_us(r)) {
        error_set(&other, PA_DENIED,
                  "Host: is no name of this server; see server.hosts in its settings");
    } else if (http_is_foreign_page(r)) {
        error_set(&other, PA_DENIED, "Origin: pages from elsewhere may not call this server");
    } else if (!find_route(r, method, path)) {
        error_set(&other, PA_NOT_FOUND, "there is no such path");
    }
    if (other.code != PA_OK) {
        *err = other;
        return http_status_of(err->code);
    }
    if (name == NULL && (r->route == NULL || !r->route->open)) {
        log_event(LOG_WARN, "http", "refused", {"request_id", r->caller.request_id, 0},
                  {"error", err->text, 0});
        return err->code == PA_DENIED ? MHD_HTTP_UNAUTHORIZED : http_status_of(err->code);
    }
    if (r->route == NULL) return MHD_HTTP_METHOD_NOT_ALLOWED;
    if (*length > SIZE_MAX) *length = SIZE_MAX;
    if (*length == 0) return 0;
    if (http_body_grow(r, (size_t)*length, err) != 0) return http_status_of(err->code);
    if (buffer_reserve(&r->body, (size_t)*length) == 0) return 0;
    error_set(err, PA_OVERLOADED, "out of memory; retry in 1 s");
    return MHD_HTTP_TOO_MANY_REQUESTS;
}

enum MHD_Result http_admit(struct request *r, const char *method, const char *path) {
    struct error err = {0};
    uint64_t length;
    if (http_connection_of(r) == NULL) return MHD_NO; /* memory was out when it began */
    unsigned refused = decide(r, method, path, &length, &err);
    if (refused != 0) http_refuse_later(r, refused, &err);
    /* Who waits for a word before it sends the body gets the answer in its place. Others would be
     * cut off in the middle of it, without having read the answer. */
    const char *expect = MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, "Expect");
    if (refused != 0 && (expect != NULL || r->closes || length > http_body_dropped(r->server))) {
        r->state = REQUEST_DONE;
        return http_route(r, method, path);
    }
    if (r->has_body) http_body_awaited(r);
    return MHD_YES;
}

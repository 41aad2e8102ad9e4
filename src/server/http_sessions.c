/* /sessions: the session_ tools as resources. */
#include "server/http_internal.h"

#include "server/json_body.h"
#include "tools/base64.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "/sessions"

/* A path's parts: /sessions/ID/ACTION/REST. */
struct place {
    char id[SESSION_ID_BYTES];
    char action[16];
    const char *rest; /* "": none */
};

static bool parse(const char *path, struct place *place) {
    *place = (struct place){.rest = ""};
    size_t length = strlen(PREFIX);
    if (strncmp(path, PREFIX, length) != 0) return false;
    path += length;
    if (path[0] == 0) return true;
    if (path[0] != '/') return false;
    size_t part = strcspn(++path, "/");
    if (part == 0 || part >= sizeof place->id) return false;
    memcpy(place->id, path, part);
    path += part;
    if (path[0] == 0) return true;
    part = strcspn(++path, "/");
    if (part == 0 || part >= sizeof place->action) return false;
    memcpy(place->action, path, part);
    path += part;
    if (path[0] == 0) return true;
    place->rest = path + 1;
    return strcmp(place->action, "files") == 0 && place->rest[0] != 0;
}

/* What can be done where. `rest`: with a file's name, or not. */
static const struct session_route {
    const char *method, *action, *tool; /* NULL: the session's own runner */
    bool of_session, rest;
} routes[] = {{"POST", "", "session_open", false, false},
              {"GET", "", "session_list", false, false},
              {"GET", "", "session_info", true, false},
              {"DELETE", "", "session_close", true, false},
              {"POST", "run", NULL, true, false},
              {"POST", "fork", "session_fork", true, false},
              {"POST", "checkpoint", "session_checkpoint", true, false},
              {"POST", "rollback", "session_rollback", true, false},
              {"POST", "interrupt", "session_interrupt", true, false},
              {"POST", "input", "session_input", true, false},
              {"GET", "files", "session_get_file", true, false},
              {"POST", "files", "session_put_files", true, false},
              {"GET", "files", "session_get_file", true, true},
              {"PUT", "files", "session_put_files", true, true}};
enum { ROUTES = sizeof routes / sizeof *routes };

static bool is_at(const struct session_route *route, const struct place *place) {
    return strcmp(route->action, place->action) == 0 && route->of_session == (place->id[0] != 0) &&
           route->rest == (place->rest[0] != 0);
}

/* The methods that a path has; "": it is none of these. */
void http_session_methods(const char *path, char *out, size_t size) {
    struct place place;
    out[0] = 0;
    if (!parse(path, &place)) return;
    for (size_t i = 0; i < ROUTES; i++) {
        size_t length = strlen(out);
        if (is_at(&routes[i], &place))
            (void)snprintf(out + length, size - length, "%s%s", length > 0 ? ", " : "",
                           routes[i].method);
    }
}

/* The bytes of a file as they are. */
static void on_file(void *context, enum pa_status status, json_t *result) {
    struct request *r = context;
    const json_t *text = json_object_get(result, "text"),
                 *encoded = json_object_get(result, "text_base64");
    struct buffer bytes = {0};
    size_t length = json_string_length(encoded), wrong;
    int done = -1;
    if (status == PA_OK && encoded != NULL) {
        bytes.data = malloc(length / 4 * 3 + 3);
        ptrdiff_t size = bytes.data != NULL
                             ? base64_decode(json_string_value(encoded), length, bytes.data, &wrong)
                             : -1;
        bytes.size = size > 0 ? (size_t)size : 0;
        done = size >= 0 ? 0 : -1;
    } else if (status == PA_OK && text != NULL) {
        done = buffer_append(&bytes, json_string_value(text), json_string_length(text));
    }
    if (done == 0) {
        json_decref(result);
        http_finish_bytes(r, &bytes);
    } else {
        buffer_fini(&bytes);
        http_finish(r, http_status_of(status), result);
    }
}

/* The body as a file's value: whatever its bytes are. */
static json_t *file_of_body(struct request *r, const char *name) {
    char *encoded = base64_encode(r->body.data, r->body.size);
    json_t *files = encoded != NULL ? json_pack("{s:{s:s}}", name, "base64", encoded) : NULL;
    free(encoded);
    return files;
}

/* The parameters: the body's, and what the path says. NULL with `err`. */
static json_t *parameters_of(struct request *r, const struct session_route *route,
                             const struct place *place, struct error *err) {
    bool has_body = strcmp(route->method, "POST") == 0 && r->body.size > 0;
    json_t *parameters = has_body ? json_body_parse(&r->body, err) : json_object();
    if (!json_is_object(parameters)) {
        if (err->code == PA_OK) error_set(err, PA_INVALID_ARGUMENT, "the body must be an object");
        json_decref(parameters);
        return NULL;
    }
    int result = 0;
    if (place->id[0] != 0)
        result = json_object_set_new(parameters, "session_id", json_string(place->id));
    if (result == 0 && route->rest && strcmp(route->method, "PUT") == 0)
        result = json_object_set_new(parameters, "files", file_of_body(r, place->rest));
    else if (result == 0 && route->rest)
        result = json_object_set_new(parameters, "path", json_string(place->rest));
    if (result == 0) return parameters;
    error_set(err, PA_INVALID_ARGUMENT, "path: must be UTF-8");
    json_decref(parameters);
    return NULL;
}

enum MHD_Result http_session(struct request *r, const char *method, const char *path) {
    static const struct service_callbacks file = {.done = on_file};
    const struct session_route *route = routes;
    struct place place;
    struct error err = {0};
    (void)parse(path, &place); /* http_session_methods() has looked at it */
    while (strcmp(route->method, method) != 0 || !is_at(route, &place))
        route++;
    json_t *parameters = parameters_of(r, route, &place, &err);
    if (parameters == NULL) return http_refuse(r, &err);
    bool runs = route->tool == NULL, streams = runs && http_accepts_events(r);
    const char *tool =
        runs ? sessions_runner(r->server->service->sessions, r->caller.name, place.id, &err)
             : route->tool;
    const struct service_callbacks *callbacks =
        route->rest && strcmp(method, "GET") == 0 ? &file : http_run_callbacks(streams);
    struct service_run *run = tool != NULL ? service_start(r->server->service, &r->caller, tool,
                                                           parameters, callbacks, r, &err)
                                           : NULL;
    json_decref(parameters);
    return run != NULL ? http_wait_for_run(r, run, streams) : http_refuse(r, &err);
}

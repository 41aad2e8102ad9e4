/* /sessions: the session_ tools as resources. */
#include "server/http_internal.h"

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
static void on_file(void *context, int fd) {
    http_finish_file(context, fd);
}

static void on_refusal(void *context, enum pa_status status, json_t *result) {
    http_finish(context, http_status_of(status), result);
}

/* The parameters: the body's, and what the path says. NULL with `err`. */
static json_t *parameters_of(struct request *r, const struct session_route *route,
                             const struct place *place, struct error *err) {
    bool has_body = strcmp(route->method, "POST") == 0 && (r->body.size > 0 || r->is_parsed);
    json_t *parameters = has_body ? http_body_json(r, err) : json_object();
    if (!json_is_object(parameters)) {
        if (err->code == PA_OK) error_set(err, PA_INVALID_ARGUMENT, "the body must be an object");
        json_decref(parameters);
        return NULL;
    }
    int result = 0;
    if (place->id[0] != 0)
        result = json_object_set_new(parameters, "session_id", json_string(place->id));
    if (result == 0) return parameters;
    error_set(err, PA_INVALID_ARGUMENT, "path: must be UTF-8");
    json_decref(parameters);
    return NULL;
}

/* A file by its name: bytes, not JSON. */
static enum MHD_Result file(struct request *r, const char *method, const struct place *place) {
    static const struct service_callbacks get = {.done = on_refusal, .file = on_file};
    struct service *service = r->server->service;
    struct error err = {0};
    struct service_run *run =
        strcmp(method, "PUT") == 0
            ? service_put_file(service, &r->caller, place->id, place->rest, &r->body,
                               http_run_callbacks(false), r, &err)
            : service_get_file(service, &r->caller, place->id, place->rest, &get, r, &err);
    return run != NULL ? http_wait_for_run(r, run, false) : http_refuse(r, &err);
}

enum MHD_Result http_session(struct request *r, const char *method, const char *path) {
    const struct session_route *route = routes;
    struct place place;
    struct error err = {0};
    (void)parse(path, &place); /* http_session_methods() has looked at it */
    while (strcmp(route->method, method) != 0 || !is_at(route, &place))
        route++;
    if (route->rest) return file(r, method, &place);
    json_t *parameters = parameters_of(r, route, &place, &err);
    if (parameters == NULL) return http_refuse(r, &err);
    bool runs = route->tool == NULL, streams = runs && http_accepts_events(r);
    const char *tool =
        runs ? sessions_runner(r->server->service->sessions, r->caller.name, place.id, &err)
             : route->tool;
    struct service_run *run = tool != NULL
                                  ? service_start(r->server->service, &r->caller, tool, parameters,
                                                  http_run_callbacks(streams), r, &err)
                                  : NULL;
    json_decref(parameters);
    return run != NULL ? http_wait_for_run(r, run, streams) : http_refuse(r, &err);
}

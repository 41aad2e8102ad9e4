/* MCP over HTTP: "Streamable HTTP" of the specification. One message a POST; the answer is JSON, or
 * a stream of events where the call has progress to tell. Nothing is kept between requests: a
 * session's id only tells apart whose request ids they are. */
#include "server/http_internal.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char *header(const struct request *r, const char *name) {
    return MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, name);
}

/* Revision 2026-07-28 gives errors a status; before it, they are all answers. */
static unsigned status_of(const json_t *answer, bool per_request) {
    json_int_t code = json_integer_value(json_object_get(json_object_get(answer, "error"), "code"));
    if (code == MCP_PARSE_ERROR || code == MCP_INVALID_REQUEST) return MHD_HTTP_BAD_REQUEST;
    if (!per_request) return MHD_HTTP_OK;
    if (code == MCP_METHOD_NOT_FOUND) return MHD_HTTP_NOT_FOUND;
    return code == MCP_INVALID_PARAMS || code == MCP_HEADER_MISMATCH ||
                   code == MCP_UNSUPPORTED_VERSION
               ? MHD_HTTP_BAD_REQUEST
               : MHD_HTTP_OK;
}

/* Headers that must say what the message says ("Standard request headers"). NULL if they do. */
static const char *mismatch(const struct request *r, const json_t *message) {
    const char *version = mcp_message_version(message), *said = header(r, "MCP-Protocol-Version");
    const json_t *params = json_object_get(message, "params");
    const char *method = json_string_value(json_object_get(message, "method"));
    const char *name = json_string_value(json_object_get(params, "name"));
    const char *said_method = header(r, "Mcp-Method"), *said_name = header(r, "Mcp-Name");
    if (version == NULL) return NULL;
    if (said == NULL || strcmp(said, version) != 0)
        return "MCP-Protocol-Version: is not that of the message";
    if (method != NULL && (said_method == NULL || strcmp(said_method, method) != 0))
        return "Mcp-Method: is not that of the message";
    if (method != NULL && strcmp(method, "tools/call") == 0 && name != NULL &&
        (said_name == NULL || strcmp(said_name, name) != 0))
        return "Mcp-Name: is not that of the message";
    return NULL;
}

static void on_notification(void *context, json_t *notification) {
    struct request *r = context;
    http_stream_event(r, NULL, notification);
    if (r->paused && r->cancel != NULL) mcp_pause(r->operation, true);
}

static void on_done_whole(void *context, json_t *response) {
    http_finish(context, response != NULL ? MHD_HTTP_OK : MHD_HTTP_ACCEPTED, response);
}

static void on_done_streamed(void *context, json_t *response) {
    if (response != NULL) http_stream_event(context, NULL, response);
    http_stream_end(context);
}

static void cancel_call(void *call) {
    mcp_cancel(call);
}

static void resume_call(void *call) {
    mcp_pause(call, false);
}

static const struct mcp_callbacks whole = {.done = on_done_whole},
                                  streamed = {.notify = on_notification, .done = on_done_streamed};

static bool wants_progress(const json_t *message) {
    const json_t *meta = json_object_get(json_object_get(message, "params"), "_meta");
    return json_object_get(meta, "progressToken") != NULL;
}

static enum MHD_Result handle(struct request *r, const json_t *message) {
    const char *given = header(r, "Mcp-Session-Id"), *wrong = mismatch(r, message);
    const char *method = json_string_value(json_object_get(message, "method"));
    bool streams = wants_progress(message) && http_accepts_events(r);
    bool per_request = mcp_message_version(message) != NULL;
    char scope[160];
    json_t *answer = NULL;
    if (wrong != NULL) {
        return http_send_json(
            r, MHD_HTTP_BAD_REQUEST,
            mcp_error(json_object_get(message, "id"), MCP_HEADER_MISMATCH, wrong, NULL));
    }
    /* Nobody cancels the calls of another, whatever session it names. */
    (void)snprintf(scope, sizeof scope, "%s/%.40s", r->caller.name, given != NULL ? given : "");
    struct mcp_call *call = mcp_handle(r->server->mcp, &r->caller, scope, message,
                                       streams ? &streamed : &whole, r, &answer);
    if (call != NULL) {
        r->resume = streams ? resume_call : NULL;
        return streams ? http_stream(r, cancel_call, call) : http_wait(r, cancel_call, call);
    }
    if (answer == NULL) return http_send_empty(r, MHD_HTTP_ACCEPTED);
    if (method != NULL && strcmp(method, "initialize") == 0) {
        uint8_t bytes[16];
        randombytes_buf(bytes, sizeof bytes);
        (void)sodium_bin2hex(r->mcp_session, sizeof r->mcp_session, bytes, sizeof bytes);
    }
    return http_send_json(r, status_of(answer, per_request), answer);
}

/* Whether a header that lists media types has one of those, or a wildcard for it. */
static bool has_type(const char *list, const char *type) {
    char group_type[32];
    size_t group = strcspn(type, "/");
    (void)snprintf(group_type, sizeof group_type, "%.*s/*", (int)group, type);
    for (const char *at = list; *at != 0; at += *at == ',') {
        at += strspn(at, " \t");
        size_t length = strcspn(at, ",; \t");
        if ((length == strlen(type) && strncasecmp(at, type, length) == 0) ||
            (length == strlen(group_type) && strncasecmp(at, group_type, length) == 0) ||
            (length == 3 && strncmp(at, "*/*", 3) == 0))
            return true;
        at += strcspn(at, ",");
    }
    return false;
}

/* We issue 32 hexadecimal digits. */
static bool is_session(const char *id) {
    return strlen(id) == 32 && strspn(id, "0123456789abcdef") == 32;
}

/* What the transport asks of a POST ("Sending Messages to the Server", "Session Management",
 * "Protocol Version Header"). The status to refuse it with, and why; 0: it is as it must be. */
static unsigned check_headers(const struct request *r, const char **why) {
    const char *accept = header(r, "Accept"), *type = header(r, "Content-Type"),
               *session = header(r, "Mcp-Session-Id"), *version = header(r, "MCP-Protocol-Version");
    if (type != NULL && !has_type(type, "application/json")) {
        *why = "Content-Type: must be application/json";
        return MHD_HTTP_UNSUPPORTED_MEDIA_TYPE;
    }
    if (accept != NULL && !has_type(accept, "application/json")) {
        *why = "Accept: must have application/json, and text/event-stream";
        return MHD_HTTP_NOT_ACCEPTABLE;
    }
    if (version != NULL && !mcp_knows_version(version)) {
        *why = "MCP-Protocol-Version: is not known here";
        return MHD_HTTP_BAD_REQUEST;
    }
    if (session != NULL && !is_session(session)) {
        *why = "Mcp-Session-Id: there is no such session; begin with initialize";
        return MHD_HTTP_NOT_FOUND;
    }
    return 0;
}

enum MHD_Result http_post_mcp(struct request *r) {
    struct error err = {0};
    const char *why;
    unsigned refused = check_headers(r, &why);
    if (refused != 0)
        return http_send_json(r, refused, mcp_error(NULL, MCP_INVALID_REQUEST, why, NULL));
    json_t *message = http_body_json(r, &err);
    r->caller.interface = "mcp";
    enum MHD_Result result = message != NULL
                                 ? handle(r, message)
                                 : http_send_json(r, MHD_HTTP_BAD_REQUEST,
                                                  mcp_error(NULL, MCP_PARSE_ERROR, err.text, NULL));
    json_decref(message);
    return result;
}

/* We have nothing to say but answers. */
enum MHD_Result http_get_mcp(struct request *r) {
    return http_send_not_allowed(r, "POST, DELETE");
}

/* The client forgets its session; we have none to forget. */
enum MHD_Result http_delete_mcp(struct request *r) {
    return http_send_empty(r, MHD_HTTP_NO_CONTENT);
}

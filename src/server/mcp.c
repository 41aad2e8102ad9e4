#include "server/mcp.h"

#include "base/buffer.h"
#include "base/json_text.h"
#include "tools/compile.h"
#include "tools/result.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define META "io.modelcontextprotocol/"
static const char *const handshake_versions[] = {"2025-11-25", "2025-06-18", "2025-03-26",
                                                 "2024-11-05"};
static const char per_request_version[] = "2026-07-28";
static const char instructions[] =
    "Runs programs in fresh WebAssembly sandboxes, without network or files of the host. A result "
    "tells status, exit_code, stdout, stderr and the last expression's value. Variables and files "
    "last in sessions: session_open, then session_id.";
enum { SCOPE_BYTES = 96, LIST_TTL_MS = 300000, MAX_TOKEN_BYTES = 256 };

struct mcp {
    struct service *service;
    TAILQ_HEAD(call_list, mcp_call) calls;
    json_t *no_memory; /* owned; an answer made ahead */
};

struct mcp_call {
    struct mcp *mcp;
    char scope[SCOPE_BYTES];
    json_t *id;             /* owned */
    json_t *progress_token; /* owned; NULL: it wants no progress */
    bool per_request;       /* the revision of its result */
    struct service_run *run;
    const struct mcp_callbacks *callbacks;
    void *context;
    struct buffer output[2]; /* owned; what was passed on as progress */
    struct buffer held;      /* owned; the beginning of a character */
    json_int_t progress;
    TAILQ_ENTRY(mcp_call) link;
};

struct mcp *mcp_new(struct service *service) {
    struct mcp *mcp = calloc(1, sizeof *mcp);
    if (mcp == NULL) return NULL;
    mcp->service = service;
    TAILQ_INIT(&mcp->calls);
    mcp->no_memory = mcp_error(NULL, MCP_INTERNAL_ERROR, "out of memory", NULL);
    if (mcp->no_memory != NULL) return mcp;
    free(mcp);
    return NULL;
}

void mcp_free(struct mcp *mcp) {
    if (mcp == NULL) return;
    struct mcp_call *call;
    while ((call = TAILQ_FIRST(&mcp->calls)) != NULL)
        mcp_cancel(call);
    json_decref(mcp->no_memory);
    free(mcp);
}

static void release(struct mcp_call *call) {
    TAILQ_REMOVE(&call->mcp->calls, call, link);
    json_decref(call->id);
    json_decref(call->progress_token);
    buffer_fini(&call->output[0]);
    buffer_fini(&call->output[1]);
    buffer_fini(&call->held);
    free(call);
}

void mcp_cancel(struct mcp_call *call) {
    if (call->run != NULL) service_cancel(call->run);
    release(call);
}

void mcp_pause(struct mcp_call *call, bool paused) {
    if (call->run != NULL && call->progress_token != NULL) service_pause(call->run, paused);
}

json_t *mcp_error(const json_t *id, enum mcp_error code, const char *message, json_t *data) {
    json_t *error =
        json_pack("{s:i, s:o, s:o*}", "code", code, "message", json_of_text(message), "data", data);
    return json_pack("{s:s, s:O?, s:o}", "jsonrpc", "2.0", "id", id, "error", error);
}

/* A request is always answered: without memory for the answer, by what was made ahead. */
static json_t *whole(const struct mcp *mcp, const json_t *id, json_t *answer) {
    if (answer != NULL) return answer;
    json_t *error = json_pack("{s:s, s:O?, s:O}", "jsonrpc", "2.0", "id", id, "error",
                              json_object_get(mcp->no_memory, "error"));
    return error != NULL ? error : json_incref(mcp->no_memory);
}

static json_t *refuse(const struct mcp *mcp, const json_t *id, enum mcp_error code,
                      const char *message, json_t *data) {
    return whole(mcp, id, mcp_error(id, code, message, data));
}

static json_t *respond(const json_t *id, json_t *result) { /* NULL: out of memory */
    return result != NULL
               ? json_pack("{s:s, s:O, s:o}", "jsonrpc", "2.0", "id", id, "result", result)
               : NULL;
}

/* What each result of the later kind has. */
static json_t *complete(json_t *result, bool per_request) {
    if (per_request && result != NULL)
        (void)json_object_set_new(result, "resultType", json_string("complete"));
    return result;
}

static json_t *server_info(void) {
    return json_pack("{s:s, s:s, s:s}", "name", "polyagent", "title", "polyagent", "version",
                     PA_VERSION);
}

static json_t *initialize(const json_t *params) {
    const char *wanted = json_string_value(json_object_get(params, "protocolVersion"));
    const char *version = handshake_versions[0];
    for (size_t i = 0; i < sizeof handshake_versions / sizeof *handshake_versions; i++) {
        if (wanted != NULL && strcmp(wanted, handshake_versions[i]) == 0)
            version = handshake_versions[i];
    }
    return json_pack("{s:s, s:{s:{}}, s:o, s:s}", "protocolVersion", version, "capabilities",
                     "tools", "serverInfo", server_info(), "instructions", instructions);
}

static json_t *discover(void) {
    return json_pack("{s:[s], s:{s:{}}, s:s, s:i, s:s, s:{s:o}}", "supportedVersions",
                     per_request_version, "capabilities", "tools", "instructions", instructions,
                     "ttlMs", LIST_TTL_MS, "cacheScope", "public", "_meta", META "serverInfo",
                     server_info());
}

static json_t *output_schema(bool runs) {
    if (!runs)
        return json_pack("{s:s, s:[s], s:{s:{s:s}}}", "type", "object", "required", "status",
                         "properties", "status", "type", "string");
    return json_pack("{s:s, s:[s, s, s], s:{s:{s:s}, s:{s:s}, s:{s:s}}}", "type", "object",
                     "required", "status", "exit_code", "usage", "properties", "status", "type",
                     "string", "exit_code", "type", "integer", "usage", "type", "object");
}

static json_t *list_tools(const struct mcp *mcp, bool per_request) {
    json_t *list = json_array();
    for (const struct tool *tool = tools; tool->name != NULL; tool++) {
        bool harmless = tool->prepare != NULL;
        bool runs = harmless && tool->prepare != tool_prepare_module;
        json_t *entry =
            json_pack("{s:s, s:s, s:s, s:o, s:o, s:{s:b, s:b, s:b, s:b}}", "name", tool->name,
                      "title", tool->title, "description", tool->description, "inputSchema",
                      tool_schema(&mcp->service->rules, tool), "outputSchema", output_schema(runs),
                      "annotations", "readOnlyHint", harmless, "destructiveHint",
                      strcmp(tool->name, "session_close") == 0, "idempotentHint", harmless,
                      "openWorldHint", 0);
        if (json_array_append_new(list, entry) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    json_t *result = json_pack("{s:o}", "tools", list);
    if (result != NULL && per_request) {
        (void)json_object_set_new(result, "ttlMs", json_integer(LIST_TTL_MS));
        (void)json_object_set_new(result, "cacheScope", json_string("public"));
    }
    return result;
}

/* -1: out of memory. */
static int add_text(json_t *content, const json_t *text) {
    return json_string_length(text) == 0
               ? 0
               : json_array_append_new(content,
                                       json_pack("{s:s, s:O}", "type", "text", "text", text));
}

/* Images among the files that the run left. -1: out of memory. */
static int add_images(json_t *content, const json_t *artifacts) {
    size_t index;
    json_t *file;
    json_array_foreach((json_t *)(uintptr_t)artifacts, index, file) {
        const char *mime = json_string_value(json_object_get(file, "mime"));
        if (mime == NULL || strncmp(mime, "image/", 6) != 0) continue;
        json_t *image = json_pack("{s:s, s:O, s:s}", "type", "image", "data",
                                  json_object_get(file, "bytes_base64"), "mimeType", mime);
        if (json_array_append_new(content, image) != 0) return -1;
    }
    return 0;
}

/* A run's result (taken over) as that of tools/call; NULL: out of memory. */
static json_t *call_result(json_t *run, bool per_request) {
    json_t *content = json_array();
    const char *status = json_string_value(json_object_get(run, "status"));
    bool failed = status == NULL || strcmp(status, "OK") != 0 ||
                  json_integer_value(json_object_get(run, "exit_code")) != 0;
    bool lost = run == NULL;
    if (json_object_get(run, "usage") == NULL) { /* no run's: a session's affairs */
        char *text = json_text(run, JSON_COMPACT);
        lost = text == NULL || json_array_append_new(content, json_pack("{s:s, s:s}", "type",
                                                                        "text", "text", text)) != 0;
        free(text);
        failed = status == NULL || strcmp(status, "OK") != 0;
    }
    if (lost || add_text(content, json_object_get(run, "stdout")) != 0 ||
        add_text(content, json_object_get(run, "stderr")) != 0 ||
        add_text(content, json_object_get(run, "result")) != 0 ||
        add_text(content, json_object_get(json_object_get(run, "error"), "message")) != 0 ||
        add_images(content, json_object_get(run, "artifacts")) != 0) {
        json_decref(content);
        json_decref(run);
        return NULL;
    }
    return complete(json_pack("{s:o, s:o, s:b}", "content", content, "structuredContent", run,
                              "isError", failed),
                    per_request);
}

static void on_output(void *context, int stream, const void *data, size_t size) {
    struct mcp_call *call = context;
    if (buffer_append(&call->output[stream], data, size) != 0) return; /* told at the end */
    json_t *text = result_chunk(&call->held, data, size, false);
    call->callbacks->notify(call->context,
                            json_pack("{s:s, s:s, s:{s:O, s:I, s:o}}", "jsonrpc", "2.0", "method",
                                      "notifications/progress", "params", "progressToken",
                                      call->progress_token, "progress", ++call->progress, "message",
                                      text));
}

static void on_done(void *context, enum pa_status status, json_t *run) {
    struct mcp_call *call = context;
    static const char *const names[] = {"stdout", "stderr"};
    (void)status;
    call->run = NULL;
    for (int i = 0; i < 2 && run != NULL && call->progress_token != NULL; i++) {
        if (result_add_output(run, names[i], call->output[i].data, call->output[i].size) == 0)
            continue;
        json_decref(run);
        run = NULL;
    }
    json_t *response = run != NULL ? respond(call->id, call_result(run, call->per_request)) : NULL;
    call->callbacks->done(call->context, whole(call->mcp, call->id, response));
    release(call);
}

static const struct service_callbacks plain = {.done = on_done},
                                      with_progress = {.output = on_output, .done = on_done};

/* What is wrong with the parameters of tools/call; NULL: nothing. The token is sent back with each
 * notification. */
static const char *wrong_with(const json_t *params) {
    const json_t *given = json_object_get(params, "arguments"),
                 *token = json_object_get(json_object_get(params, "_meta"), "progressToken");
    if (!json_is_string(json_object_get(params, "name")))
        return "name: must be a string, the tool's name";
    if (given != NULL && !json_is_object(given)) return "arguments: must be an object";
    if (token != NULL && !json_is_integer(token) &&
        (!json_is_string(token) || json_string_length(token) > MAX_TOKEN_BYTES))
        return "_meta.progressToken: must be an integer, or a string of at most 256 bytes";
    return NULL;
}

static struct mcp_call *call_tool(struct mcp *mcp, const struct service_caller *caller,
                                  const char *scope, const json_t *message,
                                  const struct mcp_callbacks *callbacks, void *context,
                                  bool per_request, json_t **answer) {
    const json_t *params = json_object_get(message, "params"), *id = json_object_get(message, "id");
    const char *name = json_string_value(json_object_get(params, "name"));
    json_t *given = json_object_get(params, "arguments"), *none = json_object();
    struct error err = {0};
    struct mcp_call *call = NULL;
    const char *wrong = wrong_with(params);
    if (wrong != NULL) {
        *answer = refuse(mcp, id, MCP_INVALID_PARAMS, wrong, NULL);
    } else {
        call = calloc(1, sizeof *call);
    }
    if (call != NULL) {
        json_t *token = json_object_get(json_object_get(params, "_meta"), "progressToken");
        bool told = callbacks->notify != NULL && token != NULL;
        *call = (struct mcp_call){.mcp = mcp,
                                  .id = json_incref((json_t *)(uintptr_t)id),
                                  .progress_token = told ? json_incref(token) : NULL,
                                  .per_request = per_request,
                                  .callbacks = callbacks,
                                  .context = context};
        (void)strncpy(call->scope, scope, SCOPE_BYTES - 1);
        TAILQ_INSERT_TAIL(&mcp->calls, call, link);
        call->run = service_start(mcp->service, caller, name, given != NULL ? given : none,
                                  told ? &with_progress : &plain, call, &err);
        if (call->run == NULL) {
            bool unknown = err.code == PA_NOT_FOUND && tool_find(name) == NULL;
            *answer = unknown
                          ? mcp_error(id, MCP_INVALID_PARAMS, err.text, NULL)
                          : respond(id, call_result(service_refusal(caller, &err), per_request));
            release(call);
            call = NULL;
        }
    }
    json_decref(none);
    if (call == NULL) *answer = whole(mcp, id, *answer);
    return call;
}

/* notifications/cancelled: the run ends, and no response follows. */
static void cancel_by_id(struct mcp *mcp, const char *scope, const json_t *id) {
    struct mcp_call *call;
    TAILQ_FOREACH(call, &mcp->calls, link) {
        if (strcmp(call->scope, scope) != 0 || !json_equal(call->id, id)) continue;
        if (call->run != NULL) service_cancel(call->run);
        call->run = NULL;
        call->callbacks->done(call->context, NULL);
        release(call);
        return;
    }
}

bool mcp_knows_version(const char *version) {
    bool known = strcmp(version, per_request_version) == 0;
    for (size_t i = 0; i < sizeof handshake_versions / sizeof *handshake_versions; i++)
        known = known || strcmp(version, handshake_versions[i]) == 0;
    return known;
}

const char *mcp_message_version(const json_t *message) {
    const json_t *meta = json_object_get(json_object_get(message, "params"), "_meta");
    return json_string_value(json_object_get(meta, META "protocolVersion"));
}

struct mcp_call *mcp_handle(struct mcp *mcp, const struct service_caller *caller, const char *scope,
                            const json_t *message, const struct mcp_callbacks *callbacks,
                            void *context, json_t **answer) {
    const json_t *id = json_object_get(message, "id"), *params = json_object_get(message, "params");
    const char *method = json_string_value(json_object_get(message, "method"));
    const char *version = mcp_message_version(message);
    const char *protocol = json_string_value(json_object_get(message, "jsonrpc"));
    json_t *result = NULL;
    *answer = NULL;
    if (protocol == NULL || strcmp(protocol, "2.0") != 0 ||
        (id != NULL && !json_is_string(id) && !json_is_integer(id))) {
        *answer = refuse(mcp, NULL, MCP_INVALID_REQUEST, "no message of JSON-RPC 2.0", NULL);
        return NULL;
    }
    if (method == NULL) {
        if (json_object_get(message, "result") == NULL && json_object_get(message, "error") == NULL)
            *answer = refuse(mcp, id, MCP_INVALID_REQUEST, "method: must be a string", NULL);
        return NULL; /* a response: we ask nothing */
    }
    if (id == NULL) {
        if (strcmp(method, "notifications/cancelled") == 0)
            cancel_by_id(mcp, scope, json_object_get(params, "requestId"));
        return NULL;
    }
    if (version != NULL && strcmp(version, per_request_version) != 0) {
        *answer = refuse(
            mcp, id, MCP_UNSUPPORTED_VERSION, "Unsupported protocol version",
            json_pack("{s:[s], s:s}", "supported", per_request_version, "requested", version));
        return NULL;
    }
    bool per_request = version != NULL;
    const json_t *meta = json_object_get(params, "_meta");
    if (per_request && !json_is_object(json_object_get(meta, META "clientCapabilities"))) {
        *answer =
            refuse(mcp, id, MCP_INVALID_PARAMS, "_meta: lacks " META "clientCapabilities", NULL);
        return NULL;
    }
    if (strcmp(method, "tools/call") == 0) {
        return call_tool(mcp, caller, scope, message, callbacks, context, per_request, answer);
    }
    if (strcmp(method, "tools/list") == 0) {
        result = complete(list_tools(mcp, per_request), per_request);
    } else if (per_request && strcmp(method, "server/discover") == 0) {
        result = complete(discover(), true);
    } else if (!per_request && strcmp(method, "initialize") == 0) {
        result = initialize(params);
    } else if (!per_request && strcmp(method, "ping") == 0) {
        result = json_object();
    } else {
        *answer = refuse(mcp, id, MCP_METHOD_NOT_FOUND, "Method not found", NULL);
        return NULL;
    }
    *answer = whole(mcp, id, respond(id, result));
    return NULL;
}

/* The Model Context Protocol, without a transport: revisions 2024-11-05 to 2025-11-25, which begin
 * with a handshake, and 2026-07-28, in which each request says its revision. JSON-RPC 2.0 messages
 * come in and go out; tools are those of the table. */
#ifndef PA_SERVER_MCP_H
#define PA_SERVER_MCP_H

#include "server/service.h"

/* Error codes: JSON-RPC 2.0, section 5.1, and MCP's own. */
enum mcp_error {
    MCP_PARSE_ERROR = -32700,
    MCP_INVALID_REQUEST = -32600,
    MCP_METHOD_NOT_FOUND = -32601,
    MCP_INVALID_PARAMS = -32602,
    MCP_INTERNAL_ERROR = -32603,
    MCP_HEADER_MISMATCH = -32020,
    MCP_UNSUPPORTED_VERSION = -32022
};

struct mcp; /* the calls under way */
struct mcp_call;

struct mcp *mcp_new(struct service *service);
/* Cancels what is left, without an answer. */
void mcp_free(struct mcp *mcp);

struct mcp_callbacks {
    /* A notification about the call; takes it over. NULL where the transport has no way for them.
     */
    void (*notify)(void *context, json_t *notification);
    /* Once, unless cancelled by mcp_cancel(). Takes over the response; NULL: the
     * client has cancelled the call and waits for none. */
    void (*done)(void *context, json_t *response);
};

/* Handles one message. Either a response is put into `answer` (the caller's), or a call is under
 * way and returned, or neither: it was a notification. `scope` tells apart clients that may use the
 * same request ids; it is copied. */
struct mcp_call *mcp_handle(struct mcp *mcp, const struct service_caller *caller, const char *scope,
                            const json_t *message, const struct mcp_callbacks *callbacks,
                            void *context, json_t **answer);
/* The client is gone. Not from within a callback `done`. */
void mcp_cancel(struct mcp_call *call);
/* What the client has not read yet is too much, or no longer. */
void mcp_pause(struct mcp_call *call, bool paused);

/* The revision that a message of the later kind names in its _meta; NULL for the others. */
const char *mcp_message_version(const json_t *message);

/* Whether it is one of the revisions above. */
bool mcp_knows_version(const char *version);

/* An error response; `id` NULL is null, `data` (taken over) may be NULL. */
json_t *mcp_error(const json_t *id, enum mcp_error code, const char *message, json_t *data);

#endif

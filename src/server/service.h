/* What the interfaces have in common: a tool call by name, in somebody's name, becomes a run of the
 * supervisor, is counted and logged, and ends as a result (spec section 3). HTTP, gRPC and MCP only
 * translate to and from this. All of one thread, in one event loop. */
#ifndef PA_SERVER_SERVICE_H
#define PA_SERVER_SERVICE_H

#include "config/config.h"
#include "server/auth.h"
#include "server/intake.h"
#include "server/metrics.h"
#include "server/remote.h"
#include "server/sessions.h"
#include "supervisor/socket.h"
#include "tools/tools.h"

#include <sys/queue.h>
#include <systemd/sd-event.h>

enum { REQUEST_ID_BYTES = 65, TRACEPARENT_BYTES = 56 };
/* Of a request, beside the module in it. */
enum { SERVICE_EXTRA_BYTES = 4 << 20 };

struct service {
    sd_event *event; /* owned reference */
    struct config config;
    struct tool_rules rules;             /* of the configuration */
    struct auth *auth;                   /* owned */
    char *llm_key;                       /* owned; of llm.api_key_file; NULL: the variable has it */
    char socket_path[SOCKET_PATH_BYTES]; /* of the supervisor */
    const struct supervisor_stats
        *stats;           /* owned mapping of what the supervisor tells; may be NULL */
    struct remote remote; /* to it */
    struct metrics metrics;
    struct intake intake;  /* room for requests and results */
    sd_event_source *room; /* owned; there is more of it */
    struct peers peers;
    struct work *work;                             /* owned; what would hold up the loop */
    struct sessions *sessions;                     /* owned */
    TAILQ_HEAD(leftover_list, leftover) leftovers; /* folders of cancelled runs */
    SLIST_HEAD(retired_list, retired) retired;     /* configurations that threads may look at */
    uint64_t started_ns;
};

/* Takes over `config`. `event` is referenced; NULL: a loop of its own. `stats_fd` (-1: none) is
 * mapped and closed. `sessions_dir`: where they are kept for the next server; NULL: they go with
 * this one. -1 with `err`: nothing to release. */
int service_init(struct service *service, sd_event *event, struct config *config,
                 const char *socket_path, int stats_fd, const char *sessions_dir,
                 struct error *err);
void service_fini(struct service *service);
/* Reads the configuration again; listeners stay as they are. -1 with `err`: all stays as it was. */
int service_reload(struct service *service, const char *config_path, struct error *err);

/* Who asks, and how it is to be found again. */
struct service_caller {
    const char *interface;      /* "http", "grpc", "mcp" */
    char name[AUTH_NAME_BYTES]; /* by auth_check() */
    char request_id[REQUEST_ID_BYTES];
    char traceparent[TRACEPARENT_BYTES]; /* W3C Trace Context; "" */
    /* Of the request, which lives until it has its result or the run is cancelled: the run takes it
     * over, and gives that of the result for it. NULL: it has none. */
    struct intake_claim *claim;
};

/* `id` (may be NULL) is taken if it is 1 to 64 of [A-Za-z0-9._-]; else one is made. A traceparent
 * is taken if it is one of version 00. */
void service_caller_init(struct service_caller *caller, const char *interface, const char *name,
                         const char *id, const char *traceparent);

struct service_run; /* one under way */

struct service_callbacks {
    /* What the guest wrote, as it comes. NULL: it stands in the result. */
    void (*output)(void *context, int stream, const void *data, size_t size);
    /* Once, unless the run was cancelled. Takes over the result; NULL: out of memory. A refusal
     * that could not be told at once comes so, too. */
    void (*done)(void *context, enum pa_status status, json_t *result);
    /* Of service_get_file(), instead: the file, taken over. */
    void (*file)(void *context, int fd);
};

/* Starts a run. `parameters` may be released after the call; `caller` is copied. NULL with `err`.
 */
struct service_run *service_start(struct service *service, const struct service_caller *caller,
                                  const char *tool, const json_t *parameters,
                                  const struct service_callbacks *callbacks, void *context,
                                  struct error *err);
/* Puts a file of bytes (taken over where it succeeds) into a session; it ends as session_put_files.
 */
struct service_run *service_put_file(struct service *service, const struct service_caller *caller,
                                     const char *session_id, const char *path, struct buffer *bytes,
                                     const struct service_callbacks *callbacks, void *context,
                                     struct error *err);
/* Opens a file of a session. */
struct service_run *service_get_file(struct service *service, const struct service_caller *caller,
                                     const char *session_id, const char *path,
                                     const struct service_callbacks *callbacks, void *context,
                                     struct error *err);
void service_pause(struct service_run *run, bool paused);
/* Not from within `done`. */
void service_cancel(struct service_run *run);

/* The result of a call that was refused; NULL when memory runs out. */
json_t *service_refusal(const struct service_caller *caller, const struct error *err);

/* When a caller is to come again, by the "retry in N ms" (or s) of a message; where it does not say
 * so, in 1000 ms. */
uint64_t service_retry_ms(const char *message);

/* A PEM file's text, for the caller to free; NULL where `path` is "". -1 with `err`. */
int service_read_pem(const char *path, char **text, struct error *err);

/* Whether the supervisor is there. */
bool service_is_ready(const struct service *service, struct error *err);

#endif

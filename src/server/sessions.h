/* Sessions: interpreters that stay from turn to turn, with a /workspace each. What the supervisor
 * keeps are nodes, states that never change (supervisor.h); here it is known which session stands
 * at which of them, which checkpoints name others, and whose all that is.
 *
 * A turn runs in a copy of the session's node. Ends it well, the copy is the session's new node;
 * else the session stays where it was. So a branch or a checkpoint is no more than another
 * reference to a node, and a copy of the files.
 *
 * On disk, in a folder of each line of descent, named by its first session:
 *     LINE/SESSION.json           who, which interpreter: survives a restart, as do the files
 *     LINE/files/SESSION          /workspace
 *     LINE/files/SESSION.output   /output
 *     LINE/checkpoints/SESSION@N  /workspace of a checkpoint; ends with the interpreters' states
 */
#ifndef PA_SERVER_SESSIONS_H
#define PA_SERVER_SESSIONS_H

#include "config/config.h"
#include "server/remote.h"
#include "tools/tools.h"

#include <jansson.h>

struct sessions;
struct session;
struct service_run;

enum { SESSION_ID_BYTES = 25, SESSION_OWNER_BYTES = 64, SESSION_PATH_BYTES = 512 };

/* `dir`: where they are kept; made, and locked against other servers. NULL: a temporary folder that
 * goes with them. `config`, `rules` and `remote` outlive them. NULL with `err`. */
struct sessions *sessions_new(sd_event *event, struct remote *remote, const struct config *config,
                              const struct tool_rules *rules, const char *dir, struct error *err);
/* Ends all of them. Those in a folder that stays are found again, without their interpreters. */
void sessions_free(struct sessions *sessions);

/* `sessions.dir` of the configuration, or the user's own place. -1 with `err`. */
int sessions_path(const char *given, char *out, size_t size, struct error *err);

/* One of the session_ tools, in the name of `owner`; `parameters` fit its schema. The answer, or
 * NULL with `err`: PA_NOT_FOUND for a session that is not there, not the owner's, or has ended. */
json_t *sessions_call(struct sessions *sessions, const char *owner, const struct tool *tool,
                      const json_t *parameters, struct error *err);

/* A turn on its way. */
struct session_turn {
    struct session *session;
    json_t *parameters;              /* owned; the session's and the turn's own */
    struct tool_turn call;           /* for tool_call_init_turn() */
    struct remote_turn node;         /* for remote_start() */
    uint64_t free_bytes, free_names; /* of the workspace's quotas */
    bool is_new;                     /* the session was opened for it */
    int input_fd;                    /* owned; the read end of its stdin; -1: that is no stream */
    char name[32], workspace[SESSION_PATH_BYTES], output[SESSION_PATH_BYTES],
        scope[SESSION_PATH_BYTES];
};

/* Begins a turn of the session that `parameters` name, or of a new one. A session is in one turn at
 * a time: PA_OVERLOADED. -1 with `err`: nothing to release. */
int sessions_enter(struct sessions *sessions, const char *owner, const struct tool *tool,
                   const json_t *parameters, struct session_turn *turn, struct error *err);
/* What ends it when it is interrupted. */
void sessions_started(struct session_turn *turn, struct remote_run *run);
void session_turn_fini(struct session_turn *turn);

/* The turn has ended; `outcome` is NULL where nobody waited for it. Adds to `result` (NULL: nobody
 * waits for it) where the session stands now; takes what is in its /output. The status that the
 * result has then: an interrupted turn is no failure. */
enum pa_status sessions_leave(struct session *session, enum pa_status status,
                              const struct remote_outcome *outcome, json_t *result);
/* Instead of sessions_started(): it was never begun. Releases the turn; a session that was opened
 * for it is no more. */
void sessions_abandon(struct session_turn *turn);

/* The tool that runs its turns; NULL with `err`. */
const char *sessions_runner(struct sessions *sessions, const char *owner, const char *id,
                            struct error *err);

/* How many there are, for metrics. */
unsigned sessions_count(const struct sessions *sessions);

#endif

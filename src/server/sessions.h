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
 * and for all of them
 *     interpreters/SHA256         that clients handed over
 *     trash/                      what is being removed
 */
#ifndef PA_SERVER_SESSIONS_H
#define PA_SERVER_SESSIONS_H

#include "config/config.h"
#include "server/remote.h"
#include "server/work.h"
#include "tools/tools.h"

#include <jansson.h>

struct sessions;
struct session;
struct session_op; /* something that a thread is at */

enum { SESSION_ID_BYTES = 25, SESSION_OWNER_BYTES = 64, SESSION_PATH_BYTES = 512 };

/* `dir`: where they are kept; made, and locked against other servers. NULL: a temporary folder that
 * goes with them. `work`, `config`, `rules` and `remote` outlive them. NULL with `err`. */
struct sessions *sessions_new(sd_event *event, struct work *work, struct remote *remote,
                              const struct config *config, const struct tool_rules *rules,
                              const char *dir, struct error *err);
/* Ends all of them, when no thread is at anything. Those in a folder that stays are found again,
 * without their interpreters. */
void sessions_free(struct sessions *sessions);

/* `sessions.dir` of the configuration, or the user's own place. -1 with `err`. */
int sessions_path(const char *given, char *out, size_t size, struct error *err);
/* Makes the folder, and all above it that is not there, for this user alone. -1 with `err`. */
int sessions_make_dir(const char *dir, struct error *err);
/* Whether a name in it is that of a session, or of what goes with them. */
bool sessions_is_own(const char *name);

/* Told from the loop: the answer, taken over, or NULL with `err`. */
typedef void session_answer(void *context, json_t *answer, struct error *err);
/* The same with a descriptor, or -1. */
typedef void session_file(void *context, int fd, struct error *err);

/* One of the session_ tools, in the name of `owner`; `parameters` fit its schema. The answer, or
 * NULL with `err` (PA_NOT_FOUND for a session that is not there, not the owner's, or has ended), or
 * NULL with `op`: it comes by `done`. */
json_t *sessions_call(struct sessions *sessions, const char *owner, const struct tool *tool,
                      const json_t *parameters, session_answer *done, void *context,
                      struct session_op **op, struct error *err);
/* A file of bytes, which are taken over. 0 with `op`; -1 with `err`. */
int sessions_put_file(struct sessions *sessions, const char *owner, const char *id,
                      const char *path, struct buffer *bytes, session_answer *done, void *context,
                      struct session_op **op, struct error *err);
/* A file, opened to be read. Likewise. */
int sessions_get_file(struct sessions *sessions, const char *owner, const char *id,
                      const char *path, session_file *done, void *context, struct session_op **op,
                      struct error *err);
/* Nobody waits for it any more: it is done all the same, and told; sessions that it makes end. */
void sessions_forget(struct session_op *op);

/* A turn on its way. */
struct session_turn {
    struct session *session;
    json_t *parameters;              /* owned; the session's and the turn's own */
    struct tool_turn call;           /* for tool_call_init_turn() */
    struct remote_turn node;         /* for remote_start() */
    uint64_t free_bytes, free_names; /* of the workspace's quotas */
    bool is_new;                     /* the session was opened for it */
    int input_fd;                    /* owned; the read end of its stdin; -1: that is no stream */
    int module_fd;                   /* owned; its interpreter; -1: that is no client's */
    char name[32], workspace[SESSION_PATH_BYTES], output[SESSION_PATH_BYTES],
        scope[SESSION_PATH_BYTES];
    session_answer *done; /* of sessions_enter() */
    void *context;
};

/* Begins a turn of the session that `parameters` name, or of a new one. A session is in one turn at
 * a time: PA_OVERLOADED. 0: it can be sent, or with `op`, when `done` has been told so, without an
 * answer; where that has an `err`, and on -1, there is nothing to release. */
int sessions_enter(struct sessions *sessions, const char *owner, const struct tool *tool,
                   const json_t *parameters, struct session_turn *turn, session_answer *done,
                   void *context, struct session_op **op, struct error *err);
/* What ends it when it is interrupted. */
void sessions_started(struct session_turn *turn, struct remote_run *run);
void session_turn_fini(struct session_turn *turn);

/* The folder that is /output in its turn. */
void sessions_output(const struct session *session, char out[SESSION_PATH_BYTES]);
/* Where a turn has come to. */
struct session_outcome {
    uint64_t node;        /* 0: nowhere */
    bool is_counted;      /* what its /workspace has grown by: */
    int64_t bytes, names; /* the worker's own count, without what was in /output */
    unsigned files_lost;  /* descriptors that could not be opened again; its word, too */
};

/* The turn has ended; its /output is empty again. Adds to `result` (NULL: nobody waits for it)
 * where the session stands now. The status that the result has then: an interrupted turn is no
 * failure. */
enum pa_status sessions_leave(struct session *session, enum pa_status status,
                              const struct session_outcome *outcome, json_t *result);
/* Instead of sessions_started(): it was never begun. Releases the turn; a session that was opened
 * for it is no more. */
void sessions_abandon(struct session_turn *turn);

/* What lies in the stdin of the turn under way and was not read yet, as a descriptor to read it
 * back from, the caller's; it outlives the turn. -1: there is no turn that takes input. */
int sessions_unread_input(struct sessions *sessions, const char *owner, const char *id);

/* The tool that runs its turns; NULL with `err`. */
const char *sessions_runner(struct sessions *sessions, const char *owner, const char *id,
                            struct error *err);

/* How many there are, for metrics. */
unsigned sessions_count(const struct sessions *sessions);

#endif

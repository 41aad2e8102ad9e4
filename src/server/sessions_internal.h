/* What sessions.c and sessions_store.c share. */
#ifndef PA_SERVER_SESSIONS_INTERNAL_H
#define PA_SERVER_SESSIONS_INTERNAL_H

#include "server/sessions.h"

#include <sys/queue.h>
#include <time.h>

/* A node of the supervisor's, and who stands there. */
struct state {
    uint64_t node;
    unsigned references;
    char at[SESSION_ID_BYTES]; /* the session whose folders it has mounted */
};

/* Sessions that came of one: their workers share a user id, and Landlock lets them into the line's
 * files; the descriptors that they have are those of their own folders. */
struct line {
    char id[SESSION_ID_BYTES];
    unsigned references;
};

/* What a workspace takes of its quotas: counted once, and kept up to date by what is added to it
 * and what a turn says it has added. */
struct session_usage {
    uint64_t bytes, names;
    bool known;
};

struct checkpoint {
    char id[16];
    struct state *state; /* a reference; NULL: before the first turn */
    unsigned turns;
    time_t created_s;
    struct session_usage usage;
    TAILQ_ENTRY(checkpoint) link;
};

struct session {
    struct sessions *all;
    char id[SESSION_ID_BYTES], parent[SESSION_ID_BYTES];
    char owner[SESSION_OWNER_BYTES];
    const struct tool *tool; /* that runs its turns */
    struct line *line;       /* a reference */
    json_t *parameters;      /* owned */
    struct state *state;     /* a reference; NULL: its interpreter is still to be started */
    unsigned turns;
    time_t created_s;
    uint64_t used_ns, memory_bytes;
    struct session_usage usage;
    bool busy;              /* in a turn */
    bool interrupted;       /* that turn */
    bool ending;            /* when the turn is over */
    bool moved;             /* its files are others than when its state was made */
    bool restored;          /* its interpreter's state was lost with a former server */
    struct remote_run *run; /* of the turn; NULL: not started yet */
    int input_fd;           /* owned; to the turn's stdin; -1 */
    TAILQ_HEAD(checkpoint_list, checkpoint) checkpoints;
    unsigned checkpoint_count, last_checkpoint;
    TAILQ_ENTRY(session) link; /* least recently used first */
};

/* Of sessions that are no more, so that whoever comes back is told why. */
struct ended {
    char id[SESSION_ID_BYTES], owner[SESSION_OWNER_BYTES], why[96];
};
enum { MAX_ENDED = 1024 };

struct sessions {
    sd_event *event;
    struct remote *remote;
    const struct config *config;
    const struct tool_rules *rules;
    char dir[SESSION_PATH_BYTES / 2];
    int lock_fd; /* owned; on the folder */
    bool is_temporary;
    sd_event_source *idle; /* owned */
    TAILQ_HEAD(session_list, session) list;
    unsigned count;
    struct ended ended[MAX_ENDED];
    unsigned ended_count;
};

struct session *session_by_id(struct sessions *all, const char *id);
const struct ended *session_ended(const struct sessions *all, const char *id);

/* A new one with empty folders, at the end of the list; the least recently used that is idle makes
 * room. `parent` may be NULL. NULL with `err`. */
struct session *session_make(struct sessions *all, const char *owner, const struct tool *tool,
                             struct session *parent, struct error *err);
int session_save(const struct session *session, struct error *err);
/* Removes it and its files. One that is in a turn is interrupted, and ends after that. `why` is
 * kept; NULL: nobody has heard of it. */
void session_end(struct session *session, const char *why);
void session_touch(struct session *session);
bool session_interrupt(struct session *session);
/* Paths: of /workspace with `suffix` "", of /output with ".output". */
void session_folder(const struct session *session, const char *suffix,
                    char out[SESSION_PATH_BYTES]);
void session_scope(const struct session *session, char out[SESSION_PATH_BYTES]);
/* Where files of a request are written first; made and removed by whoever does so. */
void session_staging(const struct session *session, char out[SESSION_PATH_BYTES]);
void checkpoint_folder(const struct session *session, const struct checkpoint *checkpoint,
                       char out[SESSION_PATH_BYTES]);

/* Counts where nobody knows. What cannot be counted has no room for more; a turn can remove it. */
const struct session_usage *session_usage_of(struct session *session);
void session_usage_add(struct session *session, int64_t bytes, int64_t names);
uint64_t session_room(uint64_t limit, uint64_t used);
/* What a turn says its folders have grown by, less what it has left in `output`, which is going to
 * be emptied. Where nobody can say it (NULL), the next turn begins with a count. */
void session_usage_turn(struct session *session, const char *output,
                        const struct remote_outcome *outcome);

/* With an empty folder. */
struct checkpoint *checkpoint_make(struct session *session, struct error *err);
void checkpoint_end(struct session *session, struct checkpoint *checkpoint);

/* NULL when memory runs out; the caller's reference. */
struct state *state_make(const struct session *session, uint64_t node);
struct state *state_ref(struct state *state); /* of NULL, too */
void state_unref(struct sessions *all, struct state *state);

#endif

/* What the files of sessions share:
 *
 *     sessions.c        what can be asked for; what is told
 *     sessions_work.c   what takes long with their files, and is done in threads
 *     sessions_branch.c branches and checkpoints, likewise
 *     sessions_turn.c   turns
 *     sessions_count.c  what their files take
 *     sessions_share.c  what a tenant may have
 *     sessions_store.c  which there are, in memory and on disk
 *
 * A session is
 *
 *     IDLE -> IN_TURN -> IDLE     a run is under way in it
 *     IDLE -> AT_WORK -> IDLE     a thread is at its files
 *     IDLE -> AT_WORK -> IN_TURN  the same, for a turn
 *
 * and ends when it is IDLE; what it is asked for meanwhile is refused. Paths are relative to the
 * folder of all sessions. */
#ifndef PA_SERVER_SESSIONS_INTERNAL_H
#define PA_SERVER_SESSIONS_INTERNAL_H

#include "server/sessions.h"

#include <sys/queue.h>
#include <time.h>

/* In the folder of sessions, beside them: interpreters that came along with calls. */
#define SESSION_INTERPRETERS "interpreters"

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

/* An interpreter that a client handed over: stored once, whoever did. */
struct module {
    char digest[65]; /* SHA-256, in hexadecimal: its name in the folder interpreters */
    uint64_t bytes;
    unsigned references;
    TAILQ_ENTRY(module) link;
};

/* What files take. */
struct used {
    uint64_t bytes, names;
    bool known; /* else it is what was known last */
    bool full;  /* some of it cannot be counted: there is no room for more; a turn can remove it */
};

struct checkpoint {
    char id[16];
    struct state *state; /* a reference; NULL: before the first turn */
    unsigned turns;
    time_t created_s;
    struct used used;
    TAILQ_ENTRY(checkpoint) link;
};

enum session_at { SESSION_IDLE, SESSION_IN_TURN, SESSION_AT_WORK };

struct session {
    struct sessions *all;
    char id[SESSION_ID_BYTES], parent[SESSION_ID_BYTES];
    char owner[SESSION_OWNER_BYTES];
    const struct tool *tool; /* that runs its turns */
    struct line *line;       /* a reference */
    struct module *module;   /* a reference; NULL: its interpreter is no client's */
    json_t *parameters;      /* owned */
    struct state *state;     /* a reference; NULL: its interpreter is still to be started */
    unsigned turns;
    time_t created_s;
    uint64_t used_ns, memory_bytes;
    struct used used;        /* its /workspace; sessions_count.c changes it */
    uint64_t reserved_bytes; /* that the turn or the copy under way may add to it */
    unsigned puts;           /* of files, that are under way or wait; what they may add: */
    uint64_t put_bytes, put_names;
    bool is_mixed; /* one of them was, while the turn is under way */
    enum session_at at;
    bool interrupted;        /* the turn */
    bool ending;             /* when it is idle */
    bool moved;              /* its files are others than when its state was made */
    bool restored;           /* its interpreter's state was lost with a former server */
    struct remote_run *run;  /* of the turn; NULL: not started yet */
    int input_fd;            /* owned; to the turn's stdin; -1 */
    struct session_op *look; /* which counts its files meanwhile; NULL: none */
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
    struct work *work;
    struct remote *remote;
    const struct config *config;
    const struct tool_rules *rules;
    char dir[SESSION_PATH_BYTES / 2];
    int dir_fd; /* owned; of the folder, which is locked */
    bool is_temporary;
    sd_event_source *idle; /* owned */
    TAILQ_HEAD(session_list, session) list;
    unsigned count;
    TAILQ_HEAD(module_list, module) modules;
    struct ended ended[MAX_ENDED];
    unsigned ended_count;
};

/* ---- sessions_store.c */

struct session *session_by_id(struct sessions *all, const char *id);
const struct ended *session_ended(const struct sessions *all, const char *id);

/* A new one without folders, at the end of the list. `parent` may be NULL. NULL with `err`. */
struct session *session_make(struct sessions *all, const char *owner, const struct tool *tool,
                             struct session *parent, struct error *err);
/* Its folders; in a thread. -1 with `err`. */
int session_make_folders(const struct session *session, struct error *err);
/* What is to survive a restart, with the digest of its interpreter (NULL: that is no client's); in
 * a thread. -1 with `err`. */
int session_save(const struct session *session, const char *digest, struct error *err);
/* It is no more, and its files are removed in a thread. One that is not idle ends when it is; a
 * turn is interrupted. `why` is kept; NULL: nobody has heard of it. */
void session_end(struct session *session, const char *why);
void session_touch(struct session *session);
bool session_interrupt(struct session *session);
/* Nothing is under way any more. */
void session_rest(struct session *session);

/* Paths: of /workspace with `suffix` "", of /output with ".output". */
void session_folder(const struct session *session, const char *suffix,
                    char out[SESSION_PATH_BYTES]);
void checkpoint_folder(const struct session *session, const struct checkpoint *checkpoint,
                       char out[SESSION_PATH_BYTES]);
/* A folder to write in what is moved to its place later; made, and empty: a descriptor, and its
 * path for sessions_discard(). In a thread. -1 with `err`. */
int session_staging(const struct session *session, const char *suffix, char out[SESSION_PATH_BYTES],
                    struct error *err);
int sessions_open_folder(const struct sessions *all, const char *path, struct error *err);

/* Takes a file or folder away at once, and removes it in a thread. */
void sessions_discard(struct sessions *all, const char *path, const char *tenant);

/* Without a folder, in no list. NULL with `err`. */
struct checkpoint *checkpoint_make(struct session *session, struct error *err);
void checkpoint_add(struct session *session, struct checkpoint *checkpoint);
/* Of one that is in no list; where it is `discarded`, its folder goes. */
void checkpoint_free(struct session *session, struct checkpoint *checkpoint, bool discarded);

/* NULL when memory runs out; the caller's reference. */
struct state *state_make(const struct session *session, uint64_t node);
struct state *state_ref(struct state *state); /* of NULL, too */
void state_unref(struct sessions *all, struct state *state);

/* ---- sessions_module.c */

/* Stores an interpreter in a file named by its digest, in a thread. -1 with `err`. */
int module_store(const struct sessions *all, const char *encoded, struct module *out,
                 struct error *err);
/* The one of that digest, which is stored; a reference. NULL: memory is out. */
struct module *module_ref(struct sessions *all, const struct module *stored);
void module_unref(struct sessions *all, struct module *module);
/* The one that a former server stored; NULL: there is none, or memory is out. */
struct module *module_restore(struct sessions *all, const char *digest);
/* -1: it is not there. */
int module_open(const struct sessions *all, const struct module *module);
/* Makes their folder, and removes those that no session needs. */
void modules_tidy(struct sessions *all);

/* ---- sessions_count.c */

/* What is left of `most`: never below nothing. */
uint64_t count_less(uint64_t most, uint64_t taken);
/* The sum, or INT64_MAX where that is less. */
uint64_t count_add(uint64_t a, uint64_t b);
/* What was counted, in its folder or of what it is a copy of. */
void count_set(struct session *session, const struct used *counted);
/* What a put or a turn reports to have added. Where that cannot be, or may be counted twice, the
 * figures only rise, until all is counted anew. */
void count_grow(struct session *session, int64_t bytes, int64_t names);
void count_begin_turn(struct session *session);
/* Whether its files are known still, session->used.known tells. */
void count_end_turn(struct session *session);
/* What may be added to it: by its quotas and by the tenant's share, without what puts may add. */
void count_room(const struct session *session, uint64_t *bytes, uint64_t *names);

/* ---- sessions_share.c */

/* Whether the tenant may have `more` sessions: its own oldest idle ones make way, but for `keep`
 * (NULL: none). -1 with `err`. */
int share_make_room(struct sessions *all, const char *owner, unsigned more,
                    const struct session *keep, struct error *err);
/* How many bytes it may still store. */
uint64_t share_free_bytes(const struct sessions *all, const char *owner);
/* Whether it may store so much more. -1 with `err`. */
int share_check(const struct sessions *all, const char *owner, uint64_t more_bytes,
                struct error *err);

/* ---- sessions.c */

json_t *session_describe(const struct session *session);
/* NULL with `err`. */
struct session *session_find(struct sessions *all, const char *owner, const char *id,
                             struct error *err);
struct session *session_find_idle(struct sessions *all, const char *owner, const char *id,
                                  struct error *err);
struct checkpoint *session_find_checkpoint(struct session *session, const char *id,
                                           struct error *err);

/* ---- sessions_work.c: each begins what ends by op->done. NULL with `err`. */

struct session_op;
struct session_client {
    session_answer *done; /* one of both; both NULL: nobody waits */
    session_file *file;
    void *context;
};
struct session_op *work_open(struct sessions *all, const char *owner, const struct tool *tool,
                             json_t *parameters, const struct session_client *client,
                             struct error *err);
struct session_op *work_put(struct session *session, json_t *files, const char *path,
                            struct buffer *bytes, const struct session_client *client,
                            struct error *err);
struct session_op *work_get(struct session *session, const char *path,
                            const struct session_client *client, struct error *err);
struct session_op *work_fork(struct session *session, struct checkpoint *checkpoint, unsigned count,
                             const struct session_client *client, struct error *err);
struct session_op *work_checkpoint(struct session *session, const struct session_client *client,
                                   struct error *err);
struct session_op *work_rollback(struct session *session, struct checkpoint *checkpoint,
                                 const struct session_client *client, struct error *err);
/* What a turn needs before it begins: a new session's folders, its files, a look at its quotas. It
 * is IN_TURN then. `parameters` may be NULL: it is there already. */
struct session_op *work_enter(struct session *session, json_t *parameters, json_t *files,
                              const struct session_client *client, struct error *err);
/* Counts the files of one that is idle, and goes on being it. */
void work_look(struct session *session);

#endif

/* An operation on sessions' files: what sessions_work.c and sessions_branch.c share. It has a
 * beginning in the loop, a part in a thread that looks at nothing that changes meanwhile, and an
 * end in the loop, or something that undoes the beginning. */
#ifndef PA_SERVER_SESSIONS_OP_H
#define PA_SERVER_SESSIONS_OP_H

#include "server/sessions_internal.h"

struct session_op {
    struct work_job job;
    struct sessions *all;
    struct session *session; /* AT_WORK for it; NULL: none is, and it may end meanwhile */
    char id[SESSION_ID_BYTES], folder[SESSION_PATH_BYTES], staging[SESSION_PATH_BYTES];
    struct session_client client;
    bool forgotten;
    int (*act)(struct session_op *op, struct error *err); /* in the thread */
    /* In the loop. NULL: there is no answer, or with `err`, it failed after all. */
    json_t *(*end)(struct session_op *op, struct error *err);
    void (*undo)(struct session_op *op);
    json_t *files;        /* owned; to be put */
    char *path;           /* owned; of the one file to be read or put */
    struct buffer bytes;  /* owned; of that */
    json_t *probe;        /* owned; parameters of a turn, to see whether one can be run */
    struct config config; /* views */
    struct tool_rules rules;
    struct session **copies; /* owned; `count` */
    unsigned count;
    struct checkpoint *checkpoint;
    bool is_new;         /* the session */
    json_t *interpreter; /* owned; in base64 */
    bool has_module;
    struct module module; /* as which it was stored */
    struct folder_put put;
    struct used used; /* of the workspace: as it was, or as the thread has counted it */
    bool has_looked;  /* the latter */
    bool is_kept;     /* with the session, for a put: */
    uint64_t kept_bytes, kept_names;
    uint64_t most_bytes; /* of a copy */
    json_t *answer;      /* owned */
    int fd;              /* owned; the file; -1 */
    int result;
    struct error err;
};

/* NULL with `err`. */
struct session_op *op_make(struct session *session, const struct session_client *client,
                           struct error *err);
/* Begins it; one that a session is AT_WORK for, where `session` is given. NULL with `err`: what the
 * beginning has done is undone, and the operation is no more. */
struct session_op *op_submit(struct session_op *op, struct session *session, struct error *err);
void op_release(struct session_op *op);
/* Counts the workspace, in the thread. -1 with `err`. */
int op_look(struct session_op *op, struct error *err);
/* The same for copies, where it is not known; -1 with `err` where one would be too large, too. */
int op_look_to_copy(struct session_op *op, struct error *err);

/* ---- sessions_count.c */

/* Room for a put, and for an interpreter; as far as there is any, it is the put's. */
void count_keep(struct session_op *op, struct session *session, const struct folder_most *most,
                uint64_t interpreter_bytes);
/* Gives it back, once. */
void count_settle(struct session_op *op);
/* How large each copy of the session, or of its checkpoint (NULL: none), is; where a thread has to
 * see that, how large it may be. */
void count_to_copy(struct session_op *op, const struct session *session,
                   const struct checkpoint *checkpoint, unsigned copies);

/* ---- sessions_work.c */

/* For the end: says so where there is no memory for the answer. */
json_t *op_answered(json_t *answer, struct error *err);

#endif

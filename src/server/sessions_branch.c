/* Copies of sessions: branches, checkpoints, and the ways back to these. */
#include "server/sessions_op.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { MAX_CHECKPOINTS = 32 };

static void undo_rest(struct session_op *op) {
    session_rest(op->session);
}

static int copy_folder(const struct sessions *all, const char *from, const char *to,
                       struct error *err) {
    _cleanup_(fd_closep) int in = sessions_open_folder(all, from, err);
    _cleanup_(fd_closep) int out = in >= 0 ? sessions_open_folder(all, to, err) : -1;
    return out >= 0 ? folder_copy(in, out, err) : -1;
}

static int act_fork(struct session_op *op, struct error *err) {
    const struct session *session = op->session;
    char from[SESSION_PATH_BYTES], to[SESSION_PATH_BYTES];
    if (op->checkpoint != NULL)
        checkpoint_folder(session, op->checkpoint, from);
    else
        session_folder(session, "", from);
    if (op_look_to_copy(op, err) != 0) return -1;
    for (unsigned i = 0; i < op->count; i++) {
        session_folder(op->copies[i], "", to);
        if (session_make_folders(op->copies[i], err) != 0 ||
            copy_folder(op->all, from, to, err) != 0 ||
            session_save(op->copies[i], session->module != NULL ? session->module->digest : NULL,
                         err) != 0)
            return -1;
    }
    return 0;
}

/* All or none. Each ends once: somebody may have closed one meanwhile. */
static void undo_fork(struct session_op *op) {
    for (unsigned i = 0; i < op->count; i++) {
        op->copies[i]->ending = true;
        session_rest(op->copies[i]);
    }
    session_rest(op->session);
}

static json_t *end_fork(struct session_op *op, struct error *err) {
    json_t *list = json_array();
    if (op->forgotten) {
        undo_fork(op);
        json_decref(list);
        return NULL;
    }
    for (unsigned i = 0; i < op->count; i++) {
        op->copies[i]->at = SESSION_IDLE;
        count_set(op->copies[i], &op->used);
        (void)json_array_append_new(list, session_describe(op->copies[i]));
    }
    for (unsigned i = 0; i < op->count; i++) {
        session_rest(op->copies[i]);
    }
    if (op->has_looked) count_set(op->session, &op->used);
    session_touch(op->session);
    session_rest(op->session);
    return op_answered(json_pack("{s:o}", "sessions", list), err);
}

static struct session *branch(struct session *session, const struct checkpoint *checkpoint,
                              uint64_t most_bytes, struct error *err) {
    struct session *copy = session_make(session->all, session->owner, session->tool, session, err);
    if (copy == NULL) return NULL;
    copy->at = SESSION_AT_WORK;
    copy->used.bytes = most_bytes; /* until it is made */
    copy->parameters = json_incref(session->parameters);
    copy->state = state_ref(checkpoint != NULL ? checkpoint->state : session->state);
    copy->turns = checkpoint != NULL ? checkpoint->turns : session->turns;
    copy->memory_bytes = session->memory_bytes;
    copy->restored = session->restored;
    copy->module = session->module;
    if (copy->module != NULL) copy->module->references++;
    return copy;
}

struct session_op *work_fork(struct session *session, struct checkpoint *checkpoint, unsigned count,
                             const struct session_client *client, struct error *err) {
    uint64_t all_bytes;
    if (share_make_room(session->all, session->owner, count, session, err) != 0) return NULL;
    struct session_op *op = op_make(session, client, err);
    if (op == NULL) return NULL;
    count_to_copy(op, session, checkpoint, count);
    if (__builtin_mul_overflow(op->most_bytes, count, &all_bytes)) all_bytes = UINT64_MAX;
    if (share_check(session->all, session->owner, all_bytes, err) != 0) {
        op_release(op);
        return NULL;
    }
    op->act = act_fork;
    op->end = end_fork;
    op->undo = undo_fork;
    op->checkpoint = checkpoint;
    op->session = session;
    op->copies = calloc(count, sizeof(struct session *));
    bool whole = op->copies != NULL;
    if (!whole) error_set(err, PA_INTERNAL, "a session: out of memory");
    for (; whole && op->count < count; op->count += whole) {
        op->copies[op->count] = branch(session, checkpoint, op->most_bytes, err);
        whole = op->copies[op->count] != NULL;
    }
    if (whole) return op_submit(op, session, err);
    undo_fork(op);
    op_release(op);
    return NULL;
}

/* ---- checkpoints */

static int act_checkpoint(struct session_op *op, struct error *err) {
    char to[SESSION_PATH_BYTES];
    if (op_look_to_copy(op, err) != 0) return -1;
    checkpoint_folder(op->session, op->checkpoint, to);
    if (mkdirat(op->all->dir_fd, to, 0700) != 0)
        return error_set_errno(err, PA_INTERNAL, errno, "make %s/%s", op->all->dir, to);
    return copy_folder(op->all, op->folder, to, err);
}

static void undo_checkpoint(struct session_op *op) {
    checkpoint_free(op->session, op->checkpoint, true);
    session_rest(op->session);
}

static json_t *end_checkpoint(struct session_op *op, struct error *err) {
    struct session *session = op->session;
    op->checkpoint->used = op->used;
    if (op->has_looked) count_set(session, &op->used);
    checkpoint_add(session, op->checkpoint);
    json_t *answer = json_pack("{s:s, s:s, s:I}", "session_id", session->id, "checkpoint_id",
                               op->checkpoint->id, "turns", (json_int_t)op->checkpoint->turns);
    session_touch(session);
    session_rest(session);
    return op_answered(answer, err);
}

struct session_op *work_checkpoint(struct session *session, const struct session_client *client,
                                   struct error *err) {
    if (session->checkpoint_count >= MAX_CHECKPOINTS) {
        error_set(err, PA_INVALID_ARGUMENT,
                  "session_id: the session %s has %d checkpoints, which is the most there can be",
                  session->id, MAX_CHECKPOINTS);
        return NULL;
    }
    struct session_op *op = op_make(session, client, err);
    if (op == NULL) return NULL;
    count_to_copy(op, session, NULL, 1);
    if (share_check(session->all, session->owner, op->most_bytes, err) == 0)
        op->checkpoint = checkpoint_make(session, err);
    if (op->checkpoint == NULL) {
        op_release(op);
        return NULL;
    }
    op->act = act_checkpoint;
    op->end = end_checkpoint;
    op->undo = undo_checkpoint;
    session->reserved_bytes = op->most_bytes;
    return op_submit(op, session, err);
}

/* The copy comes first, as it may fail; the folder itself stays, as workers have it mounted. */
static int act_rollback(struct session_op *op, struct error *err) {
    char from[SESSION_PATH_BYTES], copy[SESSION_PATH_BYTES];
    checkpoint_folder(op->session, op->checkpoint, from);
    _cleanup_(fd_closep) int in = session_staging(op->session, "new", copy, err);
    if (in < 0) return -1;
    int result = copy_folder(op->all, from, copy, err);
    _cleanup_(fd_closep) int out =
        result == 0 ? sessions_open_folder(op->all, op->folder, err) : -1;
    if (out >= 0) folder_empty(op->all->dir_fd, op->folder);
    if (result == 0) result = out >= 0 ? folder_move(in, out, err) : -1;
    folder_remove(op->all->dir_fd, copy);
    return result;
}

static json_t *end_rollback(struct session_op *op, struct error *err) {
    struct session *session = op->session;
    struct state *former = session->state;
    session->state = state_ref(op->checkpoint->state);
    state_unref(op->all, former);
    session->turns = op->checkpoint->turns;
    count_set(session, &op->checkpoint->used);
    session->moved = true;
    session_touch(session);
    session->at = SESSION_IDLE;
    json_t *answer = session_describe(session);
    session_rest(session);
    return op_answered(answer, err);
}

struct session_op *work_rollback(struct session *session, struct checkpoint *checkpoint,
                                 const struct session_client *client, struct error *err) {
    if (share_check(session->all, session->owner, checkpoint->used.bytes, err) != 0) return NULL;
    struct session_op *op = op_make(session, client, err);
    if (op == NULL) return NULL;
    op->checkpoint = checkpoint;
    op->act = act_rollback;
    op->end = end_rollback;
    op->undo = undo_rest;
    session->reserved_bytes = checkpoint->used.bytes;
    return op_submit(op, session, err);
}

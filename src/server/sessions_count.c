/* What files of sessions take. The figures of a session change here alone: they never fall below
 * nothing, and never wrap.
 *
 * Threads do one of a tenant's jobs at a time, and their ends are told in that order: so each put
 * adds what it has added. A turn runs beside them. What it reports, and what a put beside it does,
 * may count the same file twice: both only add then, and all is counted anew when the turn has
 * ended, by a thread, after those puts. */
#include "server/sessions_op.h"

static const uint64_t most_ever = INT64_MAX; /* it is told as a JSON integer */

uint64_t count_less(uint64_t most, uint64_t taken) {
    return most > taken ? most - taken : 0;
}

uint64_t count_add(uint64_t a, uint64_t b) {
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) || sum > most_ever ? most_ever : sum;
}

static uint64_t shifted(uint64_t figure, int64_t by) {
    return by < 0 ? count_less(figure, -(uint64_t)by) : count_add(figure, (uint64_t)by);
}

static bool is_below_nothing(uint64_t figure, int64_t by) {
    return by < 0 && -(uint64_t)by > figure;
}

void count_set(struct session *session, const struct used *counted) {
    session->used = *counted;
    session->used.bytes = count_add(counted->bytes, 0);
    session->used.names = count_add(counted->names, 0);
}

void count_grow(struct session *session, int64_t bytes, int64_t names) {
    struct used *used = &session->used;
    if (is_below_nothing(used->bytes, bytes) || is_below_nothing(used->names, names))
        used->known = false;
    bool exact = used->known && !session->is_mixed;
    used->bytes = shifted(used->bytes, exact || bytes > 0 ? bytes : 0);
    used->names = shifted(used->names, exact || names > 0 ? names : 0);
}

void count_begin_turn(struct session *session) {
    session->is_mixed = session->puts > 0;
}

void count_end_turn(struct session *session) {
    if (session->is_mixed) session->used.known = false;
    session->is_mixed = false;
}

void count_room(const struct session *session, uint64_t *bytes, uint64_t *names) {
    const struct pa_limits *limits = &session->all->rules->limits;
    uint64_t share = share_free_bytes(session->all, session->owner);
    *bytes =
        count_less(limits->workspace_bytes, count_add(session->used.bytes, session->put_bytes));
    *names =
        count_less(limits->workspace_inodes, count_add(session->used.names, session->put_names));
    if (share < *bytes) *bytes = share;
    if (session->used.full) *bytes = *names = 0;
}

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

void count_keep(struct session_op *op, struct session *session, const struct folder_most *most,
                uint64_t interpreter_bytes) {
    uint64_t free_bytes, free_names;
    count_room(session, &free_bytes, &free_names);
    if (session->at == SESSION_AT_WORK) op->used.known = false; /* it may become another */
    if (!op->used.known) { /* a thread looks how much of the quotas is left */
        free_bytes = share_free_bytes(session->all, session->owner);
        free_names = session->all->rules->limits.workspace_inodes;
    }
    op->put.free_bytes = least(count_add(most->bytes, most->folder_bytes), free_bytes);
    op->put.free_names = least(most->names, free_names);
    op->kept_bytes = count_add(op->put.free_bytes, interpreter_bytes);
    op->kept_names = op->put.free_names;
    op->is_kept = true;
    session->puts++;
    session->put_bytes = count_add(session->put_bytes, op->kept_bytes);
    session->put_names = count_add(session->put_names, op->kept_names);
    if (session->at == SESSION_IN_TURN) session->is_mixed = true;
}

void count_settle(struct session_op *op) {
    struct session *session = op->is_kept ? session_by_id(op->all, op->id) : NULL;
    op->is_kept = false;
    if (session == NULL) return;
    session->puts--;
    session->put_bytes = count_less(session->put_bytes, op->kept_bytes);
    session->put_names = count_less(session->put_names, op->kept_names);
}

void count_to_copy(struct session_op *op, const struct session *session,
                   const struct checkpoint *checkpoint, unsigned copies) {
    if (checkpoint != NULL) op->used = checkpoint->used;
    if (checkpoint == NULL && session->puts > 0) op->used.known = false; /* they come first */
    op->most_bytes = op->used.bytes;
    if (op->used.known) return;
    uint64_t share = share_free_bytes(session->all, session->owner) / (copies > 0 ? copies : 1);
    uint64_t most = least(session->all->rules->limits.workspace_bytes, share);
    uint64_t now = count_add(session->used.bytes, session->put_bytes);
    op->most_bytes = now > most ? now : most;
}

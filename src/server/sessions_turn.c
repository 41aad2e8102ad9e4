/* Turns of sessions: from the call to where the session stands afterwards. */
#include "server/sessions_internal.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* FEW_NAMES are counted at once, after each turn; more in a thread. */
enum { INPUT_PIPE_BYTES = 1 << 20, FEW_NAMES = 200 };
#define NEW_SESSION "new"

/* What is the session's, and not a turn's. */
static const char *const fixed[] = {"interpreter_wasm_path", "interpreter_wasm_base64",
                                    "interpreter",           "packages",
                                    "memory_limit_bytes",    "max_fuel",
                                    "deterministic",         "seed"};

static const char *text_of(const json_t *parameters, const char *name) {
    return json_string_value(json_object_get(parameters, name));
}

/* The turn's own parameters upon the session's. */
static json_t *merge(const struct session *session, const json_t *given, bool is_new,
                     struct error *err) {
    json_t *all = is_new ? json_object() : json_copy(session->parameters), *value;
    const char *name;
    if (all == NULL) {
        error_set(err, PA_INTERNAL, "a turn: out of memory");
        return NULL;
    }
    json_object_foreach((json_t *)(uintptr_t)given, name, value) {
        bool is_fixed = false;
        for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
            is_fixed = is_fixed || strcmp(name, fixed[i]) == 0;
        if (is_fixed && !is_new) {
            error_set(err, PA_INVALID_ARGUMENT,
                      "%s: belongs to the session; give it to session_open", name);
            json_decref(all);
            return NULL;
        }
        if (strcmp(name, "files") != 0) (void)json_object_set(all, name, value);
    }
    return all;
}

/* Of the call that opens a session by its first turn, what is the session's. */
static json_t *fixed_of(const json_t *given) {
    json_t *own = json_object();
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        json_t *value = json_object_get(given, fixed[i]);
        if (value != NULL) (void)json_object_set(own, fixed[i], value);
    }
    return own;
}

static int open_input(struct session_turn *turn, struct error *err) {
    int ends[2];
    if (!json_is_true(json_object_get(turn->parameters, "stdin_stream"))) return 0;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return error_set_errno(err, PA_INTERNAL, errno, "a pipe for the input");
    (void)fcntl(ends[1], F_SETPIPE_SZ, INPUT_PIPE_BYTES);
    (void)fcntl(ends[1], F_SETFL, O_NONBLOCK);
    turn->input_fd = ends[0];
    turn->session->input_fd = ends[1];
    const json_t *first = json_object_get(turn->parameters, "stdin");
    size_t size = json_string_length(first);
    if (size > 0 && write(ends[1], json_string_value(first), size) != (ssize_t)size)
        return error_set(err, PA_INVALID_ARGUMENT, "stdin: at most %d bytes where more follow",
                         INPUT_PIPE_BYTES);
    return 0;
}

/* Counts what is in /workspace, if that is little; else in a thread, where the session goes on. */
static void look(struct session *session) {
    char path[SESSION_PATH_BYTES];
    struct used used = {.known = false};
    struct error ignored = {0};
    session_folder(session, "", path);
    _cleanup_(fd_closep) int dir =
        session->puts == 0 ? sessions_open_folder(session->all, path, &ignored) : -1;
    used.known = dir >= 0 && folder_usage(dir, FEW_NAMES, &used.bytes, &used.names) == 0;
    if (used.known) count_set(session, &used);
    if (!used.known && !session->ending) work_look(session);
}

/* Of what could not be counted, or has not been, the worker's figure says nothing. */
static void count(struct session *session, const struct session_outcome *outcome) {
    if (session->used.full || !outcome->is_counted) session->used.known = false;
    if (outcome->is_counted) count_grow(session, outcome->bytes, outcome->names);
    count_end_turn(session);
    if (!session->used.known) look(session);
}

/* All is there for it: paths, quotas, stdin. */
static int be_ready(struct session_turn *turn, struct error *err) {
    struct session *session = turn->session;
    const struct sessions *all = session->all;
    char path[SESSION_PATH_BYTES];
    count_begin_turn(session);
    if (session->module != NULL) {
        turn->module_fd = module_open(all, session->module);
        if (turn->module_fd < 0)
            return error_set_errno(err, PA_INTERNAL, errno, "open the session's interpreter");
    }
    if (open_input(turn, err) != 0) return -1;
    count_room(session, &turn->free_bytes, &turn->free_names);
    session->reserved_bytes = turn->free_bytes;
    if (session->turns == 0)
        (void)snprintf(turn->name, sizeof turn->name, "<code>");
    else /* functions of earlier turns keep their own source lines */
        (void)snprintf(turn->name, sizeof turn->name, "<code %u>", session->turns + 1);
    session_folder(session, "", path);
    (void)snprintf(turn->workspace, sizeof turn->workspace, "%s/%.240s", all->dir, path);
    sessions_output(session, turn->output);
    (void)snprintf(turn->scope, sizeof turn->scope, "%s/%s/files", all->dir, session->line->id);
    const struct state *state = session->state;
    turn->call = (struct tool_turn){.workspace = turn->workspace,
                                    .output = turn->output,
                                    .name = turn->name,
                                    .module_fd = turn->module_fd,
                                    .fresh = state == NULL};
    bool at_home = state != NULL && strcmp(state->at, session->id) == 0;
    turn->node = (struct remote_turn){.node = state != NULL ? state->node : 0,
                                      .same_mounts = at_home,
                                      .moved = state != NULL && (!at_home || session->moved),
                                      .scope = turn->scope};
    return 0;
}

static void on_entered(void *context, json_t *answer, struct error *err) {
    struct session_turn *turn = context;
    (void)answer;
    if (err->code != PA_OK)
        session_turn_fini(turn);
    else if (be_ready(turn, err) != 0)
        sessions_abandon(turn);
    turn->done(turn->context, NULL, err);
}

static struct session *open_new(struct sessions *all, const char *owner, const struct tool *tool,
                                struct error *err) {
    return share_make_room(all, owner, 1, NULL, err) == 0
               ? session_make(all, owner, tool, NULL, err)
               : NULL;
}

/* What has to be done in a thread first. NULL with `err`. */
static struct session_op *enter_later(struct session_turn *turn, const json_t *given,
                                      struct error *err) {
    const struct session_client client = {.done = on_entered, .context = turn};
    json_t *own = turn->is_new ? fixed_of(given) : NULL;
    struct session_op *op =
        work_enter(turn->session, own, json_object_get(given, "files"), &client, err);
    json_decref(own);
    return op;
}

int sessions_enter(struct sessions *all, const char *owner, const struct tool *tool,
                   const json_t *given, struct session_turn *turn, session_answer *done,
                   void *context, struct session_op **op, struct error *err) {
    const char *id = text_of(given, "session_id");
    bool is_new = id != NULL && strcmp(id, NEW_SESSION) == 0;
    *turn =
        (struct session_turn){.input_fd = -1, .module_fd = -1, .done = done, .context = context};
    *op = NULL;
    if (remote_hold(all->remote, err) != 0) return -1;
    struct session *session =
        is_new ? open_new(all, owner, tool, err) : session_find_idle(all, owner, id, err);
    if (session == NULL) return -1;
    if (session->tool != tool)
        return error_set(err, PA_INVALID_ARGUMENT, "session_id: the session %s is for %s",
                         session->id, session->tool->name);
    char own_id[SESSION_ID_BYTES]; /* what is to be done later may have ended it */
    memcpy(own_id, session->id, sizeof own_id);
    turn->session = session;
    turn->is_new = is_new;
    turn->parameters = merge(session, given, is_new, err);
    bool later = is_new || json_object_get(given, "files") != NULL || !session->used.known;
    if (turn->parameters != NULL && later) *op = enter_later(turn, given, err);
    if (*op != NULL) return 0;
    if (turn->parameters != NULL && !later) {
        session->at = SESSION_IN_TURN;
        session_touch(session);
        if (be_ready(turn, err) == 0) return 0;
        sessions_abandon(turn);
        return -1;
    }
    session_turn_fini(turn);
    if (is_new && session_by_id(all, own_id) != NULL) session_end(session, NULL);
    return -1;
}

void sessions_started(struct session_turn *turn, struct remote_run *run) {
    turn->session->run = run;
    fd_closep(&turn->input_fd);
    if (turn->session->ending) (void)session_interrupt(turn->session);
}

void session_turn_fini(struct session_turn *turn) {
    json_decref(turn->parameters);
    turn->parameters = NULL;
    fd_closep(&turn->input_fd);
    fd_closep(&turn->module_fd);
}

void sessions_abandon(struct session_turn *turn) {
    struct session *session = turn->session;
    session_turn_fini(turn);
    if (turn->is_new) session->ending = true; /* nobody has heard of it */
    session_rest(session);
}

void sessions_output(const struct session *session, char out[SESSION_PATH_BYTES]) {
    char path[SESSION_PATH_BYTES];
    session_folder(session, ".output", path);
    (void)snprintf(out, SESSION_PATH_BYTES, "%s/%.240s", session->all->dir, path);
}

/* Where the session stands, and why. */
static void tell(const struct session *session, bool kept, bool restarted, unsigned lost,
                 enum pa_status status, json_t *result) {
    const char *state = restarted ? "restarted" : kept ? "kept" : "unchanged", *note = NULL;
    char both[400];
    if (restarted)
        note = "the server was restarted: variables, imports and functions of earlier turns are "
               "gone; the files in /workspace are as they were";
    else if (!kept && session->state == NULL)
        note = "this turn left nothing behind: the session has no variables yet; files that it "
               "wrote are kept";
    else if (!kept)
        note = "variables are as before this turn; files that it wrote are kept";
    if (lost > 0) {
        (void)snprintf(
            both, sizeof both,
            "%s%s%u open file%s of earlier turns could not be opened again in /workspace "
            "as it is now: using one gives an I/O error (EIO); open it anew",
            note != NULL ? note : "", note != NULL ? "; " : "", lost, lost > 1 ? "s" : "");
        note = both;
    }
    (void)json_object_set_new(result, "session_id", json_string(session->id));
    (void)json_object_set_new(result, "session_state", json_string(state));
    if (note != NULL) (void)json_object_set_new(result, "session_note", json_string(note));
    json_t *error = json_object_get(result, "error");
    const char *message = json_string_value(json_object_get(error, "message"));
    char *longer = NULL;
    if (status != PA_OK && message != NULL && note != NULL &&
        asprintf(&longer, "%s; %s", message, note) >= 0) {
        (void)json_object_set_new(error, "message", json_string(longer));
        free(longer);
    }
}

/* A turn that somebody interrupted has the exit code of a program that Ctrl-C ends. */
static void tell_interrupted(json_t *result) {
    (void)json_object_set_new(result, "status", json_string("OK"));
    (void)json_object_set_new(result, "exit_code", json_integer(128 + 2));
    (void)json_object_set_new(result, "interrupted", json_true());
    (void)json_object_set_new(result, "error", json_null());
}

/* Where a turn has come to is where the session stands. */
static bool stand_at(struct session *session, uint64_t node, const json_t *result) {
    struct state *former = session->state, *state = state_make(session, node);
    const json_t *memory = json_object_get(json_object_get(result, "usage"), "peak_memory_bytes");
    if (state == NULL) { /* out of memory: it stays where it was */
        remote_drop_node(session->all->remote, node);
        return false;
    }
    session->state = state;
    state_unref(session->all, former);
    session->turns++;
    session->restored = false;
    session->moved = false;
    if (memory != NULL) session->memory_bytes = (uint64_t)json_integer_value(memory);
    return true;
}

enum pa_status sessions_leave(struct session *session, enum pa_status status,
                              const struct session_outcome *outcome, json_t *result) {
    struct sessions *all = session->all;
    uint64_t node = outcome->node;
    bool kept = status == PA_OK && node != 0, restarted = session->restored && kept;
    if (kept)
        kept = stand_at(session, node, result);
    else if (node != 0)
        remote_drop_node(all->remote, node);
    if (status == PA_NOT_FOUND && session->state != NULL) { /* the kernel was short of memory */
        state_unref(all, session->state);
        session->state = NULL;
    }
    if (result != NULL && session->interrupted && status != PA_OK) {
        tell_interrupted(result);
        status = PA_OK;
    }
    if (result != NULL) tell(session, kept, restarted, outcome->files_lost, status, result);
    session->interrupted = false;
    session_touch(session);
    count(session, outcome);
    session_rest(session);
    return status;
}

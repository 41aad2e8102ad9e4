/* What can be done with sessions; sessions_store.c keeps them. */
#include "server/sessions_internal.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "tools/workspace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { MAX_CHECKPOINTS = 32, MAX_FILE_BYTES = 32 << 20, INPUT_PIPE_BYTES = 1 << 20 };
#define NEW_SESSION "new"

/* What is the session's, and not a turn's. */
static const char *const fixed[] = {"interpreter_wasm_path", "interpreter_wasm_base64",
                                    "interpreter",           "packages",
                                    "memory_limit_bytes",    "max_fuel",
                                    "deterministic",         "seed"};

static const char *text_of(const json_t *parameters, const char *name) {
    return json_string_value(json_object_get(parameters, name));
}

/* The session by its id, for whoever opened it. */
static struct session *find(struct sessions *all, const char *owner, const char *id,
                            struct error *err) {
    struct session *session = session_by_id(all, id);
    if (session != NULL && strcmp(session->owner, owner) == 0) return session;
    const struct ended *ended = session_ended(all, id);
    if (ended != NULL && strcmp(ended->owner, owner) == 0)
        error_set(err, PA_NOT_FOUND, "session_id: the session %.40s has ended: %s", id, ended->why);
    else
        error_set(err, PA_NOT_FOUND, "session_id: there is no session %.40s", id);
    return NULL;
}

static struct session *find_idle(struct sessions *all, const char *owner, const json_t *parameters,
                                 struct error *err) {
    struct session *session = find(all, owner, text_of(parameters, "session_id"), err);
    if (session == NULL || !session->busy) return session;
    error_set(err, PA_OVERLOADED, "session_id: the session %s is in a turn; retry in 100 ms",
              session->id);
    return NULL;
}

static struct checkpoint *find_checkpoint(struct session *session, const char *id,
                                          struct error *err) {
    struct checkpoint *checkpoint;
    TAILQ_FOREACH(checkpoint, &session->checkpoints, link) {
        if (strcmp(checkpoint->id, id) == 0) return checkpoint;
    }
    error_set(err, PA_NOT_FOUND, "checkpoint_id: the session %s has no checkpoint %.40s",
              session->id, id);
    return NULL;
}

static int open_folder(const char *path, struct error *err) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 ? fd : error_set_errno(err, PA_INTERNAL, errno, "open %s", path);
}

static int open_workspace(const struct session *session, struct error *err) {
    char path[SESSION_PATH_BYTES];
    session_folder(session, "", path);
    return open_folder(path, err);
}

static int copy_folder(const char *from, const char *to, struct error *err) {
    _cleanup_(fd_closep) int in = open_folder(from, err);
    _cleanup_(fd_closep) int out = in >= 0 ? open_folder(to, err) : -1;
    return out >= 0 ? folder_copy(in, out, err) : -1;
}

/* What a list of them tells. */
static json_t *describe(struct session *session) {
    uint64_t now_ns = clock_now_ns();
    const struct checkpoint *checkpoint;
    const struct session_usage *usage = session_usage_of(session);
    json_t *checkpoints = json_array();
    TAILQ_FOREACH(checkpoint, &session->checkpoints, link) {
        (void)json_array_append_new(checkpoints,
                                    json_pack("{s:s, s:I, s:I}", "checkpoint_id", checkpoint->id,
                                              "turns", (json_int_t)checkpoint->turns, "created",
                                              (json_int_t)checkpoint->created_s));
    }
    json_t *parent = session->parent[0] != 0 ? json_string(session->parent) : json_null();
    return json_pack("{s:s, s:s, s:o, s:s, s:I, s:I, s:f, s:f, s:I, s:I, s:o}", "session_id",
                     session->id, "language", session->tool->language->title, "parent", parent,
                     "state",
                     session->busy            ? "busy"
                     : session->state != NULL ? "live"
                                              : "fresh",
                     "turns", (json_int_t)session->turns, "created", (json_int_t)session->created_s,
                     "age_seconds", (double)(time(NULL) - session->created_s), "idle_seconds",
                     (double)(now_ns - session->used_ns) / (double)NS_PER_SECOND, "memory_bytes",
                     (json_int_t)session->memory_bytes, "workspace_bytes",
                     (json_int_t)(usage->bytes < INT64_MAX ? usage->bytes : INT64_MAX),
                     "checkpoints", checkpoints);
}

static const struct tool *tool_of_language(const char *name) {
    for (const struct tool *tool = tools; tool->name != NULL; tool++) {
        if (tool->language == NULL) continue;
        if (strcmp(tool->language->name, name) == 0 || strcmp(tool->name, name) == 0 ||
            (strcmp(name, "javascript") == 0 && tool->language == &language_javascript))
            return tool;
    }
    return NULL;
}

/* Writes files of a request, if the quotas have room for them. */
static int put_files(struct session *session, int dir, const json_t *files, struct error *err) {
    const struct pa_limits *limits = &session->all->rules->limits;
    const struct session_usage *usage = session_usage_of(session);
    if (!usage->known)
        return error_set(err, PA_INVALID_ARGUMENT,
                         "files: /workspace has more than %d folders in each other",
                         FOLDER_MAX_DEPTH);
    char path[SESSION_PATH_BYTES];
    session_staging(session, path);
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return error_set_errno(err, PA_INTERNAL, errno, "make %s", path);
    _cleanup_(fd_closep) int staging = open_folder(path, err);
    struct folder_put how = {.staging = staging,
                             .replace = true,
                             .sync = !session->all->is_temporary,
                             .free_bytes = session_room(limits->workspace_bytes, usage->bytes),
                             .free_names = session_room(limits->workspace_inodes, usage->names)};
    int result = staging >= 0 ? folder_fill(dir, files, &how, err) : -1;
    if (result == 0) session_usage_add(session, how.bytes, how.names);
    folder_remove(AT_FDCWD, path);
    return result;
}

/* Takes over `parameters`. */
static struct session *open_session(struct sessions *all, const char *owner,
                                    const struct tool *tool, json_t *parameters,
                                    struct error *err) {
    struct session *session = session_make(all, owner, tool, NULL, err);
    const json_t *files = json_object_get(parameters, "files");
    int result = session != NULL ? 0 : -1;
    if (result == 0 && files != NULL) {
        _cleanup_(fd_closep) int dir = open_workspace(session, err);
        result = dir >= 0 ? put_files(session, dir, files, err) : -1;
        (void)json_object_del(parameters, "files");
    }
    if (result == 0) {
        session->parameters = json_incref(parameters);
        result = session_save(session, err);
    }
    json_decref(parameters);
    if (result == 0) return session;
    if (session != NULL) session_end(session, NULL);
    return NULL;
}

static json_t *call_open(struct sessions *all, const char *owner, const json_t *parameters,
                         struct error *err) {
    const char *language = text_of(parameters, "language");
    const struct tool *tool = tool_of_language(language != NULL ? language : "python");
    if (tool == NULL) {
        error_set(err, PA_INVALID_ARGUMENT, "language: there is no %.40s; python, javascript, ruby",
                  language);
        return NULL;
    }
    json_t *own = json_copy((json_t *)(uintptr_t)parameters);
    if (own == NULL) {
        error_set(err, PA_INTERNAL, "a session: out of memory");
        return NULL;
    }
    (void)json_object_del(own, "language");
    /* What cannot be run is told now, and not in the first turn. */
    json_t *probe = json_copy(own);
    struct tool_call call;
    if (probe == NULL || json_object_set_new(probe, "code", json_string("")) != 0 ||
        tool_call_init(&call, tool->name, probe, all->rules, err) != 0) {
        json_decref(probe);
        json_decref(own);
        return NULL;
    }
    tool_call_fini(&call);
    json_decref(probe);
    struct session *session = open_session(all, owner, tool, own, err);
    return session != NULL ? describe(session) : NULL;
}

static json_t *call_list(struct sessions *all, const char *owner) {
    json_t *list = json_array();
    struct session *session;
    TAILQ_FOREACH(session, &all->list, link) {
        if (strcmp(session->owner, owner) == 0)
            (void)json_array_append_new(list, describe(session));
    }
    return json_pack("{s:o}", "sessions", list);
}

/* One branch: of the session as it is, or of one of its checkpoints. */
static struct session *branch(struct session *session, struct checkpoint *checkpoint,
                              struct error *err) {
    char from[SESSION_PATH_BYTES], to[SESSION_PATH_BYTES];
    struct session *copy = session_make(session->all, session->owner, session->tool, session, err);
    if (copy == NULL) return NULL;
    copy->parameters = json_incref(session->parameters);
    copy->state = state_ref(checkpoint != NULL ? checkpoint->state : session->state);
    copy->turns = checkpoint != NULL ? checkpoint->turns : session->turns;
    copy->memory_bytes = session->memory_bytes;
    copy->restored = session->restored;
    copy->usage = checkpoint != NULL ? checkpoint->usage : *session_usage_of(session);
    if (checkpoint != NULL)
        checkpoint_folder(session, checkpoint, from);
    else
        session_folder(session, "", from);
    session_folder(copy, "", to);
    if (copy_folder(from, to, err) == 0 && session_save(copy, err) == 0) return copy;
    session_end(copy, NULL);
    return NULL;
}

static json_t *call_fork(struct sessions *all, const char *owner, const json_t *parameters,
                         struct error *err) {
    struct session *session = find_idle(all, owner, parameters, err);
    const char *id = text_of(parameters, "checkpoint_id");
    const json_t *given = json_object_get(parameters, "count");
    json_int_t count = given != NULL ? (json_int_t)json_number_value(given) : 1;
    if (session == NULL) return NULL;
    struct checkpoint *checkpoint = id != NULL ? find_checkpoint(session, id, err) : NULL;
    if (id != NULL && checkpoint == NULL) return NULL;
    json_t *list = json_array();
    session->busy = true; /* not to be ended to make room for its own branches */
    for (json_int_t i = 0; i < count; i++) {
        struct session *copy = branch(session, checkpoint, err);
        if (copy == NULL) { /* all or none */
            size_t index;
            json_t *made;
            json_array_foreach(list, index, made) {
                session_end(session_by_id(all, text_of(made, "session_id")), NULL);
            }
            json_decref(list);
            session->busy = false;
            return NULL;
        }
        (void)json_array_append_new(list, describe(copy));
    }
    session->busy = false;
    session_touch(session);
    return json_pack("{s:o}", "sessions", list);
}

static json_t *call_checkpoint(struct sessions *all, const char *owner, const json_t *parameters,
                               struct error *err) {
    char from[SESSION_PATH_BYTES], to[SESSION_PATH_BYTES];
    struct session *session = find_idle(all, owner, parameters, err);
    if (session == NULL) return NULL;
    if (session->checkpoint_count >= MAX_CHECKPOINTS) {
        error_set(err, PA_INVALID_ARGUMENT,
                  "session_id: the session %s has %d checkpoints, which "
                  "is the most there can be",
                  session->id, MAX_CHECKPOINTS);
        return NULL;
    }
    struct checkpoint *checkpoint = checkpoint_make(session, err);
    if (checkpoint == NULL) return NULL;
    session_folder(session, "", from);
    checkpoint_folder(session, checkpoint, to);
    checkpoint->usage = *session_usage_of(session);
    if (copy_folder(from, to, err) != 0) {
        checkpoint_end(session, checkpoint);
        return NULL;
    }
    session_touch(session);
    return json_pack("{s:s, s:s, s:I}", "session_id", session->id, "checkpoint_id", checkpoint->id,
                     "turns", (json_int_t)checkpoint->turns);
}

/* The files of a checkpoint take the place of the session's. What takes room comes first: where
 * there is none, nothing has changed. */
static int restore_files(const struct session *session, const struct checkpoint *checkpoint,
                         struct error *err) {
    char from[SESSION_PATH_BYTES], copy[SESSION_PATH_BYTES], to[SESSION_PATH_BYTES];
    checkpoint_folder(session, checkpoint, from);
    session_folder(session, ".rollback", copy);
    session_folder(session, "", to);
    if (access(copy, F_OK) == 0) folder_remove(AT_FDCWD, copy); /* of a server that was killed */
    if (mkdir(copy, 0700) != 0) return error_set_errno(err, PA_INTERNAL, errno, "make %s", copy);
    int result = copy_folder(from, copy, err);
    if (result == 0) {
        _cleanup_(fd_closep) int in = open_folder(copy, err);
        _cleanup_(fd_closep) int out = in >= 0 ? open_folder(to, err) : -1;
        if (out >= 0) folder_empty(AT_FDCWD, to);
        result = out >= 0 ? folder_move(in, out, err) : -1;
    }
    folder_remove(AT_FDCWD, copy);
    return result;
}

static json_t *call_rollback(struct sessions *all, const char *owner, const json_t *parameters,
                             struct error *err) {
    struct session *session = find_idle(all, owner, parameters, err);
    struct checkpoint *checkpoint =
        session != NULL ? find_checkpoint(session, text_of(parameters, "checkpoint_id"), err)
                        : NULL;
    if (checkpoint == NULL) return NULL;
    if (restore_files(session, checkpoint, err) != 0) return NULL;
    struct state *former = session->state;
    session->state = state_ref(checkpoint->state);
    state_unref(all, former);
    session->turns = checkpoint->turns;
    session->usage = checkpoint->usage;
    session->moved = true;
    session_touch(session);
    return describe(session);
}

static json_t *call_input(struct session *session, const json_t *parameters, struct error *err) {
    const char *data = text_of(parameters, "data");
    size_t size = json_string_length(json_object_get(parameters, "data"));
    if (session->input_fd < 0) {
        error_set(err, PA_INVALID_ARGUMENT,
                  "session_id: the session %s is in no turn that takes input; start one with "
                  "stdin_stream",
                  session->id);
        return NULL;
    }
    ssize_t put = size > 0 ? write(session->input_fd, data, size) : 0;
    if (put < 0 && errno != EAGAIN && errno != EPIPE) {
        error_set_errno(err, PA_INTERNAL, errno, "write to the program's stdin");
        return NULL;
    }
    bool all = put >= 0 && (size_t)put == size;
    if (all && json_is_true(json_object_get(parameters, "eof"))) fd_closep(&session->input_fd);
    return json_pack("{s:s, s:I}", "session_id", session->id, "accepted_bytes",
                     (json_int_t)(put > 0 ? put : 0));
}

static json_t *call_put_files(struct session *session, const json_t *parameters,
                              struct error *err) {
    _cleanup_(fd_closep) int dir = open_workspace(session, err);
    const json_t *files = json_object_get(parameters, "files");
    if (dir < 0 || put_files(session, dir, files, err) != 0) return NULL;
    session_touch(session);
    return json_pack("{s:s, s:I}", "session_id", session->id, "files",
                     (json_int_t)json_object_size(files));
}

static json_t *call_get_file(struct session *session, const json_t *parameters, struct error *err) {
    _cleanup_(fd_closep) int dir = open_workspace(session, err);
    const char *path = text_of(parameters, "path");
    struct buffer bytes = {0};
    if (dir < 0) return NULL;
    session_touch(session);
    if (path == NULL)
        return json_pack("{s:s, s:o}", "session_id", session->id, "files", folder_list(dir));
    json_t *answer = NULL;
    if (folder_read(dir, path, MAX_FILE_BYTES, &bytes, err) == 0) {
        answer = json_pack("{s:s, s:s, s:I}", "session_id", session->id, "path", path, "bytes",
                           (json_int_t)bytes.size);
        if (answer != NULL && result_add_output(answer, "text", bytes.data, bytes.size) != 0) {
            json_decref(answer);
            answer = NULL;
        }
    }
    buffer_fini(&bytes);
    return answer;
}

static json_t *answer_with(json_t *answer, struct error *err) {
    if (answer == NULL && err->code == PA_OK) error_set(err, PA_INTERNAL, "out of memory");
    return answer;
}

json_t *sessions_call(struct sessions *all, const char *owner, const struct tool *tool,
                      const json_t *parameters, struct error *err) {
    const char *what = strchr(tool->name, '_') + 1;
    if (strcmp(what, "open") == 0) return answer_with(call_open(all, owner, parameters, err), err);
    if (strcmp(what, "list") == 0) return answer_with(call_list(all, owner), err);
    if (strcmp(what, "fork") == 0) return answer_with(call_fork(all, owner, parameters, err), err);
    if (strcmp(what, "checkpoint") == 0)
        return answer_with(call_checkpoint(all, owner, parameters, err), err);
    if (strcmp(what, "rollback") == 0)
        return answer_with(call_rollback(all, owner, parameters, err), err);
    struct session *session = find(all, owner, text_of(parameters, "session_id"), err);
    if (session == NULL) return NULL;
    json_t *answer = NULL;
    if (strcmp(what, "info") == 0) {
        answer = describe(session);
    } else if (strcmp(what, "close") == 0) {
        answer = json_pack("{s:s, s:b}", "session_id", session->id, "closed", 1);
        session_end(session, "it was closed");
    } else if (strcmp(what, "interrupt") == 0) {
        answer = json_pack("{s:s, s:b}", "session_id", session->id, "interrupted",
                           session_interrupt(session));
    } else if (strcmp(what, "input") == 0) {
        answer = call_input(session, parameters, err);
    } else if (strcmp(what, "put_files") == 0) {
        answer = call_put_files(session, parameters, err);
    } else {
        answer = call_get_file(session, parameters, err);
    }
    return answer_with(answer, err);
}

const char *sessions_runner(struct sessions *all, const char *owner, const char *id,
                            struct error *err) {
    const struct session *session = find(all, owner, id, err);
    return session != NULL ? session->tool->name : NULL;
}

/* The turn's own parameters upon the session's. */
static json_t *merge(const struct session *session, const json_t *given, bool is_new,
                     struct error *err) {
    json_t *all = json_copy(session->parameters), *value;
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

/* Files of the request, and what is left of the quotas. */
static int prepare_files(struct session_turn *turn, const json_t *given, struct error *err) {
    struct session *session = turn->session;
    const struct pa_limits *limits = &session->all->rules->limits;
    const json_t *files = json_object_get(given, "files");
    _cleanup_(fd_closep) int dir = open_workspace(session, err);
    if (dir < 0 || (files != NULL && put_files(session, dir, files, err) != 0)) return -1;
    const struct session_usage *usage = session_usage_of(session);
    turn->free_bytes = session_room(limits->workspace_bytes, usage->bytes);
    turn->free_names = session_room(limits->workspace_inodes, usage->names);
    return 0;
}

int sessions_enter(struct sessions *all, const char *owner, const struct tool *tool,
                   const json_t *given, struct session_turn *turn, struct error *err) {
    const char *id = text_of(given, "session_id");
    bool is_new = id != NULL && strcmp(id, NEW_SESSION) == 0;
    *turn = (struct session_turn){.input_fd = -1};
    if (remote_hold(all->remote, err) != 0) return -1;
    struct session *session = is_new ? open_session(all, owner, tool, fixed_of(given), err)
                                     : find_idle(all, owner, given, err);
    if (session == NULL) return -1;
    if (session->tool != tool)
        return error_set(err, PA_INVALID_ARGUMENT, "session_id: the session %s is for %s",
                         session->id, session->tool->name);
    session->busy = true;
    session_touch(session);
    turn->session = session;
    turn->is_new = is_new;
    turn->parameters = merge(session, given, is_new, err);
    if (turn->parameters == NULL || prepare_files(turn, given, err) != 0 ||
        open_input(turn, err) != 0) {
        sessions_abandon(turn);
        return -1;
    }
    if (session->turns == 0)
        (void)snprintf(turn->name, sizeof turn->name, "<code>");
    else /* functions of earlier turns keep their own source lines */
        (void)snprintf(turn->name, sizeof turn->name, "<code %u>", session->turns + 1);
    session_folder(session, "", turn->workspace);
    session_folder(session, ".output", turn->output);
    session_scope(session, turn->scope);
    const struct state *state = session->state;
    turn->call = (struct tool_turn){.workspace = turn->workspace,
                                    .output = turn->output,
                                    .name = turn->name,
                                    .fresh = state == NULL};
    bool at_home = state != NULL && strcmp(state->at, session->id) == 0;
    turn->node = (struct remote_turn){.node = state != NULL ? state->node : 0,
                                      .same_mounts = at_home,
                                      .moved = state != NULL && (!at_home || session->moved),
                                      .scope = turn->scope};
    return 0;
}

void sessions_started(struct session_turn *turn, struct remote_run *run) {
    turn->session->run = run;
    fd_closep(&turn->input_fd);
}

void session_turn_fini(struct session_turn *turn) {
    json_decref(turn->parameters);
    turn->parameters = NULL;
    fd_closep(&turn->input_fd);
}

/* No turn is under way any more. */
static void be_idle(struct session *session) {
    session->busy = false;
    session->run = NULL;
    fd_closep(&session->input_fd);
    if (session->ending) session_end(session, "it was closed");
}

void sessions_abandon(struct session_turn *turn) {
    struct session *session = turn->session;
    bool is_new = turn->is_new;
    session_turn_fini(turn);
    be_idle(session);
    if (is_new) session_end(session, NULL); /* nobody has heard of it */
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

enum pa_status sessions_leave(struct session *session, enum pa_status status,
                              const struct remote_outcome *outcome, json_t *result) {
    struct sessions *all = session->all;
    char output[SESSION_PATH_BYTES];
    uint64_t node = outcome != NULL ? outcome->node : 0;
    bool kept = status == PA_OK && node != 0, restarted = session->restored && kept;
    const json_t *usage = json_object_get(result, "usage");
    const json_t *memory = json_object_get(usage, "peak_memory_bytes");
    session_folder(session, ".output", output);
    if (result != NULL && workspace_add_artifacts_of(output, result) != 0)
        (void)json_object_set_new(result, "artifacts_truncated", json_true());
    session_usage_turn(session, output, outcome);
    folder_empty(AT_FDCWD, output);
    if (kept) {
        struct state *former = session->state;
        session->state = state_make(session, node);
        if (session->state == NULL) { /* out of memory: it stays where it was */
            remote_drop_node(all->remote, node);
            session->state = former;
            kept = false;
        } else {
            state_unref(all, former);
            session->turns++;
            session->restored = false;
            session->moved = false;
            if (memory != NULL) session->memory_bytes = (uint64_t)json_integer_value(memory);
        }
    } else if (node != 0) {
        remote_drop_node(all->remote, node);
    }
    if (status == PA_NOT_FOUND && session->state != NULL) { /* the kernel was short of memory */
        state_unref(all, session->state);
        session->state = NULL;
    }
    if (result != NULL && session->interrupted && status != PA_OK) {
        tell_interrupted(result);
        status = PA_OK;
    }
    if (result != NULL)
        tell(session, kept, restarted, outcome != NULL ? outcome->files_lost : 0, status, result);
    session->interrupted = false;
    session_touch(session);
    be_idle(session);
    return status;
}

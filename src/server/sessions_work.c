/* What takes long with sessions' files, and is done in threads. Each operation has a beginning in
 * the loop, a part in a thread that looks at nothing that changes meanwhile, and an end in the
 * loop, or something that undoes the beginning. */
#include "server/sessions_op.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "tools/result.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FILE_BYTES = 32 << 20 };

void op_release(struct session_op *op) {
    json_decref(op->files);
    json_decref(op->probe);
    json_decref(op->interpreter);
    json_decref(op->answer);
    count_settle(op);
    buffer_fini(&op->bytes);
    fd_closep(&op->fd);
    free(op->path);
    free(op->copies);
    free(op);
}

static void act(struct work_job *job) {
    struct session_op *op = (struct session_op *)job;
    op->result = op->act(op, &op->err);
}

static void done(struct work_job *job) {
    struct session_op *op = (struct session_op *)job;
    json_t *answer = NULL;
    const struct session *session = session_by_id(op->all, op->id);
    count_settle(op);
    /* Whatever it has come upon: the folder is going, or gone. */
    if (op->session == NULL && (session == NULL || session->ending))
        op->result = error_set(&op->err, PA_NOT_FOUND,
                               "session_id: the session %s has ended meanwhile", op->id);
    if (op->result == 0)
        answer = op->end(op, &op->err);
    else if (op->undo != NULL)
        op->undo(op);
    if (op->client.file != NULL)
        op->client.file(op->client.context, op->err.code == PA_OK ? steal_fd(&op->fd) : -1,
                        &op->err);
    else if (op->client.done != NULL)
        op->client.done(op->client.context, answer, &op->err);
    else
        json_decref(answer);
    op_release(op);
}

void sessions_forget(struct session_op *op) {
    op->forgotten = true;
}

struct session_op *op_make(struct session *session, const struct session_client *client,
                           struct error *err) {
    struct session_op *op = calloc(1, sizeof *op);
    if (op == NULL) {
        error_set(err, PA_INTERNAL, "a session: out of memory");
        return NULL;
    }
    *op = (struct session_op){.job = {.kind = WORK_FILES, .act = act, .done = done},
                              .all = session->all,
                              .client = *client,
                              .used = session->used,
                              .fd = -1};
    (void)snprintf(op->job.tenant, sizeof op->job.tenant, "%s", session->owner);
    memcpy(op->id, session->id, sizeof op->id);
    session_folder(session, "", op->folder);
    return op;
}

struct session_op *op_submit(struct session_op *op, struct session *session, struct error *err) {
    op->session = session;
    if (session != NULL) {
        session->at = SESSION_AT_WORK;
        session_touch(session);
    }
    if (work_submit(op->all->work, &op->job, err) == 0) return op;
    if (op->undo != NULL) op->undo(op);
    op_release(op);
    return NULL;
}

json_t *op_answered(json_t *answer, struct error *err) {
    if (answer == NULL) error_set(err, PA_INTERNAL, "a session: out of memory");
    return answer;
}

/* ---- in threads */

int op_look(struct session_op *op, struct error *err) {
    _cleanup_(fd_closep) int dir = sessions_open_folder(op->all, op->folder, err);
    if (dir < 0) return -1;
    op->has_looked = true;
    op->used.full = folder_usage(dir, UINT64_MAX, &op->used.bytes, &op->used.names) != 0;
    op->used.known = true;
    return 0;
}

int op_look_to_copy(struct session_op *op, struct error *err) {
    if (!op->used.known && op_look(op, err) != 0) return -1;
    if (op->used.bytes <= op->most_bytes) return 0;
    return error_set(err, PA_OVERLOADED,
                     "a copy of the session takes %llu bytes, and there is room for %llu "
                     "(sessions.tenant_bytes, sessions.max_bytes)",
                     (unsigned long long)op->used.bytes, (unsigned long long)op->most_bytes);
}

static int put_files(struct session_op *op, struct error *err) {
    const struct pa_limits *limits = &op->rules.limits;
    if (op->has_looked) {
        uint64_t bytes = count_less(limits->workspace_bytes, op->used.bytes);
        uint64_t names = count_less(limits->workspace_inodes, op->used.names);
        if (bytes < op->put.free_bytes) op->put.free_bytes = bytes;
        if (names < op->put.free_names) op->put.free_names = names;
    }
    if (op->used.full) op->put.free_bytes = op->put.free_names = 0;
    op->put.replace = true;
    op->put.sync = !op->all->is_temporary;
    if (mkdirat(op->all->dir_fd, op->staging, 0700) != 0)
        return error_set_errno(err, PA_INTERNAL, errno, "make %s/%s", op->all->dir, op->staging);
    _cleanup_(fd_closep) int staging = sessions_open_folder(op->all, op->staging, err);
    _cleanup_(fd_closep) int dir =
        staging >= 0 ? sessions_open_folder(op->all, op->folder, err) : -1;
    op->put.staging = staging;
    int result = dir < 0            ? -1
                 : op->path != NULL ? folder_put(dir, op->path, &op->bytes, &op->put, err)
                                    : folder_fill(dir, op->files, &op->put, err);
    folder_remove(op->all->dir_fd, op->staging);
    return result;
}

static int make_new(struct session_op *op, struct error *err) {
    const struct session *session = op->session;
    const char *encoded = json_string_value(op->interpreter);
    if (encoded != NULL && module_store(op->all, encoded, &op->module, err) != 0) return -1;
    return session_make_folders(session, err) == 0 &&
                   session_save(session, encoded != NULL ? op->module.digest : NULL, err) == 0
               ? 0
               : -1;
}

/* ---- files */

static struct folder_most most_of(const json_t *files) {
    const char *name;
    json_t *value;
    struct folder_most most = {0};
    json_object_foreach((json_t *)(uintptr_t)files, name, value) {
        size_t encoded = json_string_length(json_object_get(value, "base64"));
        folder_put_most(name, json_string_length(value) + (encoded + 3) / 4 * 3, &most);
    }
    return most;
}

/* `files` may be NULL. Views of rules and the place for it. */
static void take_files(struct session_op *op, const struct session *session, json_t *files) {
    static unsigned number;
    op->files = json_incref(files);
    op->rules = *session->all->rules;
    (void)snprintf(op->staging, sizeof op->staging, "%s/checkpoints/%s@put%u", session->line->id,
                   session->id, ++number);
}

static int act_put(struct session_op *op, struct error *err) {
    return op->used.known || op_look(op, err) == 0 ? put_files(op, err) : -1;
}

static json_t *end_put(struct session_op *op, struct error *err) {
    struct session *session = session_by_id(op->all, op->id);
    count_grow(session, op->put.bytes, op->put.names);
    if (session->at == SESSION_IDLE && !session->used.known && session->look == NULL)
        work_look(session);
    session_touch(session);
    return op_answered(json_pack("{s:s, s:I}", "session_id", op->id, "files",
                                 (json_int_t)(op->path != NULL ? 1 : json_object_size(op->files))),
                       err);
}

/* Some of it may be in its place. */
static void undo_put(struct session_op *op) {
    struct session *session = session_by_id(op->all, op->id);
    if (session == NULL || op->err.code != PA_INTERNAL) return;
    session->used.known = false;
    if (session->at == SESSION_IDLE && session->look == NULL) work_look(session);
}

struct session_op *work_put(struct session *session, json_t *files, const char *path,
                            struct buffer *bytes, const struct session_client *client,
                            struct error *err) {
    struct folder_most most = most_of(files);
    if (path != NULL) folder_put_most(path, bytes->size, &most);
    if (share_check(session->all, session->owner, most.bytes, err) != 0) return NULL;
    struct session_op *op = op_make(session, client, err);
    if (op == NULL) return NULL;
    take_files(op, session, files);
    op->act = act_put;
    op->end = end_put;
    op->undo = undo_put;
    if (path != NULL) {
        op->path = strdup(path);
        op->bytes = *bytes;
        *bytes = (struct buffer){.data = NULL};
        if (op->path == NULL) {
            error_set(err, PA_INTERNAL, "files: out of memory");
            op_release(op);
            return NULL;
        }
    }
    count_keep(op, session, &most, 0);
    return op_submit(op, NULL, err);
}

static int act_get(struct session_op *op, struct error *err) {
    struct buffer bytes = {0};
    _cleanup_(fd_closep) int dir = sessions_open_folder(op->all, op->folder, err);
    if (dir < 0) return -1;
    if (op->client.file != NULL) {
        op->fd = folder_file(dir, op->path, MAX_FILE_BYTES, err);
        return op->fd >= 0 ? 0 : -1;
    }
    if (op->path == NULL) {
        op->answer = json_pack("{s:s, s:o}", "session_id", op->id, "files", folder_list(dir));
    } else if (folder_read(dir, op->path, MAX_FILE_BYTES, &bytes, err) == 0) {
        op->answer = json_pack("{s:s, s:s, s:I}", "session_id", op->id, "path", op->path, "bytes",
                               (json_int_t)bytes.size);
        if (op->answer != NULL &&
            result_add_output(op->answer, "text", bytes.data, bytes.size) != 0) {
            json_decref(op->answer);
            op->answer = NULL;
        }
    }
    buffer_fini(&bytes);
    if (op->answer == NULL && err->code == PA_OK)
        error_set(err, PA_INTERNAL, "a session: out of memory");
    return op->answer != NULL ? 0 : -1;
}

static json_t *end_get(struct session_op *op, struct error *err) {
    (void)err;
    return steal_ptr(op->answer);
}

struct session_op *work_get(struct session *session, const char *path,
                            const struct session_client *client, struct error *err) {
    struct session_op *op = op_make(session, client, err);
    if (op == NULL) return NULL;
    op->act = act_get;
    op->end = end_get;
    op->path = path != NULL ? strdup(path) : NULL;
    session_touch(session);
    if (path == NULL || op->path != NULL) return op_submit(op, NULL, err);
    error_set(err, PA_INTERNAL, "path: out of memory");
    op_release(op);
    return NULL;
}

static json_t *end_look(struct session_op *op, struct error *err) {
    struct session *session = session_by_id(op->all, op->id);
    (void)err;
    if (session == NULL || session->look != op) return NULL;
    session->look = NULL;
    if (!session->used.known && session->at == SESSION_IDLE) count_set(session, &op->used);
    return NULL;
}

static void undo_look(struct session_op *op) {
    struct session *session = session_by_id(op->all, op->id);
    if (session != NULL && session->look == op) session->look = NULL;
}

void work_look(struct session *session) {
    static const struct session_client nobody = {.done = NULL};
    struct error err = {0};
    session->look = NULL; /* of what was counted before, nothing is taken */
    struct session_op *op = op_make(session, &nobody, &err);
    if (op == NULL) return; /* it is counted before the next turn */
    op->act = op_look;
    op->end = end_look;
    op->undo = undo_look;
    session->look = op_submit(op, NULL, &err);
}

/* ---- new sessions, and turns */

static int act_open(struct session_op *op, struct error *err) {
    struct tool_call call;
    if (op->probe != NULL) { /* what cannot be run is told now, and not in the first turn */
        if (tool_call_init(&call, op->session->tool->name, op->probe, &op->rules, err) != 0)
            return -1;
        tool_call_fini(&call);
    }
    if (op->is_new && make_new(op, err) != 0) return -1;
    op->has_module = op->interpreter != NULL;
    json_decref(op->probe); /* not in the loop: it takes long */
    json_decref(op->interpreter);
    op->probe = op->interpreter = NULL;
    if (!op->used.known && op_look(op, err) != 0) return -1;
    return op->files != NULL ? put_files(op, err) : 0;
}

static int take_module(struct session_op *op, struct error *err) {
    struct session *session = op->session;
    if (!op->has_module) return 0;
    session->module = module_ref(op->all, &op->module);
    if (session->module == NULL) return error_set(err, PA_INTERNAL, "a session: out of memory");
    /* Another's session may have ended meanwhile, and been the last that needed the file. */
    _cleanup_(fd_closep) int fd = module_open(op->all, session->module);
    return fd >= 0 ? 0
                   : error_set(err, PA_OVERLOADED,
                               "the interpreter was being removed; retry in 100 ms");
}

/* A new session that did not come about ends, once: somebody may have closed it meanwhile. */
static void undo_open(struct session_op *op) {
    if (op->is_new) op->session->ending = true;
    session_rest(op->session);
}

static json_t *end_open(struct session_op *op, struct error *err) {
    struct session *session = op->session;
    if (take_module(op, err) != 0 || op->forgotten) {
        undo_open(op);
        return NULL;
    }
    if (op->has_looked) count_set(session, &op->used);
    count_grow(session, op->put.bytes, op->put.names);
    session->at = SESSION_IDLE;
    json_t *answer = op_answered(session_describe(session), err);
    session_rest(session);
    return answer;
}

static json_t *end_enter(struct session_op *op, struct error *err) {
    struct session *session = op->session;
    if (take_module(op, err) != 0 || session->ending) {
        if (err->code == PA_OK)
            error_set(err, PA_NOT_FOUND, "session_id: the session %s has ended: it was closed",
                      session->id);
        undo_open(op);
        return NULL;
    }
    if (op->has_looked) count_set(session, &op->used);
    count_grow(session, op->put.bytes, op->put.names);
    session->at = SESSION_IN_TURN;
    return NULL;
}

static uint64_t interpreter_most(const json_t *encoded) {
    return json_string_length(encoded) / 4 * 3;
}

/* Room for all that comes along. */
static void keep(struct session_op *op, struct session *session) {
    struct folder_most most = most_of(op->files);
    count_keep(op, session, &most, interpreter_most(op->interpreter));
}

/* Takes the interpreter out of a new session's parameters, which become the session's. */
static int take_parameters(struct session_op *op, struct session *session, json_t *parameters,
                           struct error *err) {
    json_t *encoded = json_object_get(parameters, "interpreter_wasm_base64");
    uint64_t bytes = most_of(op->files).bytes + interpreter_most(encoded);
    op->is_new = true;
    op->interpreter = json_incref(encoded);
    (void)json_object_del(parameters, "interpreter_wasm_base64");
    session->parameters = json_incref(parameters);
    return share_check(op->all, session->owner, bytes, err);
}

struct session_op *work_open(struct sessions *all, const char *owner, const struct tool *tool,
                             json_t *parameters, const struct session_client *client,
                             struct error *err) {
    if (share_make_room(all, owner, 1, NULL, err) != 0) return NULL;
    struct session *session = session_make(all, owner, tool, NULL, err);
    struct session_op *op = session != NULL ? op_make(session, client, err) : NULL;
    if (op == NULL) {
        if (session != NULL) session_end(session, NULL);
        return NULL;
    }
    take_files(op, session, json_object_get(parameters, "files"));
    (void)json_object_del(parameters, "files");
    op->config = *all->config;
    op->rules.config = &op->config;
    if (op->rules.ceilings != NULL) op->rules.ceilings = &op->config.ceilings;
    op->probe = json_copy(parameters);
    op->act = act_open;
    op->end = end_open;
    op->undo = undo_open;
    if (op->probe == NULL || json_object_set_new(op->probe, "code", json_string("")) != 0)
        error_set(err, PA_INTERNAL, "a session: out of memory");
    else if (take_parameters(op, session, parameters, err) == 0) {
        keep(op, session);
        return op_submit(op, session, err);
    }
    session_end(session, NULL);
    op_release(op);
    return NULL;
}

struct session_op *work_enter(struct session *session, json_t *parameters, json_t *files,
                              const struct session_client *client, struct error *err) {
    struct session_op *op = op_make(session, client, err);
    if (op == NULL) return NULL;
    take_files(op, session, files);
    op->act = act_open;
    op->end = end_enter;
    op->undo = undo_open;
    if (parameters != NULL && take_parameters(op, session, parameters, err) != 0) {
        op_release(op);
        return NULL;
    }
    keep(op, session);
    return op_submit(op, session, err);
}

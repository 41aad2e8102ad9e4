/* What can be asked of sessions, and what is told of them. */
#include "server/sessions_internal.h"

#include "base/cleanup.h"
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *text_of(const json_t *parameters, const char *name) {
    return json_string_value(json_object_get(parameters, name));
}

/* The session by its id, for whoever opened it. */
struct session *session_find(struct sessions *all, const char *owner, const char *id,
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

struct session *session_find_idle(struct sessions *all, const char *owner, const char *id,
                                  struct error *err) {
    struct session *session = session_find(all, owner, id, err);
    if (session == NULL || session->at == SESSION_IDLE) return session;
    error_set(err, PA_OVERLOADED, "session_id: the session %s is %s; retry in 100 ms", session->id,
              session->at == SESSION_IN_TURN ? "in a turn"
                                             : "being worked on: its files are copied");
    return NULL;
}

struct checkpoint *session_find_checkpoint(struct session *session, const char *id,
                                           struct error *err) {
    struct checkpoint *checkpoint;
    TAILQ_FOREACH(checkpoint, &session->checkpoints, link) {
        if (strcmp(checkpoint->id, id) == 0) return checkpoint;
    }
    error_set(err, PA_NOT_FOUND, "checkpoint_id: the session %s has no checkpoint %.40s",
              session->id, id);
    return NULL;
}

/* What a list of them tells. */
json_t *session_describe(const struct session *session) {
    uint64_t now_ns = clock_now_ns();
    const struct checkpoint *checkpoint;
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
                     session->at != SESSION_IDLE ? "busy"
                     : session->state != NULL    ? "live"
                                                 : "fresh",
                     "turns", (json_int_t)session->turns, "created", (json_int_t)session->created_s,
                     "age_seconds", (double)(time(NULL) - session->created_s), "idle_seconds",
                     (double)(now_ns - session->used_ns) / (double)NS_PER_SECOND, "memory_bytes",
                     (json_int_t)session->memory_bytes, "workspace_bytes",
                     (json_int_t)session->used.bytes, "checkpoints", checkpoints);
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

static json_t *call_list(struct sessions *all, const char *owner) {
    json_t *list = json_array();
    struct session *session;
    TAILQ_FOREACH(session, &all->list, link) {
        if (strcmp(session->owner, owner) == 0)
            (void)json_array_append_new(list, session_describe(session));
    }
    return json_pack("{s:o}", "sessions", list);
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

int sessions_unread_input(struct sessions *all, const char *owner, const char *id) {
    char path[32];
    struct error err = {0};
    const struct session *session = session_find(all, owner, id, &err);
    if (session == NULL || session->input_fd < 0) return -1;
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", session->input_fd);
    return open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
}

static struct session_op *call_open(struct sessions *all, const char *owner,
                                    const json_t *parameters, const struct session_client *client,
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
    struct session_op *op = work_open(all, owner, tool, own, client, err);
    json_decref(own);
    return op;
}

static struct session_op *call_fork(struct session *session, const json_t *parameters,
                                    const struct session_client *client, struct error *err) {
    const char *id = text_of(parameters, "checkpoint_id");
    const json_t *given = json_object_get(parameters, "count");
    unsigned count = given != NULL ? (unsigned)json_number_value(given) : 1;
    struct checkpoint *checkpoint = id != NULL ? session_find_checkpoint(session, id, err) : NULL;
    return id == NULL || checkpoint != NULL ? work_fork(session, checkpoint, count, client, err)
                                            : NULL;
}

static struct session_op *call_rollback(struct session *session, const json_t *parameters,
                                        const struct session_client *client, struct error *err) {
    struct checkpoint *checkpoint =
        session_find_checkpoint(session, text_of(parameters, "checkpoint_id"), err);
    return checkpoint != NULL ? work_rollback(session, checkpoint, client, err) : NULL;
}

/* Of those that need a session that nothing is under way in. */
static struct session_op *call_idle(struct sessions *all, const char *owner, const char *what,
                                    const json_t *parameters, const struct session_client *client,
                                    struct error *err) {
    struct session *session = session_find_idle(all, owner, text_of(parameters, "session_id"), err);
    if (session == NULL) return NULL;
    return strcmp(what, "fork") == 0         ? call_fork(session, parameters, client, err)
           : strcmp(what, "checkpoint") == 0 ? work_checkpoint(session, client, err)
                                             : call_rollback(session, parameters, client, err);
}

json_t *sessions_call(struct sessions *all, const char *owner, const struct tool *tool,
                      const json_t *parameters, session_answer *done, void *context,
                      struct session_op **op, struct error *err) {
    const struct session_client client = {.done = done, .context = context};
    const char *what = strchr(tool->name, '_') + 1;
    bool idle = strcmp(what, "fork") == 0 || strcmp(what, "checkpoint") == 0 ||
                strcmp(what, "rollback") == 0;
    json_t *answer = NULL;
    *op = NULL;
    if (idle || strcmp(what, "open") == 0) {
        *op = idle ? call_idle(all, owner, what, parameters, &client, err)
                   : call_open(all, owner, parameters, &client, err);
        return NULL;
    }
    if (strcmp(what, "list") == 0) {
        answer = call_list(all, owner);
    } else {
        struct session *session = session_find(all, owner, text_of(parameters, "session_id"), err);
        if (session == NULL) return NULL;
        if (strcmp(what, "put_files") == 0) {
            *op = work_put(session, json_object_get(parameters, "files"), NULL, NULL, &client, err);
            return NULL;
        }
        if (strcmp(what, "get_file") == 0) {
            *op = work_get(session, text_of(parameters, "path"), &client, err);
            return NULL;
        }
        if (strcmp(what, "info") == 0) {
            answer = session_describe(session);
        } else if (strcmp(what, "close") == 0) {
            answer = json_pack("{s:s, s:b}", "session_id", session->id, "closed", 1);
            session_end(session, "it was closed");
        } else if (strcmp(what, "interrupt") == 0) {
            answer = json_pack("{s:s, s:b}", "session_id", session->id, "interrupted",
                               session_interrupt(session));
        } else {
            answer = call_input(session, parameters, err);
        }
    }
    if (answer == NULL && err->code == PA_OK) error_set(err, PA_INTERNAL, "out of memory");
    return answer;
}

int sessions_put_file(struct sessions *all, const char *owner, const char *id, const char *path,
                      struct buffer *bytes, session_answer *done, void *context,
                      struct session_op **op, struct error *err) {
    const struct session_client client = {.done = done, .context = context};
    struct session *session = session_find(all, owner, id, err);
    *op = session != NULL ? work_put(session, NULL, path, bytes, &client, err) : NULL;
    return *op != NULL ? 0 : -1;
}

int sessions_get_file(struct sessions *all, const char *owner, const char *id, const char *path,
                      session_file *done, void *context, struct session_op **op,
                      struct error *err) {
    const struct session_client client = {.file = done, .context = context};
    struct session *session = session_find(all, owner, id, err);
    *op = session != NULL ? work_get(session, path, &client, err) : NULL;
    return *op != NULL ? 0 : -1;
}

const char *sessions_runner(struct sessions *all, const char *owner, const char *id,
                            struct error *err) {
    const struct session *session = session_find(all, owner, id, err);
    return session != NULL ? session->tool->name : NULL;
}

/* A run, from its call to its result.
 *
 *     start_run() -> PREPARING -> RUNNING -> ENDED -> COLLECTING -> (told)
 *     start_turn() -> WAITING  -> RUNNING -> ENDED -> COLLECTING -> (told)
 *     a call about sessions -> WAITING -> (told)
 *
 * PREPARING is done in a thread where parameters are large or bring files; COLLECTING where the
 * result is large or the run left files; else both are over at once. ENDED is it while there is no
 * room for its result (intake.h). WAITING is for sessions, which
 * do what takes long in threads themselves. Cancelled while a thread is at it, a run is abandoned:
 * nobody is told, and it goes when the thread is done. */
#include "server/service_run.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json_text.h"
#include "base/log.h"
#include "tools/compile.h"
#include "tools/result.h"
#include "tools/schema.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void service_run_release(struct service_run *run) {
    sd_event_source_disable_unref(run->answering);
    json_decref(run->answer);
    json_decref(run->instead);
    json_decref(run->result);
    buffer_fini(&run->held);
    result_files_close(&run->files);
    intake_forget(&run->service->intake, &run->waiter);
    intake_release(&run->service->intake, &run->claim);
    service_remove_folder(run->service, run->caller.name, &run->workspace, false);
    free(run->turn);
    free(run);
}

static uint64_t count(struct service_run *run, const struct pa_result *result) {
    const struct pa_usage *u = &result->usage;
    struct metrics_run ended = {.tool = run->tool,
                                .status = result->status,
                                .wall_ns = clock_now_ns() - run->began_ns,
                                .cache_hit = u->cache_hit,
                                .output_bytes = {u->stdout_bytes, u->stderr_bytes}};
    metrics_count_run(&run->service->metrics, &ended);
    run->service->metrics.in_flight--;
    return ended.wall_ns;
}

static void log_end(const struct service_run *run, enum pa_status status,
                    const struct pa_result *result, uint64_t wall_ns) {
    bool ours = status == PA_INTERNAL;
    log_event(ours ? LOG_ERROR : LOG_INFO, run->caller.interface, "run ended",
              {"request_id", run->caller.request_id, 0},
              {"traceparent", run->caller.traceparent, 0}, {"caller", run->caller.name, 0},
              {"tool", tools[run->tool].name, 0}, {"status", pa_status_name(status), 0},
              {"exit_code", NULL, result->exit_code},
              {"wall_ms", NULL, (double)wall_ns / (double)NS_PER_MS},
              {"cpu_ms", NULL, result->usage.cpu_ms},
              {"error", ours && result->message != NULL ? result->message : "", 0});
}

static void count_refusal(struct service *service, const struct service_caller *caller,
                          const struct error *err) {
    service->metrics.refused[err->code]++;
    log_event(err->code == PA_INTERNAL ? LOG_ERROR : LOG_INFO, caller->interface, "call refused",
              {"request_id", caller->request_id, 0}, {"traceparent", caller->traceparent, 0},
              {"caller", caller->name, 0}, {"status", pa_status_name(err->code), 0},
              {"error", err->text, 0});
}

/* After service_start(): a refusal comes as a result. */
void service_run_refuse(struct service_run *run, const struct error *err) {
    if (run->phase != ENDED) run->service->metrics.in_flight--; /* that one has been counted */
    count_refusal(run->service, &run->caller, err);
    run->callbacks->done(run->context, err->code, service_refusal(&run->caller, err));
    service_run_release(run);
}

/* Room for so many bytes more than the request had. -1 with `err`. */
static int claim(struct service_run *run, size_t bytes, struct error *err) {
    if (intake_keep(&run->service->intake, &run->claim, run->caller.name, bytes) == INTAKE_TAKEN)
        return 0;
    return error_set(err, PA_OVERLOADED,
                     "your calls and their results take all the memory that there is for them; "
                     "retry in 1000 ms");
}

/* Before the result is told: the request has its claim. */
void service_run_give_claim(struct service_run *run) {
    if (run->caller.claim != NULL)
        intake_join(&run->service->intake, run->caller.claim, &run->claim);
}

int service_run_submit(struct service_run *run, enum phase phase, void (*act)(struct work_job *),
                       void (*done)(struct work_job *), struct error *err) {
    run->job = (struct work_job){.kind = WORK_TEXT, .act = act, .done = done};
    (void)strncpy(run->job.tenant, run->caller.name, sizeof run->job.tenant - 1);
    if (work_submit(run->service->work, &run->job, err) != 0) return -1;
    run->phase = phase;
    return 0;
}

/* ---- output, as it comes */

enum { STDOUT_STREAM, STDERR_STREAM };

static void on_output(void *context, int stream, const void *data, size_t size) {
    struct service_run *run = context;
    if (run->instead != NULL) {
        if (stream == STDERR_STREAM && buffer_append(&run->held, data, size) == 0) return;
        if (stream == STDOUT_STREAM) run->seen += size;
    } else if (stream == STDOUT_STREAM && run->seen > 0) {
        size_t part = run->seen < size ? run->seen : size;
        run->seen -= part;
        data = (const char *)data + part;
        size -= part;
    }
    if (size > 0) run->callbacks->output(run->context, stream, data, size);
}

static int start_run(struct service_run *run, const json_t *parameters, struct error *err);

/* Python that cannot be compiled, or that found, as it ran, what it cannot do so
 * (compile/runtime/error.c). True: it runs again, interpreted; what has been seen of its output
 * comes first in that run's. */
static bool runs_instead(struct service_run *run, const struct pa_result *result) {
    struct error err = {0};
    json_t *parameters = run->instead;
    run->instead = NULL;
    bool again =
        parameters != NULL && tool_gave_up(result) && start_run(run, parameters, &err) == 0;
    json_decref(parameters);
    if (!again && run->held.size > 0)
        run->callbacks->output(run->context, STDERR_STREAM, run->held.data, run->held.size);
    buffer_fini(&run->held);
    return again;
}

/* ---- the end */

static void on_done(void *context, const struct pa_result *result, struct result_files *files,
                    const struct remote_outcome *outcome) {
    struct service_run *run = context;
    run->remote = NULL;
    if (runs_instead(run, result)) return;
    run->files = *files;
    *files = RESULT_NO_FILES;
    run->result = run->to_module && result->status == PA_OK ? NULL : result_json(result);
    run->status = result->status;
    run->outcome = (struct session_outcome){.node = outcome->node,
                                            .is_counted = true,
                                            .bytes = outcome->growth.bytes,
                                            .names = outcome->growth.names,
                                            .files_lost = outcome->files_lost};
    if (run->session != NULL)
        sessions_output(run->session, run->output);
    else
        (void)strcpy(run->output, run->workspace.output);
    log_end(run, result->status, result, count(run, result));
    service_result_deliver(run);
}

/* ---- the beginning */

/* Files, or so much text that it takes long to look at. */
static bool is_large(const json_t *parameters) {
    return json_object_get(parameters, "files") != NULL ||
           json_is_larger(parameters, WORK_LARGE_BYTES);
}

/* Sends a call to the supervisor; what the run needs of it is taken out. */
static int send_call(struct service_run *run, struct tool_call *call, const json_t *parameters,
                     struct error *err) {
    struct service *service = run->service;
    json_t *instead = tool_interpreted(call, parameters);
    if (instead != NULL && call->merged && run->callbacks->output != NULL) {
        int result = start_run(run, instead, err); /* why it gave up would be seen */
        json_decref(instead);
        return result;
    }
    run->to_module = call->to_module;
    run->text = json_is_true(json_object_get(parameters, "wat"));
    if (call->to_module) run->remote_callbacks.output = NULL; /* its answer is the module */
    run->remote = remote_start(&service->remote, run->caller.name, call, NULL,
                               &run->remote_callbacks, run, err);
    if (run->remote == NULL) {
        json_decref(instead);
        return -1;
    }
    run->instead = instead;
    if (instead == NULL) intake_release(&service->intake, &run->claim); /* it has been sent */
    run->workspace = call->workspace; /* the job has named its folders now */
    call->workspace = (struct workspace){.path = NULL};
    run->phase = RUNNING;
    return 0;
}

static void end_call(struct service_run *run, struct tool_call *call) {
    service_remove_folder(run->service, run->caller.name, &call->workspace, false);
    tool_call_fini(call);
}

static void prepare_act(struct work_job *job) {
    struct preparation *p = service_run_of(job)->preparation;
    p->result = tool_call_init(&p->call, p->tool, p->parameters, &p->rules, &p->err);
    if (p->result == 0 && tool_call_settle(&p->call, &p->err) != 0) {
        tool_call_fini(&p->call);
        p->result = -1;
    }
}

static void prepare_done(struct work_job *job) {
    struct service_run *run = service_run_of(job);
    struct preparation *p = steal_ptr(run->preparation);
    int result = p->result;
    if (result == 0 && !run->abandoned) result = send_call(run, &p->call, p->parameters, &p->err);
    if (p->result == 0) end_call(run, &p->call);
    if (run->abandoned)
        service_run_release(run);
    else if (result != 0)
        service_run_refuse(run, &p->err);
    json_decref(p->parameters);
    free(p);
}

static int prepare(struct service_run *run, const json_t *parameters, struct error *err) {
    struct service *service = run->service;
    struct preparation *p = calloc(1, sizeof *p);
    if (p == NULL) return error_set(err, PA_INTERNAL, "a run: out of memory");
    p->config = service->config;
    p->rules = service->rules;
    p->rules.config = &p->config;
    if (p->rules.ceilings != NULL) p->rules.ceilings = &p->config.ceilings;
    p->tool = tools[run->tool].name;
    p->parameters = json_incref((json_t *)(uintptr_t)parameters);
    run->preparation = p;
    if (service_run_submit(run, PREPARING, prepare_act, prepare_done, err) == 0) return 0;
    run->preparation = NULL;
    json_decref(p->parameters);
    free(p);
    return -1;
}

/* A run with a sandbox of its own. */
static int start_run(struct service_run *run, const json_t *parameters, struct error *err) {
    struct tool_call call;
    if (is_large(parameters)) return prepare(run, parameters, err);
    if (tool_call_init(&call, tools[run->tool].name, parameters, &run->service->rules, err) != 0)
        return -1;
    int result = send_call(run, &call, parameters, err);
    end_call(run, &call);
    return result;
}

/* ---- turns of sessions, and calls about them */

/* The session is ready for it. On a failure it is as it was. */
static int begin_turn(struct service_run *run, struct error *err) {
    struct service *service = run->service;
    struct session_turn *turn = run->turn;
    struct tool_call call;
    if (tool_call_init_turn(&call, tools[run->tool].name, turn->parameters, &service->rules,
                            &turn->call, err) == 0) {
        call.job.limits.workspace_bytes = turn->free_bytes;
        call.job.limits.workspace_inodes = turn->free_names;
        if (turn->input_fd >= 0) {
            call.job.stdin_data = NULL;
            call.job.stdin_bytes = 0;
            call.job.stdin_fd = turn->input_fd;
        }
        run->remote = remote_start(&service->remote, run->caller.name, &call, &turn->node,
                                   &run->remote_callbacks, run, err);
        tool_call_fini(&call);
    }
    if (run->remote == NULL) {
        sessions_abandon(turn);
        return -1;
    }
    run->session = turn->session;
    sessions_started(turn, run->remote);
    session_turn_fini(turn);
    free(steal_ptr(run->turn));
    intake_release(&service->intake, &run->claim);
    run->phase = RUNNING;
    return 0;
}

static void on_entered(void *context, json_t *answer, struct error *err) {
    struct service_run *run = context;
    run->op = NULL;
    (void)answer;
    if (run->abandoned) {
        if (err->code == PA_OK) sessions_abandon(run->turn);
        service_run_release(run);
    } else if (err->code != PA_OK || begin_turn(run, err) != 0) {
        service_run_refuse(run, err);
    }
}

static int start_turn(struct service_run *run, const json_t *parameters, struct error *err) {
    struct service *service = run->service;
    const struct tool *tool = &tools[run->tool];
    if (schema_check(service->rules.schemas[run->tool], parameters, "", err) != 0) return -1;
    run->turn = calloc(1, sizeof *run->turn);
    if (run->turn == NULL) return error_set(err, PA_INTERNAL, "a turn: out of memory");
    int result = sessions_enter(service->sessions, run->caller.name, tool, parameters, run->turn,
                                on_entered, run, &run->op, err);
    if (result != 0) return -1;
    if (run->op == NULL) return begin_turn(run, err);
    run->phase = WAITING;
    return 0;
}

static void tell_answer(struct service_run *run, json_t *answer) {
    struct error err = {0};
    if (claim(run, json_memory(answer) * 2, &err) != 0) {
        json_decref(answer);
        service_run_refuse(run, &err);
        return;
    }
    run->service->metrics.in_flight--;
    service_run_give_claim(run);
    (void)json_object_set_new(answer, "status", json_string("OK"));
    run->callbacks->done(run->context, PA_OK, service_with_id(answer, &run->caller));
    service_run_release(run);
}

/* The answer is there already, but comes from the loop, as all do. */
static int on_answer(sd_event_source *source, void *context) {
    struct service_run *run = context;
    (void)source;
    tell_answer(run, steal_ptr(run->answer));
    return 0;
}

static void on_session_answer(void *context, json_t *answer, struct error *err) {
    struct service_run *run = context;
    run->op = NULL;
    if (run->abandoned) {
        json_decref(answer);
        service_run_release(run);
    } else if (answer == NULL) {
        service_run_refuse(run, err);
    } else {
        tell_answer(run, answer);
    }
}

static int answer_call(struct service_run *run, const json_t *parameters, struct error *err) {
    struct service *service = run->service;
    const struct tool *tool = &tools[run->tool];
    if (schema_check(service->rules.schemas[run->tool], parameters, "", err) == 0) {
        run->answer = sessions_call(service->sessions, run->caller.name, tool, parameters,
                                    on_session_answer, run, &run->op, err);
        if (run->op != NULL) {
            run->phase = WAITING;
            return 0;
        }
    }
    if (run->answer == NULL) return -1;
    int result = sd_event_add_defer(service->event, &run->answering, on_answer, run);
    return result >= 0 ? 0 : error_set_errno(err, PA_INTERNAL, -result, "answer");
}

/* ---- for the interfaces */

/* NULL with `err`: told and logged. */
static struct service_run *new_run(struct service *service, const struct service_caller *caller,
                                   const struct tool *tool,
                                   const struct service_callbacks *callbacks, void *context,
                                   struct error *err) {
    struct service_run *run = calloc(1, sizeof *run);
    if (run == NULL) {
        error_set(err, PA_INTERNAL, "a run: out of memory");
        return NULL;
    }
    *run = (struct service_run){
        .service = service,
        .caller = *caller,
        .tool = (unsigned)(tool - tools),
        .callbacks = callbacks,
        .context = context,
        .claim = caller->claim != NULL ? intake_steal(caller->claim)
                                       : (struct intake_claim){.sender = NULL},
        .files = RESULT_NO_FILES,
        .remote_callbacks = {.output = callbacks->output != NULL ? on_output : NULL,
                             .done = on_done},
        .began_ns = clock_now_ns()};
    return run;
}

static struct service_run *started(struct service_run *run, int result, struct service *service,
                                   const struct service_caller *caller, const struct error *err) {
    if (run != NULL && result == 0) {
        service->metrics.in_flight++;
        return run;
    }
    if (run != NULL) service_run_release(run);
    count_refusal(service, caller, err);
    return NULL;
}

struct service_run *service_start(struct service *service, const struct service_caller *caller,
                                  const char *name, const json_t *parameters,
                                  const struct service_callbacks *callbacks, void *context,
                                  struct error *err) {
    const struct tool *tool = tool_find(name);
    struct service_run *run = NULL;
    int result = -1;
    if (tool == NULL)
        error_set(err, PA_NOT_FOUND, "tool %.100s: there is no such tool", name);
    else
        run = new_run(service, caller, tool, callbacks, context, err);
    if (run != NULL && claim(run, json_memory(parameters), err) == 0)
        result = tool->prepare == NULL ? answer_call(run, parameters, err)
                 : tool->language != NULL && json_object_get(parameters, "session_id") != NULL
                     ? start_turn(run, parameters, err)
                     : start_run(run, parameters, err);
    return started(run, result, service, caller, err);
}

struct service_run *service_put_file(struct service *service, const struct service_caller *caller,
                                     const char *session_id, const char *path, struct buffer *bytes,
                                     const struct service_callbacks *callbacks, void *context,
                                     struct error *err) {
    struct service_run *run =
        new_run(service, caller, tool_find("session_put_files"), callbacks, context, err);
    int result = -1;
    if (run != NULL) {
        result = sessions_put_file(service->sessions, caller->name, session_id, path, bytes,
                                   on_session_answer, run, &run->op, err);
        run->phase = WAITING;
    }
    return started(run, result, service, caller, err);
}

static void on_file(void *context, int fd, struct error *err) {
    struct service_run *run = context;
    run->op = NULL;
    if (run->abandoned) {
        fd_closep(&fd);
        service_run_release(run);
    } else if (fd < 0) {
        service_run_refuse(run, err);
    } else {
        run->service->metrics.in_flight--;
        run->callbacks->file(run->context, fd);
        service_run_release(run);
    }
}

struct service_run *service_get_file(struct service *service, const struct service_caller *caller,
                                     const char *session_id, const char *path,
                                     const struct service_callbacks *callbacks, void *context,
                                     struct error *err) {
    struct service_run *run =
        new_run(service, caller, tool_find("session_get_file"), callbacks, context, err);
    int result = -1;
    if (run != NULL) {
        result = sessions_get_file(service->sessions, caller->name, session_id, path, on_file, run,
                                   &run->op, err);
        run->phase = WAITING;
    }
    return started(run, result, service, caller, err);
}

void service_pause(struct service_run *run, bool paused) {
    if (run->remote != NULL) remote_pause(run->remote, paused);
}

void service_cancel(struct service_run *run) {
    log_event(LOG_INFO, run->caller.interface, "run cancelled",
              {"request_id", run->caller.request_id, 0},
              {"traceparent", run->caller.traceparent, 0}, {"tool", tools[run->tool].name, 0});
    if (run->phase != COLLECTING && run->phase != ENDED)
        run->service->metrics.in_flight--; /* that one has been counted */
    run->abandoned = true;
    if (run->op != NULL) sessions_forget(run->op);
    if (run->phase == ENDED) { /* its folders are left as they should be */
        service_result_drop(run);
        return;
    }
    if (run->phase == PREPARING || run->phase == COLLECTING || run->op != NULL) return;
    if (run->remote != NULL) remote_cancel(run->remote);
    if (run->session != NULL)
        (void)sessions_leave(run->session, PA_INTERNAL, &(struct session_outcome){.node = 0}, NULL);
    service_remove_folder(run->service, run->caller.name, &run->workspace, true);
    service_run_release(run);
}

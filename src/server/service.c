#include "server/service.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "tools/compile.h"
#include "tools/result.h"
#include "tools/schema.h"
#include "tools/workspace.h"

#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

/* Everything of the service that comes from the configuration, which it takes over. */
static int apply(struct service *service, struct config *config, struct error *err) {
    bool certificates =
        service->auth != NULL ? auth_wants_certificates(service->auth) : config->client_ca[0] != 0;
    struct auth *auth = auth_new(config->tokens_file, certificates, err);
    if (auth == NULL) return -1;
    const struct config former = service->config;
    struct tool_rules rules;
    service->config = *config;
    if (tool_rules_init(&rules, &service->config, err) != 0 ||
        config_apply_log(&service->config, err) != 0) {
        service->config = former;
        auth_free(auth);
        return -1;
    }
    auth_free(service->auth);
    tool_rules_fini(&service->rules);
    *config = former; /* for the caller to release */
    service->auth = auth;
    service->rules = rules;
    return 0;
}

/* A folder whose run may still be writing: its worker is being killed. */
struct leftover {
    struct service *service;
    struct workspace workspace; /* owned */
    sd_event_source *timer;
    TAILQ_ENTRY(leftover) link;
};
enum { LEFTOVER_US = 1000000, MAX_PEM_BYTES = 1 << 20 };

static void remove_leftover(struct leftover *leftover) {
    TAILQ_REMOVE(&leftover->service->leftovers, leftover, link);
    sd_event_source_disable_unref(leftover->timer);
    workspace_remove(&leftover->workspace);
    free(leftover);
}

static int open_sessions(struct service *service, bool keep, struct error *err) {
    char dir[SESSION_PATH_BYTES];
    if (keep && sessions_path(service->config.sessions_dir, dir, sizeof dir, err) != 0) return -1;
    service->sessions = sessions_new(service->event, &service->remote, &service->config,
                                     &service->rules, keep ? dir : NULL, err);
    return service->sessions != NULL ? 0 : -1;
}

int service_init(struct service *service, sd_event *event, struct config *config,
                 const char *socket_path, int stats_fd, bool keeps_sessions, struct error *err) {
    *service = (struct service){.started_ns = clock_now_ns(), .event = sd_event_ref(event)};
    TAILQ_INIT(&service->leftovers);
    (void)snprintf(service->socket_path, sizeof service->socket_path, "%s", socket_path);
    if (sodium_init() < 0 || (event == NULL && sd_event_new(&service->event) < 0)) {
        config_fini(config);
        return error_set(err, PA_INTERNAL, "the server: out of memory");
    }
    service->remote = (struct remote){.event = service->event, .socket_path = service->socket_path};
    if (stats_fd >= 0) {
        void *page = mmap(NULL, sizeof *service->stats, PROT_READ, MAP_SHARED, stats_fd, 0);
        if (page != MAP_FAILED) service->stats = page;
        (void)close(stats_fd);
    }
    service->remote.holder_fd = -1;
    if (apply(service, config, err) == 0) {
        intake_init(&service->intake,
                    (size_t)service->config.limits.max_module_bytes / 3 * 4 + SERVICE_EXTRA_BYTES);
        if (open_sessions(service, keeps_sessions, err) == 0) return 0;
    } else {
        config_fini(config);
    }
    service_fini(service);
    return -1;
}

void service_fini(struct service *service) {
    if (service->stats != NULL)
        (void)munmap((void *)(uintptr_t)service->stats, sizeof *service->stats);
    struct leftover *leftover;
    while ((leftover = TAILQ_FIRST(&service->leftovers)) != NULL)
        remove_leftover(leftover);
    sessions_free(service->sessions);
    remote_fini(&service->remote);
    auth_free(service->auth);
    tool_rules_fini(&service->rules);
    config_fini(&service->config);
    sd_event_unref(service->event);
    *service = (struct service){.event = NULL};
}

int service_reload(struct service *service, const char *config_path, struct error *err) {
    struct config config;
    if (config_load(&config, config_path, err) != 0) return -1;
    int result = apply(service, &config, err);
    config_fini(&config); /* the former one, if it worked */
    return result;
}

static bool is_id(const char *id) {
    size_t length = strlen(id);
    return length > 0 && length < REQUEST_ID_BYTES &&
           strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
               length;
}

/* "00-" trace-id "-" parent-id "-" flags (W3C Trace Context, section 3.2.2). */
static bool is_traceparent(const char *text) {
    static const int dashes[] = {2, 35, 52};
    if (strlen(text) != TRACEPARENT_BYTES - 1 || strncmp(text, "00-", 3) != 0) return false;
    for (int i = 0, dash = 0; i < TRACEPARENT_BYTES - 1; i++) {
        bool hex = strchr("0123456789abcdef", text[i]) != NULL;
        if (dash < 3 && i == dashes[dash]) {
            if (text[i] != '-') return false;
            dash++;
        } else if (!hex) {
            return false;
        }
    }
    return true;
}

void service_caller_init(struct service_caller *caller, const char *interface, const char *name,
                         const char *id, const char *traceparent) {
    *caller = (struct service_caller){.interface = interface};
    (void)snprintf(caller->name, sizeof caller->name, "%s", name);
    if (id != NULL && is_id(id)) {
        (void)snprintf(caller->request_id, sizeof caller->request_id, "%s", id);
    } else {
        uint8_t bytes[12];
        randombytes_buf(bytes, sizeof bytes);
        (void)sodium_bin2hex(caller->request_id, sizeof caller->request_id, bytes, sizeof bytes);
    }
    if (traceparent != NULL && is_traceparent(traceparent))
        memcpy(caller->traceparent, traceparent, TRACEPARENT_BYTES);
}

struct service_run {
    struct service *service;
    struct service_caller caller;
    unsigned tool; /* its number in the table */
    struct remote_run *remote;
    struct remote_callbacks remote_callbacks;
    const struct service_callbacks *callbacks;
    void *context;
    struct workspace workspace; /* owned */
    struct session *session;    /* whose turn it is; NULL: nobody's */
    sd_event_source *answering; /* owned; of a call about sessions, which has ... */
    json_t *answer;             /* ... this answer; owned */
    json_t *instead;            /* owned; of a compiled run in mode auto: the same, interpreted */
    struct buffer held;         /* owned; its stderr meanwhile, which may be only why it gave up */
    size_t seen;                /* bytes of its stdout; as many of the second run's are dropped */
    uint64_t began_ns;
};

/* Once the worker is surely gone. */
static int on_leftover(sd_event_source *source, uint64_t now_us, void *context) {
    (void)source;
    (void)now_us;
    remove_leftover(context);
    return 0;
}

/* Takes over the workspace. */
static void remove_later(struct service *service, struct workspace *workspace) {
    struct leftover *leftover = workspace->path != NULL ? calloc(1, sizeof *leftover) : NULL;
    if (leftover == NULL) {
        workspace_remove(workspace);
        return;
    }
    *leftover = (struct leftover){.service = service, .workspace = *workspace};
    *workspace = (struct workspace){.path = NULL};
    TAILQ_INSERT_TAIL(&service->leftovers, leftover, link);
    if (sd_event_add_time_relative(service->event, &leftover->timer, CLOCK_MONOTONIC, LEFTOVER_US,
                                   1, on_leftover, leftover) < 0) {
        remove_leftover(leftover);
    }
}

static void release(struct service_run *run) {
    sd_event_source_disable_unref(run->answering);
    json_decref(run->answer);
    json_decref(run->instead);
    buffer_fini(&run->held);
    workspace_remove(&run->workspace);
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

static json_t *with_id(json_t *result, const struct service_caller *caller) {
    if (result != NULL &&
        json_object_set_new(result, "request_id", json_string(caller->request_id)) == 0) {
        return result;
    }
    json_decref(result);
    return NULL;
}

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

/* Compiled Python that found, as it ran, what it cannot do (compile/runtime/error.c). True: it runs
 * again, interpreted; what has been seen of its output comes first in that run's. */
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

static void on_done(void *context, const struct pa_result *result, const struct result_files *files,
                    const struct remote_outcome *outcome) {
    struct service_run *run = context;
    if (runs_instead(run, result)) return;
    json_t *all = result_json(result);
    bool streams = run->callbacks->output != NULL;
    bool turn = outcome->node != 0;
    if (all != NULL && ((!streams && result_add_outputs(all, files) != 0) ||
                        result_add_answer(all, files->answer, turn) != 0 ||
                        workspace_add_artifacts(&run->workspace, all) != 0)) {
        json_decref(all);
        all = NULL;
    }
    uint64_t wall_ns = count(run, result);
    enum pa_status status = result->status;
    if (run->session != NULL) status = sessions_leave(run->session, status, outcome, all);
    run->callbacks->done(run->context, status, with_id(all, &run->caller));
    log_end(run, status, result, wall_ns); /* the client does not wait for it */
    release(run);
}

/* A run with a sandbox of its own. */
static int start_run(struct service_run *run, const json_t *parameters, struct error *err) {
    struct service *service = run->service;
    struct tool_call call;
    if (tool_call_init(&call, tools[run->tool].name, parameters, &service->rules, err) != 0)
        return -1;
    json_t *instead = tool_interpreted(&call, parameters);
    if (instead != NULL && call.merged && run->callbacks->output != NULL) {
        tool_call_fini(&call); /* why it gave up would be seen */
        int result = start_run(run, instead, err);
        json_decref(instead);
        return result;
    }
    run->remote = remote_start(&service->remote, run->caller.name, &call, NULL,
                               &run->remote_callbacks, run, err);
    run->instead = instead;
    run->workspace = call.workspace; /* the job has named its folders now */
    call.workspace = (struct workspace){.path = NULL};
    tool_call_fini(&call);
    return run->remote != NULL ? 0 : -1;
}

static int start_turn(struct service_run *run, const json_t *parameters, struct error *err) {
    struct service *service = run->service;
    struct tool_call call;
    struct session_turn turn;
    const struct tool *tool = &tools[run->tool];
    if (schema_check(service->rules.schemas[run->tool], parameters, "", err) != 0 ||
        sessions_enter(service->sessions, run->caller.name, tool, parameters, &turn, err) != 0)
        return -1;
    if (tool_call_init_turn(&call, tool->name, turn.parameters, &service->rules, &turn.call, err) ==
        0) {
        call.job.limits.workspace_bytes = turn.free_bytes;
        call.job.limits.workspace_inodes = turn.free_names;
        if (turn.input_fd >= 0) {
            call.job.stdin_data = NULL;
            call.job.stdin_bytes = 0;
            call.job.stdin_fd = turn.input_fd;
        }
        run->remote = remote_start(&service->remote, run->caller.name, &call, &turn.node,
                                   &run->remote_callbacks, run, err);
        tool_call_fini(&call);
    }
    if (run->remote == NULL) {
        sessions_abandon(&turn);
        return -1;
    }
    run->session = turn.session;
    sessions_started(&turn, run->remote);
    session_turn_fini(&turn);
    return 0;
}

/* The answer is there already, but comes from the loop, as all do. */
static int on_answer(sd_event_source *source, void *context) {
    struct service_run *run = context;
    (void)source;
    json_t *answer = run->answer;
    run->answer = NULL;
    run->service->metrics.in_flight--;
    run->callbacks->done(run->context, PA_OK, with_id(answer, &run->caller));
    release(run);
    return 0;
}

static int answer_call(struct service_run *run, const json_t *parameters, struct error *err) {
    struct service *service = run->service;
    const struct tool *tool = &tools[run->tool];
    if (tool->answer != NULL) {
        run->answer = tool_answer(tool, parameters, &service->rules, err);
    } else if (schema_check(service->rules.schemas[run->tool], parameters, "", err) == 0) {
        run->answer = sessions_call(service->sessions, run->caller.name, tool, parameters, err);
    }
    if (run->answer == NULL) return -1;
    (void)json_object_set_new(run->answer, "status", json_string("OK"));
    int result = sd_event_add_defer(service->event, &run->answering, on_answer, run);
    return result >= 0 ? 0 : error_set_errno(err, PA_INTERNAL, -result, "answer");
}

struct service_run *service_start(struct service *service, const struct service_caller *caller,
                                  const char *name, const json_t *parameters,
                                  const struct service_callbacks *callbacks, void *context,
                                  struct error *err) {
    const struct tool *tool = tool_find(name);
    struct service_run *run = calloc(1, sizeof *run);
    int result = -1;
    if (run == NULL) {
        error_set(err, PA_INTERNAL, "a run: out of memory");
    } else if (tool == NULL) {
        error_set(err, PA_NOT_FOUND, "tool %.100s: there is no such tool", name);
    } else {
        *run = (struct service_run){
            .service = service,
            .caller = *caller,
            .tool = (unsigned)(tool - tools),
            .callbacks = callbacks,
            .context = context,
            .remote_callbacks = {.output = callbacks->output != NULL ? on_output : NULL,
                                 .done = on_done},
            .began_ns = clock_now_ns()};
        result = tool->prepare == NULL ? answer_call(run, parameters, err)
                 : tool->language != NULL && json_object_get(parameters, "session_id") != NULL
                     ? start_turn(run, parameters, err)
                     : start_run(run, parameters, err);
    }
    if (result == 0) {
        service->metrics.in_flight++;
        return run;
    }
    if (run != NULL) release(run);
    service->metrics.refused[err->code]++;
    log_event(err->code == PA_INTERNAL ? LOG_ERROR : LOG_INFO, caller->interface, "call refused",
              {"request_id", caller->request_id, 0}, {"traceparent", caller->traceparent, 0},
              {"caller", caller->name, 0}, {"status", pa_status_name(err->code), 0},
              {"error", err->text, 0});
    return NULL;
}

void service_pause(struct service_run *run, bool paused) {
    if (run->remote != NULL) remote_pause(run->remote, paused);
}

void service_cancel(struct service_run *run) {
    if (run->remote != NULL) remote_cancel(run->remote);
    if (run->session != NULL) (void)sessions_leave(run->session, PA_INTERNAL, NULL, NULL);
    run->service->metrics.in_flight--;
    log_event(LOG_INFO, run->caller.interface, "run cancelled",
              {"request_id", run->caller.request_id, 0},
              {"traceparent", run->caller.traceparent, 0}, {"tool", tools[run->tool].name, 0});
    remove_later(run->service, &run->workspace);
    release(run);
}

json_t *service_refusal(const struct service_caller *caller, const struct error *err) {
    const struct pa_result refused = {.status = err->code, .message = (char *)(uintptr_t)err->text};
    return with_id(result_json(&refused), caller);
}

bool service_is_ready(const struct service *service, struct error *err) {
    _cleanup_(fd_closep) int fd = socket_connect(service->socket_path, false, err);
    return fd >= 0;
}

int service_read_pem(const char *path, char **text, struct error *err) {
    struct buffer bytes = {0};
    *text = NULL;
    if (path[0] == 0) return 0;
    _cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    int result = fd >= 0 ? buffer_read_fd(&bytes, fd, MAX_PEM_BYTES) : -errno;
    if (result == 0 && bytes.size == 0) result = -ENODATA;
    if (result == 0) {
        *text = (char *)bytes.data;
        return 0;
    }
    buffer_fini(&bytes);
    return error_set_errno(err, PA_INVALID_ARGUMENT, -result, "server.tls: %s", path);
}

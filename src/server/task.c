#include "server/task.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "base/json_text.h"
#include "server/http_client.h"
#include "server/task_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

enum { MAX_TASKS = 256, MAX_CALLS = 64, TOOL_TEXT_BYTES = 64 << 10 };

/* A task either runs the one tool that it names, or goes round and round:
 *
 *     ASKING (the model) -> RUNNING (its tool calls, one after the other) -> ASKING ... -> (result)
 */
struct tasks {
    struct service *service;
    struct http_client *client;
    TAILQ_HEAD(task_list, task) running;
    unsigned count;
};

struct task {
    struct tasks *tasks;
    struct service_caller caller;
    char id[REQUEST_ID_BYTES];
    const struct task_callbacks *callbacks;
    void *context;
    uint64_t began_ns, call_began_ns;
    sd_event_source *start; /* until it has begun: from the loop, so that no callback comes early */
    json_t *named;          /* owned; the tool that it names, NULL: a model is asked */
    struct http_post *post; /* ASKING */
    struct service_run *run; /* RUNNING */
    json_t *messages;        /* owned; with a model: the conversation */
    json_t *wanted;          /* owned; the model's tool calls, `next` is to be run */
    size_t next;
    json_t *tool_calls, *tool_results; /* owned; so far */
    uint64_t rounds, prompt_tokens, completion_tokens;
    TAILQ_ENTRY(task) link;
};

static void run_next(struct task *task);

static void release(struct task *task) {
    TAILQ_REMOVE(&task->tasks->running, task, link);
    task->tasks->count--;
    sd_event_source_disable_unref(task->start);
    json_decref(task->named);
    json_decref(task->messages);
    json_decref(task->wanted);
    json_decref(task->tool_calls);
    json_decref(task->tool_results);
    free(task);
}

/* The only way out, but for task_cancel(). */
static void finish(struct task *task, enum pa_status status, const char *text,
                   const char *message) {
    double latency_ms = (double)(clock_now_ns() - task->began_ns) / (double)NS_PER_MS;
    bool failed = message != NULL;
    json_t *error =
        failed ? json_pack("{s:s, s:s}", "code", pa_status_name(status), "message", message)
               : json_null();
    json_t *result = json_pack(
        "{s:s, s:s, s:s, s:O, s:O, s:{s:f, s:I, s:I, s:I}, s:o, s:s}", "task_id", task->id,
        "status", pa_status_name(status), "result", text, "tool_calls", task->tool_calls,
        "tool_results", task->tool_results, "metrics", "latency_ms", latency_ms, "model_rounds",
        (json_int_t)task->rounds, "prompt_tokens", (json_int_t)task->prompt_tokens,
        "completion_tokens", (json_int_t)task->completion_tokens, "error", error, "request_id",
        task->caller.request_id);
    log_event(LOG_INFO, "task", "task ended", {"request_id", task->caller.request_id, 0},
              {"task_id", task->id, 0}, {"status", pa_status_name(status), 0},
              {"model_rounds", NULL, (double)task->rounds}, {"latency_ms", NULL, latency_ms});
    task->callbacks->done(task->context, status, result);
    release(task);
}

static void fail(struct task *task, enum pa_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void fail(struct task *task, enum pa_status status, const char *format, ...) {
    char message[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof message, format, args);
    va_end(args);
    text_tidy(message, sizeof message, TEXT_ONE_LINE);
    finish(task, status, "", message);
}

static uint64_t left_ms(const struct task *task) {
    uint64_t passed_ms = (clock_now_ns() - task->began_ns) / NS_PER_MS;
    uint64_t most_ms = task->tasks->service->config.llm_timeout_ms;
    return passed_ms < most_ms ? most_ms - passed_ms : 0;
}

/* The tools in the form that models take (OpenAI API, chat completions, "tools"). */
static json_t *tools_for_model(const struct tool_rules *rules) {
    json_t *all = json_array();
    for (const struct tool *tool = tools; tool->name != NULL; tool++) {
        (void)json_array_append_new(all, json_pack("{s:s, s:{s:s, s:s, s:o}}", "type", "function",
                                                   "function", "name", tool->name, "description",
                                                   tool->description, "parameters",
                                                   tool_schema(rules, tool)));
    }
    return all;
}

static void on_answer(void *context, long status, json_t *body, const char *failure);

static void ask_model(struct task *task) {
    const struct config *config = &task->tasks->service->config;
    char url[1024], key[4096], trace[TRACEPARENT_BYTES + 16], id[REQUEST_ID_BYTES + 16];
    const char *secret = task->tasks->service->llm_key;
    if (secret == NULL) secret = getenv(config->llm_key_variable);
    const char *headers[5] = {"Content-Type: application/json", id};
    size_t count = 2;
    struct error err = {0};
    if (task->rounds++ >= config->llm_rounds) {
        fail(task, PA_TIMEOUT, "the model did not come to an end in %llu rounds (llm.max_rounds)",
             (unsigned long long)config->llm_rounds);
        return;
    }
    (void)snprintf(url, sizeof url, "%s/chat/completions", config->llm_base_url);
    (void)snprintf(id, sizeof id, "X-Request-Id: %s", task->caller.request_id);
    if (secret != NULL) {
        (void)snprintf(key, sizeof key, "Authorization: Bearer %s", secret);
        headers[count++] = key;
    }
    if (task->caller.traceparent[0] != 0) {
        (void)snprintf(trace, sizeof trace, "traceparent: %s", task->caller.traceparent);
        headers[count++] = trace;
    }
    json_t *body =
        json_pack("{s:s, s:O, s:o}", "model", config->llm_model, "messages", task->messages,
                  "tools", tools_for_model(&task->tasks->service->rules));
    uint64_t ms = left_ms(task);
    if (body == NULL) {
        fail(task, PA_INTERNAL, "out of memory");
    } else if (ms == 0) {
        fail(task, PA_TIMEOUT, "Execution timeout: the task took longer than llm.timeout_ms");
    } else {
        task->post =
            http_client_post(task->tasks->client, url, headers, body, ms, on_answer, task, &err);
        if (task->post == NULL) fail(task, err.code, "%s", err.text);
    }
    json_decref(body);
}

/* {"choices": [{"message": {"content", "tool_calls"}}], "usage"}: either an answer, or calls. */
static void on_answer(void *context, long status, json_t *body, const char *failure) {
    struct task *task = context;
    const struct config *config = &task->tasks->service->config;
    task->post = NULL;
    if (failure != NULL) {
        fail(task, left_ms(task) == 0 ? PA_TIMEOUT : PA_INTERNAL, "the model at %s: %s",
             config->llm_base_url, failure);
        return;
    }
    if (status != 200) {
        const char *why =
            json_string_value(json_object_get(json_object_get(body, "error"), "message"));
        fail(task, status == 429 ? PA_OVERLOADED : PA_INTERNAL,
             "the model at %s: HTTP status %ld: %.300s", config->llm_base_url, status,
             why != NULL ? why : "it says no more");
        return;
    }
    const json_t *usage = json_object_get(body, "usage");
    json_int_t prompt = json_integer_value(json_object_get(usage, "prompt_tokens"));
    json_int_t completion = json_integer_value(json_object_get(usage, "completion_tokens"));
    task->prompt_tokens += prompt > 0 ? (uint64_t)prompt : 0;
    task->completion_tokens += completion > 0 ? (uint64_t)completion : 0;
    json_t *message =
        json_object_get(json_array_get(json_object_get(body, "choices"), 0), "message");
    json_t *calls = json_object_get(message, "tool_calls");
    const char *text = json_string_value(json_object_get(message, "content"));
    if (json_array_size(calls) == 0) {
        if (text == NULL)
            fail(task, PA_INTERNAL, "the model at %s: its answer has no content",
                 config->llm_base_url);
        else
            finish(task, PA_OK, text, NULL);
    } else if (task->prompt_tokens + task->completion_tokens > config->llm_tokens) {
        fail(task, PA_TIMEOUT, "the model used more than %llu tokens (llm.max_tokens)",
             (unsigned long long)config->llm_tokens);
    } else if (json_array_append(task->messages, message) != 0 ||
               json_array_size(calls) + json_array_size(task->tool_calls) > MAX_CALLS) {
        fail(task, PA_TIMEOUT, "the model called tools more than %d times", MAX_CALLS);
    } else {
        json_decref(task->wanted);
        task->wanted = json_incref(calls);
        task->next = 0;
        run_next(task);
    }
}

/* With no model, the answer is what the program wrote; of one that failed, its errors as well. */
static void finish_named(struct task *task, enum pa_status status, const json_t *result,
                         const char *message) {
    const char *output = json_string_value(json_object_get(result, "stdout"));
    const char *errors = json_string_value(json_object_get(result, "stderr"));
    bool failed = json_integer_value(json_object_get(result, "exit_code")) != 0;
    struct buffer text = {0};
    bool complete =
        buffer_append(&text, output != NULL ? output : "", output != NULL ? strlen(output) : 0) ==
            0 &&
        (!failed || errors == NULL || buffer_append(&text, errors, strlen(errors)) == 0);
    if (complete)
        finish(task, status, text.size > 0 ? (const char *)text.data : "", message);
    else
        fail(task, PA_INTERNAL, "out of memory");
    buffer_fini(&text);
}

/* A tool has ended, or was refused; the result is taken over. */
static void tool_ended(struct task *task, enum pa_status status, json_t *result) {
    int64_t took_ms = (int64_t)((clock_now_ns() - task->call_began_ns) / NS_PER_MS);
    const char *message =
        json_string_value(json_object_get(json_object_get(result, "error"), "message"));
    const json_t *call = json_array_get(task->tool_calls, json_array_size(task->tool_calls) - 1);
    json_t *entry =
        json_pack("{s:O, s:s, s:O?, s:s, s:I}", "tool_id", json_object_get(call, "tool_id"),
                  "status", pa_status_name(status), "output", result, "error_message",
                  message != NULL ? message : "", "execution_time_ms", (json_int_t)took_ms);
    if (entry == NULL || json_array_append(task->tool_results, entry) != 0) {
        json_decref(entry);
        json_decref(result);
        fail(task, PA_INTERNAL, "out of memory");
        return;
    }
    if (task->callbacks->update != NULL) task->callbacks->update(task->context, NULL, entry);
    json_decref(entry);
    if (task->messages == NULL) { /* no model: this was it */
        finish_named(task, status, result, message);
        json_decref(result);
        return;
    }
    char *text = json_text(result, JSON_COMPACT | JSON_REAL_PRECISION(6));
    size_t size = text != NULL ? strlen(text) : 0;
    while (size > TOOL_TEXT_BYTES ||
           (size > 0 && size < strlen(text) && ((unsigned char)text[size] & 0xc0) == 0x80))
        size = size > TOOL_TEXT_BYTES ? TOOL_TEXT_BYTES : size - 1; /* no half character */
    json_t *answer =
        json_pack("{s:s, s:O, s:s%}", "role", "tool", "tool_call_id",
                  json_object_get(call, "tool_id"), "content", text != NULL ? text : "", size);
    free(text);
    json_decref(result);
    if (answer == NULL || json_array_append_new(task->messages, answer) != 0) {
        fail(task, PA_INTERNAL, "out of memory");
        return;
    }
    run_next(task);
}

static void on_run_done(void *context, enum pa_status status, json_t *result) {
    struct task *task = context;
    task->run = NULL;
    tool_ended(task, status, result);
}

static const struct service_callbacks run_callbacks = {.done = on_run_done};

/* Starts the tool; `parameters` stay the caller's. */
static void run_tool(struct task *task, const char *id, const char *name, json_t *parameters) {
    struct error err = {0};
    json_t *call =
        json_pack("{s:s, s:s, s:O}", "tool_id", id, "name", name, "parameters", parameters);
    task->call_began_ns = clock_now_ns();
    if (call == NULL || json_array_append(task->tool_calls, call) != 0) {
        json_decref(call);
        fail(task, PA_INTERNAL, "out of memory");
        return;
    }
    if (task->callbacks->update != NULL) task->callbacks->update(task->context, call, NULL);
    json_decref(call);
    task->run = service_start(task->tasks->service, &task->caller, name, parameters, &run_callbacks,
                              task, &err);
    if (task->run == NULL) tool_ended(task, err.code, service_refusal(&task->caller, &err));
}

/* The model's next call; after the last, its turn comes again. */
static void run_next(struct task *task) {
    const json_t *call = json_array_get(task->wanted, task->next++);
    if (call == NULL) {
        ask_model(task);
        return;
    }
    const json_t *function = json_object_get(call, "function");
    const char *id = json_string_value(json_object_get(call, "id"));
    const char *name = json_string_value(json_object_get(function, "name"));
    const char *arguments = json_string_value(json_object_get(function, "arguments"));
    json_t *parameters = json_loads(arguments != NULL ? arguments : "", 0, NULL);
    if (parameters == NULL) parameters = json_object(); /* what is missing, the schema tells it */
    run_tool(task, id != NULL ? id : "", name != NULL ? name : "", parameters);
    json_decref(parameters);
}

/* The one tool that a task names: {"tool": NAME, "parameters": {...}} or with the parameters beside
 * the name. */
static void run_named(struct task *task) {
    const char *name = json_string_value(json_object_get(task->named, "tool"));
    json_t *parameters = json_object_get(task->named, "parameters");
    if (json_is_object(parameters)) {
        json_incref(parameters);
    } else {
        parameters = json_copy(task->named);
        if (parameters != NULL) (void)json_object_del(parameters, "tool");
    }
    if (parameters == NULL)
        fail(task, PA_INTERNAL, "out of memory");
    else
        run_tool(task, task->id, name, parameters);
    json_decref(parameters);
}

static const char no_model[] =
    "no model is configured (llm.base_url and llm.model), so only the direct form is understood: "
    "Use python_wasi_runner to execute: print(2 + 2)";

static const char system_text[] =
    "You have tools that run programs in a sandbox without network. Use them where a program "
    "answers better than you can; print what you need to see. Then answer the user in plain "
    "words.";

struct tasks *tasks_new(struct service *service, struct error *err) {
    struct tasks *tasks = calloc(1, sizeof *tasks);
    if (tasks == NULL) {
        error_set(err, PA_INTERNAL, "tasks: out of memory");
        return NULL;
    }
    tasks->service = service;
    TAILQ_INIT(&tasks->running);
    tasks->client = http_client_new(service->event, err);
    if (tasks->client != NULL) return tasks;
    free(tasks);
    return NULL;
}

void tasks_free(struct tasks *tasks) {
    if (tasks == NULL) return;
    struct task *task;
    while ((task = TAILQ_FIRST(&tasks->running)) != NULL)
        task_cancel(task);
    http_client_free(tasks->client);
    free(tasks);
}

static struct task *new_task(struct tasks *tasks, const struct service_caller *caller,
                             const struct task_request *request,
                             const struct task_callbacks *callbacks, void *context) {
    struct task *task = calloc(1, sizeof *task);
    if (task == NULL) return NULL;
    *task = (struct task){.tasks = tasks,
                          .caller = *caller,
                          .callbacks = callbacks,
                          .context = context,
                          .began_ns = clock_now_ns(),
                          .tool_calls = json_array(),
                          .tool_results = json_array()};
    (void)snprintf(task->id, sizeof task->id, "%s",
                   request->task_id != NULL && request->task_id[0] != 0 ? request->task_id
                                                                        : caller->request_id);
    text_tidy(task->id, sizeof task->id, TEXT_ONE_LINE);
    TAILQ_INSERT_TAIL(&tasks->running, task, link);
    tasks->count++;
    return task;
}

static int on_start(sd_event_source *source, void *context) {
    struct task *task = context;
    (void)source;
    task->start = sd_event_source_disable_unref(task->start);
    if (task->named != NULL)
        run_named(task);
    else
        ask_model(task);
    return 0;
}

static int check_request(const struct tasks *tasks, const struct task_request *request,
                         json_t **named, struct error *err) {
    *named = NULL;
    if (tasks->count >= MAX_TASKS) {
        return error_set(err, PA_OVERLOADED, "%u tasks are under way; retry in 1 s", tasks->count);
    }
    if (request->tool != NULL) {
        if (!json_is_string(json_object_get(request->tool, "tool"))) {
            return error_set(err, PA_INVALID_ARGUMENT,
                             "context.tool_parameters.tool: must be a string, the tool's name");
        }
        *named = json_incref((json_t *)(uintptr_t)request->tool);
        return 0;
    }
    if (request->query[0] == 0)
        return error_set(err, PA_INVALID_ARGUMENT, "query: must not be empty");
    if (task_text_parse(request->query, named)) {
        return *named != NULL ? 0 : error_set(err, PA_INTERNAL, "query: out of memory");
    }
    if (tasks->service->config.llm_base_url[0] != 0) return 0;
    return error_set(err, PA_INVALID_ARGUMENT, "query: %s", no_model);
}

struct task *task_start(struct tasks *tasks, const struct service_caller *caller,
                        const struct task_request *request, const struct task_callbacks *callbacks,
                        void *context, struct error *err) {
    json_t *named;
    if (check_request(tasks, request, &named, err) != 0) return NULL;
    struct task *task = new_task(tasks, caller, request, callbacks, context);
    if (task == NULL) {
        json_decref(named);
        error_set(err, PA_INTERNAL, "a task: out of memory");
        return NULL;
    }
    task->named = named;
    if (named == NULL) {
        task->messages = json_pack("[{s:s, s:s}, {s:s, s:s}]", "role", "system", "content",
                                   system_text, "role", "user", "content", request->query);
    }
    bool complete = task->tool_calls != NULL && task->tool_results != NULL &&
                    (named != NULL || task->messages != NULL);
    if (complete && sd_event_add_defer(tasks->service->event, &task->start, on_start, task) >= 0) {
        return task;
    }
    error_set(err, PA_INTERNAL, "a task: out of memory");
    release(task);
    return NULL;
}

void task_cancel(struct task *task) {
    if (task->post != NULL) http_client_cancel(task->post);
    if (task->run != NULL) service_cancel(task->run);
    release(task);
}

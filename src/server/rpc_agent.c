/* The methods of AgentService. */
#include "server/rpc_internal.h"

#include "base/clock.h"
#include "server/struct_json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

typedef Polyagent__Agent__StatusCode status_code;

static status_code code_of(enum pa_status status) {
    return status == PA_OK        ? POLYAGENT__AGENT__STATUS_CODE__STATUS_CODE_OK
           : status == PA_TIMEOUT ? POLYAGENT__AGENT__STATUS_CODE__STATUS_CODE_TIMEOUT
                                  : POLYAGENT__AGENT__STATUS_CODE__STATUS_CODE_ERROR;
}

static void malformed(struct rpc_call *call) {
    rpc_finish(call, GRPC_STATUS_INVALID_ARGUMENT, "the message is no such request");
}

static void out_of_memory(struct rpc_call *call) {
    rpc_finish(call, GRPC_STATUS_INTERNAL, "out of memory");
}

static const char *error_text(const json_t *result) {
    const char *text =
        json_string_value(json_object_get(json_object_get(result, "error"), "message"));
    return text != NULL ? text : "";
}

static int pack_tool(const struct rpc_answer *answer, grpc_slice *packed) {
    Polyagent__Agent__ToolCallResponse response = POLYAGENT__AGENT__TOOL_CALL_RESPONSE__INIT;
    Polyagent__Agent__ToolCallUpdate update = POLYAGENT__AGENT__TOOL_CALL_UPDATE__INIT;
    response.output = answer->result != NULL ? json_to_value(answer->result) : NULL;
    if (response.output == NULL) return -1;
    response.tool_name = (char *)(uintptr_t)answer->tool;
    response.status = answer->status;
    response.error_message = (char *)(uintptr_t)error_text(answer->result);
    response.execution_time_ms = answer->took_ms;
    response.request_id = (char *)(uintptr_t)answer->request_id;
    update.update_case = POLYAGENT__AGENT__TOOL_CALL_UPDATE__UPDATE_RESULT;
    update.result = &response;
    *packed = rpc_pack(answer->streams ? &update.base : &response.base);
    google__protobuf__value__free_unpacked(response.output, NULL);
    return 0;
}

/* The run's end: the response, alone or as the last update of a stream. Takes over the result. */
static void tell(struct rpc_call *call, enum pa_status status, json_t *result, bool streams) {
    grpc_status_code code = rpc_status_of(status);
    struct rpc_answer answer = {.pack = pack_tool,
                                .result = result,
                                .status = code_of(status),
                                .took_ms = (int64_t)((clock_now_ns() - call->began_ns) / NS_PER_MS),
                                .streams = streams};
    memcpy(answer.tool, call->tool, sizeof answer.tool);
    memcpy(answer.request_id, call->caller.request_id, sizeof answer.request_id);
    call->cancel = NULL;
    if (code == GRPC_STATUS_OK) {
        rpc_answer(call, &answer);
        return;
    }
    rpc_finish(call, code, error_text(result)); /* the module was looked at only now */
    json_decref(result);
}

static void on_result(void *context, enum pa_status status, json_t *result) {
    tell(context, status, result, false);
}

static void on_output(void *context, int stream, const void *data, size_t size) {
    Polyagent__Agent__ToolCallUpdate update = POLYAGENT__AGENT__TOOL_CALL_UPDATE__INIT;
    ProtobufCBinaryData bytes = {.len = size, .data = (uint8_t *)(uintptr_t)data};
    update.update_case = stream == 0 ? POLYAGENT__AGENT__TOOL_CALL_UPDATE__UPDATE_STDOUT
                                     : POLYAGENT__AGENT__TOOL_CALL_UPDATE__UPDATE_STDERR;
    if (stream == 0)
        update.stdout = bytes;
    else
        update.stderr = bytes;
    rpc_send(context, &update.base);
}

static void on_stream_end(void *context, enum pa_status status, json_t *result) {
    tell(context, status, result, true);
}

static const struct service_callbacks whole = {.done = on_result},
                                      streamed = {.output = on_output, .done = on_stream_end};

static void cancel_run(void *run) {
    service_cancel(run);
}

static void pause_run(void *run, bool paused) {
    service_pause(run, paused);
}

static void begin_tool(struct rpc_call *call, const struct rpc_request *request, void *context) {
    const struct service_callbacks *callbacks = context;
    struct error err = {0};
    (void)snprintf(call->tool, sizeof call->tool, "%s", request->tool->tool_name);
    struct service_run *run =
        service_start(call->server->service, &call->caller, request->tool->tool_name,
                      request->parameters, callbacks, call, &err);
    if (run == NULL) {
        rpc_refuse(call, &err);
        return;
    }
    call->operation = run;
    call->cancel = cancel_run;
    call->pause = callbacks->output != NULL ? pause_run : NULL;
}

static void execute_tool(struct rpc_call *call, const uint8_t *data, size_t size) {
    rpc_receive(call, data, size, rpc_take_tool, begin_tool, (void *)(uintptr_t)&whole);
}

static void stream_tool(struct rpc_call *call, const uint8_t *data, size_t size) {
    rpc_receive(call, data, size, rpc_take_tool, begin_tool, (void *)(uintptr_t)&streamed);
}

static status_code code_by_name(const json_t *entry) {
    const char *name = json_string_value(json_object_get(entry, "status"));
    if (name == NULL) return POLYAGENT__AGENT__STATUS_CODE__STATUS_CODE_UNSPECIFIED;
    return strcmp(name, "OK") == 0        ? POLYAGENT__AGENT__STATUS_CODE__STATUS_CODE_OK
           : strcmp(name, "TIMEOUT") == 0 ? POLYAGENT__AGENT__STATUS_CODE__STATUS_CODE_TIMEOUT
                                          : POLYAGENT__AGENT__STATUS_CODE__STATUS_CODE_ERROR;
}

static char *text_in(const json_t *entry, const char *key) {
    const char *text = json_string_value(json_object_get(entry, key));
    return (char *)(uintptr_t)(text != NULL ? text : "");
}

static int64_t number_in(const json_t *entry, const char *key) {
    return (int64_t)json_number_value(json_object_get(entry, key));
}

/* Entries of a task's result; what they allocate is freed by free_entries(). */
static bool fill_call(const json_t *entry, Polyagent__Agent__ToolCall *call) {
    polyagent__agent__tool_call__init(call);
    call->name = text_in(entry, "name");
    call->tool_id = text_in(entry, "tool_id");
    call->parameters = json_to_struct(json_object_get(entry, "parameters"));
    return call->parameters != NULL;
}

static bool fill_result(const json_t *entry, Polyagent__Agent__ToolResult *result) {
    polyagent__agent__tool_result__init(result);
    result->tool_id = text_in(entry, "tool_id");
    result->status = code_by_name(entry);
    result->error_message = text_in(entry, "error_message");
    result->execution_time_ms = number_in(entry, "execution_time_ms");
    result->output = json_to_value(json_object_get(entry, "output"));
    return result->output != NULL;
}

/* A task's result as a message, with room for its entries. */
struct task_message {
    Polyagent__Agent__ExecuteTaskResponse response;
    Polyagent__Agent__ExecutionMetrics metrics;
    Polyagent__Agent__TokenUsage tokens;
    Polyagent__Agent__ToolCall *calls, **call_list;
    Polyagent__Agent__ToolResult *results, **result_list;
};

static bool fill_task(struct task_message *m, const json_t *result) {
    const json_t *calls = json_object_get(result, "tool_calls"),
                 *results = json_object_get(result, "tool_results"),
                 *metrics = json_object_get(result, "metrics");
    size_t call_count = json_array_size(calls), result_count = json_array_size(results);
    Polyagent__Agent__ExecuteTaskResponse *r = &m->response;
    polyagent__agent__execute_task_response__init(r);
    polyagent__agent__execution_metrics__init(&m->metrics);
    polyagent__agent__token_usage__init(&m->tokens);
    m->calls = calloc(call_count + 1, sizeof *m->calls);
    m->call_list = calloc(call_count + 1, sizeof *m->call_list);
    m->results = calloc(result_count + 1, sizeof *m->results);
    m->result_list = calloc(result_count + 1, sizeof *m->result_list);
    if (m->calls == NULL || m->call_list == NULL || m->results == NULL || m->result_list == NULL)
        return false;
    for (; r->n_tool_calls < call_count; r->n_tool_calls++) {
        m->call_list[r->n_tool_calls] = &m->calls[r->n_tool_calls];
        if (!fill_call(json_array_get(calls, r->n_tool_calls), &m->calls[r->n_tool_calls]))
            return false;
    }
    for (; r->n_tool_results < result_count; r->n_tool_results++) {
        m->result_list[r->n_tool_results] = &m->results[r->n_tool_results];
        if (!fill_result(json_array_get(results, r->n_tool_results),
                         &m->results[r->n_tool_results]))
            return false;
    }
    r->tool_calls = m->call_list;
    r->tool_results = m->result_list;
    r->task_id = text_in(result, "task_id");
    r->status = code_by_name(result);
    r->result = text_in(result, "result");
    r->error_message = (char *)(uintptr_t)error_text(result);
    r->final_state = r->status == POLYAGENT__AGENT__STATUS_CODE__STATUS_CODE_OK
                         ? POLYAGENT__AGENT__AGENT_STATE__AGENT_STATE_COMPLETED
                         : POLYAGENT__AGENT__AGENT_STATE__AGENT_STATE_FAILED;
    m->metrics.latency_ms = number_in(metrics, "latency_ms");
    m->tokens.prompt_tokens = (int32_t)number_in(metrics, "prompt_tokens");
    m->tokens.completion_tokens = (int32_t)number_in(metrics, "completion_tokens");
    m->tokens.total_tokens = m->tokens.prompt_tokens + m->tokens.completion_tokens;
    m->metrics.token_usage = &m->tokens;
    r->metrics = &m->metrics;
    return true;
}

static void free_task(struct task_message *m) {
    for (size_t i = 0; m->call_list != NULL && m->call_list[i] != NULL; i++)
        google__protobuf__struct__free_unpacked(m->calls[i].parameters, NULL);
    for (size_t i = 0; m->result_list != NULL && m->result_list[i] != NULL; i++)
        google__protobuf__value__free_unpacked(m->results[i].output, NULL);
    free(m->calls);
    free(m->call_list);
    free(m->results);
    free(m->result_list);
}

static int pack_task(const struct rpc_answer *answer, grpc_slice *packed) {
    struct task_message message = {.calls = NULL};
    bool complete = answer->result != NULL && fill_task(&message, answer->result);
    if (complete) *packed = rpc_pack(&message.response.base);
    free_task(&message);
    return complete ? 0 : -1;
}

/* A task whose tool was refused is a refusal of the call, as with ExecuteTool. */
static void on_task_done(void *context, enum pa_status status, json_t *result) {
    struct rpc_call *call = context;
    const struct rpc_answer answer = {.pack = pack_task, .result = result};
    grpc_status_code code = rpc_status_of(status);
    call->cancel = NULL;
    if (code == GRPC_STATUS_OK) {
        rpc_answer(call, &answer);
        return;
    }
    rpc_finish(call, code, error_text(result));
    json_decref(result);
}

static void on_update(void *context, const json_t *tool_call, const json_t *tool_result) {
    struct rpc_call *call = context;
    Polyagent__Agent__TaskUpdate update = POLYAGENT__AGENT__TASK_UPDATE__INIT;
    Polyagent__Agent__ToolCall named = POLYAGENT__AGENT__TOOL_CALL__INIT;
    Polyagent__Agent__ToolResult ended = POLYAGENT__AGENT__TOOL_RESULT__INIT;
    update.task_id = call->caller.request_id;
    update.state = POLYAGENT__AGENT__AGENT_STATE__AGENT_STATE_EXECUTING;
    bool complete =
        tool_call != NULL ? fill_call(tool_call, &named) : fill_result(tool_result, &ended);
    if (complete) {
        update.tool_call = tool_call != NULL ? &named : NULL;
        update.tool_result = tool_call == NULL ? &ended : NULL;
        rpc_send(call, &update.base);
    }
    google__protobuf__struct__free_unpacked(named.parameters, NULL);
    google__protobuf__value__free_unpacked(ended.output, NULL);
}

static void on_task_stream_end(void *context, enum pa_status status, json_t *result) {
    struct rpc_call *call = context;
    Polyagent__Agent__TaskUpdate update = POLYAGENT__AGENT__TASK_UPDATE__INIT;
    grpc_status_code code = rpc_status_of(status);
    call->cancel = NULL;
    if (code != GRPC_STATUS_OK) {
        rpc_finish(call, code, error_text(result));
    } else {
        bool good = status == PA_OK;
        update.task_id = text_in(result, "task_id");
        update.state = good ? POLYAGENT__AGENT__AGENT_STATE__AGENT_STATE_COMPLETED
                            : POLYAGENT__AGENT__AGENT_STATE__AGENT_STATE_FAILED;
        update.message = good ? text_in(result, "result") : (char *)(uintptr_t)error_text(result);
        update.progress = 1;
        rpc_send(call, &update.base);
        rpc_finish(call, GRPC_STATUS_OK, "");
    }
    json_decref(result);
}

static const struct task_callbacks whole_task = {.done = on_task_done},
                                   streamed_task = {.update = on_update,
                                                    .done = on_task_stream_end};

static void cancel_task(void *task) {
    task_cancel(task);
}

static void begin_task(struct rpc_call *call, const struct rpc_request *request, void *context) {
    const Polyagent__Agent__ExecuteTaskRequest *message = request->task;
    const struct task_request wanted = {
        .query = message->query,
        .tool = json_object_get(request->parameters, "tool_parameters"),
        .task_id = message->metadata != NULL ? message->metadata->task_id : ""};
    struct error err = {0};
    struct task *task =
        task_start(call->server->tasks, &call->caller, &wanted, context, call, &err);
    if (task == NULL) {
        rpc_refuse(call, &err);
        return;
    }
    call->operation = task;
    call->cancel = cancel_task;
}

static void execute_task(struct rpc_call *call, const uint8_t *data, size_t size) {
    rpc_receive(call, data, size, rpc_take_task, begin_task, (void *)(uintptr_t)&whole_task);
}

static void stream_task(struct rpc_call *call, const uint8_t *data, size_t size) {
    rpc_receive(call, data, size, rpc_take_task, begin_task, (void *)(uintptr_t)&streamed_task);
}

static void get_capabilities(struct rpc_call *call, const uint8_t *data, size_t size) {
    Polyagent__Agent__GetCapabilitiesResponse response =
        POLYAGENT__AGENT__GET_CAPABILITIES_RESPONSE__INIT;
    Polyagent__Agent__ExecutionMode simple =
        POLYAGENT__AGENT__EXECUTION_MODE__EXECUTION_MODE_SIMPLE;
    char *names[TOOL_COUNT];
    const struct config *config = &call->server->service->config;
    uint64_t most = config->limits.memory_limit_bytes;
    (void)data;
    (void)size;
    if (config->ceilings.memory_limit_bytes > most) most = config->ceilings.memory_limit_bytes;
    response.supported_tools = names;
    for (const struct tool *tool = tools; tool->name != NULL; tool++)
        names[response.n_supported_tools++] = (char *)(uintptr_t)tool->name;
    response.supported_modes = &simple;
    response.n_supported_modes = 1;
    response.max_memory_mb = (int64_t)(most >> 20);
    response.max_concurrent_tasks = (int32_t)config->max_running;
    response.version = (char *)(uintptr_t)PA_VERSION;
    rpc_send(call, &response.base);
    rpc_finish(call, GRPC_STATUS_OK, "");
}

/* Of the machine; 0 where the kernel does not tell. */
static double memory_usage_percent(void) {
    char line[128];
    uint64_t total = 0, available = 0;
    FILE *file = fopen("/proc/meminfo", "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        (void)sscanf(line, "MemTotal: %" SCNu64, &total);
        (void)sscanf(line, "MemAvailable: %" SCNu64, &available);
    }
    if (file != NULL) (void)fclose(file);
    return total > 0 ? 100 - 100 * (double)available / (double)total : 0;
}

static void health_check(struct rpc_call *call, const uint8_t *data, size_t size) {
    Polyagent__Agent__HealthCheckResponse response = POLYAGENT__AGENT__HEALTH_CHECK_RESPONSE__INIT;
    const struct service *service = call->server->service;
    struct error err = {0};
    (void)data;
    (void)size;
    response.healthy = service_is_ready(service, &err);
    response.message = response.healthy ? (char *)(uintptr_t) "ready" : err.text;
    response.uptime_seconds = (int64_t)((clock_now_ns() - service->started_ns) / NS_PER_SECOND);
    response.active_tasks = (int32_t)service->metrics.in_flight;
    response.memory_usage_percent = memory_usage_percent();
    rpc_send(call, &response.base);
    rpc_finish(call, GRPC_STATUS_OK, "");
}

/* The caller frees input_schema. */
static bool fill_capability(const struct rpc_call *call, const struct tool *tool,
                            Polyagent__Agent__ToolCapability *capability) {
    static char *permissions[] = {NULL};
    polyagent__agent__tool_capability__init(capability);
    capability->id = (char *)(uintptr_t)tool->name;
    capability->name = (char *)(uintptr_t)tool->name;
    capability->description = (char *)(uintptr_t)tool->description;
    capability->category = (char *)(uintptr_t)tool_category;
    json_t *schema = tool_schema(&call->server->service->rules, tool);
    capability->input_schema = schema != NULL ? json_to_struct(schema) : NULL;
    json_decref(schema);
    capability->required_permissions = permissions;
    capability->estimated_duration_ms = 1;
    capability->version = (char *)(uintptr_t)PA_VERSION;
    capability->author = (char *)(uintptr_t) "polyagent";
    capability->tags = (char **)(uintptr_t)tool_tags;
    capability->n_tags = TOOL_TAGS;
    return capability->input_schema != NULL;
}

static bool contains(char *const *list, size_t count, const char *text) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i], text) == 0) return true;
    return count == 0;
}

static bool matches(const struct tool *tool, const Polyagent__Agent__DiscoverToolsRequest *r) {
    bool tagged = r->n_tags == 0;
    for (size_t i = 0; i < TOOL_TAGS && !tagged; i++)
        tagged = contains(r->tags, r->n_tags, tool_tags[i]);
    return tagged && contains(r->categories, r->n_categories, tool_category) &&
           (strcasestr(tool->name, r->query) != NULL ||
            strcasestr(tool->description, r->query) != NULL);
}

static void discover_tools(struct rpc_call *call, const uint8_t *data, size_t size) {
    Polyagent__Agent__DiscoverToolsResponse response =
        POLYAGENT__AGENT__DISCOVER_TOOLS_RESPONSE__INIT;
    Polyagent__Agent__ToolCapability found[TOOL_COUNT], *list[TOOL_COUNT];
    Polyagent__Agent__DiscoverToolsRequest *request =
        polyagent__agent__discover_tools_request__unpack(NULL, size, data);
    bool complete = true;
    response.tools = list;
    for (const struct tool *tool = tools; request != NULL && tool->name != NULL; tool++) {
        size_t count = response.n_tools;
        if (!matches(tool, request) ||
            (request->max_results > 0 && count >= (size_t)request->max_results)) {
            continue;
        }
        complete = complete && fill_capability(call, tool, &found[count]);
        list[count] = &found[count];
        response.n_tools++;
    }
    if (request == NULL) {
        malformed(call);
    } else if (complete) {
        rpc_send(call, &response.base);
        rpc_finish(call, GRPC_STATUS_OK, "");
    } else {
        out_of_memory(call);
    }
    for (size_t i = 0; i < response.n_tools; i++)
        google__protobuf__struct__free_unpacked(found[i].input_schema, NULL);
    polyagent__agent__discover_tools_request__free_unpacked(request, NULL);
}

static void get_tool(struct rpc_call *call, const uint8_t *data, size_t size) {
    Polyagent__Agent__GetToolCapabilityResponse response =
        POLYAGENT__AGENT__GET_TOOL_CAPABILITY_RESPONSE__INIT;
    Polyagent__Agent__ToolCapability capability = POLYAGENT__AGENT__TOOL_CAPABILITY__INIT;
    Polyagent__Agent__GetToolCapabilityRequest *request =
        polyagent__agent__get_tool_capability_request__unpack(NULL, size, data);
    const struct tool *tool = request != NULL ? tool_find(request->tool_id) : NULL;
    if (request == NULL) {
        malformed(call);
    } else if (tool == NULL) {
        rpc_finish(call, GRPC_STATUS_NOT_FOUND, "tool_id: there is no such tool");
    } else if (fill_capability(call, tool, &capability)) {
        response.tool = &capability;
        rpc_send(call, &response.base);
        rpc_finish(call, GRPC_STATUS_OK, "");
    } else {
        out_of_memory(call);
    }
    google__protobuf__struct__free_unpacked(capability.input_schema, NULL);
    polyagent__agent__get_tool_capability_request__free_unpacked(request, NULL);
}

/* Under our name, and under the upstream project's. */
#define BOTH(name, method, many) \
    {.path = "/polyagent.agent.AgentService/" name, .begin = (method), .awaited = (many)}, { \
        .path = "/shannon.agent.AgentService/" name, .begin = (method), .awaited = (many) \
    }

const struct rpc_method rpc_agent_methods[] = {BOTH("ExecuteTool", execute_tool, 32),
                                               BOTH("StreamExecuteTool", stream_tool, 8),
                                               BOTH("ExecuteTask", execute_task, 8),
                                               BOTH("StreamExecuteTask", stream_task, 4),
                                               BOTH("GetCapabilities", get_capabilities, 1),
                                               BOTH("HealthCheck", health_check, 1),
                                               BOTH("DiscoverTools", discover_tools, 1),
                                               BOTH("GetToolCapability", get_tool, 1),
                                               {.path = NULL}};

/* Large messages: requests taken apart, and answers put together, in threads. */
#include "server/rpc_internal.h"

#include "base/clock.h"
#include "base/json_text.h"
#include "server/struct_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct rpc_large {
    struct work_job job;
    struct rpc_call *call; /* NULL: it is over */
    /* A request: */
    uint8_t *data; /* owned; `size` */
    size_t size;
    struct rpc_tool_request request; /* owned */
    int result;
    struct error err;
    void (*begin)(struct rpc_call *call, struct rpc_tool_request *request, void *context);
    void *context;
    /* An answer: */
    struct rpc_tool_answer answer; /* owned */
    grpc_slice packed;             /* owned */
};

int rpc_tool_request_take(struct rpc_tool_request *request, const uint8_t *data, size_t size,
                          struct error *err) {
    *request = (struct rpc_tool_request){.parameters = NULL};
    if (struct_check(IN_TOOL_REQUEST, data, size, err) != 0) return -1;
    request->message = polyagent__agent__tool_call_request__unpack(NULL, size, data);
    if (request->message == NULL)
        return error_set(err, PA_INVALID_ARGUMENT, "the message is no ToolCallRequest");
    request->parameters = struct_to_json(request->message->parameters, err);
    const char *session = request->message->session_id;
    if (request->parameters != NULL && session[0] != 0)
        (void)json_object_set_new(request->parameters, "session_id", json_string(session));
    return request->parameters != NULL ? 0 : -1;
}

void rpc_tool_request_fini(struct rpc_tool_request *request) {
    json_decref(request->parameters);
    polyagent__agent__tool_call_request__free_unpacked(request->message, NULL);
    *request = (struct rpc_tool_request){.parameters = NULL};
}

int rpc_tool_answer_pack(const struct rpc_tool_answer *answer, grpc_slice *packed) {
    Polyagent__Agent__ToolCallResponse response = POLYAGENT__AGENT__TOOL_CALL_RESPONSE__INIT;
    Polyagent__Agent__ToolCallUpdate update = POLYAGENT__AGENT__TOOL_CALL_UPDATE__INIT;
    const char *message =
        json_string_value(json_object_get(json_object_get(answer->result, "error"), "message"));
    response.output = answer->result != NULL ? json_to_value(answer->result) : NULL;
    if (response.output == NULL) return -1;
    response.tool_name = (char *)(uintptr_t)answer->tool;
    response.status = answer->status;
    response.error_message = (char *)(uintptr_t)(message != NULL ? message : "");
    response.execution_time_ms = answer->took_ms;
    response.request_id = (char *)(uintptr_t)answer->request_id;
    update.update_case = POLYAGENT__AGENT__TOOL_CALL_UPDATE__UPDATE_RESULT;
    update.result = &response;
    const ProtobufCMessage *whole = answer->streams ? &update.base : &response.base;
    *packed = grpc_slice_malloc(protobuf_c_message_get_packed_size(whole));
    (void)protobuf_c_message_pack(whole, GRPC_SLICE_START_PTR(*packed));
    google__protobuf__value__free_unpacked(response.output, NULL);
    return 0;
}

static void release(struct rpc_large *large) {
    free(large->data);
    rpc_tool_request_fini(&large->request);
    json_decref(large->answer.result);
    grpc_slice_unref(large->packed);
    free(large);
}

static void forget(void *context) {
    struct rpc_large *large = context;
    large->call = NULL;
}

/* 0, or -1 with `err`: the job is the caller's again. */
static int submit(struct rpc_large *large, struct rpc_call *call, struct error *err) {
    large->job.kind = WORK_TEXT;
    (void)snprintf(large->job.tenant, sizeof large->job.tenant, "%s", call->caller.name);
    large->call = call;
    if (work_submit(call->server->service->work, &large->job, err) != 0) return -1;
    call->operation = large;
    call->cancel = forget;
    call->pause = NULL;
    return 0;
}

static struct rpc_large *make(void (*act)(struct work_job *), void (*done)(struct work_job *)) {
    struct rpc_large *large = calloc(1, sizeof *large);
    if (large == NULL) return NULL;
    large->job.act = act;
    large->job.done = done;
    large->packed = grpc_empty_slice();
    return large;
}

static void take_act(struct work_job *job) {
    struct rpc_large *large = (struct rpc_large *)job;
    large->result = rpc_tool_request_take(&large->request, large->data, large->size, &large->err);
    free(large->data);
    large->data = NULL;
}

static void take_done(struct work_job *job) {
    struct rpc_large *large = (struct rpc_large *)job;
    struct rpc_call *call = large->call;
    if (call != NULL) {
        call->cancel = NULL;
        if (large->result == 0)
            large->begin(call, &large->request, large->context);
        else
            rpc_refuse(call, &large->err);
        rpc_release_if_over(call);
    }
    release(large);
}

bool rpc_take_later(struct rpc_call *call, const uint8_t *data, size_t size,
                    void (*begin)(struct rpc_call *call, struct rpc_tool_request *request,
                                  void *context),
                    void *context) {
    struct error err = {0};
    if (size <= WORK_LARGE_BYTES) return false;
    struct rpc_large *large = make(take_act, take_done);
    if (large == NULL) return false;
    large->data = malloc(size);
    if (large->data == NULL) {
        release(large);
        return false;
    }
    memcpy(large->data, data, size);
    large->size = size;
    large->begin = begin;
    large->context = context;
    if (submit(large, call, &err) == 0) return true;
    release(large);
    rpc_refuse(call, &err);
    return true;
}

static void pack_act(struct work_job *job) {
    struct rpc_large *large = (struct rpc_large *)job;
    large->result = rpc_tool_answer_pack(&large->answer, &large->packed);
}

static void pack_done(struct work_job *job) {
    struct rpc_large *large = (struct rpc_large *)job;
    struct rpc_call *call = large->call;
    if (call != NULL) {
        call->cancel = NULL;
        if (large->result == 0) {
            rpc_send_packed(call, large->packed);
            large->packed = grpc_empty_slice();
            rpc_finish(call, GRPC_STATUS_OK, "");
        } else {
            rpc_finish(call, GRPC_STATUS_INTERNAL, "out of memory");
        }
        rpc_release_if_over(call);
    }
    release(large);
}

bool rpc_pack_later(struct rpc_call *call, const struct rpc_tool_answer *answer) {
    struct error err = {0};
    if (!json_is_larger(answer->result, WORK_LARGE_BYTES)) return false;
    struct rpc_large *large = make(pack_act, pack_done);
    if (large == NULL) return false;
    large->answer = *answer;
    if (submit(large, call, &err) == 0) return true;
    large->answer.result = NULL;
    release(large);
    return false; /* it takes as long as it takes */
}

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
    struct intake *intake;
    struct intake_claim claim; /* owned; of what is here */
    /* A request: */
    uint8_t *data; /* owned; `size` */
    size_t size;
    rpc_take *take;
    struct rpc_request request; /* owned */
    int result;
    struct error err;
    void (*begin)(struct rpc_call *call, const struct rpc_request *request, void *context);
    void *context;
    /* An answer: */
    struct rpc_answer answer; /* owned */
    grpc_slice packed;        /* owned */
};

int rpc_take_tool(struct rpc_request *request, const uint8_t *data, size_t size,
                  struct error *err) {
    if (struct_check(IN_TOOL_REQUEST, data, size, err) != 0) return -1;
    request->tool = polyagent__agent__tool_call_request__unpack(NULL, size, data);
    if (request->tool == NULL)
        return error_set(err, PA_INVALID_ARGUMENT, "the message is no ToolCallRequest");
    request->parameters = struct_to_json(request->tool->parameters, err);
    const char *session = request->tool->session_id;
    if (request->parameters != NULL && session[0] != 0)
        (void)json_object_set_new(request->parameters, "session_id", json_string(session));
    return request->parameters != NULL ? 0 : -1;
}

int rpc_take_task(struct rpc_request *request, const uint8_t *data, size_t size,
                  struct error *err) {
    if (struct_check(IN_TASK_REQUEST, data, size, err) != 0) return -1;
    request->task = polyagent__agent__execute_task_request__unpack(NULL, size, data);
    if (request->task == NULL)
        return error_set(err, PA_INVALID_ARGUMENT, "the message is no ExecuteTaskRequest");
    request->parameters = struct_to_json(request->task->context, err);
    return request->parameters != NULL ? 0 : -1;
}

static void fini_request(struct rpc_request *request) {
    json_decref(request->parameters);
    polyagent__agent__tool_call_request__free_unpacked(request->tool, NULL);
    polyagent__agent__execute_task_request__free_unpacked(request->task, NULL);
}

static const char *id_of(const struct rpc_request *request) {
    if (request->tool != NULL) return request->tool->request_id;
    if (request->task != NULL && request->task->metadata != NULL)
        return request->task->metadata->task_id;
    return "";
}

static void release(struct rpc_large *large) {
    free(large->data);
    fini_request(&large->request);
    json_decref(large->answer.result);
    grpc_slice_unref(large->packed);
    if (large->intake != NULL) intake_release(large->intake, &large->claim);
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
    large->intake = &call->server->service->intake;
    large->claim = intake_steal(&call->claim);
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
    large->result = large->take(&large->request, large->data, large->size, &large->err);
    free(large->data);
    large->data = NULL;
}

static void take_done(struct work_job *job) {
    struct rpc_large *large = (struct rpc_large *)job;
    struct rpc_call *call = large->call;
    if (call != NULL) {
        call->cancel = NULL;
        rpc_name(call, id_of(&large->request));
        intake_join(large->intake, &call->claim, &large->claim);
        if (large->result == 0)
            large->begin(call, &large->request, large->context);
        else
            rpc_refuse(call, &large->err);
        rpc_release_if_over(call);
    }
    release(large);
}

/* False: not in a thread, but at once. */
static bool receive_later(struct rpc_call *call, const uint8_t *data, size_t size, rpc_take *take,
                          void (*begin)(struct rpc_call *call, const struct rpc_request *request,
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
    large->take = take;
    large->begin = begin;
    large->context = context;
    if (submit(large, call, &err) == 0) return true;
    release(large);
    rpc_refuse(call, &err);
    return true;
}

void rpc_receive(struct rpc_call *call, const uint8_t *data, size_t size, rpc_take *take,
                 void (*begin)(struct rpc_call *call, const struct rpc_request *request,
                               void *context),
                 void *context) {
    struct rpc_request request = {.tool = NULL};
    struct error err = {0};
    if (receive_later(call, data, size, take, begin, context)) return;
    int result = take(&request, data, size, &err);
    rpc_name(call, id_of(&request));
    if (result == 0)
        begin(call, &request, context);
    else
        rpc_refuse(call, &err);
    fini_request(&request);
}

static void pack_act(struct work_job *job) {
    struct rpc_large *large = (struct rpc_large *)job;
    large->result = large->answer.pack(&large->answer, &large->packed);
    json_decref(large->answer.result); /* not in the loop: it takes long */
    large->answer.result = NULL;
}

/* Takes over the packed answer. */
static void send_answer(struct rpc_call *call, int result, grpc_slice packed) {
    if (result == 0) {
        rpc_send_packed(call, packed);
        rpc_finish(call, GRPC_STATUS_OK, "");
    } else {
        grpc_slice_unref(packed);
        rpc_finish(call, GRPC_STATUS_INTERNAL, "out of memory");
    }
}

static void pack_done(struct work_job *job) {
    struct rpc_large *large = (struct rpc_large *)job;
    struct rpc_call *call = large->call;
    if (call != NULL) {
        call->cancel = NULL;
        intake_join(large->intake, &call->claim, &large->claim);
        send_answer(call, large->result, large->packed);
        large->packed = grpc_empty_slice();
        rpc_release_if_over(call);
    }
    release(large);
}

void rpc_answer(struct rpc_call *call, const struct rpc_answer *answer) {
    struct error err = {0};
    grpc_slice packed = grpc_empty_slice();
    struct rpc_large *large =
        answer->result != NULL && json_is_larger(answer->result, WORK_LARGE_BYTES)
            ? make(pack_act, pack_done)
            : NULL;
    if (large != NULL) {
        large->answer = *answer;
        if (submit(large, call, &err) == 0) return;
        large->answer.result = NULL;
        release(large); /* it takes as long as it takes */
    }
    send_answer(call, answer->pack(answer, &packed), packed);
    json_decref(answer->result);
}

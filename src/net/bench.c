/* The role bench: a closed loop of tool calls over gRPC, for polyagent bench --server. */
#include "net/net.h"

#include "base/buffer.h"
#include "base/clock.h"
#include "server/struct_json.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/support/alloc.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FAILURE = 125, MAX_INPUT_BYTES = 512 << 20, TIMEOUT_S = 60 };

struct slot { /* one call after the other */
    grpc_call *call;
    grpc_metadata_array initial, trailing;
    grpc_byte_buffer *request, *response;
    grpc_status_code status;
    grpc_slice details;
    uint64_t began_ns;
};

struct load {
    grpc_channel *channel;
    grpc_completion_queue *queue;
    grpc_byte_buffer *request;
    struct slot *slots; /* owned */
    grpc_metadata authorization;
    bool authorized; /* by it */
    uint64_t concurrency, total, begun;
};

static int fail(const char *what, const char *why) {
    (void)fprintf(stderr, "polyagent: bench: %s: %s\n", what, why);
    return FAILURE;
}

static void begin(struct load *load, struct slot *slot) {
    static const char method[] = "/polyagent.agent.AgentService/ExecuteTool";
    load->begun++;
    slot->began_ns = clock_now_ns();
    slot->call = grpc_channel_create_call(
        load->channel, NULL, GRPC_PROPAGATE_DEFAULTS, load->queue,
        grpc_slice_from_static_string(method), NULL,
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_seconds(TIMEOUT_S, GPR_TIMESPAN)),
        NULL);
    grpc_metadata_array_init(&slot->initial);
    grpc_metadata_array_init(&slot->trailing);
    slot->details = grpc_empty_slice();
    slot->request = grpc_byte_buffer_copy(load->request); /* the library empties what it sends */
    grpc_op ops[6];
    memset(ops, 0, sizeof ops);
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[0].data.send_initial_metadata.metadata = &load->authorization;
    ops[0].data.send_initial_metadata.count = load->authorized ? 1 : 0;
    ops[1].op = GRPC_OP_SEND_MESSAGE;
    ops[1].data.send_message.send_message = slot->request;
    ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &slot->initial;
    ops[4].op = GRPC_OP_RECV_MESSAGE;
    ops[4].data.recv_message.recv_message = &slot->response;
    ops[5].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    ops[5].data.recv_status_on_client.trailing_metadata = &slot->trailing;
    ops[5].data.recv_status_on_client.status = &slot->status;
    ops[5].data.recv_status_on_client.status_details = &slot->details;
    if (grpc_call_start_batch(slot->call, ops, 6, slot, NULL) != GRPC_CALL_OK) abort();
}

/* Whether the program ran to its end and exited with 0; else `why` tells. */
static bool succeeded(const struct slot *slot, char *why, size_t size) {
    grpc_byte_buffer_reader reader;
    bool good = false;
    if (slot->status != GRPC_STATUS_OK || slot->response == NULL) {
        char *text = grpc_slice_to_c_string(slot->details);
        (void)snprintf(why, size, "gRPC status %d: %.400s", (int)slot->status, text);
        gpr_free(text);
        return false;
    }
    if (!grpc_byte_buffer_reader_init(&reader, slot->response)) return false;
    grpc_slice bytes = grpc_byte_buffer_reader_readall(&reader);
    grpc_byte_buffer_reader_destroy(&reader);
    Polyagent__Agent__ToolCallResponse *response = polyagent__agent__tool_call_response__unpack(
        NULL, GRPC_SLICE_LENGTH(bytes), GRPC_SLICE_START_PTR(bytes));
    grpc_slice_unref(bytes);
    if (response != NULL && response->output != NULL &&
        response->output->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE) {
        struct error err = {0};
        json_t *output = struct_to_json(response->output->struct_value, &err);
        good = response->status == POLYAGENT__AGENT__STATUS_CODE__STATUS_CODE_OK &&
               json_integer_value(json_object_get(output, "exit_code")) == 0;
        (void)snprintf(why, size, "exit code %lld %.400s",
                       (long long)json_integer_value(json_object_get(output, "exit_code")),
                       response->error_message);
        json_decref(output);
    }
    polyagent__agent__tool_call_response__free_unpacked(response, NULL);
    return good;
}

static void end(struct slot *slot) {
    grpc_metadata_array_destroy(&slot->initial);
    grpc_metadata_array_destroy(&slot->trailing);
    grpc_byte_buffer_destroy(slot->request);
    if (slot->response != NULL) grpc_byte_buffer_destroy(slot->response);
    slot->response = NULL;
    grpc_slice_unref(slot->details);
    grpc_call_unref(slot->call);
}

/* Of each call go out: latency in ms, whether it succeeded, when it ended (monotonic ms). */
static int drive(struct load *load) {
    char why[512] = "";
    bool told = false;
    for (uint64_t i = 0; i < load->concurrency && load->begun < load->total; i++)
        begin(load, &load->slots[i]);
    for (uint64_t ended = 0; ended < load->total; ended++) {
        grpc_event event =
            grpc_completion_queue_next(load->queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
        struct slot *slot = event.tag;
        uint64_t ended_ns = clock_now_ns();
        double figures[3] = {(double)(ended_ns - slot->began_ns) / (double)NS_PER_MS, 0,
                             (double)ended_ns / (double)NS_PER_MS};
        figures[1] = succeeded(slot, why, sizeof why);
        end(slot);
        if (load->begun < load->total) begin(load, slot);
        if (figures[1] == 0 && !told) {
            told = true;
            (void)fail("a run failed", why);
        }
        if (fwrite(figures, sizeof figures, 1, stdout) != 1) return fail("report", "cannot write");
    }
    return fflush(stdout) == 0 ? 0 : fail("report", "cannot write");
}

/* The request from stdin: {"tool": NAME, "parameters": {...}}. NULL after an error message. */
static grpc_byte_buffer *read_request(void) {
    struct buffer text = {0};
    Polyagent__Agent__ToolCallRequest request = POLYAGENT__AGENT__TOOL_CALL_REQUEST__INIT;
    grpc_byte_buffer *bytes = NULL;
    int result = buffer_read_fd(&text, STDIN_FILENO, MAX_INPUT_BYTES);
    json_t *all = result == 0 && text.size > 0
                      ? json_loadb((const char *)text.data, text.size, 0, NULL)
                      : NULL;
    const char *tool = json_string_value(json_object_get(all, "tool"));
    request.tool_name = (char *)(uintptr_t)tool;
    request.parameters = json_to_struct(json_object_get(all, "parameters"));
    if (tool != NULL && request.parameters != NULL) {
        grpc_slice slice =
            grpc_slice_malloc(polyagent__agent__tool_call_request__get_packed_size(&request));
        (void)polyagent__agent__tool_call_request__pack(&request, GRPC_SLICE_START_PTR(slice));
        bytes = grpc_raw_byte_buffer_create(&slice, 1);
        grpc_slice_unref(slice);
    } else {
        (void)fail("the call", "cannot be read");
    }
    google__protobuf__struct__free_unpacked(request.parameters, NULL);
    json_decref(all);
    buffer_fini(&text);
    return bytes;
}

/* bench TARGET RUNS CONCURRENCY */
int net_bench_main(int argc, char **argv) {
    struct load load = {.channel = NULL};
    const char *token;
    char bearer[4096];
    if (argc != 4) return fail("arguments", "is started by polyagent bench");
    if (!net_token("bench", argv[1], false, &token)) return FAILURE;
    (void)snprintf(bearer, sizeof bearer, "Bearer %s", token != NULL ? token : "");
    load.authorized = token != NULL;
    load.authorization = (grpc_metadata){.key = grpc_slice_from_static_string("authorization"),
                                         .value = grpc_slice_from_static_string(bearer)};
    load.total = strtoumax(argv[2], NULL, 10);
    load.concurrency = strtoumax(argv[3], NULL, 10);
    grpc_init();
    load.request = read_request();
    load.slots = calloc(load.concurrency + 1, sizeof *load.slots);
    int code = load.request != NULL && load.slots != NULL ? 0 : FAILURE;
    if (code == 0) {
        grpc_arg args[] = {{.type = GRPC_ARG_INTEGER,
                            .key = (char *)(uintptr_t)GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
                            .value.integer = -1}};
        const grpc_channel_args all = {1, args};
        grpc_channel_credentials *plain = grpc_insecure_credentials_create();
        load.queue = grpc_completion_queue_create_for_next(NULL);
        load.channel = grpc_channel_create(argv[1], plain, &all);
        grpc_channel_credentials_release(plain);
        code = drive(&load);
        grpc_channel_destroy(load.channel);
        grpc_completion_queue_shutdown(load.queue);
        while (
            grpc_completion_queue_next(load.queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL).type !=
            GRPC_QUEUE_SHUTDOWN) {
        }
        grpc_completion_queue_destroy(load.queue);
    }
    if (load.request != NULL) grpc_byte_buffer_destroy(load.request);
    free(load.slots);
    grpc_shutdown();
    return code;
}

#include "server/rpc_internal.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"

#include <fcntl.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/support/alloc.h>
#include <grpc/support/log.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum { BEHIND_BYTES = 1 << 20 };
enum { KEEPALIVE_MS = 60000, KEEPALIVE_TIMEOUT_MS = 20000 };

grpc_status_code rpc_status_of(enum pa_status status) {
    switch (status) {
    case PA_MODULE_TOO_LARGE:
    case PA_INVALID_MODULE:
    case PA_INVALID_ARGUMENT: return GRPC_STATUS_INVALID_ARGUMENT;
    case PA_NOT_FOUND: return GRPC_STATUS_NOT_FOUND;
    case PA_DENIED: return GRPC_STATUS_PERMISSION_DENIED;
    case PA_OVERLOADED: return GRPC_STATUS_RESOURCE_EXHAUSTED;
    case PA_INTERNAL: return GRPC_STATUS_INTERNAL;
    default: return GRPC_STATUS_OK; /* however the program ended: the result tells */
    }
}

/* The library's queue, until it is shut down: all of it goes to the loop. Reading a connection is
 * done by whoever looks at the queue, and goes on while there is something to read: with a thread
 * more than that, calls arrive, and others are read, meanwhile. */
static void *pump(void *context) {
    struct rpc_server *server = context;
    for (;;) {
        grpc_event event =
            grpc_completion_queue_next(server->queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
        if (event.type == GRPC_QUEUE_SHUTDOWN) return NULL;
        if (event.type != GRPC_OP_COMPLETE) continue;
        const uint64_t one = 1;
        (void)pthread_mutex_lock(&server->lock);
        if (server->report_count == server->report_room) {
            size_t room = server->report_room * 2 + 64;
            struct rpc_report *more = reallocarray(server->reports, room, sizeof *more);
            if (more == NULL) abort(); /* a call that nobody ends; the supervisor starts us again */
            server->reports = more;
            server->report_room = room;
        }
        server->reports[server->report_count++] =
            (struct rpc_report){event.tag, event.success != 0};
        bool first = server->report_count == 1;
        (void)pthread_mutex_unlock(&server->lock);
        if (first && write(server->wake_fd, &one, sizeof one) < 0) abort();
    }
}

static void handle_reports(struct rpc_server *server) {
    uint64_t count;
    if (read(server->wake_fd, &count, sizeof count) < 0) return; /* EAGAIN: none */
    (void)pthread_mutex_lock(&server->lock);
    struct rpc_report *reports = server->reports;
    size_t reported = server->report_count, room = server->report_room;
    server->reports = server->taken;
    server->report_room = server->taken_room;
    server->report_count = 0;
    (void)pthread_mutex_unlock(&server->lock);
    server->taken = reports;
    server->taken_room = room;
    server->reported -= (uint32_t)reported;
    for (size_t i = 0; i < reported; i++)
        reports[i].event->handle(reports[i].event->call, reports[i].success);
}

static int on_wake(sd_event_source *source, int fd, uint32_t events, void *context) {
    (void)source;
    (void)fd;
    (void)events;
    handle_reports(context);
    return 0;
}

static bool start_batch(struct rpc_call *call, const grpc_op *ops, size_t count,
                        struct rpc_event *event) {
    if (grpc_call_start_batch(call->call, ops, count, event, NULL) != GRPC_CALL_OK) return false;
    call->server->reported++;
    return true;
}

static void free_messages(struct rpc_call *call) {
    struct rpc_message *message;
    while ((message = STAILQ_FIRST(&call->pending)) != NULL) {
        STAILQ_REMOVE_HEAD(&call->pending, link);
        grpc_byte_buffer_destroy(message->bytes);
        free(message);
    }
    call->pending_bytes = 0;
}

static void free_call(struct rpc_call *call) {
    rpc_call_left(call);
    free_messages(call);
    intake_release(&call->server->service->intake, &call->claim);
    if (call->call != NULL) grpc_call_unref(call->call);
    if (call->payload != NULL) grpc_byte_buffer_destroy(call->payload);
    grpc_metadata_array_destroy(&call->metadata);
    if (call->method == NULL) grpc_call_details_destroy(&call->details);
    grpc_slice_unref(call->details_text);
    free(call);
}

static bool lasts(const struct rpc_call *call) {
    return call->method != NULL && call->method->lasts;
}

/* Everything that the library was asked for has been reported. */
void rpc_release_if_over(struct rpc_call *call) {
    if (!call->is_closed || call->is_sending || call->is_reading) return;
    if (call->has_status && !call->status_sent && !call->cancelled) return;
    if (call->cancel != NULL) return;
    if (call->is_busy) call->server->busy--;
    free_call(call);
}

/* Sends what is next: a message, or the status. One batch at a time. */
static void send_next(struct rpc_call *call) {
    grpc_op ops[3] = {{.op = GRPC_OP_SEND_INITIAL_METADATA}};
    size_t count = call->metadata_sent ? 0 : 1;
    struct rpc_message *message = STAILQ_FIRST(&call->pending);
    if (call->is_sending || call->status_sent || (call->is_closed && call->cancelled)) return;
    if (message != NULL) {
        ops[count].op = GRPC_OP_SEND_MESSAGE;
        ops[count++].data.send_message.send_message = message->bytes;
        STAILQ_REMOVE_HEAD(&call->pending, link);
        call->pending_bytes -= message->size;
    } else if (!call->has_status) {
        return;
    }
    bool last = call->has_status && STAILQ_EMPTY(&call->pending);
    if (last) {
        ops[count] = (grpc_op){.op = GRPC_OP_SEND_STATUS_FROM_SERVER};
        ops[count].data.send_status_from_server.status = call->status;
        ops[count].data.send_status_from_server.status_details = &call->details_text;
        ops[count].data.send_status_from_server.trailing_metadata = call->trailing;
        ops[count].data.send_status_from_server.trailing_metadata_count =
            call->pushback[0] != 0 ? 2 : 1;
        count++;
        call->status_sent = true;
    }
    call->metadata_sent = true;
    call->is_sending = start_batch(call, ops, count, &call->sent);
    if (!call->is_sending) call->status_sent = true; /* no more can be sent */
    if (message != NULL) {
        grpc_byte_buffer_destroy(message->bytes); /* the batch has a reference of its own */
        free(message);
    }
}

static void on_sent(struct rpc_call *call, bool success) {
    call->is_sending = false;
    if (!success) free_messages(call); /* the client is gone; its close is reported, too */
    if (call->paused && call->pending_bytes <= BEHIND_BYTES / 2) {
        call->paused = false;
        if (call->cancel != NULL && call->pause != NULL) call->pause(call->operation, false);
    }
    send_next(call);
    rpc_release_if_over(call);
}

grpc_slice rpc_pack(const ProtobufCMessage *message) {
    grpc_slice slice = grpc_slice_malloc(protobuf_c_message_get_packed_size(message));
    (void)protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
    return slice;
}

void rpc_send(struct rpc_call *call, const ProtobufCMessage *message) {
    rpc_send_packed(call, rpc_pack(message));
}

void rpc_send_packed(struct rpc_call *call, grpc_slice slice) {
    size_t size = GRPC_SLICE_LENGTH(slice);
    struct rpc_message *message = malloc(sizeof *message);
    if (message == NULL) {
        grpc_slice_unref(slice);
        rpc_finish(call, GRPC_STATUS_INTERNAL, "out of memory");
        return;
    }
    *message = (struct rpc_message){.bytes = grpc_raw_byte_buffer_create(&slice, 1), .size = size};
    grpc_slice_unref(slice);
    STAILQ_INSERT_TAIL(&call->pending, message, link);
    call->pending_bytes += size;
    if (call->method->streams_in || call->cancel != NULL)
        send_next(call); /* one of several; else it goes with the status */
    if (call->paused || call->pending_bytes <= BEHIND_BYTES) return;
    call->paused = true;
    if (call->cancel != NULL && call->pause != NULL) call->pause(call->operation, true);
}

void rpc_finish(struct rpc_call *call, grpc_status_code status, const char *message) {
    if (call->has_status) return;
    call->has_status = true;
    call->status = status;
    call->details_text = grpc_slice_from_copied_string(message);
    call->trailing[0] =
        (grpc_metadata){.key = grpc_slice_from_static_string("x-request-id"),
                        .value = grpc_slice_from_static_buffer(call->caller.request_id,
                                                               strlen(call->caller.request_id))};
    if (status == GRPC_STATUS_RESOURCE_EXHAUSTED) {
        (void)snprintf(call->pushback, sizeof call->pushback, "%llu",
                       (unsigned long long)service_retry_ms(message));
        call->trailing[1] =
            (grpc_metadata){.key = grpc_slice_from_static_string("grpc-retry-pushback-ms"),
                            .value = grpc_slice_from_static_string(call->pushback)};
    }
    if ((unsigned)status < METRICS_GRPC_CODES) call->server->service->metrics.grpc[status]++;
    send_next(call);
}

void rpc_refuse(struct rpc_call *call, const struct error *err) {
    rpc_finish(call, rpc_status_of(err->code), err->text);
}

char *rpc_metadata(const struct rpc_call *call, const char *key) {
    for (size_t i = 0; i < call->metadata.count; i++) {
        const grpc_metadata *m = &call->metadata.metadata[i];
        if (grpc_slice_str_cmp(m->key, key) == 0) return grpc_slice_to_c_string(m->value);
    }
    return NULL;
}

/* Whether the caller is one who may; else it is answered. */
static bool identify(struct rpc_call *call) {
    struct service *service = call->server->service;
    const struct rpc_connection *connection = call->connection;
    const struct sockaddr unknown = {.sa_family = AF_UNSPEC};
    char *header = rpc_metadata(call, "authorization"), *id = rpc_metadata(call, "x-request-id"),
         *trace = rpc_metadata(call, "traceparent");
    struct error err = {0};
    const struct auth_proof proof = {
        .header = header,
        .certificate =
            connection != NULL && connection->certificate[0] != 0 ? connection->certificate : NULL,
        .peer =
            peers_find(&service->peers, connection != NULL ? &connection->address.any : &unknown)};
    const char *name = auth_check(service->auth, &proof, &err);
    service_caller_init(&call->caller, "grpc", name != NULL ? name : "unknown", id, trace);
    call->caller.claim = &call->claim;
    gpr_free(header);
    gpr_free(id);
    gpr_free(trace);
    if (name != NULL) return true;
    log_event(LOG_WARN, "grpc", "refused", {"request_id", call->caller.request_id, 0},
              {"error", err.text, 0});
    rpc_finish(call, err.code == PA_DENIED ? GRPC_STATUS_UNAUTHENTICATED : rpc_status_of(err.code),
               err.text);
    return false;
}

void rpc_name(struct rpc_call *call, const char *request_id) {
    const struct service_caller former = call->caller;
    if (request_id[0] != 0)
        service_caller_init(&call->caller, "grpc", former.name, request_id, former.traceparent);
    call->caller.claim = former.claim;
}

/* The client has got its status, or is gone: hung up, cancelled, or past its deadline. */
static void on_closed(struct rpc_call *call, bool success) {
    (void)success;
    call->is_closed = true;
    if (call->cancelled && call->cancel != NULL) {
        void (*cancel)(void *) = call->cancel;
        call->cancel = NULL;
        cancel(call->operation);
    }
    if (call->cancelled && !call->has_status) {
        call->server->service->metrics.grpc[GRPC_STATUS_CANCELLED]++;
        call->has_status = true;
    }
    rpc_release_if_over(call);
}

/* The bytes of a message as one piece. */
static bool read_payload(struct rpc_call *call, grpc_slice *slice) {
    grpc_byte_buffer_reader reader;
    *slice = grpc_empty_slice();
    if (!grpc_byte_buffer_reader_init(&reader, call->payload)) return false;
    *slice = grpc_byte_buffer_reader_readall(&reader);
    grpc_byte_buffer_reader_destroy(&reader);
    grpc_byte_buffer_destroy(call->payload);
    call->payload = NULL;
    return true;
}

static void begin(struct rpc_call *call, const uint8_t *data, size_t size) {
    call->is_busy = !lasts(call);
    if (call->is_busy) call->server->busy++;
    call->method->begin(call, data, size);
}

static void on_read(struct rpc_call *call, bool success) {
    grpc_slice slice;
    size_t bytes = call->payload != NULL ? grpc_byte_buffer_length(call->payload) : 0;
    call->is_reading = false;
    rpc_intake_end(call, bytes);
    if (call->has_status) { /* it was refused, meanwhile or now */
        rpc_release_if_over(call);
        return;
    }
    bool ended = !success || call->payload == NULL;
    if (!call->method->streams_in) {
        if (!ended && read_payload(call, &slice)) {
            begin(call, GRPC_SLICE_START_PTR(slice), GRPC_SLICE_LENGTH(slice));
            grpc_slice_unref(slice);
        } else {
            rpc_finish(call, GRPC_STATUS_INVALID_ARGUMENT, "the message cannot be read");
        }
    } else if (!ended && read_payload(call, &slice)) {
        call->method->next(call, GRPC_SLICE_START_PTR(slice), GRPC_SLICE_LENGTH(slice));
        grpc_slice_unref(slice);
    } else {
        call->method->next(call, NULL, 0);
    }
    rpc_release_if_over(call);
}

void rpc_read(struct rpc_call *call) {
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};
    op.data.recv_message.recv_message = &call->payload;
    call->is_reading = start_batch(call, &op, 1, &call->read);
    if (call->is_reading) rpc_intake_begin(call);
}

static void await_call(struct rpc_server *server, const struct rpc_method *method,
                       void *registered);

static void on_requested(struct rpc_call *call, bool success) {
    struct rpc_server *server = call->server;
    const struct rpc_method *method = call->method;
    if (!success || server->stopping) { /* the server is shut down */
        free_call(call);
        return;
    }
    call->began_ns = clock_now_ns();
    await_call(server, method, call->registered);
    bool fits = rpc_call_came(call); /* first: a thread that asks for a batch may find itself
                                        reading that connection, for as long as something comes */
    grpc_op op = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER};
    op.data.recv_close_on_server.cancelled = &call->cancelled;
    if (!start_batch(call, &op, 1, &call->closed)) call->is_closed = true;
    if (!fits) {
        rpc_finish(call, GRPC_STATUS_RESOURCE_EXHAUSTED, "more than a connection may ask for");
    } else if (method == NULL) {
        rpc_finish(call, GRPC_STATUS_UNIMPLEMENTED, "there is no such method");
    } else if (method->open || identify(call)) {
        if (method->streams_in)
            begin(call, NULL, 0);
        else
            rpc_read(call);
    }
}

static void await_call(struct rpc_server *server, const struct rpc_method *method,
                       void *registered) {
    struct rpc_call *call = calloc(1, sizeof *call);
    if (call == NULL) return; /* one less at a time */
    *call = (struct rpc_call){.server = server,
                              .method = method,
                              .registered = registered,
                              .requested = {on_requested, call},
                              .closed = {on_closed, call},
                              .sent = {on_sent, call},
                              .read = {on_read, call},
                              .details_text = grpc_empty_slice()};
    STAILQ_INIT(&call->pending);
    grpc_metadata_array_init(&call->metadata);
    if (method == NULL) grpc_call_details_init(&call->details);
    grpc_call_error error =
        method == NULL
            ? grpc_server_request_call(server->server, &call->call, &call->details, &call->metadata,
                                       server->queue, server->queue, &call->requested)
            : grpc_server_request_registered_call(server->server, registered, &call->call,
                                                  &call->deadline, &call->metadata, NULL,
                                                  server->queue, server->queue, &call->requested);
    if (error == GRPC_CALL_OK)
        server->reported++;
    else
        free_call(call);
}

static void register_methods(struct rpc_server *server, const struct rpc_method *methods,
                             void *registered[]) {
    for (size_t i = 0; methods[i].path != NULL; i++) {
        /* Without the first message: a call is to be seen as soon as it is there (rpc_bounds.c). */
        registered[i] = grpc_server_register_method(server->server, methods[i].path, NULL,
                                                    GRPC_SRM_PAYLOAD_NONE, 0);
    }
}

static void await_methods(struct rpc_server *server, const struct rpc_method *methods,
                          void *const registered[]) {
    for (size_t i = 0; methods[i].path != NULL; i++) {
        for (unsigned j = 0; j < methods[i].awaited; j++)
            await_call(server, &methods[i], registered[i]);
    }
}

enum { MAX_METHODS = 32 };

static int start(struct rpc_server *server, struct error *err) {
    const struct config *config = &server->service->config;
    void *agent[MAX_METHODS], *standard[MAX_METHODS];
    struct rlimit files = {0};
    (void)getrlimit(RLIMIT_NOFILE, &files);
    uint64_t descriptors = files.rlim_cur / 8 * 7, numbers = 2 * config->max_connections + 4096;
    server->acceptor.most_fd = (int)(descriptors < numbers ? descriptors : numbers);
    int most = (int)(config->limits.max_module_bytes / 3 * 4 + SERVICE_EXTRA_BYTES);
    grpc_arg args[] = {
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)(uintptr_t)GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
         .value.integer = most},
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)(uintptr_t)GRPC_ARG_MAX_CONCURRENT_STREAMS,
         .value.integer = RPC_MAX_STREAMS},
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)(uintptr_t)GRPC_ARG_MAX_METADATA_SIZE,
         .value.integer = RPC_MAX_METADATA_BYTES},
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)(uintptr_t)GRPC_ARG_ALLOW_REUSEPORT,
         .value.integer = 0},
        /* Nothing compressed: it would be inflated whole before anything of it is
         * looked at. Who sends it is told so (UNIMPLEMENTED), by the library. */
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)(uintptr_t)GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET,
         .value.integer = 1 << GRPC_COMPRESS_NONE},
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)(uintptr_t)GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION,
         .value.integer = 0},
        /* The window of a stream is what it may send before its call is looked at:
         * it stays as it is. */
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)(uintptr_t)GRPC_ARG_HTTP2_BDP_PROBE,
         .value.integer = 0},
        /* Peers that are gone without a word, or never say one. */
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)(uintptr_t)GRPC_ARG_KEEPALIVE_TIME_MS,
         .value.integer = KEEPALIVE_MS},
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)(uintptr_t)GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
         .value.integer = KEEPALIVE_TIMEOUT_MS},
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)(uintptr_t)GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS,
         .value.integer = 1}};
    const grpc_channel_args all = {sizeof args / sizeof *args, args};
    server->server = grpc_server_create(&all, NULL);
    server->queue = grpc_completion_queue_create_for_next(NULL);
    grpc_server_register_completion_queue(server->server, server->queue, NULL);
    register_methods(server, rpc_agent_methods, agent);
    register_methods(server, rpc_standard_methods, standard);
    const struct tls_options secure = {.protocol = "h2",
                                       .take = rpc_connection_take_secure,
                                       .context = server,
                                       .max_connections = config->max_connections};
    if (config->certificate[0] != 0 &&
        (server->tls = tls_new(server->service->event, config, &secure, err)) == NULL)
        return -1;
    grpc_server_start(server->server);
    if (pipe2(server->accepted_fds, O_CLOEXEC) != 0 ||
        fcntl(server->accepted_fds[1], F_SETFL, O_NONBLOCK) != 0) {
        return error_set_errno(err, PA_INTERNAL, errno, "grpc: a pipe");
    }
    if (pthread_create(&server->giver, NULL, rpc_connections_give, server) != 0) {
        return error_set(err, PA_INTERNAL, "grpc: cannot start a thread");
    }
    server->has_giver = true;
    while (server->pump_count < RPC_PUMPS) {
        if (pthread_create(&server->pumps[server->pump_count], NULL, pump, server) != 0) {
            return error_set(err, PA_INTERNAL, "grpc: cannot start a thread");
        }
        server->pump_count++;
    }
    await_methods(server, rpc_agent_methods, agent);
    await_methods(server, rpc_standard_methods, standard);
    await_call(server, NULL, NULL);
    int result = sd_event_add_io(server->service->event, &server->wake, server->wake_fd, EPOLLIN,
                                 on_wake, server);
    if (result < 0) {
        return error_set_errno(err, PA_INTERNAL, -result, "grpc: watch the library's reports");
    }
    return acceptor_start(&server->acceptor, server->service->event, server->acceptor.listen_fd,
                          err);
}

/* The library's own lines are for those who look for them. */
static void log_line(gpr_log_func_args *args) {
    log_event(args->severity == GPR_LOG_SEVERITY_ERROR ? LOG_DEBUG : LOG_TRACE, "grpc", "library",
              {"text", args->message, 0});
}

struct rpc_server *rpc_server_new(struct service *service, struct tasks *tasks, int listen_fd,
                                  struct error *err) {
    struct rpc_server *server = calloc(1, sizeof *server);
    if (server == NULL) {
        (void)close(listen_fd);
        error_set(err, PA_INTERNAL, "grpc: out of memory");
        return NULL;
    }
    *server = (struct rpc_server){.service = service,
                                  .tasks = tasks,
                                  .wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                                  .acceptor = {.component = "grpc",
                                               .take = rpc_connection_take,
                                               .context = server,
                                               .listen_fd = listen_fd},
                                  .accepted_fds = {-1, -1}};
    TAILQ_INIT(&server->calls);
    (void)pthread_mutex_init(&server->lock, NULL);
    gpr_set_log_function(log_line);
    grpc_init();
    if (server->wake_fd < 0) {
        error_set_errno(err, PA_INTERNAL, errno, "grpc: eventfd");
    } else if (start(server, err) == 0) {
        return server;
    }
    rpc_server_free(server);
    return NULL;
}

static void on_stopped(struct rpc_call *none, bool success) {
    (void)none;
    (void)success;
}

void rpc_server_stop_listening(struct rpc_server *server) {
    if (server->stopping) return;
    server->stopping = true;
    acceptor_stop(&server->acceptor);
    server->stopped = (struct rpc_event){on_stopped, NULL};
    server->reported++;
    grpc_server_shutdown_and_notify(server->server, server->queue, &server->stopped);
}

uint32_t rpc_server_busy(const struct rpc_server *server) {
    return server->busy;
}

/* Without a pump, we read the queue ourselves. */
static void destroy_unstarted(struct rpc_server *server) {
    const gpr_timespec never = gpr_inf_future(GPR_CLOCK_REALTIME);
    grpc_server_shutdown_and_notify(server->server, server->queue, &server->stopped);
    (void)grpc_completion_queue_next(server->queue, never, NULL);
    grpc_server_destroy(server->server);
    grpc_completion_queue_shutdown(server->queue);
    while (grpc_completion_queue_next(server->queue, never, NULL).type != GRPC_QUEUE_SHUTDOWN) {
    }
    grpc_completion_queue_destroy(server->queue);
}

void rpc_server_free(struct rpc_server *server) {
    if (server == NULL) return;
    tls_free(server->tls);
    fd_closep(&server->accepted_fds[1]); /* then its thread ends */
    if (server->pump_count > 0) {
        rpc_server_stop_listening(server);
        grpc_server_cancel_all_calls(server->server);
        while (server->reported > 0) { /* each call, awaited ones too, comes back */
            struct pollfd ready = {.fd = server->wake_fd, .events = POLLIN};
            if (poll(&ready, 1, 10000) == 0) break; /* the library hangs: so be it */
            handle_reports(server);
        }
        if (server->has_giver) (void)pthread_join(server->giver, NULL);
        grpc_completion_queue_shutdown(server->queue);
        for (unsigned i = 0; i < server->pump_count; i++)
            (void)pthread_join(server->pumps[i], NULL);
        grpc_server_destroy(server->server);
        grpc_completion_queue_destroy(server->queue);
    } else if (server->server != NULL) {
        if (server->has_giver) (void)pthread_join(server->giver, NULL);
        destroy_unstarted(server);
    }
    fd_closep(&server->accepted_fds[0]);
    sd_event_source_disable_unref(server->wake);
    sd_event_source_disable_unref(server->look);
    acceptor_stop(&server->acceptor);
    fd_closep(&server->wake_fd);
    (void)pthread_mutex_destroy(&server->lock);
    free(server->reports);
    free(server->taken);
    rpc_connections_free(server);
    grpc_shutdown();
    free(server);
}

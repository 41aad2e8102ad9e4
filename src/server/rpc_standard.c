/* The standard services: grpc.health.v1 and reflection, v1 and v1alpha. */
#include "server/rpc_internal.h"

#include "file_descriptors.h" /* generated from proto/ */

#include <stdio.h>
#include <string.h>

typedef Grpc__Reflection__V1__ServerReflectionRequest reflection_request;
typedef Grpc__Reflection__V1__ServerReflectionResponse reflection_response;
typedef Google__Protobuf__FileDescriptorSet file_set;
typedef Google__Protobuf__FileDescriptorProto file_descriptor;
typedef Google__Protobuf__DescriptorProto message_descriptor;

enum { MAX_FILES = 16, MAX_SERVICES = 16 };

static const char *const served[] = {"", "polyagent.agent.AgentService",
                                     "shannon.agent.AgentService"};

static bool is_served(const char *name) {
    for (size_t i = 0; i < sizeof served / sizeof *served; i++)
        if (strcmp(served[i], name) == 0) return true;
    return false;
}

static void send_health(struct rpc_call *call,
                        Grpc__Health__V1__HealthCheckResponse__ServingStatus status) {
    Grpc__Health__V1__HealthCheckResponse response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    response.status = status;
    rpc_send(call, &response.base);
}

/* Health is nobody's secret: probes have no credentials. */
static bool health_of(struct rpc_call *call, const uint8_t *data, size_t size,
                      Grpc__Health__V1__HealthCheckResponse__ServingStatus *status) {
    struct error err = {0};
    Grpc__Health__V1__HealthCheckRequest *request =
        grpc__health__v1__health_check_request__unpack(NULL, size, data);
    service_caller_init(&call->caller, "grpc", "unknown", NULL, NULL);
    if (request == NULL) {
        rpc_finish(call, GRPC_STATUS_INVALID_ARGUMENT, "the message is no HealthCheckRequest");
        return false;
    }
    *status = !is_served(request->service)
                  ? GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN
              : service_is_ready(call->server->service, &err)
                  ? GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
                  : GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING;
    grpc__health__v1__health_check_request__free_unpacked(request, NULL);
    return true;
}

static void check_health(struct rpc_call *call, const uint8_t *data, size_t size) {
    Grpc__Health__V1__HealthCheckResponse__ServingStatus status;
    if (!health_of(call, data, size, &status)) return;
    if (status == GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN) {
        rpc_finish(call, GRPC_STATUS_NOT_FOUND, "service: there is no such service");
        return;
    }
    send_health(call, status);
    rpc_finish(call, GRPC_STATUS_OK, "");
}

struct watch {
    struct rpc_call *call;
    sd_event_source *timer;
    Grpc__Health__V1__HealthCheckResponse__ServingStatus last;
};
enum { WATCH_US = 1000000 };

static void end_watch(void *operation) {
    struct watch *watch = operation;
    sd_event_source_disable_unref(watch->timer);
    free(watch);
}

static int on_watch(sd_event_source *source, uint64_t now_us, void *context) {
    struct watch *watch = context;
    struct error err = {0};
    Grpc__Health__V1__HealthCheckResponse__ServingStatus now =
        service_is_ready(watch->call->server->service, &err)
            ? GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
            : GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING;
    (void)now_us;
    bool unknown =
        watch->last == GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN;
    if (!unknown && now != watch->last) {
        watch->last = now;
        send_health(watch->call, now);
    }
    (void)sd_event_source_set_time_relative(source, WATCH_US);
    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* The state now, and each time that it changes, until the client leaves. */
static void watch_health(struct rpc_call *call, const uint8_t *data, size_t size) {
    Grpc__Health__V1__HealthCheckResponse__ServingStatus status;
    if (!health_of(call, data, size, &status)) return;
    struct watch *watch = calloc(1, sizeof *watch);
    if (watch == NULL ||
        sd_event_add_time_relative(call->server->service->event, &watch->timer, CLOCK_MONOTONIC,
                                   WATCH_US, 1, on_watch, watch) < 0) {
        free(watch);
        rpc_finish(call, GRPC_STATUS_INTERNAL, "out of memory");
        return;
    }
    watch->call = call;
    watch->last = status;
    call->operation = watch;
    call->cancel = end_watch;
    send_health(call, status);
}

/* Whether a name, after its package, is one of the message's or of those within it. */
static bool message_has(const message_descriptor *message, const char *name) {
    size_t length = strlen(message->name);
    if (strncmp(message->name, name, length) != 0) return false;
    if (name[length] == 0) return true;
    if (name[length] != '.') return false;
    const char *rest = name + length + 1;
    for (size_t i = 0; i < message->n_nested_type; i++)
        if (message_has(message->nested_type[i], rest)) return true;
    for (size_t i = 0; i < message->n_enum_type; i++)
        if (strcmp(message->enum_type[i]->name, rest) == 0) return true;
    for (size_t i = 0; i < message->n_field; i++)
        if (strcmp(message->field[i]->name, rest) == 0) return true;
    return false;
}

static bool service_has(const Google__Protobuf__ServiceDescriptorProto *service, const char *name) {
    size_t length = strlen(service->name);
    if (strncmp(service->name, name, length) != 0) return false;
    if (name[length] == 0) return true;
    for (size_t i = 0; name[length] == '.' && i < service->n_method; i++)
        if (strcmp(service->method[i]->name, name + length + 1) == 0) return true;
    return false;
}

static bool file_has(const file_descriptor *file, const char *symbol) {
    size_t length = strlen(file->package);
    if (strncmp(file->package, symbol, length) != 0 || symbol[length] != '.') return false;
    const char *name = symbol + length + 1;
    for (size_t i = 0; i < file->n_message_type; i++)
        if (message_has(file->message_type[i], name)) return true;
    for (size_t i = 0; i < file->n_service; i++)
        if (service_has(file->service[i], name)) return true;
    for (size_t i = 0; i < file->n_enum_type; i++)
        if (strcmp(file->enum_type[i]->name, name) == 0) return true;
    return false;
}

static const file_descriptor *find_file(const file_set *files, const char *name) {
    for (size_t i = 0; i < files->n_file; i++)
        if (strcmp(files->file[i]->name, name) == 0) return files->file[i];
    return NULL;
}

/* A file and those that it needs, each once; packed, to be freed. */
static void add_file(const file_set *files, const file_descriptor *file,
                     const file_descriptor *added[MAX_FILES], size_t *count) {
    for (size_t i = 0; i < *count; i++)
        if (added[i] == file) return;
    if (file == NULL || *count == MAX_FILES) return;
    added[(*count)++] = file;
    for (size_t i = 0; i < file->n_dependency; i++)
        add_file(files, find_file(files, file->dependency[i]), added, count);
}

static reflection_response response_to(reflection_request *request) {
    reflection_response response = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
    response.valid_host = request->host;
    response.original_request = request;
    return response;
}

static void send_files(struct rpc_call *call, reflection_request *request, const file_set *files,
                       const file_descriptor *file) {
    reflection_response response = response_to(request);
    const file_descriptor *added[MAX_FILES] = {NULL};
    ProtobufCBinaryData packed[MAX_FILES] = {{0}};
    Grpc__Reflection__V1__FileDescriptorResponse list =
        GRPC__REFLECTION__V1__FILE_DESCRIPTOR_RESPONSE__INIT;
    size_t count = 0;
    add_file(files, file, added, &count);
    for (size_t i = 0; i < count; i++) {
        packed[i].len = google__protobuf__file_descriptor_proto__get_packed_size(added[i]);
        packed[i].data = malloc(packed[i].len + 1);
        if (packed[i].data == NULL) break;
        (void)google__protobuf__file_descriptor_proto__pack(added[i], packed[i].data);
        list.n_file_descriptor_proto++;
    }
    list.file_descriptor_proto = packed;
    response.message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE;
    response.file_descriptor_response = &list;
    rpc_send(call, &response.base);
    for (size_t i = 0; i < count; i++)
        free(packed[i].data);
}

static void send_services(struct rpc_call *call, reflection_request *request,
                          const file_set *files) {
    reflection_response response = response_to(request);
    Grpc__Reflection__V1__ServiceResponse services[MAX_SERVICES], *list[MAX_SERVICES];
    Grpc__Reflection__V1__ListServiceResponse all =
        GRPC__REFLECTION__V1__LIST_SERVICE_RESPONSE__INIT;
    char names[MAX_SERVICES][128];
    all.service = list;
    for (size_t i = 0; i < files->n_file; i++) {
        const file_descriptor *file = files->file[i];
        for (size_t j = 0; j < file->n_service && all.n_service < MAX_SERVICES; j++) {
            size_t at = all.n_service++;
            (void)snprintf(names[at], sizeof names[at], "%s.%s", file->package,
                           file->service[j]->name);
            grpc__reflection__v1__service_response__init(&services[at]);
            services[at].name = names[at];
            list[at] = &services[at];
        }
    }
    response.message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE;
    response.list_services_response = &all;
    rpc_send(call, &response.base);
}

static void send_error(struct rpc_call *call, reflection_request *request, grpc_status_code code,
                       const char *message) {
    reflection_response response = response_to(request);
    Grpc__Reflection__V1__ErrorResponse error = GRPC__REFLECTION__V1__ERROR_RESPONSE__INIT;
    error.error_code = (int32_t)code;
    error.error_message = (char *)(uintptr_t)message;
    response.message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE;
    response.error_response = &error;
    rpc_send(call, &response.base);
}

static void answer(struct rpc_call *call, reflection_request *request, const file_set *files) {
    const file_descriptor *file = NULL;
    switch (request->message_request_case) {
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES:
        send_services(call, request, files);
        return;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME:
        file = find_file(files, request->file_by_filename);
        break;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL:
        for (size_t i = 0; i < files->n_file && file == NULL; i++)
            if (file_has(files->file[i], request->file_containing_symbol)) file = files->file[i];
        break;
    default: break; /* extensions: there are none */
    }
    if (file != NULL)
        send_files(call, request, files, file);
    else
        send_error(call, request, GRPC_STATUS_NOT_FOUND, "there is no such thing");
}

static void begin_reflection(struct rpc_call *call, const uint8_t *data, size_t size) {
    (void)data;
    (void)size;
    rpc_read(call);
}

static void next_reflection(struct rpc_call *call, const uint8_t *data, size_t size) {
    if (data == NULL) {
        rpc_finish(call, GRPC_STATUS_OK, "");
        return;
    }
    reflection_request *request =
        grpc__reflection__v1__server_reflection_request__unpack(NULL, size, data);
    file_set *files = google__protobuf__file_descriptor_set__unpack(NULL, sizeof file_descriptors,
                                                                    file_descriptors);
    if (request != NULL && files != NULL)
        answer(call, request, files);
    else
        rpc_finish(call, GRPC_STATUS_INVALID_ARGUMENT, "the message is no ServerReflectionRequest");
    grpc__reflection__v1__server_reflection_request__free_unpacked(request, NULL);
    google__protobuf__file_descriptor_set__free_unpacked(files, NULL);
    if (!call->has_status) rpc_read(call);
}

#define REFLECTION(version) \
    { \
        .path = "/grpc.reflection." version ".ServerReflection/ServerReflectionInfo", \
        .begin = begin_reflection, .next = next_reflection, .streams_in = true, .lasts = true, \
        .awaited = 1 \
    }

const struct rpc_method rpc_standard_methods[] = {
    {.path = "/grpc.health.v1.Health/Check", .begin = check_health, .open = true, .awaited = 2},
    {.path = "/grpc.health.v1.Health/Watch",
     .begin = watch_health,
     .lasts = true,
     .open = true,
     .awaited = 1},
    REFLECTION("v1"),
    REFLECTION("v1alpha"),
    {.path = NULL}};

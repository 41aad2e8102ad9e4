/* Promise: a request's parameters, as JSON or as a protobuf message, are a tool's job or refused
 * with a reason; the schema's check and the job agree. */
#include "fuzz.h"

#include "messages.h"
#include "server/json_body.h"
#include "server/struct_json.h"
#include "tools/schema.h"
#include "tools/tools.h"

static struct config config;
static struct tool_rules rules;

static void start(void) {
    struct error err = {0};
    static int started;
    if (started) return;
    PROMISE(config_load(&config, NULL, &err) == 0);
    PROMISE(tool_rules_init(&rules, &config, &err) == 0);
    started = 1;
}

static void call(const char *name, const json_t *parameters) {
    struct tool_call call;
    struct error err = {0};
    if (tool_call_init(&call, name, parameters, &rules, &err) == 0) {
        tool_call_fini(&call);
    } else {
        PROMISE(err.text[0] != 0 && err.code != PA_OK);
    }
}

static void from_protobuf(const uint8_t *data, size_t size) {
    struct error err = {0};
    if (struct_check(IN_TOOL_REQUEST, data, size, &err) != 0) return;
    Polyagent__Agent__ToolCallRequest *request =
        polyagent__agent__tool_call_request__unpack(NULL, size, data);
    if (request == NULL) return;
    json_t *parameters = struct_to_json(request->parameters, &err);
    if (parameters != NULL) {
        call(request->tool_name, parameters);
        Google__Protobuf__Struct *back = json_to_struct(parameters);
        if (back != NULL) google__protobuf__struct__free_unpacked(back, NULL);
    }
    json_decref(parameters);
    polyagent__agent__tool_call_request__free_unpacked(request, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct error err = {0};
    struct buffer body = {0};
    start();
    if (size == 0) return 0;
    if (data[0] % 2 == 0) {
        from_protobuf(data + 1, size - 1);
        return 0;
    }
    PROMISE(buffer_append(&body, data + 1, size - 1) == 0);
    json_t *value = json_body_parse(&body, &err);
    for (size_t i = 0; value != NULL && i < TOOL_COUNT; i++) {
        int fits = schema_check(rules.schemas[i], value, "", &err);
        PROMISE(fits == 0 || err.text[0] != 0);
        call(tools[i].name, value);
    }
    json_decref(value);
    buffer_fini(&body);
    return 0;
}

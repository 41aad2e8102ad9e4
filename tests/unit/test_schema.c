/* Promise: a tool's parameters are checked by its JSON schema, and an error names the parameter and
 * what it wants. */
#include "tools/schema.h"
#include "tools/tools.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

static const char schema_text[] =
    "{\"type\": \"object\", \"additionalProperties\": false, \"required\": [\"code\"],"
    " \"properties\": {\"code\": {\"type\": \"string\", \"minLength\": 1},"
    " \"size\": {\"type\": \"integer\", \"minimum\": 10, \"maximum\": 20},"
    " \"argv\": {\"type\": \"array\", \"maxItems\": 2, \"items\": {\"type\": \"string\"}},"
    " \"env\": {\"type\": \"object\", \"additionalProperties\": {\"type\": \"string\"}},"
    " \"fast\": {\"type\": \"boolean\"}}}";

static void test_values_fit_or_the_error_tells(void **state) {
    const struct {
        const char *value, *error; /* NULL: it fits */
    } cases[] = {
        {"{\"code\": \"x\"}", NULL},
        {"{\"code\": \"x\", \"size\": 10, \"argv\": [\"a\", \"b\"], \"env\": {\"A\": \"1\"}, "
         "\"fast\": true}",
         NULL},
        {"{\"code\": \"x\", \"size\": 15.0}", NULL}, /* as a protobuf Struct has it */
        {"{}", "code: missing"},
        {"[]", "parameters: must be an object"},
        {"{\"code\": 1}", "code: must be a string"},
        {"{\"code\": null}", "code: must be a string"},
        {"{\"code\": \"\"}", "code: must not be empty"},
        {"{\"code\": \"x\", \"size\": 9}", "size: at least 10"},
        {"{\"code\": \"x\", \"size\": 21}", "size: at most 20"},
        {"{\"code\": \"x\", \"size\": 15.5}", "size: must be an integer"},
        {"{\"code\": \"x\", \"size\": 1e300}", "size: must be an integer"},
        {"{\"code\": \"x\", \"size\": \"15\"}", "size: must be an integer"},
        {"{\"code\": \"x\", \"argv\": [\"a\", 1]}", "argv[1]: must be a string"},
        {"{\"code\": \"x\", \"argv\": [\"a\", \"b\", \"c\"]}", "argv: at most 2 elements"},
        {"{\"code\": \"x\", \"env\": {\"A\": 1}}", "env.A: must be a string"},
        {"{\"code\": \"x\", \"fast\": 1}", "fast: must be a boolean"},
        {"{\"cod\": \"x\"}", "cod: no such parameter; did you mean code?"}, /* that first */
        {"{\"code\": \"x\", \"sise\": 15}", "sise: no such parameter; did you mean size?"},
        {"{\"code\": \"x\", \"something\": 1}", "something: no such parameter"},
    };
    json_t *schema = json_loads(schema_text, 0, NULL);
    (void)state;
    assert_non_null(schema);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err = {0};
        json_t *value = json_loads(cases[i].value, 0, NULL);
        assert_non_null(value);
        int result = schema_check(schema, value, "", &err);
        if (result != (cases[i].error == NULL ? 0 : -1)) fail_msg("%s", cases[i].value);
        if (cases[i].error != NULL) {
            assert_int_equal(err.code, PA_INVALID_ARGUMENT);
            assert_string_equal(err.text, cases[i].error);
        }
        json_decref(value);
    }
    json_decref(schema);
}

/* A name of any length, or bytes of any kind, is told and not believed. */
static void test_strange_names_are_only_told(void **state) {
    json_t *schema = json_loads(schema_text, 0, NULL), *value = json_pack("{s:s}", "code", "x");
    struct error err = {0};
    char name[5000];
    (void)state;
    memset(name, '%', sizeof name - 1);
    name[sizeof name - 1] = 0;
    assert_int_equal(json_object_set_new(value, name, json_true()), 0);
    assert_int_equal(schema_check(schema, value, "", &err), -1);
    assert_non_null(strstr(err.text, "%%%: no such parameter"));
    json_decref(value);
    json_decref(schema);
}

/* The checker knows each keyword that the tools' schemas use: none is silently without effect. */
static void check_keywords(const json_t *schema) {
    static const char known[] =
        " type properties required additionalProperties items minLength minimum"
        " maximum maxItems enum description default ";
    const char *key;
    json_t *value, *property;
    json_object_foreach((json_t *)(uintptr_t)schema, key, value) {
        char word[64];
        (void)snprintf(word, sizeof word, " %s ", key);
        if (strstr(known, word) == NULL) fail_msg("%s", key);
        if (json_is_object(value) && strcmp(key, "properties") != 0) check_keywords(value);
    }
    json_t *properties = json_object_get(schema, "properties");
    json_object_foreach(properties, key, property) {
        check_keywords(property);
    }
}

static void test_the_tools_schemas_are_understood(void **state) {
    (void)state;
    assert_non_null(tools[0].name);
    for (const struct tool *tool = tools; tool->name != NULL; tool++) {
        json_t *schema = json_loads(tool->input_schema, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(schema);
        check_keywords(schema);
        json_decref(schema);
    }
}

/* Prepared jobs hold what the parameters say; refused ones leave nothing (under ASan, too). */
static void test_calls_become_jobs(void **state) {
    struct config config;
    struct tool_rules rules;
    struct tool_call call;
    struct error err = {0};
    (void)state;
    assert_int_equal(config_load(&config, NULL, &err), 0);
    assert_int_equal(tool_rules_init(&rules, &config, &err), 0);
    rules.module_paths = NULL;
    json_t *parameters = json_loads(
        "{\"wasm_base64\": \"AGFz\\nbQ==\", \"stdin\": \"in\", \"argv\": [\"a\"], \"env\": {\"K\": "
        "\"v\"},"
        " \"memory_limit_bytes\": 65536, \"max_fuel\": 7, \"seed\": 9, \"deterministic\": true}",
        0, NULL);
    assert_int_equal(tool_call_init(&call, "code_executor", parameters, &rules, &err), 0);
    assert_null(call.module_path);
    assert_int_equal(call.module.size, 4);
    assert_memory_equal(call.module.data, "\0asm", 4);
    assert_int_equal(call.job.stdin_bytes, 2);
    assert_int_equal(call.job.argc, 2);
    assert_string_equal(call.job.argv[1], "a");
    assert_string_equal(call.job.env[0], "K=v");
    assert_int_equal(call.job.limits.memory_limit_bytes, 65536);
    assert_int_equal(call.job.limits.max_fuel, 7);
    assert_int_equal(call.job.limits.execution_timeout_ms, rules.limits.execution_timeout_ms);
    assert_true(call.job.deterministic && call.job.seed == 9);
    tool_call_fini(&call);
    json_decref(parameters);
    const struct {
        const char *tool, *parameters;
        enum pa_status status;
        const char *text;
    } cases[] = {
        {"nope", "{}", PA_NOT_FOUND, "nope"},
        {"code_executor", "{}", PA_INVALID_ARGUMENT, "wasm_base64: missing"},
        {"code_executor", "{\"wasm_base64\": \"!!!!\"}", PA_INVALID_ARGUMENT,
         "not base64, at character 0"},
        {"code_executor", "{\"wasm_base64\": \"QUJD*\"}", PA_INVALID_ARGUMENT, "at character 4"},
        {"code_executor", "{\"wasm_base64\": \"QQ\"}", PA_INVALID_ARGUMENT, "not base64"},
        {"code_executor", "{\"wasm_base64\": \"QQ==\", \"wasm_path\": \"x\"}", PA_INVALID_ARGUMENT,
         "beside"},
        {"code_executor", "{\"wasm_path\": \"x\", \"env\": {\"\": \"1\"}}", PA_INVALID_ARGUMENT,
         "env."},
        {"code_executor", "{\"wasm_path\": \"x\", \"env\": {\"A=B\": \"1\"}}", PA_INVALID_ARGUMENT,
         "env.A=B"},
        {"python_wasi_runner", "{}", PA_INVALID_ARGUMENT, "code: missing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        parameters = json_loads(cases[i].parameters, 0, NULL);
        assert_int_equal(tool_call_init(&call, cases[i].tool, parameters, &rules, &err), -1);
        assert_int_equal(err.code, cases[i].status);
        if (strstr(err.text, cases[i].text) == NULL) fail_msg("%s", err.text);
        json_decref(parameters);
    }
    rules.limits.max_module_bytes = 1000;
    char encoded[4000];
    memset(encoded, 'A', sizeof encoded - 1);
    encoded[sizeof encoded - 1] = 0;
    parameters = json_pack("{s:s}", "wasm_base64", encoded);
    assert_int_equal(tool_call_init(&call, "code_executor", parameters, &rules, &err), -1);
    assert_int_equal(err.code, PA_MODULE_TOO_LARGE);
    json_decref(parameters);
    tool_rules_fini(&rules);
    config_fini(&config);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_fit_or_the_error_tells),
        cmocka_unit_test(test_strange_names_are_only_told),
        cmocka_unit_test(test_the_tools_schemas_are_understood),
        cmocka_unit_test(test_calls_become_jobs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* `polyagent tool`: one tool call, as an agent would make it; JSON in, JSON out. */
#include "cli/cli.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/json_text.h"
#include "tools/compile.h"
#include "tools/result.h"
#include "tools/tools.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAX_PARAMETER_BYTES = 256 << 20 };

static const char help[] =
    "usage: polyagent tool [OPTION]... NAME [JSON]\n"
    "       polyagent tool [OPTION]... JSON\n"
    "       polyagent tool --list\n\n"
    "Calls a tool with parameters in JSON (- or nothing: from stdin) and prints the result in "
    "JSON.\n"
    "The whole form, {\"tool\": NAME, \"parameters\": {...}}, will do in the place of either.\n"
    "The exit code is that of polyagent run.\n\n"
    "  --list               the tools, and the JSON schemas of their parameters\n"
    "  --local              do not use a running polyagent serve\n"
    "  --server ADDR        use a server over HTTP: its address, with $POLYAGENT_TOKEN\n\n"
    "Examples:\n"
    "  polyagent tool python_wasi_runner '{\"code\": \"print(2 + 2)\"}'\n"
    "  polyagent tool code_executor '{\"wasm_path\": \"hello.wasm\", \"stdin\": \"x\"}'\n";

static int print_json(json_t *value) {
    int result = json_print(value, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    return result == 0 ? 0 : cli_fail("tool: cannot write the result: %s", strerror(-result));
}

struct run {
    const struct tool_call *call;
    bool *gave_up; /* NULL, or where to say so instead of a result: it is run again, interpreted */
    struct result_files files; /* that the worker writes to */
};

/* For cli_perform(). */
static int print_result(void *context, const struct pa_result *result) {
    const struct run *run = context;
    if (run->gave_up != NULL && tool_gave_up(result)) {
        *run->gave_up = true;
        return 0;
    }
    json_t *all = result_json(result);
    int code = all != NULL && result_add_outputs(all, &run->files) == 0 &&
                       result_add_answer(all, run->files.answer, false) == 0 &&
                       workspace_add_artifacts(&run->call->workspace, all) == 0
                   ? print_json(all)
                   : cli_fail("tool: out of memory");
    json_decref(all);
    return code == 0 ? cli_exit_code(result) : code;
}

static int perform(const struct tool_call *call, bool local, bool *gave_up) {
    struct run run = {.call = call, .gave_up = gave_up};
    struct error err = {0};
    struct pa_job job = call->job;
    if (result_files_open(&run.files, call->merged, call->answers, job.limits.output_limit_bytes,
                          &err) != 0)
        return cli_fail("tool: %s", err.text);
    job.use_output_fds = true;
    job.stdout_fd = run.files.outputs[0];
    job.stderr_fd = run.files.outputs[call->merged ? 0 : 1];
    job.answer_fd = run.files.answer;
    char opened[32];
    const char *path = call->module_path;
    (void)snprintf(opened, sizeof opened, "/proc/self/fd/%d", call->module_fd);
    if (call->module_fd >= 0) path = opened; /* one of the registry */
    const struct cli_work work = {
        .job = &job,
        .warm_argc = call->warm_argc,
        .local = local,
        .module = {.path = path, .bytes = call->module.data, .size = call->module.size}};
    int code = cli_perform(&work, print_result, &run);
    result_files_close(&run.files);
    return code;
}

/* From the argument, or our stdin. NULL after an error message. */
static json_t *read_parameters(const char *text) {
    struct buffer bytes = {0};
    json_error_t error;
    if (text == NULL || strcmp(text, "-") == 0) {
        int result = buffer_read_fd(&bytes, STDIN_FILENO, MAX_PARAMETER_BYTES);
        if (result != 0) {
            (void)cli_fail("tool: cannot read the parameters: %s", strerror(-result));
            return NULL;
        }
        text = bytes.size > 0 ? (const char *)bytes.data : "";
    }
    json_t *parameters = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (parameters == NULL) {
        (void)cli_fail("tool: the parameters are no JSON: line %d, column %d: %s", error.line,
                       error.column, error.text);
    }
    buffer_fini(&bytes);
    return parameters;
}

/* As a result, too. */
static int print_refusal(const struct error *err) {
    const struct pa_result refused = {.status = err->code, .message = (char *)(uintptr_t)err->text};
    json_t *all = result_json(&refused);
    int code = print_json(all);
    json_decref(all);
    return code != 0 ? code : cli_exit_code(&refused);
}

/* Python to a module, here: it is the user's own. */
static int make_module(const json_t *parameters) {
    struct error err = {0};
    json_t *all = cli_build_module(parameters, &err);
    if (all == NULL) return print_refusal(&err);
    int code = print_json(all);
    json_decref(all);
    return code;
}

static int call_runner(const char *name, const json_t *parameters, const struct tool_rules *rules,
                       bool local) {
    struct tool_call call;
    struct error err = {0};
    bool gave_up = false;
    if (tool_call_init(&call, name, parameters, rules, &err) != 0) return print_refusal(&err);
    if (call.to_module) {
        tool_call_fini(&call);
        return make_module(parameters);
    }
    json_t *instead = tool_interpreted(&call, parameters);
    int code = perform(&call, local, instead != NULL ? &gave_up : NULL);
    tool_call_fini(&call);
    if (gave_up) code = call_runner(name, instead, rules, local);
    json_decref(instead);
    return code;
}

/* {"tool": NAME, "parameters": {...}}, which HTTP and the guide have, in the place of the
 * parameters: `name` becomes the tool's, where it is NULL. -1 after an error message. */
static int take_whole_form(json_t **parameters, char **name) {
    json_t *whole = *parameters, *inner = json_object_get(whole, "parameters");
    const char *tool = json_string_value(json_object_get(whole, "tool"));
    bool is_whole = tool != NULL && json_is_object(inner) && json_object_size(whole) == 2;
    if (!is_whole && *name != NULL) return 0;
    if (!is_whole) {
        (void)cli_fail("tool: neither a tool's name nor {\"tool\": NAME, \"parameters\": {...}}");
        return -1;
    }
    if (*name != NULL && strcmp(*name, tool) != 0) {
        (void)cli_fail("tool: %s is named, but %s in the JSON", *name, tool);
        return -1;
    }
    char *copy = strdup(tool);
    if (copy == NULL) {
        (void)cli_fail("tool: out of memory");
        return -1;
    }
    free(*name);
    *name = copy;
    *parameters = json_incref(inner);
    json_decref(whole);
    return 0;
}

static int call_tool(const char *name, const json_t *parameters, bool local) {
    struct config config;
    struct tool_rules rules;
    struct error err = {0};
    if (config_load(&config, NULL, &err) != 0) return cli_fail("tool: %s", err.text);
    if (tool_rules_init(&rules, &config, &err) != 0) {
        config_fini(&config);
        return cli_fail("tool: %s", err.text);
    }
    rules.ceilings = NULL; /* it is the user's own machine */
    rules.module_paths = NULL;
    int code = call_runner(name, parameters, &rules, local);
    tool_rules_fini(&rules);
    config_fini(&config);
    return code;
}

static int call_server(const char *server, char *name, const json_t *parameters) {
    char *all = json_text(parameters, JSON_COMPACT);
    if (all == NULL) return cli_fail("tool: out of memory");
    char *const args[] = {
        "polyagent-net", "tool", (char *)(uintptr_t)cli_server(server), name, all, NULL};
    int code = cli_exec_net("tool", args);
    free(all);
    return code;
}

/* As they are without a server: with no ceilings. */
static int list_tools(void) {
    struct config config;
    struct tool_rules rules;
    struct error err = {0};
    if (config_load(&config, NULL, &err) != 0) return cli_fail("tool: %s", err.text);
    int code = CLI_EXIT_FAILURE;
    if (tool_rules_init(&rules, &config, &err) == 0) {
        rules.ceilings = NULL;
        json_t *list = tools_list(&rules);
        code = print_json(list);
        json_decref(list);
        tool_rules_fini(&rules);
    } else {
        (void)cli_fail("tool: %s", err.text);
    }
    config_fini(&config);
    return code;
}

static void print_help(void) {
    (void)printf("%s\nTools:\n", help);
    for (const struct tool *tool = tools; tool->name != NULL; tool++)
        (void)printf("  %s\n    %s\n", tool->name, tool->description);
}

int cli_tool_main(int argc, char **argv) {
    static const struct option table[] = {{"list", no_argument, NULL, 'l'},
                                          {"local", no_argument, NULL, 'L'},
                                          {"server", required_argument, NULL, 's'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    bool local = false;
    const char *server = NULL;
    int option;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "+h", table, NULL)) != -1) {
        switch (option) {
        case 'h': print_help(); return 0;
        case 'L': local = true; break;
        case 's': server = optarg; break;
        case 'l': return list_tools();
        default: return cli_bad_option(argv, "polyagent tool", table);
        }
    }
    if (optind >= argc || argc - optind > 2) {
        return cli_fail("tool: give a tool's name and its parameters; see polyagent tool --help");
    }
    const char *first = argv[optind], *text = argc - optind == 2 ? argv[optind + 1] : NULL;
    bool named = first[0] != '{' && strcmp(first, "-") != 0;
    if (!named && text != NULL)
        return cli_fail("tool: a tool's name comes first; see polyagent tool --help");
    char *name = named ? strdup(first) : NULL;
    json_t *parameters = read_parameters(named ? text : first);
    int code = parameters == NULL || take_whole_form(&parameters, &name) != 0 ? CLI_EXIT_FAILURE
               : server != NULL ? call_server(server, name, parameters)
                                : call_tool(name, parameters, local);
    json_decref(parameters);
    free(name);
    return code;
}

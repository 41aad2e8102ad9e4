#include "tools/tools.h"

#include "code_executor_schema.h"          /* generated from schemas/ */
#include "javascript_wasi_runner_schema.h" /* likewise */
#include "python_compile_schema.h"
#include "python_wasi_runner_schema.h" /* likewise */
#include "ruby_wasi_runner_schema.h"
#include "session_checkpoint_schema.h"
#include "session_close_schema.h"
#include "session_fork_schema.h"
#include "session_get_file_schema.h"
#include "session_info_schema.h"
#include "session_input_schema.h"
#include "session_interrupt_schema.h"
#include "session_list_schema.h"
#include "session_open_schema.h"
#include "session_put_files_schema.h"
#include "session_rollback_schema.h"
#include "base/cleanup.h"
#include "supervisor/socket.h"
#include "tools/base64.h"
#include "tools/compile.h"
#include "tools/module_file.h"
#include "tools/schema.h"
#include "tools/workspace.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *text_of(const json_t *parameters, const char *name) {
    return json_string_value(json_object_get(parameters, name));
}

/* A limit by its name; what is not given stays as it is. `ceiling` 0 is none. */
struct named_limit {
    const char *name;
    uint64_t *value;
    uint64_t ceiling;
    bool zero_is_endless;
};

static int take_limit(const struct named_limit *limit, const json_t *parameters,
                      struct error *err) {
    const json_t *given = json_object_get(parameters, limit->name);
    if (given == NULL) return 0;
    uint64_t value = json_is_integer(given) ? (uint64_t)json_integer_value(given)
                                            : (uint64_t)json_real_value(given);
    uint64_t most = limit->ceiling;
    bool endless = limit->zero_is_endless && *limit->value == 0; /* unless it is said, as it is */
    if (most > 0 && !endless && *limit->value > most) most = *limit->value;
    if (most > 0 && (value > most || (limit->zero_is_endless && value == 0 && !endless))) {
        return error_set(err, PA_INVALID_ARGUMENT,
                         "%s: at most %llu here; wasi.ceilings.%s of the server's configuration "
                         "bounds it",
                         limit->name, (unsigned long long)most, limit->name);
    }
    *limit->value = value;
    return 0;
}

/* Limits and switches by their names. */
static int take_limits(struct tool_call *call, const json_t *parameters, struct error *err) {
    static const struct pa_limits none = {0};
    const struct tool_rules *rules = call->rules;
    const struct pa_limits *most = rules->ceilings != NULL ? rules->ceilings : &none;
    struct pa_job *job = &call->job;
    const struct named_limit limits[] = {
        {"memory_limit_bytes", &job->limits.memory_limit_bytes, most->memory_limit_bytes, false},
        {"max_fuel", &job->limits.max_fuel, most->max_fuel, true},
        {"execution_timeout_ms", &job->limits.execution_timeout_ms, most->execution_timeout_ms,
         true},
        {"cpu_time_ms", &job->limits.cpu_time_ms, most->cpu_time_ms, false},
        {"output_limit_bytes", &job->limits.output_limit_bytes, most->output_limit_bytes, true},
        {"seed", &job->seed, 0, false}};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        if (take_limit(&limits[i], parameters, err) != 0) return -1;
    job->deterministic =
        rules->config->deterministic || json_is_true(json_object_get(parameters, "deterministic"));
    job->deny_clock = !rules->config->allow_clock;
    job->deny_random = !rules->config->allow_random;
    job->mounts = rules->mounts;
    job->mount_count = rules->mount_count;
    return 0;
}

/* call->argv: `first`, if any, then those of the parameters. */
static int take_argv(struct tool_call *call, const char *first, const json_t *parameters,
                     size_t *count, struct error *err) {
    const json_t *list = json_object_get(parameters, "argv");
    size_t more = json_array_size(list);
    call->argv = calloc(more + 1, sizeof *call->argv);
    if (call->argv == NULL) return error_set(err, PA_INTERNAL, "argv: out of memory");
    *count = 0;
    if (first != NULL) call->argv[(*count)++] = first;
    for (size_t i = 0; i < more; i++)
        call->argv[(*count)++] = json_string_value(json_array_get(list, i));
    return 0;
}

static int add_env(struct tool_call *call, const char *name, const char *equals, const char *value,
                   struct error *err) {
    if (asprintf(&call->env[call->env_count], "%s%s%s", name, equals, value) < 0) {
        call->env[call->env_count] = NULL;
        return error_set(err, PA_INTERNAL, "env: out of memory");
    }
    call->env_count++;
    return 0;
}

static bool is_given(const json_t *variables, const char *pair) {
    return json_object_getn(variables, pair, strcspn(pair, "=")) != NULL;
}

/* Those of the rules, unless the parameters have one of the same name, and those of the parameters.
 */
static int take_env(struct tool_call *call, const json_t *parameters, struct error *err) {
    json_t *variables = json_object_get(parameters, "env"), *value;
    const char *name;
    size_t standing = 0;
    while (call->rules->env[standing] != NULL)
        standing++;
    call->env = calloc(standing + json_object_size(variables) + 2, sizeof *call->env); /* PWD */
    if (call->env == NULL) return error_set(err, PA_INTERNAL, "env: out of memory");
    for (size_t i = 0; i < standing; i++) {
        if (is_given(variables, call->rules->env[i])) continue;
        if (add_env(call, call->rules->env[i], "", "", err) != 0) return -1;
    }
    json_object_foreach(variables, name, value) {
        if (name[0] == 0 || strchr(name, '=') != NULL) {
            return error_set(err, PA_INVALID_ARGUMENT, "env.%.100s: no name for a variable", name);
        }
        if (add_env(call, name, "=", json_string_value(value), err) != 0) return -1;
    }
    return 0;
}

/* Line breaks may be in it, as base64(1) makes them. Its length is checked before it is decoded. */
static int take_base64(struct tool_call *call, const char *name, const char *encoded,
                       struct error *err) {
    size_t length = strlen(encoded), room = length / 4 * 3 + 3, wrong = 0;
    size_t most = (size_t)call->job.limits.max_module_bytes;
    if (room > most + most / 32 + 7) {
        return error_set(err, PA_MODULE_TOO_LARGE,
                         "WASM module too large: %s has %zu characters, allowed are %zu bytes",
                         name, length, most);
    }
    uint8_t *bytes = malloc(room);
    if (bytes == NULL) return error_set(err, PA_INTERNAL, "%s: out of memory", name);
    call->module = (struct buffer){.data = bytes, .capacity = room};
    ptrdiff_t size = base64_decode(encoded, length, bytes, &wrong);
    if (size < 0) {
        return error_set(err, PA_INVALID_ARGUMENT, "%s: not base64, at character %zu", name, wrong);
    }
    call->module.size = (size_t)size;
    return 0;
}

static int open_interpreter(struct tool_call *call, const char *name, struct error *err) {
    call->module_fd = module_file_interpreter(call->rules, name, err);
    return call->module_fd >= 0 ? 0 : -1;
}

static int open_named(struct tool_call *call, const char *name, struct error *err) {
    call->module_fd = module_file_named(call->rules, name, err);
    return call->module_fd >= 0 ? 0 : -1;
}

/* The module is named by just one of three parameters; 1 if by none. */
static int take_module(struct tool_call *call, const json_t *parameters, const char *const names[3],
                       int (*open_by_name)(struct tool_call *, const char *, struct error *),
                       struct error *err) {
    const char *given[3], *first = NULL;
    for (int i = 0; i < 3; i++) {
        given[i] = text_of(parameters, names[i]);
        if (given[i] == NULL) continue;
        if (first != NULL) {
            return error_set(err, PA_INVALID_ARGUMENT, "%s: cannot stand beside %s", first,
                             names[i]);
        }
        first = names[i];
    }
    if (first == NULL) return 1;
    if (given[1] != NULL) return take_base64(call, names[1], given[1], err);
    if (given[2] != NULL) return open_by_name(call, given[2], err);
    if (call->rules->module_paths == NULL) {
        call->module_path = given[0];
        return 0;
    }
    call->module_fd = module_file_open(call->rules, given[0], err);
    return call->module_fd >= 0 ? 0 : error_prefix(err, "%s", names[0]);
}

/* A module's arguments, beginning with its name, and its environment. */
static int take_surroundings(struct tool_call *call, const char *name, const json_t *parameters,
                             struct error *err) {
    if (take_argv(call, name, parameters, &call->job.argc, err) != 0 ||
        take_env(call, parameters, err) != 0) {
        return -1;
    }
    call->job.argv = call->argv;
    call->job.env = (const char *const *)call->env;
    call->job.env_count = call->env_count;
    return 0;
}

static int prepare_code(struct tool_call *call, const json_t *parameters, struct error *err) {
    static const char *const names[] = {"wasm_path", "wasm_base64", "module"};
    int module = take_module(call, parameters, names, open_named, err);
    if (module > 0) {
        return error_set(err, PA_INVALID_ARGUMENT,
                         "wasm_base64: missing; give the module so, its file as wasm_path, or its "
                         "name in the registry as module");
    }
    return module < 0 ? -1 : take_surroundings(call, "module", parameters, err);
}

/* Folders that the run has for itself. Making one and mounting it takes 0.2 ms, so /output is there
 * only for programs that name it. */
static int take_folders(struct tool_call *call, const json_t *parameters, const char *code,
                        struct error *err) {
    const json_t *files = json_object_get(parameters, "files");
    const struct tool_turn *turn = call->turn;
    bool output = strstr(code, OUTPUT_GUEST_PATH) != NULL;
    size_t own = call->start.mount_count, count = own + call->rules->mount_count;
    bool folders = turn != NULL || files != NULL || output;
    if (!folders && own == 0) return 0;
    if (turn == NULL && folders && workspace_make(&call->workspace, files, output, err) != 0)
        return -1;
    if (turn != NULL) { /* the files are there already, and the folders are not ours */
        (void)snprintf(call->workspace.workspace, sizeof call->workspace.workspace, "%s",
                       turn->workspace);
        (void)snprintf(call->workspace.output, sizeof call->workspace.output, "%s", turn->output);
    }
    call->mounts = calloc(count + WORKSPACE_FOLDERS, sizeof *call->mounts);
    if (call->mounts == NULL) return error_set(err, PA_INTERNAL, "files: out of memory");
    for (size_t i = 0; i < count; i++)
        call->mounts[i] = i < own ? call->start.mounts[i] : call->rules->mounts[i - own];
    call->job.mounts = call->mounts;
    call->job.mount_count = count + workspace_mounts(&call->workspace, call->mounts + count);
    bool enters = turn != NULL ? turn->fresh : files != NULL;
    return enters ? add_env(call, "PWD", "=", WORKSPACE_GUEST_PATH, err) : 0;
}

/* An interpreter of the manifests. */
static int use_known(struct tool_call *call, const struct interpreter *known,
                     const json_t *parameters, struct error *err) {
    size_t profile = interpreter_profile(known, json_object_get(parameters, "packages"));
    if (interpreter_start_init(&call->start, known, profile, err) != 0) return -1;
    interpreter_start_apply(&call->start, &call->job,
                            json_object_get(parameters, "memory_limit_bytes") != NULL);
    call->warm_argc = call->start.warm_argc;
    call->module_path = known->module;
    return 0;
}

/* One that nobody has described: it is started as those of its language are. */
static int use_unknown(struct tool_call *call, struct error *err) {
    const struct language *language = call->tool->language;
    if (language->argv != NULL) {
        call->job.argv = language->argv;
        call->job.argc = language->argc;
        call->warm_argc = language->warm_argc;
        return 0;
    }
    const struct interpreter *like =
        interpreters_choose(&call->rules->interpreters, language, NULL, err);
    if (like == NULL || interpreter_start_init(&call->start, like, 0, err) != 0) return -1;
    interpreter_start_apply(&call->start, &call->job, false);
    call->warm_argc = call->start.warm_argc;
    return 0;
}

static int use_default(struct tool_call *call, const json_t *parameters, struct error *err) {
    const struct language *language = call->tool->language;
    const json_t *packages = json_object_get(parameters, "packages");
    const char *own = call->rules->own_interpreters[call->tool - tools];
    if (own[0] != 0 && json_array_size(packages) == 0) {
        call->module_path = own;
        return use_unknown(call, err);
    }
    const struct interpreter *known =
        interpreters_choose(&call->rules->interpreters, language, packages, err);
    if (known != NULL) return use_known(call, known, parameters, err);
    /* A file without a manifest, as in /opt/wasm-interpreters, does as well. */
    if (json_array_size(packages) == 0 &&
        language_find(language, NULL, call->found_path, sizeof call->found_path)) {
        *err = (struct error){0};
        call->module_path = call->found_path;
        return use_unknown(call, err);
    }
    return -1;
}

/* By path, base64 or name, or the language's default. */
static int take_interpreter(struct tool_call *call, const json_t *parameters, struct error *err) {
    static const char *const names[] = {"interpreter_wasm_path", "interpreter_wasm_base64",
                                        "interpreter"};
    const struct language *language = call->tool->language;
    const char *name = text_of(parameters, names[2]);
    if (call->turn != NULL && call->turn->module_fd >= 0) {
        call->module_fd = fcntl(call->turn->module_fd, F_DUPFD_CLOEXEC, 3);
        return call->module_fd < 0
                   ? error_set_errno(err, PA_INTERNAL, errno, "the session's interpreter")
                   : use_unknown(call, err);
    }
    bool other = text_of(parameters, names[0]) != NULL || text_of(parameters, names[1]) != NULL;
    const struct interpreter *known =
        name != NULL && !other ? interpreters_find(&call->rules->interpreters, name) : NULL;
    if (known != NULL && known->language == language && interpreter_is_here(known))
        return use_known(call, known, parameters, err);
    bool is_default =
        name != NULL && (strcmp(name, language->name) == 0 || strcmp(name, language->title) == 0);
    if (!other && (name == NULL || is_default)) return use_default(call, parameters, err);
    if (json_array_size(json_object_get(parameters, "packages")) > 0)
        return error_set(err, PA_INVALID_ARGUMENT,
                         "packages: cannot stand beside an interpreter of your own");
    return use_unknown(call, err) == 0 ? take_module(call, parameters, names, open_interpreter, err)
                                       : -1;
}

static int prepare_source(struct tool_call *call, const json_t *parameters, struct error *err) {
    const struct language *language = call->tool->language;
    int compiled = language == &language_python ? tool_take_compiled(call, parameters, err) : 0;
    if (compiled < 0) return -1;
    if (compiled > 0) { /* a module as any other, without folders */
        call->job.mounts = NULL;
        call->job.mount_count = 0;
        return take_surroundings(call, "-c", parameters, err);
    }
    struct program program = {.name = call->turn != NULL ? call->turn->name : "<code>",
                              .argv0 = "-c",
                              .session = call->turn != NULL,
                              .deterministic = call->job.deterministic};
    if (take_interpreter(call, parameters, err) != 0 ||
        take_argv(call, NULL, parameters, &program.rest_count, err) != 0 ||
        take_env(call, parameters, err) != 0) {
        return -1;
    }
    const json_t *code = json_object_get(parameters, "code");
    if (take_folders(call, parameters, json_string_value(code), err) != 0) return -1;
    program.answers = call->answers = language->answers;
    program.source = json_string_value(code);
    program.source_bytes = json_string_length(code);
    program.rest = call->argv;
    program.env = (const char *const *)call->env;
    program.env_count = call->env_count;
    if (language->job(&call->program, &program, err) != 0 ||
        language_rehearsal(language, &call->rehearsal, err) != 0) {
        return -1;
    }
    call->job.job_data = call->program.data;
    call->job.job_bytes = call->program.size;
    call->job.rehearsal_data = call->rehearsal.data;
    call->job.rehearsal_bytes = call->rehearsal.size;
    return 0;
}

const struct tool tools[TOOL_COUNT + 1] = {
    {"code_executor", "Run a WebAssembly module",
     "Runs a WebAssembly module (wasip1) in a sandbox of its own and says exactly what happened.",
     code_executor_schema, NULL, prepare_code},
    {"python_wasi_runner", "Run Python",
     "Runs Python in a fresh sandboxed interpreter; input(), sys.argv and exit codes work.",
     python_wasi_runner_schema, &language_python, prepare_source},
    {"javascript_wasi_runner", "Run JavaScript",
     "Runs JavaScript in a fresh sandboxed interpreter (QuickJS: ES2023, std and os; no Node.js "
     "modules).",
     javascript_wasi_runner_schema, &language_javascript, prepare_source},
    {"ruby_wasi_runner", "Run Ruby",
     "Runs Ruby in a fresh sandboxed interpreter, with its standard library.",
     ruby_wasi_runner_schema, &language_ruby, prepare_source},
    {"python_compile", "Compile Python",
     "Compiles Python (a part of it) to a WebAssembly module for wasip1 that needs nothing else.",
     python_compile_schema, NULL, tool_prepare_module},
    {"session_open", "Open a session",
     "Opens a session: an interpreter that stays, whose variables, imports, functions and files in "
     "/workspace live on from turn to turn. Give its session_id to python_wasi_runner or "
     "javascript_wasi_runner to run a turn.",
     session_open_schema, NULL, NULL},
    {"session_list", "List sessions",
     "Lists your sessions: lineage, turns, memory, age, checkpoints.", session_list_schema, NULL,
     NULL},
    {"session_info", "Show a session", "Tells all about one session.", session_info_schema, NULL,
     NULL},
    {"session_fork", "Branch a session",
     "Makes copies of a session, variables and files alike, each of which goes its own way: to try "
     "several continuations.",
     session_fork_schema, NULL, NULL},
    {"session_checkpoint", "Remember a session's state",
     "Remembers the state of a session, variables and files, for session_rollback.",
     session_checkpoint_schema, NULL, NULL},
    {"session_rollback", "Go back to a checkpoint",
     "Puts a session back to a checkpoint, variables and files.", session_rollback_schema, NULL,
     NULL},
    {"session_close", "Close a session", "Ends a session and removes its files.",
     session_close_schema, NULL, NULL},
    {"session_interrupt", "Interrupt a turn",
     "Ends the turn that a session is in; its variables are as before that turn.",
     session_interrupt_schema, NULL, NULL},
    {"session_input", "Write to a turn's stdin",
     "Gives input to the turn that a session is in, if that was started with stdin_stream.",
     session_input_schema, NULL, NULL},
    {"session_put_files", "Write files", "Writes files into a session's /workspace.",
     session_put_files_schema, NULL, NULL},
    {"session_get_file", "Read files or list them",
     "Reads a file of a session's /workspace; without a path, lists them.", session_get_file_schema,
     NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL, NULL}};

const char tool_category[] = "code_execution";
const char *const tool_tags[TOOL_TAGS] = {"wasm", "sandbox", "code"};

const struct tool *tool_find(const char *name) {
    for (const struct tool *tool = tools; tool->name != NULL; tool++)
        if (strcmp(tool->name, name) == 0) return tool;
    return NULL;
}

int tool_call_init(struct tool_call *call, const char *name, const json_t *parameters,
                   const struct tool_rules *rules, struct error *err) {
    return tool_call_init_turn(call, name, parameters, rules, NULL, err);
}

int tool_call_init_turn(struct tool_call *call, const char *name, const json_t *parameters,
                        const struct tool_rules *rules, const struct tool_turn *turn,
                        struct error *err) {
    const struct tool *tool = tool_find(name);
    if (tool == NULL) {
        return error_set(err, PA_NOT_FOUND, "tool %.100s: there is no such tool", name);
    }
    if (schema_check(rules->schemas[tool - tools], parameters, "", err) != 0) return -1;
    if (tool->prepare == NULL)
        return error_set(err, PA_INVALID_ARGUMENT,
                         "tool %s: sessions are kept by servers; start polyagent serve, and name "
                         "it by --server",
                         name);
    if (turn == NULL && json_object_get(parameters, "session_id") != NULL)
        return error_set(err, PA_INVALID_ARGUMENT,
                         "session_id: sessions are kept by servers; start polyagent serve, and "
                         "name it by --server");
    *call = (struct tool_call){.tool = tool,
                               .rules = rules,
                               .turn = turn,
                               .job = {.limits = rules->limits, .stdin_fd = -1},
                               .module_fd = -1};
    int result = take_limits(call, parameters, err);
    call->merged = json_is_true(json_object_get(parameters, "stderr_to_stdout"));
    const json_t *input = json_object_get(parameters, "stdin");
    call->job.stdin_data = input != NULL ? json_string_value(input) : "";
    call->job.stdin_bytes = json_string_length(input);
    if (result == 0) result = tool->prepare(call, parameters, err);
    if (result != 0) tool_call_fini(call);
    return result;
}

int tool_call_settle(struct tool_call *call, struct error *err) {
    if (call->module.size == 0) return 0;
    call->module_fd = socket_module_fd(NULL, call->module.data, call->module.size);
    if (call->module_fd < 0)
        return error_set_errno(err, PA_INTERNAL, errno, "a place for the module");
    buffer_fini(&call->module);
    return 0;
}

void tool_call_fini(struct tool_call *call) {
    workspace_remove(&call->workspace);
    interpreter_start_fini(&call->start);
    free(call->mounts);
    fd_closep(&call->module_fd);
    buffer_fini(&call->module);
    buffer_fini(&call->program);
    buffer_fini(&call->rehearsal);
    free(call->argv);
    for (size_t i = 0; i < call->env_count; i++)
        free(call->env[i]);
    free(call->env);
    *call = (struct tool_call){.module_fd = -1};
}

json_t *tools_list(const struct tool_rules *rules) {
    json_t *list = json_array();
    for (const struct tool *tool = tools; tool->name != NULL; tool++) {
        json_t *entry = json_pack("{s:s, s:s, s:o}", "name", tool->name, "description",
                                  tool->description, "input_schema", tool_schema(rules, tool));
        if (list == NULL || json_array_append_new(list, entry) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return json_pack("{s:o}", "tools", list);
}

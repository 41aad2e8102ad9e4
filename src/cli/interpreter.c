/* `polyagent interpreter`: which interpreters there are, and ones of the user's own. */
#include "cli/cli.h"
#include "cli/progress.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/copy.h"
#include "base/clock.h"
#include "base/json_text.h"
#include "config/yaml_json.h"
#include "tools/folder.h"
#include "tools/interpreter.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char help[] =
    "usage: polyagent interpreter list [--json] [--manifest FILE]\n"
    "       polyagent interpreter add NAME [FILE] [OPTION]...\n"
    "       polyagent interpreter remove NAME\n"
    "       polyagent interpreter warm [NAME]...\n\n"
    "Interpreters that come with polyagent, and your own in $POLYAGENT_INTERPRETERS_DIR\n"
    "(~/.local/state/polyagent/interpreters).\n\n"
    "  list      what there is; --manifest shows what a file says\n"
    "  add       a python.wasm or quickjs.wasm of your own, compiled ahead:\n"
    "    --language NAME      python (the default), javascript or ruby\n"
    "    --from NAME          as that one is, instead of a FILE\n"
    "    --wheel FILE         a pure-Python wheel that its programs can import; any number\n"
    "    --preload A,B        modules to import ahead\n"
    "    --memory SIZE        memory of its runs, such as 512M\n"
    "  remove    one of your own\n"
    "  warm      compile those named, or all, so that no run has to wait for it\n\n"
    "Examples:\n"
    "  polyagent interpreter list\n"
    "  polyagent interpreter add mine ./python.wasm\n"
    "  polyagent interpreter add tools --from python --wheel idna-3.10-py3-none-any.whl\n"
    "  polyagent interpreter warm scientific\n";

enum { MAX_WHEELS = 64 };
#define MAX_MODULE_BYTES (UINT64_C(1) << 30)

/* ---- Compiling ahead. */

/* Runs an empty program in it: that compiles it, and shows that it starts. */
static struct pa_result *run_nothing(const struct interpreter *interpreter,
                                     struct pa_error *error) {
    struct interpreter_start start;
    struct buffer program = {0};
    struct error err = {0};
    const struct pa_options options = {.compile_cpu_ms = CLI_COMPILE_CPU_MS};
    struct progress progress;
    struct pa_job job = {.stdin_fd = -1, .stdin_data = ""};
    struct pa_result *result = NULL;
    pa_limits_default(&job.limits);
    job.limits.max_module_bytes = MAX_MODULE_BYTES;
    const struct program nothing = {.name = "<code>", .source = "", .argv0 = "-c"};
    if (interpreter_start_init(&start, interpreter, 0, &err) != 0 ||
        interpreter->language->job(&program, &nothing, &err) != 0) {
        error->status = err.code;
        (void)snprintf(error->message, sizeof error->message, "%s", err.text);
        interpreter_start_fini(&start);
        buffer_fini(&program);
        return NULL;
    }
    interpreter_start_apply(&start, &job, false);
    job.mounts = start.mounts;
    job.mount_count = start.mount_count;
    job.job_data = program.data;
    job.job_bytes = program.size;
    struct pa_sandbox *sandbox = pa_sandbox_new(&options, error);
    struct pa_module *module =
        sandbox != NULL ? pa_module_open(sandbox, interpreter->module, &job.limits, error) : NULL;
    progress_begin(&progress, interpreter->module, &job);
    if (module != NULL) result = pa_run(sandbox, module, &job);
    progress_end(&progress);
    pa_module_free(module);
    pa_sandbox_free(sandbox);
    interpreter_start_fini(&start);
    buffer_fini(&program);
    return result;
}

static int warm(const struct interpreter *interpreter) {
    struct pa_error error = {.status = PA_INTERNAL, .message = "out of memory"};
    if (access(interpreter->module, R_OK) != 0)
        return cli_fail("interpreter %s: cannot read %s: %s", interpreter->name,
                        interpreter->module, strerror(errno));
    uint64_t start_ns = clock_now_ns();
    struct pa_result *result = run_nothing(interpreter, &error);
    int code = 0;
    if (result == NULL) {
        code = cli_fail("interpreter %s: %s", interpreter->name, error.message);
    } else if (result->status != PA_OK || result->exit_code != 0) {
        code = cli_fail("interpreter %s: it does not start: %s", interpreter->name,
                        result->message != NULL ? result->message : result->stderr_data);
    } else {
        (void)printf("%s: %s in %.1f s\n", interpreter->name,
                     result->usage.cache_hit ? "was compiled already; it starts"
                                             : "compiled; it starts",
                     (double)(clock_now_ns() - start_ns) / (double)NS_PER_SECOND);
    }
    pa_result_free(result);
    return code;
}

/* ---- list */

static void show_packages(const json_t *packages) {
    const char *name;
    json_t *ignored;
    size_t column = 100;
    json_object_foreach((json_t *)(uintptr_t)packages, name, ignored) {
        size_t length = strlen(name) + 1;
        if (column + length > 100) {
            (void)printf("\n     ");
            column = 5;
        }
        (void)printf(" %s", name);
        column += length;
    }
    (void)printf("\n");
}

static int list(bool as_json, const struct interpreters *all) {
    if (as_json) {
        json_t *out = json_object();
        for (size_t i = 0; i < all->count; i++)
            (void)json_object_set(out, all->list[i].name, (json_t *)(uintptr_t)all->list[i].entry);
        char *text = json_text(out, JSON_INDENT(2));
        json_decref(out);
        if (text == NULL) return cli_fail("interpreter: out of memory");
        (void)puts(text);
        free(text);
        return 0;
    }
    for (size_t i = 0; i < all->count; i++) {
        const struct interpreter *in = &all->list[i];
        const char *about = json_string_value(json_object_get(in->entry, "about"));
        const char *licence = json_string_value(json_object_get(in->entry, "licence"));
        const json_t *packages = json_object_get(in->entry, "packages");
        (void)printf("%-14s %-11s %-13s %s%s%s%s\n", in->name, in->language->title,
                     !interpreter_is_here(in) ? "not installed"
                     : in->own                ? "your own"
                                              : "installed",
                     about != NULL ? about : "", licence != NULL ? " (" : "",
                     licence != NULL ? licence : "", licence != NULL ? ")" : "");
        if (json_object_size(packages) > 0) show_packages(packages);
    }
    return 0;
}

/* ---- add */

struct addition {
    const char *name, *file, *language, *from, *preload;
    const char *wheels[MAX_WHEELS];
    size_t wheel_count;
    uint64_t memory_bytes; /* 0: as for all */
};

static int copy(const char *from, const char *to) {
    _cleanup_(fd_closep) int in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0) return cli_fail("cannot read %s: %s", from, strerror(errno));
    _cleanup_(fd_closep) int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (out < 0) return cli_fail("cannot write %s: %s", to, strerror(errno));
    int result = fd_copy_all(in, out);
    return result == 0 ? 0 : cli_fail("copy %s: %s", from, strerror(-result));
}

/* NAME-VERSION-...-none-any.whl: the package's name, as it is imported as a rule. */
static int take_wheel(const char *path, const char *folder, json_t *packages) {
    char to[INTERPRETER_PATH_BYTES], name[256];
    const char *slash = strrchr(path, '/'), *file = slash != NULL ? slash + 1 : path;
    size_t length = strlen(file), tail = strlen("-none-any.whl");
    if (length <= tail || strcmp(file + length - tail, "-none-any.whl") != 0)
        return cli_fail("--wheel %s: only pure-Python wheels (...-none-any.whl) can be imported",
                        path);
    (void)snprintf(name, sizeof name, "%.*s", (int)strcspn(file, "-"), file);
    int named = snprintf(to, sizeof to, "%s/%s", folder, file);
    if (named < 0 || (size_t)named >= sizeof to)
        return cli_fail("--wheel %s: the path is too long", path);
    int result = copy(path, to);
    if (result == 0 && json_object_set_new(packages, name, json_string(name)) != 0)
        result = cli_fail("interpreter: out of memory");
    return result;
}

/* Its manifest entry: as another one's, or as the language's are. NULL after an error message. */
static json_t *entry_for(const struct addition *a, const struct interpreters *all) {
    const struct interpreter *like =
        a->from != NULL ? interpreters_find(all, a->from)
                        : interpreters_find(all, a->language != NULL ? a->language : "python");
    if (like == NULL) {
        (void)cli_fail("interpreter: there is no %s to start it as; see polyagent interpreter list",
                       a->from != NULL ? a->from : a->language);
        return NULL;
    }
    json_t *entry = json_deep_copy(like->entry), *preopens, *folder;
    const char *guest;
    (void)json_object_del(entry, "source");
    (void)json_object_del(entry, "files");
    (void)json_object_set_new(entry, "about",
                              json_sprintf("%s%s", a->from != NULL ? "as " : "your own ",
                                           a->from != NULL ? a->from : like->language->title));
    if (a->from != NULL) { /* its files stay where they are */
        (void)json_object_set_new(entry, "module", json_string(like->module));
        preopens = json_object_get(entry, "preopens");
        json_object_foreach(preopens, guest, folder) {
            const char *path = json_string_value(folder);
            if (path[0] != '/')
                (void)json_object_set_new(preopens, guest,
                                          json_sprintf("%s/%s", like->folder, path));
        }
    } else {
        (void)json_object_set_new(entry, "module", json_sprintf("%s.wasm", a->name));
    }
    if (a->preload != NULL) {
        json_t *sets = json_object_get(entry, "preloads"), *modules = json_array();
        interpreter_add_names(modules, a->preload);
        json_t *last = json_array_get(sets, 0);
        if (last != NULL) (void)json_array_extend(last, modules);
        if (last == NULL) (void)json_object_set_new(entry, "preloads", json_pack("[O]", modules));
        json_decref(modules);
    }
    if (a->memory_bytes > 0) {
        json_t *limits = json_object_get(entry, "limits");
        if (limits == NULL) (void)json_object_set_new(entry, "limits", limits = json_object());
        (void)json_object_set_new(limits, "memory_limit_bytes",
                                  json_integer((json_int_t)a->memory_bytes));
    }
    return entry;
}

static int take_wheels(const struct addition *a, const char *own, json_t *entry) {
    char folder[INTERPRETER_PATH_BYTES];
    if (a->wheel_count == 0) return 0;
    (void)snprintf(folder, sizeof folder, "%s/%s", own, a->name);
    if (mkdir(folder, 0755) != 0 && errno != EEXIST)
        return cli_fail("make %s: %s", folder, strerror(errno));
    json_t *packages = json_object_get(entry, "packages"),
           *preopens = json_object_get(entry, "preopens");
    if (packages == NULL) (void)json_object_set_new(entry, "packages", packages = json_object());
    if (preopens == NULL) (void)json_object_set_new(entry, "preopens", preopens = json_object());
    int result = 0;
    for (size_t i = 0; i < a->wheel_count && result == 0; i++)
        result = take_wheel(a->wheels[i], folder, packages);
    if (result == 0 && json_object_set_new(preopens, LANGUAGE_WHEELS, json_string(a->name)) != 0)
        result = cli_fail("interpreter: out of memory");
    return result;
}

static int make_folders(const char *path) {
    char part[INTERPRETER_PATH_BYTES];
    for (const char *slash = strchr(path + 1, '/');; slash = strchr(slash + 1, '/')) {
        (void)snprintf(part, sizeof part, "%.*s",
                       slash != NULL ? (int)(slash - path) : (int)strlen(path), path);
        if (mkdir(part, 0755) != 0 && errno != EEXIST)
            return cli_fail("make %s: %s", part, strerror(errno));
        if (slash == NULL) return 0;
    }
}

static void remove_files(const char *own, const char *name) {
    static const char *const suffixes[] = {".yaml", ".wasm"};
    char path[INTERPRETER_PATH_BYTES];
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        (void)snprintf(path, sizeof path, "%s/%s%s", own, name, suffixes[i]);
        (void)unlink(path);
    }
    (void)snprintf(path, sizeof path, "%s/%s", own, name);
    if (access(path, F_OK) == 0) folder_remove(AT_FDCWD, path);
}

/* JSON is YAML. */
static int write_manifest(const char *path, const char *name, json_t *entry) {
    json_t *manifest = json_pack("{s:O}", name, entry);
    char *text = manifest != NULL ? json_text(manifest, JSON_INDENT(2)) : NULL;
    json_decref(manifest);
    if (text == NULL) return cli_fail("interpreter: out of memory");
    FILE *file = fopen(path, "we");
    bool written = file != NULL && fputs(text, file) >= 0 && fputc('\n', file) != EOF;
    if (file != NULL && fclose(file) != 0) written = false;
    free(text);
    return written ? 0 : cli_fail("cannot write %s: %s", path, strerror(errno));
}

static bool is_name(const char *name) {
    size_t length = strlen(name);
    return length > 0 && length < INTERPRETER_NAME_BYTES && name[0] != '.' && name[0] != '-' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
               length;
}

static int add(const struct addition *a, const struct interpreters *all) {
    char own[INTERPRETER_PATH_BYTES / 2], path[INTERPRETER_PATH_BYTES];
    struct error err = {0};
    struct interpreters again;
    if (!is_name(a->name))
        return cli_fail("interpreter %s: a name has letters, digits and ._- only", a->name);
    if ((a->file == NULL) == (a->from == NULL))
        return cli_fail("interpreter add %s: give a FILE, or --from NAME", a->name);
    if (interpreters_find(all, a->name) != NULL)
        return cli_fail("interpreter %s: there is one of that name; remove it first", a->name);
    if (interpreters_own_folder(own, sizeof own, &err) != 0) return cli_fail("%s", err.text);
    json_t *entry = entry_for(a, all);
    int result = entry != NULL ? make_folders(own) : CLI_EXIT_FAILURE;
    if (result == 0 && a->file != NULL) {
        (void)snprintf(path, sizeof path, "%s/%s.wasm", own, a->name);
        result = copy(a->file, path);
    }
    if (result == 0) result = take_wheels(a, own, entry);
    (void)snprintf(path, sizeof path, "%s/%s.yaml", own, a->name);
    if (result == 0) result = write_manifest(path, a->name, entry);
    json_decref(entry);
    if (result == 0 && interpreters_load(&again, &err) != 0) result = cli_fail("%s", err.text);
    if (result == 0) {
        result = warm(interpreters_find(&again, a->name));
        interpreters_fini(&again);
    }
    if (result != 0 && interpreters_find(all, a->name) == NULL) remove_files(own, a->name);
    return result;
}

static int remove_one(const char *name, const struct interpreters *all) {
    char own[INTERPRETER_PATH_BYTES / 2];
    struct error err = {0};
    const struct interpreter *interpreter = interpreters_find(all, name);
    if (interpreter == NULL) return cli_fail("interpreter %s: there is none of that name", name);
    if (!interpreter->own)
        return cli_fail("interpreter %s: it came with polyagent, and is not yours to remove", name);
    if (interpreters_own_folder(own, sizeof own, &err) != 0) return cli_fail("%s", err.text);
    remove_files(own, name);
    return 0;
}

static int warm_some(char *const *names, int count, const struct interpreters *all) {
    int code = 0;
    for (int i = 0; i < count && code == 0; i++) {
        const struct interpreter *interpreter = interpreters_find(all, names[i]);
        code = interpreter != NULL
                   ? warm(interpreter)
                   : cli_fail("interpreter %s: there is none of that name", names[i]);
    }
    for (size_t i = 0; i < all->count && count == 0 && code == 0; i++) {
        if (interpreter_is_here(&all->list[i])) code = warm(&all->list[i]);
    }
    return code;
}

static int dispatch(const char *verb, int argc, char **argv, struct addition *a, bool as_json,
                    const struct interpreters *all) {
    if (strcmp(verb, "list") == 0 && argc == 0) return list(as_json, all);
    if (strcmp(verb, "warm") == 0) return warm_some(argv, argc, all);
    if (strcmp(verb, "remove") == 0 && argc == 1) return remove_one(argv[0], all);
    if (strcmp(verb, "add") == 0 && (argc == 1 || argc == 2)) {
        a->name = argv[0];
        a->file = argc == 2 ? argv[1] : NULL;
        return add(a, all);
    }
    return cli_fail("interpreter: list, add, remove or warm; see polyagent interpreter --help");
}

int cli_interpreter_main(int argc, char **argv) {
    static const struct option table[] = {{"json", no_argument, NULL, 'j'},
                                          {"manifest", required_argument, NULL, 'm'},
                                          {"language", required_argument, NULL, 'l'},
                                          {"from", required_argument, NULL, 'f'},
                                          {"wheel", required_argument, NULL, 'w'},
                                          {"preload", required_argument, NULL, 'p'},
                                          {"memory", required_argument, NULL, 'M'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    struct addition addition = {.name = NULL};
    struct interpreters all;
    struct error err = {0};
    const char *manifest = NULL;
    bool as_json = false;
    int option, result = 0;
    opterr = 0;
    while (result == 0 && (option = getopt_long(argc, argv, "h", table, NULL)) != -1) {
        switch (option) {
        case 'h': (void)fputs(help, stdout); return 0;
        case 'j': as_json = true; break;
        case 'm': manifest = optarg; break;
        case 'l': addition.language = optarg; break;
        case 'f': addition.from = optarg; break;
        case 'p': addition.preload = optarg; break;
        case 'M': result = cli_size("--memory", optarg, &addition.memory_bytes); break;
        case 'w':
            if (addition.wheel_count == MAX_WHEELS)
                return cli_fail("--wheel: at most %d", MAX_WHEELS);
            addition.wheels[addition.wheel_count++] = optarg;
            break;
        default: return cli_bad_option(argv, "polyagent interpreter", table);
        }
    }
    if (result != 0) return result;
    if (optind >= argc) {
        (void)fputs(help, stderr);
        return CLI_EXIT_FAILURE;
    }
    if ((manifest != NULL ? interpreters_load_file(&all, manifest, &err)
                          : interpreters_load(&all, &err)) != 0)
        return cli_fail("%s", err.text);
    result = dispatch(argv[optind], argc - optind - 1, argv + optind + 1, &addition, as_json, &all);
    interpreters_fini(&all);
    return result;
}

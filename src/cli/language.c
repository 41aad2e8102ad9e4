/* `polyagent python` and `polyagent js`: source in, what the language would have done out. */
#include "cli/cli.h"

#include "base/buffer.h"
#include "tools/interpreter.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_SOURCE_BYTES = 64 << 20 };

/* What differs between them, beside the language itself. */
struct command {
    const struct language *language;
    const char *help, *examples;
};

static const struct command python = {
    &language_python,
    "usage: polyagent python [OPTION]... [-c CODE | FILE | -] [-- ARGUMENT...]\n\n"
    "Runs Python in the sandbox. Its stdin is the program's own, unless the program itself comes "
    "by\n"
    "stdin (-). sys.argv holds the arguments.\n\n",
    "  --python FILE         another python.wasm; also PYTHON_WASI_WASM_PATH\n"
    "  --packages A,B        an interpreter that has these, such as numpy; polyagent interpreter "
    "list\n\n"
    "Examples:\n"
    "  polyagent python -c 'print(2 + 2)'\n"
    "  polyagent python --packages pandas -c 'import pandas; print(pandas.__version__)'\n"
    "  polyagent python --dir .::/data:rw script.py -- --verbose\n"};

static const struct command javascript = {
    &language_javascript,
    "usage: polyagent js [OPTION]... [-c CODE | FILE | -] [-- ARGUMENT...]\n\n"
    "Runs JavaScript in the sandbox, by QuickJS: ES2023 with top-level await, console, std and "
    "os.\n"
    "Its stdin is the program's own, unless the program itself comes by stdin (-). scriptArgs "
    "holds\n"
    "the arguments.\n\n",
    "  --js FILE             another quickjs.wasm\n\n"
    "Examples:\n"
    "  polyagent js -c 'console.log(2 + 2)'\n"
    "  polyagent js --dir .::/data script.js -- --verbose\n"};

static const struct command ruby = {
    &language_ruby,
    "usage: polyagent ruby [OPTION]... [-c CODE | FILE | -] [-- ARGUMENT...]\n\n"
    "Runs Ruby in the sandbox, with its standard library. Its stdin is the program's own, unless "
    "the\n"
    "program itself comes by stdin (-). ARGV holds the arguments.\n\n",
    "  --ruby FILE           another ruby.wasm\n\n"
    "Examples:\n"
    "  polyagent ruby -c 'puts 2 + 2'\n"
    "  polyagent ruby --dir .::/data script.rb -- --verbose\n"};

static int read_source(const char *path, struct buffer *source) {
    int fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return cli_fail("cannot read %s: %s", path, strerror(errno));
    int result = buffer_read_fd(source, fd, MAX_SOURCE_BYTES);
    if (fd != STDIN_FILENO) (void)close(fd);
    if (result == -EFBIG)
        return cli_fail("%s: more than %d bytes of source", path, MAX_SOURCE_BYTES);
    return result == 0 ? 0 : cli_fail("cannot read %s: %s", path, strerror(-result));
}

static int make_job(struct buffer *job, const struct language *language, const struct cli_run *run,
                    const char *code, const char *path, char **rest, int count) {
    struct buffer source = {0};
    struct error err = {0};
    struct program program = {.name = path != NULL && strcmp(path, "-") != 0 ? path : "<code>",
                              .source = code,
                              .source_bytes = code != NULL ? strlen(code) : 0,
                              .argv0 = code != NULL ? "-c" : path,
                              .rest = (const char *const *)rest,
                              .rest_count = (size_t)count,
                              .env = run->env,
                              .env_count = run->job.env_count,
                              .deterministic = run->job.deterministic};
    int result = code != NULL ? 0 : read_source(path, &source);
    if (code == NULL) {
        program.source = source.data;
        program.source_bytes = source.size;
    }
    if (result == 0 && language->job(job, &program, &err) != 0) result = cli_fail("%s", err.text);
    buffer_fini(&source);
    return result;
}

/* What the manifest says of it. */
static int use_known(struct cli_run *run, struct interpreter_start *start) {
    struct pa_limits usual;
    pa_limits_default(&usual);
    if (run->job.mount_count + start->mount_count > CLI_MAX_MOUNTS)
        return cli_fail("--dir: too many");
    interpreter_start_apply(start, &run->job,
                            run->job.limits.memory_limit_bytes != usual.memory_limit_bytes);
    for (size_t i = 0; i < start->mount_count; i++)
        run->mounts[run->job.mount_count++] = start->mounts[i];
    run->warm_argc = start->warm_argc;
    return 0;
}

/* A file of a language that only manifests know how to start. */
static int start_as_known(const struct language *language, struct cli_run *run, const char *file,
                          char wasm[PATH_MAX], struct interpreters *all,
                          struct interpreter_start *start) {
    struct error err = {0};
    if (all->list == NULL && interpreters_load(all, &err) != 0) return cli_fail("%s", err.text);
    const struct interpreter *like = interpreters_choose(all, language, NULL, &err);
    if (like == NULL || file == NULL || interpreter_start_init(start, like, 0, &err) != 0)
        return cli_fail("%s: %s", language->name, err.text);
    (void)snprintf(wasm, PATH_MAX, "%s", file);
    return use_known(run, start);
}

/* One of the manifests, or a file that is named, or that lies where such files do. */
static int find(const struct language *language, struct cli_run *run, const char *file,
                const json_t *packages, char wasm[PATH_MAX], struct interpreters *all,
                struct interpreter_start *start) {
    struct error err = {0};
    const char *variable = language->variable != NULL ? getenv(language->variable) : NULL;
    if (file == NULL && json_array_size(packages) == 0) file = variable;
    if (file == NULL) {
        if (interpreters_load(all, &err) != 0) return cli_fail("%s", err.text);
        const struct interpreter *known = interpreters_choose(all, language, packages, &err);
        if (known != NULL &&
            interpreter_start_init(start, known, interpreter_profile(known, packages), &err) == 0) {
            (void)snprintf(wasm, PATH_MAX, "%s", known->module);
            return use_known(run, start);
        }
        if (json_array_size(packages) > 0) return cli_fail("%s", err.text);
    }
    if (language->argv == NULL && start->argv == NULL)
        return start_as_known(language, run, file, wasm, all, start);
    run->job.argv = language->argv;
    run->job.argc = language->argc;
    run->job.env_count = 0; /* they are in the job */
    run->warm_argc = language->warm_argc;
    if (language_find(language, file, wasm, PATH_MAX)) return 0;
    return cli_fail("%s: no interpreter found; run: make interpreters, or name one by --%s",
                    language->name, language->name);
}

static int execute(const struct command *command, struct cli_run *run, const char *interpreter,
                   const json_t *packages, const char *code, const char *path, char **rest,
                   int count) {
    const struct language *language = command->language;
    char wasm[PATH_MAX];
    struct buffer job = {0}, rehearsal = {0};
    struct interpreter_start start = {.argv = NULL};
    struct error err = {0};
    struct interpreters all = {.list = NULL};
    int result = make_job(&job, language, run, code, path, rest, count);
    if (result == 0) result = find(language, run, interpreter, packages, wasm, &all, &start);
    if (result == 0 && language_rehearsal(language, &rehearsal, &err) != 0) {
        result = cli_fail("%s", err.text);
    }
    if (result == 0) {
        run->job.rehearsal_data = rehearsal.data;
        run->job.rehearsal_bytes = rehearsal.size;
        run->job.job_data = job.data;
        run->job.job_bytes = job.size;
        if (path != NULL && strcmp(path, "-") == 0) run->job.use_stdin_fd = false;
        if (!run->job.use_stdin_fd) run->job.stdin_fd = -1;
        result = cli_execute(run, wasm);
    }
    interpreter_start_fini(&start);
    interpreters_fini(&all);
    buffer_fini(&job);
    buffer_fini(&rehearsal);
    return result;
}

static int run_source(const struct command *command, int argc, char **argv) {
    const struct option options[] = {CLI_RUN_OPTIONS,
                                     {command->language->name, required_argument, NULL, 'P'},
                                     {"packages", required_argument, NULL, 'k'},
                                     {NULL, 0, NULL, 0}};
    struct cli_run run;
    const char *code = NULL, *path = NULL, *interpreter = NULL;
    json_t *packages = json_array();
    int result = cli_run_init(&run), option;
    opterr = 0;
    while (result == 0 && code == NULL &&
           (option = getopt_long(argc, argv, "+hc:", options, NULL)) != -1) {
        if (option == 'h') {
            (void)printf("%s%s%s", command->help, cli_run_options_help, command->examples);
            cli_run_fini(&run);
            json_decref(packages);
            return 0;
        }
        if (option == '?') {
            char name[32];
            (void)snprintf(name, sizeof name, "polyagent %s", command->language->name);
            result = cli_bad_option(argv, name, options);
        } else if (option == 'c') {
            code = optarg; /* as with python3, what follows belongs to the program */
        } else if (option == 'P') {
            interpreter = optarg;
        } else if (option == 'k') {
            interpreter_add_names(packages, optarg);
        } else {
            result = cli_run_option(&run, option, optarg);
        }
    }
    if (result == 0 && code == NULL) {
        if (optind < argc) {
            path = argv[optind++];
        } else if (isatty(STDIN_FILENO)) {
            result = cli_fail("%s: no program given; see polyagent %s --help",
                              command->language->name, command->language->name);
        } else {
            path = "-";
        }
    }
    if (result == 0 && optind < argc && strcmp(argv[optind], "--") == 0) optind++;
    if (result == 0) {
        result =
            execute(command, &run, interpreter, packages, code, path, argv + optind, argc - optind);
    }
    json_decref(packages);
    cli_run_fini(&run);
    return result;
}

int cli_python_main(int argc, char **argv) {
    return run_source(&python, argc, argv);
}

int cli_js_main(int argc, char **argv) {
    return run_source(&javascript, argc, argv);
}

int cli_ruby_main(int argc, char **argv) {
    return run_source(&ruby, argc, argv);
}

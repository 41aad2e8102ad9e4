/* `polyagent run`, and `wasi_hello`, the seed's example. */
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RUN_OPTIONS_HELP \
    "  --dir HOST[::GUEST][:ro|:rw]  show the guest a directory (read-only unless :rw)\n" \
    "  --env NAME=VALUE      set a variable; the guest sees no others\n" \
    "  --stdin FILE          the guest's standard input; default: ours\n" \
    "  --memory SIZE         linear memory, default 256M\n" \
    "  --timeout TIME        wall time, default 30s\n" \
    "  --cpu-time TIME       CPU time, default as the wall time\n" \
    "  --fuel N              instructions; default: not counted\n" \
    "  --output-limit SIZE   each of stdout and stderr, default 1M; 0 = none\n" \
    "  --max-module SIZE     default 50M\n" \
    "  --deterministic[=SEED]  virtual clock, seeded random: the same bytes each time\n" \
    "  --no-clock, --no-random  deny the guest clocks or random numbers\n" \
    "  --stats[=json]        afterwards on stderr: status, times, memory\n" \
    "  --trace               each WASI call on stderr\n" \
    "  --local               do not use a running polyagent serve\n" \
    "  --raw                 a terminal gets all control sequences, not only colours\n"

const char cli_run_options_help[] = RUN_OPTIONS_HELP;

static const char run_help[] =
    "usage: polyagent run [OPTION]... MODULE [-- ARGUMENT...]\n\n"
    "Runs a WASI module (.wasm or .wat; - for stdin) in the sandbox.\n\n" RUN_OPTIONS_HELP
    "  --invoke FUNCTION     call this export instead of _start\n"
    "  --profile FILE        where time goes, for the Firefox profiler; not kept on a timeout\n"
    "  --coredump FILE       after a trap: memory and stack as a wasm core dump\n\n"
    "Exit code: the guest's own; 124 timeout; 125 our own error; 126 module refused;\n"
    "134 trap; 137 memory, 152 fuel, 153 output limit.\n\n"
    "Examples:\n"
    "  polyagent run docs/assets/hello-wasi.wat\n"
    "  polyagent run --dir .::/data --timeout 5s --stats tool.wasm -- /data/input.csv\n";

static const char hello_help[] = "usage: wasi_hello MODULE [STDIN] [-- ARGUMENT...]\n\n"
                                 "Runs a WASI module and prints what it prints. Its standard input "
                                 "is the text STDIN or, without\n"
                                 "it, what comes on ours unless that is a terminal.\n\n"
                                 "Example:\n"
                                 "  echo 'print(\"Test\")' | wasi_hello python.wasm -- -c 'import "
                                 "sys; exec(sys.stdin.read())'\n";

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* argv of the guest: the module's name, then what follows `rest`. `out` is to be freed. */
static const char **guest_argv(const char *module, char **rest, int count, size_t *argc) {
    const char **out = calloc((size_t)count + 2, sizeof *out);
    if (out == NULL) return NULL;
    out[0] = base_name(module);
    for (int i = 0; i < count; i++)
        out[i + 1] = rest[i];
    *argc = (size_t)count + 1;
    return out;
}

static int run_with_argv(struct cli_run *run, const char *module, char **rest, int count) {
    size_t argc;
    const char **argv = guest_argv(module, rest, count, &argc);
    if (argv == NULL) return cli_fail("out of memory");
    run->job.argv = argv;
    run->job.argc = argc;
    int code = cli_execute(run, module);
    free(argv);
    return code;
}

/* Source is no module: the command that runs it is named. */
static int refuse_source(const char *path) {
    static const char *const commands[][2] = {
        {".py", "python"}, {".js", "js"}, {".mjs", "js"}, {".rb", "ruby"}};
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot != NULL && i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(dot, commands[i][0]) != 0) continue;
        (void)cli_fail("run: %s is source, no module; run it by: polyagent %s %s", path,
                       commands[i][1], path);
        return CLI_EXIT_REFUSED;
    }
    return 0;
}

int cli_run_main(int argc, char **argv) {
    static const struct option options[] = {CLI_RUN_OPTIONS,
                                            {"invoke", required_argument, NULL, 'I'},
                                            {"coredump", required_argument, NULL, 'K'},
                                            {"profile", required_argument, NULL, 'p'},
                                            {NULL, 0, NULL, 0}};
    struct cli_run run;
    int code = cli_run_init(&run), option;
    opterr = 0;
    while (code == 0 && (option = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
        if (option == 'h') {
            (void)fputs(run_help, stdout);
            cli_run_fini(&run);
            return 0;
        }
        if (option == '?') {
            code = cli_bad_option(argv, "polyagent run", options);
        } else if (option == 'I') {
            run.job.invoke = optarg;
        } else if (option == 'p') {
            run.profile_path = optarg;
        } else if (option == 'K') {
            run.coredump_path = optarg;
        } else {
            code = cli_run_option(&run, option, optarg);
        }
    }
    if (code == 0 && optind < argc) code = refuse_source(argv[optind]);
    if (code == 0 && optind >= argc) {
        code = cli_fail("run: no module given; try: polyagent run docs/assets/hello-wasi.wat");
    }
    if (code == 0) {
        int rest = optind + 1;
        if (rest < argc && strcmp(argv[rest], "--") == 0) rest++;
        code = run_with_argv(&run, argv[optind], argv + rest, argc - rest);
    }
    cli_run_fini(&run);
    return code;
}

int cli_hello_main(int argc, char **argv) {
    struct cli_run run;
    if (argc >= 2 && strcmp(argv[1], "--help") == 0) {
        (void)fputs(hello_help, stdout);
        return 0;
    }
    if (argc >= 2 && strcmp(argv[1], "--version") == 0) {
        (void)printf("wasi_hello (polyagent) %s\n", PA_VERSION);
        return 0;
    }
    if (argc < 2 || argv[1][0] == '-') {
        return cli_fail("wasi_hello: no module given; see wasi_hello --help");
    }
    int code = cli_run_init(&run);
    if (code != 0) return code;
    int rest = 2;
    if (rest < argc && strcmp(argv[rest], "--") != 0) {
        run.job.stdin_data = argv[rest];
        run.job.stdin_bytes = strlen(argv[rest]);
        rest++;
    } else if (isatty(STDIN_FILENO)) {
        run.job.use_stdin_fd = false;
        run.job.stdin_fd = -1;
    }
    if (rest < argc && strcmp(argv[rest], "--") != 0) {
        return cli_fail("wasi_hello: what is '%s'? Arguments of the module stand behind --",
                        argv[rest]);
    }
    if (rest < argc) rest++;
    return run_with_argv(&run, argv[1], argv + rest, argc - rest);
}

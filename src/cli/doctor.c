/* `polyagent doctor`: what this machine gives. The layers are those that a run really had. */
#include "cli/cli.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "supervisor/socket.h"
#include "tools/interpreter.h"
#include "worker/landlock.h"

#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static const char help[] =
    "usage: polyagent doctor\n\n"
    "Runs a small module and shows which isolation layers were around it, "
    "which of them are required\n"
    "(POLYAGENT_WASI_ISOLATION_REQUIRED), which a server's front has, that "
    "speaks to clients, and the\n"
    "compiler of modules, and what else polyagent finds on this machine. Exit "
    "code 1 if a required\n"
    "layer is missing.\n";

static const char *const meanings[LAYER_COUNT] = {
    "linear memory, typed calls",
    "a process of its own, gone after the run",
    "root inside is nobody outside",
    "an empty, read-only root directory",
    "no other process can be named",
    "no network interfaces",
    "no shared memory or queues of others",
    "a host name of its own",
    "its own view of control groups",
    "memory and processes of all workers bounded together (servers only)",
    "memory, CPU, files, processes bounded by the kernel",
    "exec cannot gain rights",
    "no debugger, no core dump",
    "none of root's powers",
    "a user id for each worker (as root)",
    "no file outside the mounts",
    "few system calls, no new ones"};

static uint32_t mask_of(const struct pa_result *result) {
    uint32_t mask = 0, one;
    struct error err = {0};
    for (size_t i = 0; result->isolation[i] != NULL; i++) {
        if (layers_parse(result->isolation[i], &one, &err) == 0) mask |= one;
    }
    return mask;
}

/* What a run of a module that does nothing had around it. */
static int probe(uint32_t *mask) {
    static const char wat[] = "(module (func (export \"_start\")))";
    struct pa_error error = {0};
    struct pa_job job = {0};
    pa_limits_default(&job.limits);
    struct pa_sandbox *sandbox =
        pa_sandbox_new(&(struct pa_options){.no_cache = true, .keep_warm = true}, &error);
    struct pa_module *module =
        sandbox != NULL ? pa_module_from_bytes(sandbox, wat, sizeof wat - 1, NULL, &error) : NULL;
    struct pa_result *result = module != NULL ? pa_run(sandbox, module, &job) : NULL;
    int code = 0;
    if (result == NULL) {
        code = cli_fail("doctor: %s", error.message);
    } else if (result->status != PA_OK && result->status != PA_DENIED) {
        code = cli_fail("doctor: %s", result->message);
    } else {
        *mask = mask_of(result);
    }
    pa_result_free(result);
    pa_module_free(module);
    pa_sandbox_free(sandbox);
    return code;
}

/* Those of the compiler, which has compiled the probe: it ends if one of them fails (seal.c). */
static uint32_t compiler_layers(void) {
    uint32_t mask = LAYER_PROCESS | LAYER_RLIMITS | LAYER_NO_NEW_PRIVS;
#if !defined(__SANITIZE_ADDRESS__)
    mask |= LAYER_NOT_DUMPABLE | LAYER_NO_CAPABILITIES | LAYER_SECCOMP;
    if (landlock_abi() > 0) mask |= LAYER_LANDLOCK;
#endif
    return mask;
}

/* Starts polyagent-net as a server does, but to seal itself and tell. */
static int ask_front(uint32_t *mask, struct error *err) {
    char program[PATH_MAX];
    int ends[2], status = -1;
    pid_t pid = 0;
    struct buffer text = {0};
    posix_spawn_file_actions_t actions;
    char *const argv[] = {"polyagent-net", "layers", NULL};
    if (supervisor_find_net(program, sizeof program, err) != 0) return -1;
    if (pipe2(ends, O_CLOEXEC) != 0) return error_set_errno(err, PA_INTERNAL, errno, "pipe");
    int result = posix_spawn_file_actions_init(&actions);
    if (result == 0) {
        result = posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
        if (result == 0) result = posix_spawn(&pid, program, &actions, NULL, argv, environ);
        (void)posix_spawn_file_actions_destroy(&actions);
    }
    (void)close(ends[1]);
    if (result == 0) result = -buffer_read_fd(&text, ends[0], PATH_MAX);
    (void)close(ends[0]);
    if (pid > 0) (void)waitpid(pid, &status, 0);
    char *names = (char *)text.data;
    for (size_t i = 0; i < text.size; i++) /* a name a line */
        if (names[i] == '\n') names[i] = i + 1 < text.size ? ',' : 0;
    if (result != 0)
        error_set_errno(err, PA_INTERNAL, result, "start %s", program);
    else if (status != 0 || names == NULL || layers_parse(names, mask, err) != 0)
        result = error_set(err, PA_INTERNAL, "%s cannot seal itself", program);
    buffer_fini(&text);
    return result == 0 ? 0 : -1;
}

/* Those of the manifests. */
static void show_interpreters(void) {
    struct interpreters all;
    struct error err = {0};
    if (interpreters_load(&all, &err) != 0) {
        (void)printf("interpreters  %s\n", err.text);
        return;
    }
    (void)printf("interpreters ");
    for (size_t i = 0; i < all.count; i++)
        (void)printf(" %s%s", all.list[i].name,
                     interpreter_is_here(&all.list[i]) ? "" : " (not installed)");
    (void)printf("%s\n", all.count == 0 ? " none; run: make interpreters" : "");
    interpreters_fini(&all);
}

static void show_machine(void) {
    struct utsname name;
    struct rlimit files = {0};
    struct error err = {0};
    char path[PATH_MAX];
    (void)uname(&name);
    (void)getrlimit(RLIMIT_NOFILE, &files);
    (void)printf("\nkernel        %s %s, Landlock ABI %d, %ld processors\n", name.sysname,
                 name.release, landlock_abi(), sysconf(_SC_NPROCESSORS_ONLN));
    (void)printf("open files    %llu\n", (unsigned long long)files.rlim_cur);
    show_interpreters();
    (void)printf("python        %s\n", language_find(&language_python, NULL, path, sizeof path)
                                           ? path
                                           : "none; run: make interpreters");
    if (supervisor_find_helper(NULL, path, sizeof path, &err) == 0) {
        (void)printf("worker        %s%s\n", path, access(path, X_OK) == 0 ? "" : " (missing)");
    }
    if (socket_default_path(path, &err) == 0) {
        (void)printf("socket        %s%s\n", path,
                     access(path, F_OK) == 0 ? "" : " (no server; start one by polyagent serve)");
    }
}

int cli_doctor_main(int argc, char **argv) {
    struct layer_policy policy;
    struct error err = {0};
    uint32_t mask = 0;
    if (argc > 1) {
        bool asked = strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0;
        if (!asked) return cli_fail("doctor: what is '%s'? See polyagent doctor --help", argv[1]);
        (void)fputs(help, stdout);
        return 0;
    }
    if (layer_policy_default(&policy, &err) != 0) return cli_fail("doctor: %s", err.text);
    int code = probe(&mask);
    if (code != 0) return code;
    uint32_t front = 0, compiler = compiler_layers();
    bool told = ask_front(&front, &err) == 0;
    (void)printf("%-18s %-9s %-9s %-6s %-9s\n", "layer", "in force", "required", "front",
                 "compiler");
    for (unsigned i = 0; i < LAYER_COUNT; i++) {
        bool on = mask >> i & 1, required = policy.required >> i & 1;
        bool of_front = LAYERS_OF_SERVICES >> i & 1;
        (void)printf("%-18s %-9s %-9s %-6s %-9s %s\n", layer_name(i), on ? "yes" : "no",
                     required ? (on ? "yes" : "MISSING") : "-",
                     !told || !of_front     ? "-"
                     : front >> i & 1       ? "yes"
                     : required && of_front ? "MISSING"
                                            : "no",
                     compiler >> i & 1 ? "yes" : "-", meanings[i]);
    }
    show_machine();
    if (!told) (void)printf("front         %s\n", err.text);
    uint32_t missing = policy.required & ~mask;
    if (told) missing |= policy.required & LAYERS_OF_SERVICES & ~front;
    if (missing == 0) return 0;
    char names[300];
    layers_format(missing, names, sizeof names);
    (void)cli_fail("doctor: required, but not in force: %s", names);
    return 1;
}

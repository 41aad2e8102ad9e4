/* `polyagent doctor`: what this machine gives. The layers are those that a run really had. */
#include "cli/cli.h"

#include "supervisor/socket.h"
#include "tools/interpreter.h"
#include "worker/landlock.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

static const char help[] = "usage: polyagent doctor\n\n"
                           "Runs a small module and shows which isolation layers were around it, "
                           "which of them are required\n"
                           "(POLYAGENT_WASI_ISOLATION_REQUIRED), and what else polyagent finds on "
                           "this machine. Exit code 1\n"
                           "if a required layer is missing.\n";

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
    (void)printf("%-18s %-9s %-9s %s\n", "layer", "in force", "required", "");
    for (unsigned i = 0; i < LAYER_COUNT; i++) {
        bool on = mask >> i & 1, required = policy.required >> i & 1;
        (void)printf("%-18s %-9s %-9s %s\n", layer_name(i), on ? "yes" : "no",
                     required ? (on ? "yes" : "MISSING") : "-", meanings[i]);
    }
    show_machine();
    uint32_t missing = policy.required & ~mask;
    if (missing == 0) return 0;
    char names[300];
    layers_format(missing, names, sizeof names);
    (void)cli_fail("doctor: required, but not in force: %s", names);
    return 1;
}

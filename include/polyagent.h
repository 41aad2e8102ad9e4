/* polyagent: run WebAssembly that nobody trusts, and learn exactly what happened.
 *
 * The life of a run:
 *
 *     struct pa_sandbox *sandbox = pa_sandbox_new(NULL, &error);
 *     struct pa_module *module = pa_module_open(sandbox, "hello.wasm", NULL, &error);
 *     struct pa_result *result = pa_run(sandbox, module, &job);
 *     ... result->status, result->exit_code, result->stdout_data ...
 *     pa_result_free(result); pa_module_free(module); pa_sandbox_free(sandbox);
 *
 * Ownership: what a *_new, *_open or pa_run call returns is the caller's, to be released by the
 * *_free function of its type. Pointers inside a struct that the caller fills stay the caller's and
 * must live until the call returns. Strings are UTF-8 and NUL-terminated unless a size stands
 * beside.
 *
 * Threads: a sandbox and its modules belong to one thread at a time; different sandboxes are
 * independent. There is no global state, but for the handlers of SIGSEGV, SIGILL, SIGFPE and SIGBUS
 * that the engine sets when it first starts: traps arrive as signals. Do not replace them
 * afterwards.
 */
#ifndef POLYAGENT_H
#define POLYAGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PA_VERSION "0.1.0"

/* How a run, or a call of this library, ended. pa_status_name() gives the name used in JSON. */
enum pa_status {
    PA_OK = 0,           /* the guest ended by itself; pa_result.exit_code tells how */
    PA_TIMEOUT,          /* wall time or CPU time is used up */
    PA_MEMORY_LIMIT,     /* the guest needed more memory than its limit, and failed for it */
    PA_FUEL_EXHAUSTED,   /* all fuel is burnt */
    PA_OUTPUT_LIMIT,     /* stdout or stderr passed its cap and output_truncate is off */
    PA_TRAP,             /* the guest broke a rule of WebAssembly */
    PA_MODULE_TOO_LARGE, /* larger than max_module_bytes */
    PA_INVALID_MODULE,   /* not a WebAssembly module that we can run */
    PA_INVALID_ARGUMENT, /* the caller asked for something impossible */
    PA_NOT_FOUND,        /* no such file, interpreter ... */
    PA_DENIED,           /* not allowed to read it */
    PA_OVERLOADED,       /* try again later */
    PA_INTERNAL          /* our own fault, or the host's */
};

/* "OK", "TIMEOUT" ...; never NULL. Thread-safe. */
const char *pa_status_name(enum pa_status status);

/* Why a call failed. `message` is one line: what failed, why, what to do. */
struct pa_error {
    enum pa_status status;
    char message[1024];
};

/* Bounds of one run. pa_limits_default() fills in the defaults; 0 means "no limit" where said. */
struct pa_limits {
    uint64_t memory_limit_bytes;   /* linear memory; default 256 MiB; at most 4 GiB */
    uint64_t max_fuel;             /* default 0: not counted. Else instructions, about one each */
    uint64_t execution_timeout_ms; /* wall time; default 30000; 0 = none */
    uint64_t cpu_time_ms;          /* CPU time; default 0: as the wall time */
    uint64_t max_module_bytes;     /* default 50 MiB; read by pa_module_open only */
    uint64_t output_limit_bytes;   /* default 1 MiB for each of stdout and stderr; 0 = none */
    uint32_t max_open_files;       /* default 256, stdio and mounts included; at most 65536 */
    uint64_t workspace_bytes;      /* default 256 MiB: growth of all writable mounts together */
    uint64_t workspace_inodes;     /* default 10000: new files and directories, likewise */
    uint32_t table_elements;       /* default 1000000 in each table */
};

void pa_limits_default(struct pa_limits *limits);

/* How far a run stands from the calling process. */
enum pa_isolation {
    /* A fresh process behind the kernel's isolation layers, killed at its deadline. It is no fork
     * of the caller: none of the caller's memory is in it, and the caller may have threads. */
    PA_ISOLATION_PROCESS = 0,
    /* In the calling thread, bounded by checks in the compiled code: 10 times cheaper to start for
     * tiny modules, but a defect of the engine would reach the caller. */
    PA_ISOLATION_NONE
};

/* A host directory that the guest sees. */
struct pa_mount {
    const char *host_path;  /* an existing directory */
    const char *guest_path; /* what the guest calls it, e.g. "/data" */
    bool writable;
    bool fixed; /* part of an interpreter, which sees it before there is a job; never writable */
};

/* The layers of isolation around a process run are all those that the kernel gives. Those without
 * which nothing runs are seccomp, no_new_privs, rlimits and, where the kernel has it, landlock;
 * POLYAGENT_WASI_ISOLATION_REQUIRED names others. */

/* One run. Zero-initialise it, set `limits` by pa_limits_default(), then what you need. */
struct pa_job {
    const char *const *argv; /* argv[0] is the program's name */
    size_t argc;
    const char *const *env; /* "NAME=value" */
    size_t env_count;

    const void *stdin_data; /* the guest's standard input, if not NULL ... */
    size_t stdin_bytes;
    int stdin_fd; /* ... else this descriptor if > 0 or `use_stdin_fd`; else empty */
    bool use_stdin_fd;

    /* Bytes that the guest reads from its standard input before all else, NULL = none: how an
     * interpreter's bootstrap gets its program. No single read crosses from them to stdin. */
    const void *job_data;
    size_t job_bytes;
    /* What the guest writes to its standard input goes to this descriptor if > 0, 32 MiB of it: how
     * a bootstrap answers its job. */
    int answer_fd;

    /* A job for practice, NULL = none: when an interpreter is started to stay (keep_warm), it does
     * this one in a throw-away copy, and the memory that this touches is made ready ahead in all
     * others. It must be nobody's secret. */
    const void *rehearsal_data;
    size_t rehearsal_bytes;

    /* Output goes to these descriptors as it is written when `use_output_fds`; else it is kept in
     * the result. */
    int stdout_fd;
    int stderr_fd;
    bool use_output_fds;
    bool output_truncate; /* past the cap: drop the rest and go on, instead of ending the run */

    const struct pa_mount *mounts;
    size_t mount_count;

    /* Exported function without parameters to call; NULL = "_start". `_initialize` comes before
     * another one, where the module exports that (a reactor). Several are called one after another
     * where they stand on a line each; one with a tab and "argv" behind its name gets all arguments
     * but the last, with "last" that one, as texts (the canonical ABI, by cabi_realloc). */
    const char *invoke;
    bool wasm_exceptions; /* the module may use WebAssembly's exception handling */
    bool
        stub_imports; /* imports that do not exist here trap when they are called, and not before */
    bool deny_clock;  /* clocks answer NOTCAPABLE */
    bool deny_random; /* random_get answers NOTCAPABLE */
    bool deterministic; /* virtual clock, seeded random, canonical NaNs: same job, same bytes */
    uint64_t seed;      /* of the deterministic random numbers */
    int profile_fd;     /* samples for the Firefox profiler go here if > 0; in a process only */
    int coredump_fd;    /* a wasm core dump goes here after a trap, if > 0 */
    int trace_fd;       /* one line for each WASI call goes here if > 0 */

    enum pa_isolation isolation;
    struct pa_limits limits;
};

struct pa_usage {
    double wall_ms;  /* from pa_run's start to the guest's end */
    double cpu_ms;   /* of the guest's process, or thread */
    double start_ms; /* from pa_run's start to the guest's first instruction of the job */
    double queue_ms; /* of that, until a worker was at hand */
    uint64_t fuel;   /* burnt; 0 unless max_fuel was set */
    uint64_t peak_memory_bytes; /* largest linear memory */
    uint64_t stdout_bytes;      /* written by the guest, dropped ones included */
    uint64_t stderr_bytes;
    bool cache_hit; /* the compiled module came from the cache */
};

struct pa_result {
    enum pa_status status;
    int exit_code;     /* of the guest, 0 if it was stopped */
    char *message;     /* why the status is not PA_OK, begins as the contract says; else NULL */
    char *backtrace;   /* wasm backtrace of a trap, one frame a line; else NULL */
    char *stdout_data; /* NULL when use_output_fds; else stdout_size bytes and a NUL */
    size_t stdout_size;
    char *stderr_data;
    size_t stderr_size;
    bool stdout_truncated;
    bool stderr_truncated;
    struct pa_usage usage;
    const char *isolation[24]; /* layers that were in force, e.g. "seccomp"; NULL-terminated */
    char module_sha256[65];
};

/* How to make a sandbox; all may be 0. */
struct pa_options {
    const char *cache_dir; /* of compiled modules; NULL: $POLYAGENT_CACHE_DIR or the user's own */
    const char *helper; /* polyagent-worker, which compiles and runs; NULL: $POLYAGENT_HELPER, the
                           one beside the program, or the installed one */
    bool no_cache;
    /* Keeps interpreters (jobs with job_data) started between runs, and forks them: the first run
     * takes longer, those after it a fraction of a millisecond to start. */
    bool keep_warm;
    /* Of compiling a module: wall time, 0: 30 minutes; processor time, 0: by the module's size (20
     * s, and 6 s a MiB). */
    uint64_t compile_timeout_ms;
    uint64_t compile_cpu_ms;
};

/* NULL on failure, with `error` filled in (which may be NULL). */
struct pa_sandbox *pa_sandbox_new(const struct pa_options *options, struct pa_error *error);
void pa_sandbox_free(struct pa_sandbox *sandbox);

/* Opens a .wasm or .wat file, or the `size` bytes of one. It is compiled when it runs first in some
 * variant (with fuel, deterministic ...), in a process of its own, and kept in the cache.
 * `limits` (NULL = defaults) bounds its size. NULL on failure. */
struct pa_module *pa_module_open(struct pa_sandbox *sandbox, const char *path,
                                 const struct pa_limits *limits, struct pa_error *error);
struct pa_module *pa_module_from_bytes(struct pa_sandbox *sandbox, const void *data, size_t size,
                                       const struct pa_limits *limits, struct pa_error *error);
void pa_module_free(struct pa_module *module);

/* Runs it to its end and says what happened. NULL only when memory runs out. */
struct pa_result *pa_run(struct pa_sandbox *sandbox, struct pa_module *module,
                         const struct pa_job *job);
void pa_result_free(struct pa_result *result);

#ifdef __cplusplus
}
#endif
#endif

/* The public API: from a job to a result. */
#include "base/cleanup.h"
#include "base/clock.h"
#include "embed/watchdog.h"
#include "sandbox/module.h"
#include "worker/worker.h"

#include <fcntl.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/stat.h>

enum { DEFAULT_COMPILE_TIMEOUT_MS = 180000, HOST_STACK_BYTES = 512 << 10 };

struct pa_sandbox {
    struct engine *engines[ENGINE_VARIANTS]; /* owned; made when first needed */
    struct cache cache;
    char helper[4096];
    uint64_t compile_timeout_ms;
    struct watchdog watchdog;
    const char *stack_low; /* of the thread that ran last; NULL: none yet */
    pthread_t stack_owner;
};

const char *pa_status_name(enum pa_status status) {
    static const char *const names[] = {
        "OK",     "TIMEOUT",          "MEMORY_LIMIT",   "FUEL_EXHAUSTED",   "OUTPUT_LIMIT",
        "TRAP",   "MODULE_TOO_LARGE", "INVALID_MODULE", "INVALID_ARGUMENT", "NOT_FOUND",
        "DENIED", "OVERLOADED",       "INTERNAL"};
    return (unsigned)status < sizeof names / sizeof *names ? names[status] : "INTERNAL";
}

void pa_limits_default(struct pa_limits *limits) {
    *limits = (struct pa_limits){.memory_limit_bytes = UINT64_C(256) << 20,
                                 .execution_timeout_ms = 30000,
                                 .max_module_bytes = UINT64_C(50) << 20,
                                 .output_limit_bytes = UINT64_C(1) << 20,
                                 .max_open_files = 256,
                                 .workspace_bytes = UINT64_C(256) << 20,
                                 .workspace_inodes = 10000,
                                 .table_elements = 1000000};
}

static void give_error(const struct error *err, struct pa_error *out) {
    if (out == NULL) return;
    out->status = err->code;
    (void)snprintf(out->message, sizeof out->message, "%s", err->text);
}

/* The program that compiles: named by the caller, by the environment, ourselves, or the installed.
 */
static int find_helper(struct pa_sandbox *sandbox, const struct pa_options *options,
                       struct error *err) {
    char self[sizeof sandbox->helper];
    const char *helper = options->helper != NULL ? options->helper : getenv("POLYAGENT_HELPER");
    if (helper == NULL) {
        ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
        self[length > 0 ? length : 0] = 0;
        const char *slash = strrchr(self, '/');
        bool ours = slash != NULL && strcmp(slash + 1, "polyagent") == 0;
        helper = ours ? self : PA_INSTALLED_HELPER;
    }
    size_t length = strlen(helper);
    if (length == 0 || length >= sizeof sandbox->helper) {
        return error_set(err, PA_INVALID_ARGUMENT, "helper: its name is empty or too long");
    }
    memcpy(sandbox->helper, helper, length + 1);
    return 0;
}

struct pa_sandbox *pa_sandbox_new(const struct pa_options *options, struct pa_error *error) {
    const struct pa_options defaults = {0};
    struct error err = {0};
    if (options == NULL) options = &defaults;
    struct pa_sandbox *sandbox = calloc(1, sizeof *sandbox);
    int result = sandbox != NULL ? 0 : error_set(&err, PA_INTERNAL, "sandbox: out of memory");
    if (result == 0) {
        sandbox->cache.dir_fd = -1;
        sandbox->compile_timeout_ms = options->compile_timeout_ms > 0 ? options->compile_timeout_ms
                                                                      : DEFAULT_COMPILE_TIMEOUT_MS;
        result = find_helper(sandbox, options, &err);
    }
    if (result == 0) {
        result = options->no_cache
                     ? (sodium_init() < 0 ? error_set(&err, PA_INTERNAL, "libsodium") : 0)
                     : cache_open(&sandbox->cache, options->cache_dir, &err);
    }
    if (result == 0) return sandbox;
    give_error(&err, error);
    pa_sandbox_free(sandbox);
    return NULL;
}

void pa_sandbox_free(struct pa_sandbox *sandbox) {
    if (sandbox == NULL) return;
    watchdog_fini(&sandbox->watchdog);
    for (int i = 0; i < ENGINE_VARIANTS; i++)
        engine_free(sandbox->engines[i]);
    cache_close(&sandbox->cache);
    free(sandbox);
}

static struct pa_module *module_made(struct pa_module *module, int result, const struct error *err,
                                     struct pa_error *error) {
    if (result == 0) return module;
    give_error(err, error);
    free(module);
    return NULL;
}

static uint64_t max_module_bytes(const struct pa_limits *limits) {
    struct pa_limits defaults;
    pa_limits_default(&defaults);
    return limits != NULL ? limits->max_module_bytes : defaults.max_module_bytes;
}

struct pa_module *pa_module_open(struct pa_sandbox *sandbox, const char *path,
                                 const struct pa_limits *limits, struct pa_error *error) {
    struct error err = {.code = PA_INTERNAL, .text = "module: out of memory"};
    struct pa_module *module = malloc(sizeof *module);
    int result = module == NULL ? -1
                                : module_open_file(module, &sandbox->cache, path,
                                                   max_module_bytes(limits), &err);
    return module_made(module, result, &err, error);
}

struct pa_module *pa_module_from_bytes(struct pa_sandbox *sandbox, const void *data, size_t size,
                                       const struct pa_limits *limits, struct pa_error *error) {
    struct error err = {.code = PA_INTERNAL, .text = "module: out of memory"};
    struct pa_module *module = malloc(sizeof *module);
    (void)sandbox;
    int result =
        module == NULL ? -1 : module_copy(module, data, size, max_module_bytes(limits), &err);
    return module_made(module, result, &err, error);
}

void pa_module_free(struct pa_module *module) {
    if (module == NULL) return;
    module_fini(module);
    free(module);
}

static struct engine *engine_for(struct pa_sandbox *sandbox, const struct pa_job *job,
                                 struct error *err) {
    unsigned variant =
        (job->limits.max_fuel > 0 ? ENGINE_FUEL : 0) |
        (job->isolation == PA_ISOLATION_NONE || job->profile_fd > 0 ? ENGINE_EPOCH : 0) |
        (job->deterministic ? ENGINE_DETERMINISTIC : 0);
    if (sandbox->engines[variant] == NULL) sandbox->engines[variant] = engine_new(variant, err);
    return sandbox->engines[variant];
}

/* The engine takes ENGINE_WASM_STACK_BYTES of the thread's stack, and the host calls some more.
 * Where the stack ends is remembered for the thread: glibc reads /proc/self/maps to find out. */
static int check_stack(struct pa_sandbox *sandbox, struct error *err) {
    char here;
    if (sandbox->stack_low == NULL || !pthread_equal(sandbox->stack_owner, pthread_self())) {
        pthread_attr_t attr;
        void *low = NULL;
        size_t size = 0;
        if (pthread_getattr_np(pthread_self(), &attr) != 0) {
            return error_set(err, PA_INTERNAL, "cannot find the thread's stack");
        }
        (void)pthread_attr_getstack(&attr, &low, &size);
        (void)pthread_attr_destroy(&attr);
        sandbox->stack_low = low;
        sandbox->stack_owner = pthread_self();
    }
    if ((size_t)(&here - sandbox->stack_low) > ENGINE_WASM_STACK_BYTES + HOST_STACK_BYTES) return 0;
    return error_set(err, PA_INVALID_ARGUMENT,
                     "the thread's stack is too small: 3 MiB must be free; run: ulimit -s 8192");
}

static int check_job(struct pa_sandbox *sandbox, const struct pa_job *job, struct error *err) {
    if (job->limits.memory_limit_bytes == 0 || job->limits.max_open_files < 3) {
        return error_set(err, PA_INVALID_ARGUMENT,
                         "limits: memory and open files need values; call pa_limits_default()");
    }
    if (job->profile_fd > 0 && job->isolation == PA_ISOLATION_NONE) {
        return error_set(err, PA_INVALID_ARGUMENT, "profile: only of a run in its own process");
    }
    for (size_t i = 0; i < job->mount_count; i++) {
        if (job->mounts[i].guest_path[0] == 0) {
            return error_set(err, PA_INVALID_ARGUMENT, "mount %s: the guest's name for it is empty",
                             job->mounts[i].host_path);
        }
    }
    return check_stack(sandbox, err);
}

/* A guest that can write to the cache could plant native code there. */
static int check_mount(const struct pa_sandbox *sandbox, const struct pa_mount *mount, int fd,
                       struct error *err) {
    char real[PATH_MAX], cache[PATH_MAX], link[32];
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (!mount->writable || sandbox->cache.dir_fd < 0) return 0;
    if (realpath(link, real) == NULL || realpath(sandbox->cache.path, cache) == NULL) {
        return error_set_errno(err, PA_INTERNAL, errno, "mount %s", mount->host_path);
    }
    size_t r = strlen(real), c = strlen(cache);
    bool above = strncmp(cache, real, r) == 0 && (cache[r] == '/' || cache[r] == 0 || r == 1);
    bool below = strncmp(real, cache, c) == 0 && real[c] == '/';
    if (!above && !below) return 0;
    return error_set(err, PA_DENIED,
                     "mount %s: it holds the cache of compiled modules, %s; mount it read-only, or "
                     "move the cache by POLYAGENT_CACHE_DIR",
                     mount->host_path, cache);
}

static int open_mounts(const struct pa_sandbox *sandbox, const struct pa_job *job,
                       struct wasi_mount_config *mounts, struct error *err) {
    for (size_t i = 0; i < job->mount_count; i++) {
        const struct pa_mount *mount = &job->mounts[i];
        int fd = open(mount->host_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0) {
            enum pa_status status = errno == ENOENT ? PA_NOT_FOUND : PA_DENIED;
            return error_set_errno(err, status, errno, "mount %s", mount->host_path);
        }
        mounts[i] = (struct wasi_mount_config){
            .guest_path = mount->guest_path, .dir_fd = fd, .writable = mount->writable};
        if (check_mount(sandbox, mount, fd, err) != 0) return -1;
    }
    return 0;
}

static int run_here(struct pa_sandbox *sandbox, struct engine *engine,
                    const wasmtime_module_t *code, const struct pa_job *job,
                    const struct wasi_mount_config *mounts, struct buffer captured[2],
                    uint64_t deadline_ns, struct run_report *report, struct error *err) {
    const int fds[2] = {job->stdout_fd, job->stderr_fd};
    int result =
        watchdog_arm(&sandbox->watchdog, engine->wasm, deadline_ns, job->limits.cpu_time_ms, err);
    if (result != 0) return result;
    run_module(engine, code, job, mounts, fds, job->use_output_fds ? NULL : captured, deadline_ns,
               report);
    watchdog_disarm(&sandbox->watchdog);
    return 0;
}

static int run_job(struct pa_sandbox *sandbox, struct pa_module *module, const struct pa_job *job,
                   struct buffer captured[2], struct run_report *report, struct error *err) {
    if (check_job(sandbox, job, err) != 0) return -1;
    struct engine *engine = engine_for(sandbox, job, err);
    if (engine == NULL) return -1;
    const wasmtime_module_t *code = module_code(module, engine, &sandbox->cache, sandbox->helper,
                                                sandbox->compile_timeout_ms, err);
    if (code == NULL) return -1;
    struct wasi_mount_config *mounts = calloc(job->mount_count + 1, sizeof *mounts);
    if (mounts == NULL) return error_set(err, PA_INTERNAL, "mounts: out of memory");
    for (size_t i = 0; i < job->mount_count; i++)
        mounts[i].dir_fd = -1;
    int result = open_mounts(sandbox, job, mounts, err);
    if (result == 0) {
        /* Compiling has bounds of its own: the run's time starts here. */
        uint64_t deadline_ns = clock_deadline_ns(job->limits.execution_timeout_ms);
        result =
            job->isolation == PA_ISOLATION_PROCESS
                ? worker_run(engine, code, job, mounts, captured, deadline_ns, report, err)
                : run_here(sandbox, engine, code, job, mounts, captured, deadline_ns, report, err);
    }
    for (size_t i = 0; i < job->mount_count; i++)
        fd_closep(&mounts[i].dir_fd);
    free(mounts);
    return result;
}

static double ms_between(uint64_t from_ns, uint64_t to_ns) {
    return to_ns > from_ns ? (double)(to_ns - from_ns) / (double)NS_PER_MS : 0;
}

static void fill_usage(struct pa_result *result, const struct run_report *report,
                       uint64_t start_ns) {
    result->usage.wall_ms = ms_between(start_ns, report->ended_ns);
    result->usage.start_ms = ms_between(start_ns, report->started_ns);
    result->usage.cpu_ms = (double)report->cpu_ns / (double)NS_PER_MS;
    result->usage.fuel = report->fuel;
    result->usage.peak_memory_bytes = report->peak_memory_bytes;
    result->usage.stdout_bytes = report->output[0].bytes;
    result->usage.stderr_bytes = report->output[1].bytes;
    result->stdout_truncated = report->output[0].truncated;
    result->stderr_truncated = report->output[1].truncated;
}

struct pa_result *pa_run(struct pa_sandbox *sandbox, struct pa_module *module,
                         const struct pa_job *job) {
    uint64_t start_ns = clock_now_ns();
    struct error err = {0};
    struct pa_result *result = calloc(1, sizeof *result);
    struct run_report *report = calloc(1, sizeof *report);
    struct buffer captured[2] = {{0}, {0}};
    if (result == NULL || report == NULL) {
        free(result);
        free(report);
        return NULL;
    }
    if (run_job(sandbox, module, job, captured, report, &err) != 0) {
        report->status = err.code;
        report->ended_ns = clock_now_ns();
        (void)snprintf(report->message, sizeof report->message, "%s", err.text);
    } else {
        result->isolation[0] = "wasm";
        result->isolation[1] = job->isolation == PA_ISOLATION_PROCESS ? "process" : NULL;
    }
    result->status = report->status;
    result->exit_code = report->exit_code;
    fill_usage(result, report, start_ns);
    result->usage.cache_hit = module->cache_hit;
    (void)sodium_bin2hex(result->module_sha256, sizeof result->module_sha256, module->digest, 32);
    bool ok = true;
    if (result->status != PA_OK) ok = (result->message = strdup(report->message)) != NULL;
    if (ok && report->backtrace[0] != 0) {
        ok = (result->backtrace = strdup(report->backtrace)) != NULL;
    }
    if (!job->use_output_fds) { /* an empty append makes the NUL */
        ok = ok && buffer_append(&captured[0], "", 0) == 0 &&
             buffer_append(&captured[1], "", 0) == 0;
        result->stdout_size = captured[0].size;
        result->stdout_data = (char *)steal_ptr(captured[0].data);
        result->stderr_size = captured[1].size;
        result->stderr_data = (char *)steal_ptr(captured[1].data);
    }
    buffer_fini(&captured[0]);
    buffer_fini(&captured[1]);
    free(report);
    if (ok) return result;
    pa_result_free(result);
    return NULL;
}

void pa_result_free(struct pa_result *result) {
    if (result == NULL) return;
    free(result->message);
    free(result->backtrace);
    free(result->stdout_data);
    free(result->stderr_data);
    free(result);
}

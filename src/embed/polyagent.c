/* The public API: from a job to a result. */
#include "base/cleanup.h"
#include "base/clock.h"
#include "embed/watchdog.h"
#include "sandbox/module.h"
#include "supervisor/supervisor.h"

#include <fcntl.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/stat.h>

enum { HOST_STACK_BYTES = 512 << 10 };

struct pa_sandbox {
    struct engine *engines[ENGINE_VARIANTS]; /* owned; made when first needed */
    struct cache cache;
    char helper[4096];
    struct compiler_bounds compile;
    struct watchdog watchdog;      /* of runs in this process */
    sd_event *event;               /* owned; both made when a run first needs a process */
    struct supervisor *supervisor; /* owned */
    bool keep_warm;
    const char *stack_low; /* of the thread that ran last; NULL: none yet */
    pthread_t stack_owner;
};

/* What became of a run, before it is a result. */
struct outcome {
    struct run_report report;
    struct buffer captured[2]; /* owned */
    uint32_t layers;
    uint64_t dispatched_ns;
    bool cache_hit;
    bool done;
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

struct pa_sandbox *pa_sandbox_new(const struct pa_options *options, struct pa_error *error) {
    const struct pa_options defaults = {0};
    struct error err = {0};
    if (options == NULL) options = &defaults;
    struct pa_sandbox *sandbox = calloc(1, sizeof *sandbox);
    int result = sandbox != NULL ? 0 : error_set(&err, PA_INTERNAL, "sandbox: out of memory");
    if (result == 0) {
        sandbox->cache.dir_fd = -1;
        sandbox->compile = (struct compiler_bounds){.wall_ms = options->compile_timeout_ms,
                                                    .cpu_ms = options->compile_cpu_ms};
        sandbox->keep_warm = options->keep_warm;
        result =
            supervisor_find_helper(options->helper, sandbox->helper, sizeof sandbox->helper, &err);
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
    supervisor_free(sandbox->supervisor);
    sd_event_unref(sandbox->event);
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
        engine_variant(job->limits.max_fuel > 0, true, job->wasm_exceptions, job->deterministic);
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

static int check_job(const struct pa_job *job, struct error *err) {
    if (job->limits.memory_limit_bytes == 0 || job->limits.max_open_files < 3) {
        return error_set(err, PA_INVALID_ARGUMENT,
                         "limits: memory and open files need values; call pa_limits_default()");
    }
    if (job->profile_fd > 0 && job->isolation == PA_ISOLATION_NONE) {
        return error_set(err, PA_INVALID_ARGUMENT, "profile: only of a run in its own process");
    }
    return 0;
}

/* In the calling thread. */
static int run_here(struct pa_sandbox *sandbox, struct pa_module *module, const struct pa_job *job,
                    const struct packet *packet, struct outcome *outcome, struct error *err) {
    struct wasi_mount_config mounts[PACKET_MAX_MOUNTS];
    struct engine *engine = check_stack(sandbox, err) == 0 ? engine_for(sandbox, job, err) : NULL;
    if (engine == NULL) return -1;
    const wasmtime_module_t *code = module_code(module, engine, &sandbox->cache, sandbox->helper,
                                                &sandbox->compile, &outcome->cache_hit, err);
    if (code == NULL) return -1;
    for (size_t i = 0; i < job->mount_count; i++) {
        mounts[i] = (struct wasi_mount_config){.guest_path = job->mounts[i].guest_path,
                                               .dir_fd = packet->mount_fds[i],
                                               .writable = job->mounts[i].writable &&
                                                           !job->mounts[i].fixed};
    }
    /* Compiling has bounds of its own: the run's time starts here. */
    uint64_t deadline_ns = clock_deadline_ns(job->limits.execution_timeout_ms);
    const struct run_setup setup = {.job = job,
                                    .mounts = mounts,
                                    .output_fds = {job->stdout_fd, job->stderr_fd},
                                    .captured = job->use_output_fds ? NULL : outcome->captured,
                                    .deadline_ns = deadline_ns,
                                    .report = &outcome->report};
    if (watchdog_arm(&sandbox->watchdog, engine->wasm, deadline_ns, job->limits.cpu_time_ms, err) !=
        0) {
        return -1;
    }
    run_module(engine, code, &setup, NULL);
    watchdog_disarm(&sandbox->watchdog);
    outcome->layers = LAYER_WASM;
    return 0;
}

static int start_supervisor(struct pa_sandbox *sandbox, struct error *err) {
    struct supervisor_config config = {.cache = &sandbox->cache,
                                       .helper = sandbox->helper,
                                       .compile = sandbox->compile,
                                       .max_running = 1,
                                       .keep_warm = sandbox->keep_warm,
                                       .spare_workers = sandbox->keep_warm ? 1 : 0,
                                       /* A terminal gives its input to its own group only. */
                                       .own_groups = !isatty(STDIN_FILENO)};
    if (sandbox->supervisor != NULL) return 0;
    if (layer_policy_default(&config.policy, err) != 0) return -1;
    if (sandbox->event == NULL) {
        int result = sd_event_new(&sandbox->event);
        if (result < 0) return error_set_errno(err, PA_INTERNAL, -result, "start an event loop");
    }
    sandbox->supervisor = supervisor_new(sandbox->event, &config, err);
    return sandbox->supervisor != NULL ? 0 : -1;
}

static void take_result(void *context, const struct supervisor_result *result) {
    struct outcome *outcome = context;
    outcome->report = *result->report;
    outcome->layers = result->layers;
    outcome->dispatched_ns = result->dispatched_ns;
    outcome->cache_hit = result->cache_hit;
    for (int i = 0; i < 2; i++) {
        outcome->captured[i] = result->captured[i];
        result->captured[i] = (struct buffer){0};
    }
    outcome->done = true;
}

/* In a process, whose end we wait for. */
static int run_apart(struct pa_sandbox *sandbox, struct pa_module *module, struct packet *packet,
                     struct outcome *outcome, struct error *err) {
    if (start_supervisor(sandbox, err) != 0) return -1;
    if (supervisor_submit(sandbox->supervisor, packet, module, take_result, outcome, NULL, err) !=
        0) {
        return -1;
    }
    while (!outcome->done) {
        int result = sd_event_run(sandbox->event, UINT64_MAX);
        if (result >= 0 || result == -EINTR) continue;
        supervisor_free(sandbox->supervisor); /* ends the run and calls take_result() */
        sandbox->supervisor = NULL;
        return error_set_errno(err, PA_INTERNAL, -result, "wait for the run");
    }
    return 0;
}

static int run_job(struct pa_sandbox *sandbox, struct pa_module *module, const struct pa_job *job,
                   struct outcome *outcome, struct error *err) {
    struct packet packet;
    if (check_job(job, err) != 0 || packet_pack(&packet, job, err) != 0) return -1;
    int result = packet_check_mounts(&packet, &sandbox->cache, err);
    if (result == 0) {
        result = job->isolation == PA_ISOLATION_PROCESS
                     ? run_apart(sandbox, module, &packet, outcome, err)
                     : run_here(sandbox, module, job, &packet, outcome, err);
    }
    packet_fini(&packet);
    return result;
}

static double ms_between(uint64_t from_ns, uint64_t to_ns) {
    return to_ns > from_ns ? (double)(to_ns - from_ns) / (double)NS_PER_MS : 0;
}

static void fill_usage(struct pa_result *result, const struct outcome *outcome, uint64_t start_ns) {
    const struct run_report *report = &outcome->report;
    result->usage.queue_ms = ms_between(start_ns, outcome->dispatched_ns);
    result->usage.cache_hit = outcome->cache_hit;
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

/* Moves an outcome to the result. False when memory runs out. */
static bool fill_result(struct pa_result *result, const struct pa_job *job,
                        struct outcome *outcome) {
    const struct run_report *report = &outcome->report;
    size_t layers = 0;
    result->status = report->status;
    result->exit_code = report->exit_code;
    for (unsigned i = 0; i < LAYER_COUNT; i++) {
        if (outcome->layers >> i & 1) result->isolation[layers++] = layer_name(i);
    }
    if (report->status != PA_OK && (result->message = strdup(report->message)) == NULL)
        return false;
    if (report->backtrace[0] != 0 && (result->backtrace = strdup(report->backtrace)) == NULL) {
        return false;
    }
    if (job->use_output_fds) return true;
    for (int i = 0; i < 2; i++) { /* an empty append makes the NUL */
        if (buffer_append(&outcome->captured[i], "", 0) != 0) return false;
    }
    result->stdout_size = outcome->captured[0].size;
    result->stdout_data = (char *)steal_ptr(outcome->captured[0].data);
    result->stderr_size = outcome->captured[1].size;
    result->stderr_data = (char *)steal_ptr(outcome->captured[1].data);
    return true;
}

struct pa_result *pa_run(struct pa_sandbox *sandbox, struct pa_module *module,
                         const struct pa_job *job) {
    uint64_t start_ns = clock_now_ns();
    struct error err = {0};
    struct pa_result *result = calloc(1, sizeof *result);
    struct outcome *outcome = calloc(1, sizeof *outcome);
    bool ok = result != NULL && outcome != NULL;
    if (ok && run_job(sandbox, module, job, outcome, &err) != 0) {
        outcome->report.status = err.code;
        outcome->report.ended_ns = clock_now_ns();
        (void)snprintf(outcome->report.message, sizeof outcome->report.message, "%s", err.text);
    }
    if (ok) {
        fill_usage(result, outcome, start_ns);
        (void)sodium_bin2hex(result->module_sha256, sizeof result->module_sha256, module->digest,
                             32);
        ok = fill_result(result, job, outcome);
    }
    if (outcome != NULL) {
        buffer_fini(&outcome->captured[0]);
        buffer_fini(&outcome->captured[1]);
        free(outcome);
    }
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

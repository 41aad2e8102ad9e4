#include "sandbox/run.h"

#include "base/clock.h"
#include "base/text.h"
#include "sandbox/coredump.h"
#include "sandbox/profile.h"
#include "sandbox/reactor.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_INSTANCES = 1, MAX_TABLES = 16, MAX_MEMORIES = 1, MAX_FRAMES = 64 };
enum { NAME_BYTES = 201 }; /* of a name of the module's, in a message */

struct run { /* one in progress */
    struct engine *engine;
    const struct pa_job *job;
    struct run_report *report;
    wasmtime_store_t *store;                 /* owned */
    struct wasi *wasi;                       /* owned */
    const struct run_checkpoint *checkpoint; /* NULL: none */
    uint64_t cpu_start_ns;
    void (*ended)(void);
};

static void verdict(struct run_report *report, enum pa_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void verdict(struct run_report *report, enum pa_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    report->status = status;
    (void)vsnprintf(report->message, sizeof report->message, format, args);
    va_end(args);
    text_tidy(report->message, sizeof report->message, TEXT_ONE_LINE);
}

static const char *trap_name(wasmtime_trap_code_t code) {
    switch (code) {
    case WASMTIME_TRAP_CODE_STACK_OVERFLOW: return "call stack exhausted";
    case WASMTIME_TRAP_CODE_MEMORY_OUT_OF_BOUNDS: return "out of bounds memory access";
    case WASMTIME_TRAP_CODE_TABLE_OUT_OF_BOUNDS: return "out of bounds table access";
    case WASMTIME_TRAP_CODE_INDIRECT_CALL_TO_NULL: return "uninitialized element";
    case WASMTIME_TRAP_CODE_BAD_SIGNATURE: return "indirect call type mismatch";
    case WASMTIME_TRAP_CODE_INTEGER_OVERFLOW: return "integer overflow";
    case WASMTIME_TRAP_CODE_INTEGER_DIVISION_BY_ZERO: return "integer divide by zero";
    case WASMTIME_TRAP_CODE_BAD_CONVERSION_TO_INTEGER: return "invalid conversion to integer";
    case WASMTIME_TRAP_CODE_UNREACHABLE_CODE_REACHED: return "unreachable";
    default: return "trap";
    }
}

/* One frame a line, "#0 name (function 12) at 0x3f", innermost first; no name makes a line. */
static void write_backtrace(const wasm_frame_vec_t *frames, char *out, size_t size) {
    size_t at = 0;
    for (size_t i = 0; i < frames->size && i < MAX_FRAMES && at + 1 < size; i++) {
        const wasm_name_t *name = wasmtime_frame_func_name(frames->data[i]);
        char shown[NAME_BYTES] = "?";
        if (name != NULL && name->size > 0)
            (void)text_show(shown, sizeof shown, name->data, name->size, TEXT_ONE_LINE);
        int put = snprintf(out + at, size - at, "#%zu %s (function %u) at 0x%zx\n", i, shown,
                           wasm_frame_func_index(frames->data[i]),
                           wasm_frame_module_offset(frames->data[i]));
        if (put < 0 || (size_t)put >= size - at) {
            out[at] = 0; /* no half lines */
            return;
        }
        at += (size_t)put;
    }
    if (frames->size > MAX_FRAMES) {
        (void)snprintf(out + at, size - at, "... %zu more\n", frames->size - MAX_FRAMES);
    }
}

static const char *program_name(const struct pa_job *job) {
    return job->argc > 0 ? job->argv[0] : "module";
}

static uint64_t cpu_ns(const struct run *run) {
    return clock_read_ns(CLOCK_THREAD_CPUTIME_ID) - run->cpu_start_ns;
}

static void judge_trap(struct run *run, wasm_trap_t *trap) {
    struct run_report *report = run->report;
    wasmtime_trap_code_t code;
    wasm_frame_vec_t frames;
    if (!wasmtime_trap_code(trap, &code)) {
        wasm_message_t text;
        wasm_trap_message(trap, &text);
        verdict(report, PA_TRAP, "%.*s", (int)(text.size < 900 ? text.size : 900), text.data);
        wasm_byte_vec_delete(&text);
    } else if (code == WASMTIME_TRAP_CODE_OUT_OF_FUEL) {
        verdict(report, PA_FUEL_EXHAUSTED,
                "Fuel exhausted: all %llu units are used; raise max_fuel",
                (unsigned long long)run->job->limits.max_fuel);
        return;
    } else if (code == WASMTIME_TRAP_CODE_INTERRUPT) {
        verdict(report, PA_TIMEOUT, "Execution timeout: the deadline has passed");
        return;
    } else if (run->engine->memory_refused) {
        verdict(report, PA_MEMORY_LIMIT,
                "Memory limit exceeded: more than %llu bytes were needed (then: %s); raise "
                "memory_limit_bytes",
                (unsigned long long)run->job->limits.memory_limit_bytes, trap_name(code));
    } else {
        verdict(report, PA_TRAP, "%s", trap_name(code));
    }
    wasm_trap_trace(trap, &frames);
    write_backtrace(&frames, report->backtrace, sizeof report->backtrace);
    if (run->job->coredump_fd > 0) {
        int result = coredump_write(run->job->coredump_fd, program_name(run->job), &frames,
                                    run->engine->memory);
        if (result != 0) {
            size_t used = strlen(report->message);
            (void)snprintf(report->message + used, sizeof report->message - used,
                           " (and the core dump could not be written: %s)",
                           strerrordesc_np(-result));
        }
    }
    wasm_frame_vec_delete(&frames);
}

/* The guest ended by itself, with `code`. */
static void judge_exit(struct run *run, uint32_t code) {
    struct run_report *report = run->report;
    report->exit_code = (int32_t)(code & 0xff);
    if (code != 0 && report->exit_code == 0) report->exit_code = 1; /* 256 is no success */
    if (code != 0 && run->engine->memory_refused) {
        verdict(report, PA_MEMORY_LIMIT,
                "Memory limit exceeded: more than %llu bytes were needed (exit code %d); raise "
                "memory_limit_bytes",
                (unsigned long long)run->job->limits.memory_limit_bytes, report->exit_code);
        return;
    }
    report->status = PA_OK;
}

static void judge(struct run *run, wasm_trap_t *trap) {
    switch (wasi_stopped(run->wasi)) {
    case WASI_STOP_EXIT: judge_exit(run, wasi_exit_code(run->wasi)); break;
    case WASI_STOP_DEADLINE:
        verdict(
            run->report, PA_TIMEOUT,
            "Execution timeout: %llu ms of wall time have passed, and it got %llu ms of processor "
            "time; raise execution_timeout_ms",
            (unsigned long long)run->job->limits.execution_timeout_ms,
            (unsigned long long)(cpu_ns(run) / NS_PER_MS));
        break;
    case WASI_STOP_OUTPUT_LIMIT:
        verdict(run->report, PA_OUTPUT_LIMIT,
                "Output limit exceeded: more than %llu bytes on %s; raise output_limit_bytes",
                (unsigned long long)run->job->limits.output_limit_bytes,
                run->report->output[0].truncated ? "stdout" : "stderr");
        break;
    case WASI_RUNNING:
        if (trap != NULL) {
            judge_trap(run, trap);
        } else {
            judge_exit(run, 0);
        }
        break;
    }
}

/* Takes `error`, which came from setting the module up. */
static void judge_setup(struct run *run, wasmtime_error_t *error) {
    char text[800];
    engine_error_text(error, text, sizeof text);
    if (run->engine->memory_refused) {
        verdict(run->report, PA_MEMORY_LIMIT,
                "Memory limit exceeded: the module starts with more than %llu bytes; raise "
                "memory_limit_bytes",
                (unsigned long long)run->job->limits.memory_limit_bytes);
    } else {
        verdict(run->report, PA_INVALID_MODULE, "Invalid WASM module: %s", text);
    }
}

/* What a call into the guest came to; consumes both. A stop that the host asked for comes back as
 * an error, as it has no trap code. */
static void conclude(struct run *run, wasmtime_error_t *error, wasm_trap_t *trap) {
    if (error != NULL && wasi_stopped(run->wasi) == WASI_RUNNING) {
        judge_setup(run, error);
    } else {
        if (error != NULL) wasmtime_error_delete(error);
        judge(run, trap);
    }
    if (trap != NULL) wasm_trap_delete(trap);
}

/* The function to start, or a verdict that names what is missing. */
static bool find_entry(struct run *run, const wasmtime_instance_t *instance,
                       wasmtime_extern_t *out) {
    const char *name = run->job->invoke != NULL ? run->job->invoke : "_start";
    wasmtime_context_t *context = wasmtime_store_context(run->store);
    if (!wasmtime_instance_export_get(context, instance, name, strlen(name), out) ||
        out->kind != WASMTIME_EXTERN_FUNC) {
        const char *cure = run->job->invoke != NULL
                               ? "export it, or name another one"
                               : "build it as a command, or name a function with --invoke";
        verdict(run->report, PA_INVALID_MODULE,
                "Invalid WASM module: it exports no function %s; %s", name, cure);
        return false;
    }
    wasm_functype_t *type = wasmtime_func_type(context, &out->of.func);
    size_t params = wasm_functype_params(type)->size, results = wasm_functype_results(type)->size;
    wasm_functype_delete(type);
    if (params == 0 && results <= 16) return true;
    verdict(run->report, PA_INVALID_MODULE,
            "Invalid WASM module: function %s has %zu parameters and %zu results; "
            "one without parameters is needed",
            name, params, results);
    return false;
}

/* A reactor makes itself ready before anything else is called. False after a verdict. */
static bool initialize(struct run *run, const wasmtime_instance_t *instance) {
    static const char name[] = "_initialize";
    wasmtime_context_t *context = wasmtime_store_context(run->store);
    wasmtime_extern_t function;
    wasm_trap_t *trap = NULL;
    if (run->job->invoke == NULL || strcmp(run->job->invoke, name) == 0 ||
        !wasmtime_instance_export_get(context, instance, name, sizeof name - 1, &function) ||
        function.kind != WASMTIME_EXTERN_FUNC) {
        return true;
    }
    wasmtime_error_t *error =
        wasmtime_func_call(context, &function.of.func, NULL, 0, NULL, 0, &trap);
    if (error == NULL && trap == NULL) return true;
    conclude(run, error, trap);
    return false;
}

static void call_several(struct run *run, const wasmtime_instance_t *instance) {
    char missing[256];
    wasm_trap_t *trap = NULL;
    wasmtime_error_t *error =
        reactor_run(run->engine, wasmtime_store_context(run->store), instance, run->job->invoke,
                    run->job->argv, run->job->argc, &trap, missing, sizeof missing);
    if (missing[0] == 0) {
        conclude(run, error, trap);
        return;
    }
    verdict(run->report, PA_INVALID_MODULE, "Invalid WASM module: it exports no function %s",
            missing);
}

static void call_entry(struct run *run, const wasmtime_instance_t *instance) {
    wasmtime_context_t *context = wasmtime_store_context(run->store);
    wasmtime_extern_t entry;
    wasm_trap_t *trap = NULL;
    wasmtime_val_t results[16];
    if (run->job->invoke != NULL && strpbrk(run->job->invoke, "\t\n") != NULL) {
        if (initialize(run, instance)) call_several(run, instance);
        return;
    }
    if (!find_entry(run, instance, &entry) || !initialize(run, instance)) return;
    wasm_functype_t *type = wasmtime_func_type(context, &entry.of.func);
    size_t result_count = wasm_functype_results(type)->size;
    wasm_functype_delete(type);
    wasmtime_error_t *error =
        wasmtime_func_call(context, &entry.of.func, NULL, 0, results, result_count, &trap);
    conclude(run, error, trap);
}

/* Imports that nobody provides are named before anything runs. */
static bool check_imports(struct run *run, const wasmtime_module_t *module) {
    wasm_importtype_vec_t imports;
    bool ok = true;
    if (run->job->stub_imports) {
        wasmtime_error_t *error = reactor_define_handles(run->engine, module);
        if (error == NULL)
            error = wasmtime_linker_define_unknown_imports_as_traps(run->engine->linker, module);
        if (error == NULL) return true;
        judge_setup(run, error);
        return false;
    }
    wasmtime_module_imports(module, &imports);
    for (size_t i = 0; i < imports.size && ok; i++) {
        wasmtime_extern_t found;
        const wasm_name_t *from = wasm_importtype_module(imports.data[i]);
        const wasm_name_t *name = wasm_importtype_name(imports.data[i]);
        ok = wasmtime_linker_get(run->engine->linker, wasmtime_store_context(run->store),
                                 from->data, from->size, name->data, name->size, &found);
        if (!ok) {
            char from_text[NAME_BYTES / 2], name_text[NAME_BYTES / 2];
            (void)text_show(from_text, sizeof from_text, from->data, from->size, TEXT_ONE_LINE);
            (void)text_show(name_text, sizeof name_text, name->data, name->size, TEXT_ONE_LINE);
            verdict(run->report, PA_INVALID_MODULE,
                    "Invalid WASM module: it imports %s.%s, which does not exist here; "
                    "only wasi_snapshot_preview1 does",
                    from_text, name_text);
        }
    }
    wasm_importtype_vec_delete(&imports);
    return ok;
}

/* Of the job that it ended with. */
static void count_fuel(struct run *run) {
    uint64_t left = 0;
    if (!(run->engine->variant & ENGINE_FUEL)) return;
    wasmtime_error_t *error = wasmtime_context_get_fuel(wasmtime_store_context(run->store), &left);
    if (error != NULL) wasmtime_error_delete(error);
    run->report->fuel = run->job->limits.max_fuel - left;
}

static void run_in_store(struct run *run, const wasmtime_module_t *module,
                         const struct run_setup *setup) {
    wasmtime_context_t *context = wasmtime_store_context(run->store);
    const struct pa_limits *limits = &run->job->limits;
    wasmtime_instance_t instance;
    wasm_trap_t *trap = NULL;
    wasmtime_store_limiter(run->store, -1, limits->table_elements, MAX_INSTANCES, MAX_TABLES,
                           MAX_MEMORIES);
    if (run->engine->variant & ENGINE_FUEL) {
        wasmtime_error_t *error = wasmtime_context_set_fuel(context, limits->max_fuel);
        if (error != NULL) {
            judge_setup(run, error);
            return;
        }
    }
    if (run->engine->variant & ENGINE_EPOCH) wasmtime_context_set_epoch_deadline(context, 1);
    if (!check_imports(run, module)) return;
    struct profile *profile = NULL;
    if (run->job->profile_fd > 0) {
        profile = profile_start(run->engine->wasm, run->store, module, program_name(run->job));
        if (profile == NULL) {
            verdict(run->report, PA_INTERNAL, "the profiler cannot start");
            return;
        }
    }
    run->report->started_ns = clock_now_ns();
    if (setup->before_guest != NULL) setup->before_guest(setup->before_guest_context);
    wasmtime_error_t *error =
        wasmtime_linker_instantiate(run->engine->linker, context, module, &instance, &trap);
    if (error != NULL || trap != NULL) { /* of the start function, or a segment out of bounds */
        conclude(run, error, trap);
    } else {
        call_entry(run, &instance);
    }
    wasi_flush(run->wasi);
    int result = profile != NULL ? profile_finish(profile, run->job->profile_fd) : 0;
    if (result != 0 && run->report->status == PA_OK) {
        verdict(run->report, PA_INTERNAL, "the profile could not be written: %s",
                strerrordesc_np(-result));
    }
    count_fuel(run);
}

static struct wasi_config world_of(const struct run_setup *setup) {
    const struct pa_job *job = setup->job;
    return (struct wasi_config){
        .argv = job->argv,
        .argc = job->argc,
        .env = job->env,
        .env_count = job->env_count,
        .stdin_fd = job->stdin_fd > 0 || job->use_stdin_fd ? job->stdin_fd : -1,
        .stdin_data = job->stdin_data,
        .stdin_bytes = job->stdin_bytes,
        .job_data = job->job_data,
        .job_bytes = job->job_bytes,
        .answer_fd = job->answer_fd,
        .stays = setup->stays,
        .same_mounts = setup->same_mounts,
        .moved = setup->moved,
        .stdout_sink = {.fd = setup->output_fds[0], .capture = setup->captured},
        .stderr_sink = {.fd = setup->output_fds[1],
                        .capture = setup->captured != NULL ? setup->captured + 1 : NULL},
        .output_limit_bytes = job->limits.output_limit_bytes,
        .output_truncate = job->output_truncate,
        .mounts = setup->mounts,
        .mount_count = job->mount_count,
        .max_open_files = job->limits.max_open_files,
        .workspace_bytes = job->limits.workspace_bytes,
        .workspace_inodes = job->limits.workspace_inodes,
        .mask = setup->mask,
        .deny_clock = job->deny_clock,
        .deny_random = job->deny_random,
        .deterministic = job->deterministic,
        .seed = job->seed,
        .deadline_ns = setup->deadline_ns,
        .trace_fd = job->trace_fd,
        .counts = setup->report->output,
        .tails = setup->tails,
        .held = setup->held,
        .growth = &setup->report->growth,
    };
}

static void finish_report(struct run *run) {
    run->report->ended_ns = clock_now_ns();
    run->report->cpu_ns = cpu_ns(run);
    run->report->finished = true;
}

/* The guest has ended by its own call of the host, and so does the process: to unwind its frames
 * and to tell where it stood would take longer than many a run. */
static void at_stop(void *context) {
    struct run *run = context;
    wasi_flush(run->wasi);
    judge(run, NULL);
    count_fuel(run);
    finish_report(run);
    run->ended();
}

static void take_setup(struct run *run, const struct run_setup *setup) {
    struct engine *engine = run->engine;
    run->job = setup->job;
    run->report = setup->report;
    run->ended = setup->ended;
    run->report->started_ns = clock_now_ns();
    run->cpu_start_ns = clock_read_ns(CLOCK_THREAD_CPUTIME_ID);
    engine->memory_limit_bytes = setup->job->limits.memory_limit_bytes;
    engine->peak_memory_bytes = &setup->report->peak_memory_bytes;
    engine->memory_refused = false;
    engine->stopped = setup->ended != NULL && run->job->profile_fd <= 0 ? at_stop : NULL;
    engine->stopped_context = run;
}

static void at_first_input(void *context) {
    struct run *run = context;
    /* What an interpreter was refused at its start, it gets by without. */
    run->engine->memory_refused = false;
    if (run->checkpoint != NULL) run->checkpoint->reached(run, run->checkpoint->context);
}

void run_rest(struct run *run) {
    wasi_rest(run->wasi);
    judge_exit(run, 0);
    count_fuel(run);
    finish_report(run);
}

int run_resume(struct run *run, const struct run_setup *setup, struct error *err) {
    const struct wasi_config world = world_of(setup);
    const struct guest_memory *memory = run->engine->memory;
    if (wasi_rebind(run->wasi, &world, err) != 0) return -1;
    take_setup(run, setup);
    setup->report->files_lost = wasi_lost(run->wasi);
    if (memory != NULL) setup->report->peak_memory_bytes = memory->size_bytes;
    if (memory != NULL && memory->size_bytes > run->engine->memory_limit_bytes) {
        return error_set(err, PA_MEMORY_LIMIT,
                         "Memory limit exceeded: the interpreter itself needs %llu bytes; raise "
                         "memory_limit_bytes",
                         (unsigned long long)memory->size_bytes);
    }
    if (run->engine->variant & ENGINE_FUEL) {
        wasmtime_error_t *error = wasmtime_context_set_fuel(wasmtime_store_context(run->store),
                                                            setup->job->limits.max_fuel);
        if (error != NULL) {
            wasmtime_error_delete(error);
            return error_set(err, PA_INTERNAL, "fuel cannot be set");
        }
    }
    return 0;
}

void run_module(struct engine *engine, const wasmtime_module_t *module,
                const struct run_setup *setup, const struct run_checkpoint *checkpoint) {
    struct run run = {.engine = engine, .checkpoint = checkpoint};
    struct wasi_config config = world_of(setup);
    struct error err = {0};
    if (checkpoint != NULL || setup->job->job_data != NULL) {
        config.before_input = at_first_input;
        config.before_input_context = &run;
    }
    take_setup(&run, setup);
    run.wasi = wasi_new(&config, &err);
    if (run.wasi == NULL) {
        verdict(run.report, err.code, "%s", err.text);
    } else {
        engine->wasi = run.wasi;
        run.store = wasmtime_store_new(engine->wasm, NULL, NULL);
        if (run.store == NULL) {
            verdict(run.report, PA_INTERNAL, "store: out of memory");
        } else {
            run_in_store(&run, module, setup);
            finish_report(&run);
            if (run.ended != NULL) run.ended();
            wasmtime_store_delete(run.store); /* after a trap a store must not be used again */
        }
        engine->wasi = NULL;
        wasi_free(run.wasi);
    }
    finish_report(&run);
    if (run.ended != NULL) run.ended();
}

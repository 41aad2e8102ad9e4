/* Promise: the C API says exactly what happened, in both isolations, and a sandbox is as good as
 * new after whatever a guest did. */
#include "wasi_fixture.h"

#include <polyagent.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WASI(name, params) \
    "(import \"wasi_snapshot_preview1\" \"" name "\" (func $" name " (param " params \
    ") (result i32)))"
#define MODULE(body) "(module " body ")"
#define START(body) "(memory (export \"memory\") 1) (func (export \"_start\") " body ")"

static struct pa_result *run(const char *wat, struct pa_job *job) {
    struct pa_error error = {0};
    struct pa_sandbox *sandbox = pa_sandbox_new(&(struct pa_options){.no_cache = true}, &error);
    assert_non_null(sandbox);
    struct pa_module *module = pa_module_from_bytes(sandbox, wat, strlen(wat), NULL, &error);
    if (module == NULL) fail_msg("%s", error.message);
    struct pa_result *result = pa_run(sandbox, module, job);
    assert_non_null(result);
    pa_module_free(module);
    pa_sandbox_free(sandbox);
    return result;
}

static struct pa_job new_job(enum pa_isolation isolation) {
    struct pa_job job = {.isolation = isolation};
    pa_limits_default(&job.limits);
    return job;
}

static void expect(const char *wat, struct pa_job *job, enum pa_status status,
                   const char *message) {
    struct pa_result *result = run(wat, job);
    if (result->status != status) {
        fail_msg("%s: %s", pa_status_name(result->status), result->message ? result->message : "");
    }
    if (message != NULL) assert_non_null(strstr(result->message, message));
    pa_result_free(result);
}

static void check_hello(enum pa_isolation isolation) {
    static const char wat[] =
        MODULE(WASI("fd_write", "i32 i32 i32 i32") "(data (i32.const 8) \"Hi!\\n\")" START(
            "(i32.store (i32.const 0) (i32.const 8)) (i32.store (i32.const 4) (i32.const 4))"
            "(drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 28)))"));
    struct pa_job job = new_job(isolation);
    struct pa_result *result = run(wat, &job);
    assert_int_equal(result->status, PA_OK);
    assert_string_equal(result->stdout_data, "Hi!\n");
    assert_int_equal(result->stdout_size, 4);
    assert_int_equal(result->usage.stdout_bytes, 4);
    assert_int_equal(result->usage.peak_memory_bytes, 65536);
    assert_int_equal(strlen(result->module_sha256), 64);
    assert_true(result->usage.wall_ms > 0);
    pa_result_free(result);
}

static void check_ends(enum pa_isolation isolation) {
    struct pa_job job = new_job(isolation);
    static const char exits[] =
        MODULE("(import \"wasi_snapshot_preview1\" \"proc_exit\" (func $x (param i32)))" START(
            "(call $x (i32.const 42))"));
    struct pa_result *result = run(exits, &job);
    assert_int_equal(result->status, PA_OK);
    assert_int_equal(result->exit_code, 42);
    pa_result_free(result);
    expect(MODULE(START("unreachable")), &job, PA_TRAP, "unreachable");
    expect(MODULE(START("(drop (i32.div_s (i32.const 1) (i32.const 0)))")), &job, PA_TRAP,
           "divide by zero");
    expect(MODULE(START("(drop (i32.load (i32.const 65533)))")), &job, PA_TRAP,
           "out of bounds memory");
    expect(MODULE("(memory 1) (func $f (export \"_start\") (call $f))"), &job, PA_TRAP,
           "call stack exhausted");
    expect(MODULE("(start $s) (func $s unreachable)" START("nop")), &job, PA_TRAP, "unreachable");
}

static void check_limits(enum pa_isolation isolation) {
    struct pa_job job = new_job(isolation);
    job.limits.execution_timeout_ms = 100;
    expect(MODULE(START("(loop $l (br $l))")), &job, PA_TIMEOUT, "Execution timeout");
    expect(MODULE("(start $s) (func $s (loop $l (br $l)))" START("nop")), &job, PA_TIMEOUT, NULL);
    job.limits.execution_timeout_ms = 5000;
    job.limits.cpu_time_ms = 50;
    expect(MODULE(START("(loop $l (br $l))")), &job, PA_TIMEOUT, "Execution timeout");
    job.limits.cpu_time_ms = 0;
    job.limits.max_fuel = 1000;
    expect(MODULE(START("(loop $l (br $l))")), &job, PA_FUEL_EXHAUSTED, "Fuel exhausted");
    struct pa_result *result = run(MODULE(START("nop")), &job);
    assert_int_equal(result->status, PA_OK);
    assert_in_range(result->usage.fuel, 1, 10);
    pa_result_free(result);
    job.limits.max_fuel = 0;
    job.limits.memory_limit_bytes = 1 << 20;
    expect(MODULE("(memory 17) (func (export \"_start\"))"), &job, PA_MEMORY_LIMIT,
           "Memory limit exceeded");
    /* A refused growth that the guest lives with is no failure; one that it fails for is. */
    expect(MODULE(START("(drop (memory.grow (i32.const 100)))")), &job, PA_OK, NULL);
    expect(MODULE(START(
               "(if (i32.eq (memory.grow (i32.const 100)) (i32.const -1)) (then unreachable))")),
           &job, PA_MEMORY_LIMIT, "Memory limit exceeded");
    job.limits.table_elements = 100;
    expect(MODULE("(table 101 funcref)" START("nop")), &job, PA_INVALID_MODULE,
           "Invalid WASM module");
}

static void check_refusals(enum pa_isolation isolation) {
    struct pa_job job = new_job(isolation);
    expect("hello", &job, PA_INVALID_MODULE, "neither WebAssembly binary");
    expect("(module (func (export \"x\")", &job, PA_INVALID_MODULE, "Invalid WASM module");
    expect(MODULE("(func (export \"run\"))"), &job, PA_INVALID_MODULE, "_start");
    expect(MODULE("(import \"env\" \"foo\" (func))" START("nop")), &job, PA_INVALID_MODULE,
           "env.foo");
    expect(MODULE("(import \"wasi_snapshot_preview1\" \"fd_close\" (func))" START("nop")), &job,
           PA_INVALID_MODULE, "fd_close");
    expect(MODULE("(memory i64 1)" START("nop")), &job, PA_INVALID_MODULE, "Invalid WASM module");
    expect(MODULE("(memory 1 1 shared)"), &job, PA_INVALID_MODULE, "Invalid WASM module");
    expect(MODULE("(func (export \"_start\") (param i32))"), &job, PA_INVALID_MODULE, "parameters");
    job.invoke = "other";
    expect(MODULE("(func (export \"other\"))"), &job, PA_OK, NULL);
    job.invoke = "missing";
    expect(MODULE("(func (export \"other\"))"), &job, PA_INVALID_MODULE, "missing");
}

static void *wait_for_cancel(void *argument) {
    (void)pause();
    return argument;
}

/* A caller with threads is no problem: what is forked is another process. */
static void check_threads(void) {
    struct pa_job job = new_job(PA_ISOLATION_PROCESS);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, wait_for_cancel, NULL), 0);
    expect(MODULE(START("nop")), &job, PA_OK, NULL);
    assert_int_equal(pthread_cancel(thread), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

/* One test, not many: cmocka puts its own handlers for SIGSEGV and SIGILL in place before each
 * test, and the engine, which needs these signals for traps, sets its own only once in a process.
 */
static void test_the_same_in_both_isolations(void **state) {
    (void)state;
    for (int isolation = PA_ISOLATION_PROCESS; isolation <= PA_ISOLATION_NONE; isolation++) {
        check_hello((enum pa_isolation)isolation);
        check_ends((enum pa_isolation)isolation);
        check_limits((enum pa_isolation)isolation);
        check_refusals((enum pa_isolation)isolation);
    }
    check_threads();
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_the_same_in_both_isolations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Promise: a module takes the processor time and the memory that one of its size may take, and no
 * more; what the host lacks is never said to be the module's fault. */
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "sandbox/compiler.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* Loops within each other that all change the same variables: small, and hard to compile. */
enum { LOOPS = 250, VARIABLES = 1000 };

static void say(struct buffer *out, const char *format, int number) {
    char text[96];
    int length = snprintf(text, sizeof text, format, number, number);
    assert_int_equal(buffer_append(out, text, (size_t)length), 0);
}

static int image(const struct buffer *bytes) {
    int fd = memfd_create("module", MFD_CLOEXEC);
    assert_int_equal(fd_write_all(fd, bytes->data, bytes->size), 0);
    return fd;
}

static int hard_module(void) {
    _cleanup_(buffer_fini) struct buffer text = {0};
    say(&text, "(module (func (result i32) i32.const 1) (func (export \"_start\") (local ", 0);
    for (int i = 0; i < VARIABLES; i++)
        say(&text, "i32 ", 0);
    say(&text, ") ", 0);
    for (int i = 0; i < LOOPS; i++)
        say(&text, "(loop ", 0);
    for (int i = 0; i < VARIABLES; i++)
        say(&text, "(local.set %d (i32.add (local.get %d) (call 0)))", i);
    for (int i = 0; i < LOOPS; i++)
        say(&text, "(br_if 0 (local.get %d)))", i);
    say(&text, "))", 0);
    return image(&text);
}

static int easy_module(void) {
    _cleanup_(buffer_fini) struct buffer text = {0};
    say(&text, "(module (func (export \"_start\")))", 0);
    return image(&text);
}

/* Of one attempt, to its end. */
static int compile(int module, struct compiler_bounds bounds, struct compiler *compiler,
                   struct error *err) {
    _cleanup_(fd_closep) int out = memfd_create("code", MFD_CLOEXEC);
    assert_int_equal(
        compiler_start(compiler, getenv("POLYAGENT_HELPER"), module, 0, out, &bounds, err), 0);
    uint64_t deadline_ns = clock_deadline_ns(bounds.wall_ms);
    while (compiler_listen(compiler) != 0 && clock_now_ns() < deadline_ns)
        (void)usleep(1000);
    return compiler_finish(compiler, clock_now_ns() >= deadline_ns, err);
}

static void test_bounds_grow_with_the_module(void **state) {
    struct compiler_bounds small = {0}, large = {0}, given = {.cpu_ms = 5};
    (void)state;
    compiler_bounds_for(&small, 100);
    compiler_bounds_for(&large, UINT64_C(50) << 20);
    compiler_bounds_for(&given, 100);
    assert_in_range(small.cpu_ms, 10000, 60000);
    assert_in_range(small.memory_bytes, UINT64_C(512) << 20, UINT64_C(2) << 30);
    assert_true(large.cpu_ms > 5 * small.cpu_ms);
    assert_in_range(large.memory_bytes, UINT64_C(2) << 30, UINT64_C(3) << 30);
    assert_int_equal(given.cpu_ms, 5);
    assert_int_equal(given.memory_bytes, small.memory_bytes);
}

static void test_processor_time_is_bounded(void **state) {
    struct compiler compiler;
    struct error err = {0};
    _cleanup_(fd_closep) int module = hard_module();
    (void)state;
    assert_int_equal(compile(module, (struct compiler_bounds){.cpu_ms = 1000}, &compiler, &err),
                     -1);
    assert_int_equal(compiler.fault, COMPILER_BOUND);
    assert_int_equal(err.code, PA_INVALID_MODULE);
    assert_non_null(strstr(err.text, "it needs more than 1 s of processor time to compile"));
    assert_true(compiler.cpu_ns > 0); /* counted by ticks there, to the nanosecond here */
}

static void test_memory_is_bounded(void **state) {
    struct compiler compiler;
    struct error err = {0};
    _cleanup_(fd_closep) int module = hard_module();
    (void)state;
#if defined(__SANITIZE_ADDRESS__)
    skip(); /* its own memory cannot be told apart */
#endif
    assert_int_equal(
        compile(module, (struct compiler_bounds){.memory_bytes = 64 << 20}, &compiler, &err), -1);
    if (compiler.fault != COMPILER_BOUND) fail_msg("%s", err.text);
    assert_non_null(strstr(err.text, "it needs more than 64 MiB of memory to compile"));
}

/* That is the host's: there is no telling how long it would have taken. */
static void test_wall_time_is_the_hosts(void **state) {
    struct compiler compiler;
    struct error err = {0};
    _cleanup_(fd_closep) int module = hard_module();
    (void)state;
    assert_int_equal(compile(module, (struct compiler_bounds){.wall_ms = 100}, &compiler, &err),
                     -1);
    assert_int_equal(compiler.fault, COMPILER_HOST);
    assert_int_equal(err.code, PA_OVERLOADED);
    assert_non_null(strstr(err.text, "retry in"));
}

static void test_a_kill_is_nobodys(void **state) {
    struct compiler compiler;
    struct error err = {0};
    _cleanup_(fd_closep) int module = hard_module();
    _cleanup_(fd_closep) int out = memfd_create("code", MFD_CLOEXEC);
    (void)state;
    assert_int_equal(compiler_start(&compiler, getenv("POLYAGENT_HELPER"), module, 0, out,
                                    &(struct compiler_bounds){0}, &err),
                     0);
    assert_int_equal(kill(compiler.pid, SIGKILL), 0);
    assert_int_equal(compiler_finish(&compiler, false, &err), -1);
    assert_int_equal(compiler.fault, COMPILER_INNOCENT);
}

enum { AS_IT_SHOULD = 0, NOT_TO_BE_TRIED = 77 };

/* As a user with no more processes than this one and the compiler. */
static int compile_without_threads(void) {
    struct compiler compiler;
    struct error err = {0};
    const struct rlimit two = {2, 2};
    int module = easy_module();
    if (setrlimit(RLIMIT_NPROC, &two) != 0 || setresuid(54321, 54321, 54321) != 0 ||
        access(getenv("POLYAGENT_HELPER"), X_OK) != 0) {
        return NOT_TO_BE_TRIED;
    }
    if (compile(module, (struct compiler_bounds){0}, &compiler, &err) == 0) return 2;
    (void)fprintf(stderr, "%s\n", err.text);
    return compiler.fault == COMPILER_HOST && err.code == PA_OVERLOADED &&
                   strstr(err.text, "threads") != NULL
               ? AS_IT_SHOULD
               : 1;
}

/* The engine aborts then, as it does for a module that it cannot stand. */
static void test_threads_that_are_refused_are_the_hosts(void **state) {
    int status;
    (void)state;
    if (geteuid() != 0) skip(); /* a user id that has no other process is needed */
    pid_t pid = fork();
    if (pid == 0) _exit(compile_without_threads());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WEXITSTATUS(status) == NOT_TO_BE_TRIED) skip();
    assert_int_equal(status, AS_IT_SHOULD);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bounds_grow_with_the_module),
        cmocka_unit_test(test_processor_time_is_bounded),
        cmocka_unit_test(test_memory_is_bounded),
        cmocka_unit_test(test_wall_time_is_the_hosts),
        cmocka_unit_test(test_a_kill_is_nobodys),
        cmocka_unit_test(test_threads_that_are_refused_are_the_hosts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Promise: a tenant's modules that are hard to compile keep nobody else's waiting; an interpreter
 * that is being compiled is never said to be an invalid module: its callers are told when to come
 * again, and it is compiled meanwhile. */
#include "fixture.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "supervisor/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

static const char hello[] = HELLO("");

static void say(struct buffer *out, const char *format, int number) {
    char text[96];
    int length = snprintf(text, sizeof text, format, number, number);
    assert_int_equal(buffer_append(out, text, (size_t)length), 0);
}

/* Loops within each other that all change the same variables: 50 take a second, 250 a quarter of a
 * minute. To be released. */
static char *hard(int loops) {
    enum { VARIABLES = 1000 };
    struct buffer text = {0};
    say(&text, "(module (memory (export \"memory\") 1) (func (result i32) i32.const 0)", 0);
    say(&text, "(func (export \"_start\") (local ", 0);
    for (int i = 0; i < VARIABLES; i++)
        say(&text, "i32 ", 0);
    say(&text, ") ", 0);
    for (int i = 0; i < loops; i++)
        say(&text, "(loop ", 0);
    for (int i = 0; i < VARIABLES; i++)
        say(&text, "(local.set %d (i32.add (local.get %d) (call 0)))", i);
    for (int i = 0; i < loops; i++)
        say(&text, "(br_if 0 (local.get %d)))", i);
    say(&text, "))", 0);
    return (char *)text.data;
}

static const struct supervisor_config plain = {.keep_warm = true, .spare_workers = 1};

static void know(struct bench *b, const char *wat, const char *name) {
    struct pa_module module;
    struct error err = {0};
    assert_int_equal(module_copy(&module, wat, strlen(wat), UINT64_MAX, &err), 0);
    assert_int_equal(supervisor_know_interpreter(b->supervisor, &module, name, &err), 0);
    module_fini(&module);
}

static void run_as(struct bench *b, const char *tenant, const char *wat, const struct pa_job *job,
                   struct outcome *outcome, struct supervisor_run **run) {
    struct error err = {0};
    if (submit_as(b, tenant, wat, job, outcome, run, &err) != 0) fail_msg("%s", err.text);
}

static void test_tenants_take_turns(void **state) {
    struct bench b;
    struct pa_job job = new_job();
    struct outcome outcomes[3] = {{0}}, second[3] = {{0}}, quiet;
    struct supervisor_run *runs[6] = {NULL};
    (void)state;
    open_bench(&b, plain);
    for (int i = 0; i < 3; i++) {
        _cleanup_(freep) char *a = hard(400 + i), *c = hard(500 + i);
        run_as(&b, "noisy", a, &job, &outcomes[i], &runs[i]);
        run_as(&b, "noisy too", c, &job, &second[i], &runs[3 + i]);
    }
    for (int i = 0; i < 10; i++)
        (void)sd_event_run(b.event, 10000);
    assert_int_equal(b.supervisor->compilers, 3); /* two and one: the last place is kept */
    run_as(&b, "quiet", hello, &job, &quiet, NULL);
    wait_for(&b, &quiet);
    assert_int_equal(quiet.status, PA_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(outcomes[i].results + second[i].results, 0);
    for (int i = 0; i < 6; i++)
        supervisor_cancel(runs[i]);
    close_bench(&b);
    assert_false(has_children());
}

/* A stranger could leave any number behind. */
static void test_what_nobody_waits_for_is_not_compiled(void **state) {
    struct bench b;
    struct pa_job job = new_job();
    struct outcome outcome;
    struct supervisor_run *run;
    (void)state;
    open_bench(&b, plain);
    for (int i = 0; i < 300; i++) {
        _cleanup_(freep) char *wat = hard(1 + i);
        run_as(&b, "noisy", wat, &job, &outcome, &run);
        supervisor_cancel(run);
    }
    assert_int_equal(b.supervisor->code_count, 0); /* nor kept */
    assert_int_equal(b.supervisor->compilers, 0);
    close_bench(&b);
}

static void test_callers_of_an_interpreter_are_told_when_to_come_again(void **state) {
    struct bench b;
    struct pa_job job = new_job(), brief = new_job();
    struct outcome first, second;
    _cleanup_(freep) char *wat = hard(60);
    (void)state;
    open_bench(&b, plain);
    know(&b, wat, "slow");
    brief.limits.execution_timeout_ms = 50;
    run_as(&b, "one", wat, &brief, &first, NULL);
    wait_for(&b, &first);
    assert_int_equal(first.status, PA_OVERLOADED);
    if (strstr(first.message, "the interpreter slow is being compiled, for 0 s now; retry in ") ==
        NULL)
        fail_msg("%s", first.message);
    while (b.supervisor->compilers > 0) /* it goes on */
        turn(&b);
    run_as(&b, "two", wat, &job, &second, NULL);
    wait_for(&b, &second);
    assert_int_equal(second.status, PA_OK);
    close_bench(&b);
}

static void test_an_interpreter_has_no_bound_but_the_hosts_and_is_tried_again(void **state) {
    struct bench b;
    struct pa_job job = new_job();
    struct outcome known, strangers;
    struct supervisor_config config = plain;
    _cleanup_(freep) char *wat = hard(60), *other = hard(61);
    (void)state;
    config.compile = (struct compiler_bounds){.memory_bytes = 16 << 20};
    open_bench(&b, config);
    know(&b, wat, "slow");
    run_as(&b, "one", other, &job, &strangers, NULL);
    wait_for(&b, &strangers);
#if !defined(__SANITIZE_ADDRESS__)
    assert_int_equal(strangers.status, PA_INVALID_MODULE);
    assert_non_null(strstr(strangers.message, "it needs more than 16 MiB of memory to compile"));
#endif
    b.supervisor->config.compile = (struct compiler_bounds){.wall_ms = 20};
    run_as(&b, "one", wat, &job, &known, NULL);
    wait_for(&b, &known);
    assert_int_equal(known.status, PA_OVERLOADED);
    if (strstr(known.message, "the interpreter slow could not be compiled and is tried again") ==
        NULL)
        fail_msg("%s", known.message);
    b.supervisor->config.compile = (struct compiler_bounds){0};
    run_as(&b, "one", wat, &job, &known, NULL); /* waits for the next try */
    wait_for(&b, &known);
    assert_int_equal(known.status, PA_OK);
    close_bench(&b);
}

static void test_a_damaged_interpreter_is_the_servers_fault(void **state) {
    static const char damaged[] = "(module (func (export \"_start\") (nonsense)))";
    struct bench b;
    struct pa_job job = new_job();
    struct outcome outcome;
    (void)state;
    open_bench(&b, plain);
    know(&b, damaged, "broken");
    run_as(&b, "one", damaged, &job, &outcome, NULL);
    wait_for(&b, &outcome);
    assert_int_equal(outcome.status, PA_INTERNAL);
    assert_non_null(strstr(outcome.message, "the interpreter broken cannot be compiled"));
    close_bench(&b);
}

int main(int argc, char **argv) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tenants_take_turns),
        cmocka_unit_test(test_what_nobody_waits_for_is_not_compiled),
        cmocka_unit_test(test_callers_of_an_interpreter_are_told_when_to_come_again),
        cmocka_unit_test(test_an_interpreter_has_no_bound_but_the_hosts_and_is_tried_again),
        cmocka_unit_test(test_a_damaged_interpreter_is_the_servers_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

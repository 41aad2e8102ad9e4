/* Promise: no tenant takes all places or the whole queue, nor do several together keep one out that
 * has nothing there; who is refused is told whose bound it was and when to come again. */
#include "supervisor/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RUNS = 512 };

struct bench {
    struct supervisor supervisor;
    struct supervisor_run runs[RUNS];
    size_t count;
};

static int set_up(void **state) {
    struct bench *b = calloc(1, sizeof *b);
    *state = b;
    if (b == NULL) return -1;
    TAILQ_INIT(&b->supervisor.tenants);
    TAILQ_INIT(&b->supervisor.runs);
    b->supervisor.mean_run_ns = 1000 * NS_PER_MS;
    return 0;
}

static int tear_down(void **state) {
    struct bench *b = *state;
    struct tenant *tenant;
    while ((tenant = TAILQ_FIRST(&b->supervisor.tenants)) != NULL) {
        TAILQ_REMOVE(&b->supervisor.tenants, tenant, link);
        free(tenant);
    }
    free(b);
    return 0;
}

/* 0, or -1 with `err`. */
static int submit(struct bench *b, const char *name, struct error *err) {
    struct supervisor_run *run = &b->runs[b->count];
    struct tenant *tenant = queue_tenant(&b->supervisor, name, err);
    assert_non_null(tenant);
    assert_true(b->count < RUNS);
    if (queue_check(&b->supervisor, tenant, err) != 0) return -1;
    *run = (struct supervisor_run){.supervisor = &b->supervisor, .tenant = tenant};
    b->count++;
    queue_push(run);
    return 0;
}

/* How many of `tries` are taken. */
static int flood(struct bench *b, const char *name, int tries, struct error *err) {
    int taken = 0;
    for (int i = 0; i < tries; i++)
        taken += submit(b, name, err) == 0;
    return taken;
}

static int dispatch(struct bench *b) {
    int count = 0;
    while (queue_pop(&b->supervisor) != NULL)
        count++;
    return count;
}

static uint32_t running(struct bench *b, const char *name) {
    struct error err = {0};
    return queue_tenant(&b->supervisor, name, &err)->running;
}

static void test_a_tenant_has_three_quarters_of_the_places(void **state) {
    struct bench *b = *state;
    struct error err = {0};
    b->supervisor.config = (struct supervisor_config){.max_running = 16, .max_queued = 100};
    queue_new(&b->supervisor);
    assert_int_equal(flood(b, "uid 0/second", 50, &err), 50);
    assert_int_equal(dispatch(b), 12);
    assert_int_equal(submit(b, "uid 0/first", &err), 0);
    assert_int_equal(dispatch(b), 1); /* at once, whatever waits of the other */
    assert_int_equal(running(b, "uid 0/first"), 1);
}

/* Two with three quarters each would have all of it. */
static void test_some_places_are_kept_for_those_that_run_nothing(void **state) {
    struct bench *b = *state;
    struct error err = {0};
    b->supervisor.config = (struct supervisor_config){.max_running = 16, .max_queued = 200};
    queue_new(&b->supervisor);
    (void)flood(b, "uid 0/second", 50, &err);
    (void)flood(b, "uid 0/third", 50, &err);
    assert_int_equal(dispatch(b), 14);
    assert_int_equal(submit(b, "uid 0/first", &err), 0);
    assert_int_equal(submit(b, "uid 0/first", &err), 0);
    assert_int_equal(dispatch(b), 1);
    assert_int_equal(submit(b, "uid 0/fourth", &err), 0);
    assert_int_equal(dispatch(b), 1);
    assert_int_equal(b->supervisor.running, 16);
}

static void test_a_tenant_has_three_quarters_of_the_queue(void **state) {
    struct bench *b = *state;
    struct error err = {0};
    b->supervisor.config = (struct supervisor_config){.max_running = 1, .max_queued = 100};
    queue_new(&b->supervisor);
    assert_int_equal(flood(b, "uid 0/second", 200, &err), 75);
    assert_int_equal(err.code, PA_OVERLOADED);
    assert_non_null(strstr(err.text, "your share of the queue"));
    assert_non_null(strstr(err.text, "queue.max_tenant_queued"));
    assert_int_equal(flood(b, "uid 0/third", 200, &err), 88 - 75);
    assert_non_null(strstr(err.text, "the server's queue"));
    assert_int_equal(submit(b, "uid 0/first", &err), 0); /* it has nothing there */
    assert_int_equal(submit(b, "uid 0/first", &err), -1);
}

/* They hold their module and their data. */
static void test_runs_that_are_compiled_take_room(void **state) {
    struct bench *b = *state;
    struct error err = {0};
    b->supervisor.config = (struct supervisor_config){.max_running = 1, .max_queued = 100};
    queue_new(&b->supervisor);
    queue_tenant(&b->supervisor, "uid 0/second", &err)->compiling = b->supervisor.compiling = 70;
    assert_int_equal(flood(b, "uid 0/second", 200, &err), 5);
}

static void test_shares_by_name(void **state) {
    static const struct config_tenant named[] = {{.name = (char *)"ci", .running = 2, .queued = 3},
                                                 {.name = (char *)"anonymous", .running = 16}};
    struct bench *b = *state;
    struct error err = {0};
    b->supervisor.config = (struct supervisor_config){.max_running = 16,
                                                      .max_queued = 100,
                                                      .max_tenant_running = 5,
                                                      .tenants = named,
                                                      .tenant_count = 2};
    queue_new(&b->supervisor);
    assert_int_equal(flood(b, "uid 1000/ci", 50, &err), 3);
    assert_int_equal(dispatch(b), 2);
    assert_int_equal(flood(b, "uid 1000/other", 50, &err), 50);
    assert_int_equal(dispatch(b), 5);
    assert_int_equal(flood(b, "uid 0/anonymous", 20, &err), 20);
    assert_int_equal(dispatch(b), 9);
    assert_int_equal(running(b, "uid 0/anonymous"), 9); /* to whom all of it is given */
}

/* A server for one: few places, and all of them to be had. */
static void test_few_places_are_not_divided(void **state) {
    for (uint32_t places = 1; places <= 3; places++) {
        struct error err = {0};
        (void)tear_down(state);
        assert_int_equal(set_up(state), 0);
        struct bench *b = *state;
        b->supervisor.config = (struct supervisor_config){.max_running = places};
        queue_new(&b->supervisor);
        (void)flood(b, "uid 0", 5, &err);
        assert_int_equal(dispatch(b), places);
    }
}

/* Not after all that wait, each for as long as the longest. */
static void test_the_hint_is_when_there_is_room(void **state) {
    struct bench *b = *state;
    struct error err = {0};
    b->supervisor.config = (struct supervisor_config){.max_running = 4, .max_queued = 100};
    queue_new(&b->supervisor);
    (void)flood(b, "uid 0", 100, &err);
    assert_int_equal(dispatch(b), 3);
    (void)flood(b, "uid 0", 100, &err);
    assert_non_null(strstr(err.text, "retry in 333 ms"));
    b->supervisor.mean_run_ns = 300000 * NS_PER_MS;
    assert_int_equal(submit(b, "uid 0", &err), -1);
    assert_non_null(strstr(err.text, "retry in 10000 ms"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_tenant_has_three_quarters_of_the_places, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_some_places_are_kept_for_those_that_run_nothing,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_tenant_has_three_quarters_of_the_queue, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_runs_that_are_compiled_take_room, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_shares_by_name, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_few_places_are_not_divided, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_hint_is_when_there_is_room, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

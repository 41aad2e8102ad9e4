/* Promise: jobs are done beside the loop and told in it; one tenant's never wait for another's;
 * their number is bounded, but for removals; at the end all are done. */
#include "server/work.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct one {
    struct work_job job;
    sem_t *waits, *posts; /* NULL: none */
    pthread_t thread;
    int order; /* in which it was told; 0: not yet */
    bool acted;
};
static int told;

static void act(struct work_job *job) {
    struct one *one = (struct one *)job;
    one->thread = pthread_self();
    if (one->waits != NULL) (void)sem_wait(one->waits);
    if (one->posts != NULL) (void)sem_post(one->posts);
    one->acted = true;
}

static void done(struct work_job *job) {
    struct one *one = (struct one *)job;
    assert_true(one->acted);
    one->order = ++told;
}

static struct one make(const char *tenant, enum work_kind kind) {
    struct one one = {.job = {.kind = kind, .act = act, .done = done}};
    (void)snprintf(one.job.tenant, sizeof one.job.tenant, "%s", tenant);
    return one;
}

static struct work *start(sd_event **event) {
    struct error err = {0};
    told = 0;
    assert_true(sd_event_new(event) >= 0);
    struct work *work = work_new(*event, NULL, NULL, &err);
    assert_non_null(work);
    return work;
}

static void stop(struct work *work, sd_event *event) {
    work_free(work);
    sd_event_unref(event);
}

static void submit(struct work *work, struct one *one) {
    struct error err = {0};
    assert_int_equal(work_submit(work, &one->job, &err), 0);
}

static void until(sd_event *event, const struct one *one) {
    while (one->order == 0)
        assert_true(sd_event_run(event, UINT64_MAX) >= 0);
}

static void test_another_tenant_does_not_wait(void **state) {
    sd_event *event;
    struct work *work = start(&event);
    struct one mine[8], other = make("b", WORK_FILES), text = make("a", WORK_TEXT);
    sem_t go;
    (void)state;
    (void)sem_init(&go, 0, 0);
    for (int i = 0; i < 8; i++) {
        mine[i] = make("a", WORK_FILES);
        mine[i].waits = &go;
        submit(work, &mine[i]);
    }
    submit(work, &other);
    submit(work, &text); /* nor does another kind */
    until(event, &other);
    until(event, &text);
    assert_int_equal(mine[0].order, 0);
    assert_false(pthread_equal(other.thread, pthread_self()));
    for (int i = 0; i < 8; i++)
        (void)sem_post(&go);
    until(event, &mine[7]);
    for (int i = 1; i < 8; i++)
        assert_int_equal(mine[i].order, mine[i - 1].order + 1);
    assert_int_equal(work_count(work), 0);
    stop(work, event);
    (void)sem_destroy(&go);
}

static void test_removals_leave_threads_to_others(void **state) {
    sd_event *event;
    struct work *work = start(&event);
    struct one removals[2 * WORK_THREADS], files[2 * WORK_THREADS], text = make("t", WORK_TEXT);
    sem_t go;
    char name[8];
    (void)state;
    (void)sem_init(&go, 0, 0);
    for (int i = 0; i < 2 * WORK_THREADS; i++) {
        (void)snprintf(name, sizeof name, "%d", i);
        removals[i] = make(name, WORK_REMOVAL);
        files[i] = make(name, WORK_FILES);
        removals[i].waits = files[i].waits = &go;
        submit(work, &removals[i]);
        if (i < WORK_THREADS - 2) submit(work, &files[i]);
    }
    submit(work, &text);
    until(event, &text);
    for (int i = 0; i < 4 * WORK_THREADS; i++)
        (void)sem_post(&go);
    stop(work, event); /* does the rest */
    assert_int_equal(removals[2 * WORK_THREADS - 1].acted, true);
    (void)sem_destroy(&go);
}

static void test_there_is_a_bound(void **state) {
    enum { COUNT = WORK_MAX_WAITING + 2 };
    static struct one all[COUNT], removals[COUNT];
    sd_event *event;
    struct work *work = start(&event);
    struct error err = {0};
    sem_t go;
    int refused = 0;
    (void)state;
    (void)sem_init(&go, 0, 0);
    struct one first = make("a", WORK_FILES);
    first.waits = &go;
    submit(work, &first);
    for (int i = 0; i < COUNT; i++) {
        all[i] = make("a", WORK_FILES);
        removals[i] = make("a", WORK_REMOVAL);
        submit(work, &removals[i]);
        if (work_submit(work, &all[i].job, &err) != 0) refused++;
    }
    assert_in_range(refused, 2, 3); /* the first may have been begun, or not */
    assert_int_equal(err.code, PA_OVERLOADED);
    (void)sem_post(&go);
    stop(work, event);
    for (int i = 0; i < COUNT; i++)
        assert_true(removals[i].order > 0);
    (void)sem_destroy(&go);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_another_tenant_does_not_wait),
                                       cmocka_unit_test(test_removals_leave_threads_to_others),
                                       cmocka_unit_test(test_there_is_a_bound)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Promise: requests and results have room in memory, bounded all together, and a share for each
 * sender: who has taken its share waits or is refused, while another is served. */
#include "server/intake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

enum { MOST = 1 << 20, SHARE = 2 * MOST };

static int told;

static void on_room(void *context) {
    (void)context;
    told++;
}

static void count(struct intake_waiter *waiter) {
    assert_int_equal(waiter->claim.bytes, waiter->bytes);
    told++;
}

static struct intake_waiter waiter_of(const char *name, size_t bytes) {
    struct intake_waiter waiter = {.bytes = bytes, .ready = count};
    (void)snprintf(waiter.name, sizeof waiter.name, "%s", name);
    return waiter;
}

static struct intake start(void) {
    told = 0;
    return (struct intake){0};
}

static void test_shares(void **state) {
    struct intake intake = start();
    struct intake_claim body = {0}, more = {0}, other = {0}, third = {0};
    (void)state;
    intake_init(&intake, MOST, NULL, NULL);
    assert_int_equal(intake_grow(&intake, &body, "a", MOST + 1), INTAKE_TOO_LARGE);
    assert_int_equal(intake_grow(&intake, &body, "a", MOST), INTAKE_TAKEN);
    assert_int_equal(intake_grow(&intake, &more, "a", MOST / 2), INTAKE_NO_ROOM);
    assert_int_equal(intake_grow(&intake, &more, "a", 1000), INTAKE_TAKEN); /* small */
    assert_int_equal(intake_grow(&intake, &other, "b", MOST), INTAKE_TAKEN);
    assert_int_equal(intake_grow(&intake, &third, "c", MOST / 2), INTAKE_NO_ROOM);
    intake_release(&intake, &body);
    assert_int_equal(intake_grow(&intake, &third, "c", MOST / 2), INTAKE_TAKEN);
    intake_release(&intake, &more);
    intake_release(&intake, &other);
    intake_release(&intake, &third);
    assert_int_equal(intake.large_bytes + intake.small_bytes, 0);
    assert_true(TAILQ_EMPTY(&intake.senders));
}

static void test_a_claim_travels(void **state) {
    struct intake intake = start();
    struct intake_claim body = {0}, run, answer = {0}, more = {0};
    (void)state;
    intake_init(&intake, MOST, NULL, NULL);
    assert_int_equal(intake_grow(&intake, &body, "a", 100), INTAKE_TAKEN);
    run = intake_steal(&body);
    intake_release(&intake, &body); /* it has none any more */
    assert_int_equal(intake.small_bytes, 100);
    assert_int_equal(intake_keep(&intake, &run, "a", SHARE * 2), INTAKE_TAKEN); /* a share */
    assert_int_equal(run.bytes, SHARE);
    assert_int_equal(intake_grow(&intake, &more, "b", 100), INTAKE_TAKEN);
    intake_join(&intake, &answer, &run);
    intake_join(&intake, &answer, &more);
    assert_int_equal(answer.bytes, SHARE + 100);
    assert_int_equal(intake.large_bytes, SHARE + 100);
    assert_int_equal(intake_grow(&intake, &more, "a", MOST / 2), INTAKE_NO_ROOM);
    intake_release(&intake, &answer);
    assert_true(TAILQ_EMPTY(&intake.senders));
}

static void test_results_wait_for_room(void **state) {
    struct intake intake = start();
    struct intake_waiter first = waiter_of("a", SHARE), second = waiter_of("a", MOST),
                         third = waiter_of("a", 1), other = waiter_of("b", SHARE);
    (void)state;
    intake_init(&intake, MOST, on_room, NULL);
    assert_true(intake_wait(&intake, &first));
    assert_false(intake_wait(&intake, &second));
    assert_false(intake_wait(&intake, &third)); /* after that one */
    assert_true(intake_wait(&intake, &other));
    intake_admit(&intake);
    assert_int_equal(told, 1); /* a small one */
    assert_int_equal(second.claim.bytes, 0);
    intake_forget(&intake, &first);
    assert_int_equal(told, 2); /* there is room */
    intake_admit(&intake);
    assert_int_equal(told, 3);
    assert_int_equal(second.claim.bytes, MOST);
    intake_forget(&intake, &second);
    intake_forget(&intake, &third);
    intake_forget(&intake, &other);
    assert_true(TAILQ_EMPTY(&intake.senders));
}

static void test_few_results_wait(void **state) {
    static struct intake_waiter all[INTAKE_MAX_WAITING + 1];
    struct intake intake = start();
    struct intake_waiter first = waiter_of("a", SHARE), other = waiter_of("b", SHARE);
    (void)state;
    intake_init(&intake, MOST, on_room, NULL);
    assert_true(intake_wait(&intake, &first));
    for (int i = 0; i <= INTAKE_MAX_WAITING; i++) {
        all[i] = waiter_of("a", MOST);
        assert_false(intake_wait(&intake, &all[i]));
        assert_int_equal(all[i].waits, i < INTAKE_MAX_WAITING);
    }
    assert_true(intake_wait(&intake, &other));
    intake_forget(&intake, &first);
    for (int i = 0; i <= INTAKE_MAX_WAITING; i++)
        intake_forget(&intake, &all[i]);
    intake_forget(&intake, &other);
    assert_true(TAILQ_EMPTY(&intake.senders) && TAILQ_EMPTY(&intake.waiters));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shares), cmocka_unit_test(test_a_claim_travels),
        cmocka_unit_test(test_results_wait_for_room), cmocka_unit_test(test_few_results_wait)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

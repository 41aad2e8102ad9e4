/* Promise: whatever happens to workers, zygotes and the compiler, each job gets one result, no
 * other job is lost, and nothing is left behind: no process, no descriptor, no directory. */
#include "fixture.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char hello[] = HELLO("");
static const char slow[] = HELLO("(loop $l (local.set $i (i32.add (local.get $i) (i32.const 1)))"
                                 "(br_if $l (i32.lt_u (local.get $i) (i32.const 2000000))))");
static const char endless[] = MODULE(START("(loop $l (br $l))"));
static const char trap[] = MODULE(START("unreachable"));

#if defined(__SANITIZE_ADDRESS__) /* its processes start 10 times slower */
#define RANDOM_KILLS 100
#else
#define RANDOM_KILLS 1000
#endif

/* Every job has one result; a trap, a native crash and an endless loop hurt only themselves. */
static void test_failures_hurt_only_themselves(void **state) {
    struct bench b;
    struct outcome outcomes[40];
    struct pa_job job = new_job(), brief = new_job();
    (void)state;
    brief.limits.execution_timeout_ms = 100;
    open_bench(&b, (struct supervisor_config){.keep_warm = true, .spare_workers = 2});
    for (int i = 0; i < 40; i += 4) {
        submit(&b, hello, &job, &outcomes[i]);
        submit(&b, trap, &job, &outcomes[i + 1]);
        submit(&b, endless, &brief, &outcomes[i + 2]);
        submit(&b, hello, &job, &outcomes[i + 3]);
    }
    for (int i = 0; i < 40; i++)
        wait_for(&b, &outcomes[i]);
    for (int i = 0; i < 40; i += 4) {
        assert_string_equal(outcomes[i].output, "Hi!\n");
        assert_int_equal(outcomes[i + 1].status, PA_TRAP);
        assert_int_equal(outcomes[i + 2].status, PA_TIMEOUT);
        assert_string_equal(outcomes[i + 3].output, "Hi!\n");
        assert_true(outcomes[i].layers & LAYER_SECCOMP);
        for (int j = 0; j < 4; j++)
            assert_int_equal(outcomes[i + j].results, 1);
    }
    close_bench(&b);
    assert_false(has_children());
}

/* Native code gone wrong in a worker, as a defect of the engine would: its own run says so, those
 * beside it end well. */
static void test_native_crashes_hurt_only_themselves(void **state) {
    static const char deed[] = "(module (import \"wasi_snapshot_preview1\" \"sched_yield\""
                               " (func $yield (result i32))) (memory (export \"memory\") 1)" START(
                                   "(drop (call $yield))") ")";
    static const char *const crash[] = {"module", "crash"}, *const abortion[] = {"module", "abort"};
    struct bench b;
    struct outcome outcomes[30];
    struct pa_job job = new_job(), bad = new_job();
    (void)state;
    char *helper = strdup(getenv("POLYAGENT_HELPER"));
    assert_int_equal(setenv("POLYAGENT_HELPER", getenv("HOSTILE_HELPER"), 1), 0);
    open_bench(&b, (struct supervisor_config){.keep_warm = true, .spare_workers = 2});
    bad.argc = 2;
    for (int i = 0; i < 30; i++) {
        bad.argv = i % 2 ? crash : abortion;
        submit(&b, i % 3 ? hello : deed, i % 3 ? &job : &bad, &outcomes[i]);
    }
    for (int i = 0; i < 30; i++) {
        wait_for(&b, &outcomes[i]);
        assert_int_equal(outcomes[i].status, i % 3 ? PA_OK : PA_INTERNAL);
        assert_string_equal(outcomes[i].output, i % 3 ? "Hi!\n" : "");
#if !defined(__SANITIZE_ADDRESS__) /* which would tell of it, by calls that the filter forbids */
        if (i % 3 == 0) assert_non_null(strstr(outcomes[i].message, "signal"));
#endif
    }
    close_bench(&b);
    assert_false(has_children());
    assert_int_equal(setenv("POLYAGENT_HELPER", helper, 1), 0);
    free(helper);
}

/* SIGKILL of any process of ours at any moment: a job fails only if the worker that ran it was
 * killed, and says so; every other job ends well. */
static void test_kills_at_random_points(void **state) {
    enum { JOBS = 4, KILLS = RANDOM_KILLS, ONE_IN = 12 };
    struct bench b;
    struct outcome outcomes[JOBS];
    struct pa_job job = new_job();
    char modules[JOBS][sizeof slow + 64];
    int kills = 0, worker_kills = 0, victims = 0, done = 0, fds = count_fds();
    unsigned seed = 20261124;
    (void)state;
    open_bench(
        &b, (struct supervisor_config){.keep_warm = true, .spare_workers = 1, .max_running = JOBS});
    for (int i = 0; i < JOBS; i++) {
        (void)snprintf(modules[i], sizeof modules[i], "%s", slow);
        submit(&b, modules[i], &job, &outcomes[i]);
    }
    while (kills < KILLS) {
        turn(&b);
        for (int i = 0; i < JOBS; i++) {
            if (outcomes[i].results == 0) continue;
            assert_int_equal(outcomes[i].results, 1);
            done++;
            if (outcomes[i].status == PA_OK) {
                assert_string_equal(outcomes[i].output, "Hi!\n");
            } else {
                victims++;
                if (strstr(outcomes[i].message, "worker process ended by signal 9") == NULL) {
                    fail_msg("after %d kills: %s", kills, outcomes[i].message);
                }
            }
            /* Now and then one that has to be compiled. */
            if (rand_r(&seed) % 8 == 0) {
                (void)snprintf(modules[i], sizeof modules[i], "%s ;; %d", slow, done);
            }
            submit(&b, modules[i], &job, &outcomes[i]);
        }
        if (rand_r(&seed) % ONE_IN != 0) continue;
        pid_t pids[64];
        size_t count = children(pids, 64);
        if (count == 0) continue;
        pid_t pid = pids[(unsigned)rand_r(&seed) % count];
        worker_kills += is_worker(pid);
        assert_int_equal(kill(pid, SIGKILL), 0); /* not reaped yet: it is ours */
        kills++;
    }
    for (int i = 0; i < JOBS; i++)
        wait_for(&b, &outcomes[i]);
    print_message("%d kills, %d of workers; %d jobs done, %d of them killed\n", kills, worker_kills,
                  done, victims);
    assert_true(done > KILLS);
    assert_in_range(victims, 1, worker_kills);
    struct outcome last; /* and it is as good as new */
    submit(&b, hello, &job, &last);
    wait_for(&b, &last);
    assert_int_equal(last.status, PA_OK);
    close_bench(&b);
    assert_false(has_children());
    assert_int_equal(count_fds(), fds);
}

/* A zygote that dies takes no worker along. */
static void test_a_dead_zygote_takes_no_job_along(void **state) {
    struct bench b;
    struct outcome outcome;
    struct pa_job job = new_job();
    pid_t pids[8];
    (void)state;
    job.limits.execution_timeout_ms = 2000;
    open_bench(&b, (struct supervisor_config){.keep_warm = true});
    submit(&b, hello, &job, &outcome);
    wait_for(&b, &outcome);
    submit(&b, endless, &job, &outcome);
    struct supervisor_stats stats = {0};
    while (stats.running == 0 || children(pids, 8) != 2) {
        turn(&b);
        supervisor_get_stats(b.supervisor, &stats);
    }
    assert_true(is_worker(pids[0]) != is_worker(pids[1]));
    assert_int_equal(kill(pids[is_worker(pids[0]) ? 1 : 0], SIGKILL), 0);
    wait_for(&b, &outcome);
    assert_int_equal(outcome.status, PA_TIMEOUT); /* its own end */
    supervisor_get_stats(b.supervisor, &stats);
    close_bench(&b);
    assert_false(has_children());
}

/* A full queue refuses with a hint; tenants take turns; waiting counts for the deadline. */
static void test_queue_bounds_fairness_and_deadlines(void **state) {
    struct bench b;
    struct outcome busy, waiting[10], late;
    struct pa_job job = new_job(), brief = new_job();
    struct error err = {0};
    struct supervisor_run *run;
    (void)state;
    open_bench(&b,
               (struct supervisor_config){
                   .keep_warm = true, .max_running = 1, .max_queued = 10, .max_tenant_queued = 8});
    submit(&b, hello, &job, &busy);
    wait_for(&b, &busy);
    job.limits.execution_timeout_ms = 30000;
    assert_int_equal(submit_as(&b, "noisy", endless, &job, &busy, &run, &err), 0);
    struct supervisor_stats stats = {0};
    while (stats.running == 0) {
        turn(&b);
        supervisor_get_stats(b.supervisor, &stats);
    }
    brief.limits.execution_timeout_ms = 50;
    for (int i = 0; i < 8; i++)
        assert_int_equal(submit_as(&b, "noisy", hello, &job, &waiting[i], NULL, &err), 0);
    assert_int_equal(submit_as(&b, "noisy", hello, &job, &late, NULL, &err), -1);
    assert_int_equal(err.code, PA_OVERLOADED);
    assert_non_null(strstr(err.text, "retry in"));
    assert_int_equal(submit_as(&b, "quiet", hello, &job, &waiting[8], NULL, &err), 0);
    assert_int_equal(submit_as(&b, "late", hello, &brief, &late, NULL, &err), 0);
    wait_for(&b, &late);
    assert_int_equal(late.status, PA_TIMEOUT); /* while it waited */
    assert_non_null(strstr(late.message, "before the run could start"));
    supervisor_cancel(run);
    while (waiting[8].results == 0)
        turn(&b);
    int before = 0;
    for (int i = 0; i < 8; i++)
        before += waiting[i].results;
    assert_true(before <= 1); /* the quiet one did not wait for the noisy one's eight */
    for (int i = 0; i < 8; i++)
        wait_for(&b, &waiting[i]);
    assert_int_equal(busy.results, 1);
    assert_non_null(strstr(busy.message, "cancelled"));
    close_bench(&b);
    assert_false(has_children());
}

/* The supervisor's end gives each job its one result. */
static void test_closing_ends_every_job(void **state) {
    struct bench b;
    struct outcome outcomes[6];
    struct pa_job job = new_job();
    int fds = count_fds();
    (void)state;
    open_bench(&b, (struct supervisor_config){.keep_warm = true, .max_running = 2});
    for (int i = 0; i < 6; i++)
        submit(&b, i % 2 ? hello : endless, &job, &outcomes[i]);
    for (int i = 0; i < 20; i++)
        (void)sd_event_run(b.event, 10000);
    close_bench(&b);
    for (int i = 0; i < 6; i++)
        assert_int_equal(outcomes[i].results, 1);
    assert_false(has_children());
    assert_int_equal(count_fds(), fds);
}

int main(int argc, char **argv) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failures_hurt_only_themselves),
        cmocka_unit_test(test_native_crashes_hurt_only_themselves),
        cmocka_unit_test(test_kills_at_random_points),
        cmocka_unit_test(test_a_dead_zygote_takes_no_job_along),
        cmocka_unit_test(test_queue_bounds_fairness_and_deadlines),
        cmocka_unit_test(test_closing_ends_every_job),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Promise: nothing grows with the number of runs or of waiting workers: not the zygote's memory,
 * not descriptors, not processes. WEAR_RUNS sets how many runs that is tried with. */
#include "fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static const char hello[] = HELLO("");

#if defined(__SANITIZE_ADDRESS__)
enum { DEFAULT_RUNS = 500, PARKED = 20 };
#else
enum { DEFAULT_RUNS = 5000, PARKED = 1000 };
#endif
enum { FEW_RUNS = 100, PRIVATE_KIB = 2048 };

struct wear {
    uint64_t runs;
    long zygote_pages;
    int zygote_fds, own_fds;
    size_t processes;
};

static pid_t the_zygote(void) {
    pid_t pids[64];
    size_t count = children(pids, 64);
    for (size_t i = 0; i < count; i++) {
        if (!is_worker(pids[i])) return pids[i];
    }
    fail_msg("no zygote");
    return 0;
}

static struct wear look(uint64_t runs) {
    struct wear wear = {.runs = runs, .own_fds = count_fds()};
    char path[64];
    pid_t pids[256], zygote = the_zygote();
    (void)snprintf(path, sizeof path, "/proc/%d/statm", zygote);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%*u %ld", &wear.zygote_pages), 1);
    (void)fclose(file);
    (void)snprintf(path, sizeof path, "/proc/%d/fd", zygote);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    while (readdir(dir) != NULL)
        wear.zygote_fds++;
    (void)closedir(dir);
    wear.processes = children(pids, 256);
    return wear;
}

/* The dead ones are reaped, and as many parked as will be. */
static void settle(struct bench *b) {
    while (sd_event_run(b->event, 300000) > 0) {
    }
}

/* One after the other, in the same zygote. */
static void test_many_runs_leave_no_trace(void **state) {
    struct bench b;
    struct pa_job job = new_job();
    const char *wanted = getenv("WEAR_RUNS");
    uint64_t runs = wanted != NULL ? strtoull(wanted, NULL, 10) : DEFAULT_RUNS;
    struct wear few = {0};
    (void)state;
    open_bench(&b, (struct supervisor_config){
                       .keep_warm = true, .spare_workers = 2, .runs_per_zygote = UINT32_MAX});
    for (uint64_t i = 0; i < runs; i++) {
        struct outcome outcome;
        submit(&b, hello, &job, &outcome);
        wait_for(&b, &outcome);
        assert_string_equal(outcome.output, "Hi!\n");
        if (i == FEW_RUNS) {
            settle(&b);
            few = look(i);
        }
    }
    settle(&b);
    struct wear many = look(runs);
    print_message("after %llu runs: %ld pages, %d and %d descriptors, %zu processes\n"
                  "after %llu runs: %ld pages, %d and %d descriptors, %zu processes\n",
                  (unsigned long long)few.runs, few.zygote_pages, few.zygote_fds, few.own_fds,
                  few.processes, (unsigned long long)many.runs, many.zygote_pages, many.zygote_fds,
                  many.own_fds, many.processes);
    assert_in_range(many.zygote_pages, 1, few.zygote_pages + 16);
    assert_int_equal(many.zygote_fds, few.zygote_fds);
    /* By chance a worker more is parked. Slots keep a descriptor: as many as were ever at once. */
    assert_in_range(many.own_fds, 1, few.own_fds + 16);
    assert_in_range(many.processes, 1, few.processes + 1);
    close_bench(&b);
    assert_false(has_children());
}

/* Memory that a process shares with nobody, in KiB. */
static long private_kib(pid_t pid) {
    char path[64], line[128];
    long sum = 0, value;
    (void)snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "Private_Clean: %ld", &value) == 1 ||
            sscanf(line, "Private_Dirty: %ld", &value) == 1) {
            sum += value;
        }
    }
    (void)fclose(file);
    return sum;
}

/* A thousand children of a warm Python wait side by side, none with 2 MiB of its own. */
static void test_parked_workers_are_small(void **state) {
    static pid_t pids[PARKED + 64];
    struct bench b;
    struct outcome outcome;
    struct supervisor_stats stats;
    struct rlimit files;
    char name[32];
    long largest = 0, sum = 0;
    size_t workers = 0;
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
    files.rlim_cur = files.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
    if (files.rlim_cur < 4 * PARKED + 256) skip();
    open_bench(&b, (struct supervisor_config){.keep_warm = true, .spare_workers = PARKED});
    run_python(&b, "print(1)", "json,random,re", new_job(), &outcome);
    assert_string_equal(outcome.output, "1\n");
    do {
        turn(&b);
        supervisor_get_stats(b.supervisor, &stats);
    } while (stats.parked < PARKED);
    size_t count = children(pids, PARKED + 64);
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(name, sizeof name, "%d", pids[i]);
        if (!is_worker(pids[i])) continue;
        long kib = private_kib(pids[i]);
        largest = kib > largest ? kib : largest;
        sum += kib;
        workers++;
    }
    print_message("%zu parked workers: %ld KiB of their own on average, %ld at most\n", workers,
                  sum / (long)workers, largest);
    assert_in_range(workers, PARKED, PARKED + 4); /* the first run's may not be reaped yet */
#if !defined(__SANITIZE_ADDRESS__)
    assert_in_range(largest, 1, PRIVATE_KIB);
#endif
    close_bench(&b);
    assert_false(has_children());
}

/* A zygote is replaced after its runs, without a pause. */
static void test_worn_zygotes_are_replaced(void **state) {
    struct bench b;
    struct outcome outcome;
    struct supervisor_stats stats;
    struct pa_job job = new_job();
    (void)state;
    open_bench(&b, (struct supervisor_config){
                       .keep_warm = true, .runs_per_zygote = 10, .spare_workers = 1});
    for (int i = 0; i < 100; i++) {
        submit(&b, hello, &job, &outcome);
        wait_for(&b, &outcome);
        assert_int_equal(outcome.status, PA_OK);
    }
    supervisor_get_stats(b.supervisor, &stats);
    assert_in_range(stats.zygotes_started, 3, 12);
    assert_true(stats.zygotes <= 2);
    close_bench(&b);
    assert_false(has_children());
}

int main(int argc, char **argv) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_runs_leave_no_trace),
        cmocka_unit_test(test_parked_workers_are_small),
        cmocka_unit_test(test_worn_zygotes_are_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

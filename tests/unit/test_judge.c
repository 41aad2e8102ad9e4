/* Promise: what ended a run is told by the kernel and the supervisor's own clock; what the worker
 * wrote into its report counts only where these leave room for it. */
#include "supervisor/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <string.h>

static const struct pa_limits limits = {.execution_timeout_ms = 5000,
                                        .cpu_time_ms = 700,
                                        .workspace_bytes = 1 << 20,
                                        .workspace_inodes = 100};

/* A report as an honest worker leaves it. */
static struct worker_report honest(void) {
    return (struct worker_report){
        .layers = LAYERS_ALL, .started = 1, .run = {.finished = true, .exit_code = 3}};
}

static struct worker_report judged(struct worker_report report, const siginfo_t *info,
                                   bool out_of_time) {
    const struct verdict_facts facts = {.limits = &limits,
                                        .info = info,
                                        .required_layers = LAYER_SECCOMP,
                                        .cpu_ns = 442 * NS_PER_MS,
                                        .out_of_time = out_of_time};
    judge_run(&facts, &report);
    return report;
}

static siginfo_t ended(int code, int status) {
    return (siginfo_t){.si_code = code, .si_status = status};
}

static void test_an_honest_report_stands(void **state) {
    const siginfo_t exited = ended(CLD_EXITED, WORKER_EXIT_REPORTED);
    (void)state;
    assert_int_equal(judged(honest(), &exited, false).run.exit_code, 3);
    assert_int_equal(judged(honest(), NULL, false).run.exit_code, 3); /* by its word */
    struct worker_report trap = honest();
    trap.run.status = PA_TRAP;
    assert_int_equal(judged(trap, &exited, false).run.status, PA_TRAP);
}

/* Who counts by it must be able to add it up. */
static void test_growth_is_within_the_quota(void **state) {
    const siginfo_t exited = ended(CLD_EXITED, WORKER_EXIT_REPORTED);
    struct worker_report report = honest();
    (void)state;
    report.run.growth = (struct wasi_growth){.bytes = 4096, .names = -3};
    struct wasi_growth growth = judged(report, &exited, false).run.growth;
    assert_true(growth.bytes == 4096 && growth.names == -3);
    report.run.growth = (struct wasi_growth){.bytes = INT64_MAX, .names = 101};
    growth = judged(report, &exited, false).run.growth;
    assert_true(growth.bytes == 1 << 20 && growth.names == 100);
    report.run.growth = (struct wasi_growth){.bytes = INT64_MIN, .names = INT64_MIN};
    growth = judged(report, &exited, true).run.growth;
    assert_true(growth.bytes == -INT64_MAX && growth.names == -INT64_MAX);
}

/* It says OK, but the kernel knows better. */
static void test_the_kernel_outranks_the_report(void **state) {
    const struct {
        int code, status;
        bool out_of_time;
        enum pa_status verdict;
        const char *text;
    } cases[] = {
        {CLD_KILLED, SIGKILL, true, PA_TIMEOUT,
         "5000 ms of wall time have passed, and it got 442 ms of processor time"},
        {CLD_KILLED, SIGKILL, false, PA_INTERNAL, "signal 9"},
        {CLD_KILLED, SIGSYS, false, PA_INTERNAL, "policy violation"},
        {CLD_DUMPED, SIGSYS, false, PA_INTERNAL, "policy violation"},
        {CLD_KILLED, SIGSEGV, false, PA_INTERNAL, "signal 11"},
        {CLD_DUMPED, SIGABRT, false, PA_INTERNAL, "signal 6"},
        {CLD_KILLED, SIGXCPU, false, PA_TIMEOUT, "700 ms of CPU time"},
        {CLD_EXITED, WORKER_EXIT_CPU_TIME, false, PA_TIMEOUT, "700 ms of CPU time"},
        {CLD_EXITED, WORKER_EXIT_FAILED, false, PA_INTERNAL, "exit code 1"},
        {CLD_EXITED, 77, false, PA_INTERNAL, "exit code 77"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const siginfo_t info = ended(cases[i].code, cases[i].status);
        struct worker_report report = judged(honest(), &info, cases[i].out_of_time);
        assert_int_equal(report.run.status, cases[i].verdict);
        assert_int_equal(report.run.exit_code, 0);
        if (strstr(report.run.message, cases[i].text) == NULL) fail_msg("%s", report.run.message);
    }
}

/* A run that ended just before its deadline is not made a timeout by the clock. */
static void test_a_finished_run_is_no_timeout(void **state) {
    const siginfo_t exited = ended(CLD_EXITED, WORKER_EXIT_REPORTED);
    (void)state;
    assert_int_equal(judged(honest(), &exited, true).run.status, PA_OK);
}

/* Forged or senseless reports. */
static void test_forged_reports_are_no_results(void **state) {
    const siginfo_t exited = ended(CLD_EXITED, WORKER_EXIT_REPORTED);
    (void)state;
    struct worker_report report = honest();
    report.run.finished = false;
    assert_int_equal(judged(report, &exited, false).run.status, PA_INTERNAL);
    assert_int_equal(judged(report, NULL, false).run.status, PA_INTERNAL);
    report = honest();
    report.run.status = (enum pa_status)1000;
    assert_int_equal(judged(report, &exited, false).run.status, PA_INTERNAL);
    report.run.status = (enum pa_status) - 1;
    assert_int_equal(judged(report, NULL, false).run.status, PA_INTERNAL);
    report = honest(); /* text without an end */
    report.run.status = PA_TRAP;
    memset(report.run.message, 'x', sizeof report.run.message);
    memset(report.run.backtrace, 'x', sizeof report.run.backtrace);
    report = judged(report, &exited, false);
    assert_int_equal(strlen(report.run.message), sizeof report.run.message - 1);
    assert_int_equal(strlen(report.run.backtrace), sizeof report.run.backtrace - 1);
}

/* What native code in the worker's place says is text of a stranger. */
static void test_a_reports_texts_are_made_fit_to_show(void **state) {
    const siginfo_t exited = ended(CLD_EXITED, WORKER_EXIT_REPORTED);
    struct worker_report report = honest();
    (void)state;
    report.run.status = PA_TRAP;
    strcpy(report.run.message, "\x1b[2J\xff\nstatus OK");
    strcpy(report.run.backtrace, "#0 a\n#1 \x9b\x1b]0;x\a\n");
    report = judged(report, &exited, false);
    assert_string_equal(report.run.message, "\\x1b[2J\xef\xbf\xbd\\nstatus OK");
    assert_string_equal(report.run.backtrace, "#0 a\n#1 \xef\xbf\xbd\\x1b]0;x\\a\n");
    for (size_t ahead = 0; ahead < 2; ahead++) { /* cut within a character */
        memset(report.run.message, 'x', ahead);
        for (size_t at = ahead; at + 1 < sizeof report.run.message; at += 2)
            memcpy(report.run.message + at, "\xc3\xa9", 2);
        report = judged(report, &exited, false);
        assert_int_equal((strlen(report.run.message) - ahead) % 2, 0);
    }
}

/* A guest that ran without a required layer has no result, whatever it did. */
static void test_a_missing_layer_is_denied(void **state) {
    const siginfo_t exited = ended(CLD_EXITED, WORKER_EXIT_REPORTED);
    (void)state;
    struct worker_report report = honest();
    report.layers = LAYERS_ALL & ~LAYER_SECCOMP;
    assert_int_equal(judged(report, &exited, false).run.status, PA_DENIED);
    assert_int_equal(judged(report, NULL, false).run.status, PA_DENIED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_honest_report_stands),
        cmocka_unit_test(test_growth_is_within_the_quota),
        cmocka_unit_test(test_the_kernel_outranks_the_report),
        cmocka_unit_test(test_a_finished_run_is_no_timeout),
        cmocka_unit_test(test_forged_reports_are_no_results),
        cmocka_unit_test(test_a_reports_texts_are_made_fit_to_show),
        cmocka_unit_test(test_a_missing_layer_is_denied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

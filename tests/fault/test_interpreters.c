/* Promise: any interpreter that reads its program from its standard input can be kept warm: each
 * job gets a fresh one that has already started, with nothing of another job in it. */
#include "fixture.h"

#include "base/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define MODULES "random,json"

static const char trap[] = MODULE(START("unreachable"));

/* Warm Python: fresh each time, with random numbers of its own; fuel counts from the checkpoint. */
static void test_warm_python(void **state) {
    static const char dice[] = "import random, uuid, os, tempfile\n"
                               "print(random.random(), uuid.uuid4(), os.urandom(8).hex(),"
                               " random.Random().random(), next(tempfile._get_candidate_names()))";
    static const char leak[] = "import json, builtins, os\n"
                               "print(hasattr(json, 'x'), hasattr(builtins, 'x'),"
                               " os.environ.get('X'), 'y' in globals())\n"
                               "json.x = builtins.x = 1; os.environ['X'] = '1'; y = 1";
    static const char seeded[] =
        "import random, time; print(random.random(), time.time(), hash('a'))";
    struct bench b;
    struct outcome first, second;
    struct supervisor_stats stats;
    struct pa_job job = new_job();
    (void)state;
    open_bench(&b, (struct supervisor_config){.keep_warm = true, .spare_workers = 1});
    for (int i = 0; i < 20; i++) {
        char *end, *word;
        run_python(&b, dice, MODULES, job, &first);
        run_python(&b, dice, MODULES, job, &second);
        if (first.status != PA_OK) fail_msg("%s", first.message);
        for (word = strtok_r(first.output, " \n", &end); word != NULL;
             word = strtok_r(NULL, " \n", &end)) {
            assert_null(strstr(second.output, word)); /* no number twice */
        }
    }
    /* What one run leaves, the next does not find. */
    for (int i = 0; i < 3; i++) {
        run_python(&b, leak, MODULES, job, &first);
        assert_string_equal(first.output, "False False None False\n");
    }
    supervisor_get_stats(b.supervisor, &stats);
    assert_int_equal(stats.zygotes_started, 1);
    /* Fuel counts from the checkpoint: the interpreter's start alone takes more. */
    job.limits.max_fuel = 100000000;
    run_python(&b, "print('ok')", MODULES, job, &first);
    assert_int_equal(first.status, PA_OK);
    run_python(&b, "while True: pass", MODULES, job, &first);
    assert_int_equal(first.status, PA_FUEL_EXHAUSTED);
    /* Deterministic: the job's seed decides, whatever a zygote has seen. */
    job = new_job();
    job.deterministic = true;
    job.seed = 5;
    run_python(&b, seeded, MODULES, job, &first);
    run_python(&b, seeded, MODULES, job, &second);
    assert_int_equal(first.status, PA_OK);
    assert_string_equal(first.output, second.output);
    job.seed = 6;
    run_python(&b, seeded, MODULES, job, &second);
    assert_string_not_equal(first.output, second.output);
    close_bench(&b);
    assert_false(has_children());
}

/* Any command module that reads its program from its standard input can be warm. */
static void test_warm_javascript(void **state) {
    static const char program[] = "let s = 0; for (let i = 0; i < 10; i++) s += i; console.log(s);";
    const char *argv[] = {"qjs", "--std", "-e", "std.evalScript(std.in.readAsString())"};
    struct bench b;
    struct outcome outcome;
    struct supervisor_stats stats;
    (void)state;
    open_bench(&b, (struct supervisor_config){.keep_warm = true});
    for (int i = 0; i < 3; i++) {
        run_interpreter(&b, getenv("QUICKJS_WASM"), argv, 4, program, sizeof program - 1, new_job(),
                        &outcome);
        if (outcome.status != PA_OK) fail_msg("%s", outcome.message);
        assert_string_equal(outcome.output, "45\n");
    }
    supervisor_get_stats(b.supervisor, &stats);
    assert_int_equal(stats.zygotes_started, 1);
    close_bench(&b);
}

/* An interpreter that ends or fails before it reads its program says so to the job. */
static void test_interpreters_that_never_ask(void **state) {
    struct bench b;
    struct outcome outcome;
    struct error err = {0};
    struct packet packet;
    struct pa_module module;
    const char *const modules[] = {MODULE(START("nop")), trap};
    (void)state;
    open_bench(&b, (struct supervisor_config){.keep_warm = true});
    for (int i = 0; i < 2; i++) {
        struct pa_job job = new_job();
        job.job_data = "x";
        job.job_bytes = 1;
        memset(&outcome, 0, sizeof outcome);
        assert_int_equal(module_copy(&module, modules[i], strlen(modules[i]), UINT64_MAX, &err), 0);
        assert_int_equal(packet_pack(&packet, &job, &err), 0);
        assert_int_equal(
            supervisor_submit(b.supervisor, &packet, &module, take, &outcome, NULL, &err), 0);
        module_fini(&module);
        wait_for(&b, &outcome);
        assert_int_equal(outcome.status, i == 0 ? PA_INVALID_MODULE : PA_TRAP);
        assert_non_null(strstr(outcome.message, "interpreter"));
    }
    close_bench(&b);
    assert_false(has_children());
}

int main(int argc, char **argv) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_warm_python),
        cmocka_unit_test(test_warm_javascript),
        cmocka_unit_test(test_interpreters_that_never_ask),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

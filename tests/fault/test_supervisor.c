/* Promise: whatever happens to workers, zygotes and the compiler, each job gets one result, no
 * other job is lost, and nothing is left behind: no process, no descriptor, no directory. */
#include "supervisor/supervisor.h"

#include "base/clock.h"
#include "base/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define MODULE(body) "(module (memory (export \"memory\") 1) " body ")"
#define START(body) "(func (export \"_start\") " body ")"
/* Says hello, after it has done what `first` says. */
#define HELLO(first) \
    "(module (import \"wasi_snapshot_preview1\" \"fd_write\"" \
    " (func $write (param i32 i32 i32 i32) (result i32)))" \
    "(memory (export \"memory\") 1)" \
    "(data (i32.const 0) \"\\08\\00\\00\\00\\04\\00\\00\\00Hi!\\n\")" \
    "(func (export \"_start\") (local $i i32) " first \
    "(drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 28)))))"

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

struct bench {
    sd_event *event;
    struct supervisor *supervisor;
    struct cache cache;
    char helper[4096];
    char cache_dir[64];
};

struct outcome {
    int results;
    enum pa_status status;
    int exit_code;
    uint32_t layers;
    char message[1024];
    char output[256];
};

static void take(void *context, const struct supervisor_result *result) {
    struct outcome *o = context;
    o->results++;
    o->status = result->report->status;
    o->exit_code = result->report->exit_code;
    o->layers = result->layers;
    (void)snprintf(o->message, sizeof o->message, "%s", result->report->message);
    (void)snprintf(o->output, sizeof o->output, "%s",
                   result->captured[0].data != NULL ? (char *)result->captured[0].data : "");
}

static void open_bench(struct bench *b, struct supervisor_config config) {
    struct error err = {0};
    (void)strcpy(b->cache_dir, "/tmp/polyagent-test-XXXXXX");
    assert_non_null(mkdtemp(b->cache_dir));
    assert_int_equal(setenv("POLYAGENT_STATE_DIR", b->cache_dir, 1), 0);
    assert_int_equal(cache_open(&b->cache, b->cache_dir, &err), 0);
    assert_int_equal(supervisor_find_helper(NULL, b->helper, sizeof b->helper, &err), 0);
    assert_true(sd_event_new(&b->event) >= 0);
    config.cache = &b->cache;
    config.helper = b->helper;
    config.compile_timeout_ms = 120000;
    config.own_groups = true;
    assert_int_equal(layer_policy_default(&config.policy, &err), 0);
    b->supervisor = supervisor_new(b->event, &config, &err);
    if (b->supervisor == NULL) fail_msg("%s", err.text);
}

static void close_bench(struct bench *b) {
    struct error err = {0};
    supervisor_free(b->supervisor);
    sd_event_unref(b->event);
    assert_true(cache_clear(&b->cache, &err) >= 0);
    cache_close(&b->cache);
    char key[96];
    (void)snprintf(key, sizeof key, "%s/cache.key", b->cache_dir);
    (void)unlink(key);
    DIR *dir = opendir(b->cache_dir);
    for (const struct dirent *d; (d = readdir(dir)) != NULL;) {
        if (d->d_name[0] != '.') (void)unlinkat(dirfd(dir), d->d_name, 0);
    }
    (void)closedir(dir);
    assert_int_equal(rmdir(b->cache_dir), 0);
}

static struct pa_job new_job(void) {
    struct pa_job job = {0};
    pa_limits_default(&job.limits);
    return job;
}

static int submit_as(struct bench *b, const char *tenant, const char *wat, const struct pa_job *job,
                     struct outcome *outcome, struct supervisor_run **run, struct error *err) {
    struct packet packet;
    struct pa_module module;
    memset(outcome, 0, sizeof *outcome);
    assert_int_equal(module_copy(&module, wat, strlen(wat), UINT64_MAX, err), 0);
    assert_int_equal(packet_pack(&packet, job, err), 0);
    (void)snprintf(packet.header.tenant, sizeof packet.header.tenant, "%s", tenant);
    int result = supervisor_submit(b->supervisor, &packet, &module, take, outcome, run, err);
    module_fini(&module);
    return result;
}

static void submit(struct bench *b, const char *wat, const struct pa_job *job,
                   struct outcome *outcome) {
    struct error err = {0};
    if (submit_as(b, "", wat, job, outcome, NULL, &err) != 0) fail_msg("%s", err.text);
}

static void turn(struct bench *b) {
    struct supervisor_stats stats;
    int result = sd_event_run(b->event, 60000000);
    assert_true(result >= 0);
    supervisor_get_stats(b->supervisor, &stats);
    if (result == 0) {
        fail_msg("nothing happened for 60 s: %u running, %u queued, %u zygotes, %u workers",
                 stats.running, stats.queued, stats.zygotes, stats.workers);
    }
}

static void wait_for(struct bench *b, const struct outcome *outcome) {
    while (outcome->results == 0)
        turn(b);
}

static int count_fds(void) {
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (readdir(dir) != NULL)
        count++;
    (void)closedir(dir);
    return count;
}

static bool has_children(void) {
    siginfo_t info;
    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 || errno != ECHILD;
}

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

/* Processes that this one owns, at most `size`. */
static size_t children(pid_t *pids, size_t size) {
    char path[64];
    size_t count = 0;
    (void)snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    while (count < size && fscanf(file, "%d", &pids[count]) == 1)
        count++;
    (void)fclose(file);
    return count;
}

/* A worker is the first process of a namespace of its own: it has two ids. */
static bool is_worker(pid_t pid) {
    char path[64], line[256];
    int ids[3], count = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "NSpid:", 6) != 0) continue;
        count = sscanf(line + 6, "%d %d %d", &ids[0], &ids[1], &ids[2]);
        break;
    }
    if (file != NULL) (void)fclose(file);
    return count > 1;
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
    job.limits.execution_timeout_ms = 700;
    open_bench(&b, (struct supervisor_config){.keep_warm = true});
    submit(&b, hello, &job, &outcome);
    wait_for(&b, &outcome);
    submit(&b, endless, &job, &outcome);
    struct supervisor_stats stats = {0};
    uint64_t until_ns = clock_now_ns() + 300 * NS_PER_MS;
    while (clock_now_ns() < until_ns)
        (void)sd_event_run(b.event, 10000);
    size_t count = children(pids, 8);
    assert_int_equal(count, 2);
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

static char *read_text(const char *path) {
    struct buffer text = {0};
    _cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(buffer_read_fd(&text, fd, 1 << 20), 0);
    return (char *)text.data;
}

static void put_field(struct buffer *job, const char *text) {
    uint32_t size = (uint32_t)strlen(text);
    assert_int_equal(buffer_append(job, &size, sizeof size), 0);
    assert_int_equal(buffer_append(job, text, size), 0);
}

static void python_job(struct buffer *data, const char *code) {
    uint32_t size = 0;
    assert_int_equal(buffer_append(data, &size, sizeof size), 0);
    put_field(data, "<code>");
    put_field(data, code);
    put_field(data, "1");
    put_field(data, "-c");
    size = (uint32_t)data->size - 4;
    memcpy(data->data, &size, sizeof size);
}

static void run_interpreter(struct bench *b, const char *wasm, const char *const *argv, size_t argc,
                            const void *data, size_t bytes, struct pa_job job,
                            struct outcome *outcome) {
    struct packet packet;
    struct pa_module module;
    struct error err = {0};
    memset(outcome, 0, sizeof *outcome);
    job.argv = argv;
    job.argc = argc;
    job.job_data = data;
    job.job_bytes = bytes;
    if (module_open_file(&module, &b->cache, wasm, UINT64_MAX, &err) != 0) fail_msg("%s", err.text);
    assert_int_equal(packet_pack(&packet, &job, &err), 0);
    assert_int_equal(supervisor_submit(b->supervisor, &packet, &module, take, outcome, NULL, &err),
                     0);
    module_fini(&module);
    wait_for(b, outcome);
}

/* Warm Python: fresh each time, with random numbers of its own; fuel counts from the checkpoint. */
static void test_warm_python(void **state) {
    struct bench b;
    struct outcome first, second;
    struct supervisor_stats stats;
    char *boot = read_text(getenv("PYTHON_BOOTSTRAP"));
    const char *argv[] = {"python", "-I", "-S", "-X", "utf8", "-c", boot, "random,json"};
    struct buffer data = {0}, leak = {0};
    const char *wasm = getenv("PYTHON_WASM");
    (void)state;
    open_bench(&b, (struct supervisor_config){.keep_warm = true, .spare_workers = 1});
    python_job(&data,
               "import random, uuid, os, tempfile\n"
               "print(random.random(), uuid.uuid4(), os.urandom(8).hex(), random.Random().random(),"
               " next(tempfile._get_candidate_names()))");
    for (int i = 0; i < 20; i++) {
        run_interpreter(&b, wasm, argv, 8, data.data, data.size, new_job(), &first);
        run_interpreter(&b, wasm, argv, 8, data.data, data.size, new_job(), &second);
        if (first.status != PA_OK) fail_msg("%s", first.message);
        const char *rest = first.output;
        char *end, *word;
        for (word = strtok_r((char *)(uintptr_t)rest, " \n", &end); word != NULL;
             word = strtok_r(NULL, " \n", &end)) {
            assert_null(strstr(second.output, word)); /* no number twice */
        }
    }
    /* What one run leaves, the next does not find. */
    python_job(
        &leak,
        "import json, builtins, os, sys\n"
        "print(hasattr(json, 'x'), hasattr(builtins, 'x'), os.environ.get('X'), 'y' in globals())\n"
        "json.x = builtins.x = 1; os.environ['X'] = '1'; y = 1");
    for (int i = 0; i < 3; i++) {
        run_interpreter(&b, wasm, argv, 8, leak.data, leak.size, new_job(), &first);
        assert_string_equal(first.output, "False False None False\n");
    }
    supervisor_get_stats(b.supervisor, &stats);
    assert_int_equal(stats.zygotes_started, 1);
    struct pa_job job = new_job();
    job.limits.max_fuel = 100000000; /* the interpreter's start alone takes more */
    struct buffer small = {0}, large = {0};
    python_job(&small, "print('ok')");
    python_job(&large, "while True: pass");
    run_interpreter(&b, wasm, argv, 8, small.data, small.size, job, &first);
    assert_int_equal(first.status, PA_OK);
    run_interpreter(&b, wasm, argv, 8, large.data, large.size, job, &first);
    assert_int_equal(first.status, PA_FUEL_EXHAUSTED);
    /* Deterministic: the job's seed decides, whatever the zygote has seen. */
    struct buffer dice = {0};
    python_job(&dice, "import random, time; print(random.random(), time.time(), hash('a'))");
    job = new_job();
    job.deterministic = true;
    job.seed = 5;
    run_interpreter(&b, wasm, argv, 8, dice.data, dice.size, job, &first);
    run_interpreter(&b, wasm, argv, 8, dice.data, dice.size, job, &second);
    assert_int_equal(first.status, PA_OK);
    assert_string_equal(first.output, second.output);
    job.seed = 6;
    run_interpreter(&b, wasm, argv, 8, dice.data, dice.size, job, &second);
    assert_string_not_equal(first.output, second.output);
    close_bench(&b);
    buffer_fini(&data);
    buffer_fini(&leak);
    buffer_fini(&small);
    buffer_fini(&large);
    buffer_fini(&dice);
    free(boot);
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
        cmocka_unit_test(test_failures_hurt_only_themselves),
        cmocka_unit_test(test_kills_at_random_points),
        cmocka_unit_test(test_a_dead_zygote_takes_no_job_along),
        cmocka_unit_test(test_queue_bounds_fairness_and_deadlines),
        cmocka_unit_test(test_closing_ends_every_job),
        cmocka_unit_test(test_warm_python),
        cmocka_unit_test(test_warm_javascript),
        cmocka_unit_test(test_interpreters_that_never_ask),
        cmocka_unit_test(test_worn_zygotes_are_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

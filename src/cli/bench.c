/* `polyagent bench`: a closed loop of jobs against a supervisor in this process, and what came of
 * it. */
#include "cli/cli.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "tools/base64.h"
#include "tools/language.h"
#include "base/clock.h"
#include "base/json_text.h"
#include "supervisor/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { HISTOGRAM_ROWS = 20, HISTOGRAM_COLUMNS = 50, MAX_RUNS = 10000000, MAX_CONCURRENCY = 4096 };
enum { MAX_MODULE_BYTES = 256 << 20 };

static const char help[] =
    "usage: polyagent bench [OPTION]... [-c CODE | MODULE]\n\n"
    "Runs one program again and again, each time in a fresh sandbox, and shows how long it took "
    "from\n"
    "submitting the job to its result. Without a program: Python, print(1).\n\n"
    "  -c CODE            Python source\n"
    "  --runs N           how many, default 1000\n"
    "  --warmup N         uncounted ones before, default 50\n"
    "  --concurrency N    jobs at once, default 1\n"
    "  --spare N          workers that are parked ahead of need, default 2\n"
    "  --cold             start the interpreter for each run\n"
    "  --server ADDR      over gRPC, from request to answer, at a running polyagent serve, with\n"
    "                     $POLYAGENT_TOKEN\n"
    "  --json             the figures as JSON\n"
    "  --no-histogram     the figures only\n\n"
    "Examples:\n"
    "  polyagent bench\n"
    "  polyagent bench --concurrency 4 --runs 10000 -c 'import json; print(json.dumps([1]))'\n"
    "  polyagent bench docs/assets/hello-wasi.wat\n"
    "  polyagent serve & polyagent bench --server 127.0.0.1:50051 --concurrency 4\n";

struct options {
    const char *code, *module, *server;
    uint64_t runs, warmup, concurrency, spare;
    bool cold, json, histogram;
};

struct bench {
    const struct options *options;
    struct supervisor *supervisor;
    struct pa_module module;
    struct pa_job job;
    struct buffer job_data, rehearsal;
    double *latency_ms; /* of the counted runs */
    uint64_t submitted, finished, failed;
    uint64_t first_ns, last_ns; /* of the counted ones */
    double cpu_ms;
    double queue_ms, start_ms, guest_ms, end_ms; /* sums of the parts of a run */
    char failure[512];
};

static int submit(struct bench *bench);

static double ms(uint64_t from_ns, uint64_t to_ns) {
    return ((double)to_ns - (double)from_ns) / (double)NS_PER_MS;
}

static void on_done(void *context, const struct supervisor_result *result) {
    struct bench *bench = context;
    const struct options *o = bench->options;
    uint64_t now_ns = clock_now_ns(), number = bench->finished++;
    if (result->report->status != PA_OK || result->report->exit_code != 0) {
        if (bench->failed++ == 0) {
            (void)snprintf(bench->failure, sizeof bench->failure, "%s, exit code %d: %.400s",
                           pa_status_name(result->report->status), result->report->exit_code,
                           result->report->message);
        }
    }
    if (number >= o->warmup) {
        bench->latency_ms[number - o->warmup] = ms(result->submitted_ns, now_ns);
        bench->cpu_ms += (double)result->report->cpu_ns / (double)NS_PER_MS;
        bench->queue_ms += ms(result->submitted_ns, result->dispatched_ns);
        bench->start_ms += ms(result->dispatched_ns, result->report->started_ns);
        bench->guest_ms += ms(result->report->started_ns, result->report->ended_ns);
        bench->end_ms += ms(result->report->ended_ns, now_ns);
        bench->last_ns = now_ns;
    } else {
        bench->first_ns = now_ns;
    }
    if (bench->submitted < o->warmup + o->runs && submit(bench) != 0) bench->failed++;
}

static int submit(struct bench *bench) {
    struct packet packet;
    struct error err = {0};
    bench->submitted++;
    if (packet_pack(&packet, &bench->job, &err) == 0 &&
        supervisor_submit(bench->supervisor, &packet, &bench->module, on_done, bench, NULL, &err) ==
            0) {
        return 0;
    }
    if (bench->failure[0] == 0)
        (void)snprintf(bench->failure, sizeof bench->failure, "%.500s", err.text);
    bench->finished++;
    return -1;
}

static int compare(const void *left, const void *right) {
    double l = *(const double *)left, r = *(const double *)right;
    return (l > r) - (l < r);
}

static double percentile(const struct bench *bench, double p) {
    uint64_t n = bench->options->runs;
    uint64_t rank = (uint64_t)ceil(p / 100 * (double)n);
    return bench->latency_ms[rank > 0 ? rank - 1 : 0];
}

/* Rows of equal ratio between the fastest and the 99.9th percentile; the rest is told in words. */
static void print_histogram(const struct bench *bench) {
    uint64_t counts[HISTOGRAM_ROWS] = {0}, most = 1, beyond = 0, n = bench->options->runs;
    double low = bench->latency_ms[0], high = percentile(bench, 99.9);
    if (high <= low) high = low * 1.01 + 1e-6;
    double step = log(high / low) / HISTOGRAM_ROWS;
    for (uint64_t i = 0; i < n; i++) {
        int row = (int)(log(bench->latency_ms[i] / low) / step);
        if (row >= HISTOGRAM_ROWS && bench->latency_ms[i] > high)
            beyond++;
        else
            counts[row < HISTOGRAM_ROWS ? row : HISTOGRAM_ROWS - 1]++;
    }
    for (int i = 0; i < HISTOGRAM_ROWS; i++)
        most = counts[i] > most ? counts[i] : most;
    for (int i = 0; i < HISTOGRAM_ROWS; i++) {
        (void)printf("  %8.3f ms |", low * exp(step * i));
        for (uint64_t column = 0; column < counts[i] * HISTOGRAM_COLUMNS / most; column++)
            (void)fputs("#", stdout);
        (void)printf(" %llu\n", (unsigned long long)counts[i]);
    }
    if (beyond > 0) (void)printf("  %llu took longer\n", (unsigned long long)beyond);
}

/* What only a supervisor of our own tells. */
static json_t *parts_json(struct bench *bench) {
    struct supervisor_stats stats;
    double n = (double)bench->options->runs;
    supervisor_get_stats(bench->supervisor, &stats);
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:I}", "queue_ms", bench->queue_ms / n, "start_ms",
                     bench->start_ms / n, "guest_ms", bench->guest_ms / n, "end_ms",
                     bench->end_ms / n, "worker_cpu_ms", bench->cpu_ms / n, "zygotes_started",
                     (json_int_t)stats.zygotes_started);
}

static void print_json(struct bench *bench, double seconds, double rate, double mean) {
    const struct options *o = bench->options;
    json_t *all = json_pack(
        "{s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "runs", (json_int_t)o->runs,
        "concurrency", (json_int_t)o->concurrency, "failed", (json_int_t)bench->failed, "seconds",
        seconds, "runs_per_second", rate, "mean_ms", mean, "p50_ms", percentile(bench, 50),
        "p90_ms", percentile(bench, 90), "p99_ms", percentile(bench, 99), "p999_ms",
        percentile(bench, 99.9), "max_ms", bench->latency_ms[o->runs - 1]);
    if (all != NULL && bench->supervisor != NULL)
        (void)json_object_update_new(all, parts_json(bench));
    char *text = all != NULL ? json_text(all, JSON_REAL_PRECISION(5)) : NULL;
    (void)printf("%s\n", text != NULL ? text : "{}");
    free(text);
    json_decref(all);
}

static int report(struct bench *bench) {
    const struct options *o = bench->options;
    double seconds = (double)(bench->last_ns - bench->first_ns) / 1e9, sum = 0;
    qsort(bench->latency_ms, o->runs, sizeof *bench->latency_ms, compare);
    for (uint64_t i = 0; i < o->runs; i++)
        sum += bench->latency_ms[i];
    double n = (double)o->runs;
    double rate = seconds > 0 ? (double)o->runs / seconds : 0;
    if (o->json) {
        print_json(bench, seconds, rate, sum / n);
    } else {
        (void)printf("%llu runs, %llu at once, %.2f s: %.0f a second; %llu failed\n"
                     "latency ms: p50 %.3f  p90 %.3f  p99 %.3f  p99.9 %.3f  max %.3f  mean %.3f\n",
                     (unsigned long long)o->runs, (unsigned long long)o->concurrency, seconds, rate,
                     (unsigned long long)bench->failed, percentile(bench, 50),
                     percentile(bench, 90), percentile(bench, 99), percentile(bench, 99.9),
                     bench->latency_ms[o->runs - 1], sum / n);
        if (bench->supervisor != NULL) {
            (void)printf("of the mean: %.3f queued, %.3f to the guest's start, %.3f guest, %.3f to "
                         "the result\n"
                         "CPU of each worker: %.3f ms\n",
                         bench->queue_ms / n, bench->start_ms / n, bench->guest_ms / n,
                         bench->end_ms / n, bench->cpu_ms / n);
        }
        if (o->histogram) print_histogram(bench);
    }
    if (bench->failed == 0) return 0;
    return cli_fail("bench: %llu runs failed; the first: %s", (unsigned long long)bench->failed,
                    bench->failure[0] != 0 ? bench->failure : "see above");
}

static int make_job(struct bench *bench, struct cache *cache) {
    const struct options *o = bench->options;
    static const char *argv[] = {"module"};
    char wasm[PATH_MAX];
    struct error err = {0};
    pa_limits_default(&bench->job.limits);
    if (o->module != NULL) {
        (void)snprintf(wasm, sizeof wasm, "%s", o->module);
        bench->job.argv = argv;
        bench->job.argc = 1;
    } else {
        const char *code = o->code != NULL ? o->code : "print(1)";
        if (!language_find(&language_python, NULL, wasm, sizeof wasm)) {
            return cli_fail("bench: no Python found; run: make interpreters");
        }
        const struct program program = {
            .name = "<code>", .source = code, .source_bytes = strlen(code), .argv0 = "-c"};
        if (language_python.job(&bench->job_data, &program, &err) != 0 ||
            language_rehearsal(&language_python, &bench->rehearsal, &err) != 0) {
            return cli_fail("bench: %s", err.text);
        }
        bench->job.argv = language_python.argv;
        bench->job.argc = o->cold ? language_python.argc : language_python.warm_argc;
        bench->job.job_data = bench->job_data.data;
        bench->job.job_bytes = bench->job_data.size;
        bench->job.rehearsal_data = bench->rehearsal.data;
        bench->job.rehearsal_bytes = bench->rehearsal.size;
    }
    if (module_open_file(&bench->module, cache, wasm, bench->job.limits.max_module_bytes, &err) ==
        0) {
        return 0;
    }
    return cli_fail("%s", err.text);
}

static int run(const struct options *options) {
    struct bench bench = {.options = options, .module = {.fd = -1}};
    struct cache cache = {.dir_fd = -1};
    struct error err = {0};
    sd_event *event = NULL;
    char helper[PATH_MAX];
    struct supervisor_config config = {.cache = &cache,
                                       .helper = helper,
                                       .max_running = (uint32_t)options->concurrency,
                                       .max_queued = MAX_CONCURRENCY,
                                       .max_tenant_running = (uint32_t)options->concurrency,
                                       .max_tenant_queued = MAX_CONCURRENCY,
                                       .spare_workers = (uint32_t)options->spare,
                                       .keep_warm = !options->cold,
                                       .own_groups = true};
    bench.latency_ms = calloc(options->runs, sizeof *bench.latency_ms);
    int result =
        bench.latency_ms == NULL || sd_event_new(&event) < 0 ? cli_fail("bench: out of memory") : 0;
    if (result == 0 &&
        (supervisor_find_helper(NULL, helper, sizeof helper, &err) != 0 ||
         cache_open(&cache, NULL, &err) != 0 || layer_policy_default(&config.policy, &err) != 0 ||
         (bench.supervisor = supervisor_new(event, &config, &err)) == NULL)) {
        result = cli_fail("%s", err.text);
    }
    if (result == 0) result = make_job(&bench, &cache);
    bench.first_ns = clock_now_ns();
    for (uint64_t i = 0; result == 0 && i < options->concurrency; i++) {
        if (bench.submitted < options->warmup + options->runs) (void)submit(&bench);
    }
    while (result == 0 && bench.finished < options->warmup + options->runs) {
        int done = sd_event_run(event, UINT64_MAX);
        if (done < 0 && done != -EINTR) result = cli_fail("bench: %s", strerror(-done));
    }
    if (result == 0) result = report(&bench);
    supervisor_free(bench.supervisor);
    sd_event_unref(event);
    if (bench.module.fd >= 0) module_fini(&bench.module);
    cache_close(&cache);
    buffer_fini(&bench.job_data);
    buffer_fini(&bench.rehearsal);
    free(bench.latency_ms);
    return result;
}

/* The call as JSON, for polyagent-net: in a file without a name. -1 after an error message. */
static int call_file(const struct options *o) {
    struct buffer module = {0};
    json_t *call = NULL;
    if (o->module != NULL) {
        _cleanup_(fd_closep) int in = open(o->module, O_RDONLY | O_CLOEXEC);
        int result = in >= 0 ? buffer_read_fd(&module, in, MAX_MODULE_BYTES) : -errno;
        if (result != 0) {
            buffer_fini(&module);
            (void)cli_fail("bench: %s: %s", o->module, strerror(-result));
            return -1;
        }
        char *encoded = base64_encode(module.data, module.size);
        if (encoded != NULL) {
            call = json_pack("{s:s, s:{s:s}}", "tool", "code_executor", "parameters", "wasm_base64",
                             encoded);
        }
        free(encoded);
        buffer_fini(&module);
    } else {
        call = json_pack("{s:s, s:{s:s}}", "tool", "python_wasi_runner", "parameters", "code",
                         o->code != NULL ? o->code : "print(1)");
    }
    char *text = call != NULL ? json_text(call, JSON_COMPACT) : NULL;
    _cleanup_(fd_closep) int fd = memfd_create("call", MFD_CLOEXEC);
    int result = text == NULL ? -ENOMEM : fd < 0 ? -errno : fd_write_all(fd, text, strlen(text));
    if (result == 0 && lseek(fd, 0, SEEK_SET) != 0) result = -errno;
    free(text);
    json_decref(call);
    if (result == 0) return steal_fd(&fd);
    (void)cli_fail("bench: the call: %s", strerror(-result));
    return -1;
}

/* What polyagent-net tells, as it comes: latencies, and whether the run was good. */
static int collect(struct bench *bench, int fd) {
    const struct options *o = bench->options;
    FILE *in = fdopen(fd, "r");
    double figures[3];
    if (in == NULL) return cli_fail("bench: out of memory");
    for (; bench->finished < o->warmup + o->runs && fread(figures, sizeof figures, 1, in) == 1;
         bench->finished++) {
        bench->last_ns = (uint64_t)(figures[2] * (double)NS_PER_MS);
        bench->failed += figures[1] == 0;
        if (bench->finished >= o->warmup)
            bench->latency_ms[bench->finished - o->warmup] = figures[0];
        if (bench->finished < o->warmup || bench->first_ns == 0) bench->first_ns = bench->last_ns;
    }
    (void)fclose(in);
    return bench->finished == o->warmup + o->runs ? 0 : CLI_EXIT_FAILURE; /* it has told why */
}

/* Over gRPC, by polyagent-net, which has the library. */
static int run_remote(const struct options *o) {
    struct bench bench = {.options = o};
    char total[24], concurrency[24];
    int ends[2] = {-1, -1}, status = 0, result = 0;
    (void)snprintf(total, sizeof total, "%llu", (unsigned long long)(o->warmup + o->runs));
    (void)snprintf(concurrency, sizeof concurrency, "%llu", (unsigned long long)o->concurrency);
    _cleanup_(fd_closep) int call = call_file(o);
    if (call < 0) return CLI_EXIT_FAILURE;
    bench.latency_ms = calloc(o->runs, sizeof *bench.latency_ms);
    if (bench.latency_ms == NULL || pipe2(ends, O_CLOEXEC) != 0) {
        free(bench.latency_ms);
        return cli_fail("bench: out of memory");
    }
    pid_t pid = fork();
    if (pid == 0) {
        char *const argv[] = {"polyagent-net", "bench",     (char *)(uintptr_t)o->server,
                              total,           concurrency, NULL};
        if (dup2(call, STDIN_FILENO) < 0 || dup2(ends[1], STDOUT_FILENO) < 0) _exit(125);
        _exit(cli_exec_net("bench", argv));
    }
    (void)close(ends[1]);
    if (pid < 0) {
        (void)close(ends[0]);
        result = cli_fail("bench: fork: %s", strerror(errno));
    } else {
        result = collect(&bench, ends[0]);
        if (waitpid(pid, &status, 0) != pid || status != 0) result = CLI_EXIT_FAILURE;
    }
    if (result == 0) result = report(&bench);
    free(bench.latency_ms);
    return result;
}

int cli_bench_main(int argc, char **argv) {
    static const struct option table[] = {{"runs", required_argument, NULL, 'n'},
                                          {"warmup", required_argument, NULL, 'w'},
                                          {"concurrency", required_argument, NULL, 'p'},
                                          {"spare", required_argument, NULL, 's'},
                                          {"cold", no_argument, NULL, 'C'},
                                          {"server", required_argument, NULL, 'S'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"no-histogram", no_argument, NULL, 'H'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    struct options o = {
        .runs = 1000, .warmup = 50, .concurrency = 1, .spare = 2, .histogram = true};
    int result = 0, option;
    opterr = 0;
    while (result == 0 && (option = getopt_long(argc, argv, "+hc:", table, NULL)) != -1) {
        switch (option) {
        case 'h': (void)fputs(help, stdout); return 0;
        case 'c': o.code = optarg; break;
        case 'n': result = cli_number("--runs", optarg, 1, MAX_RUNS, &o.runs); break;
        case 'w': result = cli_number("--warmup", optarg, 0, MAX_RUNS, &o.warmup); break;
        case 'p':
            result = cli_number("--concurrency", optarg, 1, MAX_CONCURRENCY, &o.concurrency);
            break;
        case 's': result = cli_number("--spare", optarg, 0, 1000, &o.spare); break;
        case 'C': o.cold = true; break;
        case 'S': o.server = optarg; break;
        case 'j': o.json = true; break;
        case 'H': o.histogram = false; break;
        default: result = cli_bad_option(argv, "polyagent bench", table);
        }
    }
    if (result == 0 && optind < argc) o.module = argv[optind++];
    if (result == 0 && (optind < argc || (o.module != NULL && o.code != NULL))) {
        result = cli_fail("bench: one program only; see polyagent bench --help");
    }
    if (result != 0) return result;
    return o.server != NULL ? run_remote(&o) : run(&o);
}

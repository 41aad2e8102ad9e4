/* Microseconds of one run through the C API: in process, and in a process of its own. */
#include <polyagent.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { RUNS = 2000 };

static double now_us(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b) {
    double l = *(const double *)a, r = *(const double *)b;
    return (l > r) - (l < r);
}

static void measure(struct pa_sandbox *sandbox, struct pa_module *module,
                    enum pa_isolation isolation, const char *name) {
    static double times[RUNS];
    struct pa_job job = {.isolation = isolation};
    pa_limits_default(&job.limits);
    for (int i = -20; i < RUNS; i++) { /* the first ones warm up */
        double start = now_us();
        struct pa_result *result = pa_run(sandbox, module, &job);
        if (result == NULL || result->status != PA_OK) {
            fprintf(stderr, "%s: %s\n", name, result != NULL ? result->message : "out of memory");
            exit(1);
        }
        if (i >= 0) times[i] = now_us() - start;
        pa_result_free(result);
    }
    qsort(times, RUNS, sizeof *times, by_value);
    printf("%-24s p50 %8.1f us   p99 %8.1f us\n", name, times[RUNS / 2], times[RUNS * 99 / 100]);
}

int main(int argc, char **argv) {
    struct pa_error error = {0};
    struct pa_sandbox *sandbox = pa_sandbox_new(NULL, &error);
    struct pa_module *module =
        sandbox != NULL && argc == 2 ? pa_module_open(sandbox, argv[1], NULL, &error) : NULL;
    if (module == NULL) {
        fprintf(stderr, "usage: embed MODULE: %s\n", error.message);
        return 1;
    }
    measure(sandbox, module, PA_ISOLATION_PROCESS, "process of its own");
    measure(sandbox, module, PA_ISOLATION_NONE, "in process");
    pa_module_free(module);
    pa_sandbox_free(sandbox);
    return 0;
}

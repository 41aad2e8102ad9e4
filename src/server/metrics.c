#include "server/metrics.h"

#include "base/clock.h"
#include "tools/tools.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Upper bounds in seconds; the last bucket has none. */
static const double bounds[METRICS_BUCKETS - 1] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                                   0.1,    0.25,  0.5,    1,     5,    30};

void metrics_count_run(struct metrics *metrics, unsigned tool, enum pa_status status,
                       uint64_t wall_ns) {
    double seconds = (double)wall_ns / (double)NS_PER_SECOND;
    unsigned bucket = 0;
    while (bucket < METRICS_BUCKETS - 1 && seconds > bounds[bucket])
        bucket++;
    if (tool < METRICS_TOOLS && (unsigned)status < METRICS_STATUSES) metrics->runs[tool][status]++;
    metrics->buckets[bucket]++;
    metrics->seconds += seconds;
}

void metrics_count_request(struct metrics *metrics, unsigned http_status) {
    if (http_status / 100 < 6) metrics->requests[http_status / 100]++;
}

static int print(struct buffer *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int print(struct buffer *out, const char *format, ...) {
    char line[256];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    return length > 0 && (size_t)length < sizeof line ? buffer_append(out, line, (size_t)length)
                                                      : -1;
}

int metrics_write(const struct metrics *m, struct buffer *out) {
    uint64_t count = 0;
    int result = print(out, "# HELP polyagent_runs_total Runs that ended, by tool and status.\n"
                            "# TYPE polyagent_runs_total counter\n");
    for (unsigned tool = 0; tool < METRICS_TOOLS && tools[tool].name != NULL; tool++) {
        for (unsigned status = 0; status < METRICS_STATUSES; status++) {
            if (m->runs[tool][status] == 0) continue;
            result |= print(out, "polyagent_runs_total{tool=\"%s\",status=\"%s\"} %llu\n",
                            tools[tool].name, pa_status_name(status),
                            (unsigned long long)m->runs[tool][status]);
        }
    }
    result |= print(out, "# HELP polyagent_run_seconds From a run's request to its result.\n"
                         "# TYPE polyagent_run_seconds histogram\n");
    for (unsigned i = 0; i < METRICS_BUCKETS - 1; i++) {
        count += m->buckets[i];
        result |= print(out, "polyagent_run_seconds_bucket{le=\"%g\"} %llu\n", bounds[i],
                        (unsigned long long)count);
    }
    count += m->buckets[METRICS_BUCKETS - 1];
    result |= print(out,
                    "polyagent_run_seconds_bucket{le=\"+Inf\"} %llu\n"
                    "polyagent_run_seconds_sum %.6f\npolyagent_run_seconds_count %llu\n",
                    (unsigned long long)count, m->seconds, (unsigned long long)count);
    result |= print(out, "# HELP polyagent_http_requests_total Requests, by class of status.\n"
                         "# TYPE polyagent_http_requests_total counter\n");
    for (unsigned i = 1; i < 6; i++) {
        result |= print(out, "polyagent_http_requests_total{code=\"%uxx\"} %llu\n", i,
                        (unsigned long long)m->requests[i]);
    }
    result |= print(out,
                    "# HELP polyagent_runs_in_flight Runs under way.\n"
                    "# TYPE polyagent_runs_in_flight gauge\npolyagent_runs_in_flight %u\n",
                    m->in_flight);
    return result == 0 ? 0 : -1;
}

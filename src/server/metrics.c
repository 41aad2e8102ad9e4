#include "server/metrics.h"

#include "base/clock.h"
#include "tools/tools.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Upper bounds in seconds; the last bucket has none. */
static const double bounds[METRICS_BUCKETS - 1] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                                   0.1,    0.25,  0.5,    1,     5,    30};

static unsigned bucket_of(double seconds) {
    unsigned bucket = 0;
    while (bucket < METRICS_BUCKETS - 1 && seconds > bounds[bucket])
        bucket++;
    return bucket;
}

int metrics_turn(struct metrics *m, sd_event *event, uint64_t timeout_us) {
    int result = sd_event_prepare(event);
    if (result == 0) result = sd_event_wait(event, timeout_us);
    if (result <= 0) return result;
    uint64_t began_ns = clock_now_ns();
    result = sd_event_dispatch(event);
    uint64_t took_ns = clock_now_ns() - began_ns;
    double seconds = (double)took_ns / (double)NS_PER_SECOND;
    m->stretches[bucket_of(seconds)]++;
    m->stretch_seconds += seconds;
    if (took_ns > m->longest_ns) m->longest_ns = took_ns;
    return result;
}

void metrics_count_run(struct metrics *metrics, const struct metrics_run *run) {
    double seconds = (double)run->wall_ns / (double)NS_PER_SECOND;
    if (run->tool >= TOOL_COUNT || (unsigned)run->status >= METRICS_STATUSES) return;
    metrics->runs[run->tool][run->status]++;
    metrics->buckets[run->tool][bucket_of(seconds)]++;
    metrics->seconds[run->tool] += seconds;
    metrics->cache[run->cache_hit]++;
    metrics->output_bytes[0] += run->output_bytes[0];
    metrics->output_bytes[1] += run->output_bytes[1];
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

static int print_head(struct buffer *out, const char *name, const char *type, const char *help) {
    return print(out, "# HELP polyagent_%s %s\n# TYPE polyagent_%s %s\n", name, help, name, type);
}

/* A counter with one label. */
static int print_labelled(struct buffer *out, const char *name, const char *label,
                          const char *value, uint64_t count) {
    return print(out, "polyagent_%s{%s=\"%s\"} %llu\n", name, label, value,
                 (unsigned long long)count);
}

static int write_runs(const struct metrics *m, struct buffer *out) {
    int result = print_head(out, "runs_total", "counter", "Runs that ended, by tool and status.");
    for (unsigned tool = 0; tool < TOOL_COUNT; tool++) {
        for (unsigned status = 0; status < METRICS_STATUSES; status++) {
            if (m->runs[tool][status] == 0) continue;
            result |= print(out, "polyagent_runs_total{tool=\"%s\",status=\"%s\"} %llu\n",
                            tools[tool].name, pa_status_name(status),
                            (unsigned long long)m->runs[tool][status]);
        }
    }
    result |= print_head(out, "run_seconds", "histogram", "From a run's request to its result.");
    for (unsigned tool = 0; tool < TOOL_COUNT; tool++) {
        uint64_t count = 0;
        for (unsigned i = 0; i < METRICS_BUCKETS - 1; i++) {
            count += m->buckets[tool][i];
            result |= print(out, "polyagent_run_seconds_bucket{tool=\"%s\",le=\"%g\"} %llu\n",
                            tools[tool].name, bounds[i], (unsigned long long)count);
        }
        count += m->buckets[tool][METRICS_BUCKETS - 1];
        result |=
            print(out,
                  "polyagent_run_seconds_bucket{tool=\"%s\",le=\"+Inf\"} %llu\n"
                  "polyagent_run_seconds_sum{tool=\"%s\"} %.6f\n",
                  tools[tool].name, (unsigned long long)count, tools[tool].name, m->seconds[tool]);
        result |= print_labelled(out, "run_seconds_count", "tool", tools[tool].name, count);
    }
    result |= print_head(out, "refusals_total", "counter", "Calls that did not become runs.");
    for (unsigned status = 0; status < METRICS_STATUSES; status++) {
        if (m->refused[status] == 0) continue;
        result |= print_labelled(out, "refusals_total", "status", pa_status_name(status),
                                 m->refused[status]);
    }
    return result;
}

static int write_loop(const struct metrics *m, struct buffer *out) {
    uint64_t count = 0;
    int result = print_head(out, "loop_stretch_seconds", "histogram",
                            "How long the event loop was at one thing.");
    for (unsigned i = 0; i < METRICS_BUCKETS; i++) {
        char bound[16] = "+Inf";
        count += m->stretches[i];
        if (i < METRICS_BUCKETS - 1) (void)snprintf(bound, sizeof bound, "%g", bounds[i]);
        result |= print_labelled(out, "loop_stretch_seconds_bucket", "le", bound, count);
    }
    result |= print(out,
                    "polyagent_loop_stretch_seconds_sum %.6f\n"
                    "polyagent_loop_stretch_seconds_count %llu\n",
                    m->stretch_seconds, (unsigned long long)count);
    result |= print_head(out, "loop_longest_seconds", "gauge", "The longest of these.");
    result |= print(out, "polyagent_loop_longest_seconds %.6f\n",
                    (double)m->longest_ns / (double)NS_PER_SECOND);
    return result;
}

static int write_supervisor(const struct supervisor_stats *s, struct buffer *out) {
    int result = print_head(out, "queue_depth", "gauge", "Runs that wait for a worker.");
    result |= print(out, "polyagent_queue_depth %u\n", s->queued);
    result |= print_head(out, "workers", "gauge", "Processes of runs, by what they do.");
    result |= print_labelled(out, "workers", "state", "parked", s->parked);
    result |= print_labelled(out, "workers", "state", "resting", s->nodes);
    uint32_t idle = s->parked + s->nodes;
    result |= print_labelled(out, "workers", "state", "running",
                             s->workers > idle ? s->workers - idle : 0);
    result |= print_head(out, "zygotes", "gauge", "Started interpreters that are forked.");
    result |= print(out, "polyagent_zygotes %u\n", s->zygotes);
    result |= print_head(out, "zygotes_started_total", "counter", "Interpreters started.");
    result |= print(out, "polyagent_zygotes_started_total %llu\n",
                    (unsigned long long)s->zygotes_started);
    return result;
}

int metrics_write(const struct metrics *m, const struct supervisor_stats *stats, unsigned sessions,
                  struct buffer *out) {
    static const char *const streams[] = {"stdout", "stderr"}, *const found[] = {"miss", "hit"};
    int result = write_runs(m, out);
    result |= print_head(out, "code_cache_total", "counter", "Runs by whether code was compiled.");
    for (unsigned i = 0; i < 2; i++)
        result |= print_labelled(out, "code_cache_total", "result", found[i], m->cache[i]);
    result |= print_head(out, "output_bytes_total", "counter", "What guests wrote.");
    for (unsigned i = 0; i < 2; i++)
        result |=
            print_labelled(out, "output_bytes_total", "stream", streams[i], m->output_bytes[i]);
    result |= print_head(out, "http_requests_total", "counter", "Answers, by class of status.");
    for (unsigned i = 1; i < 6; i++)
        result |= print(out, "polyagent_http_requests_total{code=\"%uxx\"} %llu\n", i,
                        (unsigned long long)m->http[i]);
    result |= print_head(out, "grpc_requests_total", "counter", "Answers, by status code.");
    for (unsigned i = 0; i < METRICS_GRPC_CODES; i++)
        if (m->grpc[i] > 0)
            result |= print(out, "polyagent_grpc_requests_total{code=\"%u\"} %llu\n", i,
                            (unsigned long long)m->grpc[i]);
    result |= print_head(out, "runs_in_flight", "gauge", "Runs under way.");
    result |= print(out, "polyagent_runs_in_flight %u\n", m->in_flight);
    result |= print_head(out, "sessions", "gauge", "Sessions that are open.");
    result |= print(out, "polyagent_sessions %u\n", sessions);
    result |= write_loop(m, out);
    if (stats != NULL) result |= write_supervisor(stats, out);
    return result == 0 ? 0 : -1;
}

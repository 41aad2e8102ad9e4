/* Counters and histograms of runs, in the text format of Prometheus (exposition format 0.0.4). */
#ifndef PA_SERVER_METRICS_H
#define PA_SERVER_METRICS_H

#include "base/buffer.h"
#include "supervisor/supervisor.h"
#include "tools/tools.h"

#include <polyagent.h>
#include <systemd/sd-event.h>

enum { METRICS_STATUSES = PA_INTERNAL + 1, METRICS_BUCKETS = 14, METRICS_GRPC_CODES = 17 };

/* Starts out as zeros. Of one thread. */
struct metrics {
    uint64_t runs[TOOL_COUNT][METRICS_STATUSES];   /* by the tool's number in the table */
    uint64_t buckets[TOOL_COUNT][METRICS_BUCKETS]; /* by wall time; not cumulative */
    double seconds[TOOL_COUNT];
    uint64_t refused[METRICS_STATUSES]; /* before they became runs */
    uint64_t cache[2];                  /* of compiled code: misses, hits */
    uint64_t output_bytes[2];
    uint64_t http[6]; /* answers, by the first digit of their status */
    uint64_t grpc[METRICS_GRPC_CODES];
    uint32_t in_flight;
    /* Of the event loop: how long it was at one thing, and everything else waited. */
    uint64_t stretches[METRICS_BUCKETS], longest_ns;
    double stretch_seconds;
};

/* A turn of the loop, as sd_event_run(), counted. */
int metrics_turn(struct metrics *metrics, sd_event *event, uint64_t timeout_us);

/* What a run's end says, for metrics_count_run(). */
struct metrics_run {
    unsigned tool; /* its number in the table */
    enum pa_status status;
    uint64_t wall_ns; /* from its request */
    bool cache_hit;
    uint64_t output_bytes[2];
};
void metrics_count_run(struct metrics *metrics, const struct metrics_run *run);

/* Appends them all; `stats` (may be NULL) is the supervisor's. -1 when memory runs out. */
int metrics_write(const struct metrics *metrics, const struct supervisor_stats *stats,
                  unsigned sessions, struct buffer *out);

#endif

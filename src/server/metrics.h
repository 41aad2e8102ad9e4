/* Counters and a histogram of runs, in the text format of Prometheus (exposition format 0.0.4). */
#ifndef PA_SERVER_METRICS_H
#define PA_SERVER_METRICS_H

#include "base/buffer.h"

#include <polyagent.h>

enum { METRICS_TOOLS = 8, METRICS_STATUSES = PA_INTERNAL + 1, METRICS_BUCKETS = 14 };

/* Starts out as zeros. Of one thread. */
struct metrics {
    uint64_t runs[METRICS_TOOLS][METRICS_STATUSES]; /* by the tool's number in the table */
    uint64_t buckets[METRICS_BUCKETS];              /* of runs, by wall time; not cumulative */
    uint64_t requests[6];                           /* by the first digit of their status */
    double seconds;                                 /* of all runs */
    uint32_t in_flight;
};

/* A run of the tool with that number ended; wall time from its request. */
void metrics_count_run(struct metrics *metrics, unsigned tool, enum pa_status status,
                       uint64_t wall_ns);
void metrics_count_request(struct metrics *metrics, unsigned http_status);

/* Appends them all. -1 when memory runs out. */
int metrics_write(const struct metrics *metrics, struct buffer *out);

#endif

/* Each WASI call of a job as a line of the log, where that is asked for (component wasi at level
 * trace). A worker can reach no log: it writes lines into a pipe, which are a stranger's text. */
#include "supervisor/internal.h"

#include "base/cleanup.h"
#include "base/log.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "wasi: " /* which tells these lines from others on a terminal */

enum { LINE_BYTES = 512, MAX_LINES = 100000, SLICE_BYTES = 16 << 10, PIPE_SLICES = 8 };

struct trace {
    int fd; /* owned; the pipe's read end */
    sd_event_source *source;
    const char *tenant; /* of the run's packet */
    char line[LINE_BYTES];
    size_t used;
    unsigned lines;
};

static void log_line(struct trace *trace) {
    trace->line[trace->used] = 0;
    trace->used = 0;
    if (trace->lines > MAX_LINES) return;
    if (trace->lines++ == MAX_LINES) {
        log_event(LOG_TRACE, "wasi", "further calls of this job are not told",
                  {"tenant", trace->tenant, 0});
        return;
    }
    const char *call = trace->line;
    if (strncmp(call, PREFIX, sizeof PREFIX - 1) == 0) call += sizeof PREFIX - 1;
    log_event(LOG_TRACE, "wasi", "call", {"tenant", trace->tenant, 0}, {"call", call, 0});
}

/* A slice of what has come. False if there is nothing now. */
static bool take(struct trace *trace) {
    char bytes[SLICE_BYTES];
    ssize_t got = read(trace->fd, bytes, sizeof bytes);
    for (ssize_t i = 0; i < got; i++) {
        if (bytes[i] == '\n' || trace->used == LINE_BYTES - 1) log_line(trace);
        if (bytes[i] != '\n') trace->line[trace->used++] = bytes[i];
    }
    return got > 0;
}

static int on_lines(sd_event_source *source, int fd, uint32_t events, void *context) {
    (void)fd;
    (void)events;
    (void)source;
    (void)take(context);
    return 0;
}

void trace_start(struct supervisor_run *run) {
    int *out = &run->packet.fds[PACKET_TRACE], ends[2];
    if (*out >= 0 || !log_enabled(LOG_TRACE, "wasi")) return;
    struct trace *trace = calloc(1, sizeof *trace);
    if (trace == NULL || pipe2(ends, O_CLOEXEC) != 0) {
        free(trace);
        return; /* the run is worth more than what is told of it */
    }
    *trace = (struct trace){.fd = ends[0], .tenant = run->packet.header.tenant};
    (void)fcntl(ends[0], F_SETFL, O_NONBLOCK);
    *out = ends[1];
    run->trace = trace;
    if (sd_event_add_io(run->supervisor->event, &trace->source, trace->fd, EPOLLIN, on_lines,
                        trace) < 0) {
        fd_closep(out); /* nobody would read */
    }
}

void trace_end(struct supervisor_run *run) {
    struct trace *trace = run->trace;
    if (trace == NULL) return;
    /* No more than a pipe holds: its writer is gone or at rest, or lies. */
    for (int i = 0; i < PIPE_SLICES && take(trace); i++) {
    }
    if (trace->used > 0) log_line(trace);
    sd_event_source_disable_unref(trace->source);
    fd_closep(&trace->fd);
    free(trace);
    run->trace = NULL;
}

/* stdin, stdout, stderr and the job's data. Reading waits for the host no longer than the deadline;
 * writing stops at the cap. */
#include "wasi/internal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

/* Waits until `fd` is ready for `events` or the deadline comes. */
static wasi_errno wait_ready(struct wasi *w, int fd, short events) {
    for (;;) {
        struct pollfd pfd = {.fd = fd, .events = events};
        uint64_t now_ns = clock_now_ns();
        if (now_ns >= w->deadline_ns) break;
        struct timespec left = clock_timespec(w->deadline_ns - now_ns);
        int ready = ppoll(&pfd, 1, w->deadline_ns == CLOCK_NEVER ? NULL : &left, NULL);
        if (ready > 0) return WASI_SUCCESS;
        if (ready < 0 && errno != EINTR) return wasi_from_errno(errno);
    }
    w->stop = WASI_STOP_DEADLINE;
    return WASI_EINTR;
}

static size_t read_bytes(struct wasi_bytes *bytes, const struct iovec *iov, int count) {
    size_t done = 0;
    for (int i = 0; i < count; i++) {
        size_t part = bytes->left < iov[i].iov_len ? (size_t)bytes->left : iov[i].iov_len;
        if (part == 0) continue;
        memcpy(iov[i].iov_base, bytes->data, part);
        bytes->data += part;
        bytes->left -= part;
        done += part;
    }
    return done;
}

void wasi_reach_input(struct wasi *w) {
    if (w->before_input == NULL) return;
    if (w->reached_input && !(w->stays && w->answer_bytes > 0)) return;
    w->reached_input = true;
    w->before_input(w->before_input_context);
}

wasi_errno wasi_stream_read(struct wasi *w, const struct wasi_fd *in, const struct iovec *iov,
                            int count, size_t *done) {
    struct wasi_input *input = &w->input;
    *done = 0;
    wasi_reach_input(w);
    wasi_flush(w); /* a prompt */
    if (input->job.left > 0 || input->stdin.data != NULL) {
        *done = read_bytes(input->job.left > 0 ? &input->job : &input->stdin, iov, count);
        return WASI_SUCCESS;
    }
    if (input->fd < 0) return WASI_SUCCESS; /* no stdin: at its end */
    for (;;) {
        if (!(in->flags & WASI_FDFLAG_NONBLOCK)) {
            wasi_errno e = wait_ready(w, input->fd, POLLIN);
            if (e != WASI_SUCCESS) return e;
        }
        ssize_t got = readv(input->fd, iov, count);
        if (got >= 0) {
            *done = (size_t)got;
            return WASI_SUCCESS;
        }
        if (errno == EAGAIN && (in->flags & WASI_FDFLAG_NONBLOCK)) return WASI_EAGAIN;
        if (errno != EINTR && errno != EAGAIN) return wasi_from_errno(errno);
    }
}

/* The stream whose tail holds something; NULL while that changes. A signal's handler looks at it.
 * One at most: what is written to one stream comes after what the other one holds. */
static struct wasi_stream *volatile late;
static volatile sig_atomic_t told; /* somebody is going to flush it */

void wasi_streams_begin(void) {
    late = NULL;
    told = 0;
}

static wasi_errno write_all(struct wasi *w, struct wasi_stream *stream, const uint8_t *data,
                            size_t size) {
    while (size > 0) {
        ssize_t sent = write(stream->fd, data, size);
        if (sent >= 0) {
            data += sent;
            size -= (size_t)sent;
        } else if (errno == EAGAIN) {
            wasi_errno e = wait_ready(w, stream->fd, POLLOUT);
            if (e != WASI_SUCCESS) return e;
        } else if (errno != EINTR) {
            return wasi_from_errno(errno);
        }
    }
    return WASI_SUCCESS;
}

/* One write of what a tail holds. Meanwhile it holds nothing: a write under way is done with even
 * if the process is killed in it, and must not be done again by who reads the tail then. The result
 * is write()'s. */
static ssize_t send_tail(struct wasi_stream *stream) {
    const uint16_t held = stream->counts->held;
    stream->counts->held = 0;
    ssize_t sent = write(stream->fd, stream->tail, held);
    uint16_t left = (uint16_t)(sent > 0 ? held - sent : held);
    if (sent > 0 && left > 0) memmove(stream->tail, stream->tail + sent, left);
    stream->counts->held = left;
    return sent;
}

static wasi_errno drain(struct wasi *w, struct wasi_stream *stream) {
    while (stream->tail != NULL && stream->counts->held > 0) {
        if (send_tail(stream) >= 0 || errno == EINTR) continue;
        wasi_errno e =
            errno == EAGAIN ? wait_ready(w, stream->fd, POLLOUT) : wasi_from_errno(errno);
        if (e != WASI_SUCCESS) return e;
    }
    return WASI_SUCCESS;
}

void wasi_flush(struct wasi *w) {
    late = NULL;
    for (int i = 0; i < 2; i++)
        (void)drain(w, &w->streams[i]); /* as with a write that fails: there is nobody to tell */
}

void wasi_flush_in_signal(void) {
    struct wasi_stream *stream = late;
    int number = errno;
    told = 0;
    if (stream == NULL) return;
    (void)send_tail(stream);
    if (stream->counts->held == 0) late = NULL;
    errno = number;
}

/* Pieces of a line are held until it is complete. */
static wasi_errno put(struct wasi *w, struct wasi_stream *stream, const uint8_t *data,
                      size_t size) {
    if (stream->capture != NULL)
        return buffer_append(stream->capture, data, size) == 0 ? WASI_SUCCESS : WASI_ENOMEM;
    if (stream->tail == NULL) return write_all(w, stream, data, size);
    struct wasi_output_counts *counts = stream->counts;
    late = NULL;
    wasi_errno e = drain(w, &w->streams[stream == &w->streams[0] ? 1 : 0]);
    if (e == WASI_SUCCESS && size > WASI_TAIL_BYTES - (size_t)counts->held) e = drain(w, stream);
    if (e != WASI_SUCCESS || size == 0) return e;
    if (size > WASI_TAIL_BYTES) return write_all(w, stream, data, size);
    memcpy(stream->tail + counts->held, data, size);
    counts->held = (uint16_t)(counts->held + size);
    if (data[size - 1] == '\n') return drain(w, stream);
    late = stream;
    if (!told && w->held != NULL) {
        told = 1;
        w->held();
    }
    return WASI_SUCCESS;
}

wasi_errno wasi_stream_answer(struct wasi *w, const struct iovec *iov, int count, size_t *done) {
    *done = 0;
    for (int i = 0; i < count; i++) {
        if (iov[i].iov_len > WASI_MAX_ANSWER_BYTES - w->answer_bytes) return WASI_EFBIG;
        int result = fd_write_all(w->answer_fd, iov[i].iov_base, iov[i].iov_len);
        if (result != 0) return wasi_from_errno(-result);
        w->answer_bytes += iov[i].iov_len;
        *done += iov[i].iov_len;
    }
    return WASI_SUCCESS;
}

wasi_errno wasi_stream_write(struct wasi *w, struct wasi_fd *out, const struct iovec *iov,
                             int count, size_t *done) {
    struct wasi_stream *stream = out->stream;
    *done = 0;
    for (int i = 0; i < count; i++) {
        uint64_t room = UINT64_MAX;
        if (w->output_limit_bytes > 0) {
            room = stream->counts->bytes < w->output_limit_bytes
                       ? w->output_limit_bytes - stream->counts->bytes
                       : 0;
        }
        size_t part = iov[i].iov_len < room ? iov[i].iov_len : (size_t)room;
        wasi_errno e = put(w, stream, iov[i].iov_base, part);
        if (e != WASI_SUCCESS) return *done > 0 ? WASI_SUCCESS : e;
        stream->counts->bytes += iov[i].iov_len;
        *done += iov[i].iov_len;
        if (part < iov[i].iov_len) {
            stream->counts->truncated = true;
            if (!w->output_truncate) {
                w->stop = WASI_STOP_OUTPUT_LIMIT;
                return WASI_EFBIG;
            }
        }
    }
    return WASI_SUCCESS;
}

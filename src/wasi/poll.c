/* poll_oneoff: sleeping, and waiting for the streams. It never outlasts the run's deadline. */
#include "wasi/internal.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct subscription { /* decoded from its 48 bytes */
    uint64_t userdata;
    uint64_t timeout_ns;
    uint32_t fd_or_clock;
    uint16_t clock_flags;
    uint8_t type;
};

struct event {
    bool happened;
    wasi_errno error;
    uint64_t bytes;
    uint16_t flags; /* HANGUP: the other end is closed */
};

/* Everything one call needs; the guest's memory is not looked at again before the events go out. */
struct poll_call {
    struct subscription *subs;
    struct event *events;
    struct pollfd *host; /* fd -1 where nothing is waited for */
    uint32_t count;
};

static void decode(const uint8_t *raw, struct subscription *sub) {
    memcpy(&sub->userdata, raw, 8);
    sub->type = raw[8];
    memcpy(&sub->fd_or_clock, raw + 16, 4);
    memcpy(&sub->timeout_ns, raw + 24, 8);
    memcpy(&sub->clock_flags, raw + 40, 2);
}

static struct event failed(wasi_errno error) {
    return (struct event){.happened = true, .error = error};
}

/* How long to sleep from now, in nanoseconds. */
static wasi_errno sleep_ns(struct wasi *w, const struct subscription *sub, uint64_t *ns) {
    if (sub->fd_or_clock > WASI_CLOCK_MONOTONIC) return WASI_ENOTSUP; /* CPU time does not pass */
    if (sub->clock_flags & ~WASI_SUBCLOCK_ABSTIME) return WASI_EINVAL;
    *ns = sub->timeout_ns;
    if (!(sub->clock_flags & WASI_SUBCLOCK_ABSTIME)) return WASI_SUCCESS;
    if (w->deny_clock) return WASI_ENOTCAPABLE; /* an absolute instant would tell the time */
    uint64_t now_ns = wasi_clock_now_ns(w, sub->fd_or_clock);
    *ns = sub->timeout_ns > now_ns ? sub->timeout_ns - now_ns : 0;
    return WASI_SUCCESS;
}

static void look_at_fd(struct wasi *w, const struct subscription *sub, struct event *event,
                       struct pollfd *host) {
    struct wasi_fd *entry;
    struct stat st;
    bool reads = sub->type == WASI_EVENT_FD_READ;
    wasi_errno e = wasi_fd_get(w, sub->fd_or_clock, &entry);
    if (e == WASI_SUCCESS && !(entry->rights_base & WASI_RIGHT_POLL_FD_READWRITE)) {
        e = entry->kind == WASI_DIRECTORY ? WASI_EBADF : WASI_ENOTCAPABLE;
    }
    if (e == WASI_SUCCESS && entry->kind == WASI_INPUT && !reads) e = WASI_ENOTCAPABLE;
    if (e == WASI_SUCCESS && entry->kind == WASI_OUTPUT && reads) e = WASI_ENOTCAPABLE;
    if (e != WASI_SUCCESS) {
        *event = failed(e);
        return;
    }
    const struct wasi_input *input = &w->input;
    bool is_stream =
        entry->kind == WASI_OUTPUT || (entry->kind == WASI_INPUT && input->job.left == 0);
    int fd = wasi_host_fd(w, entry);
    if (is_stream && fd >= 0 && !w->deterministic) {
        *host = (struct pollfd){.fd = fd, .events = reads ? POLLIN : POLLOUT};
        return;
    }
    *event = (struct event){.happened = true}; /* files and memory never make anybody wait */
    if (entry->kind == WASI_INPUT) {
        event->bytes = input->job.left > 0 ? input->job.left : input->stdin.left;
    } else if (entry->kind == WASI_FILE && reads && fstat(entry->host_fd, &st) == 0) {
        off_t at = lseek(entry->host_fd, 0, SEEK_CUR);
        event->bytes = at >= 0 && st.st_size > at ? (uint64_t)(st.st_size - at) : 0;
    }
}

static void collect(const struct poll_call *call) {
    for (uint32_t i = 0; i < call->count; i++) {
        int available = 0;
        if (call->host[i].fd < 0 || call->host[i].revents == 0) continue;
        call->events[i] = (struct event){.happened = true};
        if (call->host[i].revents & POLLHUP) call->events[i].flags = WASI_EVENT_HANGUP;
        if (call->host[i].revents & POLLNVAL) {
            call->events[i].error = WASI_EBADF;
        } else if (call->host[i].revents & POLLIN &&
                   ioctl(call->host[i].fd, FIONREAD, &available) == 0 && available > 0) {
            call->events[i].bytes = (uint64_t)available;
        }
    }
}

static wasi_errno wait_for(struct wasi *w, const struct poll_call *call, uint64_t sleep, bool timed,
                           uint64_t shortest, bool ready) {
    bool waits_for_host = false;
    for (uint32_t i = 0; i < call->count; i++)
        waits_for_host |= call->host[i].fd >= 0;
    if (ready) {
        timed = true;
        sleep = 0;
    } else if (w->deterministic) { /* sleeping takes no time: the clock jumps */
        if (__builtin_add_overflow(w->virtual_ns, sleep, &w->virtual_ns))
            w->virtual_ns = UINT64_MAX / 2;
        sleep = 0;
    }
    uint64_t start_ns = clock_now_ns(), wake_ns;
    if (!timed || __builtin_add_overflow(start_ns, sleep, &wake_ns)) wake_ns = CLOCK_NEVER;
    for (;;) {
        uint64_t now_ns = clock_now_ns();
        uint64_t until_ns = wake_ns < w->deadline_ns ? wake_ns : w->deadline_ns;
        struct timespec left = clock_timespec(until_ns > now_ns ? until_ns - now_ns : 0);
        int got = ppoll(waits_for_host ? call->host : NULL, waits_for_host ? call->count : 0,
                        until_ns == CLOCK_NEVER ? NULL : &left, NULL);
        if (got < 0 && errno != EINTR) return wasi_from_errno(errno);
        if (got > 0) collect(call);
        now_ns = clock_now_ns();
        if (now_ns >= w->deadline_ns) {
            w->stop = WASI_STOP_DEADLINE;
            return WASI_EINTR;
        }
        if (got > 0 || now_ns >= wake_ns) break;
    }
    if (ready) return WASI_SUCCESS;
    for (uint32_t i = 0; i < call->count; i++) { /* each clock whose time has come */
        uint64_t ns;
        if (call->subs[i].type != WASI_EVENT_CLOCK || call->events[i].happened) continue;
        if (sleep_ns(w, &call->subs[i], &ns) != WASI_SUCCESS) continue;
        bool absolute = call->subs[i].clock_flags & WASI_SUBCLOCK_ABSTIME;
        uint64_t slept = w->deterministic ? shortest : clock_now_ns() - start_ns;
        call->events[i].happened = absolute ? ns == 0 : ns <= slept;
    }
    return WASI_SUCCESS;
}

/* A checkpoint comes before anything is looked at: it exchanges what the descriptors lead to. */
static void reach_input(struct wasi *w, const struct poll_call *call) {
    for (uint32_t i = 0; i < call->count; i++) {
        const struct subscription *sub = &call->subs[i];
        struct wasi_fd *entry;
        if (sub->type == WASI_EVENT_FD_READ &&
            wasi_fd_require(w, sub->fd_or_clock, WASI_INPUT, WASI_EBADF,
                            WASI_RIGHT_POLL_FD_READWRITE, &entry) == WASI_SUCCESS) {
            wasi_reach_input(w);
            return;
        }
    }
}

static wasi_errno poll_all(struct wasi *w, const struct poll_call *call) {
    uint64_t shortest = UINT64_MAX;
    bool timed = false, ready = false;
    reach_input(w, call);
    wasi_flush(w);
    for (uint32_t i = 0; i < call->count; i++) {
        const struct subscription *sub = &call->subs[i];
        call->host[i].fd = -1;
        if (sub->type == WASI_EVENT_CLOCK) {
            uint64_t ns;
            wasi_errno e = sleep_ns(w, sub, &ns);
            if (e != WASI_SUCCESS) {
                call->events[i] = failed(e);
            } else {
                timed = true;
                shortest = ns < shortest ? ns : shortest;
            }
        } else if (sub->type == WASI_EVENT_FD_READ || sub->type == WASI_EVENT_FD_WRITE) {
            look_at_fd(w, sub, &call->events[i], &call->host[i]);
        } else {
            return WASI_EINVAL;
        }
        ready |= call->events[i].happened;
    }
    return wait_for(w, call, timed ? shortest : 0, timed, shortest, ready);
}

static bool put_events(struct wasi *w, const struct poll_call *call, uint32_t out, uint32_t *used) {
    *used = 0;
    for (uint32_t i = 0; i < call->count; i++) {
        uint8_t raw[WASI_EVENT_BYTES] = {0}; /* padding must not carry host bytes */
        if (!call->events[i].happened) continue;
        memcpy(raw, &call->subs[i].userdata, 8);
        memcpy(raw + 8, &call->events[i].error, 2);
        raw[10] = call->subs[i].type;
        memcpy(raw + 16, &call->events[i].bytes, 8);
        memcpy(raw + 24, &call->events[i].flags, 2);
        if (!guest_put(w->memory, out + *used * WASI_EVENT_BYTES, raw, sizeof raw)) return false;
        (*used)++;
    }
    return true;
}

/* poll_oneoff(*in, *out, nsubscriptions, *nevents) */
WASI_FN(poll_oneoff) {
    uint32_t count = (uint32_t)a[2], used;
    uint8_t *in, *out;
    if (count == 0 || count > WASI_MAX_SUBSCRIPTIONS) return WASI_EINVAL;
    if (!guest_span(w->memory, (uint32_t)a[0], (uint64_t)count * WASI_SUBSCRIPTION_BYTES, &in) ||
        !guest_span(w->memory, (uint32_t)a[1], (uint64_t)count * WASI_EVENT_BYTES, &out)) {
        return WASI_EFAULT;
    }
    struct poll_call call = {.subs = calloc(count, sizeof *call.subs),
                             .events = calloc(count, sizeof *call.events),
                             .host = calloc(count, sizeof *call.host),
                             .count = count};
    wasi_errno e = WASI_ENOMEM;
    if (call.subs != NULL && call.events != NULL && call.host != NULL) {
        for (uint32_t i = 0; i < count; i++) {
            decode(in + (size_t)i * WASI_SUBSCRIPTION_BYTES, &call.subs[i]);
        }
        e = poll_all(w, &call);
    }
    if (e == WASI_SUCCESS && (!put_events(w, &call, (uint32_t)a[1], &used) ||
                              !guest_put_u32(w->memory, (uint32_t)a[3], used))) {
        e = WASI_EFAULT;
    }
    free(call.subs);
    free(call.events);
    free(call.host);
    return e;
}

#include "server/remote.h"

#include "base/cleanup.h"
#include "tools/result.h"

#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

enum { CHUNK_BYTES = 64 << 10 };

struct remote_run {
    struct remote *remote;
    int fd;                    /* owned; to the supervisor */
    struct result_files files; /* owned; its outputs may be read ends of pipes */
    sd_event_source *source;
    sd_event_source *chunks[2]; /* of the pipes */
    const struct remote_callbacks *callbacks;
    void *context;
    const struct remote_turn *turn; /* until it is sent */
    bool in_callback, cancelled;
    struct socket_reply reply;
};

void remote_fini(struct remote *remote) {
    fd_closep(&remote->holder_fd);
    while (remote->idle_count > 0)
        (void)close(remote->idle[--remote->idle_count]);
}

static void release(struct remote_run *run) {
    sd_event_source_disable_unref(run->source);
    for (int i = 0; i < 2; i++) {
        sd_event_source_disable_unref(run->chunks[i]);
    }
    result_files_close(&run->files);
    fd_closep(&run->fd);
    free(run);
}

void remote_cancel(struct remote_run *run) {
    run->cancelled = true;
    if (!run->in_callback) release(run); /* else it is released on the way back */
}

void remote_pause(struct remote_run *run, bool paused) {
    for (int i = 0; i < 2; i++) {
        if (run->chunks[i] != NULL)
            (void)sd_event_source_set_enabled(run->chunks[i], paused ? SD_EVENT_OFF : SD_EVENT_ON);
    }
}

/* One chunk of a stream, if there is one. False at its end, or if the run is over. */
static bool pass_on(struct remote_run *run, int stream) {
    uint8_t chunk[CHUNK_BYTES];
    ssize_t got = read(run->files.outputs[stream], chunk, sizeof chunk);
    if (got < 0 && errno == EINTR) return true;
    if (got == 0) errno = 0;
    if (got <= 0) return false;
    run->in_callback = true;
    run->callbacks->output(run->context, stream, chunk, (size_t)got);
    run->in_callback = false;
    return !run->cancelled;
}

static int on_chunk(sd_event_source *source, int fd, uint32_t events, void *context) {
    struct remote_run *run = context;
    int stream = fd == run->files.outputs[1];
    (void)events;
    if (!pass_on(run, stream) && !run->cancelled && errno != EAGAIN) {
        (void)sd_event_source_set_enabled(source, SD_EVENT_OFF); /* no more will come */
    }
    if (run->cancelled) release(run);
    return 0;
}

static int on_reply(sd_event_source *source, int fd, uint32_t events, void *context) {
    struct remote_run *run = context;
    struct pa_result result = {.status = PA_INTERNAL,
                               .message = (char *)(uintptr_t) "the supervisor hung up"};
    (void)source;
    (void)events;
    ssize_t got = recv(fd, &run->reply, sizeof run->reply, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    bool streams = run->callbacks->output != NULL;
    for (int i = 0; i < 2 && streams && run->files.outputs[i] >= 0;
         i++) /* the guest has ended: what is there is all */
        while (!run->cancelled && pass_on(run, i)) {
        }
    if (got == sizeof run->reply) result = result_of_reply(&run->reply);
    if (got == sizeof run->reply && run->remote->idle_count < REMOTE_IDLE) {
        run->source = sd_event_source_disable_unref(run->source);
        run->remote->idle[run->remote->idle_count++] = steal_fd(&run->fd);
    }
    struct remote_outcome outcome = {0};
    if (got == sizeof run->reply)
        outcome = (struct remote_outcome){run->reply.node, run->reply.report.growth,
                                          run->reply.report.files_lost};
    if (!run->cancelled) run->callbacks->done(run->context, &result, &run->files, &outcome);
    release(run);
    return 0;
}

static int module_fd(const struct tool_call *call, struct error *err) {
    int fd = call->module_fd >= 0
                 ? fcntl(call->module_fd, F_DUPFD_CLOEXEC, 3)
                 : socket_module_fd(call->module_path, call->module.data, call->module.size);
    if (fd >= 0) return fd;
    enum pa_status status = call->module_path == NULL ? PA_INTERNAL
                            : errno == ENOENT         ? PA_NOT_FOUND
                                                      : PA_DENIED;
    return error_set_errno(err, status, errno, "open the module");
}

/* By a connection that is there, or a new one. One that the supervisor has closed since shows it.
 */
static int send_packet(struct remote_run *run, const struct packet *packet, struct error *err) {
    struct remote *remote = run->remote;
    int result;
    do {
        bool idle = remote->idle_count > 0;
        run->fd = idle ? remote->idle[--remote->idle_count]
                       : socket_connect(remote->socket_path, false, err);
        if (run->fd < 0) return -1;
        result = packet_send(packet, run->fd, 0);
        if (result == 0) return 0;
        fd_closep(&run->fd);
        if (!idle) break;
    } while (result == -EPIPE || result == -ECONNRESET || result == -ENOTCONN);
    return error_set_errno(err, PA_INTERNAL, -result, "send the job to the supervisor");
}

static int send_call(struct remote_run *run, const struct tool_call *call, const char *tenant,
                     const int outputs[2], struct error *err) {
    struct packet packet;
    struct pa_job job = call->job;
    job.argc = socket_job_argc(&job, call->warm_argc);
    job.use_output_fds = true;
    job.stdout_fd = outputs[0];
    job.stderr_fd = outputs[call->merged ? 0 : 1];
    job.answer_fd = run->files.answer;
    const struct remote_turn *turn = run->turn;
    if (turn != NULL && turn->same_mounts) job.mount_count = 0;
    if (packet_pack(&packet, &job, err) != 0) return -1;
    if (call->to_module) packet.header.flags |= PACKET_TO_MODULE;
    if (turn != NULL) {
        packet.header.flags |= PACKET_STAYS | (turn->same_mounts ? PACKET_SAME_MOUNTS : 0) |
                               (turn->moved ? PACKET_MOVED : 0);
        packet.header.node = turn->node;
        packet.header.holder = run->remote->holder;
        packet.fds[PACKET_SCOPE] = open(turn->scope, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (packet.fds[PACKET_SCOPE] < 0) {
            packet_fini(&packet);
            return error_set_errno(err, PA_INTERNAL, errno, "open %s", turn->scope);
        }
    }
    (void)snprintf(packet.header.tenant, sizeof packet.header.tenant, "%s", tenant);
    bool goes_on = packet.header.node != 0;
    if (!goes_on) packet.fds[PACKET_MODULE] = module_fd(call, err);
    int result = goes_on || packet.fds[PACKET_MODULE] >= 0 ? send_packet(run, &packet, err) : -1;
    packet_fini(&packet);
    return result;
}

/* Pipes in the place of files; `given` are the ends for the worker, owned. */
static int open_pipes(struct result_files *files, int given[2], struct error *err) {
    for (int i = 0; i < 2; i++) {
        int ends[2];
        if (files->outputs[i] < 0) continue;
        if (pipe2(ends, O_CLOEXEC) != 0)
            return error_set_errno(err, PA_INTERNAL, errno, "a pipe for the output");
        (void)close(files->outputs[i]);
        files->outputs[i] = ends[0]; /* only our end must not block */
        given[i] = ends[1];
        (void)fcntl(ends[0], F_SETFL, O_NONBLOCK);
    }
    return 0;
}

static int watch(struct remote_run *run, sd_event *event) {
    int result = sd_event_add_io(event, &run->source, run->fd, EPOLLIN, on_reply, run);
    for (int i = 0; i < 2 && result >= 0 && run->callbacks->output != NULL; i++) {
        int output = run->files.outputs[i];
        if (output >= 0)
            result = sd_event_add_io(event, &run->chunks[i], output, EPOLLIN, on_chunk, run);
    }
    return result;
}

int remote_hold(struct remote *remote, struct error *err) {
    struct packet packet;
    if (remote->holder_fd >= 0) return 0;
    remote->holder_fd = socket_connect(remote->socket_path, false, err);
    if (remote->holder_fd < 0) return -1;
    packet_init(&packet);
    randombytes_buf(&remote->holder, sizeof remote->holder);
    packet.header.flags = PACKET_HOLD;
    packet.header.holder = remote->holder;
    int result = packet_send(&packet, remote->holder_fd, 0);
    if (result == 0) return 0;
    fd_closep(&remote->holder_fd);
    return error_set_errno(err, PA_INTERNAL, -result,
                           "tell the supervisor whose sessions these are");
}

void remote_drop_node(struct remote *remote, uint64_t node) {
    struct packet packet;
    packet_init(&packet);
    packet.header.flags = PACKET_DROP;
    packet.header.node = node;
    /* One that has no room for it is a supervisor in trouble: then the node ends with us. */
    if (remote->holder_fd >= 0) (void)packet_send(&packet, remote->holder_fd, 0);
}

void remote_interrupt(struct remote_run *run) {
    struct packet packet;
    packet_init(&packet);
    packet.header.flags = PACKET_CANCEL;
    (void)packet_send(&packet, run->fd, 0);
}

struct remote_run *remote_start(struct remote *remote, const char *tenant,
                                const struct tool_call *call, const struct remote_turn *turn,
                                const struct remote_callbacks *callbacks, void *context,
                                struct error *err) {
    int given[2] = {-1, -1};
    struct remote_run *run = calloc(1, sizeof *run);
    if (run == NULL) {
        error_set(err, PA_INTERNAL, "a run: out of memory");
        return NULL;
    }
    *run = (struct remote_run){.remote = remote,
                               .fd = -1,
                               .files = {.outputs = {-1, -1}, .answer = -1},
                               .callbacks = callbacks,
                               .turn = turn,
                               .context = context};
    bool streams = callbacks->output != NULL;
    int result = result_files_open(&run->files, call->merged, call->answers,
                                   call->job.limits.output_limit_bytes, err);
    if (result == 0 && streams) result = open_pipes(&run->files, given, err);
    if (result == 0)
        result = send_call(run, call, tenant, streams ? given : run->files.outputs, err);
    if (result == 0) {
        result = watch(run, remote->event);
        if (result < 0) error_set_errno(err, PA_INTERNAL, -result, "watch the run");
    }
    fd_closep(&given[0]);
    fd_closep(&given[1]);
    if (result >= 0) return run;
    release(run);
    return NULL;
}

#include "server/remote.h"

#include "base/cleanup.h"
#include "supervisor/socket.h"
#include "tools/result.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

struct remote_run {
    int fd;         /* owned; to the supervisor */
    int outputs[2]; /* owned; memfds that the worker writes to */
    sd_event_source *source;
    remote_done done;
    void *context;
    struct socket_reply reply;
};

static void release(struct remote_run *run) {
    sd_event_source_disable_unref(run->source);
    fd_closep(&run->fd);
    fd_closep(&run->outputs[0]);
    fd_closep(&run->outputs[1]);
    free(run);
}

void remote_cancel(struct remote_run *run) {
    release(run);
}

static int on_reply(sd_event_source *source, int fd, uint32_t events, void *context) {
    struct remote_run *run = context;
    struct pa_result result = {.status = PA_INTERNAL,
                               .message = (char *)(uintptr_t) "the supervisor hung up"};
    (void)source;
    (void)events;
    ssize_t got = recv(fd, &run->reply, sizeof run->reply, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    if (got == sizeof run->reply) result = result_of_reply(&run->reply);
    json_t *all = result_json(&result);
    if (all != NULL && result_add_outputs(all, run->outputs) != 0) {
        json_decref(all);
        all = NULL;
    }
    run->done(run->context, result.status, all);
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

static int send_call(struct remote_run *run, const struct tool_call *call, const char *socket_path,
                     struct error *err) {
    struct packet packet;
    struct pa_job job = call->job;
    job.argc = socket_job_argc(&job, call->warm_argc);
    job.use_output_fds = true;
    job.stdout_fd = run->outputs[0];
    job.stderr_fd = run->outputs[1];
    if (packet_pack(&packet, &job, err) != 0) return -1;
    packet.fds[PACKET_MODULE] = module_fd(call, err);
    if (packet.fds[PACKET_MODULE] >= 0) run->fd = socket_connect(socket_path, false, err);
    int result = run->fd >= 0 ? packet_send(&packet, run->fd, 0) : -1;
    if (run->fd >= 0 && result != 0) {
        error_set_errno(err, PA_INTERNAL, -result, "send the job to the supervisor");
    }
    packet_fini(&packet);
    return result;
}

struct remote_run *remote_start(sd_event *event, const char *socket_path,
                                const struct tool_call *call, remote_done done, void *context,
                                struct error *err) {
    struct remote_run *run = calloc(1, sizeof *run);
    if (run == NULL) {
        error_set(err, PA_INTERNAL, "a run: out of memory");
        return NULL;
    }
    *run = (struct remote_run){
        .fd = -1,
        .outputs = {memfd_create("stdout", MFD_CLOEXEC), memfd_create("stderr", MFD_CLOEXEC)},
        .done = done,
        .context = context};
    int result = run->outputs[0] >= 0 && run->outputs[1] >= 0
                     ? send_call(run, call, socket_path, err)
                     : error_set_errno(err, PA_INTERNAL, errno, "memory for the output");
    if (result == 0) {
        result = sd_event_add_io(event, &run->source, run->fd, EPOLLIN, on_reply, run);
        if (result < 0) error_set_errno(err, PA_INTERNAL, -result, "watch the run");
    }
    if (result >= 0) return run;
    release(run);
    return NULL;
}

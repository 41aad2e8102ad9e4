/* What a run has left becomes its result, when there is room for that. */
#include "server/service_run.h"

#include "base/cleanup.h"
#include "tools/artifact.h"
#include "tools/compile.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* A result's parts as they are, as values, and as text with escapes. */
enum { RESULT_COPIES = 4, RESULT_BYTES = 4 << 10, MAX_NAMES = 2 * ARTIFACT_MAX_FILES };

static uint64_t size_of(int fd) {
    struct stat st;
    return fd >= 0 && fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* Whether it takes long to put together what the run has left. */
static bool leaves_much(const struct service_run *run) {
    const struct result_files *files = &run->files;
    uint64_t bytes = size_of(files->answer);
    if (run->callbacks->output == NULL || run->to_module)
        bytes += size_of(files->outputs[0]) + size_of(files->outputs[1]);
    return bytes > WORK_LARGE_BYTES ||
           (run->output[0] != 0 && !folder_is_bare(AT_FDCWD, run->output));
}

/* Puts it into the result, which is no more if memory runs out; the session's folder is emptied. */
static void collect(struct service_run *run) {
    const struct result_files *files = &run->files;
    json_t *all = run->result;
    if (run->to_module) {
        if (run->status == PA_OK) run->result = tool_module(files, run->text);
        return;
    }
    bool streams = run->callbacks->output != NULL, turn = run->outcome.node != 0;
    if (all != NULL &&
        ((!streams && result_add_outputs(all, files) != 0) ||
         result_add_answer(all, files->answer, turn) != 0 ||
         (run->output[0] != 0 && workspace_add_artifacts_of(run->output, all) != 0))) {
        json_decref(all);
        run->result = NULL;
    }
    if (run->session == NULL || folder_is_bare(AT_FDCWD, run->output)) return;
    uint64_t bytes = 0, names = 0; /* they have been counted to the turn, and go */
    _cleanup_(fd_closep) int dir = open(run->output, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || folder_usage(dir, UINT64_MAX, &bytes, &names) != 0)
        run->outcome.is_counted = false;
    run->outcome.bytes -= (int64_t)bytes;
    run->outcome.names -= (int64_t)names;
    folder_empty(AT_FDCWD, run->output);
}

static void finish(struct service_run *run) {
    json_t *result = run->abandoned ? NULL : steal_ptr(run->result);
    if (run->session != NULL)
        run->status = sessions_leave(run->session, run->status, &run->outcome, result);
    if (run->abandoned) return;
    service_run_give_claim(run);
    run->callbacks->done(run->context, run->status, service_with_id(result, &run->caller));
}

static void collect_act(struct work_job *job) {
    collect(service_run_of(job));
}

static void collect_done(struct work_job *job) {
    struct service_run *run = service_run_of(job);
    finish(run);
    service_run_release(run);
}

/* What the result takes, at most about. */
static size_t result_bytes(const struct service_run *run) {
    const struct result_files *files = &run->files;
    uint64_t bytes = size_of(files->answer), left = 0, names;
    if (run->callbacks->output == NULL || run->to_module)
        bytes += size_of(files->outputs[0]) + size_of(files->outputs[1]);
    if (run->output[0] != 0 && !folder_is_bare(AT_FDCWD, run->output)) {
        _cleanup_(fd_closep) int dir = open(run->output, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir < 0 || folder_usage(dir, MAX_NAMES, &left, &names) != 0 ||
            left > ARTIFACT_MAX_BYTES)
            left = ARTIFACT_MAX_BYTES;
    }
    return (size_t)(bytes + left) * RESULT_COPIES + RESULT_BYTES;
}

/* There is room for the result, or nobody wants it. */
static void deliver(struct service_run *run) {
    struct error err = {0};
    run->claim = intake_steal(&run->waiter.claim);
    if (leaves_much(run) &&
        service_run_submit(run, COLLECTING, collect_act, collect_done, &err) == 0)
        return;
    collect(run);
    finish(run);
    service_run_release(run);
}

static void on_room(struct intake_waiter *waiter) {
    deliver((struct service_run *)((char *)waiter - offsetof(struct service_run, waiter)));
}

/* Too many results wait already: this one is a refusal. What it did in a session is done. */
static void deliver_refusal(struct service_run *run) {
    struct error err = {0};
    error_set(&err, PA_OVERLOADED,
              "the run has ended, but %d of your results wait to be read; retry in 1000 ms",
              INTAKE_MAX_WAITING);
    json_decref(run->result);
    run->result = NULL;
    collect(run);
    if (run->session != NULL) (void)sessions_leave(run->session, run->status, &run->outcome, NULL);
    service_run_refuse(run, &err);
}

void service_result_deliver(struct service_run *run) {
    run->phase = ENDED;
    intake_release(&run->service->intake, &run->claim);
    run->waiter.bytes = result_bytes(run);
    run->waiter.ready = on_room;
    (void)strncpy(run->waiter.name, run->caller.name, sizeof run->waiter.name - 1);
    if (intake_wait(&run->service->intake, &run->waiter))
        deliver(run);
    else if (!run->waiter.waits)
        deliver_refusal(run);
}

void service_result_drop(struct service_run *run) {
    intake_forget(&run->service->intake, &run->waiter);
    json_decref(run->result);
    run->result = NULL;
    deliver(run);
}

/* A job that is run by the supervisor, at its unix socket, while an event loop goes on. */
#ifndef PA_SERVER_REMOTE_H
#define PA_SERVER_REMOTE_H

#include "supervisor/socket.h"
#include "tools/result.h"
#include "tools/tools.h"

#include <systemd/sd-event.h>

enum { REMOTE_IDLE = 64 };

/* The way to a supervisor. Connections that have nothing to do are kept for the next run. */
struct remote {
    sd_event *event;         /* outlives it */
    const char *socket_path; /* likewise */
    int idle[REMOTE_IDLE];   /* owned */
    unsigned idle_count;
    int holder_fd;   /* owned; with its end, the supervisor drops our nodes; -1: we have none */
    uint64_t holder; /* what we are called there */
};
void remote_fini(struct remote *remote);

/* Before the first turn of a session. -1 with `err`. */
int remote_hold(struct remote *remote, struct error *err);
void remote_drop_node(struct remote *remote, uint64_t node);

/* A call that is a session's turn. */
struct remote_turn {
    uint64_t node;     /* that it goes on from; 0: from the start */
    bool same_mounts;  /* the node has them already */
    bool moved;        /* the files are others than when it came to rest */
    const char *scope; /* the folder with the workspaces of the session and its branches */
};

/* What a turn has come to. */
struct remote_outcome {
    uint64_t node;             /* where it stands; 0: nowhere */
    struct wasi_growth growth; /* of its folders: the worker's own count, within its quotas */
    uint32_t files_lost;       /* descriptors that could not be opened again; its word, too */
};

struct remote_run; /* one under way */

/* Called from the loop, unless the run was cancelled. */
struct remote_callbacks {
    /* What the guest wrote, as it comes; `stream` 0 or 1. NULL: it is kept, for `done`. */
    void (*output)(void *context, int stream, const void *data, size_t size);
    /* Once. The result points to what ends with the call. In the files is all that was written, but
     * for outputs that went to `output`; they may be taken over. */
    void (*done)(void *context, const struct pa_result *result, struct result_files *files,
                 const struct remote_outcome *outcome);
};

/* Sends the call (which may be released afterwards) to the supervisor, in the name of `tenant`.
 * `turn` may be NULL, and needs remote_hold(). NULL with `err`: PA_OVERLOADED when it has no time
 * now. */
struct remote_run *remote_start(struct remote *remote, const char *tenant,
                                const struct tool_call *call, const struct remote_turn *turn,
                                const struct remote_callbacks *callbacks, void *context,
                                struct error *err);

/* Stops taking output, or goes on: the guest waits at its next write, and its deadline comes. */
void remote_pause(struct remote_run *run, bool paused);

/* The supervisor ends the run; its result comes as ever. */
void remote_interrupt(struct remote_run *run);

/* Hangs up: the supervisor ends the run. Not from within a callback `done`. */
void remote_cancel(struct remote_run *run);

#endif

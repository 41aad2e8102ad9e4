/* The supervisor: takes jobs, owns every process that serves them, and gives each job one result.
 *
 * One thread. It lives in an sd-event loop of the caller's: a server's main loop, or one that
 * pa_run() turns until its job is done. Callbacks come from that loop, never from within a call,
 * but for supervisor_free(). */
#ifndef PA_SUPERVISOR_SUPERVISOR_H
#define PA_SUPERVISOR_SUPERVISOR_H

#include "config/config.h"
#include "sandbox/module.h"
#include "worker/packet.h"
#include "worker/worker.h"

#include <systemd/sd-event.h>

struct supervisor_config {
    struct cache *cache;            /* outlives the supervisor */
    const char *helper;             /* polyagent-worker; outlives the supervisor */
    struct compiler_bounds compile; /* of modules that nobody has vouched for; 0: by their size */
    struct layer_policy policy;
    uint32_t max_running;                /* workers with a job; 0: 64 */
    uint32_t max_queued;                 /* jobs that wait; 0: 1024 */
    uint32_t max_tenant_running;         /* of one tenant; 0: three quarters of max_running */
    uint32_t max_tenant_queued;          /* 0: three quarters of max_queued */
    const struct config_tenant *tenants; /* with shares of their own; outlive the supervisor */
    size_t tenant_count;
    uint32_t max_zygotes;     /* 0: 8 */
    uint32_t spare_workers;   /* parked ahead of need at each zygote */
    uint32_t runs_per_zygote; /* then a fresh one takes over, with an address layout of its own; 0:
                                 10000 */
    bool keep_warm;           /* false: one-shot, interpreters start in the worker */
    bool own_groups;          /* zygotes lead process groups; not with a terminal as stdin */
    bool may_move;            /* the process is ours alone: it may go to another control group */
    uint32_t max_nodes;       /* interpreters that rest between a session's turns; 0: 4096 */
    uint64_t memory_bytes;    /* of all workers together, by cgroup where possible; 0: no limit */
};

struct supervisor;
struct supervisor_run; /* one job, until its result was given */

struct supervisor_result {
    struct run_report *report; /* complete; valid during the callback */
    struct buffer *captured;   /* stdout, stderr, unless the job had descriptors for them */
    uint32_t layers;           /* in force */
    uint64_t submitted_ns;
    uint64_t dispatched_ns; /* 0: it never got a worker */
    bool cache_hit;
    uint64_t node; /* where a job that stays has come to; 0: nowhere */
};
typedef void (*supervisor_done)(void *context, const struct supervisor_result *result);

/* NULL with `err`. `event` is referenced. */
struct supervisor *supervisor_new(sd_event *event, const struct supervisor_config *config,
                                  struct error *err);
/* Kills what runs; each job that is left gets its result. */
void supervisor_free(struct supervisor *supervisor);

/* Takes over `packet` (also on failure). The module is compiled if it has to be; it may be freed
 * after the call. The deadline of the packet's limits runs from now, less the time to compile. -1
 * with `err` if the job is refused: PA_OVERLOADED says when to come again. `run` (may be NULL)
 * stays valid until `done` is called. */
int supervisor_submit(struct supervisor *supervisor, struct packet *packet,
                      struct pa_module *module, supervisor_done done, void *context,
                      struct supervisor_run **run, struct error *err);

/* A packet that STAYS leaves the interpreter behind as a node: a process at rest. A packet with a
 * node's number goes on from there, in a copy: the node itself never changes. Jobs of a node have
 * no module, and the mounts (by name) and the limits of memory and files of the first one. Nodes
 * last until they are dropped. */
void supervisor_drop_node(struct supervisor *supervisor, uint64_t node);
void supervisor_drop_nodes_of(struct supervisor *supervisor, uint64_t holder);

/* Says that a module is an interpreter that is installed, `name` to its callers: compiling it has
 * no bound but the host's, goes on when its callers no longer wait, and is tried again when it
 * fails. -1 with `err`. */
int supervisor_know_interpreter(struct supervisor *supervisor, const struct pa_module *module,
                                const char *name, struct error *err);
/* Compiles a module for an engine variant, if it has to be, while the loop goes on: for whoever
 * comes later. -1 with `err`. */
int supervisor_compile_ahead(struct supervisor *supervisor, struct pa_module *module,
                             unsigned variant, struct error *err);

/* Ends a job early; its result says that it was cancelled. */
void supervisor_cancel(struct supervisor_run *run);

/* polyagent-worker: `given` (may be NULL), $POLYAGENT_HELPER, beside the program, or installed. */
int supervisor_find_helper(const char *given, char *out, size_t size, struct error *err);

/* polyagent-net, the program that speaks over the network: $POLYAGENT_NET, beside the program, or
 * installed. */
int supervisor_find_net(char *out, size_t size, struct error *err);

/* polyagent-repl likewise, by $POLYAGENT_REPL. */
int supervisor_find_repl(char *out, size_t size, struct error *err);

struct supervisor_stats {
    uint32_t running, queued, zygotes;
    uint32_t nodes;
    uint32_t workers, parked; /* processes of runs; of these, those that wait for one */
    uint64_t finished, retried, zygotes_started;
};
void supervisor_get_stats(const struct supervisor *supervisor, struct supervisor_stats *stats);

#endif

/* What the files of src/supervisor share.
 *
 * A job's states; run_end() is the only way out, from each of them:
 *
 *     COMPILING -> QUEUED -> WAITING -> RUNNING -> (result)
 *     its code     its turn  a worker   the guest
 *                            ^-------------' the worker was killed before the guest began
 *
 * A worker's: FORKING -> PARKED -> RUNNING -> ENDING -> reaped; it can die in each. A zygote's:
 * STARTING -> READY -> DEAD. */
#ifndef PA_SUPERVISOR_INTERNAL_H
#define PA_SUPERVISOR_INTERNAL_H

#include "base/clock.h"
#include "sandbox/compiler.h"
#include "supervisor/supervisor.h"
#include "worker/zygote.h"

#include <sys/queue.h>

enum { MAX_ATTEMPTS = 10, KEY_BYTES = 32, MAX_COMPILERS = 4 };

/* An id for one worker, or one session, at a time: free again when nothing of it lives. */
/* Clones mounts for an ordinary user (cloner.c); socket -1: there is none. */
struct cloner {
    int socket; /* owned */
    pid_t pid;
};

struct slot {
    uint32_t number;
    int id_map;        /* owned: the namespace that gives it the files of `owner`; -1: none yet */
    uint32_t owner[2]; /* uid, gid */
    TAILQ_ENTRY(slot) link;
};
TAILQ_HEAD(slots, slot);

enum run_state { RUN_COMPILING, RUN_QUEUED, RUN_WAITING, RUN_RUNNING };

struct supervisor_run {
    struct supervisor *supervisor;
    enum run_state state;
    struct packet packet; /* owned */
    struct code *code;
    uint8_t key[KEY_BYTES]; /* of the zygote that can serve it */
    bool warm;
    bool stays; /* its worker becomes a node */
    bool cache_hit;
    bool is_long; /* pace.c */
    unsigned attempts;
    uint64_t submitted_ns;
    uint64_t deadline_ns;
    uint64_t dispatched_ns;
    sd_event_source *deadline; /* owned */
    sd_event_source *pause;    /* owned */
    unsigned pauses;
    bool out_of_time;
    bool cancelled;
    int output_fds[2];             /* owned read ends of pipes; -1 */
    sd_event_source *outputs[2];   /* owned */
    struct buffer captured[2];     /* owned */
    struct trace *trace;           /* owned; NULL: none */
    struct worker *worker;         /* RUNNING, or WAITING: the one that is made for it alone */
    struct zygote_process *zygote; /* WAITING only: for one of its workers; else NULL */
    struct worker *rested;         /* in the end: the node that its worker has become */
    struct tenant *tenant;
    supervisor_done done;
    void *context;
    TAILQ_ENTRY(supervisor_run) link; /* of its code, tenant or zygote, by state */
    TAILQ_ENTRY(supervisor_run) all;
};
TAILQ_HEAD(runs, supervisor_run);

/* trace.c: WASI calls in the log, if it is to have them. */
void trace_start(struct supervisor_run *run);
void trace_end(struct supervisor_run *run);

struct tenant {
    char name[PACKET_TENANT_BYTES];
    struct runs queue;
    uint32_t max_running, max_queued, max_zygotes; /* its share */
    uint32_t queued;
    uint32_t compiling; /* runs whose code is compiled: they take room in the queue, too */
    uint32_t running;   /* WAITING ones, too */
    uint64_t served_at; /* tick of its last turn */
    uint32_t compilers, large_compilers; /* at work at its cost */
    uint64_t compiled_at;                /* tick of its last turn there */
    TAILQ_ENTRY(tenant) link;
};

/* An interpreter that is installed. */
struct known_interpreter {
    uint8_t digest[32];
    char name[64];
    SLIST_ENTRY(known_interpreter) link;
};

/* Native code of a module for an engine variant; or for COMPILER_TO_MODULE, a program as a module,
 * which is not kept. */
struct code {
    struct supervisor *supervisor;
    uint8_t digest[32];
    unsigned variant;
    const char *interpreter; /* the name of one that is installed; NULL: a caller's own module */
    int fd;                  /* owned; -1 while it is compiled */
    char *refusal;           /* owned: why it is none, if it is Python that cannot be compiled */
    bool busy;               /* the compiler is at work */
    bool large;              /* compiling it takes long */
    bool is_ahead;           /* it is compiled for whoever comes later, too */
    bool pauses;             /* it has failed; `timer` says when it is tried again */
    int image_fd;            /* owned until it is compiled; then -1 */
    uint64_t module_bytes;
    unsigned attempts; /* in a row */
    unsigned failures;
    struct tenant *payer; /* while the compiler is at work; NULL: nobody */
    int out_fd;
    char temp[CACHE_NAME_BYTES];
    bool in_memory; /* the cache's disk is full, or only to be read */
    bool is_locked; /* no other process makes the entry meanwhile */
    uint64_t started_ns;
    struct compiler compiler;
    sd_event_source *report;
    sd_event_source *timer;
    struct runs waiting;
    uint32_t users;         /* runs that hold it */
    TAILQ_ENTRY(code) link; /* least recently used first */
};

enum worker_state {
    WORKER_FORKING,
    WORKER_PARKED,
    WORKER_RUNNING,
    WORKER_RESTING, /* a node */
    WORKER_CLOSING, /* a node that nobody asks any more, with copies that it has still to tell of */
    WORKER_ENDING
};

/* All that came of one session's first worker, whether we were told of it or not: a group of
 * processes, which none of them can leave (seccomp), and a pid namespace where there is one. Both
 * are the keeper's, a process that does nothing. They have one user id, of a slot that nobody else
 * has until the last of them is reaped. */
struct family {
    struct supervisor *supervisor;
    uint32_t members;        /* workers that we know of */
    struct slot *slot;       /* owned */
    pid_t group;             /* the keeper's id; it is not reaped before all others are gone */
    int keeper;              /* owned pidfd */
    sd_event_source *death;  /* of the keeper */
    bool ending;             /* no member is left, or one lied: all were killed */
    unsigned strangers_seen; /* looks in a row that found more processes than we asked for */
    unsigned strangers;      /* of the look that is under way */
    TAILQ_ENTRY(family) link;
};

struct worker {
    enum worker_state state;
    struct slot *slot; /* owned, unless it is its family's */
    struct worker_report
        *report; /* owned mapping; another for each worker, as a stranger may keep it */
    pid_t pid;   /* of one that stays, once it is made; else 0 */
    int channel; /* owned; the job goes there, and comes back a byte: the report is complete */
    int pidfd;   /* owned; -1 while forking */
    sd_event_source *word; /* on the channel */
    sd_event_source *death;
    struct zygote_process *zygote;
    struct supervisor_run *run; /* RUNNING; FORKING: the one that it is made for, if there is one */
    bool is_spare;              /* made for whoever comes; counted by its zygote until it runs */
    uint64_t node, holder;      /* RESTING: what it is called, and whose it is */
    bool is_slow;               /* it makes way for others (pace.c), and so do its copies */
    uint64_t rested_ns;         /* RESTING, CLOSING: since */
    uint64_t rested_cpu_ns;     /* RESTING: of the processor, all that it had used then */
    uint32_t copies;            /* RESTING: that it was asked for */
    struct worker *spare;       /* RESTING: a copy that is made ahead; NULL: none */
    struct worker *origin;      /* FORKING, or a spare: the node that made it; NULL: its zygote */
    struct family *family;      /* NULL: it has but one job, or is not made yet */
    TAILQ_ENTRY(worker) link;   /* of its zygote */
    TAILQ_ENTRY(worker) by_node;
};
TAILQ_HEAD(workers, worker);

enum zygote_state { ZYGOTE_IS_STARTING, ZYGOTE_IS_READY, ZYGOTE_IS_DEAD };

struct zygote_process {
    struct supervisor *supervisor;
    enum zygote_state state;
    uint8_t key[KEY_BYTES];
    pid_t pid; /* not reaped before its workers are: it names their process group */
    int pidfd;
    int socket;
    sd_event_source *message;
    sd_event_source *death;
    sd_event_source *timer; /* of its start */
    struct packet setup;    /* owned; to start a successor */
    struct workers workers;
    struct runs waiting;
    uint32_t parked, forking, waiting_count;
    uint32_t layers;
    uint64_t runs;
    uint64_t ready_pages;            /* resident when it was looked at first */
    uint64_t used_at;                /* tick */
    bool retiring;                   /* a successor is being started */
    char owner[PACKET_TENANT_BYTES]; /* the tenant whose own module it is; "": it is for all */
    bool reported;                   /* it told why it failed */
    TAILQ_ENTRY(zygote_process) link;
};

struct supervisor {
    struct supervisor_config config;
    sd_event *event; /* a reference */
    struct slots free_slots;
    uint32_t slot_count;
    TAILQ_HEAD(tenant_list, tenant) tenants;
    TAILQ_HEAD(code_list, code) codes;
    SLIST_HEAD(known_interpreters, known_interpreter) interpreters;
    uint32_t code_count, compilers, large_compilers;
    TAILQ_HEAD(zygote_process_list, zygote_process) zygotes;
    uint32_t zygote_count; /* DEAD ones not included */
    struct runs runs;
    struct workers nodes;
    uint32_t node_count;
    TAILQ_HEAD(families, family) families;
    uint32_t running, queued, compiling, workers;
    uint64_t tick;
    uint64_t finished, retried, zygotes_started;
    uint64_t mean_run_ns; /* moving average, for retry hints */
    struct slot probe;    /* for mounts_can_be_mapped(); no worker has it */
    struct cloner cloner;
    int empty_dir;          /* owned; in the place of mounts while an interpreter starts */
    uint32_t process_bound; /* of the group, nodes excluded */
    uint32_t nodes_bound;   /* how many of these it has room for */
    struct cgroup *cgroup;  /* owned; NULL: none to be had */
    bool closing;
    sd_event_source *pace; /* owned */
    sd_event_source *tire; /* owned; takes spare copies back */
    sd_event_source *look; /* owned; after strangers (family.c) */
    sd_event_source *turn; /* dispatches once the current callback is over */
};

/* queue.c: whose turn it is. Tenants with the fewest workers come first, then the one that waits
 * longest. A tenant has its share of the places and of the queue, and an eighth of both is kept for
 * tenants that have nothing there: so it takes many of them to keep another one waiting. */
void queue_new(
    struct supervisor *supervisor); /* for its start: what the configuration leaves open */
/* Whether there is room for one more of a tenant: 0, or -1 with PA_OVERLOADED, which says whose
 * bound it is. */
int queue_check(const struct supervisor *supervisor, const struct tenant *tenant,
                struct error *err);
void queue_push(struct supervisor_run *run); /* one that there was room for, or that comes back */
struct supervisor_run *queue_pop(struct supervisor *supervisor);
void queue_remove(struct supervisor_run *run); /* QUEUED only */
void queue_worker_done(struct supervisor_run *run);
struct tenant *queue_tenant(struct supervisor *supervisor, const char *name, struct error *err);
void queue_release(struct supervisor *supervisor, struct tenant *tenant); /* if nobody uses it */

/* code.c: finds, loads or has it compiled. The run goes on by run_code_ready(), maybe at once. */
int code_request(struct supervisor_run *run, struct pa_module *module, struct error *err);
void code_release(struct code *code);
/* In the cache; else in memory. */
bool code_is_cached(const struct code *code);
void code_free_all(struct supervisor *supervisor);
void code_cancel(struct supervisor_run *run); /* COMPILING only */
/* All that wait for it go on, or fail. */
void code_settle(struct code *code, const struct error *err);

/* compilers.c: what compiles, and whose turn it is. */
void code_compile_next(struct supervisor *supervisor);
void code_stop(struct code *code); /* that is being compiled */

/* zygotes.c */
int zygote_request(struct supervisor_run *run, struct error *err);
void zygote_cancel(struct supervisor_run *run);         /* WAITING only */
void zygote_worker_gone(struct zygote_process *zygote); /* a worker of it was reaped */
void zygote_free_all(struct supervisor *supervisor);

/* No new work; the parked end by themselves when their channel closes. */
void zygote_retire(struct zygote_process *zygote);

/* room.c: a tenant has a share of the started interpreters for modules of its own, and these make
 * room for one another; those that are installed are for all, and stay. */
void zygote_name_owner(const struct supervisor_run *run, char owner[PACKET_TENANT_BYTES]);
/* For one more. False: not now, as all of the tenant's are being started or about to be used. */
bool zygote_make_room(struct supervisor *supervisor, const char *owner, uint32_t share);

/* workers.c */
/* 0; 1: the zygote takes no more requests, until its next reply or because it is dead; -1 with
 * `err`. */
int worker_request(struct zygote_process *zygote, struct error *err);
/* The same for one run alone, by its zygote or by a node of it (`origin`, may be NULL). */
int worker_request_for(struct supervisor_run *run, struct zygote_process *zygote,
                       struct worker *origin, struct error *err);
/* The same for a run that is still to come. */
int worker_request_copy(struct worker *origin, struct worker **copy, struct error *err);
/* Told by its zygote, or its origin, that it was made. `fds` (one, or with a keeper two) are owned
 * here. -1: that is a lie, or we are out of memory; the worker is forgotten. */
int worker_forked(struct worker *worker, int *fds, size_t fd_count);
/* Its worker was not made; the run is WAITING for it no more. */
void worker_refused(struct supervisor_run *run, const struct zygote_reply *reply);
void worker_give(struct worker *worker, struct supervisor_run *run);
void worker_kill(struct worker *worker);
void worker_release(struct worker *worker); /* PARKED: it is not needed, and ends */
void worker_discard(struct worker *worker); /* FORKING, or reaped: forgets it */
void worker_end_now(struct worker *worker); /* kills, waits, forgets */
void slot_free_all(struct supervisor *supervisor);

/* nodes.c: workers that have ended a session's turn, and rest. */
/* 0; -1 with `err`. Ends as WAITING, or is failed. */
int node_request(struct supervisor_run *run, struct error *err);
void node_made(struct worker *worker);
void node_unmade(struct worker *worker);     /* its process is gone */
int node_new(struct supervisor *supervisor); /* for the supervisor's start */
/* Ends the families of those that compute while they should rest. */
void node_look(struct supervisor *supervisor);
/* A message on the channel of a node. */
void node_message(struct worker *worker);

/* family.c */
int family_new(struct supervisor *supervisor); /* for the supervisor's start */
/* Of a first worker, whose slot it takes; `keeper` is owned here, also on failure. 0 or a negative
 * errno. */
int family_found(struct worker *worker, int keeper);
/* A copy that a member says it has made. False: it is none. */
bool family_has(const struct family *family, pid_t pid);
void family_join(struct worker *worker, struct family *family);
/* With the last that leaves, all of it is killed. */
void family_leave(struct worker *worker);
/* Kills all of it. */
void family_end(struct family *family);
/* What the kernel is to let the worker's user id have of processes: those that we know of, and a
 * few more; 0: it cannot be told. */
uint32_t family_max_processes(const struct worker *worker);
/* The same for one that is asked for a copy, as far as we may. */
void family_bound_copies(const struct worker *origin);
/* Waits until nothing of any of them is left; they have no members. */
void family_free_all(struct supervisor *supervisor);
/* Some time soon: looks for children that nobody told us of. */
void family_look(struct supervisor *supervisor);
/* The process behind a pidfd; 0: it is gone. */
pid_t pid_of(int pidfd);

/* runs.c */
int run_code_ready(struct supervisor_run *run, struct error *err);
void run_start_output(struct supervisor_run *run, struct error *err);
/* `info` is NULL when it said so itself, and its end is still to come. */
void run_worker_ended(struct supervisor_run *run, const siginfo_t *info, uint64_t cpu_ns);
void run_fail(struct supervisor_run *run, const struct error *err);
void run_again_or_fail(struct supervisor_run *run, const struct error *err);
/* WAITING, with no worker: the kernel refused a process. Asks again in a moment, for a while. */
void run_pause(struct supervisor_run *run, const struct error *err);
/* Dispatches from the loop, soon. */
void supervisor_schedule(struct supervisor *supervisor);

/* judge.c: what the kernel says outranks what the report says. */
struct verdict_facts {
    const struct pa_limits *limits;
    const siginfo_t *info; /* NULL: it has said that it is done */
    uint32_t required_layers;
    uint64_t cpu_ns; /* that the kernel says it used; 0: not known, as it is not reaped */
    bool out_of_time;
    bool cancelled;
};
void judge_run(const struct verdict_facts *facts, struct worker_report *report);

/* mounts.c: a mount as the worker of a slot may use it: read-only by the kernel where it is meant
 * to be, no devices, no setuid; owned by the slot's id where its owner's files are ours to give. */
bool mounts_can_be_mapped(struct slot *probe, const struct packet *packet);
int mounts_for_slot(struct packet *packet, struct cloner *cloner, struct slot *slot,
                    struct error *err);

/* A clone of the mount of a directory, made by the cloner, which is started when it is first
 * needed: the directory `name` in it, the caller's, or a negative errno. */
int cloner_clone(struct cloner *cloner, int fd, const char *name, bool writable);
void cloner_end(struct cloner *cloner);

/* pace.c: long runs make way for short ones, and not for what else there is on the host. */
int pace_new(struct supervisor *supervisor);
void pace_run_begins(struct supervisor *supervisor, struct worker *worker);
void pace_run_ended(struct supervisor *supervisor);
void pace_compiler(const struct supervisor *supervisor, pid_t pid); /* one that has just begun */

/* cgroup.c */
#define CGROUP_ROOT "/sys/fs/cgroup"
/* NULL where none can be made. `may_move`: this process may leave its own group, if that is what it
 * takes. `memory_bytes` 0: no limit. */
struct cgroup *cgroup_new(const char *root, bool may_move, uint64_t memory_bytes,
                          uint32_t max_processes);
int cgroup_add(const struct cgroup *cgroup, pid_t pid);
/* Whether it is weighed against the rest of the host as a whole, so that nice values in it count
 * only within it. NULL: it is not. */
bool cgroup_weighs(const struct cgroup *cgroup);
int cgroup_bound_processes(const struct cgroup *cgroup, uint32_t max_processes);
/* Ends whoever is still in it (2 s at most are waited for that), and removes it. */
void cgroup_free(struct cgroup *cgroup);

#endif

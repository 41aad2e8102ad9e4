/* What the files of a run share: service_run.c, from its call to its end; service_result.c, from
 * there until its result is told. */
#ifndef PA_SERVER_SERVICE_RUN_H
#define PA_SERVER_SERVICE_RUN_H

#include "server/service_internal.h"

#include "tools/result.h"

#include <stddef.h>

enum phase { STARTING, PREPARING, WAITING, RUNNING, ENDED, COLLECTING };

/* A call whose parameters are looked at in a thread. The configuration may be read again meanwhile:
 * what the rules point to stays as long as there are jobs. */
struct preparation {
    struct config config; /* views */
    struct tool_rules rules;
    struct tool_call call; /* owned once `result` is 0 */
    const char *tool;
    json_t *parameters; /* owned */
    int result;
    struct error err;
};

struct service_run {
    struct service *service;
    struct service_caller caller;
    struct intake_claim claim;   /* owned; of its parameters, then of its result */
    struct intake_waiter waiter; /* ENDED */
    unsigned tool;               /* its number in the table */
    enum phase phase;
    bool abandoned;
    struct work_job job;             /* PREPARING, COLLECTING */
    struct preparation *preparation; /* owned; PREPARING */
    struct session_op *op;           /* WAITING; NULL: it is over */
    struct session_turn *turn;       /* owned; until it runs */
    struct remote_run *remote;       /* RUNNING */
    struct remote_callbacks remote_callbacks;
    const struct service_callbacks *callbacks;
    void *context;
    struct workspace workspace; /* owned */
    struct session *session;    /* whose turn it is; NULL: nobody's */
    sd_event_source *answering; /* owned; of a call about sessions, which has ... */
    json_t *answer;             /* ... this answer; owned */
    json_t *instead;            /* owned; of a compiled run in mode auto: the same, interpreted */
    struct buffer held;         /* owned; its stderr meanwhile, which may be only why it gave up */
    size_t seen;                /* bytes of its stdout; as many of the second run's are dropped */
    bool to_module, text;       /* it makes a module, whose text is wanted, too */
    uint64_t began_ns;
    /* The run has ended: */
    json_t *result;                  /* owned; so far; NULL: memory is out */
    struct result_files files;       /* owned; what is in them is still to come into the result */
    char output[SESSION_PATH_BYTES]; /* the folder whose files are; "": none */
    enum pa_status status;
    struct session_outcome outcome; /* of a turn */
};

static inline struct service_run *service_run_of(struct work_job *job) {
    return (struct service_run *)((char *)job - offsetof(struct service_run, job));
}

void service_run_release(struct service_run *run);
/* After service_start(): a refusal comes as a result; the run is released. */
void service_run_refuse(struct service_run *run, const struct error *err);
/* A job of the run, in that phase. -1 with `err`: it is in the phase that it was in. */
int service_run_submit(struct service_run *run, enum phase phase, void (*act)(struct work_job *),
                       void (*done)(struct work_job *), struct error *err);
/* Before the result is told: the request has its claim. */
void service_run_give_claim(struct service_run *run);

/* service_result.c: the run has ended, been counted and logged. Its result is told when there is
 * room for it, and the run released. */
void service_result_deliver(struct service_run *run);
/* The same for one that is cancelled while it is ENDED. */
void service_result_drop(struct service_run *run);

#endif

/* A zygote: a process that is started once, by exec, and forks a worker for each job. A plain one
 * has the engine ready; a warm one has an interpreter, run up to its first read of its standard
 * input, inside the host function (docs/architecture.md).
 *
 * The supervisor sends a packet that tells what to start, and then requests for workers, each with
 * a socket and a report for the worker. The zygote answers with struct zygote_reply. Workers are
 * children of the supervisor, not of the zygote: they outlive it.
 *
 * A worker that stays makes copies of itself. Its zygote makes a keeper first, which does nothing:
 * the first process of a pid namespace for the worker and all that come of it, where there is one
 * to have. Its end is theirs, and it ends with the supervisor. */
#ifndef PA_WORKER_ZYGOTE_H
#define PA_WORKER_ZYGOTE_H

#include <stdint.h>

#define ZYGOTE_ROLE "--role=zygote"

enum { ZYGOTE_SOCKET_FD = 3 };

enum zygote_reply_kind {
    ZYGOTE_READY = 1, /* the answer to the first packet */
    ZYGOTE_FAILED,    /* instead: `text` says why; it ends */
    ZYGOTE_FORKED, /* a worker was made; its pidfd comes along, and its keeper's, if it has one */
    ZYGOTE_NO_FORK /* it was not; `text` says why */
};

struct zygote_reply {
    uint32_t kind;
    uint32_t layers; /* READY: in force in the zygote */
    uint32_t status; /* FAILED: enum pa_status; NO_FORK: errno */
    uint32_t slot;   /* FORKED, NO_FORK: of the request */
    char text[512];
};

struct zygote_request { /* with two descriptors: the worker's socket, and its report's memfd */
    uint32_t slot;
    uint32_t stays;         /* 1: when its job has ended, the worker answers such requests itself */
    uint32_t max_processes; /* of its user id, if it stays; 0: not bounded */
};

/* main() of that process; the program's own code lies between the two. */
int zygote_main(const void *code_low, const void *code_high);

#endif

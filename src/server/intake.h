/* Room in memory for requests and results: bodies over HTTP and messages over gRPC as they come,
 * what they become until it is done with, and results until they have been sent. Bounded all
 * together, and a share for each sender, so that nobody's requests keep others from theirs; small
 * ones have room of their own beside large ones. A claim travels with what it pays for. All of one
 * thread. */
#ifndef PA_SERVER_INTAKE_H
#define PA_SERVER_INTAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct intake_sender;

struct intake {
    size_t most_bytes; /* of one message */
    size_t large_bytes, small_bytes;
    TAILQ_HEAD(intake_senders, intake_sender) senders; /* that have sent something now */
    TAILQ_HEAD(intake_waiters, intake_waiter) waiters; /* the first first */
    void (*room)(void *context); /* there is more; for who calls intake_admit() soon */
    void *context;
};

/* What one message holds of it; all zeros: nothing. */
struct intake_claim {
    struct intake_sender *sender;
    size_t bytes;
};

enum intake_verdict { INTAKE_TAKEN, INTAKE_TOO_LARGE, INTAKE_NO_ROOM };

enum { INTAKE_NAME_BYTES = 64, INTAKE_MAX_WAITING = 64 };

/* A claim that waits for room; its owner's memory. */
struct intake_waiter {
    char name[INTAKE_NAME_BYTES]; /* of the sender */
    size_t bytes;
    struct intake_claim claim; /* owned, once there is room */
    void (*ready)(struct intake_waiter *waiter);
    bool waits;
    TAILQ_ENTRY(intake_waiter) link;
};

/* `most_bytes`: of the largest message that is to be taken. `room` (may be NULL) is told whenever
 * something is released that somebody may wait for. */
void intake_init(struct intake *intake, size_t most_bytes, void (*room)(void *), void *context);

/* The claim becomes that large, never smaller. `sender` (copied) is whose share it is part of. If
 * there is no room, it stays as it was. */
enum intake_verdict intake_grow(struct intake *intake, struct intake_claim *claim,
                                const char *sender, size_t bytes);
/* The claim becomes so large as what the message has become takes, where that is more than the
 * message. As intake_grow(), but for the limit of one message: more than a share is a share. */
enum intake_verdict intake_keep(struct intake *intake, struct intake_claim *claim,
                                const char *sender, size_t bytes);
/* What it paid for is gone. Of nothing, too. */
void intake_release(struct intake *intake, struct intake_claim *claim);
/* Adds `more`, which becomes nothing, to a claim. */
void intake_join(struct intake *intake, struct intake_claim *claim, struct intake_claim *more);
/* Takes a claim away from where it is. */
struct intake_claim intake_steal(struct intake_claim *claim);

/* Name, bytes and ready() are set. True: it has its claim
 * now. False: ready() is called when it has; or, where its sender has INTAKE_MAX_WAITING that wait,
 * `waits` is false, and it has none. */
bool intake_wait(struct intake *intake, struct intake_waiter *waiter);
/* Waits no more; a claim is released. Of one that never waited, too. */
void intake_forget(struct intake *intake, struct intake_waiter *waiter);
/* Those for which there is room now have it. */
void intake_admit(struct intake *intake);

/* How long a message of `bytes` may take, in nanoseconds, where the first ones may take `seconds`:
 * whoever sends less than 32 KiB a second is too slow. */
uint64_t intake_patience_ns(uint64_t seconds, size_t bytes);

#endif

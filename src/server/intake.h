/* Room for what clients are sending: bodies over HTTP, messages over gRPC, until they have been
 * read. Bounded all together, and a share for each sender, so that nobody's sending keeps others
 * from theirs; small ones have room of their own beside large ones. All of one thread. */
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
};

/* What one message holds of it; all zeros: nothing. */
struct intake_claim {
    struct intake_sender *sender;
    size_t bytes;
};

enum intake_verdict { INTAKE_TAKEN, INTAKE_TOO_LARGE, INTAKE_NO_ROOM };

/* `most_bytes`: of the largest message that is to be taken. */
void intake_init(struct intake *intake, size_t most_bytes);

/* The claim becomes that large, never smaller. `sender` (copied) is whose share it is part of. If
 * there is no room, it stays as it was. */
enum intake_verdict intake_grow(struct intake *intake, struct intake_claim *claim,
                                const char *sender, size_t bytes);
/* The message has been read, or is not wanted any more. */
void intake_release(struct intake *intake, struct intake_claim *claim);

/* How long a message of `bytes` may take, in nanoseconds, where the first ones may take `seconds`:
 * whoever sends less than 32 KiB a second is too slow. */
uint64_t intake_patience_ns(uint64_t seconds, size_t bytes);

#endif

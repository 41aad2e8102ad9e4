#include "server/intake.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

/* Of all senders: the largest message of one, and of another. A sender has half. */
enum { SHARES = 2, SMALL_BYTES = 64 << 10, ALL_SMALL_BYTES = 32 << 20, RATE_BYTES = 32 << 10 };

struct intake_sender {
    char name[64];
    size_t large_bytes, small_bytes;
    unsigned claims;
    TAILQ_ENTRY(intake_sender) link;
};

void intake_init(struct intake *intake, size_t most_bytes) {
    *intake = (struct intake){.most_bytes = most_bytes};
    TAILQ_INIT(&intake->senders);
}

static struct intake_sender *find(struct intake *intake, const char *name) {
    struct intake_sender *sender;
    TAILQ_FOREACH(sender, &intake->senders, link) {
        if (strncmp(sender->name, name, sizeof sender->name - 1) == 0) return sender;
    }
    sender = calloc(1, sizeof *sender);
    if (sender == NULL) return NULL;
    (void)strncpy(sender->name, name, sizeof sender->name - 1);
    TAILQ_INSERT_TAIL(&intake->senders, sender, link);
    return sender;
}

static void leave(struct intake *intake, struct intake_sender *sender) {
    if (sender->claims > 0) return;
    TAILQ_REMOVE(&intake->senders, sender, link);
    free(sender);
}

/* Small ones are counted as such until they grow out of it. */
static void count(struct intake *intake, struct intake_sender *sender, size_t bytes, bool adds) {
    size_t *of_sender = bytes > SMALL_BYTES ? &sender->large_bytes : &sender->small_bytes,
           *of_all = bytes > SMALL_BYTES ? &intake->large_bytes : &intake->small_bytes;
    *of_sender = adds ? *of_sender + bytes : *of_sender - bytes;
    *of_all = adds ? *of_all + bytes : *of_all - bytes;
}

static bool has_room(const struct intake *intake, const struct intake_sender *sender,
                     size_t bytes) {
    bool large = bytes > SMALL_BYTES;
    size_t all = large ? intake->most_bytes * SHARES : ALL_SMALL_BYTES;
    size_t taken = large ? intake->large_bytes : intake->small_bytes;
    size_t own = large ? sender->large_bytes : sender->small_bytes;
    return bytes <= all - taken && bytes <= all / SHARES - own;
}

enum intake_verdict intake_grow(struct intake *intake, struct intake_claim *claim,
                                const char *sender, size_t bytes) {
    if (bytes <= claim->bytes && claim->sender != NULL) return INTAKE_TAKEN;
    if (bytes > intake->most_bytes) return INTAKE_TOO_LARGE;
    struct intake_sender *of = claim->sender != NULL ? claim->sender : find(intake, sender);
    if (of == NULL) return INTAKE_NO_ROOM;
    count(intake, of, claim->bytes, false);
    bool fits = has_room(intake, of, bytes);
    count(intake, of, fits ? bytes : claim->bytes, true);
    if (!fits) {
        leave(intake, of);
        return INTAKE_NO_ROOM;
    }
    if (claim->sender == NULL) of->claims++;
    *claim = (struct intake_claim){of, bytes};
    return INTAKE_TAKEN;
}

void intake_release(struct intake *intake, struct intake_claim *claim) {
    if (claim->sender == NULL) return;
    count(intake, claim->sender, claim->bytes, false);
    claim->sender->claims--;
    leave(intake, claim->sender);
    *claim = (struct intake_claim){.sender = NULL};
}

uint64_t intake_patience_ns(uint64_t seconds, size_t bytes) {
    return (seconds + bytes / RATE_BYTES) * NS_PER_SECOND;
}

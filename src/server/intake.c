#include "server/intake.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

/* Of all senders: the largest message of one, and of another, each twice, as text and as what it
 * says. A sender has half. */
enum {
    SHARES = 2,
    COPIES = 2,
    SMALL_BYTES = 64 << 10,
    ALL_SMALL_BYTES = 32 << 20,
    RATE_BYTES = 32 << 10
};

struct intake_sender {
    char name[INTAKE_NAME_BYTES];
    size_t large_bytes, small_bytes;
    unsigned claims;
    TAILQ_ENTRY(intake_sender) link;
};

void intake_init(struct intake *intake, size_t most_bytes, void (*room)(void *), void *context) {
    *intake = (struct intake){.most_bytes = most_bytes, .room = room, .context = context};
    TAILQ_INIT(&intake->senders);
    TAILQ_INIT(&intake->waiters);
}

static size_t share_of(const struct intake *intake) {
    return intake->most_bytes * COPIES;
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
    size_t all = large ? share_of(intake) * SHARES : ALL_SMALL_BYTES, share = all / SHARES;
    size_t taken = large ? intake->large_bytes : intake->small_bytes;
    size_t own = large ? sender->large_bytes : sender->small_bytes;
    return taken <= all && bytes <= all - taken && own <= share && bytes <= share - own;
}

enum intake_verdict intake_grow(struct intake *intake, struct intake_claim *claim,
                                const char *sender, size_t bytes) {
    if (bytes > intake->most_bytes) return INTAKE_TOO_LARGE;
    return intake_keep(intake, claim, sender, bytes > SMALL_BYTES ? bytes * COPIES : bytes);
}

enum intake_verdict intake_keep(struct intake *intake, struct intake_claim *claim,
                                const char *sender, size_t bytes) {
    if (bytes > share_of(intake)) bytes = share_of(intake); /* alone, it is let through */
    if (bytes <= claim->bytes && claim->sender != NULL) return INTAKE_TAKEN;
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
    if (intake->room != NULL && !TAILQ_EMPTY(&intake->waiters)) intake->room(intake->context);
}

void intake_join(struct intake *intake, struct intake_claim *claim, struct intake_claim *more) {
    if (claim->sender == NULL) {
        *claim = intake_steal(more);
        return;
    }
    size_t bytes = more->bytes;
    intake_release(intake, more);
    count(intake, claim->sender, claim->bytes, false);
    claim->bytes += bytes;
    count(intake, claim->sender, claim->bytes, true);
}

struct intake_claim intake_steal(struct intake_claim *claim) {
    struct intake_claim stolen = *claim;
    *claim = (struct intake_claim){.sender = NULL};
    return stolen;
}

/* Where nothing is claimed there is nobody to wait for: then it goes on without a claim, which it
 * fails to get only when memory is out. */
static bool admit(struct intake *intake, struct intake_waiter *waiter) {
    return intake_keep(intake, &waiter->claim, waiter->name, waiter->bytes) == INTAKE_TAKEN ||
           (intake->large_bytes == 0 && intake->small_bytes == 0);
}

bool intake_wait(struct intake *intake, struct intake_waiter *waiter) {
    const struct intake_waiter *other;
    unsigned before = 0;
    TAILQ_FOREACH(other, &intake->waiters, link)
    before += strcmp(other->name, waiter->name) == 0;
    if (before == 0 && admit(intake, waiter)) return true;
    waiter->waits = before < INTAKE_MAX_WAITING;
    if (waiter->waits) TAILQ_INSERT_TAIL(&intake->waiters, waiter, link);
    return false;
}

void intake_forget(struct intake *intake, struct intake_waiter *waiter) {
    if (waiter->waits) TAILQ_REMOVE(&intake->waiters, waiter, link);
    waiter->waits = false;
    intake_release(intake, &waiter->claim);
}

void intake_admit(struct intake *intake) {
    struct intake_waiter *waiter = TAILQ_FIRST(&intake->waiters);
    while (waiter != NULL) {
        if (!admit(intake, waiter)) {
            waiter = TAILQ_NEXT(waiter, link);
            continue;
        }
        TAILQ_REMOVE(&intake->waiters, waiter, link);
        waiter->waits = false;
        waiter->ready(waiter);
        waiter = TAILQ_FIRST(&intake->waiters); /* it may have been any one's end */
    }
}

uint64_t intake_patience_ns(uint64_t seconds, size_t bytes) {
    return (seconds + bytes / RATE_BYTES) * NS_PER_SECOND;
}

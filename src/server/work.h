/* A few threads beside the event loop, for what would hold it up: trees of files, large files,
 * large texts. A job is done in one of them, and told in the loop when it is. Each tenant's jobs of
 * a kind are done one after the other, and tenants take turns: the copies of one do not hold up
 * another's.
 *
 *     (submitted) -> WAITING -> in a thread: act() -> in the loop: done() -> (the submitter's
 * again)
 */
#ifndef PA_SERVER_WORK_H
#define PA_SERVER_WORK_H

#include "base/error.h"

#include <stdint.h>
#include <sys/queue.h>
#include <systemd/sd-event.h>

enum { WORK_THREADS = 4, WORK_TENANT_BYTES = 64, WORK_MAX_WAITING = 256 };
/* Above this many bytes, texts are looked at in a thread. */
enum { WORK_LARGE_BYTES = 256 << 10 };

/* Removals never have all threads to themselves. */
enum work_kind { WORK_TEXT, WORK_FILES, WORK_REMOVAL, WORK_KINDS };

/* Part of whatever is to be done; the submitter's memory, which stays where it is until done(). */
struct work_job {
    enum work_kind kind;
    char tenant[WORK_TENANT_BYTES];
    void (*act)(struct work_job *job); /* in a thread: of the loop's data, only what is the job's */
    void (*done)(struct work_job *job); /* in the loop; may free the job */
    STAILQ_ENTRY(work_job) link;        /* of the pool */
};

struct work;

/* `event` is referenced. Threads are started by the first job. `idle` (may be NULL) is told in the
 * loop when no job is left. NULL with `err`. */
struct work *work_new(sd_event *event, void (*idle)(void *context), void *context,
                      struct error *err);
/* Waits for what is under way and what that submits, and tells it: for the end only. Of NULL, too.
 */
void work_finish(struct work *work);
/* The same, and ends the threads. */
void work_free(struct work *work);

/* Only the four fields above the link count. -1 with `err`: PA_OVERLOADED where the tenant has
 * WORK_MAX_WAITING such jobs waiting already; a removal is always taken. */
int work_submit(struct work *work, struct work_job *job, struct error *err);

/* How many jobs are not told yet. */
unsigned work_count(const struct work *work);

#endif

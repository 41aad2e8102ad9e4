#include "worker/rehearsal.h"

#include "base/clock.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif
enum { HOST_PAGE_BYTES = 4096, DEADLINE_MS = 5000, MERGE_PAGES = 1 };

/* Of the child that rehearses. */
static struct {
    const struct guest_memory *memory;
    uint8_t *before; /* a copy of the memory */
    size_t bytes;
    struct rehearsal *out; /* shared with the zygote */
} play;

static void add_page(struct rehearsal *out, uint32_t page) {
    struct hot_range *last = out->count > 0 ? &out->ranges[out->count - 1] : NULL;
    if (last != NULL && page <= last->first_page + last->pages + MERGE_PAGES) {
        last->pages = page - last->first_page + 1;
    } else if (out->count < sizeof out->ranges / sizeof *out->ranges) {
        out->ranges[out->count++] = (struct hot_range){page, 1};
    }
}

/* The job is done: which pages are not what they were? */
static void compare(void) {
    for (size_t at = 0; at + HOST_PAGE_BYTES <= play.bytes; at += HOST_PAGE_BYTES) {
        if (memcmp(play.before + at, play.memory->base + at, HOST_PAGE_BYTES) != 0) {
            add_page(play.out, (uint32_t)(at / HOST_PAGE_BYTES));
        }
    }
    _exit(0);
}

static void play_in_child(struct run *run, const struct engine *engine, const struct pa_job *job,
                          const struct wasi_mount_config *mounts, struct rehearsal *out) {
    static struct run_report report;
    static struct buffer output[2];
    static struct pa_job practice;
    static struct run_setup setup;
    struct error err = {0};
    play.memory = engine->memory;
    play.bytes = (size_t)engine->memory->size_bytes;
    play.out = out;
    play.before = malloc(play.bytes);
    if (play.before == NULL) _exit(1);
    memcpy(play.before, engine->memory->base, play.bytes);
    practice = *job;
    practice.job_data = job->rehearsal_data;
    practice.job_bytes = job->rehearsal_bytes;
    setup = (struct run_setup){.job = &practice,
                               .mounts = mounts,
                               .captured = output,
                               .deadline_ns = clock_deadline_ns(DEADLINE_MS),
                               .report = &report,
                               .ended = compare};
    if (run_resume(run, &setup, &err) != 0) _exit(1);
}

bool rehearse(struct run *run, const struct engine *engine, const struct pa_job *job,
              const struct wasi_mount_config *mounts, struct rehearsal *out) {
    *out = (struct rehearsal){.count = 0};
    if (engine->memory == NULL || job->rehearsal_bytes == 0) return false;
    struct rehearsal *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) return false;
    long pid = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0) {
        play_in_child(run, engine, job, mounts, shared);
        return true;
    }
    if (pid > 0) {
        int status = 0;
        (void)syscall(SYS_wait4, pid, &status, __WALL, NULL);
        if (status == 0) *out = *shared; /* its writer is dead */
        if (out->count > sizeof out->ranges / sizeof *out->ranges) out->count = 0;
    }
    (void)munmap(shared, sizeof *shared); /* no worker has it */
    return false;
}

void rehearsal_use(const struct rehearsal *rehearsal, const struct guest_memory *memory) {
    uint64_t pages = memory != NULL ? memory->size_bytes / HOST_PAGE_BYTES : 0;
    for (size_t i = 0; i < rehearsal->count; i++) {
        const struct hot_range *r = &rehearsal->ranges[i];
        if ((uint64_t)r->first_page + r->pages > pages) continue;
        (void)madvise(memory->base + (uint64_t)r->first_page * HOST_PAGE_BYTES,
                      (size_t)r->pages * HOST_PAGE_BYTES, MADV_POPULATE_WRITE);
    }
}

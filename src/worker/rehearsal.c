#include "worker/rehearsal.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif
enum { PAGE_BYTES = 4096, SECONDS = 5, MERGE_PAGES = 1, MAX_PAGES = 4096, BATCH = 512 };

/* No memory of ours is larger, but a sanitizer's shadow is. */
#define MAX_RANGE_BYTES (UINT64_C(4) << 30)

/* Bits of an entry of /proc/self/pagemap: mapped here and nowhere else; of a file. A page that a
 * fork has not written to is still its parent's, too. */
#define PAGEMAP_EXCLUSIVE (UINT64_C(1) << 56)
#define PAGEMAP_FILE (UINT64_C(1) << 61)

/* Where it tells what it found. */
static struct rehearsal *shared;

/* Of the child that rehearses. */
static struct {
    FILE *maps;
    int pagemap_fd;
    struct rehearsal *out; /* shared with the zygote */
} play;

/* False when there are too many. */
static bool add_page(struct rehearsal *out, uintptr_t page) {
    struct hot_range *last = out->count > 0 ? &out->ranges[out->count - 1] : NULL;
    uintptr_t end = last != NULL ? last->start + (uintptr_t)last->pages * PAGE_BYTES : 0;
    if (last != NULL && page >= end && page - end <= MERGE_PAGES * PAGE_BYTES) {
        last->pages += (uint32_t)((page - end) / PAGE_BYTES) + 1;
        return last->pages <= MAX_PAGES;
    }
    if (out->count == sizeof out->ranges / sizeof *out->ranges) return false;
    out->ranges[out->count++] = (struct hot_range){page, 1};
    return true;
}

static bool add_written(struct rehearsal *out, uintptr_t from, uintptr_t to) {
    uint64_t entries[BATCH];
    while (from < to) {
        size_t pages = (to - from) / PAGE_BYTES;
        if (pages > BATCH) pages = BATCH;
        off_t at = (off_t)(from / PAGE_BYTES * sizeof *entries);
        if (pread(play.pagemap_fd, entries, pages * sizeof *entries, at) !=
            (ssize_t)(pages * sizeof *entries)) {
            return false;
        }
        for (size_t i = 0; i < pages; i++) {
            bool written = entries[i] & PAGEMAP_EXCLUSIVE && !(entries[i] & PAGEMAP_FILE);
            if (written && !add_page(out, from + i * PAGE_BYTES)) return false;
        }
        from += pages * PAGE_BYTES;
    }
    return true;
}

/* Which pages are the fork's own now? Of writable, private memory only. */
void rehearsal_end(void) {
    char line[512];
    struct rehearsal found = {.count = 0};
    bool complete = true;
    while (complete && fgets(line, sizeof line, play.maps) != NULL) {
        unsigned long from, to;
        char rights[8];
        if (sscanf(line, "%lx-%lx %7s", &from, &to, rights) != 3) continue;
        if (to - from > MAX_RANGE_BYTES) continue;
        if (strcmp(rights, "rw-p") == 0) complete = add_written(&found, from, to);
    }
    if (!complete) _exit(1);
    *play.out = found;
    _exit(0);
}

static int open_own(int proc_fd, const char *name) {
    const struct open_how how = {.flags = O_RDONLY | O_CLOEXEC};
    return (int)syscall(SYS_openat2, proc_fd, name, &how, sizeof how);
}

/* Files about a process that is not dumpable belong to root alone; this one is gone before there is
 * a job. */
static bool open_tables(int proc_fd) {
    if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0) return false;
    int maps_fd = open_own(proc_fd, "self/maps");
    play.pagemap_fd = open_own(proc_fd, "self/pagemap");
    play.maps = maps_fd >= 0 ? fdopen(maps_fd, "r") : NULL;
    return play.maps != NULL && play.pagemap_fd >= 0;
}

bool rehearsal_prepare(void) {
    void *memory =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    shared = memory != MAP_FAILED ? memory : NULL;
    return shared != NULL;
}

void rehearsal_discard(void) {
    if (shared != NULL) (void)munmap(shared, sizeof *shared);
    shared = NULL;
}

bool rehearse(int proc_fd, struct rehearsal *out) {
    *out = (struct rehearsal){.count = 0};
    if (shared == NULL) return false;
    long pid = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0) {
        const struct itimerval limit = {.it_value.tv_sec = SECONDS};
        play.out = shared;
        if (setitimer(ITIMER_PROF, &limit, NULL) != 0 || !open_tables(proc_fd)) _exit(1);
        return true;
    }
    if (pid > 0) {
        int status = 0;
        (void)syscall(SYS_wait4, pid, &status, __WALL, NULL);
        if (status == 0) *out = *shared; /* its writer is dead */
        if (out->count > sizeof out->ranges / sizeof *out->ranges) out->count = 0;
    }
    return false;
}

void rehearsal_use(const struct rehearsal *rehearsal) {
    /* Where something else is mapped meanwhile, or nothing, the kernel refuses. */
    for (size_t i = 0; i < rehearsal->count; i++) {
        const struct hot_range *r = &rehearsal->ranges[i];
        (void)madvise((void *)r->start, (size_t)r->pages * PAGE_BYTES, MADV_POPULATE_WRITE);
    }
}

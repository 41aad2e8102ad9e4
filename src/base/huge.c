#include "base/huge.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif
#define PAGE_BYTES ((uintptr_t)2 << 20)
#define SMALL_PAGE_BYTES 4096
/* What may become executable along with the code around it: a page that is only read, as a file's
 * header. */
#if defined(__SANITIZE_ADDRESS__) /* which forbids to copy what lies between constants */
#define HEADER_BYTES ((uintptr_t)0)
#else
#define HEADER_BYTES ((uintptr_t)4096)
#endif

struct range {
    uintptr_t low, high;
    bool executable, readable, writable;
};

static uintptr_t round_up(uintptr_t at) {
    return (at + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
}

static uintptr_t max(uintptr_t a, uintptr_t b) {
    return a > b ? a : b;
}

static uintptr_t min(uintptr_t a, uintptr_t b) {
    return a < b ? a : b;
}

/* Whether a huge page can stand at `at`: what is mapped there is code, but for a header. */
static bool is_code(const struct range *ranges, size_t count, uintptr_t at) {
    uintptr_t other = 0, code = 0;
    for (size_t i = 0; i < count; i++) {
        const struct range *r = &ranges[i];
        uintptr_t low = max(r->low, at), high = min(r->high, at + PAGE_BYTES);
        if (low >= high) continue;
        if (r->writable || !r->readable) return false;
        *(r->executable ? &code : &other) += high - low;
    }
    return code > 0 && other <= HEADER_BYTES;
}

/* Makes the copy elsewhere and moves it into place: mremap() swaps in one step, so that even the
 * code that does this can be replaced. */
static void replace(const struct range *ranges, size_t count, uintptr_t at) {
    const size_t area_bytes = 2 * PAGE_BYTES;
    uint8_t *area =
        mmap(NULL, area_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (area == MAP_FAILED) return;
    uint8_t *page = (uint8_t *)round_up((uintptr_t)area);
    if (madvise(page, PAGE_BYTES, MADV_HUGEPAGE) == 0) {
        for (size_t i = 0; i < count; i++) {
            uintptr_t low = max(ranges[i].low, at), high = min(ranges[i].high, at + PAGE_BYTES);
            if (low < high) memcpy(page + (low - at), (const void *)low, high - low);
        }
        if (mprotect(page, PAGE_BYTES, PROT_READ | PROT_EXEC) == 0) {
            (void)mremap(page, PAGE_BYTES, PAGE_BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)at);
        }
    }
    (void)munmap(area, area_bytes); /* what was moved out of it is not there any more */
}

void huge_pages_for_code(int proc_fd, const void *low, const void *high) {
    struct range ranges[256];
    size_t count = 0;
    char line[512];
    int fd = openat(proc_fd, "self/maps", O_RDONLY | O_CLOEXEC);
    FILE *maps = fd >= 0 ? fdopen(fd, "r") : NULL;
    if (maps == NULL) {
        fd_closep(&fd);
        return;
    }
    while (count < sizeof ranges / sizeof *ranges && fgets(line, sizeof line, maps) != NULL) {
        unsigned long from, to;
        char rights[8];
        if (sscanf(line, "%lx-%lx %7s", &from, &to, rights) != 3) continue;
        ranges[count++] = (struct range){.low = from,
                                         .high = to,
                                         .executable = rights[2] == 'x',
                                         .readable = rights[0] == 'r',
                                         .writable = rights[1] == 'w'};
    }
    bool complete = feof(maps);
    (void)fclose(maps);
    uintptr_t at = (uintptr_t)low & ~(PAGE_BYTES - 1);
    for (; complete && at < (uintptr_t)high; at += PAGE_BYTES) {
        if (is_code(ranges, count, at)) replace(ranges, count, at);
    }
}

static bool is_zero(const uint8_t *page) {
    uint64_t words[SMALL_PAGE_BYTES / sizeof(uint64_t)], any = 0;
    memcpy(words, page, sizeof words);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        any |= words[i];
    return any == 0;
}

/* Gives back the zeros of a huge page's place if they are most of it. They are there again when
 * somebody looks, but until then no fork copies an entry for them. */
static bool give_back_zeros(uint8_t *low) {
    bool zero[PAGE_BYTES / SMALL_PAGE_BYTES];
    size_t count = sizeof zero / sizeof *zero, zeros = 0;
    for (size_t i = 0; i < count; i++)
        zeros += zero[i] = is_zero(low + i * SMALL_PAGE_BYTES);
    if (zeros < count / 2) return false;
    for (size_t i = 0, next; i < count; i = next) {
        next = i + 1;
        while (next < count && zero[next] == zero[i])
            next++;
        if (zero[i])
            (void)madvise(low + i * SMALL_PAGE_BYTES, (next - i) * SMALL_PAGE_BYTES, MADV_DONTNEED);
    }
    return true;
}

void huge_pages_for_data(void *low, size_t bytes) {
    uintptr_t from = round_up((uintptr_t)low), to = ((uintptr_t)low + bytes) & ~(PAGE_BYTES - 1);
    for (uintptr_t at = from; at < to; at += PAGE_BYTES) {
        if (!give_back_zeros((uint8_t *)at)) (void)madvise((void *)at, PAGE_BYTES, MADV_COLLAPSE);
    }
}

void huge_pages_to_come(void *low, size_t bytes) {
    uintptr_t from = round_up((uintptr_t)low), to = ((uintptr_t)low + bytes) & ~(PAGE_BYTES - 1);
    if (from < to) (void)madvise((void *)from, to - from, MADV_HUGEPAGE);
}

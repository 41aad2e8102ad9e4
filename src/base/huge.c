#include "base/huge.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif
#define PAGE_BYTES ((uintptr_t)2 << 20)

static uintptr_t round_up(uintptr_t at) {
    return (at + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
}

/* Makes the copy elsewhere and moves it into place: mremap() swaps in one step, so that even the
 * code that does this can be replaced. */
static void replace(uintptr_t at) {
    const size_t area_bytes = 2 * PAGE_BYTES;
    uint8_t *area =
        mmap(NULL, area_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (area == MAP_FAILED) return;
    uint8_t *page = (uint8_t *)round_up((uintptr_t)area);
    if (madvise(page, PAGE_BYTES, MADV_HUGEPAGE) == 0) {
        memcpy(page, (const void *)at, PAGE_BYTES);
        if (mprotect(page, PAGE_BYTES, PROT_READ | PROT_EXEC) == 0) {
            (void)mremap(page, PAGE_BYTES, PAGE_BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)at);
        }
    }
    (void)munmap(area, area_bytes); /* what was moved out of it is not there any more */
}

void huge_pages_for_code(const void *low, const void *high) {
    struct range {
        uintptr_t low, high;
    } ranges[64];
    size_t count = 0;
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "re");
    if (maps == NULL) return;
    while (count < sizeof ranges / sizeof *ranges && fgets(line, sizeof line, maps) != NULL) {
        unsigned long from, to;
        char rights[8];
        if (sscanf(line, "%lx-%lx %7s", &from, &to, rights) != 3 || rights[2] != 'x') continue;
        if (from < (uintptr_t)low) from = (uintptr_t)low;
        if (to > (uintptr_t)high) to = (uintptr_t)high;
        if (from < to) ranges[count++] = (struct range){from, to};
    }
    (void)fclose(maps);
    for (size_t i = 0; i < count; i++) {
        uintptr_t at = round_up(ranges[i].low);
        for (; at + PAGE_BYTES <= ranges[i].high; at += PAGE_BYTES)
            replace(at);
    }
}

void huge_pages_for_data(const void *low, size_t bytes) {
    uintptr_t from = round_up((uintptr_t)low), to = ((uintptr_t)low + bytes) & ~(PAGE_BYTES - 1);
    if (from < to) (void)madvise((void *)from, to - from, MADV_COLLAPSE);
}

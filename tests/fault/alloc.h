/* Included in front of all our sources in a build with -Dfaults=true: the n-th allocation of one
 * kind of process fails. Which one says a file in memory shared with the test
 * (tests/fault/test_allocations.py), mapped before a process seals itself: the plan can change
 * while a server runs. What libraries allocate is left alone, but for jansson's values, which are
 * ours to check. */
#ifndef FAULT_ALLOC_H
#define FAULT_ALLOC_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum fault_role { FAULT_MAIN, FAULT_NET, FAULT_ZYGOTE, FAULT_COMPILER, FAULT_WORKER, FAULT_ROLES };

struct fault_plan {
    atomic_int left[FAULT_ROLES];  /* allocations until the one that fails; 0: none does */
    atomic_int fired[FAULT_ROLES]; /* how many have failed */
    atomic_int from_then_on;       /* the later ones fail as well */
};

__attribute__((weak)) struct fault_plan *fault_plan;
/* Zero in whoever is forked from this process: the kernel wipes it then. Workers may not ask for
 * their number. */
__attribute__((weak)) const char *fault_own;
__attribute__((weak)) enum fault_role fault_role;

/* jansson's parser (2.14) overruns its buffer when that cannot grow: it is left alone while it
 * reads. */
__attribute__((weak)) _Thread_local int fault_paused;
#define FAULT_PAUSED(type, call) \
    __extension__({ \
        fault_paused++; \
        type fault_result = call; \
        fault_paused--; \
        fault_result; \
    })

bool fault_here(void);
__attribute__((weak)) bool fault_here(void) {
    if (fault_plan == NULL || fault_paused > 0) return false;
    enum fault_role role = *fault_own ? fault_role : FAULT_WORKER;
    int left = atomic_load(&fault_plan->left[role]);
    if (left < 0) { /* from then on */
        errno = ENOMEM;
        return true;
    }
    if (left == 0 || atomic_fetch_sub(&fault_plan->left[role], 1) != 1) return false;
    atomic_fetch_add(&fault_plan->fired[role], 1);
    if (atomic_load(&fault_plan->from_then_on)) atomic_store(&fault_plan->left[role], -1);
    errno = ENOMEM;
    return true;
}

void *fault_malloc(size_t size);
__attribute__((weak)) void *fault_malloc(size_t size) {
    return fault_here() ? NULL : malloc(size);
}

#pragma weak json_set_alloc_funcs /* not every program of ours has it */

__attribute__((constructor)) static void fault_start(void) {
    char line[256] = "";
    if (fault_plan != NULL) return; /* of another source */
    int fd = open(FAULT_PLAN, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *plan = mmap(NULL, sizeof *fault_plan, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void)close(fd);
    fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t size = fd >= 0 ? read(fd, line, sizeof line - 1) : 0;
    if (fd >= 0) (void)close(fd);
    for (ssize_t i = 0; i < size; i++) {
        if (line[i] == 0) line[i] = ' ';
    }
    char *own = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (plan == MAP_FAILED || own == MAP_FAILED || madvise(own, 4096, MADV_WIPEONFORK) != 0) return;
    *own = 1;
    fault_own = own;
    fault_role = strstr(line, "polyagent-net") != NULL      ? FAULT_NET
                 : strstr(line, "polyagent-worker") == NULL ? FAULT_MAIN
                 : strstr(line, "compile") != NULL          ? FAULT_COMPILER
                                                            : FAULT_ZYGOTE;
    if (json_set_alloc_funcs != NULL) json_set_alloc_funcs(fault_malloc, free);
    fault_plan = plan;
}

#define json_loads(...) FAULT_PAUSED(json_t *, json_loads(__VA_ARGS__))
#define json_loadb(...) FAULT_PAUSED(json_t *, json_loadb(__VA_ARGS__))
#define json_load_file(...) FAULT_PAUSED(json_t *, json_load_file(__VA_ARGS__))

#define malloc(size) (fault_here() ? NULL : malloc(size))
#define calloc(count, size) (fault_here() ? NULL : calloc(count, size))
#define realloc(data, size) (fault_here() ? NULL : realloc(data, size))
#define reallocarray(data, count, size) (fault_here() ? NULL : reallocarray(data, count, size))
#define strdup(text) (fault_here() ? NULL : strdup(text))
#define strndup(text, size) (fault_here() ? NULL : strndup(text, size))
#define asprintf(out, ...) (fault_here() ? (*(out) = NULL, -1) : asprintf(out, __VA_ARGS__))
#define fopen(path, mode) (fault_here() ? NULL : fopen(path, mode))
#define fdopendir(fd) (fault_here() ? NULL : fdopendir(fd))
#define opendir(path) (fault_here() ? NULL : opendir(path))
#define fdopen(fd, mode) (fault_here() ? NULL : fdopen(fd, mode))
#define open_memstream(data, size) (fault_here() ? NULL : open_memstream(data, size))

#endif

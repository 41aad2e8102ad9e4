/* The filters of system calls: what a worker needs while a guest runs, and nothing else. */
#ifndef PA_WORKER_SECCOMP_H
#define PA_WORKER_SECCOMP_H

#include "base/error.h"

#include <linux/filter.h>

enum seccomp_kind {
    SECCOMP_WORKER,           /* around a guest */
    SECCOMP_WORKER_PROFILING, /* and a timer that samples it */
    SECCOMP_SESSION,          /* and what it takes to go on in copies, one for each turn */
    SECCOMP_COMPILER, /* what it asks for beyond its list is refused, not deadly: it gets by */
    SECCOMP_LOADING,  /* around a module that is loaded, and all that comes after it */
    SECCOMP_ZYGOTE,   /* around an interpreter's start: also what it takes to make workers */
    SECCOMP_KINDS
};

/* Compiled by the process that workers are forked from, each once; `code[kind]` is owned. Starts
 * out as zeros. */
struct seccomp_filters {
    struct sock_fprog code[SECCOMP_KINDS];
};

int seccomp_filter_build(struct seccomp_filters *filters, enum seccomp_kind kind,
                         struct error *err);
void seccomp_filters_fini(struct seccomp_filters *filters);

/* For this process, for ever. It must have been built. Needs no_new_privs. 0 or a negative errno.
 */
int seccomp_install(const struct seccomp_filters *filters, enum seccomp_kind kind);

/* Flags that the zygote makes workers with; its filter allows no others. The pid namespace is left
 * out where it is not to be had. */
#define WORKER_CLONE_FLAGS (CLONE_PARENT | CLONE_PIDFD)

#endif

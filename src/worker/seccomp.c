#include "worker/seccomp.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>

/* A call, and what two of its arguments must be: (argument & mask) == value. mask 0: anything. */
struct rule {
    int number;
    struct condition {
        unsigned argument;
        uint64_t mask;
        uint64_t value;
    } when[2];
};

#define ANY(name) \
    { \
        SCMP_SYS(name), { \
            { 0 } \
        } \
    }
#define IF(name, argument, mask, value) \
    { \
        SCMP_SYS(name), { \
            { argument, mask, value } \
        } \
    }
#define IF2(name, argument, mask, value, argument2, mask2, value2) \
    { \
        SCMP_SYS(name), { \
            {argument, mask, value}, { \
                argument2, mask2, value2 \
            } \
        } \
    }
#define ALL UINT32_MAX
#define WHOLE UINT64_MAX /* of a pointer or a size */
#define READ_WRITE (PROT_READ | PROT_WRITE)
/* Memory that RLIMIT_DATA does not count: shared, of a stack; and huge pages, which the host has
 * few of. What was written to stays counted only while it may be written to. */
#define UNCOUNTED (MAP_TYPE | MAP_GROWSDOWN | MAP_HUGETLB)
#define THREAD_FLAGS (CLONE_VM | CLONE_THREAD)

/* While a guest runs. openat2's flags are behind a pointer, where a filter cannot look: its use is
 * bounded by Landlock. No open, no socket, no process, no new executable memory. */
static const struct rule worker[] = {
    /* memory: the guest's, and the allocator's */
    IF2(mmap, 2, PROT_EXEC, 0, 3, UNCOUNTED, MAP_PRIVATE), IF(mprotect, 2, WHOLE, READ_WRITE),
    ANY(munmap), ANY(mremap), ANY(madvise), ANY(brk),
    /* traps arrive as signals; a crash that is none takes the default action again */
    ANY(sigaltstack), ANY(rt_sigreturn), ANY(rt_sigaction), ANY(rt_sigprocmask),
    /* files that are open */
    ANY(read), ANY(readv), ANY(pread64), ANY(preadv), ANY(write), ANY(writev), ANY(pwrite64),
    ANY(pwritev), ANY(lseek), ANY(close), ANY(fstat), ANY(newfstatat), ANY(getdents64),
    ANY(ftruncate), IF(fallocate, 1, ALL, 0), ANY(fsync), ANY(fdatasync), ANY(fadvise64),
    IF(fcntl, 1, ALL, F_GETFL), IF(fcntl, 1, ALL, F_SETFL), IF(fcntl, 1, ALL, F_DUPFD_CLOEXEC),
    IF2(fcntl, 1, ALL, F_SETFD, 2, ALL, FD_CLOEXEC), /* of fdopendir() */
    IF(ioctl, 1, ALL, FIONREAD),
    /* names beneath the mounts */
    ANY(openat2), ANY(mkdirat), IF(unlinkat, 2, ~(uint64_t)AT_REMOVEDIR &ALL, 0),
    ANY(renameat), /* the C library's renameat2(), where there are no flags */
    IF(renameat2, 4, ALL, 0), ANY(symlinkat), ANY(readlinkat), IF(linkat, 4, ALL, 0),
    IF(utimensat, 1, WHOLE, 0), /* of an open file */
    /* time, waiting, random numbers */
    ANY(clock_gettime), ANY(clock_getres), ANY(ppoll), ANY(getrandom), ANY(sched_yield), ANY(futex),
    IF(setitimer, 0, ALL, ITIMER_REAL), /* to show pieces of lines soon */
    ANY(restart_syscall), ANY(sysinfo), /* of qsort(), which asks how much memory there is */
    /* the end; abort() is a trap (helper/main.c): no signal can be sent, not even to itself */
    ANY(exit), ANY(exit_group)};

/* Only to lower its own timer when the run ends. */
static const struct rule profiling[] = {ANY(setitimer)};

/* At rest, it makes copies of itself with just these flags, and each waits for a job. */
static const struct rule session[] = {
    IF(clone, 0, WHOLE, WORKER_CLONE_FLAGS | SIGCHLD),
    /* the report of each */
    IF2(mmap, 2, PROT_EXEC, 0, 3, UNCOUNTED | MAP_ANONYMOUS, MAP_SHARED), ANY(recvmsg),
    ANY(sendmsg), ANY(dup3), IF(fcntl, 1, ALL, F_GET_SEALS),
    IF2(prctl, 0, ALL, PR_SET_PDEATHSIG, 1, WHOLE, SIGKILL)};

/* Cranelift works in threads; code that was compiled is made executable on the way to its file.
 * Memory that is shared would be counted by no limit. */
static const struct rule compiler[] = {IF(mmap, 3, MAP_SHARED, 0),
                                       ANY(mprotect),
                                       ANY(munmap),
                                       ANY(mremap),
                                       ANY(madvise),
                                       ANY(brk),
                                       ANY(sigaltstack),
                                       ANY(rt_sigreturn),
                                       ANY(rt_sigaction),
                                       ANY(rt_sigprocmask),
                                       ANY(read),
                                       ANY(write),
                                       ANY(lseek),
                                       ANY(close),
                                       ANY(fstat),
                                       ANY(newfstatat),
                                       ANY(statx),
                                       ANY(getrandom),
                                       ANY(clock_gettime),
                                       ANY(clock_nanosleep),
                                       ANY(sched_yield),
                                       ANY(sched_getaffinity),
                                       ANY(futex),
                                       ANY(restart_syscall),
                                       IF(clone, 0, THREAD_FLAGS, THREAD_FLAGS),
                                       ANY(set_robust_list),
                                       ANY(rseq),
                                       IF(prctl, 0, ALL, PR_SET_NAME),
                                       IF(prlimit64, 2, WHOLE, 0),
                                       ANY(gettid),
                                       ANY(getpid),
                                       ANY(exit),
                                       ANY(exit_group)};

/* A zygote at its checkpoint, and a worker until its own filter is on. Each of these calls can only
 * take something away from the caller, but for clone and the messages on the zygote's socket. */
static const struct rule zygote[] = {
    IF(clone, 0, ~(uint64_t)CLONE_NEWPID, WORKER_CLONE_FLAGS | SIGCHLD),
    IF2(mmap, 2, PROT_EXEC, 0, 3, UNCOUNTED | MAP_ANONYMOUS, MAP_SHARED),
    IF(clone, 0, WHOLE, SIGCHLD), /* a rehearsal, which is waited for */
    ANY(wait4),
    IF(unshare, 0, ALL, CLONE_NEWPID), /* for a session */
    IF(kill, 0, ALL, 0),               /* of a session's keeper: its own group */
    ANY(recvmsg),
    ANY(sendmsg),
    ANY(dup3),
    ANY(close_range),
    ANY(setgroups),
    ANY(setresgid),
    ANY(setresuid),
    ANY(capset),
    IF(prlimit64, 0, ALL, 0),
    IF(fcntl, 1, ALL, F_GETFD),
    IF(fcntl, 1, ALL, F_GET_SEALS), /* of a job that is large */
    ANY(seccomp),
    ANY(prctl),
    ANY(landlock_create_ruleset),
    ANY(landlock_add_rule),
    ANY(landlock_restrict_self)};

/* Before it: code is loaded by descriptor, through /proc/self/fd, and moved into huge pages. What
 * is opened, the empty root and, in a plain worker, Landlock bound. */
static const struct rule loading[] = {
    ANY(mmap),        ANY(mprotect), IF(openat, 2, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY),
    ANY(fchdir),      ANY(chdir),    ANY(statx),
    ANY(memfd_create)}; /* of a filter that is rare, and built by its worker */

static int add(scmp_filter_ctx filter, const struct rule *rules, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const struct rule *r = &rules[i];
        struct scmp_arg_cmp conditions[2];
        unsigned wanted = 0;
        for (; wanted < 2 && r->when[wanted].mask != 0; wanted++) {
            const struct condition *c = &r->when[wanted];
            conditions[wanted] = SCMP_CMP(c->argument, SCMP_CMP_MASKED_EQ, c->mask, c->value);
        }
        int result = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, r->number, wanted, conditions);
        if (result != 0) return result;
    }
    return 0;
}
#define ADD(filter, rules) add(filter, rules, sizeof(rules) / sizeof *(rules))

/* libseccomp checks the architecture and refuses x32 numbers by itself: both are bad architecture
 * actions, killing by default. */
static int build(scmp_filter_ctx filter, enum seccomp_kind kind) {
    int result = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    /* A binary tree instead of a list: the last call costs what the first does. */
    if (result == 0) result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    /* C libraries fall back to clone only on ENOSYS. */
    if (result == 0) {
        result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    }
    if (result == 0 && kind == SECCOMP_COMPILER) return ADD(filter, compiler);
    if (result == 0) result = ADD(filter, worker);
    if (result == 0 && kind != SECCOMP_WORKER) result = ADD(filter, profiling);
    bool makes_workers = kind == SECCOMP_ZYGOTE || kind == SECCOMP_LOADING;
    if (result == 0 && (kind == SECCOMP_SESSION || kind == SECCOMP_LOADING))
        result = ADD(filter, session);
    if (result == 0 && makes_workers) result = ADD(filter, zygote);
    if (result == 0 && kind == SECCOMP_LOADING) result = ADD(filter, loading);
    return result;
}

static int compile(enum seccomp_kind kind, struct sock_fprog *out) {
    scmp_filter_ctx filter =
        seccomp_init(kind == SECCOMP_COMPILER ? SCMP_ACT_ERRNO(EPERM) : SCMP_ACT_KILL_PROCESS);
    if (filter == NULL) return -ENOMEM;
    _cleanup_(fd_closep) int fd = memfd_create("filter", MFD_CLOEXEC);
    int result = fd < 0 ? -errno : build(filter, kind);
    if (result == 0) result = seccomp_export_bpf(filter, fd);
    seccomp_release(filter);
    off_t size = result == 0 ? lseek(fd, 0, SEEK_END) : 0;
    if (result != 0 || size <= 0) return result != 0 ? result : -EIO;
    out->filter = malloc((size_t)size);
    out->len = (unsigned short)((size_t)size / sizeof *out->filter);
    if (out->filter == NULL) return -ENOMEM;
    return pread(fd, out->filter, (size_t)size, 0) == size ? 0 : -EIO;
}

int seccomp_filter_build(struct seccomp_filters *filters, enum seccomp_kind kind,
                         struct error *err) {
    if (filters->code[kind].filter != NULL) return 0;
    int result = compile(kind, &filters->code[kind]);
    if (result == 0) return 0;
    free(steal_ptr(filters->code[kind].filter));
    return error_set_errno(err, PA_INTERNAL, -result, "build the system call filter");
}

void seccomp_filters_fini(struct seccomp_filters *filters) {
    for (int kind = 0; kind < SECCOMP_KINDS; kind++)
        free(filters->code[kind].filter);
    *filters = (struct seccomp_filters){0};
}

int seccomp_install(const struct seccomp_filters *filters, enum seccomp_kind kind) {
    /* SECCOMP_SET_MODE_FILTER = 1 */
    return syscall(SYS_seccomp, 1, 0, &filters->code[kind]) == 0 ? 0 : -errno;
}

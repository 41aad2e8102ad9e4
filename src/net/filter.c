/* What the front's libraries (libgrpc, libmicrohttpd, GnuTLS, curl, sd-event, the resolver) ask the
 * kernel for. Three answers:
 *
 *   allowed   what is listed here
 *   ENOSYS    all else: a library's next release may try a newer call first, and falls back; to be
 *             killed for it would end the service for everybody
 *   killed    what none of these libraries ever does, and whoever has taken the process over does
 *             next: programs, debuggers, mounts, namespaces, keys, new kernel interfaces */
#include "net/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

static const int allowed[] = {
    /* memory; not executable (below) */
    SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(brk), SCMP_SYS(mlock),
    SCMP_SYS(munlock), SCMP_SYS(mincore), SCMP_SYS(membarrier), SCMP_SYS(memfd_create),
    /* threads and signals of its own */
    SCMP_SYS(futex), SCMP_SYS(set_robust_list), SCMP_SYS(rseq), SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity), SCMP_SYS(sched_getparam), SCMP_SYS(sched_getscheduler),
    SCMP_SYS(getcpu), SCMP_SYS(gettid), SCMP_SYS(getpid), SCMP_SYS(getppid), SCMP_SYS(exit),
    SCMP_SYS(exit_group), SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),
    SCMP_SYS(rt_sigtimedwait), SCMP_SYS(sigaltstack), SCMP_SYS(restart_syscall), SCMP_SYS(wait4),
    SCMP_SYS(waitid),
    /* descriptors */
    SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(pread64), SCMP_SYS(preadv), SCMP_SYS(write),
    SCMP_SYS(writev), SCMP_SYS(pwrite64), SCMP_SYS(pwritev), SCMP_SYS(lseek), SCMP_SYS(close),
    SCMP_SYS(close_range), SCMP_SYS(dup), SCMP_SYS(dup2), SCMP_SYS(dup3), SCMP_SYS(pipe2),
    SCMP_SYS(sendfile), SCMP_SYS(splice), SCMP_SYS(copy_file_range), SCMP_SYS(ftruncate),
    SCMP_SYS(fallocate), SCMP_SYS(fadvise64), SCMP_SYS(fsync), SCMP_SYS(fdatasync),
    SCMP_SYS(syncfs), SCMP_SYS(flock), SCMP_SYS(fchmod), SCMP_SYS(poll), SCMP_SYS(ppoll),
    SCMP_SYS(select), SCMP_SYS(pselect6), SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl),
    SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_pwait2), SCMP_SYS(eventfd2),
    SCMP_SYS(signalfd4), SCMP_SYS(timerfd_create), SCMP_SYS(timerfd_settime),
    SCMP_SYS(timerfd_gettime),
    /* files, as far as Landlock lets it */
    SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(openat2), SCMP_SYS(stat), SCMP_SYS(lstat),
    SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(statx), SCMP_SYS(statfs), SCMP_SYS(fstatfs),
    SCMP_SYS(access), SCMP_SYS(faccessat), SCMP_SYS(faccessat2), SCMP_SYS(readlink),
    SCMP_SYS(readlinkat), SCMP_SYS(getdents64), SCMP_SYS(mkdir), SCMP_SYS(mkdirat), SCMP_SYS(rmdir),
    SCMP_SYS(unlink), SCMP_SYS(unlinkat), SCMP_SYS(rename), SCMP_SYS(renameat), SCMP_SYS(renameat2),
    SCMP_SYS(symlinkat), SCMP_SYS(linkat), SCMP_SYS(utimensat), SCMP_SYS(fchmodat),
    SCMP_SYS(getcwd), SCMP_SYS(umask),
    /* sockets, of the families below */
    SCMP_SYS(bind), SCMP_SYS(listen), SCMP_SYS(accept), SCMP_SYS(accept4), SCMP_SYS(connect),
    SCMP_SYS(shutdown), SCMP_SYS(getsockname), SCMP_SYS(getpeername), SCMP_SYS(getsockopt),
    SCMP_SYS(setsockopt), SCMP_SYS(sendto), SCMP_SYS(sendmsg), SCMP_SYS(sendmmsg),
    SCMP_SYS(recvfrom), SCMP_SYS(recvmsg), SCMP_SYS(recvmmsg),
    /* time, numbers, who and where it is */
    SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres), SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep),
    SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(times), SCMP_SYS(getrusage),
    SCMP_SYS(getrandom), SCMP_SYS(uname), SCMP_SYS(sysinfo), SCMP_SYS(getuid), SCMP_SYS(geteuid),
    SCMP_SYS(getgid), SCMP_SYS(getegid)};

/* The end of whoever tries. */
static const int deadly[] = {SCMP_SYS(execve),
                             SCMP_SYS(execveat),
                             SCMP_SYS(ptrace),
                             SCMP_SYS(process_vm_readv),
                             SCMP_SYS(process_vm_writev),
                             SCMP_SYS(pidfd_getfd),
                             SCMP_SYS(kcmp),
                             SCMP_SYS(mount),
                             SCMP_SYS(umount2),
                             SCMP_SYS(pivot_root),
                             SCMP_SYS(chroot),
                             SCMP_SYS(move_mount),
                             SCMP_SYS(open_tree),
                             SCMP_SYS(fsopen),
                             SCMP_SYS(fsmount),
                             SCMP_SYS(mount_setattr),
                             SCMP_SYS(unshare),
                             SCMP_SYS(setns),
                             SCMP_SYS(bpf),
                             SCMP_SYS(perf_event_open),
                             SCMP_SYS(userfaultfd),
                             SCMP_SYS(io_uring_setup),
                             SCMP_SYS(io_uring_enter),
                             SCMP_SYS(io_uring_register),
                             SCMP_SYS(keyctl),
                             SCMP_SYS(add_key),
                             SCMP_SYS(request_key),
                             SCMP_SYS(init_module),
                             SCMP_SYS(finit_module),
                             SCMP_SYS(delete_module),
                             SCMP_SYS(kexec_load),
                             SCMP_SYS(kexec_file_load),
                             SCMP_SYS(reboot),
                             SCMP_SYS(swapon),
                             SCMP_SYS(acct),
                             SCMP_SYS(open_by_handle_at),
                             SCMP_SYS(name_to_handle_at),
                             SCMP_SYS(setuid),
                             SCMP_SYS(setreuid),
                             SCMP_SYS(setresuid),
                             SCMP_SYS(setgid),
                             SCMP_SYS(setresgid),
                             SCMP_SYS(setgroups),
                             SCMP_SYS(capset),
                             SCMP_SYS(fork),
                             SCMP_SYS(vfork),
                             SCMP_SYS(modify_ldt),
                             SCMP_SYS(iopl),
                             SCMP_SYS(ioperm)};

#define ALL UINT32_MAX
#define THREAD_FLAGS (CLONE_VM | CLONE_THREAD | CLONE_SIGHAND | CLONE_FS | CLONE_FILES)
#define NAMESPACE_FLAGS \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | \
     CLONE_NEWNET)

/* Calls with one argument that must be so: (argument & mask) == value. */
static const struct {
    int number;
    unsigned argument;
    uint64_t mask, value;
} bounded[] = {{SCMP_SYS(mmap), 2, PROT_EXEC, 0},
               {SCMP_SYS(mprotect), 2, PROT_EXEC, 0},
               /* a thread, and no process */
               {SCMP_SYS(clone), 0, THREAD_FLAGS | NAMESPACE_FLAGS, THREAD_FLAGS},
               {SCMP_SYS(tgkill), 2, ALL, SIGABRT},
               {SCMP_SYS(fcntl), 1, ALL, F_GETFL},
               {SCMP_SYS(fcntl), 1, ALL, F_SETFL},
               {SCMP_SYS(fcntl), 1, ALL, F_GETFD},
               {SCMP_SYS(fcntl), 1, ALL, F_SETFD},
               {SCMP_SYS(fcntl), 1, ALL, F_DUPFD},
               {SCMP_SYS(fcntl), 1, ALL, F_DUPFD_CLOEXEC},
               {SCMP_SYS(fcntl), 1, ALL, F_SETPIPE_SZ},
               {SCMP_SYS(fcntl), 1, ALL, F_GETPIPE_SZ},
               {SCMP_SYS(fcntl), 1, ALL, F_ADD_SEALS},
               {SCMP_SYS(fcntl), 1, ALL, F_GET_SEALS},
               {SCMP_SYS(ioctl), 1, ALL, FIONREAD},
               {SCMP_SYS(ioctl), 1, ALL, FIONBIO},
               {SCMP_SYS(ioctl), 1, ALL, TCGETS},
               {SCMP_SYS(ioctl), 1, ALL, TIOCGWINSZ},
               {SCMP_SYS(prctl), 0, ALL, PR_SET_NAME},
               {SCMP_SYS(prctl), 0, ALL, PR_GET_NAME},
               {SCMP_SYS(prlimit64), 2, ~(uint64_t)0, 0},
               {SCMP_SYS(socketpair), 0, ALL, AF_UNIX},
               {SCMP_SYS(socket), 0, ALL, AF_UNIX},
               {SCMP_SYS(socket), 0, ALL, AF_INET},
               {SCMP_SYS(socket), 0, ALL, AF_INET6}};

static int add_rules(scmp_filter_ctx filter) {
    int result = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    /* A binary tree instead of a list: the last call costs what the first does. */
    if (result == 0) result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed && result == 0; i++)
        result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
    for (size_t i = 0; i < sizeof deadly / sizeof *deadly && result == 0; i++)
        result = seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, deadly[i], 0);
    for (size_t i = 0; i < sizeof bounded / sizeof *bounded && result == 0; i++)
        result = seccomp_rule_add(
            filter, SCMP_ACT_ALLOW, bounded[i].number, 1,
            SCMP_CMP(bounded[i].argument, SCMP_CMP_MASKED_EQ, bounded[i].mask, bounded[i].value));
    /* The resolver asks which addresses there are. */
    if (result == 0)
        result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2,
                                  SCMP_A0(SCMP_CMP_MASKED_EQ, ALL, AF_NETLINK),
                                  SCMP_A2(SCMP_CMP_MASKED_EQ, ALL, NETLINK_ROUTE));
    return result;
}

int filter_install(void) {
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
    if (filter == NULL) return -ENOMEM;
    /* no_new_privs is the caller's to set: without it there is no filter either. */
    int result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_NNP, 0);
    if (result == 0) result = add_rules(filter);
    if (result == 0) result = seccomp_load(filter);
    seccomp_release(filter);
    return result;
}

/* The front's filter: every system call that there is, one in a process of its own each. */
#include "net/filter.h"

#include <errno.h>
#include <linux/netlink.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KILLED = 256, CALLS = 471 };

/* KILLED, or the errno that the call got (0: it went well; below 0: it was let through to fail as
 * the kernel saw fit). */
static int try(long number, long a, long b, long c) {
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || filter_install() != 0) _exit(254);
        (void)alarm(5);
        long result = syscall(number, a, b, c, 0L, 0L, 0L);
        int problem = errno;
        (void)syscall(SYS_exit_group, result >= 0 ? 0 : problem);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status)) {
        assert_int_equal(WTERMSIG(status), SIGSYS);
        return KILLED;
    }
    assert_int_not_equal(WEXITSTATUS(status), 254);
    return WEXITSTATUS(status);
}

/* By what strangers' code would do with them. */
static const long deadly[] = {SYS_execve,
                              SYS_execveat,
                              SYS_ptrace,
                              SYS_process_vm_readv,
                              SYS_process_vm_writev,
                              SYS_pidfd_getfd,
                              SYS_kcmp,
                              SYS_mount,
                              SYS_umount2,
                              SYS_pivot_root,
                              SYS_chroot,
                              SYS_move_mount,
                              SYS_open_tree,
                              SYS_fsopen,
                              SYS_fsmount,
                              SYS_mount_setattr,
                              SYS_unshare,
                              SYS_setns,
                              SYS_bpf,
                              SYS_perf_event_open,
                              SYS_userfaultfd,
                              SYS_io_uring_setup,
                              SYS_io_uring_enter,
                              SYS_io_uring_register,
                              SYS_keyctl,
                              SYS_add_key,
                              SYS_request_key,
                              SYS_init_module,
                              SYS_finit_module,
                              SYS_delete_module,
                              SYS_kexec_load,
                              SYS_kexec_file_load,
                              SYS_reboot,
                              SYS_swapon,
                              SYS_acct,
                              SYS_open_by_handle_at,
                              SYS_name_to_handle_at,
                              SYS_setuid,
                              SYS_setreuid,
                              SYS_setresuid,
                              SYS_setgid,
                              SYS_setresgid,
                              SYS_setgroups,
                              SYS_capset,
                              SYS_fork,
                              SYS_vfork,
                              SYS_modify_ldt,
                              SYS_iopl,
                              SYS_ioperm};
/* By what the front's libraries do; each with zeros, as far as that does no harm. */
static const long allowed[] = {SYS_read,
                               SYS_write,
                               SYS_open,
                               SYS_close,
                               SYS_stat,
                               SYS_fstat,
                               SYS_lstat,
                               SYS_poll,
                               SYS_lseek,
                               SYS_mmap,
                               SYS_mprotect,
                               SYS_munmap,
                               SYS_brk,
                               SYS_rt_sigaction,
                               SYS_rt_sigprocmask,
                               SYS_rt_sigreturn,
                               SYS_pread64,
                               SYS_pwrite64,
                               SYS_readv,
                               SYS_writev,
                               SYS_access,
                               SYS_select,
                               SYS_sched_yield,
                               SYS_mremap,
                               SYS_mincore,
                               SYS_madvise,
                               SYS_dup,
                               SYS_dup2,
                               SYS_nanosleep,
                               SYS_getpid,
                               SYS_sendfile,
                               SYS_connect,
                               SYS_accept,
                               SYS_sendto,
                               SYS_recvfrom,
                               SYS_sendmsg,
                               SYS_recvmsg,
                               SYS_shutdown,
                               SYS_bind,
                               SYS_listen,
                               SYS_getsockname,
                               SYS_getpeername,
                               SYS_setsockopt,
                               SYS_getsockopt,
                               SYS_exit,
                               SYS_wait4,
                               SYS_uname,
                               SYS_flock,
                               SYS_fsync,
                               SYS_fdatasync,
                               SYS_syncfs,
                               SYS_ftruncate,
                               SYS_getcwd,
                               SYS_rename,
                               SYS_mkdir,
                               SYS_rmdir,
                               SYS_unlink,
                               SYS_readlink,
                               SYS_fchmod,
                               SYS_umask,
                               SYS_gettimeofday,
                               SYS_getrusage,
                               SYS_sysinfo,
                               SYS_times,
                               SYS_getuid,
                               SYS_getgid,
                               SYS_geteuid,
                               SYS_getegid,
                               SYS_getppid,
                               SYS_rt_sigtimedwait,
                               SYS_sigaltstack,
                               SYS_statfs,
                               SYS_fstatfs,
                               SYS_sched_getparam,
                               SYS_sched_getscheduler,
                               SYS_mlock,
                               SYS_munlock,
                               SYS_prlimit64,
                               SYS_gettid,
                               SYS_time,
                               SYS_futex,
                               SYS_sched_getaffinity,
                               SYS_getdents64,
                               SYS_restart_syscall,
                               SYS_fadvise64,
                               SYS_clock_gettime,
                               SYS_clock_getres,
                               SYS_clock_nanosleep,
                               SYS_exit_group,
                               SYS_epoll_wait,
                               SYS_epoll_ctl,
                               SYS_waitid,
                               SYS_openat,
                               SYS_mkdirat,
                               SYS_newfstatat,
                               SYS_unlinkat,
                               SYS_renameat,
                               SYS_linkat,
                               SYS_symlinkat,
                               SYS_readlinkat,
                               SYS_fchmodat,
                               SYS_faccessat,
                               SYS_pselect6,
                               SYS_ppoll,
                               SYS_set_robust_list,
                               SYS_splice,
                               SYS_utimensat,
                               SYS_epoll_pwait,
                               SYS_timerfd_create,
                               SYS_fallocate,
                               SYS_timerfd_settime,
                               SYS_timerfd_gettime,
                               SYS_accept4,
                               SYS_signalfd4,
                               SYS_eventfd2,
                               SYS_epoll_create1,
                               SYS_dup3,
                               SYS_pipe2,
                               SYS_preadv,
                               SYS_pwritev,
                               SYS_recvmmsg,
                               SYS_sendmmsg,
                               SYS_getcpu,
                               SYS_renameat2,
                               SYS_getrandom,
                               SYS_memfd_create,
                               SYS_membarrier,
                               SYS_copy_file_range,
                               SYS_statx,
                               SYS_rseq,
                               SYS_close_range,
                               SYS_openat2,
                               SYS_fcntl,
                               SYS_faccessat2,
                               SYS_epoll_pwait2};

static bool is_in(const long *list, size_t count, long number) {
    for (size_t i = 0; i < count; i++)
        if (list[i] == number) return true;
    return false;
}
#define IS_IN(list, number) is_in(list, sizeof list / sizeof *list, number)

static void test_every_call_has_one_of_three_answers(void **state) {
    (void)state;
    for (long number = 0; number < CALLS; number++) {
        /* uretprobe, uprobe: past any filter. A kernel may lack an allowed one. */
        if (number == 335 || number == 336 || IS_IN(allowed, number)) continue;
        int expected = IS_IN(deadly, number) ? KILLED : ENOSYS, got = try(number, 0, 0, 0);
        if (got != expected) fail_msg("call %ld: %d instead of %d", number, got, expected);
    }
}

static void test_processes_but_no_threads_are_refused(void **state) {
    const long thread = CLONE_VM | CLONE_THREAD | CLONE_SIGHAND | CLONE_FS | CLONE_FILES;
    (void)state;
    assert_int_equal(try(SYS_clone, SIGCHLD, 0, 0), ENOSYS);
    assert_int_equal(try(SYS_clone, thread | CLONE_NEWNET, 0, 0), ENOSYS);
    assert_int_equal(try(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0), ENOSYS);
    assert_int_equal(try(SYS_clone3, 0, 0, 0), ENOSYS); /* its flags are out of a filter's sight */
}

static void test_memory_never_becomes_code(void **state) {
    (void)state;
    assert_int_equal(try(SYS_mmap, 0, 4096, PROT_READ | PROT_EXEC), ENOSYS);
    assert_int_equal(try(SYS_mprotect, 0, 4096, PROT_READ | PROT_EXEC), ENOSYS);
}

static void test_few_families_of_sockets(void **state) {
    (void)state;
    for (long family = 0; family < 46; family++) {
        int got = try(SYS_socket, family, SOCK_RAW, family == AF_NETLINK ? NETLINK_AUDIT : 0);
        bool known = family == AF_UNIX || family == AF_INET || family == AF_INET6;
        if ((got == ENOSYS) == known) fail_msg("family %ld: %d", family, got);
    }
    assert_int_equal(try(SYS_socket, AF_NETLINK, SOCK_RAW, NETLINK_ROUTE), 0);
}

static void test_limits_and_signals_of_others_are_out_of_reach(void **state) {
    (void)state;
    assert_int_equal(try(SYS_prlimit64, 0, 0, 1), ENOSYS);
    assert_int_equal(try(SYS_kill, getpid(), 0, 0), ENOSYS);
    assert_int_equal(try(SYS_tgkill, getpid(), getpid(), SIGKILL), ENOSYS);
    assert_int_equal(try(SYS_prctl, PR_SET_DUMPABLE, 1, 0), ENOSYS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_call_has_one_of_three_answers),
        cmocka_unit_test(test_processes_but_no_threads_are_refused),
        cmocka_unit_test(test_memory_never_becomes_code),
        cmocka_unit_test(test_few_families_of_sockets),
        cmocka_unit_test(test_limits_and_signals_of_others_are_out_of_reach)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

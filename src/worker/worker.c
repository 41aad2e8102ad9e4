#include "worker/worker.h"

#include "base/cleanup.h"
#include "base/clock.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

/* A worker, as its parent sees it: forked -> running -> (killed) -> reaped. */
struct worker {
    pid_t pid;
    int pidfd;         /* owned */
    int output_fds[2]; /* owned read ends of the pipes; -1 when not captured or at their end */
    bool out_of_time;
};

static int thread_count(void) {
    char line[128];
    int threads = -1;
    FILE *status = fopen("/proc/self/status", "re");
    if (status == NULL) return -1;
    while (threads < 0 && fgets(line, sizeof line, status) != NULL) {
        if (sscanf(line, "Threads: %d", &threads) != 1) threads = -1;
    }
    (void)fclose(status);
    return threads;
}

/* In the child: limits that the kernel keeps, before the guest's first instruction. */
static int restrict_self(pid_t parent, uint64_t cpu_time_ms) {
    const struct rlimit no_core = {0, 0};
    /* The default action of SIGPROF ends the process, to the microsecond; RLIMIT_CPU counts whole
     * seconds. No guest can undo a timer. */
    const struct itimerval cpu = {
        .it_value = {.tv_sec = (time_t)(cpu_time_ms / 1000),
                     .tv_usec = (suseconds_t)(cpu_time_ms % 1000 * 1000)}};
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent) return -1;
    if (setrlimit(RLIMIT_CORE, &no_core) != 0) return -1;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_DUMPABLE, 0) != 0) return -1;
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || signal(SIGPROF, SIG_DFL) == SIG_ERR) return -1;
    sigset_t none;
    if (sigemptyset(&none) != 0 || sigprocmask(SIG_SETMASK, &none, NULL) != 0) return -1;
    return cpu_time_ms > 0 ? setitimer(ITIMER_PROF, &cpu, NULL) : 0;
}

static void kill_worker(struct worker *worker) {
    (void)syscall(SYS_pidfd_send_signal, worker->pidfd, SIGKILL, NULL, 0);
}

/* Moves what is in a pipe to its buffer; beyond `limit` bytes it is read and dropped. */
static void drain(int *fd, struct buffer *buffer, uint64_t limit) {
    char chunk[65536];
    ssize_t got = read(*fd, chunk, sizeof chunk);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        fd_closep(fd);
        return;
    }
    uint64_t room = limit > buffer->size ? limit - buffer->size : 0;
    size_t part = (uint64_t)got < room ? (size_t)got : (size_t)room;
    if (buffer_append(buffer, chunk, part) != 0) fd_closep(fd); /* the guest sees a closed pipe */
}

/* Until the process has ended and its pipes are empty. */
static void watch(struct worker *worker, struct buffer captured[2], uint64_t limit,
                  uint64_t deadline_ns) {
    bool running = true;
    while (running || worker->output_fds[0] >= 0 || worker->output_fds[1] >= 0) {
        struct pollfd fds[3] = {{.fd = running ? worker->pidfd : -1, .events = POLLIN},
                                {.fd = worker->output_fds[0], .events = POLLIN},
                                {.fd = worker->output_fds[1], .events = POLLIN}};
        uint64_t now_ns = clock_now_ns();
        bool bounded = running && !worker->out_of_time && deadline_ns != CLOCK_NEVER;
        struct timespec left = clock_timespec(deadline_ns > now_ns ? deadline_ns - now_ns : 0);
        int ready = ppoll(fds, 3, bounded ? &left : NULL, NULL);
        if (ready < 0) continue; /* EINTR: nothing else can happen to valid arguments */
        if (bounded && clock_now_ns() >= deadline_ns) {
            worker->out_of_time = true;
            kill_worker(worker);
        }
        if (fds[0].revents != 0) running = false;
        for (int i = 0; i < 2; i++) {
            if (fds[i + 1].revents != 0) drain(&worker->output_fds[i], &captured[i], limit);
        }
    }
}

/* What the kernel says outranks what the report says. */
static void judge(struct worker *worker, const struct pa_job *job, const siginfo_t *info,
                  struct run_report *report) {
    const struct pa_limits *limits = &job->limits;
    bool ended_well = info->si_code == CLD_EXITED && info->si_status == 0 && report->finished;
    report->message[sizeof report->message - 1] = 0;
    report->backtrace[sizeof report->backtrace - 1] = 0;
    if (ended_well && report->status <= PA_INTERNAL) return;
    report->exit_code = 0;
    report->ended_ns = clock_now_ns();
    report->status = PA_TIMEOUT;
    if (worker->out_of_time) {
        (void)snprintf(report->message, sizeof report->message,
                       "Execution timeout: %llu ms of wall time have passed; raise --timeout",
                       (unsigned long long)limits->execution_timeout_ms);
    } else if (info->si_code == CLD_KILLED && info->si_status == SIGPROF) {
        (void)snprintf(report->message, sizeof report->message,
                       "Execution timeout: %llu ms of CPU time are used; raise --cpu-time",
                       (unsigned long long)limits->cpu_time_ms);
    } else {
        report->status = PA_INTERNAL;
        (void)snprintf(report->message, sizeof report->message,
                       "the worker process ended by %s %d before it could report",
                       info->si_code == CLD_EXITED ? "exit code" : "signal", info->si_status);
    }
}

static uint64_t cpu_ns(const struct rusage *usage) {
    return ((uint64_t)usage->ru_utime.tv_sec + (uint64_t)usage->ru_stime.tv_sec) * NS_PER_SECOND +
           ((uint64_t)usage->ru_utime.tv_usec + (uint64_t)usage->ru_stime.tv_usec) * 1000;
}

static int fork_worker(struct worker *worker, struct error *err) {
    worker->pid = fork();
    if (worker->pid < 0) return error_set_errno(err, PA_INTERNAL, errno, "fork a worker");
    if (worker->pid == 0) return 0;
    worker->pidfd = pidfd_open(worker->pid, 0); /* close-on-exec by itself */
    if (worker->pidfd >= 0) return 0;
    int number = errno;
    (void)kill(worker->pid, SIGKILL); /* not reaped yet, so the id is still its own */
    (void)waitpid(worker->pid, NULL, 0);
    return error_set_errno(err, PA_INTERNAL, number, "watch the worker");
}

int worker_run(struct engine *engine, const wasmtime_module_t *module, const struct pa_job *job,
               const struct wasi_mount_config *mounts, struct buffer captured[2],
               uint64_t deadline_ns, struct run_report *report, struct error *err) {
    struct worker worker = {.pidfd = -1, .output_fds = {-1, -1}};
    int write_ends[2] = {job->stdout_fd, job->stderr_fd};
    int pipes[2][2] = {{-1, -1}, {-1, -1}}, result = 0;
    pid_t parent = getpid();
    struct rusage usage = {0};
    siginfo_t info = {0};

    int threads = thread_count();
    if (threads != 1) {
        return error_set(err, PA_INVALID_ARGUMENT,
                         "a process with %d threads cannot be forked safely; "
                         "use PA_ISOLATION_NONE, or run from a process with one thread",
                         threads);
    }
    struct run_report *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) return error_set_errno(err, PA_INTERNAL, errno, "the report's page");
    for (int i = 0; i < 2 && !job->use_output_fds && result == 0; i++) {
        if (pipe2(pipes[i], O_CLOEXEC) != 0) {
            result = error_set_errno(err, PA_INTERNAL, errno, "pipe for the output");
        }
        write_ends[i] = pipes[i][1];
    }
    if (result == 0) result = fork_worker(&worker, err);
    if (result == 0 && worker.pid == 0) {
        uint64_t cpu_ms = job->limits.cpu_time_ms;
        if (restrict_self(parent, cpu_ms) != 0) _exit(1);
        run_module(engine, module, job, mounts, write_ends, NULL, deadline_ns, shared);
        _exit(0);
    }
    for (int i = 0; i < 2; i++) {
        fd_closep(&pipes[i][1]);
        worker.output_fds[i] = steal_fd(&pipes[i][0]);
    }
    if (result == 0) {
        uint64_t limit =
            job->limits.output_limit_bytes > 0 ? job->limits.output_limit_bytes : UINT64_MAX;
        watch(&worker, captured, limit, deadline_ns);
        while (syscall(SYS_waitid, P_PIDFD, worker.pidfd, &info, WEXITED, &usage) != 0 &&
               errno == EINTR) {
        }
        *report = *shared; /* its writer is dead: nothing changes under our eyes */
        judge(&worker, job, &info, report);
        report->cpu_ns = cpu_ns(&usage);
    }
    fd_closep(&worker.output_fds[0]);
    fd_closep(&worker.output_fds[1]);
    fd_closep(&worker.pidfd);
    (void)munmap(shared, sizeof *shared);
    return result;
}

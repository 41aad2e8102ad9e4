#include "worker/seal.h"

#include "base/cleanup.h"
#include "worker/landlock.h"
#include "worker/namespaces.h"

#include <cap-ng.h>
#include <errno.h>
#include <linux/capability.h>
#include <linux/openat2.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

/* What the host itself needs besides linear memory: stacks, tables, output, the allocator. */
#define HOST_DATA_BYTES (UINT64_C(96) << 20)
/* Files that were there before may be larger than what a guest may add; sparse ones are bounded. */
#define EXISTING_FILE_BYTES (UINT64_C(16) << 30)
/* In a server these are of workspaces, and outputs are memory: no file is that large there. */
#define EXISTING_SERVER_BYTES (UINT64_C(1) << 30)
#define FILE_SLACK_BYTES (UINT64_C(1) << 16)
/* Of addresses, beyond what there is and what may come: page tables, which nothing else bounds, are
 * a 512th of it. */
#define HOST_SPACE_BYTES (UINT64_C(1) << 30)
enum { HOST_FDS = 24, SIGNALS_PENDING = 64, MAX_PROCESSES = 8192 };

static int limit(int resource, uint64_t value) {
    struct rlimit l = {value, value};
    struct rlimit now;
    if (getrlimit(resource, &now) == 0 && now.rlim_max < value)
        l = (struct rlimit){now.rlim_max, now.rlim_max};
    return setrlimit(resource, &l);
}

/* The zygote keeps what it takes to make a worker: ids, and its pid namespace. */
static int drop_most_capabilities(const struct seal *seal) {
    /* Where no user namespace could be entered, there may be none to keep. */
    bool has_admin =
        capng_get_caps_process() == 0 && capng_have_capability(CAPNG_PERMITTED, CAP_SYS_ADMIN) != 0;
    capng_clear(CAPNG_SELECT_ALL);
    if (seal->many_ids && seal->enabled & LAYER_UID) {
        (void)capng_updatev(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_SETUID, CAP_SETGID,
                            -1);
    }
    if (seal->enabled & LAYER_PID_NS && has_admin) {
        (void)capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_SYS_ADMIN);
    }
    /* Without the right to change the bounding set there is nothing to take out of it. */
    int result = capng_apply(CAPNG_SELECT_CAPS);
    return result == 0 ? 0 : -EPERM;
}

static int drop_all_capabilities(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}, {0}};
    return (int)syscall(SYS_capset, &header, none);
}

int seal_zygote(struct seal *seal, struct error *err) {
    uint32_t entered = 0;
    if (namespaces_enter(seal->enabled, &entered, &seal->many_ids, err) != 0) return -1;
    /* Where there is no empty root to have, the layer is not in force. */
    if (entered & LAYER_MOUNT_NS && namespaces_empty_root() != 0) {
        entered &= ~(uint32_t)LAYER_MOUNT_NS;
        if (chdir("/") != 0) return error_set_errno(err, PA_INTERNAL, errno, "go to the root");
    }
    seal->in_force |= entered;
    /* Bounding set first, while there is a capability for it: an exec could regain nothing then. */
    if (seal->enabled & LAYER_NO_CAPABILITIES) {
        for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
            (void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
        if (drop_most_capabilities(seal) != 0) {
            return error_set(err, PA_INTERNAL, "drop capabilities: not permitted");
        }
    }
    if (seal->enabled & LAYER_NO_NEW_PRIVS && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return error_set_errno(err, PA_INTERNAL, errno, "set no_new_privs");
    }
    if (seal->enabled & LAYER_NOT_DUMPABLE && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) {
        return error_set_errno(err, PA_INTERNAL, errno, "stop being dumpable");
    }
    if (seal->enabled & LAYER_RLIMITS &&
        (limit(RLIMIT_CORE, 0) != 0 || limit(RLIMIT_MEMLOCK, 0) != 0 ||
         limit(RLIMIT_MSGQUEUE, 0) != 0 || limit(RLIMIT_SIGPENDING, SIGNALS_PENDING) != 0)) {
        return error_set_errno(err, PA_INTERNAL, errno, "set limits");
    }
    return 0;
}

static int die_with_parent(struct error *err) {
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0) return 0;
    return error_set_errno(err, PA_INTERNAL, errno, "tie the worker's life to its parent's");
}

int seal_inherit(struct error *err) {
    return die_with_parent(err);
}

/* 1 when it was taken, 0 when there are none to have, or a negative errno. */
static int take_id(const struct seal *seal, uint32_t slot) {
    if (!(seal->enabled & LAYER_UID) || !seal->many_ids) return 0;
    bool mapped = seal->in_force & LAYER_USER_NS;
    uid_t uid = (mapped ? 1 : NAMESPACE_FIRST_UID + 1) + slot % (NAMESPACE_UIDS - 1);
    return syscall(SYS_setgroups, 0, NULL) == 0 && setresgid(uid, uid, uid) == 0 &&
                   setresuid(uid, uid, uid) == 0
               ? 1
               : -errno;
}

int seal_keeper(const struct seal *seal, uint32_t slot) {
    int result = take_id(seal, slot);
    if (result < 0) return result;
    return drop_all_capabilities() == 0 ? 0 : -errno;
}

/* The kernel counts the processes of a user id within a user namespace. The hard limit is what the
 * supervisor may raise the other one to, as a session grows. */
static int limit_processes(const struct seal_place *place) {
    if (!place->stays) return limit(RLIMIT_NPROC, 0);
    if (place->max_processes == 0) return limit(RLIMIT_NPROC, MAX_PROCESSES);
    struct rlimit now;
    if (getrlimit(RLIMIT_NPROC, &now) != 0) return -1;
    if (now.rlim_max > MAX_PROCESSES) now.rlim_max = MAX_PROCESSES;
    now.rlim_cur = place->max_processes < now.rlim_max ? place->max_processes : now.rlim_max;
    return setrlimit(RLIMIT_NPROC, &now);
}

int seal_worker(const struct seal *seal, const struct seal_place *place, uint32_t *in_force,
                struct error *err) {
    uint32_t enabled = seal->enabled;
    *in_force = seal->in_force | LAYER_WASM | LAYER_PROCESS;
    if (place->has_pid_ns) *in_force |= LAYER_PID_NS;
    if (close_range((unsigned)seal->first_fd, ~0U, 0) != 0) {
        return error_set_errno(err, PA_INTERNAL, errno, "close the zygote's descriptors");
    }
    int taken = take_id(seal, place->slot);
    if (taken < 0) {
        return error_set_errno(err, PA_INTERNAL, -taken, "take the id of slot %u", place->slot);
    }
    if (taken > 0) *in_force |= LAYER_UID;
    if (enabled & LAYER_NO_CAPABILITIES) {
        if (drop_all_capabilities() != 0) {
            return error_set_errno(err, PA_INTERNAL, errno, "drop all capabilities");
        }
        *in_force |= LAYER_NO_CAPABILITIES;
    }
    /* These two after the change of ids, which undoes them. */
    if (die_with_parent(err) != 0) return -1;
    if (enabled & LAYER_NOT_DUMPABLE) {
        if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) {
            return error_set_errno(err, PA_INTERNAL, errno, "stop being dumpable");
        }
        *in_force |= LAYER_NOT_DUMPABLE;
    }
    if (enabled & LAYER_NO_NEW_PRIVS) *in_force |= LAYER_NO_NEW_PRIVS; /* the zygote's, inherited */
    if (enabled & LAYER_RLIMITS && limit_processes(place) != 0) {
        return error_set_errno(err, PA_INTERNAL, errno, "forbid processes");
    }
    return 0;
}

static uint64_t sum(uint64_t a, uint64_t b) {
    uint64_t bytes;
    return __builtin_add_overflow(a, b, &bytes) ? RLIM_INFINITY : bytes;
}

static uint64_t larger(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

/* How large a file may become that output goes to: it is written at an offset of its own. */
static uint64_t largest_output_bytes(int fd, uint64_t limit_bytes) {
    struct stat st;
    if (fd <= 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) return 0;
    if (limit_bytes == 0) return RLIM_INFINITY;
    off_t offset = lseek(fd, 0, SEEK_CUR);
    uint64_t from = larger((uint64_t)st.st_size, offset > 0 ? (uint64_t)offset : 0);
    return sum(sum(from, limit_bytes), FILE_SLACK_BYTES);
}

/* How far a write may make any file grow. Outputs in memory are a server's. */
static uint64_t largest_file_bytes(const struct pa_job *job,
                                   const struct wasi_mount_config *mounts) {
    const int others[] = {job->trace_fd, job->profile_fd, job->coredump_fd}; /* of a command line */
    uint64_t most = larger(largest_output_bytes(job->stdout_fd, job->limits.output_limit_bytes),
                           largest_output_bytes(job->stderr_fd, job->limits.output_limit_bytes));
    most = larger(most, largest_output_bytes(job->answer_fd, WASI_MAX_ANSWER_BYTES));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        most = larger(most, largest_output_bytes(others[i], 0));
    bool in_memory = job->stdout_fd > 0 && fcntl(job->stdout_fd, F_GET_SEALS) >= 0;
    for (size_t i = 0; i < job->mount_count; i++) {
        if (!mounts[i].writable) continue;
        uint64_t existing = in_memory ? EXISTING_SERVER_BYTES : EXISTING_FILE_BYTES;
        most = larger(most, sum(job->limits.workspace_bytes, existing));
    }
    return most;
}

int seal_open_measure(int proc_fd) {
    const struct open_how how = {.flags = O_RDONLY | O_CLOEXEC};
    int fd = (int)syscall(SYS_openat2, proc_fd, "self/statm", &how, sizeof how);
    return fd >= 0 ? fd : -errno;
}

void seal_measure(int measure_fd, uint64_t *space_bytes, uint64_t *data_bytes) {
    char text[128]; /* pages: all of them, and sixth data and stack (proc(5), statm) */
    unsigned long space = 0, data = 0;
    ssize_t size = measure_fd >= 0 ? pread(measure_fd, text, sizeof text - 1, 0) : -1;
    text[size > 0 ? size : 0] = 0;
    if (sscanf(text, "%lu %*u %*u %*u %*u %lu", &space, &data) != 2) space = data = 0;
    *space_bytes = space * (uint64_t)getpagesize();
    *data_bytes = data * (uint64_t)getpagesize();
}

int seal_loading(struct seal *seal, struct error *err) {
    const uint32_t both = LAYER_SECCOMP | LAYER_NO_NEW_PRIVS;
    if ((seal->enabled & both) != both) return 0;
    if (seccomp_filter_build(&seal->filters, SECCOMP_LOADING, err) != 0) return -1;
    int result = seccomp_install(&seal->filters, SECCOMP_LOADING);
    return result == 0 ? 0
                       : error_set_errno(err, PA_INTERNAL, -result,
                                         "filter the system calls of who loads a module");
}

/* A kernel without the layer is no error here: whether one may be missing is the policy's. */
void seal_files(const struct seal *seal, const struct wasi_mount_config *mounts, size_t count,
                int scope_fd, int code_fd, uint32_t *in_force) {
    if (seal->enabled & LAYER_LANDLOCK &&
        landlock_restrict(mounts, count, scope_fd, code_fd) == 0) {
        *in_force |= LAYER_LANDLOCK;
    }
}

/* SIGPROF ends the run to the microsecond (worker.c). */
static int limit_cpu(const struct pa_job *job) {
    const struct itimerval cpu = {
        .it_value = {.tv_sec = (time_t)(job->limits.cpu_time_ms / 1000),
                     .tv_usec = (suseconds_t)(job->limits.cpu_time_ms % 1000 * 1000)}};
    return setitimer(ITIMER_PROF, &cpu, NULL) == 0 ? 0 : -errno;
}

static int limit_job(const struct seal *seal, const struct pa_job *job,
                     const struct wasi_mount_config *mounts, const struct seal_needs *needs) {
    uint64_t tables = UINT64_C(16) * 16 * job->limits.table_elements;
    uint64_t data = seal->data_bytes + job->limits.memory_limit_bytes + tables + HOST_DATA_BYTES;
    uint64_t more = job->limits.memory_limit_bytes + tables + HOST_DATA_BYTES + HOST_SPACE_BYTES;
    uint64_t space = needs->space_bytes > 0 ? sum(needs->space_bytes, more) : RLIM_INFINITY;
#if defined(__SANITIZE_ADDRESS__)
    data = space = RLIM_INFINITY; /* its shadow memory counts, too */
#endif
    if (limit(RLIMIT_DATA, data) != 0 || limit(RLIMIT_AS, space) != 0 ||
        limit(RLIMIT_FSIZE, largest_file_bytes(job, mounts)) != 0 ||
        limit(RLIMIT_NOFILE, job->limits.max_open_files + job->mount_count + HOST_FDS) != 0) {
        return -errno;
    }
    if (job->limits.cpu_time_ms == 0) return 0;
    int result = limit_cpu(job);
    /* This limit counts whole seconds, and cannot be undone; nor raised for a later job. */
    if (result == 0 && !needs->stays &&
        limit(RLIMIT_CPU, job->limits.cpu_time_ms / 1000 + 2) != 0) {
        result = -errno;
    }
    return result;
}

int seal_job(const struct seal *seal, const struct pa_job *job,
             const struct wasi_mount_config *mounts, const struct seal_needs *needs,
             uint32_t *in_force, struct error *err) {
    int result;
    if (needs->cpu_only) {
        result = seal->enabled & LAYER_RLIMITS ? limit_cpu(job) : 0;
        return result == 0 ? 0 : error_set_errno(err, PA_INTERNAL, -result, "limit its CPU time");
    }
    if (seal->enabled & LAYER_RLIMITS) {
        result = limit_job(seal, job, mounts, needs);
        if (result != 0) return error_set_errno(err, PA_INTERNAL, -result, "set the job's limits");
        *in_force |= LAYER_RLIMITS;
    }
    if (!needs->files_sealed)
        seal_files(seal, mounts, job->mount_count, needs->scope_fd, -1, in_force);
    /* Last, as it forbids all of the above. */
    if (seal->enabled & LAYER_SECCOMP) {
        enum seccomp_kind kind = needs->stays          ? SECCOMP_SESSION
                                 : job->profile_fd > 0 ? SECCOMP_WORKER_PROFILING
                                                       : SECCOMP_WORKER;
        struct seccomp_filters filters = seal->filters; /* a rare one is built here */
        if (seccomp_filter_build(&filters, kind, err) != 0) return -1;
        result = seccomp_install(&filters, kind);
        if (result == 0) *in_force |= LAYER_SECCOMP;
    }
    return 0;
}

int seal_compiler(void) {
#if defined(__SANITIZE_ADDRESS__)
    return 0; /* a sanitizer asks the kernel for more, at any moment */
#else
    struct seccomp_filters filters = {0};
    struct error err = {0};
    int result = seccomp_filter_build(&filters, SECCOMP_COMPILER, &err) == 0 ? 0 : -ENOMEM;
    if (result == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) result = -errno;
    if (result == 0 && drop_all_capabilities() != 0) result = -errno;
    if (result == 0 && landlock_abi() > 0) result = landlock_restrict(NULL, 0, -1, -1);
    if (result == 0) result = seccomp_install(&filters, SECCOMP_COMPILER);
    seccomp_filters_fini(&filters);
    return result;
#endif
}

/* polyagent-worker with a hole: where the real one yields the processor for a guest, this one does
 * what the guest's arguments say, natively, as code would that had escaped from WebAssembly. What
 * then still holds is the kernel's work. Built for tests only (--wrap=wasi_sched_yield). */
#include "wasi/internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <wasmtime.h>

wasi_errno __wrap_wasi_sched_yield(struct wasi *w, const uint64_t *a);
wasmtime_error_t *__wrap_wasmtime_wat2wasm(const char *wat, size_t size, wasm_byte_vec_t *out);
wasmtime_error_t *__real_wasmtime_wat2wasm(const char *wat, size_t size, wasm_byte_vec_t *out);

/* To the guest's stdout, by hand: stdio would want to look at the descriptor first. */
static void say(const struct wasi *w, const char *what, long result) {
    char line[200];
    int length =
        result < 0 ? snprintf(line, sizeof line, "%s: refused (%s)\n", what, strerrorname_np(errno))
                   : snprintf(line, sizeof line, "%s: %ld\n", what, result);
    (void)!write(w->streams[0].fd, line, (size_t)length);
}

static long connect_loopback(int port) {
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return fd < 0 ? fd : connect(fd, (struct sockaddr *)&to, sizeof to);
}

static long use_memory(size_t bytes) {
    char *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) return -1;
    for (size_t at = 0; at < bytes; at += 4096)
        data[at] = 1;
    return 0;
}

static long fork_and_reap(void) {
    long pid = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0) _exit(0);
    if (pid > 0) (void)syscall(SYS_wait4, pid, NULL, 0, NULL);
    return pid > 0 ? 1 : pid;
}

/* How many of `wanted` children come about; they stay until the worker's end takes them along. */
static long fork_many(long wanted) {
    long made = 0;
    pid_t worker = getpid();
    while (made < wanted) {
        long pid = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
        if (pid == 0) {
            (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != worker) _exit(0); /* it ended before it could be asked to */
            for (;;)
                (void)pause();
        }
        if (pid < 0) break;
        made++;
    }
    return made;
}

/* A child that outlives the worker, where nothing keeps it from that, and leaves the zygote's group
 * of processes, which is killed with it. */
static long fork_stray(void) {
    long pid = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid != 0) return pid;
    (void)setsid();
    (void)close_range(0, ~0U, 0); /* nobody waits for the ends of its output */
    for (;;)
        (void)pause();
}

/* In how many hierarchies this process sees itself anywhere but at the root. */
static long outside_groups(void) {
    char line[512];
    long count = 0;
    FILE *file = fopen("/proc/self/cgroup", "re");
    if (file == NULL) return -1;
    while (fgets(line, sizeof line, file) != NULL)
        count += strstr(line, ":/\n") == NULL;
    (void)fclose(file);
    return count;
}

static long open_descriptors(void) {
    long count = 0;
    for (int fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFL) >= 0;
    return count;
}

/* The compiler as an escape from it would be: text that begins with "(;NAME;)" makes it do that. */
wasmtime_error_t *__wrap_wasmtime_wat2wasm(const char *wat, size_t size, wasm_byte_vec_t *out) {
    static const char *const deeds[] = {"(;open;)", "(;socket;)", "(;exec;)", "(;fork;)",
                                        "(;kill;)"};
    char *const nothing[] = {NULL};
    struct open_how how = {.flags = O_RDONLY};
    char text[64];
    for (size_t i = 0; i < sizeof deeds / sizeof *deeds; i++) {
        if (size < strlen(deeds[i]) || memcmp(wat, deeds[i], strlen(deeds[i])) != 0) continue;
        errno = 0;
        long result = i == 0   ? syscall(SYS_openat2, AT_FDCWD, "/etc/passwd", &how, sizeof how)
                      : i == 1 ? socket(AF_INET, SOCK_STREAM, 0)
                      : i == 2 ? execve("/bin/true", nothing, nothing)
                      : i == 3 ? fork_and_reap()
                               : kill(1, 0);
        (void)snprintf(text, sizeof text, "%s %s", deeds[i],
                       result < 0 ? strerrorname_np(errno) : "done");
        return wasmtime_error_new(text);
    }
    return __real_wasmtime_wat2wasm(wat, size, out);
}

wasi_errno __wrap_wasi_sched_yield(struct wasi *w, const uint64_t *a) {
    const char *deed = w->argv.data + strlen(w->argv.data) + 1; /* argv[1], argv[2] */
    const char *value = w->argv.count > 2 ? deed + strlen(deed) + 1 : "0";
    long number = atol(value);
    struct rlimit core;
    (void)a;
    errno = 0;
    if (strcmp(deed, "syscall") == 0) {
        long result = syscall(number, 0L, 0L, 0L, 0L, 0L, 0L);
        say(w, deed, result < 0 ? -1 : 0);
    } else if (strcmp(deed, "open") == 0) {
        say(w, deed, open(value, O_RDONLY) < 0 ? -1 : 0);
    } else if (strcmp(deed, "openat2") == 0) {
        struct open_how how = {O_RDONLY, 0, 0};
        say(w, deed, syscall(SYS_openat2, AT_FDCWD, value, &how, sizeof how) < 0 ? -1 : 0);
    } else if (strcmp(deed, "climb") == 0) { /* out of a mount by its own descriptor */
        struct open_how how = {O_RDONLY, 0, 0};
        say(w, deed, syscall(SYS_openat2, w->fds[3].host_fd, value, &how, sizeof how) < 0 ? -1 : 0);
    } else if (strcmp(deed, "connect") == 0) {
        say(w, deed, connect_loopback((int)number));
    } else if (strcmp(deed, "fork") == 0) {
        say(w, deed, fork_and_reap());
    } else if (strcmp(deed, "forks") == 0) {
        say(w, deed, fork_many(number));
    } else if (strcmp(deed, "stray") == 0) {
        say(w, deed, fork_stray());
    } else if (strcmp(deed, "kill") == 0) {
        say(w, deed, kill((pid_t)number, 0));
    } else if (strcmp(deed, "memory") == 0) {
        say(w, deed, use_memory((size_t)number << 20));
    } else if (strcmp(deed, "code") == 0) { /* new executable memory */
        say(w, deed,
            mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
                    MAP_FAILED
                ? -1
                : 0);
    } else if (strcmp(deed, "shm") == 0) {
        say(w, deed, shmget((key_t)number, 0, 0) < 0 ? -1 : 0);
    } else if (strcmp(deed, "hostname") == 0) {
        char name[65] = "";
        (void)gethostname(name, sizeof name);
        say(w, deed, sethostname(name, strlen(name)));
    } else if (strcmp(deed, "rename_host") == 0) {
        say(w, deed, sethostname(value, strlen(value)));
    } else if (strcmp(deed, "own_group") == 0) {
        say(w, deed, outside_groups());
    } else if (strcmp(deed, "setuid") == 0) {
        say(w, deed, setuid(0));
    } else if (strcmp(deed, "uid") == 0) {
        say(w, deed, (long)getuid());
    } else if (strcmp(deed, "pid") == 0) {
        say(w, deed, (long)getpid());
    } else if (strcmp(deed, "dumpable") == 0) {
        say(w, deed, prctl(PR_GET_DUMPABLE));
    } else if (strcmp(deed, "no_new_privs") == 0) {
        say(w, deed, prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    } else if (strcmp(deed, "core") == 0) {
        say(w, deed, getrlimit(RLIMIT_CORE, &core) == 0 ? (long)core.rlim_max : -1);
    } else if (strcmp(deed, "descriptors") == 0) {
        say(w, deed, open_descriptors());
    } else if (strcmp(deed, "crash") == 0) {
        *(volatile int *)(uintptr_t)w->exit_code = 1; /* 0: nothing is there */
    } else if (strcmp(deed, "abort") == 0) {
        abort();
    } else if (strcmp(deed, "spin") == 0) { /* without ever looking at a deadline */
        for (volatile long i = 0;; i++) {
        }
    } else if (strcmp(deed, "truncate_report") == 0) {
        for (int fd = 0; fd < 64; fd++)
            (void)!ftruncate(fd, 0);
        say(w, deed, 0);
    } else {
        say(w, "what is that?", 0);
    }
    return WASI_SUCCESS;
}

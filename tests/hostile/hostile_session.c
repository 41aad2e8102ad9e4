/* The hole that a program of an interpreter gets through, in sessions as well: to read the link
 * "@DEED:VALUE" does the deed, natively, and the link's text says what came of it. Built for tests
 * only (--wrap=wasi_path_readlink). */
#include "wasi/internal.h"
#include "worker/seccomp.h"
#include "worker/wire.h"
#include "worker/worker.h"
#include "worker/zygote.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)
enum { PAGE = 4096, TEXT_BYTES = 4000 };

wasi_errno __wrap_wasi_path_readlink(struct wasi *w, const uint64_t *a);
wasi_errno __real_wasi_path_readlink(struct wasi *w, const uint64_t *a);

static char text[TEXT_BYTES];

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...) {
    size_t length = strlen(text);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text + length, sizeof text - length, format, args);
    va_end(args);
}

static const char *name(long result) {
    return result < 0 ? strerrorname_np(errno) : "ok";
}

static void nap(void) {
    const struct timespec moment = {.tv_nsec = 200 * 1000000};
    (void)ppoll(NULL, 0, &moment, NULL);
}

static struct worker_report *report_of(const struct wasi *w) {
    return (struct worker_report *)((char *)w->streams[0].counts -
                                    offsetof(struct worker_report, run.output));
}

/* A copy of this worker that the supervisor is not told of. */
static long rogue(void) {
    int pidfd = -1;
    long pid =
        syscall(SYS_clone, (unsigned long)(WORKER_CLONE_FLAGS | SIGCHLD), NULL, &pidfd, NULL, NULL);
    if (pid > 0) (void)close(pidfd);
    return pid;
}

static void rogues(long wanted, bool stay) {
    long made = 0;
    while (made < wanted) {
        long pid = rogue();
        if (pid == 0 && !stay) _exit(0);
        if (pid == 0) {
            for (;;)
                nap();
        }
        if (pid < 0) break;
        made++;
    }
    say("%ld made", made);
}

/* One that takes every place that gets free. */
static void filler(void) {
    if (rogue() == 0) {
        for (;;) {
            if (rogue() == 0) {
                for (;;)
                    nap();
            }
        }
    }
    say("done");
}

/* One that writes over whatever is in the memory of this run's report, for as long as it lives. */
static void forger(struct worker_report *report) {
    if (rogue() == 0) {
        for (;;) {
            *(volatile int32_t *)&report->run.exit_code = 66;
            *(volatile uint64_t *)&report->run.fuel = 424242;
        }
    }
    say("done");
}

static void tell_rest(struct worker_report *report) {
    const char word = WORKER_RESTS;
    report->run.status = PA_OK;
    report->run.ended_ns = 1;
    report->run.finished = 1;
    (void)!write(ZYGOTE_SOCKET_FD, &word, 1);
}

/* At rest, it is asked for a copy and tells of something else: a file, or the same process each
 * time. */
static void liar(struct wasi *w, bool twice) {
    int pidfd = -1, fds[WIRE_MAX_FDS];
    size_t count;
    struct zygote_request request;
    const struct iovec asked = {&request, sizeof request};
    if (twice) {
        long pid = syscall(SYS_clone, (unsigned long)(WORKER_CLONE_FLAGS | SIGCHLD), NULL, &pidfd,
                           NULL, NULL);
        if (pid == 0) {
            for (;;)
                nap();
        }
    }
    tell_rest(report_of(w));
    while (wire_receive(ZYGOTE_SOCKET_FD, &asked, 1, fds, &count, 1) == sizeof request) {
        struct zygote_reply reply = {.kind = ZYGOTE_FORKED, .slot = request.slot};
        const struct iovec part = {&reply, sizeof reply};
        int told = twice ? pidfd : w->streams[0].fd;
        (void)wire_send(ZYGOTE_SOCKET_FD, &part, 1, &told, 1, 1);
        wire_close_fds(fds, count);
    }
    for (;;)
        nap();
}

static long touch(int flags, int protection, size_t bytes) {
    char *data = mmap(NULL, bytes, protection, flags, -1, 0);
    if (data == MAP_FAILED) return -1;
    for (size_t at = 0; at < bytes; at += PAGE)
        data[at] = 1;
    return 0;
}

/* Pages that are written to, and then said to be read only, are not counted as data any more. */
static long hide(size_t bytes) {
    for (size_t done = 0; done < bytes; done += 16 * MIB) {
        char *data =
            mmap(NULL, 16 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (data == MAP_FAILED) return -1;
        memset(data, 1, 16 * MIB);
        if (mprotect(data, 16 * MIB, PROT_READ) != 0) return -1;
    }
    return 0;
}

static void climb(const char *target) {
    for (int fd = 3; fd < 64; fd++) {
        struct stat st;
        struct open_how how = {.flags = O_PATH};
        const struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
        char path[400];
        if (fstat(fd, &st) != 0 || !S_ISDIR(st.st_mode)) continue;
        (void)snprintf(path, sizeof path, "../../../../../../../../../../../..%s", target);
        long seen = fstatat(fd, path, &st, 0);
        say("stat %s ", name(seen));
        long opened = syscall(SYS_openat2, fd, path, &how, sizeof how);
        say("open %s ", name(opened));
        if (opened >= 0) say("times %s ", name(futimens((int)opened, times)));
    }
}

static void deed(struct wasi *w, const char *what, const char *value) {
    long number = atol(value);
    struct worker_report *report = report_of(w);
    if (strcmp(what, "pid") == 0) {
        long pid = rogue(); /* to ask for its own is not allowed */
        if (pid == 0) _exit(0);
        say("%ld", pid);
    } else if (strcmp(what, "rogues") == 0) {
        rogues(number, true);
    } else if (strcmp(what, "zombies") == 0) {
        rogues(number, false);
    } else if (strcmp(what, "filler") == 0) {
        filler();
    } else if (strcmp(what, "forger") == 0) {
        forger(report);
    } else if (strcmp(what, "rest") == 0) {
        const struct itimerval never = {.it_value = {0}}; /* the timer of its turn would end it */
        (void)setitimer(ITIMER_PROF, &never, NULL);
        tell_rest(report);
        for (;;) {
        }
    } else if (strcmp(what, "liar") == 0) {
        liar(w, number != 0);
    } else if (strcmp(what, "flood") == 0) {
        static const char junk[600];
        tell_rest(report);
        for (;;)
            (void)!write(ZYGOTE_SOCKET_FD, junk, (size_t)number);
    } else if (strcmp(what, "shared") == 0) {
        say("%s",
            name(touch(MAP_SHARED | MAP_ANONYMOUS, PROT_READ | PROT_WRITE, (size_t)number * MIB)));
    } else if (strcmp(what, "stack") == 0) {
        say("%s", name(touch(MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN, PROT_READ | PROT_WRITE,
                             (size_t)number * MIB)));
    } else if (strcmp(what, "private") == 0) {
        say("%s",
            name(touch(MAP_PRIVATE | MAP_ANONYMOUS, PROT_READ | PROT_WRITE, (size_t)number * MIB)));
    } else if (strcmp(what, "hidden") == 0) {
        say("%s", name(hide((size_t)number * MIB)));
    } else if (strcmp(what, "space") == 0) { /* page tables of what is only read */
        void *data =
            mmap(NULL, (size_t)number * MIB, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        say("%s", name(data == MAP_FAILED ? -1 : 0));
    } else if (strcmp(what, "output") == 0) {
        say("%s", name(fallocate(w->streams[0].fd, 0, 0, number * (off_t)MIB)));
    } else if (strcmp(what, "climb") == 0) {
        climb(value);
    } else if (strcmp(what, "times") == 0) {
        const struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
        say("%s", name(utimensat(w->fds[3].host_fd, value, times, 0)));
    } else if (strcmp(what, "tgkill") == 0) {
        say("%s", name(syscall(SYS_tgkill, number, number, SIGABRT)));
    } else if (strcmp(what, "unshare") == 0) {
        say("%s", name(unshare(CLONE_NEWPID)));
    } else if (strcmp(what, "group") == 0) {
        say("%s", name(setpgid(0, 0)));
    } else if (strcmp(what, "garbage") == 0) { /* a report whose texts are no text */
        memset(report->run.message, 0xff, sizeof report->run.message);
        memset(report->run.backtrace, 0xc3, sizeof report->run.backtrace);
        report->run.status = PA_TRAP;
        report->run.finished = 1;
        (void)!write(ZYGOTE_SOCKET_FD, "", 1);
        _exit(0);
    } else {
        say("what is that?");
    }
}

wasi_errno __wrap_wasi_path_readlink(struct wasi *w, const uint64_t *a) {
    uint8_t *path, *out;
    char what[512];
    uint8_t *at = NULL;
    if (guest_span(w->memory, (uint32_t)a[1], a[2], &path) && a[2] < sizeof what)
        at = memchr(path, '@', a[2]);
    if (at == NULL) return __real_wasi_path_readlink(w, a);
    size_t length = a[2] - (size_t)(at + 1 - path);
    memcpy(what, at + 1, length);
    what[length] = 0;
    for (char *c = what; *c != 0; c++) /* a slash would be another folder's */
        if (*c == '%') *c = '/';
    char *value = strchr(what, ':');
    if (value != NULL) *value++ = 0;
    text[0] = 0;
    deed(w, what, value != NULL ? value : "");
    size_t size = strlen(text) < a[4] ? strlen(text) : a[4];
    if (!guest_span(w->memory, (uint32_t)a[3], size, &out)) return WASI_EFAULT;
    memcpy(out, text, size);
    guest_put_u32(w->memory, (uint32_t)a[5], (uint32_t)size);
    return WASI_SUCCESS;
}

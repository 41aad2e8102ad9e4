#include "sandbox/compiler.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "sandbox/bounds.h"
#include "sandbox/engine.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* Descriptors of the compiler process. */
enum { MODULE_FD = 3, CODE_FD = 4, REPORT_FD = 5, FIRST_OTHER_FD = 6 };
/* CPython takes 0.25 s of processor time and 16 MiB of memory a MiB, the scientific packages 1 s
 * and 20 MiB; threads have memory of their own. Wall time only ends what a host never gets to. */
enum { CPU_MS = 20000, CPU_MS_PER_MIB = 6000, WALL_MS = 1800000 };
#define MEMORY_BYTES (UINT64_C(1) << 30)
#define MEMORY_PER_BYTE 24
#if defined(__SANITIZE_ADDRESS__) /* its shadow of the address space alone takes terabytes */
#define ADDRESS_SPACE_BYTES RLIM_INFINITY
#else
#define ADDRESS_SPACE_BYTES (UINT64_C(64) << 30) /* threads reserve much, and use little */
#endif
enum { OOM_SCORE = 500 }; /* when the host or the control group is short, before any run */
#define MAX_CODE_BYTES (UINT64_C(2) << 30)

/* One above as the hard limit: at that of CPU time the kernel would kill as anybody does, while at
 * the soft one it tells (SIGXCPU). */
static int limit(int resource, uint64_t value) {
    struct rlimit l = {.rlim_cur = value, .rlim_max = value + (resource == RLIMIT_CPU ? 1 : 0)};
    return setrlimit(resource, &l);
}

/* Whose fault it is; EARLY: the host's, before the module was looked at; SOURCE: Python that cannot
 * be compiled. */
enum { EXIT_MODULE = 1, EXIT_HOST = 2, EXIT_EARLY = 3, EXIT_SOURCE = 4 };

/* Says why and ends the process; the kernel tidies up. */
static _Noreturn void end(int code, const char *text) {
    (void)fd_write_all(REPORT_FD, text, strlen(text));
    _exit(code);
}

static _Noreturn void refuse(const char *text) {
    end(EXIT_MODULE, text);
}

static _Noreturn void fail(const char *text) {
    end(EXIT_HOST, text);
}

static bool starts_with(const uint8_t *data, size_t size, const char *magic, size_t length) {
    return size >= length && memcmp(data, magic, length) == 0;
}

/* The kernel, short of memory, ends compilers before runs. */
static void be_first_to_go(void) {
    char text[16];
    _cleanup_(fd_closep) int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    int length = snprintf(text, sizeof text, "%d", OOM_SCORE);
    if (fd >= 0) (void)fd_write_all(fd, text, (size_t)length); /* without /proc, by its size */
}

static uint64_t memory_of(uint64_t mib) {
#if defined(__SANITIZE_ADDRESS__)
    (void)mib;
    return RLIM_INFINITY;
#else
    return mib << 20;
#endif
}

static void write_code(const void *data, size_t size) {
    char text[COMPILER_REPORT_BYTES];
    int result = fd_write_all(CODE_FD, data, size);
    if (result == 0) return;
    (void)snprintf(text, sizeof text, "write the compiled module: %s", strerrordesc_np(-result));
    fail(text);
}

/* The module itself, for whoever asks for it. */
static _Noreturn void give_module(const struct compiler_python *python, const uint8_t *wasm,
                                  size_t size) {
    char *text = python->text(wasm, size);
    struct compiler_module head = {.wasm_bytes = size,
                                   .text_bytes = text != NULL ? strlen(text) : 0};
    if (text == NULL) fail("compiler: the module's text: out of memory");
    if (head.wasm_bytes + head.text_bytes > COMPILER_MODULE_BYTES)
        end(EXIT_SOURCE, "the module and its text are too large; use polyagent build");
    write_code(&head, sizeof head);
    write_code(wasm, size);
    write_code(text, head.text_bytes);
    _exit(0);
}

int compiler_main(int argc, char **argv, int (*seal)(void), const struct compiler_python *python) {
    struct stat st;
    char text[COMPILER_REPORT_BYTES];
    wasm_byte_vec_t wasm = {0}, code;
    wasmtime_module_t *module;
    wasmtime_error_t *error;

    unsigned variant = argc == 5 ? (unsigned)atoi(argv[2]) : ENGINE_VARIANTS + 1;
    if (variant > COMPILER_TO_MODULE) end(EXIT_EARLY, "compiler: started in a wrong way");
    uint64_t cpu_s = strtoull(argv[3], NULL, 10), memory_mib = strtoull(argv[4], NULL, 10);
    be_first_to_go();
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        close_range(FIRST_OTHER_FD, ~0U, 0) != 0 || limit(RLIMIT_CORE, 0) != 0 ||
        limit(RLIMIT_AS, ADDRESS_SPACE_BYTES) != 0 || limit(RLIMIT_CPU, cpu_s) != 0 ||
        limit(RLIMIT_DATA, memory_of(memory_mib)) != 0 ||
        limit(RLIMIT_FSIZE, MAX_CODE_BYTES) != 0 || dup2(REPORT_FD, STDERR_FILENO) < 0) {
        end(EXIT_EARLY, "compiler: cannot limit itself");
    }
    int sealed = seal();
    if (sealed != 0) {
        (void)snprintf(text, sizeof text, "compiler: cannot seal itself: %s",
                       strerrordesc_np(-sealed));
        end(EXIT_EARLY, text);
    }
    if (fstat(MODULE_FD, &st) != 0) fail("compiler: no module");
    size_t size = (size_t)st.st_size;
    const uint8_t *data = size == 0 ? NULL : mmap(NULL, size, PROT_READ, MAP_PRIVATE, MODULE_FD, 0);
    if (data == MAP_FAILED) fail("compiler: cannot map the module");
    uint8_t *made;
    size_t made_bytes;
    int python_or_not = python->translate(data, size, &made, &made_bytes, text, sizeof text);
    if (python_or_not == -2) fail(text); /* memory is out: another time it may be there */
    if (python_or_not < 0) end(EXIT_SOURCE, text);
    if (python_or_not == 0) {
        data = made;
        size = made_bytes;
    }
    if (variant == COMPILER_TO_MODULE) {
        if (python_or_not > 0) end(EXIT_SOURCE, "it is no Python");
        give_module(python, data, size);
    }
    if (starts_with(data, size, "\0asm\x0d\0\x01\0", 8)) {
        refuse("it is a component; build a core module for wasip1 (wasm32-wasip1) instead");
    }
    if (!starts_with(data, size, "\0asm", 4)) {
        size_t at = 0;
        while (at < size && (data[at] == ' ' || (data[at] >= '\t' && data[at] <= '\r')))
            at++;
        if (at == size || (data[at] != '(' && data[at] != ';')) {
            refuse("neither WebAssembly binary (\\0asm) nor text ((module ...))");
        }
        error = wasmtime_wat2wasm((const char *)data, size, &wasm);
        if (error != NULL) {
            engine_error_text(error, text, sizeof text);
            refuse(text);
        }
        data = (const uint8_t *)wasm.data;
        size = wasm.size;
    }
    if (!bounds_check(data, size, text, sizeof text)) refuse(text);
    wasm_engine_t *engine = wasm_engine_new_with_config(engine_config(variant, true));
    if (engine == NULL) fail("compiler: no engine");
    error = wasmtime_module_new(engine, data, size, &module);
    if (error == NULL) error = wasmtime_module_serialize(module, &code);
    if (error != NULL) {
        engine_error_text(error, text, sizeof text);
        refuse(text);
    }
    write_code(code.data, code.size);
    _exit(0); /* nothing to tidy up */
}

void compiler_bounds_for(struct compiler_bounds *bounds, uint64_t module_bytes) {
    uint64_t mib = (module_bytes >> 20) + 1;
    if (bounds->cpu_ms == 0) bounds->cpu_ms = CPU_MS + CPU_MS_PER_MIB * mib;
    if (bounds->memory_bytes == 0)
        bounds->memory_bytes = MEMORY_BYTES + MEMORY_PER_BYTE * (mib << 20);
    if (bounds->wall_ms == 0) bounds->wall_ms = WALL_MS;
}

static int spawn(const struct compiler *compiler, const char *helper, unsigned variant,
                 const int fds[3], pid_t *pid) {
    const struct compiler_bounds *b = &compiler->bounds;
    char number[16], cpu[32], memory[32];
    char *argv[] = {(char *)"polyagent", (char *)COMPILER_ROLE, number, cpu, memory, NULL};
    char *env[] = {NULL};
    int safe[3] = {-1, -1, -1};
    posix_spawn_file_actions_t actions;
    (void)snprintf(number, sizeof number, "%u", variant);
    (void)snprintf(cpu, sizeof cpu, "%llu", (unsigned long long)((b->cpu_ms + 999) / 1000));
    (void)snprintf(memory, sizeof memory, "%llu", (unsigned long long)(b->memory_bytes >> 20));
    int result = posix_spawn_file_actions_init(&actions);
    if (result != 0) return result;
    for (int i = 0; i < 3 && result == 0; i++) {
        /* Out of the way of the numbers that they are about to get. */
        safe[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, FIRST_OTHER_FD);
        result = safe[i] < 0 ? errno
                             : posix_spawn_file_actions_adddup2(&actions, safe[i], MODULE_FD + i);
    }
    if (result == 0) result = posix_spawn(pid, helper, &actions, NULL, argv, env);
    for (int i = 0; i < 3; i++)
        fd_closep(&safe[i]);
    (void)posix_spawn_file_actions_destroy(&actions);
    return result;
}

int compiler_start(struct compiler *compiler, const char *helper, int module_fd, unsigned variant,
                   int out_fd, const struct compiler_bounds *bounds, struct error *err) {
    int pipe_fds[2];
    struct stat st;
    *compiler = (struct compiler){.report_fd = -1, .bounds = *bounds};
    if (fstat(module_fd, &st) != 0)
        return error_set_errno(err, PA_INTERNAL, errno, "look at the module");
    compiler->module_bytes = (uint64_t)st.st_size;
    compiler_bounds_for(&compiler->bounds, compiler->module_bytes);
    if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) != 0) {
        return error_set_errno(err, PA_INTERNAL, errno, "pipe");
    }
    const int fds[3] = {module_fd, out_fd, pipe_fds[1]};
    int result = spawn(compiler, helper, variant, fds, &compiler->pid);
    (void)close(pipe_fds[1]);
    compiler->report_fd = pipe_fds[0];
    if (result == 0) return 0;
    fd_closep(&compiler->report_fd);
    return error_set_errno(err, PA_INTERNAL, result,
                           "start the compiler %s (POLYAGENT_HELPER names another)", helper);
}

int compiler_listen(struct compiler *compiler) {
    char chunk[256];
    ssize_t got = read(compiler->report_fd, chunk, sizeof chunk);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) return 1;
    for (ssize_t i = 0; i < got && compiler->used < COMPILER_REPORT_BYTES - 1; i++)
        compiler->text[compiler->used++] = chunk[i]; /* a stranger's: error_set() tidies it */
    return got > 0;
}

/* Reaps it; what it used is its own and nobody else's. */
static int reap(struct compiler *compiler) {
    int status = 0;
    struct rusage usage = {0};
    while (wait4(compiler->pid, &status, 0, &usage) < 0 && errno == EINTR) {
    }
    uint64_t seconds = (uint64_t)usage.ru_utime.tv_sec + (uint64_t)usage.ru_stime.tv_sec;
    uint64_t us = (uint64_t)usage.ru_utime.tv_usec + (uint64_t)usage.ru_stime.tv_usec;
    compiler->cpu_ns = seconds * NS_PER_SECOND + us * 1000;
    return status;
}

static int blame(struct compiler *compiler, enum compiler_fault fault) {
    compiler->fault = fault;
    return -1;
}

static int over_bound(struct compiler *compiler, uint64_t number, const char *what,
                      struct error *err) {
    (void)error_set(
        err, PA_INVALID_MODULE,
        "Invalid WASM module: it needs more than %llu %s to compile, which is the limit "
        "for a module of its size (%llu KiB)",
        (unsigned long long)number, what,
        (unsigned long long)(compiler->module_bytes + 1023) >> 10);
    return blame(compiler, COMPILER_BOUND);
}

/* It ended by a signal, with the last words of the engine, if there were any. */
static int judge_signal(struct compiler *compiler, int number, struct error *err) {
    const char *text = compiler->text;
    if (number == SIGKILL) {
        (void)error_set(err, PA_INTERNAL,
                        "the compiler was killed (SIGKILL); is the host short of memory?");
        return blame(compiler, COMPILER_INNOCENT);
    }
    if (number == SIGXCPU)
        return over_bound(compiler, compiler->bounds.cpu_ms / 1000, "s of processor time", err);
    if (strstr(text, "memory allocation of") != NULL || strstr(text, "out of memory") != NULL)
        return over_bound(compiler, compiler->bounds.memory_bytes >> 20, "MiB of memory", err);
    if (strstr(text, strerrordesc_np(EAGAIN)) != NULL) {
        (void)error_set(
            err, PA_OVERLOADED,
            "the kernel refuses the compiler its threads (EAGAIN): a bound of processes "
            "is reached (ulimit -u, pids.max); retry in 1000 ms");
        return blame(compiler, COMPILER_HOST);
    }
    (void)error_set(err, PA_INVALID_MODULE,
                    "Invalid WASM module: the compiler ended by signal %d (%s)%s%s", number,
                    strsignal(number), text[0] != 0 ? ": " : "", text);
    return blame(compiler, COMPILER_MODULE);
}

int compiler_finish(struct compiler *compiler, int late, struct error *err) {
    const char *text = compiler->text;
    fd_closep(&compiler->report_fd);
    if (late) (void)kill(compiler->pid, SIGKILL); /* not reaped yet, so the id is still its own */
    int status = reap(compiler);
    if (late) {
        (void)error_set(
            err, PA_OVERLOADED,
            "the host has no time to compile the module: in %llu s the compiler got %llu "
            "s of processor time; retry in 60000 ms",
            (unsigned long long)(compiler->bounds.wall_ms / 1000),
            (unsigned long long)(compiler->cpu_ns / NS_PER_SECOND));
        return blame(compiler, COMPILER_HOST);
    }
    if (WIFSIGNALED(status)) return judge_signal(compiler, WTERMSIG(status), err);
    int code = WEXITSTATUS(status);
    if (code == 0) return 0;
    if (text[0] == 0) {
        (void)error_set(
            err, PA_INTERNAL,
            "the helper cannot compile (exit code %d without a word): is it a polyagent?", code);
        return blame(compiler, COMPILER_HOST);
    }
    if (code == EXIT_HOST || code == EXIT_EARLY) {
        (void)error_set(err, PA_INTERNAL, "%s", text);
        return blame(compiler, code == EXIT_EARLY ? COMPILER_INNOCENT : COMPILER_HOST);
    }
    if (code == EXIT_SOURCE)
        (void)error_set(err, PA_INVALID_ARGUMENT, "code, %s", text);
    else
        (void)error_set(err, PA_INVALID_MODULE, "Invalid WASM module: %s", text);
    return blame(compiler, COMPILER_MODULE);
}

int compiler_run(const char *helper, int module_fd, unsigned variant, int out_fd,
                 const struct compiler_bounds *bounds, struct error *err) {
    struct compiler compiler;
    bool late = false;
    if (compiler_start(&compiler, helper, module_fd, variant, out_fd, bounds, err) != 0) return -1;
    uint64_t deadline_ns = clock_deadline_ns(compiler.bounds.wall_ms);
    while (!late) {
        struct pollfd pfd = {.fd = compiler.report_fd, .events = POLLIN};
        uint64_t now_ns = clock_now_ns();
        late = now_ns >= deadline_ns;
        struct timespec left = clock_timespec(late ? 0 : deadline_ns - now_ns);
        if (!late && ppoll(&pfd, 1, &left, NULL) > 0 && compiler_listen(&compiler) == 0) break;
    }
    return compiler_finish(&compiler, late, err);
}

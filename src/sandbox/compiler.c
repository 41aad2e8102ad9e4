#include "sandbox/compiler.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/clock.h"
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
enum { CPU_SECONDS = 600 };
#if defined(__SANITIZE_ADDRESS__) /* its shadow of the address space alone takes terabytes */
#define ADDRESS_SPACE_BYTES RLIM_INFINITY
#else
#define ADDRESS_SPACE_BYTES (UINT64_C(12) << 30)
#endif
#define MAX_CODE_BYTES (UINT64_C(2) << 30)

/* One above as the hard limit: at that of CPU time the kernel would kill as anybody does, while at
 * the soft one it tells (SIGXCPU). */
static int limit(int resource, uint64_t value) {
    struct rlimit l = {.rlim_cur = value, .rlim_max = value + (resource == RLIMIT_CPU ? 1 : 0)};
    return setrlimit(resource, &l);
}

/* Whose fault it is; EARLY: the host's, before the module was looked at. */
enum { EXIT_MODULE = 1, EXIT_HOST = 2, EXIT_EARLY = 3 };

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

int compiler_main(int argc, char **argv, int (*seal)(void)) {
    struct stat st;
    char text[COMPILER_REPORT_BYTES];
    wasm_byte_vec_t wasm = {0}, code;
    wasmtime_module_t *module;
    wasmtime_error_t *error;

    unsigned variant = argc == 3 ? (unsigned)atoi(argv[2]) : ENGINE_VARIANTS;
    if (variant >= ENGINE_VARIANTS) end(EXIT_EARLY, "compiler: started in a wrong way");
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        close_range(FIRST_OTHER_FD, ~0U, 0) != 0 || limit(RLIMIT_CORE, 0) != 0 ||
        limit(RLIMIT_AS, ADDRESS_SPACE_BYTES) != 0 || limit(RLIMIT_CPU, CPU_SECONDS) != 0 ||
        limit(RLIMIT_FSIZE, MAX_CODE_BYTES) != 0) {
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
    wasm_engine_t *engine = wasm_engine_new_with_config(engine_config(variant, true));
    if (engine == NULL) fail("compiler: no engine");
    error = wasmtime_module_new(engine, data, size, &module);
    if (error == NULL) error = wasmtime_module_serialize(module, &code);
    if (error != NULL) {
        engine_error_text(error, text, sizeof text);
        refuse(text);
    }
    int result = fd_write_all(CODE_FD, code.data, code.size);
    if (result != 0) {
        (void)snprintf(text, sizeof text, "write the compiled module: %s",
                       strerrordesc_np(-result));
        fail(text);
    }
    _exit(0); /* nothing to tidy up */
}

static int spawn(const char *helper, unsigned variant, const int fds[3], pid_t *pid) {
    char number[16];
    char *argv[] = {(char *)"polyagent", (char *)COMPILER_ROLE, number, NULL};
    char *env[] = {NULL};
    int safe[3] = {-1, -1, -1};
    posix_spawn_file_actions_t actions;
    (void)snprintf(number, sizeof number, "%u", variant);
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
                   int out_fd, struct error *err) {
    int pipe_fds[2];
    *compiler = (struct compiler){.report_fd = -1};
    if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) != 0) {
        return error_set_errno(err, PA_INTERNAL, errno, "pipe");
    }
    const int fds[3] = {module_fd, out_fd, pipe_fds[1]};
    int result = spawn(helper, variant, fds, &compiler->pid);
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

int compiler_finish(struct compiler *compiler, int late, uint64_t timeout_ms, struct error *err) {
    int status = 0;
    const char *text = compiler->text;
    fd_closep(&compiler->report_fd);
    if (late) (void)kill(compiler->pid, SIGKILL); /* not reaped yet, so the id is still its own */
    while (waitpid(compiler->pid, &status, 0) < 0 && errno == EINTR) {
    }
    bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    compiler->is_innocent = !late && (killed || code == EXIT_EARLY);
    if (late) {
        return error_set(err, PA_INVALID_MODULE,
                         "Invalid WASM module: it takes more than %llu s to compile",
                         (unsigned long long)(timeout_ms / 1000));
    }
    if (code == 0 && text[0] == 0) return 0;
    if (text[0] != 0 && (code == EXIT_HOST || code == EXIT_EARLY)) {
        return error_set(err, PA_INTERNAL, "%s", text);
    }
    if (text[0] != 0) return error_set(err, PA_INVALID_MODULE, "Invalid WASM module: %s", text);
    if (killed) {
        return error_set(err, PA_INTERNAL,
                         "the compiler was killed (SIGKILL); is the host short of memory?");
    }
    if (WIFSIGNALED(status)) {
        return error_set(err, PA_INVALID_MODULE,
                         "Invalid WASM module: the compiler ended by signal %d (%s); "
                         "the module needs more memory or time than compiling may take",
                         WTERMSIG(status), strsignal(WTERMSIG(status)));
    }
    return error_set(err, PA_INTERNAL,
                     "the helper cannot compile (exit code %d without a word): is it a polyagent?",
                     code);
}

int compiler_run(const char *helper, int module_fd, unsigned variant, int out_fd,
                 uint64_t timeout_ms, struct error *err) {
    struct compiler compiler;
    bool late = false;
    uint64_t deadline_ns = clock_deadline_ns(timeout_ms);
    if (compiler_start(&compiler, helper, module_fd, variant, out_fd, err) != 0) return -1;
    while (!late) {
        struct pollfd pfd = {.fd = compiler.report_fd, .events = POLLIN};
        uint64_t now_ns = clock_now_ns();
        late = now_ns >= deadline_ns;
        struct timespec left = clock_timespec(late ? 0 : deadline_ns - now_ns);
        if (!late && ppoll(&pfd, 1, &left, NULL) > 0 && compiler_listen(&compiler) == 0) break;
    }
    return compiler_finish(&compiler, late, timeout_ms, err);
}

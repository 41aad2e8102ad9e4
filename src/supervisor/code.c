/* Native code by module and variant: checked once, then kept open. What is missing is compiled, a
 * few modules at a time, while the loop goes on: a small one never waits for large ones to be done.
 */
#include "base/cleanup.h"
#include "supervisor/internal.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define CODE_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)
enum { MAX_CODES = 256, MAX_COMPILERS = 3, MAX_LARGE_COMPILERS = 2 };
enum { LARGE_MODULE_BYTES = 1 << 20 }; /* takes a second, or an interpreter's minute */

static struct code *find(struct supervisor *s, const uint8_t digest[32], unsigned variant) {
    struct code *code;
    TAILQ_FOREACH(code, &s->codes, link) {
        if (code->variant == variant && memcmp(code->digest, digest, 32) == 0) return code;
    }
    return NULL;
}

static void forget(struct code *code) {
    struct supervisor *s = code->supervisor;
    TAILQ_REMOVE(&s->codes, code, link);
    s->code_count--;
    fd_closep(&code->fd);
    fd_closep(&code->image_fd);
    free(code);
}

/* The least recently used that nobody holds make room. */
static void make_room(struct supervisor *s) {
    struct code *code = TAILQ_FIRST(&s->codes);
    while (code != NULL && s->code_count >= MAX_CODES) {
        struct code *next = TAILQ_NEXT(code, link);
        if (code->users == 0 && code->fd >= 0) forget(code);
        code = next;
    }
}

void code_release(struct code *code) {
    code->users--;
    if (code->users == 0 && code->fd < 0 && !code->busy && code->image_fd < 0) forget(code);
}

/* Those that wait for it take room in the queue. */
static void wait_for(struct code *code, struct supervisor_run *run) {
    run->state = RUN_COMPILING;
    TAILQ_INSERT_TAIL(&code->waiting, run, link);
    run->tenant->compiling++;
    run->supervisor->compiling++;
}

void code_cancel(struct supervisor_run *run) {
    TAILQ_REMOVE(&run->code->waiting, run, link);
    run->tenant->compiling--;
    run->supervisor->compiling--;
}

/* All that wait go on, or fail. */
static void settle(struct code *code, const struct error *err) {
    struct supervisor_run *run;
    uint64_t spent_ns = clock_now_ns() - code->started_ns;
    code->users++; /* stays until we are done */
    while ((run = TAILQ_FIRST(&code->waiting)) != NULL) {
        code_cancel(run);
        struct error own = {0};
        if (run->deadline_ns != CLOCK_NEVER) run->deadline_ns += spent_ns;
        if (err != NULL) {
            run_fail(run, err);
        } else if (run_code_ready(run, &own) != 0) {
            run_fail(run, &own);
        }
    }
    code_release(code);
}

static void compiled(struct code *code, bool late) {
    struct supervisor *s = code->supervisor;
    struct error err = {0};
    char name[CACHE_NAME_BYTES];
    bool cached = s->config.cache->dir_fd >= 0;
    sd_event_source_disable_unref(code->report);
    sd_event_source_disable_unref(code->timer);
    code->report = code->timer = NULL;
    code->busy = false;
    s->compilers--;
    s->large_compilers -= code->large;
    int result = compiler_finish(&code->compiler, late, s->config.compile_timeout_ms, &err);
    if (result != 0 && cached) cache_abort(s->config.cache, code->temp);
    if (result != 0 && code->compiler.is_innocent && ++code->attempts < MAX_ATTEMPTS &&
        !s->closing) {
        fd_closep(&code->out_fd);
        supervisor_schedule(s); /* not its fault: once more */
        return;
    }
    fd_closep(&code->image_fd);
    if (result == 0 && cached) {
        module_code_name(code->digest, code->variant, name);
        result = cache_commit(s->config.cache, code->out_fd, code->temp, name, &err);
    }
    /* Workers get it for reading only: what they all run must not be writable to any. */
    if (result == 0 && cached) {
        code->fd = cache_load(s->config.cache, name);
    } else if (result == 0 && fcntl(code->out_fd, F_ADD_SEALS, CODE_SEALS) == 0) {
        code->fd = steal_fd(&code->out_fd);
    }
    if (result == 0 && code->fd < 0) {
        result = error_set_errno(&err, PA_INTERNAL, errno, "open the compiled code");
    }
    fd_closep(&code->out_fd);
    settle(code, result == 0 ? NULL : &err);
    supervisor_schedule(s);
}

static int on_report(sd_event_source *source, int fd, uint32_t events, void *context) {
    struct code *code = context;
    (void)source;
    (void)fd;
    (void)events;
    if (compiler_listen(&code->compiler) == 0) compiled(code, false);
    return 0;
}

static int on_compile_timeout(sd_event_source *source, uint64_t now_us, void *context) {
    (void)source;
    (void)now_us;
    compiled(context, true);
    return 0;
}

static int start(struct code *code, struct error *err) {
    struct supervisor *s = code->supervisor;
    struct cache *cache = s->config.cache;
    bool cached = cache->dir_fd >= 0;
    code->out_fd = cached ? cache_begin(cache, code->temp)
                          : memfd_create("code", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (code->out_fd < 0) {
        return error_set_errno(err, PA_INTERNAL, errno, "make a file for compiled code in %s",
                               cached ? cache->path : "memory");
    }
    uint64_t timeout_us = s->config.compile_timeout_ms * 1000;
    int result = compiler_start(&code->compiler, s->config.helper, code->image_fd, code->variant,
                                code->out_fd, err);
    if (result != 0) {
        fd_closep(&code->image_fd);
        if (cached) cache_abort(cache, code->temp);
        fd_closep(&code->out_fd);
        return -1;
    }
    code->busy = true;
    s->compilers++;
    s->large_compilers += code->large;
    result = sd_event_add_io(s->event, &code->report, code->compiler.report_fd, EPOLLIN, on_report,
                             code);
    if (result >= 0) {
        result = sd_event_add_time_relative(s->event, &code->timer, CLOCK_MONOTONIC, timeout_us, 1,
                                            on_compile_timeout, code);
    }
    if (result < 0) compiled(code, true); /* without a watch on it, it must not run */
    return 0;
}

/* What nobody waits for yet has one compiler, when no other large one is at work. */
static bool may_start(const struct code *code) {
    const struct supervisor *s = code->supervisor;
    if (code->image_fd < 0 || code->busy || s->compilers >= MAX_COMPILERS || s->closing)
        return false;
    if (TAILQ_EMPTY(&code->waiting)) return s->large_compilers == 0;
    return !code->large || s->large_compilers < MAX_LARGE_COMPILERS;
}

void code_compile_next(struct supervisor *s) {
    for (int waited_for = 1; waited_for >= 0; waited_for--) {
        struct code *code = TAILQ_FIRST(&s->codes);
        while (code != NULL) {
            struct code *next = TAILQ_NEXT(code, link);
            struct error err = {0};
            bool turn = (waited_for == 1) == !TAILQ_EMPTY(&code->waiting);
            if (turn && may_start(code) && start(code, &err) != 0) settle(code, &err);
            code = next;
        }
    }
}

static struct code *new_code(struct supervisor *s, struct pa_module *module, unsigned variant,
                             struct error *err) {
    char name[CACHE_NAME_BYTES];
    make_room(s);
    struct code *code = calloc(1, sizeof *code);
    if (code == NULL) {
        error_set(err, PA_INTERNAL, "compiled code: out of memory");
        return NULL;
    }
    *code = (struct code){.supervisor = s,
                          .variant = variant,
                          .image_fd = -1,
                          .out_fd = -1,
                          .started_ns = clock_now_ns()};
    memcpy(code->digest, module->digest, sizeof code->digest);
    TAILQ_INIT(&code->waiting);
    module_code_name(code->digest, variant, name);
    code->fd = cache_load(s->config.cache, name);
    if (code->fd < 0) {
        int image = module_image(module, err);
        code->image_fd = image >= 0 ? fcntl(image, F_DUPFD_CLOEXEC, 3) : -1;
        struct stat st = {0};
        if (code->image_fd < 0 || fstat(code->image_fd, &st) != 0) {
            if (image >= 0) error_set_errno(err, PA_INTERNAL, errno, "keep the module");
            fd_closep(&code->image_fd);
            free(code);
            return NULL;
        }
        code->large = st.st_size > LARGE_MODULE_BYTES;
    }
    TAILQ_INSERT_TAIL(&s->codes, code, link);
    s->code_count++;
    return code;
}

int code_request(struct supervisor_run *run, struct pa_module *module, struct error *err) {
    struct supervisor *s = run->supervisor;
    unsigned variant = run->packet.header.variant;
    struct code *code = find(s, module->digest, variant);
    if (code == NULL) {
        code = new_code(s, module, variant, err);
        if (code == NULL) return -1;
    } else {
        TAILQ_REMOVE(&s->codes, code, link);
        TAILQ_INSERT_TAIL(&s->codes, code, link);
    }
    code->users++;
    run->code = code;
    run->cache_hit = code->fd >= 0;
    if (code->fd >= 0) {
        int result = run_code_ready(run, err);
        if (result != 0) code_release(code);
        return result;
    }
    wait_for(code, run);
    supervisor_schedule(s);
    return 0;
}

int supervisor_compile_ahead(struct supervisor *s, struct pa_module *module, unsigned variant,
                             struct error *err) {
    if (find(s, module->digest, variant) == NULL && new_code(s, module, variant, err) == NULL)
        return -1;
    supervisor_schedule(s);
    return 0;
}

void code_free_all(struct supervisor *s) {
    struct code *code;
    while ((code = TAILQ_FIRST(&s->codes)) != NULL) {
        if (code->busy) {
            code->users++;
            compiled(code, true);
            code->users--;
        }
        forget(code);
    }
}

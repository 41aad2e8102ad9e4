/* Compilers: a few at a time, in turn by tenant. A module that takes as long as it may keeps
 * waiting only its own tenant's others: a tenant has two compilers at most, and one of them for a
 * large module; the last one is for tenants that have none at work. */
#include "base/cleanup.h"
#include "base/log.h"
#include "supervisor/internal.h"
#include "supervisor/tell.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define CODE_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)
enum { MAX_LARGE_COMPILERS = 3, TENANT_COMPILERS = 2 };
enum { LOCK_PAUSE_US = 100000 };
enum { MIN_PAUSE_MS = 5000, MAX_PAUSE_MS = 300000, CPU_OF_INTERPRETERS_MS = 3600000 };

static void unlock(struct code *code) {
    char name[CACHE_NAME_BYTES];
    if (!code->is_locked) return;
    module_code_name(code->supervisor->config.cache, code->digest, code->variant, name);
    cache_unlock(code->supervisor->config.cache, name);
    code->is_locked = false;
}

static void leave_compiler(struct code *code) {
    struct supervisor *s = code->supervisor;
    struct tenant *payer = code->payer;
    code->report = sd_event_source_disable_unref(code->report);
    code->timer = sd_event_source_disable_unref(code->timer);
    code->busy = false;
    s->compilers--;
    s->large_compilers -= code->large;
    code->payer = NULL;
    if (payer == NULL) return;
    payer->compilers--;
    payer->large_compilers -= code->large;
    queue_release(s, payer);
}

static int on_pause_over(sd_event_source *source, uint64_t now_us, void *context) {
    struct code *code = context;
    (void)source;
    (void)now_us;
    code->timer = sd_event_source_disable_unref(code->timer);
    code->pauses = false;
    supervisor_schedule(code->supervisor);
    return 0;
}

/* An interpreter is tried again, later each time; its callers come again, too. */
static void put_off(struct code *code, const struct error *why) {
    struct supervisor *s = code->supervisor;
    struct error err = {0};
    uint64_t pause_ms = MIN_PAUSE_MS;
    for (unsigned i = 0; i < code->failures && pause_ms < MAX_PAUSE_MS; i++)
        pause_ms *= 2;
    code->failures++;
    code->attempts = 0;
    log_event(LOG_ERROR, "compiler", "an interpreter could not be compiled; it is tried again",
              {"name", code->interpreter, 0}, {"error", why->text, 0},
              {"in_s", NULL, (double)pause_ms / 1000});
    code->pauses = sd_event_add_time_relative(s->event, &code->timer, CLOCK_MONOTONIC,
                                              pause_ms * 1000, 1, on_pause_over, code) >= 0;
    error_set(&err, PA_OVERLOADED,
              "the interpreter %s could not be compiled and is tried again (%.300s); retry in %llu "
              "ms",
              code->interpreter, why->text, (unsigned long long)pause_ms);
    code_settle(code, &err);
}

/* A module that came along is no caller's fault. */
static void fail(struct code *code, const struct error *why) {
    struct error err = *why;
    if (code->interpreter != NULL && !code->supervisor->closing &&
        code->compiler.fault != COMPILER_MODULE) {
        put_off(code, why);
        return;
    }
    if (code->interpreter != NULL) {
        log_event(LOG_ERROR, "compiler", "an interpreter cannot be compiled",
                  {"name", code->interpreter, 0}, {"error", why->text, 0});
        error_set(&err, PA_INTERNAL, "the interpreter %s cannot be compiled: %.400s",
                  code->interpreter, why->text);
    }
    fd_closep(&code->image_fd);
    if (err.code == PA_INVALID_ARGUMENT) code->refusal = strdup(err.text); /* it stays so */
    code_settle(code, &err);
}

/* Workers get it for reading only: what they all run must not be writable to any. */
static int take_code(struct code *code, struct error *err) {
    struct supervisor *s = code->supervisor;
    char name[CACHE_NAME_BYTES];
    if (code_is_cached(code)) {
        char path[32];
        enum cache_class class = code->interpreter != NULL ? CACHE_INTERPRETER : CACHE_MODULE;
        module_code_name(s->config.cache, code->digest, code->variant, name);
        if (cache_commit(s->config.cache, code->out_fd, code->temp, name, class, err) == 0)
            code->fd = cache_load(s->config.cache, name);
        if (code->fd < 0) { /* no room for it: the file has no name any more, but is there */
            (void)snprintf(path, sizeof path, "/proc/self/fd/%d", code->out_fd);
            code->fd = open(path, O_RDONLY | O_CLOEXEC);
        }
    } else if (fcntl(code->out_fd, F_ADD_SEALS, CODE_SEALS) == 0) {
        code->fd = steal_fd(&code->out_fd);
    }
    return code->fd >= 0 ? 0 : error_set_errno(err, PA_INTERNAL, errno, "open the compiled code");
}

static void compiled(struct code *code, bool late) {
    struct supervisor *s = code->supervisor;
    struct error err = {0};
    code->users++; /* while we look at it */
    leave_compiler(code);
    int result = compiler_finish(&code->compiler, late, &err);
    bool finished = result == 0;
    if (finished) result = take_code(code, &err);
    unlock(code);
    tell_code(code, "compiler", "has ended", result == 0 ? "" : err.text);
    if (finished && result != 0) code->compiler.fault = COMPILER_HOST;
    if (!finished && code_is_cached(code)) {
        cache_abort(s->config.cache, code->temp);
        if (code->compiler.fault == COMPILER_HOST && err.code == PA_INTERNAL) {
            code->in_memory = true; /* its disk may be full: once more, without it */
            code->compiler.fault = COMPILER_INNOCENT;
        }
    }
    fd_closep(&code->out_fd);
    supervisor_schedule(s);
    if (result == 0) {
        fd_closep(&code->image_fd);
        code_settle(code, NULL);
    } else if (code->compiler.fault != COMPILER_INNOCENT || ++code->attempts >= MAX_ATTEMPTS ||
               s->closing) {
        fail(code, &err);
    } /* else it begins again */
    code_release(code);
}

void code_stop(struct code *code) {
    compiled(code, true);
}

static int on_report(sd_event_source *source, int fd, uint32_t events, void *context) {
    struct code *code = context;
    (void)source;
    (void)fd;
    (void)events;
    if (compiler_listen(&code->compiler) == 0) compiled(code, false);
    return 0;
}

static int on_timeout(sd_event_source *source, uint64_t now_us, void *context) {
    (void)source;
    (void)now_us;
    compiled(context, true);
    return 0;
}

static int begin(struct code *code, struct error *err) {
    struct supervisor *s = code->supervisor;
    struct cache *cache = s->config.cache;
    struct compiler_bounds bounds = s->config.compile;
    bool cached = code_is_cached(code);
    code->compiler.fault = COMPILER_HOST;
    code->out_fd = cached ? cache_begin(cache, code->temp) : -1;
    if (cached && code->out_fd < 0) {
        code->in_memory = true;
        cached = false;
    }
    if (!cached) code->out_fd = memfd_create("code", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (code->out_fd < 0) {
        return error_set_errno(err, PA_INTERNAL, errno, "make a file for compiled code in %s",
                               cached ? cache->path : "memory");
    }
    if (code->interpreter != NULL) bounds.cpu_ms = CPU_OF_INTERPRETERS_MS;
    tell_code(code, "compiler", "starts", "");
    if (compiler_start(&code->compiler, s->config.helper, code->image_fd, code->variant,
                       code->out_fd, &bounds, err) == 0) {
        return 0;
    }
    code->compiler.fault = COMPILER_HOST;
    if (cached) cache_abort(cache, code->temp);
    fd_closep(&code->out_fd);
    return -1;
}

/* Another process was at it. */
static int on_look_again(sd_event_source *source, uint64_t now_us, void *context) {
    struct code *code = context;
    char name[CACHE_NAME_BYTES];
    (void)source;
    (void)now_us;
    code->timer = sd_event_source_disable_unref(code->timer);
    code->pauses = false;
    module_code_name(code->supervisor->config.cache, code->digest, code->variant, name);
    code->fd = cache_load(code->supervisor->config.cache, name);
    supervisor_schedule(code->supervisor);
    if (code->fd < 0) return 0;
    fd_closep(&code->image_fd);
    code_settle(code, NULL);
    return 0;
}

/* Whether it is ours to make; else it is looked for again, soon. */
static bool lock(struct code *code) {
    struct supervisor *s = code->supervisor;
    char name[CACHE_NAME_BYTES];
    if (!code_is_cached(code)) return true;
    module_code_name(s->config.cache, code->digest, code->variant, name);
    code->is_locked = cache_lock(s->config.cache, name, false) == 0;
    if (!code->is_locked)
        code->pauses = sd_event_add_time_relative(s->event, &code->timer, CLOCK_MONOTONIC,
                                                  LOCK_PAUSE_US, 1, on_look_again, code) >= 0;
    return !code->pauses;
}

/* At the cost of `payer`; NULL: of nobody. */
static void start(struct code *code, struct tenant *payer) {
    struct supervisor *s = code->supervisor;
    struct error err = {0};
    if (!lock(code)) return;
    if (begin(code, &err) != 0) {
        unlock(code);
        fail(code, &err);
        return;
    }
    code->busy = true;
    code->started_ns = clock_now_ns();
    code->payer = payer;
    s->compilers++;
    s->large_compilers += code->large;
    if (payer != NULL) {
        payer->compilers++;
        payer->large_compilers += code->large;
        payer->compiled_at = ++s->tick;
    }
    int result = s->cgroup != NULL ? cgroup_add(s->cgroup, code->compiler.pid) : 0;
    if (result == -ESRCH) result = 0; /* it has failed already */
    pace_compiler(s, code->compiler.pid);
    if (result >= 0) {
        result = sd_event_add_io(s->event, &code->report, code->compiler.report_fd, EPOLLIN,
                                 on_report, code);
    }
    if (result >= 0) {
        result =
            sd_event_add_time_relative(s->event, &code->timer, CLOCK_MONOTONIC,
                                       code->compiler.bounds.wall_ms * 1000, 1, on_timeout, code);
    }
    if (result < 0) compiled(code, true); /* without a watch and bounds, it must not run */
}

static bool comes_before(const struct tenant *a, const struct tenant *b) {
    if (a->compilers != b->compilers) return a->compilers < b->compilers;
    return a->compiled_at < b->compiled_at;
}

/* Of those that wait for it. */
static struct tenant *first_tenant(const struct code *code) {
    struct supervisor_run *run;
    struct tenant *first = NULL;
    TAILQ_FOREACH(run, &code->waiting, link) {
        if (first == NULL || comes_before(run->tenant, first)) first = run->tenant;
    }
    return first;
}

static bool may_start(const struct code *code, const struct tenant *payer) {
    const struct supervisor *s = code->supervisor;
    if (s->compilers >= MAX_COMPILERS) return false;
    if (code->large && s->large_compilers >= MAX_LARGE_COMPILERS) return false;
    bool is_last = s->compilers == MAX_COMPILERS - 1;
    if (payer == NULL) return !is_last && s->large_compilers == 0;
    if (code->interpreter != NULL) return true;
    if (payer->compilers >= TENANT_COMPILERS || (is_last && payer->compilers > 0)) return false;
    return !code->large || payer->large_compilers == 0;
}

/* Interpreters that are waited for come first, then the tenants in turn, then what nobody waits for
 * yet: that has one compiler, when no other large one is at work. */
static struct code *choose(struct supervisor *s, struct tenant **payer) {
    struct code *code, *best = NULL;
    TAILQ_FOREACH(code, &s->codes, link) {
        if (code->image_fd < 0 || code->busy || code->pauses) continue;
        struct tenant *tenant = first_tenant(code);
        if ((tenant == NULL && !code->is_ahead) || !may_start(code, tenant)) continue;
        bool better = best == NULL || (*payer == NULL && tenant != NULL);
        if (!better && tenant != NULL && *payer != NULL && best->interpreter == NULL)
            better = code->interpreter != NULL || comes_before(tenant, *payer);
        if (!better) continue;
        best = code;
        *payer = tenant;
    }
    if (best != NULL && best->interpreter != NULL) *payer = NULL; /* it is for all */
    return best;
}

void code_compile_next(struct supervisor *s) {
    struct tenant *payer = NULL;
    struct code *code;
    while (!s->closing && (code = choose(s, &payer)) != NULL) {
        start(code, payer);
        payer = NULL;
    }
}

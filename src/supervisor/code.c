/* Native code by module and variant: checked once, then kept open. What is missing, compilers.c
 * makes, while the loop goes on. */
#include "base/cleanup.h"
#include "supervisor/internal.h"
#include "supervisor/tell.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_CODES = 256 };
enum { LARGE_MODULE_BYTES = 1 << 20 }; /* takes a second, or an interpreter's minute */
/* How long a caller of an interpreter that is being compiled waits at most: clients and proxies
 * give up after a minute. */
enum { PATIENCE_MS = 50000, MIN_RETRY_MS = 1000, MAX_RETRY_MS = 60000 };

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
    sd_event_source_disable_unref(code->timer);
    fd_closep(&code->fd);
    fd_closep(&code->image_fd);
    free(code->refusal);
    free(code);
}

bool code_is_cached(const struct code *code) {
    return code->variant < ENGINE_VARIANTS && !code->in_memory &&
           code->supervisor->config.cache->dir_fd >= 0;
}

/* The least recently used that nobody holds make room. */
static void make_room(struct supervisor *s) {
    struct code *code = TAILQ_FIRST(&s->codes);
    while (code != NULL && s->code_count >= MAX_CODES) {
        struct code *next = TAILQ_NEXT(code, link);
        if (code->users == 0 && (code->fd >= 0 || code->refusal != NULL)) forget(code);
        code = next;
    }
}

/* What nobody waits for any more is not compiled: a stranger could leave any number behind. */
void code_release(struct code *code) {
    bool kept = code->refusal != NULL || (code->fd >= 0 && code->variant < ENGINE_VARIANTS);
    code->users--;
    if (code->users == 0 && !kept && !code->busy && (!code->is_ahead || code->image_fd < 0))
        forget(code);
}

void code_cancel(struct supervisor_run *run) {
    TAILQ_REMOVE(&run->code->waiting, run, link);
    run->tenant->compiling--;
    run->supervisor->compiling--;
}

void code_settle(struct code *code, const struct error *err) {
    struct supervisor_run *run;
    code->users++; /* stays until we are done */
    while ((run = TAILQ_FIRST(&code->waiting)) != NULL) {
        struct error own = {0};
        code_cancel(run);
        run->deadline = sd_event_source_disable_unref(run->deadline);
        if (run->deadline_ns != CLOCK_NEVER) run->deadline_ns += clock_now_ns() - run->submitted_ns;
        if (err != NULL) {
            run_fail(run, err);
        } else if (run_code_ready(run, &own) != 0) {
            run_fail(run, &own);
        }
    }
    code_release(code);
}

static void tell_when(const struct code *code, struct error *err) {
    uint64_t now_ns = clock_now_ns(), expected_ms = 1000 + code->module_bytes / 2000;
    uint64_t passed_ms = code->busy ? (now_ns - code->started_ns) / NS_PER_MS : 0;
    uint64_t left_ms = expected_ms > passed_ms ? expected_ms - passed_ms : passed_ms / 4;
    char how[48] = "waits for a compiler";
    if (left_ms < MIN_RETRY_MS) left_ms = MIN_RETRY_MS;
    if (left_ms > MAX_RETRY_MS) left_ms = MAX_RETRY_MS;
    if (code->busy) {
        (void)snprintf(how, sizeof how, "is being compiled, for %llu s now",
                       (unsigned long long)(passed_ms / 1000));
    }
    error_set(err, PA_OVERLOADED, "the interpreter %s %s; retry in %llu ms", code->interpreter, how,
              (unsigned long long)left_ms);
}

static int on_impatience(sd_event_source *source, uint64_t now_us, void *context) {
    struct supervisor_run *run = context;
    struct error err = {0};
    (void)source;
    (void)now_us;
    tell_when(run->code, &err);
    code_cancel(run);
    run_fail(run, &err);
    return 0;
}

/* Runs that wait for their code take room in the queue. */
static int wait_for(struct code *code, struct supervisor_run *run, struct error *err) {
    if (code->interpreter != NULL && !(run->packet.header.flags & PACKET_PATIENT)) {
        uint64_t until_ns = clock_deadline_ns(PATIENCE_MS);
        if (run->deadline_ns < until_ns) until_ns = run->deadline_ns;
        int result = sd_event_add_time(run->supervisor->event, &run->deadline, CLOCK_MONOTONIC,
                                       until_ns / 1000 + 1, 1, on_impatience, run);
        if (result < 0) return error_set_errno(err, PA_INTERNAL, -result, "watch the deadline");
    }
    run->state = RUN_COMPILING;
    TAILQ_INSERT_TAIL(&code->waiting, run, link);
    run->tenant->compiling++;
    run->supervisor->compiling++;
    supervisor_schedule(run->supervisor);
    return 0;
}

static const char *interpreter_name(const struct supervisor *s, const uint8_t digest[32]) {
    const struct known_interpreter *known;
    SLIST_FOREACH(known, &s->interpreters, link) {
        if (memcmp(known->digest, digest, 32) == 0) return known->name;
    }
    return NULL;
}

int supervisor_know_interpreter(struct supervisor *s, const struct pa_module *module,
                                const char *name, struct error *err) {
    if (interpreter_name(s, module->digest) != NULL) return 0;
    struct known_interpreter *known = calloc(1, sizeof *known);
    if (known == NULL) return error_set(err, PA_INTERNAL, "interpreter %s: out of memory", name);
    memcpy(known->digest, module->digest, sizeof known->digest);
    (void)snprintf(known->name, sizeof known->name, "%s", name);
    SLIST_INSERT_HEAD(&s->interpreters, known, link);
    return 0;
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
    *code = (struct code){.supervisor = s, .variant = variant, .image_fd = -1, .out_fd = -1};
    memcpy(code->digest, module->digest, sizeof code->digest);
    code->interpreter = interpreter_name(s, code->digest);
    code->is_ahead = code->interpreter != NULL;
    TAILQ_INIT(&code->waiting);
    code->fd = -1;
    if (code_is_cached(code)) {
        module_code_name(s->config.cache, code->digest, variant, name);
        code->fd = cache_load(s->config.cache, name);
    }
    tell_code(code, "cache", code->fd >= 0 ? "hit" : "miss",
              code_is_cached(code) ? "" : "no cache");
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
        code->module_bytes = (uint64_t)st.st_size;
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
    if (code->refusal != NULL) return error_set(err, PA_INVALID_ARGUMENT, "%s", code->refusal);
    tell_code(code, "engine", code->fd >= 0 ? "code is at hand" : "code is to be made", "");
    code->users++;
    run->code = code;
    run->cache_hit = code->fd >= 0;
    int result = code->fd >= 0 ? run_code_ready(run, err) : wait_for(code, run, err);
    if (result != 0) code_release(code);
    return result;
}

int supervisor_compile_ahead(struct supervisor *s, struct pa_module *module, unsigned variant,
                             struct error *err) {
    struct code *code = find(s, module->digest, variant);
    if (code == NULL) code = new_code(s, module, variant, err);
    if (code == NULL) return -1;
    code->is_ahead = true;
    supervisor_schedule(s);
    return 0;
}

void code_free_all(struct supervisor *s) {
    struct code *code;
    struct known_interpreter *known;
    while ((code = TAILQ_FIRST(&s->codes)) != NULL) {
        code->users++;
        if (code->busy) code_stop(code);
        forget(code);
    }
    while ((known = SLIST_FIRST(&s->interpreters)) != NULL) {
        SLIST_REMOVE_HEAD(&s->interpreters, link);
        free(known);
    }
}

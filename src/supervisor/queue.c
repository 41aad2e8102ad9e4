#include "supervisor/internal.h"

#include <stdlib.h>
#include <string.h>

enum { MIN_WAIT_MS = 10, MAX_WAIT_MS = 10000 };

static uint32_t three_quarters(uint32_t all) {
    return all - all / 4;
}

static void default_to(uint32_t *value, uint32_t standard) {
    if (*value == 0) *value = standard;
}

void queue_new(struct supervisor *s) {
    struct supervisor_config *c = &s->config;
    default_to(&c->max_running, 64);
    default_to(&c->max_queued, 1024);
    default_to(&c->max_tenant_running, three_quarters(c->max_running));
    default_to(&c->max_tenant_queued, three_quarters(c->max_queued));
}

/* How many of `all` only tenants that have nothing there can take, and those to whom all of it is
 * given. */
static uint32_t kept(uint32_t all, uint32_t own, uint32_t share) {
    return own > 0 && share < all ? all / 8 : 0;
}

/* Its credential's name: what stands before the slash, the front cannot choose. */
static void take_share(const struct supervisor_config *c, struct tenant *tenant) {
    const char *slash = strchr(tenant->name, '/');
    const char *name = slash != NULL ? slash + 1 : tenant->name;
    tenant->max_running = c->max_tenant_running;
    tenant->max_queued = c->max_tenant_queued;
    tenant->max_zygotes = c->max_zygotes < 8 ? 1 : c->max_zygotes / 4;
    for (size_t i = 0; i < c->tenant_count; i++) {
        const struct config_tenant *t = &c->tenants[i];
        if (strcmp(t->name, name) != 0) continue;
        if (t->running > 0) tenant->max_running = (uint32_t)t->running;
        if (t->queued > 0) tenant->max_queued = (uint32_t)t->queued;
        if (t->interpreters > 0) tenant->max_zygotes = (uint32_t)t->interpreters;
    }
}

struct tenant *queue_tenant(struct supervisor *s, const char *name, struct error *err) {
    struct tenant *tenant;
    TAILQ_FOREACH(tenant, &s->tenants, link) {
        if (strcmp(tenant->name, name) == 0) return tenant;
    }
    tenant = calloc(1, sizeof *tenant);
    if (tenant == NULL) {
        error_set(err, PA_INTERNAL, "the queue: out of memory");
        return NULL;
    }
    (void)strncpy(tenant->name, name, sizeof tenant->name - 1);
    take_share(&s->config, tenant);
    TAILQ_INIT(&tenant->queue);
    TAILQ_INSERT_TAIL(&s->tenants, tenant, link);
    return tenant;
}

void queue_release(struct supervisor *s, struct tenant *tenant) {
    struct supervisor_run *run;
    if (tenant->queued > 0 || tenant->compiling > 0 || tenant->running > 0 || tenant->compilers > 0)
        return;
    TAILQ_FOREACH(run, &s->runs, all) {
        if (run->tenant == tenant) return; /* it has no state yet */
    }
    TAILQ_REMOVE(&s->tenants, tenant, link);
    free(tenant);
}

/* When one of `running` will have ended, and so made room: by what runs took of late. */
static unsigned long long wait_ms(const struct supervisor *s, uint32_t running) {
    uint64_t ms = s->mean_run_ns / (running > 0 ? running : 1) / NS_PER_MS;
    return ms < MIN_WAIT_MS ? MIN_WAIT_MS : ms > MAX_WAIT_MS ? MAX_WAIT_MS : ms;
}

int queue_check(const struct supervisor *s, const struct tenant *tenant, struct error *err) {
    uint32_t own = tenant->queued + tenant->compiling, all = s->queued + s->compiling;
    uint32_t room = s->config.max_queued - kept(s->config.max_queued, own, tenant->max_queued);
    if (own >= tenant->max_queued) {
        return error_set(err, PA_OVERLOADED,
                         "your share of the queue is full: %u of your runs wait "
                         "(queue.max_tenant_queued), %u are under way; retry in %llu ms",
                         own, tenant->running, wait_ms(s, tenant->running));
    }
    if (all >= room) {
        return error_set(err, PA_OVERLOADED,
                         "the server's queue is full: %u runs of all tenants wait "
                         "(queue.max_queued); retry in %llu ms",
                         all, wait_ms(s, s->running));
    }
    return 0;
}

void queue_push(struct supervisor_run *run) {
    run->state = RUN_QUEUED;
    TAILQ_INSERT_TAIL(&run->tenant->queue, run, link);
    run->tenant->queued++;
    run->supervisor->queued++;
}

void queue_remove(struct supervisor_run *run) {
    TAILQ_REMOVE(&run->tenant->queue, run, link);
    run->tenant->queued--;
    run->supervisor->queued--;
}

struct supervisor_run *queue_pop(struct supervisor *s) {
    struct tenant *tenant, *best = NULL;
    const uint32_t places = s->config.max_running;
    TAILQ_FOREACH(tenant, &s->tenants, link) {
        if (tenant->queued == 0 || tenant->running >= tenant->max_running) continue;
        if (s->running >= places - kept(places, tenant->running, tenant->max_running)) continue;
        if (best == NULL || tenant->running < best->running ||
            (tenant->running == best->running && tenant->served_at < best->served_at)) {
            best = tenant;
        }
    }
    if (best == NULL) return NULL;
    struct supervisor_run *run = TAILQ_FIRST(&best->queue);
    queue_remove(run);
    best->served_at = ++s->tick;
    best->running++;
    s->running++;
    return run;
}

void queue_worker_done(struct supervisor_run *run) {
    run->tenant->running--;
    run->supervisor->running--;
    pace_run_ended(run->supervisor);
}

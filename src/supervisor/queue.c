#include "supervisor/internal.h"

#include <stdlib.h>
#include <string.h>

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
    TAILQ_INIT(&tenant->queue);
    TAILQ_INSERT_TAIL(&s->tenants, tenant, link);
    return tenant;
}

void queue_release(struct supervisor *s, struct tenant *tenant) {
    struct supervisor_run *run;
    if (tenant->queued > 0 || tenant->running > 0) return;
    TAILQ_FOREACH(run, &s->runs, all) {
        if (run->tenant == tenant) return; /* it is compiling */
    }
    TAILQ_REMOVE(&s->tenants, tenant, link);
    free(tenant);
}

int queue_push(struct supervisor_run *run, struct error *err) {
    struct supervisor *s = run->supervisor;
    struct tenant *tenant = run->tenant;
    if (s->queued >= s->config.max_queued || tenant->queued >= s->config.max_tenant_queued) {
        uint64_t wait_ms = s->mean_run_ns * (s->queued + 1) / s->config.max_running / NS_PER_MS;
        return error_set(err, PA_OVERLOADED, "the queue is full: %u jobs wait; retry in %llu ms",
                         s->queued, (unsigned long long)(wait_ms > 0 ? wait_ms : 1));
    }
    run->state = RUN_QUEUED;
    TAILQ_INSERT_TAIL(&tenant->queue, run, link);
    tenant->queued++;
    s->queued++;
    return 0;
}

void queue_remove(struct supervisor_run *run) {
    TAILQ_REMOVE(&run->tenant->queue, run, link);
    run->tenant->queued--;
    run->supervisor->queued--;
}

struct supervisor_run *queue_pop(struct supervisor *s) {
    struct tenant *tenant, *best = NULL;
    if (s->running >= s->config.max_running) return NULL;
    TAILQ_FOREACH(tenant, &s->tenants, link) {
        if (tenant->queued == 0 || tenant->running >= s->config.max_tenant_running) continue;
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
}

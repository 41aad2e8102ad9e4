/* Large JSON, from text and to text: in a thread, while the request waits. */
#include "server/http_internal.h"

#include "base/json_text.h"
#include "server/json_body.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct http_large {
    struct work_job job;
    struct service *service;
    struct request *r;         /* NULL: it is gone */
    struct buffer body;        /* owned; to be parsed */
    struct intake_claim claim; /* owned; of what is here */
    json_t *value;             /* owned; parsed, or to be written */
    char *text;                /* owned; written */
    const char *event;
    struct error err;
};

static void release(struct http_large *large) {
    buffer_fini(&large->body);
    intake_release(&large->service->intake, &large->claim);
    json_decref(large->value);
    free(large->text);
    free(large);
}

static void forget(void *context) {
    struct http_large *large = context;
    large->r = NULL;
}

static struct http_large *make(struct request *r, void (*act)(struct work_job *),
                               void (*done)(struct work_job *)) {
    struct http_large *large = calloc(1, sizeof *large);
    if (large == NULL) return NULL;
    *large = (struct http_large){.job = {.kind = WORK_TEXT, .act = act, .done = done},
                                 .service = r->server->service,
                                 .r = r};
    (void)snprintf(large->job.tenant, sizeof large->job.tenant, "%s", r->caller.name);
    return large;
}

static void parse_act(struct work_job *job) {
    struct http_large *large = (struct http_large *)job;
    large->value = json_body_parse(&large->body, &large->err);
    buffer_fini(&large->body); /* not in the loop: it takes long */
}

static void parse_done(struct work_job *job) {
    struct http_large *large = (struct http_large *)job;
    struct request *r = large->r;
    if (r != NULL) {
        r->is_parsed = true;
        r->parsed = large->value;
        r->parse_error = large->err;
        r->claim = intake_steal(&large->claim); /* until it has been looked at */
        large->value = NULL;
        http_go_on(r);
    }
    release(large);
}

bool http_parse_later(struct request *r, enum MHD_Result *result) {
    struct error err = {0};
    if (r->is_parsed || r->body.size <= WORK_LARGE_BYTES) return false;
    struct http_large *large = make(r, parse_act, parse_done);
    if (large == NULL) return false;
    large->body = r->body;
    large->claim = intake_steal(&r->claim);
    r->body = (struct buffer){.data = NULL};
    if (work_submit(r->server->service->work, &large->job, &err) == 0) {
        *result = http_wait(r, forget, large);
    } else {
        release(large);
        *result = http_refuse(r, &err);
    }
    return true;
}

json_t *http_body_json(struct request *r, struct error *err) {
    if (!r->is_parsed) return json_body_parse(&r->body, err);
    json_t *parsed = r->parsed;
    r->parsed = NULL;
    *err = r->parse_error;
    return parsed;
}

static void write_act(struct work_job *job) {
    struct http_large *large = (struct http_large *)job;
    large->text = json_text(large->value, JSON_COMPACT | JSON_REAL_PRECISION(6));
    json_decref(large->value);
    large->value = NULL;
}

static void write_done(struct work_job *job) {
    struct http_large *large = (struct http_large *)job;
    char *text = large->text;
    large->text = NULL;
    if (large->r != NULL) {
        intake_join(&large->service->intake, &large->r->claim, &large->claim);
        http_written(large->r, large->event, text);
    } else {
        free(text);
    }
    release(large);
}

bool http_write_later(struct request *r, const char *event, json_t *value) {
    struct error err = {0};
    if (r->cancel == NULL || !json_is_larger(value, WORK_LARGE_BYTES)) return false;
    struct http_large *large = make(r, write_act, write_done);
    if (large == NULL) return false;
    large->value = value;
    large->event = event;
    if (work_submit(r->server->service->work, &large->job, &err) != 0) {
        large->value = NULL;
        release(large);
        return false; /* it takes as long as it takes */
    }
    large->claim = intake_steal(&r->claim);
    r->cancel = forget; /* what it was that wrote it is over */
    r->operation = large;
    r->resume = NULL;
    r->is_written = true;
    return true;
}

#include "server/service_internal.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/opener.h"
#include "tools/result.h"
#include "tools/workspace.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

/* Of a configuration that holds no more: threads may still look at it. */
struct retired {
    struct config config;    /* owned */
    struct tool_rules rules; /* owned */
    SLIST_ENTRY(retired) link;
};

/* No thread is at anything. */
static void release_retired(void *context) {
    struct service *service = context;
    struct retired *retired;
    while ((retired = SLIST_FIRST(&service->retired)) != NULL) {
        SLIST_REMOVE_HEAD(&service->retired, link);
        tool_rules_fini(&retired->rules);
        config_fini(&retired->config);
        free(retired);
    }
}

enum { LEFTOVER_US = 1000000, MAX_PEM_BYTES = 1 << 20, MAX_KEY_BYTES = 2048 };

/* A text that stands in a header: a line, and what ends it. NULL in `key` where there is no file.
 */
static int read_key(const struct config *config, char **key, struct error *err) {
    const char *path = config->llm_key_file;
    struct buffer bytes = {0};
    *key = NULL;
    if (path[0] == 0 || config->llm_base_url[0] == 0) return 0;
    _cleanup_(fd_closep) int fd = opener_open(path, 0);
    int result = fd >= 0 ? buffer_read_fd(&bytes, fd, MAX_KEY_BYTES) : -errno;
    size_t length = result == 0 && bytes.size > 0 ? strcspn((char *)bytes.data, "\r\n") : 0;
    if (result == 0 &&
        (length == 0 || strspn((char *)bytes.data + length, "\r\n ") + length != bytes.size))
        result = -EINVAL;
    if (result == 0) {
        bytes.data[length] = 0;
        *key = (char *)bytes.data;
        return 0;
    }
    buffer_fini(&bytes);
    return error_set_errno(err, PA_INVALID_ARGUMENT, -result,
                           "llm.api_key_file: %s: a line with the key", path);
}

/* Everything of the service that comes from the configuration, which it takes over. Callers that
 * are asked for a token are asked until the server ends: a file that was read while it was being
 * written must not open the server to everybody. */
static int apply(struct service *service, struct config *config, struct error *err) {
    if (service->auth != NULL && auth_wants_tokens(service->auth) && config->tokens_file[0] == 0)
        return error_set(
            err, PA_INVALID_ARGUMENT,
            "server.auth.tokens_file: is gone from the configuration, and nobody would "
            "be asked for a token; to open the server, restart it");
    bool certificates =
        service->auth != NULL ? auth_wants_certificates(service->auth) : config->client_ca[0] != 0;
    struct auth *auth = auth_new(config->tokens_file, certificates, err);
    struct retired *retired = calloc(1, sizeof *retired);
    struct tool_rules rules;
    char *key = NULL;
    if (retired == NULL && auth != NULL) error_set(err, PA_INTERNAL, "the settings: out of memory");
    if (auth == NULL || retired == NULL) {
        auth_free(auth);
        free(retired);
        return -1;
    }
    *retired = (struct retired){.config = service->config, .rules = service->rules};
    service->config = *config;
    int result = read_key(&service->config, &key, err);
    if (result == 0) result = tool_rules_init(&rules, &service->config, err);
    if (result == 0 && config_apply_log(&service->config, err) != 0) {
        tool_rules_fini(&rules);
        result = -1;
    }
    if (result != 0) {
        service->config = retired->config;
        free(retired);
        auth_free(auth);
        free(key);
        return -1;
    }
    auth_free(service->auth);
    service->auth = auth;
    free(service->llm_key);
    service->llm_key = key;
    service->rules = rules;
    *config = (struct config){.limits = {0}};
    SLIST_INSERT_HEAD(&service->retired, retired, link);
    if (work_count(service->work) == 0) release_retired(service);
    return 0;
}

/* A folder that is to be removed; its run may still be writing, as its worker is only being killed.
 */
struct leftover {
    struct work_job job;
    struct service *service;
    struct workspace workspace; /* owned */
    sd_event_source *timer;     /* owned; until then it is in the list */
    TAILQ_ENTRY(leftover) link;
};

static void leftover_act(struct work_job *job) {
    workspace_remove(&((struct leftover *)job)->workspace);
}

static void leftover_done(struct work_job *job) {
    free(job);
}

static void remove_leftover(struct leftover *leftover) {
    struct error err = {0};
    if (leftover->timer != NULL) {
        TAILQ_REMOVE(&leftover->service->leftovers, leftover, link);
        leftover->timer = sd_event_source_disable_unref(leftover->timer);
    }
    if (work_submit(leftover->service->work, &leftover->job, &err) == 0) return;
    leftover_act(&leftover->job);
    leftover_done(&leftover->job);
}

/* Once the worker is surely gone. */
static int on_leftover(sd_event_source *source, uint64_t now_us, void *context) {
    (void)source;
    (void)now_us;
    remove_leftover(context);
    return 0;
}

void service_remove_folder(struct service *service, const char *tenant, struct workspace *workspace,
                           bool later) {
    struct leftover *leftover = workspace->path != NULL ? calloc(1, sizeof *leftover) : NULL;
    if (leftover == NULL) {
        workspace_remove(workspace);
        return;
    }
    *leftover =
        (struct leftover){.job = {.kind = WORK_REMOVAL, .act = leftover_act, .done = leftover_done},
                          .service = service,
                          .workspace = *workspace};
    (void)strncpy(leftover->job.tenant, tenant, sizeof leftover->job.tenant - 1);
    *workspace = (struct workspace){.path = NULL};
    if (later && sd_event_add_time_relative(service->event, &leftover->timer, CLOCK_MONOTONIC,
                                            LEFTOVER_US, 1, on_leftover, leftover) >= 0) {
        TAILQ_INSERT_TAIL(&service->leftovers, leftover, link);
        return;
    }
    remove_leftover(leftover);
}

static int admit(sd_event_source *source, void *context) {
    struct service *service = context;
    (void)source;
    service->room = sd_event_source_disable_unref(service->room);
    intake_admit(&service->intake);
    return 0;
}

/* Who waits is told from the loop. Without memory for that: by the next release. */
static void on_room(void *context) {
    struct service *service = context;
    if (service->room == NULL)
        (void)sd_event_add_defer(service->event, &service->room, admit, service);
}

int service_init(struct service *service, sd_event *event, struct config *config,
                 const char *socket_path, int stats_fd, const char *sessions_dir,
                 struct error *err) {
    *service = (struct service){.started_ns = clock_now_ns(), .event = sd_event_ref(event)};
    TAILQ_INIT(&service->leftovers);
    SLIST_INIT(&service->retired);
    (void)snprintf(service->socket_path, sizeof service->socket_path, "%s", socket_path);
    if (sodium_init() < 0 || (event == NULL && sd_event_new(&service->event) < 0)) {
        config_fini(config);
        return error_set(err, PA_INTERNAL, "the server: out of memory");
    }
    service->remote = (struct remote){.event = service->event, .socket_path = service->socket_path};
    if (stats_fd >= 0) {
        void *page = mmap(NULL, sizeof *service->stats, PROT_READ, MAP_SHARED, stats_fd, 0);
        if (page != MAP_FAILED) service->stats = page;
        (void)close(stats_fd);
    }
    service->remote.holder_fd = -1;
    service->work = work_new(service->event, release_retired, service, err);
    if (service->work != NULL && apply(service, config, err) == 0) {
        intake_init(&service->intake,
                    (size_t)service->config.limits.max_module_bytes / 3 * 4 + SERVICE_EXTRA_BYTES,
                    on_room, service);
        service->sessions = sessions_new(service->event, service->work, &service->remote,
                                         &service->config, &service->rules, sessions_dir, err);
        if (service->sessions != NULL) return 0;
    }
    config_fini(config); /* nothing, if it was taken over */
    service_fini(service);
    return -1;
}

void service_fini(struct service *service) {
    if (service->stats != NULL)
        (void)munmap((void *)(uintptr_t)service->stats, sizeof *service->stats);
    struct leftover *leftover;
    while ((leftover = TAILQ_FIRST(&service->leftovers)) != NULL)
        remove_leftover(leftover);
    sd_event_source_disable_unref(service->room);
    work_finish(service->work);
    sessions_free(service->sessions);
    work_free(service->work);
    release_retired(service);
    remote_fini(&service->remote);
    free(service->llm_key);
    auth_free(service->auth);
    tool_rules_fini(&service->rules);
    config_fini(&service->config);
    sd_event_unref(service->event);
    *service = (struct service){.event = NULL};
}

int service_reload(struct service *service, const char *config_path, struct error *err) {
    struct config config;
    if (opener_is_set()) { /* what may be opened comes from it, too */
        int fd = opener_ask(OPENER_RELOAD, "", err);
        if (fd < 0) return -1;
        (void)close(fd);
    }
    if (config_load(&config, config_path, err) != 0) return -1;
    int result = apply(service, &config, err);
    config_fini(&config); /* nothing, if it was taken over */
    return result;
}

static bool is_id(const char *id) {
    size_t length = strlen(id);
    return length > 0 && length < REQUEST_ID_BYTES &&
           strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
               length;
}

/* "00-" trace-id "-" parent-id "-" flags (W3C Trace Context, section 3.2.2). */
static bool is_traceparent(const char *text) {
    static const int dashes[] = {2, 35, 52};
    if (strlen(text) != TRACEPARENT_BYTES - 1 || strncmp(text, "00-", 3) != 0) return false;
    for (int i = 0, dash = 0; i < TRACEPARENT_BYTES - 1; i++) {
        bool hex = strchr("0123456789abcdef", text[i]) != NULL;
        if (dash < 3 && i == dashes[dash]) {
            if (text[i] != '-') return false;
            dash++;
        } else if (!hex) {
            return false;
        }
    }
    return true;
}

void service_caller_init(struct service_caller *caller, const char *interface, const char *name,
                         const char *id, const char *traceparent) {
    *caller = (struct service_caller){.interface = interface};
    (void)snprintf(caller->name, sizeof caller->name, "%s", name);
    if (id != NULL && is_id(id)) {
        (void)snprintf(caller->request_id, sizeof caller->request_id, "%s", id);
    } else {
        uint8_t bytes[12];
        randombytes_buf(bytes, sizeof bytes);
        (void)sodium_bin2hex(caller->request_id, sizeof caller->request_id, bytes, sizeof bytes);
    }
    if (traceparent != NULL && is_traceparent(traceparent))
        memcpy(caller->traceparent, traceparent, TRACEPARENT_BYTES);
}

json_t *service_with_id(json_t *result, const struct service_caller *caller) {
    if (result != NULL &&
        json_object_set_new(result, "request_id", json_string(caller->request_id)) == 0) {
        return result;
    }
    json_decref(result);
    return NULL;
}

json_t *service_refusal(const struct service_caller *caller, const struct error *err) {
    const struct pa_result refused = {.status = err->code, .message = (char *)(uintptr_t)err->text};
    return service_with_id(result_json(&refused), caller);
}

uint64_t service_retry_ms(const char *message) {
    enum { USUAL_MS = 1000, MOST_MS = 3600000 };
    static const char words[] = "retry in ";
    const char *at = message != NULL ? strstr(message, words) : NULL;
    char *end = NULL;
    uint64_t number = at != NULL ? strtoull(at + sizeof words - 1, &end, 10) : 0;
    if (end == NULL || number > MOST_MS) return USUAL_MS;
    uint64_t ms = strncmp(end, " ms", 3) == 0  ? number
                  : strncmp(end, " s", 2) == 0 ? number * 1000
                                               : 0;
    return ms == 0 ? USUAL_MS : ms > MOST_MS ? MOST_MS : ms;
}

bool service_is_ready(const struct service *service, struct error *err) {
    _cleanup_(fd_closep) int fd = socket_connect(service->socket_path, false, err);
    return fd >= 0;
}

int service_read_pem(const char *path, char **text, struct error *err) {
    struct buffer bytes = {0};
    *text = NULL;
    if (path[0] == 0) return 0;
    _cleanup_(fd_closep) int fd = opener_open(path, 0);
    int result = fd >= 0 ? buffer_read_fd(&bytes, fd, MAX_PEM_BYTES) : -errno;
    if (result == 0 && bytes.size == 0) result = -ENODATA;
    if (result == 0) {
        *text = (char *)bytes.data;
        return 0;
    }
    buffer_fini(&bytes);
    return error_set_errno(err, PA_INVALID_ARGUMENT, -result, "server.tls: %s", path);
}

#include "cli/host.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "tools/tools.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The share of the machine's memory that all workers together may have unless the settings say. */
static uint64_t default_memory_bytes(void) {
    long pages = sysconf(_SC_PHYS_PAGES);
    return pages > 0 ? (uint64_t)pages * (uint64_t)getpagesize() / 4 * 3 : 0;
}

static void on_warm(void *context, const struct supervisor_result *result) {
    struct host *host = context;
    host->warmed = true;
    if (result->report->status != PA_OK) {
        (void)snprintf(host->failure, sizeof host->failure, "%.500s", result->report->message);
    }
}

static int submit(struct host *host, const struct tool_call *call, struct error *err) {
    struct packet packet;
    struct pa_module module;
    struct pa_job job = call->job;
    /* Nothing is run: whatever takes long is the compiler's, which has bounds of its own. */
    job.limits.execution_timeout_ms = job.limits.cpu_time_ms = 0;
    job.argc = socket_job_argc(&job, call->warm_argc);
    int result = call->module_path != NULL
                     ? module_open_file(&module, &host->cache, call->module_path,
                                        job.limits.max_module_bytes, err)
                     : module_copy(&module, call->module.data, call->module.size,
                                   job.limits.max_module_bytes, err);
    if (result != 0) return -1;
    result = packet_pack(&packet, &job, err);
    if (result == 0) {
        packet.header.flags |= PACKET_PATIENT; /* there is nobody yet who could come again */
        result = supervisor_submit(host->supervisor, &packet, &module, on_warm, host, NULL, err);
    }
    module_fini(&module);
    return result;
}

/* Runs a call that does nothing, so that what it needs is started, and compiled. */
static int warm(struct host *host, const struct tool_rules *rules, const char *tool,
                json_t *parameters, struct error *err) {
    struct tool_call call;
    int result = tool_call_init(&call, tool, parameters, rules, err);
    bool none = result != 0 && err->code == PA_NOT_FOUND; /* without Python there is none to keep */
    json_decref(parameters);
    if (none) return 0;
    host->warmed = false;
    if (result == 0) {
        result = submit(host, &call, err);
        while (result == 0 && !host->warmed) { /* before that, as the call's data are its own */
            int turned = sd_event_run(host->event, UINT64_MAX);
            if (turned < 0 && turned != -EINTR)
                result = error_set_errno(err, PA_INTERNAL, -turned, "wait for it");
        }
        tool_call_fini(&call);
    }
    if (result == 0 && host->failure[0] != 0)
        result = error_set(err, PA_INTERNAL, "%s", host->failure);
    return result == 0 ? 0 : error_prefix(err, "%s cannot start", tool);
}

/* Compiling those that are installed has no bound but the host's. What cannot be opened is told by
 * whoever wants to use it. */
static void know_interpreter(struct host *host, const char *path, const char *name) {
    struct pa_module module;
    struct error err = {0};
    if (path[0] == 0 || access(path, R_OK) != 0) return;
    if (module_open_file(&module, &host->cache, path, UINT64_MAX, &err) == 0) {
        (void)supervisor_know_interpreter(host->supervisor, &module, name, &err);
        module_fini(&module);
    }
    if (err.code != PA_OK)
        log_event(LOG_ERROR, "server", "an interpreter cannot be opened", {"name", name, 0},
                  {"error", err.text, 0});
}

static int know_interpreters(struct host *host, const struct config *config, struct error *err) {
    struct interpreters all;
    if (interpreters_load(&all, err) != 0) return -1;
    for (size_t i = 0; i < all.count; i++)
        know_interpreter(host, all.list[i].module, all.list[i].name);
    interpreters_fini(&all);
    know_interpreter(host, config->interpreter, "python");
    know_interpreter(host, config->javascript, "javascript");
    return 0;
}

/* The first request is to be as fast as the others. */
static int warm_all(struct host *host, const struct config *config, struct error *err) {
    static const char nothing[] = "KG1vZHVsZSAobWVtb3J5IChleHBvcnQgIm1lbW9yeSIpIDEpIChmdW5jIChleHBv"
                                  "cnQgIl9zdGFydCIpKSk="; /* (module (memory ...) (func ...)) */
    struct tool_rules rules;
    if (tool_rules_init(&rules, config, err) != 0) return -1;
    int result = warm(host, &rules, "python_wasi_runner", json_pack("{s:s}", "code", ""), err);
    if (result == 0)
        result = warm(host, &rules, "javascript_wasi_runner", json_pack("{s:s}", "code", ""), err);
    if (result == 0)
        result =
            warm(host, &rules, "code_executor", json_pack("{s:s}", "wasm_base64", nothing), err);
    tool_rules_fini(&rules);
    return result;
}

static int open_cache(struct host *host, const struct config *c, struct error *err) {
    int result = cache_open(&host->cache, NULL, err);
    host->cache.max_bytes = (uint64_t)c->cache_bytes;
    return result;
}

int host_start(struct host *host, const struct config *c, const char *socket_path,
               struct error *err) {
    *host = (struct host){.cache = {.dir_fd = -1}};
    struct supervisor_config config = {.cache = &host->cache,
                                       .helper = host->helper,
                                       .max_running = (uint32_t)c->max_running,
                                       .max_queued = (uint32_t)c->max_queued,
                                       .max_tenant_running = (uint32_t)c->max_tenant_running,
                                       .max_tenant_queued = (uint32_t)c->max_tenant_queued,
                                       .tenants = c->tenants,
                                       .tenant_count = c->tenant_count,
                                       .spare_workers = (uint32_t)c->spare_workers,
                                       .memory_bytes = c->memory_bytes > 0 ? c->memory_bytes
                                                                           : default_memory_bytes(),
                                       .keep_warm = true,
                                       .own_groups = true,
                                       .may_move = true};
    if (sd_event_new(&host->event) < 0) return error_set(err, PA_INTERNAL, "out of memory");
    if (supervisor_find_helper(NULL, host->helper, sizeof host->helper, err) == 0 &&
        open_cache(host, c, err) == 0 && layer_policy_default(&config.policy, err) == 0 &&
        (host->supervisor = supervisor_new(host->event, &config, err)) != NULL &&
        know_interpreters(host, c, err) == 0 && warm_all(host, c, err) == 0 &&
        (host->server = socket_server_new(host->event, host->supervisor, &host->cache, socket_path,
                                          err)) != NULL) {
        return 0;
    }
    host_stop(host);
    return -1;
}

void host_compile_ahead(struct host *host) {
    struct interpreters all;
    struct error err = {0};
    if (interpreters_load(&all, &err) != 0) {
        log_event(LOG_ERROR, "server", "interpreters", {"error", err.text, 0});
        return;
    }
    for (size_t i = 0; i < all.count; i++) {
        struct interpreter_start start;
        struct pa_module module;
        err = (struct error){0};
        if (!interpreter_is_here(&all.list[i])) continue;
        if (interpreter_start_init(&start, &all.list[i], 0, &err) != 0 ||
            module_open_file(&module, &host->cache, all.list[i].module, UINT64_MAX, &err) != 0) {
            log_event(LOG_ERROR, "server", "an interpreter cannot be compiled",
                      {"name", all.list[i].name, 0}, {"error", err.text, 0});
            interpreter_start_fini(&start);
            continue;
        }
        unsigned variant = start.wasm_exceptions ? ENGINE_EXCEPTIONS : ENGINE_PLAIN;
        if (supervisor_compile_ahead(host->supervisor, &module, variant, &err) != 0)
            log_event(LOG_ERROR, "server", "an interpreter cannot be compiled",
                      {"name", all.list[i].name, 0}, {"error", err.text, 0});
        module_fini(&module);
        interpreter_start_fini(&start);
    }
    interpreters_fini(&all);
}

int host_find(struct host *host, const struct config *config, bool local, char *folder,
              char path[SOCKET_PATH_BYTES], bool *own, struct error *err) {
    *own = false;
    if (!local && socket_default_path(path, err) == 0) {
        int fd = socket_connect(path, true, err);
        if (fd >= 0) return close(fd);
    }
    *err = (struct error){0};
    if (mkdtemp(folder) == NULL)
        return error_set_errno(err, PA_INTERNAL, errno, "a folder for a socket");
    *own = true;
    (void)snprintf(path, SOCKET_PATH_BYTES, "%s/s.sock", folder);
    int result = host_start(host, config, path, err);
    if (result != 0) (void)rmdir(folder);
    return result;
}

void host_stop(struct host *host) {
    if (host->server != NULL) socket_server_stop_listening(host->server);
    /* Jobs first: their clients are told, while there is somebody to tell them. */
    supervisor_free(host->supervisor);
    socket_server_free(host->server);
    sd_event_unref(host->event);
    cache_close(&host->cache);
}

void host_leave(struct host *host, const char *folder) {
    host_stop(host);
    (void)rmdir(folder);
}

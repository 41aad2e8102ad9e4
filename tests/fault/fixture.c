#include "fixture.h"

#include "base/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

void take(void *context, const struct supervisor_result *result) {
    struct outcome *o = context;
    o->results++;
    o->status = result->report->status;
    o->exit_code = result->report->exit_code;
    o->layers = result->layers;
    (void)snprintf(o->message, sizeof o->message, "%s", result->report->message);
    (void)snprintf(o->output, sizeof o->output, "%s",
                   result->captured[0].data != NULL ? (char *)result->captured[0].data : "");
}

void open_bench(struct bench *b, struct supervisor_config config) {
    struct error err = {0};
    (void)strcpy(b->cache_dir, "/tmp/polyagent-test-XXXXXX");
    assert_non_null(mkdtemp(b->cache_dir));
    assert_int_equal(setenv("POLYAGENT_STATE_DIR", b->cache_dir, 1), 0);
    assert_int_equal(cache_open(&b->cache, b->cache_dir, &err), 0);
    assert_int_equal(supervisor_find_helper(NULL, b->helper, sizeof b->helper, &err), 0);
    assert_true(sd_event_new(&b->event) >= 0);
    config.cache = &b->cache;
    config.helper = b->helper;
    config.own_groups = true;
    assert_int_equal(layer_policy_default(&config.policy, &err), 0);
    b->supervisor = supervisor_new(b->event, &config, &err);
    if (b->supervisor == NULL) fail_msg("%s", err.text);
}

void close_bench(struct bench *b) {
    struct error err = {0};
    supervisor_free(b->supervisor);
    sd_event_unref(b->event);
    assert_true(cache_clear(&b->cache, &err) >= 0);
    cache_close(&b->cache);
    char key[96];
    (void)snprintf(key, sizeof key, "%s/cache.key", b->cache_dir);
    (void)unlink(key);
    DIR *dir = opendir(b->cache_dir);
    for (const struct dirent *d; (d = readdir(dir)) != NULL;) {
        if (d->d_name[0] != '.') (void)unlinkat(dirfd(dir), d->d_name, 0);
    }
    (void)closedir(dir);
    assert_int_equal(rmdir(b->cache_dir), 0);
}

struct pa_job new_job(void) {
    struct pa_job job = {0};
    pa_limits_default(&job.limits);
    return job;
}

int submit_as(struct bench *b, const char *tenant, const char *wat, const struct pa_job *job,
              struct outcome *outcome, struct supervisor_run **run, struct error *err) {
    struct packet packet;
    struct pa_module module;
    memset(outcome, 0, sizeof *outcome);
    assert_int_equal(module_copy(&module, wat, strlen(wat), UINT64_MAX, err), 0);
    assert_int_equal(packet_pack(&packet, job, err), 0);
    (void)snprintf(packet.header.tenant, sizeof packet.header.tenant, "%s", tenant);
    int result = supervisor_submit(b->supervisor, &packet, &module, take, outcome, run, err);
    module_fini(&module);
    return result;
}

void submit(struct bench *b, const char *wat, const struct pa_job *job, struct outcome *outcome) {
    struct error err = {0};
    if (submit_as(b, "", wat, job, outcome, NULL, &err) != 0) fail_msg("%s", err.text);
}

void turn(struct bench *b) {
    struct supervisor_stats stats;
    int result = sd_event_run(b->event, UINT64_C(200000000));
    assert_true(result >= 0);
    supervisor_get_stats(b->supervisor, &stats);
    if (result == 0) {
        fail_msg("nothing happened for 200 s: %u running, %u queued, %u zygotes, %u workers",
                 stats.running, stats.queued, stats.zygotes, stats.workers);
    }
}

void wait_for(struct bench *b, const struct outcome *outcome) {
    while (outcome->results == 0)
        turn(b);
}

int count_fds(void) {
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (readdir(dir) != NULL)
        count++;
    (void)closedir(dir);
    return count;
}

bool has_children(void) {
    siginfo_t info;
    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 || errno != ECHILD;
}

/* Processes that this one owns, at most `size`. */
size_t children(pid_t *pids, size_t size) {
    char path[64];
    size_t count = 0;
    (void)snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    while (count < size && fscanf(file, "%d", &pids[count]) == 1)
        count++;
    (void)fclose(file);
    return count;
}

/* A worker is the first process of a namespace of its own: it has two ids. */
bool is_worker(pid_t pid) {
    char path[64], line[256];
    int ids[3], count = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "NSpid:", 6) != 0) continue;
        count = sscanf(line + 6, "%d %d %d", &ids[0], &ids[1], &ids[2]);
        break;
    }
    if (file != NULL) (void)fclose(file);
    return count > 1;
}

static char *read_text(const char *path) {
    struct buffer text = {0};
    _cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(buffer_read_fd(&text, fd, 1 << 20), 0);
    return (char *)text.data;
}

static void put_field(struct buffer *job, const char *text) {
    uint32_t size = (uint32_t)strlen(text);
    assert_int_equal(buffer_append(job, &size, sizeof size), 0);
    assert_int_equal(buffer_append(job, text, size), 0);
}

static void python_job(struct buffer *data, const char *code) {
    uint32_t size = 0;
    assert_int_equal(buffer_append(data, &size, sizeof size), 0);
    put_field(data, ""); /* modes */
    put_field(data, "<code>");
    put_field(data, code);
    put_field(data, "1");
    put_field(data, "-c");
    size = (uint32_t)data->size - 4;
    memcpy(data->data, &size, sizeof size);
}

void run_interpreter(struct bench *b, const char *wasm, const char *const *argv, size_t argc,
                     const void *data, size_t bytes, struct pa_job job, struct outcome *outcome) {
    struct packet packet;
    struct pa_module module;
    struct error err = {0};
    memset(outcome, 0, sizeof *outcome);
    job.argv = argv;
    job.argc = argc;
    job.job_data = data;
    job.job_bytes = bytes;
    if (module_open_file(&module, &b->cache, wasm, UINT64_MAX, &err) != 0) fail_msg("%s", err.text);
    assert_int_equal(packet_pack(&packet, &job, &err), 0);
    assert_int_equal(supervisor_submit(b->supervisor, &packet, &module, take, outcome, NULL, &err),
                     0);
    module_fini(&module);
    wait_for(b, outcome);
}

void run_python(struct bench *b, const char *code, const char *modules, struct pa_job job,
                struct outcome *outcome) {
    char *boot = read_text(getenv("PYTHON_BOOTSTRAP"));
    const char *argv[] = {"python", "-I", "-S", "-X", "utf8", "-c", boot, modules};
    struct buffer data = {0}, rehearsal = {0};
    python_job(&data, code);
    python_job(&rehearsal, "print(1)");
    job.rehearsal_data = rehearsal.data;
    job.rehearsal_bytes = rehearsal.size;
    run_interpreter(b, getenv("PYTHON_WASM"), argv, 8, data.data, data.size, job, outcome);
    buffer_fini(&data);
    buffer_fini(&rehearsal);
    free(boot);
}

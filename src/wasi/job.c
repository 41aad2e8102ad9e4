/* What a job brings: its streams, rules and mounts; and how a warm interpreter goes from one job to
 * the next. The guest may have moved any descriptor to any number meanwhile, or closed it. */
#include "base/cleanup.h"
#include "wasi/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static void set_streams(struct wasi *w, const struct wasi_config *config) {
    const struct wasi_sink_config *sinks[] = {&config->stdout_sink, &config->stderr_sink};
    w->input = (struct wasi_input){
        .job = {config->job_data, config->job_bytes},
        .stdin = {config->stdin_data, config->stdin_bytes},
        .fd = config->stdin_data == NULL ? config->stdin_fd : -1,
    };
    w->answer_fd = config->answer_fd;
    w->answer_bytes = 0;
    uint64_t answers = config->answer_fd > 0 ? WASI_RIGHT_FD_WRITE : 0;
    for (uint32_t i = 0; i < w->fd_top; i++) {
        struct wasi_fd *entry = &w->fds[i];
        if (entry->kind == WASI_INPUT)
            entry->rights_base = (entry->rights_base & ~WASI_RIGHT_FD_WRITE) | answers;
    }
    for (int i = 0; i < 2; i++) {
        w->streams[i] = (struct wasi_stream){.fd = sinks[i]->capture == NULL ? sinks[i]->fd : -1,
                                             .capture = sinks[i]->capture,
                                             .counts = &config->counts[i]};
        if (config->tails != NULL) w->streams[i].tail = config->tails->bytes[i];
    }
    w->held = config->held;
    wasi_streams_begin();
}

void wasi_job_begin(struct wasi *w, const struct wasi_config *config) {
    w->output_limit_bytes = config->output_limit_bytes;
    w->output_truncate = config->output_truncate;
    w->deny_clock = config->deny_clock;
    w->deny_random = config->deny_random;
    w->deadline_ns = config->deadline_ns;
    w->mask = config->mask;
    w->trace_fd = config->trace_fd;
    w->stays = config->stays;
    memset(w->random_key, 0, sizeof w->random_key);
    memcpy(w->random_key, &config->seed, sizeof config->seed);
    w->random_block = 0;
    set_streams(w, config);
    wasi_quota_begin(w, config->workspace_bytes, config->workspace_inodes, config->growth);
}

/* What may be done in a mount, by each descriptor that stands for it. */
static void set_preopen(struct wasi_fd *entry, const struct wasi_mount *mount) {
    uint64_t lacking = mount->writable ? 0 : WASI_RIGHTS_MUTATE;
    entry->host_fd = mount->fd;
    entry->rights_base = WASI_RIGHTS_DIRECTORY & ~lacking;
    /* The right to write is inherited even from a read-only mount: libc asks only for what is
     * inherited, and would turn open(O_WRONLY) into a read-only one without a word. path_open
     * answers EROFS instead. */
    entry->rights_inheriting = (WASI_RIGHTS_DIRECTORY & ~lacking) | WASI_RIGHTS_FILE;
    entry->writable_mount = mount->writable;
}

int wasi_mounts_open(struct wasi *w, const struct wasi_config *config, struct error *err) {
    w->mounts = calloc(config->mount_count + 1, sizeof *w->mounts);
    if (w->mounts == NULL) return error_set(err, PA_INTERNAL, "mounts: out of memory");
    for (uint32_t i = 0; i < config->mount_count; i++) {
        const struct wasi_mount_config *given = &config->mounts[i];
        struct wasi_mount *mount = &w->mounts[i];
        *mount = (struct wasi_mount){.guest_path = strdup(given->guest_path),
                                     .fd = fcntl(given->dir_fd, F_DUPFD_CLOEXEC, 0),
                                     .former_fd = -1,
                                     .writable = given->writable,
                                     .fixed = given->fixed};
        w->mount_count = i + 1;
        if (mount->guest_path == NULL || mount->fd < 0)
            return error_set_errno(err, PA_INTERNAL, errno, "mount %s", given->guest_path);
        struct wasi_fd *entry = &w->fds[WASI_FIRST_PREOPEN + i];
        *entry = (struct wasi_fd){.kind = WASI_DIRECTORY, .preopened = true, .mount = i};
        set_preopen(entry, mount);
        w->fd_top = WASI_FIRST_PREOPEN + i + 1;
    }
    return 0;
}

void wasi_mounts_close(struct wasi *w) {
    for (uint32_t i = 0; i < w->mount_count; i++) {
        free(w->mounts[i].guest_path);
        if (w->mounts[i].fd >= 0) (void)close(w->mounts[i].fd);
    }
    free(w->mounts);
}

static bool fits(const struct wasi *w, const struct wasi_config *config) {
    if (config->max_open_files != w->fd_capacity || config->deterministic != w->deterministic)
        return false;
    if (config->same_mounts) return true;
    bool same = config->mount_count == w->mount_count;
    for (uint32_t i = 0; same && i < w->mount_count; i++)
        same = strcmp(w->mounts[i].guest_path, config->mounts[i].guest_path) == 0;
    return same;
}

static int exchange_mounts(struct wasi *w, const struct wasi_config *config, struct error *err) {
    for (uint32_t i = 0; i < w->mount_count; i++) {
        const struct wasi_mount_config *given = &config->mounts[i];
        struct wasi_mount *mount = &w->mounts[i];
        if (given->fixed) continue;
        int fd = fcntl(given->dir_fd, F_DUPFD_CLOEXEC, 0);
        if (fd < 0) return error_set_errno(err, PA_INTERNAL, errno, "mount %s", mount->guest_path);
        mount->former_fd = mount->fd; /* the empty one of the start, or another branch's */
        mount->fd = fd;
        mount->writable = given->writable;
        for (uint32_t k = 0; k < w->fd_top; k++) {
            if (w->fds[k].preopened && w->fds[k].mount == i) set_preopen(&w->fds[k], mount);
        }
    }
    return 0;
}

void wasi_rest(struct wasi *w) {
    static struct wasi_output_counts nobodys[2];
    const struct wasi_config nothing = {.stdin_fd = -1,
                                        .stdout_sink.fd = -1,
                                        .stderr_sink.fd = -1,
                                        .counts = nobodys,
                                        .stays = true};
    wasi_flush(w);
    wasi_origins_rest(w);
    wasi_job_begin(w, &nothing);
}

int wasi_rebind(struct wasi *w, const struct wasi_config *config, struct error *err) {
    if (!fits(w, config))
        return error_set(err, PA_INTERNAL, "the warm interpreter was started for other mounts");
    int result = config->same_mounts ? 0 : exchange_mounts(w, config, err);
    if (result == 0) wasi_origins_begin(w, config->moved);
    for (uint32_t i = 0; i < w->mount_count; i++)
        fd_closep(&w->mounts[i].former_fd);
    if (result == 0) wasi_job_begin(w, config);
    return result;
}

/* The world of a run: made from its configuration, and the table of the functions that act on it.
 */
#include "wasi/wasi.h"

#include "wasi/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { MAX_FDS = 65536, FIRST_PREOPEN = 3 };

static int copy_strings(const char *what, const char *const *strings, size_t count,
                        struct wasi_strings *out, struct error *err) {
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += strlen(strings[i]) + 1;
    if (bytes > WASI_MAX_STRINGS_BYTES) {
        return error_set(err, PA_INVALID_ARGUMENT, "%s: %zu bytes are more than the %d allowed",
                         what, bytes, WASI_MAX_STRINGS_BYTES);
    }
    out->data = malloc(bytes + 1);
    if (out->data == NULL) return error_set(err, PA_INTERNAL, "%s: out of memory", what);
    char *at = out->data;
    for (size_t i = 0; i < count; i++)
        at = stpcpy(at, strings[i]) + 1;
    out->bytes = (uint32_t)bytes;
    out->count = (uint32_t)count;
    return 0;
}

/* What the job brings and the guest has not seen yet. `fds[0..2]` may have been closed by it. */
static void set_stdio(struct wasi *w, const struct wasi_config *config) {
    const struct wasi_sink_config *sinks[] = {&config->stdout_sink, &config->stderr_sink};
    if (w->fds[0].kind == WASI_INPUT) {
        w->fds[0].host_fd = config->stdin_data == NULL ? config->stdin_fd : -1;
        uint64_t answers = config->answer_fd > 0 ? WASI_RIGHT_FD_WRITE : 0;
        w->fds[0].rights_base = (w->fds[0].rights_base & ~WASI_RIGHT_FD_WRITE) | answers;
        w->fds[0].job = (struct wasi_bytes){config->job_data, config->job_bytes};
        w->fds[0].input = (struct wasi_bytes){config->stdin_data, config->stdin_bytes};
    }
    for (int i = 0; i < 2; i++) {
        int fd = sinks[i]->capture == NULL ? sinks[i]->fd : -1;
        w->streams[i] = (struct wasi_stream){
            .fd = fd, .capture = sinks[i]->capture, .counts = &config->counts[i]};
        if (w->fds[i + 1].kind == WASI_OUTPUT) w->fds[i + 1].host_fd = fd;
    }
}

static void open_stdio(struct wasi *w) {
    w->fds[0] = (struct wasi_fd){
        .kind = WASI_INPUT, .host_fd = -1, .rights_base = WASI_RIGHTS_STREAM | WASI_RIGHT_FD_READ};
    for (int i = 0; i < 2; i++) {
        w->fds[i + 1] = (struct wasi_fd){.kind = WASI_OUTPUT,
                                         .host_fd = -1,
                                         .rights_base = WASI_RIGHTS_STREAM | WASI_RIGHT_FD_WRITE,
                                         .stream = &w->streams[i]};
    }
}

static void set_rules(struct wasi *w, const struct wasi_config *config) {
    w->output_limit_bytes = config->output_limit_bytes;
    w->output_truncate = config->output_truncate;
    w->deny_clock = config->deny_clock;
    w->deny_random = config->deny_random;
    w->deadline_ns = config->deadline_ns;
    w->quota_bytes = config->workspace_bytes;
    w->quota_inodes = config->workspace_inodes;
    w->trace_fd = config->trace_fd;
    w->stays = config->stays;
    w->answer_fd = config->answer_fd;
    w->answer_bytes = 0;
    memset(w->random_key, 0, sizeof w->random_key);
    memcpy(w->random_key, &config->seed, sizeof config->seed);
    w->random_block = 0;
}

/* A directory of the guest's and what may be done in it. */
static void set_mount(struct wasi_fd *entry, const struct wasi_mount_config *mount, int fd) {
    uint64_t lacking = mount->writable ? 0 : WASI_RIGHTS_MUTATE;
    entry->kind = WASI_DIRECTORY;
    entry->host_fd = fd;
    entry->rights_base = WASI_RIGHTS_DIRECTORY & ~lacking;
    /* The right to write is inherited even from a read-only mount: libc asks only for what is
     * inherited, and would turn open(O_WRONLY) into a read-only one without a word. path_open
     * answers EROFS instead. */
    entry->rights_inheriting = (WASI_RIGHTS_DIRECTORY & ~lacking) | WASI_RIGHTS_FILE;
    entry->writable_mount = mount->writable;
}

static int set_mounts(struct wasi *w, const struct wasi_config *config, struct error *err) {
    for (size_t i = 0; i < config->mount_count; i++) {
        const struct wasi_mount_config *mount = &config->mounts[i];
        struct wasi_fd *entry = &w->fds[FIRST_PREOPEN + i];
        char *guest_path = strdup(mount->guest_path);
        int fd = fcntl(mount->dir_fd, F_DUPFD_CLOEXEC, 0);
        if (guest_path == NULL || fd < 0) {
            free(guest_path);
            return error_set_errno(err, PA_INTERNAL, errno, "mount %s", mount->guest_path);
        }
        set_mount(entry, mount, fd);
        entry->preopen_path = guest_path;
    }
    w->mount_count = (uint32_t)config->mount_count;
    return 0;
}

int wasi_rebind(struct wasi *w, const struct wasi_config *config, struct error *err) {
    size_t count = config->same_mounts ? 0 : config->mount_count;
    bool same = (config->same_mounts || count == w->mount_count) &&
                config->max_open_files == w->fd_capacity &&
                config->deterministic == w->deterministic;
    for (size_t i = 0; same && i < count; i++) {
        const struct wasi_fd *entry = &w->fds[FIRST_PREOPEN + i];
        same = entry->kind == WASI_DIRECTORY && entry->preopen_path != NULL &&
               strcmp(entry->preopen_path, config->mounts[i].guest_path) == 0;
    }
    if (!same) {
        return error_set(err, PA_INTERNAL, "the warm interpreter was started for other mounts");
    }
    for (size_t i = 0; i < count; i++) {
        struct wasi_fd *entry = &w->fds[FIRST_PREOPEN + i];
        if (config->mounts[i].fixed) continue;
        int fd = fcntl(config->mounts[i].dir_fd, F_DUPFD_CLOEXEC, 0);
        if (fd < 0)
            return error_set_errno(err, PA_INTERNAL, errno, "mount %s", entry->preopen_path);
        (void)close(entry->host_fd); /* the empty directory of the start */
        set_mount(entry, &config->mounts[i], fd);
    }
    set_rules(w, config);
    set_stdio(w, config);
    return 0;
}

static int check_config(const struct wasi_config *config, struct error *err) {
    if (config->max_open_files > MAX_FDS) {
        return error_set(err, PA_INVALID_ARGUMENT, "max_open_files: at most %d", MAX_FDS);
    }
    if (FIRST_PREOPEN + config->mount_count > config->max_open_files) {
        return error_set(err, PA_INVALID_ARGUMENT,
                         "max_open_files: %u are too few for stdio and %zu mounts",
                         config->max_open_files, config->mount_count);
    }
    return 0;
}

struct wasi *wasi_new(const struct wasi_config *config, struct error *err) {
    if (check_config(config, err) != 0) return NULL;
    struct wasi *w = calloc(1, sizeof *w);
    if (w == NULL) {
        error_set(err, PA_INTERNAL, "the run's WASI world: out of memory");
        return NULL;
    }
    w->fd_capacity = config->max_open_files;
    w->deterministic = config->deterministic;
    w->start_ns = clock_now_ns();
    w->before_input = config->before_input;
    w->before_input_context = config->before_input_context;
    set_rules(w, config);
    w->fds = calloc(w->fd_capacity, sizeof *w->fds);
    if (w->fds == NULL) {
        error_set(err, PA_INTERNAL, "the table of %u descriptors: out of memory", w->fd_capacity);
        wasi_free(w);
        return NULL;
    }
    for (uint32_t i = 0; i < w->fd_capacity; i++)
        w->fds[i].host_fd = -1;
    open_stdio(w);
    set_stdio(w, config);
    if (copy_strings("argv", config->argv, config->argc, &w->argv, err) != 0 ||
        copy_strings("env", config->env, config->env_count, &w->env, err) != 0 ||
        set_mounts(w, config, err) != 0) {
        wasi_free(w);
        return NULL;
    }
    return w;
}

void wasi_free(struct wasi *w) {
    if (w == NULL) return;
    for (uint32_t i = 0; w->fds != NULL && i < w->fd_capacity; i++) {
        if (w->fds[i].kind != WASI_CLOSED) wasi_fd_release(w, &w->fds[i]);
    }
    free(w->fds);
    free(w->argv.data);
    free(w->env.data);
    free(w->identities);
    free(w);
}

void wasi_set_memory(struct wasi *w, const struct guest_memory *memory) {
    w->memory = memory;
}

enum wasi_stop wasi_stopped(const struct wasi *w) {
    return w->stop;
}

uint32_t wasi_exit_code(const struct wasi *w) {
    return w->exit_code;
}

wasi_errno wasi_call(struct wasi *w, const struct wasi_function *function, const uint64_t *args) {
    wasi_errno e = function->call(w, args);
    if (w->trace_fd > 0) {
        char line[256];
        int at = snprintf(line, sizeof line, "wasi: %s(", function->name);
        for (size_t i = 0; function->params[i] != 0; i++) {
            uint64_t value = function->params[i] == 'i' ? (uint32_t)args[i] : args[i];
            at += snprintf(line + at, sizeof line - (size_t)at, "%s%llu", i > 0 ? ", " : "",
                           (unsigned long long)value);
        }
        at += snprintf(line + at, sizeof line - (size_t)at, ") = %u\n", e);
        (void)fd_write_all(w->trace_fd, line, (size_t)at); /* a lost trace line ends no run */
    }
    return e;
}

#define F(name, params) \
    { #name, params, true, wasi_##name }
const struct wasi_function wasi_functions[] = {
    F(args_get, "ii"),
    F(args_sizes_get, "ii"),
    F(environ_get, "ii"),
    F(environ_sizes_get, "ii"),
    F(clock_res_get, "ii"),
    F(clock_time_get, "iIi"),
    F(fd_advise, "iIIi"),
    F(fd_allocate, "iII"),
    F(fd_close, "i"),
    F(fd_datasync, "i"),
    F(fd_fdstat_get, "ii"),
    F(fd_fdstat_set_flags, "ii"),
    F(fd_fdstat_set_rights, "iII"),
    F(fd_filestat_get, "ii"),
    F(fd_filestat_set_size, "iI"),
    F(fd_filestat_set_times, "iIIi"),
    F(fd_pread, "iiiIi"),
    F(fd_prestat_get, "ii"),
    F(fd_prestat_dir_name, "iii"),
    F(fd_pwrite, "iiiIi"),
    F(fd_read, "iiii"),
    F(fd_readdir, "iiiIi"),
    F(fd_renumber, "ii"),
    F(fd_seek, "iIii"),
    F(fd_sync, "i"),
    F(fd_tell, "ii"),
    F(fd_write, "iiii"),
    F(path_create_directory, "iii"),
    F(path_filestat_get, "iiiii"),
    F(path_filestat_set_times, "iiiiIIi"),
    F(path_link, "iiiiiii"),
    F(path_open, "iiiiiIIii"),
    F(path_readlink, "iiiiii"),
    F(path_remove_directory, "iii"),
    F(path_rename, "iiiiii"),
    F(path_symlink, "iiiii"),
    F(path_unlink_file, "iii"),
    F(poll_oneoff, "iiii"),
    {"proc_exit", "i", false, wasi_proc_exit},
    F(proc_raise, "i"),
    F(random_get, "ii"),
    F(sched_yield, ""),
    F(sock_accept, "iii"),
    F(sock_recv, "iiiiii"),
    F(sock_send, "iiiii"),
    F(sock_shutdown, "ii"),
};
const size_t wasi_function_count = sizeof wasi_functions / sizeof *wasi_functions;

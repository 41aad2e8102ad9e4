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

enum { MAX_FDS = 65536 };

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

static void open_stdio(struct wasi *w) {
    w->fds[0] = (struct wasi_fd){
        .kind = WASI_INPUT, .host_fd = -1, .rights_base = WASI_RIGHTS_STREAM | WASI_RIGHT_FD_READ};
    for (int i = 0; i < 2; i++) {
        w->fds[i + 1] = (struct wasi_fd){.kind = WASI_OUTPUT,
                                         .host_fd = -1,
                                         .rights_base = WASI_RIGHTS_STREAM | WASI_RIGHT_FD_WRITE,
                                         .stream = &w->streams[i]};
    }
    w->fd_top = WASI_FIRST_PREOPEN;
}

static int check_config(const struct wasi_config *config, struct error *err) {
    if (config->max_open_files > MAX_FDS) {
        return error_set(err, PA_INVALID_ARGUMENT, "max_open_files: at most %d", MAX_FDS);
    }
    if (WASI_FIRST_PREOPEN + config->mount_count > config->max_open_files) {
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
    w->fds = calloc(w->fd_capacity, sizeof *w->fds);
    if (w->fds == NULL) {
        error_set(err, PA_INTERNAL, "the table of %u descriptors: out of memory", w->fd_capacity);
        wasi_free(w);
        return NULL;
    }
    for (uint32_t i = 0; i < w->fd_capacity; i++)
        w->fds[i].host_fd = -1;
    open_stdio(w);
    wasi_job_begin(w, config);
    if (copy_strings("argv", config->argv, config->argc, &w->argv, err) != 0 ||
        copy_strings("env", config->env, config->env_count, &w->env, err) != 0 ||
        wasi_mounts_open(w, config, err) != 0) {
        wasi_free(w);
        return NULL;
    }
    return w;
}

void wasi_free(struct wasi *w) {
    if (w == NULL) return;
    for (uint32_t i = 0; w->fds != NULL && i < w->fd_top; i++) {
        if (w->fds[i].kind != WASI_CLOSED) wasi_fd_release(w, &w->fds[i]);
    }
    free(w->fds);
    wasi_mounts_close(w);
    free(w->argv.data);
    free(w->env.data);
    wasi_inodes_fini(&w->inodes);
    free(w);
}

void wasi_set_memory(struct wasi *w, const struct guest_memory *memory) {
    w->memory = memory;
}

enum wasi_stop wasi_stopped(const struct wasi *w) {
    return w->stop;
}

uint32_t wasi_lost(const struct wasi *w) {
    return w->lost;
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

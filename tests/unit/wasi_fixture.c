#include "wasi_fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void host_write(const char *tree, const char *path, const char *text) {
    char full[256];
    (void)snprintf(full, sizeof full, "%s/%s", tree, path);
    FILE *file = fopen(full, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void host_dir(const char *tree, const char *path) {
    char full[256];
    (void)snprintf(full, sizeof full, "%s/%s", tree, path);
    assert_int_equal(mkdir(full, 0755), 0);
}

static void host_link(const char *tree, const char *path, const char *target) {
    char full[256];
    (void)snprintf(full, sizeof full, "%s/%s", tree, path);
    assert_int_equal(symlink(target, full), 0);
}

static void fill_mount(const char *tree, const char *name) {
    char path[64];
#define IN(suffix) (snprintf(path, sizeof path, "%s/%s", name, suffix), path)
    host_dir(tree, name);
    host_write(tree, IN("file"), "hello");
    host_dir(tree, IN("dir"));
    host_write(tree, IN("dir/inner"), "inner");
    host_link(tree, IN("to_file"), "file");
    host_link(tree, IN("to_dir"), "dir");
    host_link(tree, IN("dangling"), "nowhere");
    host_link(tree, IN("loop"), "loop");
    host_link(tree, IN("escape"), "../outside");
    host_link(tree, IN("escape_file"), "../outside/secret");
#undef IN
}

static int open_dir(const char *tree, const char *name) {
    char full[256];
    (void)snprintf(full, sizeof full, "%s/%s", tree, name);
    int fd = open(full, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

int world_setup(void **state) {
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    assert_true(sodium_init() >= 0);
    (void)strcpy(w->tree, "/tmp/polyagent-test-XXXXXX");
    assert_non_null(mkdtemp(w->tree));
    fill_mount(w->tree, "rw");
    fill_mount(w->tree, "ro");
    host_dir(w->tree, "outside");
    host_write(w->tree, "outside/secret", "secret");
    w->memory = (struct guest_memory){.base = calloc(1, MEMORY_BYTES), .size_bytes = MEMORY_BYTES};
    assert_non_null(w->memory.base);
    w->mounts[0] = (struct wasi_mount_config){"/rw", open_dir(w->tree, "rw"), true, false};
    w->mounts[1] = (struct wasi_mount_config){"/ro", open_dir(w->tree, "ro"), false, false};
    w->config = (struct wasi_config){.stdin_fd = -1,
                                     .mounts = w->mounts,
                                     .mount_count = 2,
                                     .max_open_files = 64,
                                     .workspace_bytes = 1 << 20,
                                     .workspace_inodes = 100,
                                     .output_limit_bytes = 1000,
                                     .deadline_ns = CLOCK_NEVER,
                                     .stdout_sink = {.fd = -1, .capture = &w->output[0]},
                                     .stderr_sink = {.fd = -1, .capture = &w->output[1]},
                                     .counts = w->counts,
                                     .growth = &w->growth};
    world_restart(w);
    *state = w;
    return 0;
}

void world_restart(struct world *w) {
    struct error err = {0};
    wasi_free(w->wasi);
    w->growth = (struct wasi_growth){0};
    w->wasi = wasi_new(&w->config, &err);
    if (w->wasi == NULL) fail_msg("%s", err.text);
    wasi_set_memory(w->wasi, &w->memory);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

int world_teardown(void **state) {
    struct world *w = *state;
    wasi_free(w->wasi);
    buffer_fini(&w->output[0]);
    buffer_fini(&w->output[1]);
    free(w->memory.base);
    (void)close(w->mounts[0].dir_fd);
    (void)close(w->mounts[1].dir_fd);
    int result = nftw(w->tree, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(w);
    return result;
}

wasi_errno call_n(struct world *w, const char *name, const uint64_t args[10]) {
    for (size_t i = 0; i < wasi_function_count; i++) {
        if (strcmp(wasi_functions[i].name, name) == 0) {
            return wasi_call(w->wasi, &wasi_functions[i], args);
        }
    }
    fail_msg("no function %s", name);
    return 0;
}

uint64_t put_path(struct world *w, uint32_t at, const char *path) {
    assert_true(guest_put(&w->memory, at, path, strlen(path)));
    return strlen(path);
}

uint32_t get_u32(struct world *w, uint32_t at) {
    uint32_t value = 0;
    assert_true(guest_get(&w->memory, at, &value, sizeof value));
    return value;
}

uint64_t get_u64(struct world *w, uint32_t at) {
    uint64_t value = 0;
    assert_true(guest_get(&w->memory, at, &value, sizeof value));
    return value;
}

wasi_errno open_path(struct world *w, uint32_t dir, const char *path, uint32_t lookup,
                     uint32_t oflags, uint64_t rights, uint16_t fdflags, uint32_t *fd) {
    uint64_t length = put_path(w, AT_PATH, path);
    wasi_errno e = CALL(w, "path_open", dir, lookup, AT_PATH, length, oflags, rights, ALL_RIGHTS,
                        fdflags, AT_OUT);
    if (e == WASI_SUCCESS) *fd = get_u32(w, AT_OUT);
    return e;
}

uint32_t open_ok(struct world *w, uint32_t dir, const char *path, uint32_t oflags) {
    uint32_t fd = UINT32_MAX;
    uint64_t rights = oflags & WASI_OFLAG_DIRECTORY ? WASI_RIGHTS_DIRECTORY : WASI_RIGHTS_FILE;
    if (dir == RO) { /* all that can be asked for without EROFS */
        rights &= ~(uint64_t)(WASI_RIGHT_FD_WRITE | WASI_RIGHT_FD_ALLOCATE |
                              WASI_RIGHT_FD_FILESTAT_SET_SIZE);
    }
    assert_int_equal(open_path(w, dir, path, 0, oflags, rights, 0, &fd), WASI_SUCCESS);
    return fd;
}

static void put_iovec(struct world *w, uint32_t ptr, uint32_t length) {
    const uint32_t pair[2] = {ptr, length};
    assert_true(guest_put(&w->memory, AT_IOV, pair, sizeof pair));
}

wasi_errno write_text(struct world *w, uint32_t fd, const char *text, uint32_t *done) {
    assert_true(guest_put(&w->memory, AT_DATA, text, strlen(text)));
    put_iovec(w, AT_DATA, (uint32_t)strlen(text));
    wasi_errno e = CALL(w, "fd_write", fd, AT_IOV, 1, AT_OUT);
    if (e == WASI_SUCCESS) *done = get_u32(w, AT_OUT);
    return e;
}

wasi_errno read_text(struct world *w, uint32_t fd, uint32_t size, char *out, uint32_t *done) {
    put_iovec(w, AT_DATA, size);
    wasi_errno e = CALL(w, "fd_read", fd, AT_IOV, 1, AT_OUT);
    if (e != WASI_SUCCESS) return e;
    *done = get_u32(w, AT_OUT);
    assert_true(guest_get(&w->memory, AT_DATA, out, *done));
    out[*done] = 0;
    return e;
}

const char *host_text(struct world *w, const char *path) {
    static char text[65536];
    char full[256];
    (void)snprintf(full, sizeof full, "%s/%s", w->tree, path);
    FILE *file = fopen(full, "r");
    size_t size = file != NULL ? fread(text, 1, sizeof text - 1, file) : 0;
    if (file != NULL) (void)fclose(file);
    text[size] = 0;
    return text;
}

bool host_exists(struct world *w, const char *path) {
    char full[256];
    struct stat st;
    (void)snprintf(full, sizeof full, "%s/%s", w->tree, path);
    return lstat(full, &st) == 0;
}

void assert_outside_untouched(struct world *w) {
    char full[256];
    struct stat st;
    (void)snprintf(full, sizeof full, "%s/outside", w->tree);
    DIR *dir = opendir(full);
    int entries = 0;
    assert_non_null(dir);
    while (readdir(dir) != NULL)
        entries++;
    (void)closedir(dir);
    assert_int_equal(entries, 3); /* ".", ".." and secret */
    (void)snprintf(full, sizeof full, "%s/outside/secret", w->tree);
    assert_int_equal(stat(full, &st), 0);
    assert_int_equal(st.st_nlink, 1);
    assert_string_equal(host_text(w, "outside/secret"), "secret");
}

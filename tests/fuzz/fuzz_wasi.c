/* Promise: no sequence of WASI calls, whatever their arguments, touches anything beside its mounts,
 * leaves a descriptor open, or reads or writes beyond the guest's memory. The input is a program of
 * calls over the world of tests/unit/wasi_fixture.h. */
#include "fuzz.h"

#include "../unit/wasi_fixture.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_CALLS = 60 };

/* Pieces that paths are made of. */
static const char *const pieces[] = {"file",        "dir",      "inner",   "to_file",
                                     "to_dir",      "dangling", "loop",    "escape",
                                     "escape_file", "..",       ".",       "/",
                                     "//",          "new",      "outside", "secret",
                                     "\xff",        "",         "a",       "../outside/secret",
                                     "/etc/passwd", "rw"};

static int count_fds(void) {
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (dir != NULL && readdir(dir) != NULL)
        count++;
    if (dir != NULL) (void)closedir(dir);
    return count;
}

static uint64_t number(struct input *in) {
    static const uint64_t edges[] = {0,
                                     1,
                                     3,
                                     4,
                                     5,
                                     8,
                                     AT_PATH,
                                     AT_PATH2,
                                     AT_OUT,
                                     AT_IOV,
                                     AT_DATA,
                                     MEMORY_BYTES - 8,
                                     MEMORY_BYTES - 1,
                                     MEMORY_BYTES,
                                     0x7fffffff,
                                     0x80000000,
                                     0xffffffff,
                                     ALL_RIGHTS,
                                     UINT64_MAX,
                                     UINT64_C(1) << 63};
    uint8_t kind = take_byte(in);
    if (kind < 192) return edges[kind % (sizeof edges / sizeof *edges)];
    return kind < 224 ? take_byte(in) : take_number(in);
}

static void put_random_path(struct world *w, struct input *in, uint32_t at, uint64_t *length) {
    char path[256] = "";
    uint8_t count = take_byte(in) % 6;
    for (uint8_t i = 0; i <= count; i++) {
        uint8_t piece = take_byte(in);
        (void)strncat(path, pieces[piece % (sizeof pieces / sizeof *pieces)],
                      sizeof path - strlen(path) - 1);
        if (piece & 0x80) (void)strncat(path, "/", sizeof path - strlen(path) - 1);
    }
    *length = put_path(w, at, path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input in = {data, size};
    struct stat before, after;
    char cwd[2][4096], secret[128];
    void *state = NULL;
    int fds = count_fds();
    PROMISE(getcwd(cwd[0], sizeof cwd[0]) != NULL);
    PROMISE(world_setup(&state) == 0);
    struct world *w = state;
    (void)snprintf(secret, sizeof secret, "%s/outside/secret", w->tree);
    PROMISE(stat(secret, &before) == 0);
    w->config.deterministic = take_byte(&in) & 1; /* then nobody sleeps */
    w->config.deadline_ns = clock_deadline_ns(20);
    world_restart(w);
    for (int i = 0; i < MOST_CALLS && in.size > 0 && wasi_stopped(w->wasi) == WASI_RUNNING; i++) {
        uint64_t args[10] = {0}, length = 0;
        const struct wasi_function *function =
            &wasi_functions[take_byte(&in) % wasi_function_count];
        bool path = strncmp(function->name, "path_", 5) == 0;
        for (size_t k = 0; function->params[k] != 0; k++)
            args[k] = number(&in);
        if (path && take_byte(&in) % 8 !=
                        0) { /* mostly with names that are some, where it looks for them */
            uint32_t at = AT_PATH;
            for (size_t k = 0; function->params[k] != 0 && function->params[k + 1] != 0; k++) {
                if (args[k] != AT_PATH && args[k] != AT_PATH2) continue;
                put_random_path(w, &in, at, &length);
                args[k] = at;
                args[k + 1] = length;
                at = AT_PATH2;
            }
            if (args[0] > 8) args[0] = args[0] % 2 == 0 ? RW : RO;
        }
        (void)wasi_call(w->wasi, function, args);
    }
    PROMISE(stat(secret, &after) == 0);
    PROMISE(before.st_ino == after.st_ino && before.st_nlink == after.st_nlink &&
            before.st_size == after.st_size);
    PROMISE(before.st_mtim.tv_nsec == after.st_mtim.tv_nsec &&
            before.st_ctim.tv_nsec == after.st_ctim.tv_nsec);
    assert_outside_untouched(w);
    PROMISE(strcmp(host_text(w, "ro/file"), "hello") == 0 &&
            strcmp(host_text(w, "ro/dir/inner"), "inner") == 0);
    PROMISE(world_teardown(&state) == 0);
    PROMISE(getcwd(cwd[1], sizeof cwd[1]) != NULL && strcmp(cwd[0], cwd[1]) == 0);
    PROMISE(count_fds() == fds);
    return 0;
}

/* Promise: no sequence of WASI calls, whatever their arguments, in whatever turns of a session,
 * touches anything beside its mounts, leaves a descriptor open, reads or writes beyond the guest's
 * memory or what a former job brought, or takes more of the disk than its quotas; and what the
 * world says it has grown by is what a count of the files gives. The input is a program of calls,
 * and of ends of turns, over the world of tests/unit/wasi_fixture.h. */
#include "fuzz.h"

#include "../unit/wasi_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_CALLS = 60, QUOTA_BYTES = 64 << 10, QUOTA_NAMES = 12, MOST_FILES = 512 };

/* What is read and written, at AT_IOV. */
static const uint32_t iovecs[][2] = {{AT_DATA, 8},  {AT_DATA, 100},  {AT_DATA, 5000},
                                     {AT_DATA, 0},  {AT_DATA, 4096}, {AT_DATA, 1},
                                     {AT_DATA, 16}, {AT_DATA, 3}};

/* Pieces that paths are made of. */
static const char *const pieces[] = {"file",        "dir",      "inner",   "to_file",
                                     "to_dir",      "dangling", "loop",    "escape",
                                     "escape_file", "..",       ".",       "/",
                                     "//",          "new",      "outside", "secret",
                                     "\xff",        "",         "a",       "../outside/secret",
                                     "/etc/passwd", "rw",       "b",       "c"};

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

/* What is in the mount, and without a name in the table: counted by looking. */
struct taken {
    uint64_t bytes, names; /* with a name, as quotas count */
    uint64_t held_bytes;   /* without one, but open */
    uint64_t disk_bytes;   /* all of it, as the file system counts */
    struct stat seen[MOST_FILES];
    size_t count;
};

static bool is_new(struct taken *t, const struct stat *st) {
    for (size_t i = 0; i < t->count; i++)
        if (t->seen[i].st_ino == st->st_ino && t->seen[i].st_dev == st->st_dev) return false;
    PROMISE(t->count < MOST_FILES);
    t->seen[t->count++] = *st;
    return true;
}

static void count_folder(struct taken *t, int dir_fd, const char *name) {
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    PROMISE(dir != NULL);
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        struct stat st;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        PROMISE(fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0);
        t->names++;
        if (is_new(t, &st)) {
            t->bytes += wasi_disk_bytes(st.st_mode, (uint64_t)st.st_size);
            t->disk_bytes += (uint64_t)st.st_blocks * 512;
        }
        if (S_ISDIR(st.st_mode)) count_folder(t, fd, entry->d_name);
    }
    (void)closedir(dir);
}

static void count_open(struct taken *t, dev_t dev) {
    DIR *dir = opendir("/proc/self/fd");
    const struct dirent *entry;
    PROMISE(dir != NULL);
    while ((entry = readdir(dir)) != NULL) {
        struct stat st;
        if (fstat(atoi(entry->d_name), &st) != 0 || !S_ISREG(st.st_mode) || st.st_nlink > 0 ||
            st.st_dev != dev || !is_new(t, &st))
            continue;
        t->held_bytes += wasi_disk_bytes(st.st_mode, (uint64_t)st.st_size);
        t->disk_bytes += (uint64_t)st.st_blocks * 512;
    }
    (void)closedir(dir);
}

static struct taken *take_stock(struct world *w) {
    static struct taken t[2];
    static int which;
    struct stat st;
    struct taken *now = &t[which ^= 1];
    *now = (struct taken){0};
    PROMISE(fstat(w->mounts[0].dir_fd, &st) == 0);
    count_folder(now, w->mounts[0].dir_fd, ".");
    count_open(now, st.st_dev);
    return now;
}

/* What a job brings is gone with it; AddressSanitizer sees who looks at it later. */
struct job {
    char *data;
    struct wasi_output_counts *counts;
    struct buffer output[2];
    struct wasi_growth growth, former;
};

static void bring(struct world *w, struct job *job) {
    job->data = malloc(32);
    job->counts = calloc(2, sizeof *job->counts);
    PROMISE(job->data != NULL && job->counts != NULL);
    memset(job->data, 'j', 32);
    w->config.job_data = job->data;
    w->config.job_bytes = 16;
    w->config.stdin_data = job->data + 16;
    w->config.stdin_bytes = 16;
    w->config.counts = job->counts;
    w->config.stdout_sink.capture = &job->output[0];
    w->config.stderr_sink.capture = &job->output[1];
    w->config.growth = &job->growth;
    job->growth = (struct wasi_growth){0};
    int64_t bytes = QUOTA_BYTES - job->former.bytes, names = QUOTA_NAMES - job->former.names;
    w->config.workspace_bytes = bytes > 0 ? (uint64_t)bytes : 0;
    w->config.workspace_inodes = names > 0 ? (uint64_t)names : 0;
}

static void take_away(struct job *job) {
    free(job->data);
    free(job->counts);
    buffer_fini(&job->output[0]);
    buffer_fini(&job->output[1]);
    job->former.bytes += job->growth.bytes;
    job->former.names += job->growth.names;
}

static void end_turn(struct world *w, struct job *job, uint8_t how) {
    struct error err = {0};
    wasi_rest(w->wasi);
    take_away(job);
    bring(w, job);
    w->config.moved = how & 1;
    w->config.same_mounts = how & 2;
    PROMISE(wasi_rebind(w->wasi, &w->config, &err) == 0);
}

static void check_quotas(struct world *w, const struct job *job, const struct taken *before) {
    const struct taken *now = take_stock(w);
    int64_t bytes = (int64_t)(now->bytes - before->bytes);
    int64_t names = (int64_t)(now->names - before->names);
    PROMISE(job->growth.bytes + job->former.bytes == bytes);
    PROMISE(job->growth.names + job->former.names == names);
    PROMISE(names <= QUOTA_NAMES);
    PROMISE(bytes + (int64_t)now->held_bytes <= QUOTA_BYTES);
    PROMISE(now->disk_bytes <= before->disk_bytes + QUOTA_BYTES);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input in = {data, size};
    struct stat secret_before, after;
    char cwd[2][4096], secret[128];
    void *state = NULL;
    int fds = count_fds();
    PROMISE(getcwd(cwd[0], sizeof cwd[0]) != NULL);
    PROMISE(world_setup(&state) == 0);
    struct world *w = state;
    (void)snprintf(secret, sizeof secret, "%s/outside/secret", w->tree);
    PROMISE(stat(secret, &secret_before) == 0);
    w->config.deterministic = take_byte(&in) & 1; /* then nobody sleeps */
    w->config.deadline_ns = clock_deadline_ns(20);
    w->config.stays = true;
    struct taken before = *take_stock(w);
    struct job job = {0};
    bring(w, &job);
    world_restart(w);
    PROMISE(guest_put(&w->memory, AT_IOV, iovecs, sizeof iovecs));
    for (int i = 0; i < MOST_CALLS && in.size > 0 && wasi_stopped(w->wasi) == WASI_RUNNING; i++) {
        uint64_t args[10] = {0}, length = 0;
        uint8_t what = take_byte(&in);
        if (what >= 240) {
            end_turn(w, &job, what);
            continue;
        }
        const struct wasi_function *function = &wasi_functions[what % wasi_function_count];
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
            uint64_t *dir = strcmp(function->name, "path_symlink") == 0 ? &args[2] : &args[0];
            if (*dir > 8) *dir = *dir % 2 == 0 ? RW : RO;
        }
        (void)wasi_call(w->wasi, function, args);
    }
    check_quotas(w, &job, &before);
    PROMISE(stat(secret, &after) == 0);
    PROMISE(secret_before.st_ino == after.st_ino && secret_before.st_nlink == after.st_nlink &&
            secret_before.st_size == after.st_size);
    PROMISE(secret_before.st_mtim.tv_nsec == after.st_mtim.tv_nsec &&
            secret_before.st_ctim.tv_nsec == after.st_ctim.tv_nsec);
    assert_outside_untouched(w);
    PROMISE(strcmp(host_text(w, "ro/file"), "hello") == 0 &&
            strcmp(host_text(w, "ro/dir/inner"), "inner") == 0);
    wasi_rest(w->wasi);
    take_away(&job);
    PROMISE(world_teardown(&state) == 0);
    PROMISE(getcwd(cwd[1], sizeof cwd[1]) != NULL && strcmp(cwd[0], cwd[1]) == 0);
    PROMISE(count_fds() == fds);
    return 0;
}

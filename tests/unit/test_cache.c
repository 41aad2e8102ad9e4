/* Promise: a cache entry that is not exactly what we wrote is a miss, removed, and never loaded. */
#include "wasi_fixture.h"

#include "sandbox/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAYLOAD_BYTES = 5000 };

struct bench {
    char tree[64];
    struct cache cache;
    char name[CACHE_NAME_BYTES];
};

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void put_named(struct bench *b, const char *name, enum cache_class class) {
    static const uint8_t payload[PAYLOAD_BYTES] = {1, 2, 3};
    char temp[CACHE_NAME_BYTES];
    struct error err = {0};
    int fd = cache_begin(&b->cache, temp);
    assert_true(fd >= 0);
    assert_int_equal(fd_write_all(fd, payload, sizeof payload), 0);
    assert_int_equal(cache_commit(&b->cache, fd, temp, name, class, &err), 0);
    (void)close(fd);
}

static void put_entry(struct bench *b) {
    put_named(b, b->name, CACHE_MODULE);
}

static int setup(void **state) {
    struct bench *b = calloc(1, sizeof *b);
    struct error err = {0};
    const uint8_t digest[32] = {9};
    char path[128];
    assert_non_null(b);
    (void)strcpy(b->tree, "/tmp/polyagent-test-XXXXXX");
    assert_non_null(mkdtemp(b->tree));
    (void)snprintf(path, sizeof path, "%s/state", b->tree);
    assert_int_equal(setenv("POLYAGENT_STATE_DIR", path, 1), 0);
    (void)snprintf(path, sizeof path, "%s/cache/below", b->tree); /* made, with its parents */
    if (cache_open(&b->cache, path, &err) != 0) fail_msg("%s", err.text);
    cache_entry_name(&b->cache, digest, "settings", b->name);
    put_entry(b);
    *state = b;
    return 0;
}

static int teardown(void **state) {
    struct bench *b = *state;
    cache_close(&b->cache);
    int result = nftw(b->tree, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(b);
    return result;
}

static bool hits(struct bench *b) {
    int fd = cache_load(&b->cache, b->name);
    if (fd >= 0) (void)close(fd);
    return fd >= 0;
}

static bool exists(struct bench *b) {
    struct stat st;
    return fstatat(b->cache.dir_fd, b->name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static void test_what_was_stored_is_found(void **state) {
    struct bench *b = *state;
    struct stat st;
    assert_true(hits(b));
    assert_int_equal(fstatat(b->cache.dir_fd, b->name, &st, 0), 0);
    assert_int_equal(st.st_mode & 0777, 0444);
    const uint8_t digest[32] = {9};
    char other[CACHE_NAME_BYTES];
    cache_entry_name(&b->cache, digest, "other settings",
                     other); /* of another variant, engine, CPU */
    assert_string_not_equal(other, b->name);
}

static void test_every_damaged_byte_is_noticed(void **state) {
    struct bench *b = *state;
    for (off_t at = 0; at < PAYLOAD_BYTES + 48; at += at < PAYLOAD_BYTES ? 97 : 1) {
        uint8_t byte;
        int fd = openat(b->cache.dir_fd, b->name, O_RDWR | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= 0x10;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        (void)close(fd);
        assert_false(hits(b));
        assert_false(exists(b)); /* removed, so that it is made anew */
        put_entry(b);
    }
}

static void test_truncated_entries_are_misses(void **state) {
    struct bench *b = *state;
    for (off_t size = 0; size < PAYLOAD_BYTES + 64; size += 211) {
        int fd = openat(b->cache.dir_fd, b->name, O_RDWR | O_CLOEXEC);
        assert_int_equal(ftruncate(fd, size), 0);
        (void)close(fd);
        assert_false(hits(b));
        put_entry(b);
    }
}

static void test_an_entry_under_another_name_is_a_miss(void **state) {
    struct bench *b = *state;
    char other[CACHE_NAME_BYTES];
    const uint8_t digest[32] = {10};
    cache_entry_name(&b->cache, digest, "settings", other);
    assert_int_equal(renameat(b->cache.dir_fd, b->name, b->cache.dir_fd, other), 0);
    (void)strcpy(b->name, other);
    assert_false(hits(b));
}

static void test_what_is_not_our_private_file_is_a_miss(void **state) {
    struct bench *b = *state;
    assert_int_equal(fchmodat(b->cache.dir_fd, b->name, 0644, 0), 0); /* others can read it */
    assert_false(hits(b));
    put_entry(b);
    assert_int_equal(linkat(b->cache.dir_fd, b->name, b->cache.dir_fd, "second", 0), 0);
    assert_false(hits(b)); /* reachable by another name */
    put_entry(b);
    assert_int_equal(renameat(b->cache.dir_fd, b->name, b->cache.dir_fd, "moved"), 0);
    assert_int_equal(symlinkat("moved", b->cache.dir_fd, b->name), 0);
    assert_false(hits(b));
    assert_false(exists(b));
    assert_int_equal(mkfifoat(b->cache.dir_fd, b->name, 0600), 0);
    assert_false(hits(b)); /* and does not hang */
    put_entry(b);
    if (geteuid() == 0) { /* only root can give files away */
        assert_int_equal(fchownat(b->cache.dir_fd, b->name, 65534, 65534, 0), 0);
        assert_false(hits(b));
    }
}

static void test_another_key_opens_nothing(void **state) {
    struct bench *b = *state;
    b->cache.key[5] ^= 1;
    assert_false(hits(b));
}

static void test_a_directory_open_to_others_is_refused(void **state) {
    struct bench *b = *state;
    struct cache cache;
    struct error err = {0};
    assert_int_equal(chmod(b->cache.path, 0777), 0);
    assert_int_equal(cache_open(&cache, b->cache.path, &err), -1);
    assert_int_equal(err.code, PA_DENIED);
    assert_non_null(strstr(err.text, "chmod 700"));
    cache_close(&cache);
}

static void test_others_cannot_read_code(void **state) {
    struct bench *b = *state;
    struct cache cache;
    struct error err = {0};
    struct stat st;
    assert_int_equal(chmod(b->cache.path, 0755), 0); /* as an installer, or mkdir, makes it */
    assert_int_equal(cache_open(&cache, b->cache.path, &err), 0);
    assert_int_equal(stat(b->cache.path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    cache_close(&cache);
    assert_true(hits(b));
    assert_int_equal(chmod(b->cache.path, 0755), 0);
    assert_int_equal(mkdirat(b->cache.dir_fd, "of-others", 0755), 0);
    assert_int_equal(cache_open(&cache, b->cache.path, &err), -1);
    assert_int_equal(err.code, PA_DENIED);
    assert_non_null(strstr(err.text, "chmod 700"));
    cache_close(&cache);
    assert_int_equal(stat(b->cache.path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
}

static void test_leftovers_of_killed_writers_go(void **state) {
    struct bench *b = *state;
    const struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    char temp[CACHE_NAME_BYTES], other[CACHE_NAME_BYTES];
    int fd = cache_begin(&b->cache, temp); /* and its writer dies */
    assert_true(fd >= 0);
    assert_int_equal(futimens(fd, old), 0);
    (void)close(fd);
    fd = cache_begin(&b->cache, other);
    assert_true(fd >= 0);
    (void)close(fd);
    b->cache.added = 0; /* all are counted with the next one */
    put_entry(b);
    assert_int_not_equal(faccessat(b->cache.dir_fd, temp, F_OK, 0), 0);
    assert_int_equal(faccessat(b->cache.dir_fd, other, F_OK, 0), 0); /* young: somebody's work */
    cache_abort(&b->cache, other);
    assert_true(hits(b));
}

static void name_of(const struct bench *b, int number, char name[CACHE_NAME_BYTES]) {
    const uint8_t digest[32] = {(uint8_t)number, 77};
    cache_entry_name(&b->cache, digest, "settings", name);
}

static bool is_there(const struct bench *b, int number) {
    char name[CACHE_NAME_BYTES];
    name_of(b, number, name);
    return faccessat(b->cache.dir_fd, name, F_OK, 0) == 0;
}

/* Ten entries of 5 KB, the first an interpreter's, each used a minute after the one before. */
static void put_ten(struct bench *b) {
    char name[CACHE_NAME_BYTES];
    for (int i = 0; i < 10; i++) {
        const struct timespec used[2] = {{.tv_sec = 1000 + i * 60}, {.tv_sec = 1000 + i * 60}};
        name_of(b, i, name);
        put_named(b, name, i == 0 ? CACHE_INTERPRETER : CACHE_MODULE);
        assert_int_equal(utimensat(b->cache.dir_fd, name, used, 0), 0);
    }
}

/* What is added beyond the bound drops what was used least; a run counts as use, and whatever
 * strangers add, the interpreter stays. */
static void test_what_was_used_least_makes_room(void **state) {
    struct bench *b = *state;
    char name[CACHE_NAME_BYTES];
    put_ten(b);
    name_of(b, 1, name);
    int fd = cache_load(&b->cache, name); /* the oldest module is used again */
    assert_true(fd >= 0);
    (void)close(fd);
    b->cache.max_bytes = UINT64_C(6) * PAYLOAD_BYTES;
    put_entry(b);
    assert_true(exists(b));
    assert_true(is_there(b, 0) && is_there(b, 1) && is_there(b, 9));
    assert_false(is_there(b, 2) || is_there(b, 3) || is_there(b, 4));
    assert_true(hits(b));
}

/* Two servers with a state each and one cache: neither finds, drops nor counts the other's. */
static void test_entries_of_another_key_are_left_alone(void **state) {
    struct bench *b = *state;
    struct error err = {0};
    struct bench other = *b;
    char path[128];
    (void)snprintf(path, sizeof path, "%s/other", b->tree);
    assert_int_equal(setenv("POLYAGENT_STATE_DIR", path, 1), 0);
    assert_int_equal(cache_open(&other.cache, b->cache.path, &err), 0);
    const uint8_t digest[32] = {9};
    cache_entry_name(&other.cache, digest, "settings", other.name);
    assert_string_not_equal(other.name, b->name);
    assert_false(hits(&other));
    other.cache.max_bytes = 1;
    put_entry(&other);
    assert_true(hits(&other) && hits(b));
    cache_close(&other.cache);
}

/* Who comes second is told, until the first is done. */
static void test_an_entry_is_made_by_one_process(void **state) {
    struct bench *b = *state;
    struct error err = {0};
    struct cache other;
    assert_int_equal(cache_open(&other, b->cache.path, &err), 0);
    assert_int_equal(cache_lock(&b->cache, b->name, false), 0);
    assert_int_equal(cache_lock(&other, b->name, false), -EAGAIN);
    assert_int_equal(cache_lock(&other, "another", false), 0);
    cache_unlock(&b->cache, b->name);
    assert_int_equal(cache_lock(&other, b->name, false), 0);
    cache_close(&other);
    assert_int_equal(cache_lock(&b->cache, b->name, false), 0); /* gone with its process */
}

static void test_clearing_leaves_nothing(void **state) {
    struct bench *b = *state;
    struct error err = {0};
    assert_int_equal(cache_clear(&b->cache, &err), 1);
    assert_false(exists(b));
    assert_int_equal(cache_clear(&b->cache, &err), 0);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_what_was_used_least_makes_room),
        T(test_entries_of_another_key_are_left_alone),
        T(test_an_entry_is_made_by_one_process),
        T(test_what_was_stored_is_found),
        T(test_every_damaged_byte_is_noticed),
        T(test_truncated_entries_are_misses),
        T(test_an_entry_under_another_name_is_a_miss),
        T(test_what_is_not_our_private_file_is_a_miss),
        T(test_another_key_opens_nothing),
        T(test_a_directory_open_to_others_is_refused),
        T(test_others_cannot_read_code),
        T(test_leftovers_of_killed_writers_go),
        T(test_clearing_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Promise: no path, however it is written, reaches anything outside the mounted directory; and
 * inside, paths mean what POSIX says. */
#include "wasi_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static wasi_errno try_open(struct world *w, const char *path, uint32_t lookup, uint32_t oflags) {
    uint32_t fd = 0;
    uint64_t rights = oflags & WASI_OFLAG_DIRECTORY ? WASI_RIGHTS_DIRECTORY : WASI_RIGHT_FD_READ;
    return open_path(w, RW, path, lookup, oflags, rights, 0, &fd);
}

/* A function that takes (fd, path, len) only. */
static wasi_errno on_path(struct world *w, const char *function, const char *path) {
    uint64_t length = put_path(w, AT_PATH, path);
    return CALL(w, function, RW, AT_PATH, length);
}

static wasi_errno stat_path(struct world *w, uint32_t lookup, const char *path) {
    uint64_t length = put_path(w, AT_PATH, path);
    return CALL(w, "path_filestat_get", RW, lookup, AT_PATH, length, AT_OUT);
}

static wasi_errno touch(struct world *w, uint32_t lookup, const char *path) {
    uint64_t length = put_path(w, AT_PATH, path);
    return CALL(w, "path_filestat_set_times", RW, lookup, AT_PATH, length, 1, 1, 5);
}

static wasi_errno rename_path(struct world *w, const char *from, const char *to) {
    uint64_t n = put_path(w, AT_PATH, from), m = put_path(w, AT_PATH2, to);
    return CALL(w, "path_rename", RW, AT_PATH, n, RW, AT_PATH2, m);
}

static wasi_errno link_path(struct world *w, uint32_t flags, const char *from, const char *to) {
    uint64_t n = put_path(w, AT_PATH, from), m = put_path(w, AT_PATH2, to);
    return CALL(w, "path_link", RW, flags, AT_PATH, n, RW, AT_PATH2, m);
}

static wasi_errno symlink_path(struct world *w, const char *target, const char *path) {
    uint64_t n = put_path(w, AT_PATH, target), m = put_path(w, AT_PATH2, path);
    return CALL(w, "path_symlink", AT_PATH, n, RW, AT_PATH2, m);
}

static void test_interesting_paths_open(void **state) {
    struct world *w = *state;
    const char *const good[] = {"dir/inner", "./dir/.//../dir/./inner", "to_dir/inner",
                                "dir//inner"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(try_open(w, good[i], 0, 0), WASI_SUCCESS);
    }
    assert_int_equal(try_open(w, "dir/", 0, WASI_OFLAG_DIRECTORY), WASI_SUCCESS);
    assert_int_equal(try_open(w, "dir///", 0, 0), WASI_SUCCESS);
    assert_int_equal(try_open(w, ".", 0, WASI_OFLAG_DIRECTORY), WASI_SUCCESS);
    assert_int_equal(try_open(w, "dir/inner/", 0, 0), WASI_ENOTDIR);
    assert_int_equal(try_open(w, "dir/inner/.", 0, 0), WASI_ENOTDIR);
    assert_int_equal(try_open(w, "/dir/inner", 0, 0), WASI_EPERM);
    assert_int_equal(try_open(w, "", 0, 0), WASI_ENOENT);
    assert_int_equal(try_open(w, "missing", 0, 0), WASI_ENOENT);
    assert_int_equal(try_open(w, "file", 0, WASI_OFLAG_DIRECTORY), WASI_ENOTDIR);
    assert_int_equal(try_open(w, "\xff", 0, 0), WASI_EILSEQ);
    assert_true(guest_put(&w->memory, AT_PATH, "dir\0x", 5));
    assert_int_equal(CALL(w, "path_open", RW, 0, AT_PATH, 5, 0, 2, 0, 0, AT_OUT), WASI_EINVAL);
    assert_int_equal(CALL(w, "path_open", RW, 0, MEMORY_BYTES - 2, 3, 0, 2, 0, 0, AT_OUT),
                     WASI_EFAULT);
    memset(w->memory.base + AT_DATA, 'a', 5000);
    assert_int_equal(CALL(w, "path_open", RW, 0, AT_DATA, 4096, 0, 2, 0, 0, AT_OUT),
                     WASI_ENAMETOOLONG);
    assert_int_equal(CALL(w, "path_open", RW, 0, AT_DATA, 300, 0, 2, 0, 0, AT_OUT),
                     WASI_ENAMETOOLONG);
    assert_int_equal(CALL(w, "path_open", 60, 0, AT_PATH, 3, 0, 2, 0, 0, AT_OUT), WASI_EBADF);
    uint32_t file = open_ok(w, RW, "file", 0);
    assert_int_equal(CALL(w, "path_open", file, 0, AT_PATH, 3, 0, 2, 0, 0, AT_OUT), WASI_ENOTDIR);
}

static void test_dot_dot_never_leaves(void **state) {
    struct world *w = *state;
    const char *const bad[] = {"..",
                               "../",
                               "../outside/secret",
                               "dir/../..",
                               "a/../../x",
                               "./../outside",
                               "dir/../../rw",
                               "../rw/file",
                               "to_dir/../../outside/secret",
                               "escape/secret",
                               "escape_file",
                               "escape/../rw/file"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        for (uint32_t lookup = 0; lookup < 2; lookup++) {
            assert_int_not_equal(try_open(w, bad[i], lookup, 0), WASI_SUCCESS);
            assert_int_not_equal(try_open(w, bad[i], lookup, WASI_OFLAG_DIRECTORY), WASI_SUCCESS);
        }
        assert_int_not_equal(on_path(w, "path_create_directory", bad[i]), WASI_SUCCESS);
        assert_int_not_equal(on_path(w, "path_remove_directory", bad[i]), WASI_SUCCESS);
        assert_int_not_equal(touch(w, 1, bad[i]), WASI_SUCCESS);
        assert_int_not_equal(stat_path(w, 1, bad[i]), WASI_SUCCESS);
    }
    assert_int_equal(try_open(w, "../outside/secret", 0, 0), WASI_EPERM);
    assert_int_equal(try_open(w, "../no such thing", 0, 0), WASI_EPERM); /* tells nothing apart */
    assert_outside_untouched(w);
}

/* security.md finding 1: with NOFOLLOW and a trailing slash the kernel still follows a link. */
static void test_trailing_slashes_on_an_escaping_link_touch_nothing(void **state) {
    struct world *w = *state;
    const char *const names[] = {"escape/", "escape//", "escape/.", "escape/./", "dir/../escape/"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *name = names[i];
        for (uint32_t lookup = 0; lookup < 2; lookup++) {
            assert_int_not_equal(stat_path(w, lookup, name), WASI_SUCCESS);
            assert_int_not_equal(touch(w, lookup, name), WASI_SUCCESS);
            assert_int_not_equal(try_open(w, name, lookup, WASI_OFLAG_DIRECTORY), WASI_SUCCESS);
            assert_int_not_equal(try_open(w, name, lookup, WASI_OFLAG_CREAT), WASI_SUCCESS);
        }
        assert_int_not_equal(on_path(w, "path_create_directory", name), WASI_SUCCESS);
        assert_int_not_equal(on_path(w, "path_remove_directory", name), WASI_SUCCESS);
        assert_int_not_equal(on_path(w, "path_unlink_file", name), WASI_SUCCESS);
        assert_int_not_equal(rename_path(w, name, "moved"), WASI_SUCCESS);
        assert_int_not_equal(rename_path(w, "dir", name), WASI_SUCCESS);
        assert_int_not_equal(link_path(w, 0, name, "linked"), WASI_SUCCESS);
        assert_int_not_equal(link_path(w, 0, "file", name), WASI_SUCCESS);
        assert_int_not_equal(symlink_path(w, "x", name), WASI_SUCCESS);
    }
    assert_outside_untouched(w);
    assert_true(host_exists(w, "rw/escape"));
}

static void test_nothing_is_made_through_a_dangling_link(void **state) {
    struct world *w = *state;
    uint32_t fd = 0;
    assert_int_equal(symlink_path(w, "../outside/new", "trap"), WASI_SUCCESS);
    for (uint32_t lookup = 0; lookup < 2; lookup++) {
        assert_int_not_equal(
            open_path(w, RW, "trap", lookup, WASI_OFLAG_CREAT, WASI_RIGHTS_FILE, 0, &fd),
            WASI_SUCCESS);
    }
    assert_int_not_equal(on_path(w, "path_create_directory", "trap/"), WASI_SUCCESS);
    assert_int_not_equal(rename_path(w, "dir", "trap/"), WASI_SUCCESS);
    assert_outside_untouched(w);
}

static void test_hard_links_do_not_follow(void **state) {
    struct world *w = *state;
    assert_int_equal(link_path(w, 1, "escape_file", "got"), WASI_EINVAL);
    assert_int_equal(link_path(w, 0, "escape_file", "got"), WASI_SUCCESS); /* of the link itself */
    assert_int_not_equal(try_open(w, "got", 1, 0), WASI_SUCCESS);
    assert_int_equal(link_path(w, 0, "file", "second"), WASI_SUCCESS);
    assert_string_equal(host_text(w, "rw/second"), "hello");
    assert_int_equal(link_path(w, 0, "file", "second"), WASI_EEXIST);
    assert_int_equal(link_path(w, 0, "dir", "third"), WASI_EPERM);
    assert_int_equal(link_path(w, 0, "missing", "third"), WASI_ENOENT);
    assert_int_equal(link_path(w, 0, "file/", "third"), WASI_ENOTDIR);
    assert_int_equal(link_path(w, 0, "file", "third/"), WASI_ENOENT);
    assert_int_equal(link_path(w, 0, "file", "."), WASI_EEXIST);
    assert_outside_untouched(w);
}

static void test_nofollow_and_loops(void **state) {
    struct world *w = *state;
    assert_int_equal(try_open(w, "to_file", 0, 0), WASI_ELOOP);
    assert_int_equal(try_open(w, "to_file", 1, 0), WASI_SUCCESS);
    assert_int_equal(try_open(w, "to_dir", 0, WASI_OFLAG_DIRECTORY), WASI_ENOTDIR);
    assert_int_equal(try_open(w, "to_dir", 1, WASI_OFLAG_DIRECTORY), WASI_SUCCESS);
    assert_int_equal(try_open(w, "to_file", 1, WASI_OFLAG_DIRECTORY), WASI_ENOTDIR);
    assert_int_equal(try_open(w, "loop", 0, 0), WASI_ELOOP);
    assert_int_equal(try_open(w, "loop", 1, 0), WASI_ELOOP);
    assert_int_equal(try_open(w, "dangling", 1, 0), WASI_ENOENT);
    assert_int_equal(stat_path(w, 0, "to_file"), WASI_SUCCESS);
    assert_int_equal(w->memory.base[AT_OUT + 16], WASI_FILETYPE_SYMLINK);
    assert_int_equal(stat_path(w, 1, "to_file"), WASI_SUCCESS);
    assert_int_equal(w->memory.base[AT_OUT + 16], WASI_FILETYPE_REGULAR);
    assert_int_equal(stat_path(w, 0, "to_dir/"), WASI_SUCCESS);
    assert_int_equal(w->memory.base[AT_OUT + 16], WASI_FILETYPE_DIRECTORY);
    assert_int_equal(stat_path(w, 0, "file/"), WASI_ENOTDIR);
}

static void test_create_exclusive_truncate(void **state) {
    struct world *w = *state;
    uint32_t fd = 0;
    uint32_t exclusive = WASI_OFLAG_CREAT | WASI_OFLAG_EXCL;
    assert_int_equal(open_path(w, RW, "file", 0, exclusive, WASI_RIGHTS_FILE, 0, &fd), WASI_EEXIST);
    assert_int_equal(open_path(w, RW, "n", 0, exclusive, WASI_RIGHTS_FILE, 0, &fd), WASI_SUCCESS);
    assert_true(host_exists(w, "rw/n"));
    assert_int_equal(open_path(w, RW, "file", 0, WASI_OFLAG_TRUNC, WASI_RIGHTS_FILE, 0, &fd),
                     WASI_SUCCESS);
    assert_string_equal(host_text(w, "rw/file"), "");
    assert_int_equal(open_path(w, RW, "x", 0, 3, WASI_RIGHTS_FILE, 0, &fd), WASI_EINVAL);
    assert_int_equal(open_path(w, RW, "x/", 0, WASI_OFLAG_CREAT, WASI_RIGHTS_FILE, 0, &fd),
                     WASI_EISDIR);
    assert_int_equal(open_path(w, RW, "x", 2, 0, WASI_RIGHTS_FILE, 0, &fd), WASI_EINVAL);
    assert_int_equal(open_path(w, RW, "x", 0, 16, WASI_RIGHTS_FILE, 0, &fd), WASI_EINVAL);
    assert_int_equal(open_path(w, RW, "x", 0, 0, WASI_RIGHTS_FILE, 32, &fd), WASI_EINVAL);
    assert_int_equal(open_path(w, RW, "dir", 0, 0, WASI_RIGHT_FD_WRITE, 0, &fd), WASI_EISDIR);
    assert_int_equal(open_path(w, RW, "dangling", 1, WASI_OFLAG_CREAT, WASI_RIGHTS_FILE, 0, &fd),
                     WASI_SUCCESS);
    assert_true(host_exists(w, "rw/nowhere")); /* inside, so following is fine */
}

static void test_fifos_and_sockets_are_refused_at_once(void **state) {
    struct world *w = *state;
    uint32_t fd = 0;
    assert_int_equal(mkfifoat(w->mounts[0].dir_fd, "fifo", 0666), 0);
    assert_int_equal(try_open(w, "fifo", 0, 0), WASI_EACCES);
    assert_int_not_equal(open_path(w, RW, "fifo", 0, 0, WASI_RIGHTS_FILE, 0, &fd), WASI_SUCCESS);
}

static void test_directories_come_and_go(void **state) {
    struct world *w = *state;
    assert_int_equal(on_path(w, "path_create_directory", "new/"), WASI_SUCCESS);
    assert_true(host_exists(w, "rw/new"));
    assert_int_equal(on_path(w, "path_create_directory", "new"), WASI_EEXIST);
    assert_int_equal(on_path(w, "path_create_directory", "."), WASI_EEXIST);
    assert_int_equal(on_path(w, "path_create_directory", "no/new"), WASI_ENOENT);
    assert_int_equal(on_path(w, "path_create_directory", "file/new"), WASI_ENOTDIR);
    assert_int_equal(on_path(w, "path_unlink_file", "new"), WASI_EISDIR);
    assert_int_equal(on_path(w, "path_unlink_file", "new/"), WASI_EISDIR);
    assert_int_equal(on_path(w, "path_remove_directory", "new/"), WASI_SUCCESS);
    assert_int_equal(on_path(w, "path_remove_directory", "dir"), WASI_ENOTEMPTY);
    assert_int_equal(on_path(w, "path_remove_directory", "file"), WASI_ENOTDIR);
    assert_int_equal(on_path(w, "path_remove_directory", "file/"), WASI_ENOTDIR);
    assert_int_equal(on_path(w, "path_remove_directory", "to_dir"), WASI_ENOTDIR);
    assert_int_equal(on_path(w, "path_remove_directory", "."), WASI_EINVAL);
    assert_int_equal(on_path(w, "path_unlink_file", "file/"), WASI_ENOTDIR);
    assert_int_equal(on_path(w, "path_unlink_file", "missing"), WASI_ENOENT);
    assert_int_equal(on_path(w, "path_unlink_file", "to_file"), WASI_SUCCESS); /* the link only */
    assert_true(host_exists(w, "rw/file"));
}

static void test_renames(void **state) {
    struct world *w = *state;
    assert_int_equal(rename_path(w, "file", "dir/moved"), WASI_SUCCESS);
    assert_string_equal(host_text(w, "rw/dir/moved"), "hello");
    assert_int_equal(rename_path(w, "dir/moved/", "x"), WASI_ENOTDIR);
    assert_int_equal(rename_path(w, "dir/moved", "x/"), WASI_ENOTDIR);
    assert_int_equal(rename_path(w, "dir/", "dir2/"), WASI_SUCCESS);
    assert_int_equal(on_path(w, "path_create_directory", "empty"), WASI_SUCCESS);
    assert_int_equal(rename_path(w, "dir2/moved", "empty"), WASI_EISDIR);
    assert_int_equal(rename_path(w, "empty", "dir2/moved"), WASI_ENOTDIR);
    assert_int_equal(rename_path(w, "empty", "dir2"), WASI_ENOTEMPTY);
    assert_int_equal(rename_path(w, "dir2", "empty"), WASI_SUCCESS);
    assert_int_equal(rename_path(w, "empty", "empty/below"), WASI_EINVAL);
    assert_int_equal(rename_path(w, "missing", "y"), WASI_ENOENT);
    assert_int_equal(rename_path(w, ".", "y"), WASI_EBUSY);
    assert_int_equal(rename_path(w, "escape", "moved_link"), WASI_SUCCESS); /* the link itself */
    assert_outside_untouched(w);
}

static void test_symlinks_and_readlink(void **state) {
    struct world *w = *state;
    assert_int_equal(symlink_path(w, "/etc", "abs"), WASI_EPERM);
    assert_int_equal(symlink_path(w, "", "s"), WASI_ENOENT);
    assert_int_equal(symlink_path(w, "file", "s"), WASI_SUCCESS);
    assert_int_equal(symlink_path(w, "file", "s"), WASI_EEXIST);
    assert_int_equal(symlink_path(w, "file", "t/"), WASI_ENOENT);
    assert_int_equal(symlink_path(w, "file", "dir/"), WASI_EEXIST);
    uint64_t n = put_path(w, AT_PATH, "s");
    assert_int_equal(CALL(w, "path_readlink", RW, AT_PATH, n, AT_DATA, 100, AT_OUT), WASI_SUCCESS);
    assert_int_equal(get_u32(w, AT_OUT), 4);
    assert_memory_equal(w->memory.base + AT_DATA, "file", 4);
    assert_int_equal(CALL(w, "path_readlink", RW, AT_PATH, n, AT_DATA, 2, AT_OUT), WASI_SUCCESS);
    assert_int_equal(get_u32(w, AT_OUT), 2); /* cut, as readlink(2) does */
    assert_int_equal(CALL(w, "path_readlink", RW, AT_PATH, n, MEMORY_BYTES - 1, 4, AT_OUT),
                     WASI_EFAULT);
    n = put_path(w, AT_PATH, "file");
    assert_int_equal(CALL(w, "path_readlink", RW, AT_PATH, n, AT_DATA, 9, AT_OUT), WASI_EINVAL);
    n = put_path(w, AT_PATH, "missing");
    assert_int_equal(CALL(w, "path_readlink", RW, AT_PATH, n, AT_DATA, 9, AT_OUT), WASI_ENOENT);
}

struct seen {
    char name[64];
    uint8_t type;
    uint64_t next;
};

/* Decodes what fd_readdir gave; the number of whole entries. */
static int decode(struct world *w, uint32_t used, struct seen out[32]) {
    int count = 0;
    uint32_t at = 0;
    while (at + 24 <= used) {
        uint32_t length = get_u32(w, AT_DATA + at + 16);
        if (at + 24 + length > used || count == 32) break;
        out[count].next = get_u64(w, AT_DATA + at);
        out[count].type = w->memory.base[AT_DATA + at + 20];
        memcpy(out[count].name, w->memory.base + AT_DATA + at + 24, length);
        out[count].name[length] = 0;
        assert_memory_equal(w->memory.base + AT_DATA + at + 21, "\0\0\0", 3); /* no host bytes */
        at += 24 + length;
        count++;
    }
    return count;
}

static void test_readdir_is_sorted_complete_and_resumable(void **state) {
    static const char *const names[] = {".",           "..",   "dangling", "dir",    "escape",
                                        "escape_file", "file", "loop",     "to_dir", "to_file"};
    struct world *w = *state;
    struct seen seen[32];
    assert_int_equal(CALL(w, "fd_readdir", RW, AT_DATA, 4096, 0, AT_OUT), WASI_SUCCESS);
    assert_int_equal(decode(w, get_u32(w, AT_OUT), seen), 10);
    for (int i = 0; i < 10; i++)
        assert_string_equal(seen[i].name, names[i]);
    assert_int_equal(seen[3].type, WASI_FILETYPE_DIRECTORY);
    assert_int_equal(seen[6].type, WASI_FILETYPE_REGULAR);
    assert_int_equal(seen[9].type, WASI_FILETYPE_SYMLINK);
    /* Any buffer that holds one entry gets through, and each entry comes once. */
    for (uint32_t size = 36; size < 200; size += 7) {
        uint64_t cookie = 0;
        int at = 0;
        for (;;) {
            assert_int_equal(CALL(w, "fd_readdir", RW, AT_DATA, size, cookie, AT_OUT),
                             WASI_SUCCESS);
            uint32_t used = get_u32(w, AT_OUT);
            assert_true(used <= size);
            int got = decode(w, used, seen);
            for (int i = 0; i < got; i++)
                assert_string_equal(seen[i].name, names[at + i]);
            at += got;
            if (used < size) break;
            assert_true(got > 0);
            cookie = seen[got - 1].next;
        }
        assert_int_equal(at, 10);
    }
    assert_int_equal(CALL(w, "fd_readdir", RW, AT_DATA, 0, 0, AT_OUT), WASI_SUCCESS);
    assert_int_equal(get_u32(w, AT_OUT), 0);
    assert_int_equal(CALL(w, "fd_readdir", RW, AT_DATA, 100, UINT64_MAX, AT_OUT), WASI_SUCCESS);
    assert_int_equal(get_u32(w, AT_OUT), 0); /* a cookie from nowhere: the end */
    assert_int_equal(CALL(w, "fd_readdir", RW, AT_DATA, UINT32_MAX, 0, AT_OUT), WASI_EFAULT);
    assert_int_equal(CALL(w, "fd_readdir", 60, AT_DATA, 100, 0, AT_OUT), WASI_EBADF);
    uint32_t file = open_ok(w, RW, "file", 0);
    assert_int_equal(CALL(w, "fd_readdir", file, AT_DATA, 100, 0, AT_OUT), WASI_ENOTDIR);
}

static void test_preopens(void **state) {
    struct world *w = *state;
    assert_int_equal(CALL(w, "fd_prestat_get", RW, AT_OUT), WASI_SUCCESS);
    assert_int_equal(get_u32(w, AT_OUT), 0);
    assert_int_equal(get_u32(w, AT_OUT + 4), 3);
    assert_int_equal(CALL(w, "fd_prestat_dir_name", RW, AT_DATA, 3), WASI_SUCCESS);
    assert_memory_equal(w->memory.base + AT_DATA, "/rw", 3);
    assert_int_equal(CALL(w, "fd_prestat_dir_name", RW, AT_DATA, 2), WASI_ENAMETOOLONG);
    assert_int_equal(CALL(w, "fd_prestat_get", 5, AT_OUT), WASI_EBADF);
    assert_int_equal(CALL(w, "fd_prestat_get", 1, AT_OUT), WASI_EBADF);
    assert_int_equal(CALL(w, "fd_prestat_get", RW, MEMORY_BYTES - 7), WASI_EFAULT);
    uint32_t dir = open_ok(w, RW, "dir", WASI_OFLAG_DIRECTORY);
    assert_int_equal(CALL(w, "fd_prestat_get", dir, AT_OUT), WASI_EBADF); /* open, no preopen */
    assert_int_equal(CALL(w, "fd_close", RW), WASI_SUCCESS);
    assert_int_equal(CALL(w, "fd_prestat_get", RW, AT_OUT), WASI_EBADF);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        T(test_interesting_paths_open),
        T(test_dot_dot_never_leaves),
        T(test_trailing_slashes_on_an_escaping_link_touch_nothing),
        T(test_nothing_is_made_through_a_dangling_link),
        T(test_hard_links_do_not_follow),
        T(test_nofollow_and_loops),
        T(test_create_exclusive_truncate),
        T(test_fifos_and_sockets_are_refused_at_once),
        T(test_directories_come_and_go),
        T(test_renames),
        T(test_symlinks_and_readlink),
        T(test_readdir_is_sorted_complete_and_resumable),
        T(test_preopens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Promise: rights hold, only ever shrink, and a read-only mount cannot be changed by any function.
 */
#include "wasi_fixture.h"

static void test_rights_shrink_only(void **state) {
    struct world *w = *state;
    uint32_t done = 0, fd = open_ok(w, RW, "file", 0);
    char text[16];
    assert_int_equal(CALL(w, "fd_fdstat_set_rights", fd, WASI_RIGHT_FD_READ, 0), WASI_SUCCESS);
    assert_int_equal(write_text(w, fd, "x", &done), WASI_ENOTCAPABLE);
    assert_int_equal(read_text(w, fd, 5, text, &done), WASI_SUCCESS);
    assert_int_equal(CALL(w, "fd_seek", fd, 1, WASI_WHENCE_SET, AT_OUT), WASI_ENOTCAPABLE);
    assert_int_equal(CALL(w, "fd_tell", fd, AT_OUT), WASI_ENOTCAPABLE);
    assert_int_equal(CALL(w, "fd_sync", fd), WASI_ENOTCAPABLE);
    assert_int_equal(CALL(w, "fd_datasync", fd), WASI_ENOTCAPABLE);
    assert_int_equal(CALL(w, "fd_allocate", fd, 0, 1), WASI_ENOTCAPABLE);
    assert_int_equal(CALL(w, "fd_advise", fd, 0, 1, 0), WASI_ENOTCAPABLE);
    assert_int_equal(CALL(w, "fd_filestat_get", fd, AT_OUT), WASI_ENOTCAPABLE);
    assert_int_equal(CALL(w, "fd_filestat_set_size", fd, 1), WASI_ENOTCAPABLE);
    assert_int_equal(CALL(w, "fd_filestat_set_times", fd, 0, 0, 2), WASI_ENOTCAPABLE);
    assert_int_equal(CALL(w, "fd_fdstat_set_flags", fd, 0), WASI_ENOTCAPABLE);
    assert_int_equal(
        CALL(w, "fd_fdstat_set_rights", fd, WASI_RIGHT_FD_READ | WASI_RIGHT_FD_WRITE, 0),
        WASI_ENOTCAPABLE);
    assert_int_equal(CALL(w, "fd_fdstat_set_rights", 60, 0, 0), WASI_EBADF);
}

static void test_a_directory_gives_no_more_than_it_inherits(void **state) {
    struct world *w = *state;
    uint32_t fd = 0, done, dir = open_ok(w, RW, "dir", WASI_OFLAG_DIRECTORY);
    const uint64_t read_only = WASI_RIGHT_FD_READ;
    assert_int_equal(CALL(w, "fd_fdstat_set_rights", dir, WASI_RIGHT_PATH_OPEN, read_only),
                     WASI_SUCCESS);
    assert_int_equal(open_path(w, dir, "inner", 0, 0, WASI_RIGHTS_FILE, 0, &fd), WASI_ENOTCAPABLE);
    assert_int_equal(
        open_path(w, dir, "inner", 0, 0, WASI_RIGHT_FD_READ | WASI_RIGHT_FD_SEEK, 0, &fd),
        WASI_SUCCESS);
    assert_int_equal(CALL(w, "fd_seek", fd, 0, 0, AT_OUT), WASI_ENOTCAPABLE); /* not inherited */
    assert_int_equal(write_text(w, fd, "x", &done), WASI_ENOTCAPABLE);
    assert_int_equal(open_path(w, dir, "n", 0, WASI_OFLAG_CREAT, read_only, 0, &fd),
                     WASI_ENOTCAPABLE);
    assert_int_equal(open_path(w, dir, "inner", 0, WASI_OFLAG_TRUNC, read_only, 0, &fd),
                     WASI_ENOTCAPABLE);
    assert_string_equal(host_text(w, "rw/dir/inner"), "inner");
    assert_int_equal(CALL(w, "fd_readdir", dir, AT_DATA, 100, 0, AT_OUT), WASI_ENOTCAPABLE);
    assert_int_equal(CALL(w, "fd_fdstat_set_rights", dir, 0, 0), WASI_SUCCESS);
    assert_int_equal(open_path(w, dir, "inner", 0, 0, read_only, 0, &fd), WASI_ENOTCAPABLE);
}

static void test_each_path_function_needs_its_right(void **state) {
    struct world *w = *state;
    uint64_t n = put_path(w, AT_PATH, "file"), m = put_path(w, AT_PATH2, "new");
    assert_int_equal(CALL(w, "fd_fdstat_set_rights", RW, 0, 0), WASI_SUCCESS);
    assert_int_equal(CALL(w, "path_create_directory", RW, AT_PATH2, m), WASI_ENOTCAPABLE);
    assert_int_equal(CALL(w, "path_filestat_get", RW, 0, AT_PATH, n, AT_OUT), WASI_ENOTCAPABLE);
    assert_int_equal(CALL(w, "path_filestat_set_times", RW, 0, AT_PATH, n, 0, 0, 2),
                     WASI_ENOTCAPABLE);
    assert_int_equal(CALL(w, "path_link", RW, 0, AT_PATH, n, RW, AT_PATH2, m), WASI_ENOTCAPABLE);
    assert_int_equal(CALL(w, "path_readlink", RW, AT_PATH, n, AT_DATA, 9, AT_OUT),
                     WASI_ENOTCAPABLE);
    assert_int_equal(CALL(w, "path_remove_directory", RW, AT_PATH, n), WASI_ENOTCAPABLE);
    assert_int_equal(CALL(w, "path_rename", RW, AT_PATH, n, RW, AT_PATH2, m), WASI_ENOTCAPABLE);
    assert_int_equal(CALL(w, "path_symlink", AT_PATH, n, RW, AT_PATH2, m), WASI_ENOTCAPABLE);
    assert_int_equal(CALL(w, "path_unlink_file", RW, AT_PATH, n), WASI_ENOTCAPABLE);
    assert_true(host_exists(w, "rw/file") && !host_exists(w, "rw/new"));
}

static void test_a_read_only_mount_stays_as_it_is(void **state) {
    struct world *w = *state;
    uint32_t fd = 0;
    char text[16];
    uint64_t n = put_path(w, AT_PATH, "file"), m = put_path(w, AT_PATH2, "new");
    for (uint32_t oflags = 0; oflags < 16; oflags++) { /* every combination that could change it */
        if (oflags & WASI_OFLAG_DIRECTORY) continue;
        uint64_t rights = oflags & (WASI_OFLAG_CREAT | WASI_OFLAG_TRUNC) ? WASI_RIGHT_FD_READ
                                                                         : WASI_RIGHT_FD_WRITE;
        assert_int_equal(open_path(w, RO, "file", 0, oflags, rights, 0, &fd), WASI_EROFS);
    }
    n = put_path(w, AT_PATH, "file");
    assert_int_equal(CALL(w, "path_create_directory", RO, AT_PATH2, m), WASI_EROFS);
    assert_int_equal(CALL(w, "path_filestat_set_times", RO, 0, AT_PATH, n, 0, 0, 2), WASI_EROFS);
    assert_int_equal(CALL(w, "path_unlink_file", RO, AT_PATH, n), WASI_EROFS);
    assert_int_equal(CALL(w, "path_remove_directory", RO, AT_PATH, n), WASI_EROFS);
    assert_int_equal(CALL(w, "path_symlink", AT_PATH, n, RO, AT_PATH2, m), WASI_EROFS);
    const uint32_t pairs[][2] = {{RO, RO}, {RO, RW}, {RW, RO}}; /* into it, out of it, within */
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(CALL(w, "path_link", pairs[i][0], 0, AT_PATH, n, pairs[i][1], AT_PATH2, m),
                         WASI_EROFS);
        assert_int_equal(CALL(w, "path_rename", pairs[i][0], AT_PATH, n, pairs[i][1], AT_PATH2, m),
                         WASI_EROFS);
    }
    uint32_t file = open_ok(w, RO, "file", 0), done;
    assert_int_equal(write_text(w, file, "x", &done), WASI_ENOTCAPABLE);
    assert_int_equal(CALL(w, "fd_filestat_set_times", file, 0, 0, 2), WASI_ENOTCAPABLE);
    assert_int_equal(CALL(w, "fd_filestat_set_times", RO, 0, 0, 2), WASI_ENOTCAPABLE);
    assert_int_equal(CALL(w, "fd_seek", file, 0, 0, AT_OUT), WASI_SUCCESS);
    assert_int_equal(read_text(w, file, 10, text, &done), WASI_SUCCESS);
    assert_string_equal(text, "hello");
    uint32_t dir = open_ok(w, RO, "dir", WASI_OFLAG_DIRECTORY); /* and so below */
    assert_int_equal(open_path(w, dir, "n", 0, WASI_OFLAG_CREAT, WASI_RIGHTS_FILE, 0, &fd),
                     WASI_EROFS);
    assert_string_equal(host_text(w, "ro/file"), "hello");
    assert_false(host_exists(w, "ro/new") || host_exists(w, "rw/new"));
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        T(test_rights_shrink_only),
        T(test_a_directory_gives_no_more_than_it_inherits),
        T(test_each_path_function_needs_its_right),
        T(test_a_read_only_mount_stays_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

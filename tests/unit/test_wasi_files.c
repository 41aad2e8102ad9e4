/* Promise: what a guest does with an open file is what POSIX and the preview1 specification say. */
#include "wasi_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static void test_read_write_seek_tell(void **state) {
    struct world *w = *state;
    char text[64];
    uint32_t done = 0, fd = open_ok(w, RW, "new", WASI_OFLAG_CREAT);
    assert_int_equal(write_text(w, fd, "abcdef", &done), WASI_SUCCESS);
    assert_int_equal(done, 6);
    assert_int_equal(CALL(w, "fd_tell", fd, AT_OUT), WASI_SUCCESS);
    assert_int_equal(get_u64(w, AT_OUT), 6);
    assert_int_equal(CALL(w, "fd_seek", fd, (uint64_t)-2, WASI_WHENCE_END, AT_OUT), WASI_SUCCESS);
    assert_int_equal(get_u64(w, AT_OUT), 4);
    assert_int_equal(read_text(w, fd, 10, text, &done), WASI_SUCCESS);
    assert_string_equal(text, "ef");
    assert_int_equal(read_text(w, fd, 10, text, &done), WASI_SUCCESS);
    assert_int_equal(done, 0); /* at the end */
    assert_int_equal(CALL(w, "fd_seek", fd, 1, WASI_WHENCE_SET, AT_OUT), WASI_SUCCESS);
    assert_int_equal(CALL(w, "fd_seek", fd, 1, WASI_WHENCE_CUR, AT_OUT), WASI_SUCCESS);
    assert_int_equal(get_u64(w, AT_OUT), 2);
    assert_int_equal(CALL(w, "fd_seek", fd, (uint64_t)-1, WASI_WHENCE_SET, AT_OUT), WASI_EINVAL);
    assert_int_equal(CALL(w, "fd_seek", fd, 0, 3, AT_OUT), WASI_EINVAL);
    assert_int_equal(CALL(w, "fd_seek", 60, 0, 0, AT_OUT), WASI_EBADF);
    assert_int_equal(CALL(w, "fd_seek", RW, 0, 0, AT_OUT), WASI_EBADF); /* a directory */
    assert_int_equal(CALL(w, "fd_seek", 1, 0, 0, AT_OUT), WASI_ESPIPE); /* a stream */
    assert_int_equal(CALL(w, "fd_seek", fd, 0, 0, MEMORY_BYTES - 7), WASI_EFAULT);
    assert_string_equal(host_text(w, "rw/new"), "abcdef");
}

static void test_pread_pwrite_leave_the_position_alone(void **state) {
    struct world *w = *state;
    uint32_t fd = open_ok(w, RW, "file", 0);
    const uint32_t iov[4] = {AT_DATA, 2, AT_DATA + 100, 2};
    assert_true(guest_put(&w->memory, AT_IOV, iov, sizeof iov));
    assert_int_equal(CALL(w, "fd_pread", fd, AT_IOV, 2, 1, AT_OUT), WASI_SUCCESS);
    assert_int_equal(get_u32(w, AT_OUT), 4);
    assert_memory_equal(w->memory.base + AT_DATA, "el", 2);
    assert_memory_equal(w->memory.base + AT_DATA + 100, "lo", 2);
    assert_int_equal(CALL(w, "fd_pread", fd, AT_IOV, 2, 100, AT_OUT), WASI_SUCCESS);
    assert_int_equal(get_u32(w, AT_OUT), 0); /* beyond the end */
    assert_int_equal(CALL(w, "fd_pwrite", fd, AT_IOV, 1, 3, AT_OUT), WASI_SUCCESS);
    assert_string_equal(host_text(w, "rw/file"), "helel");
    assert_int_equal(CALL(w, "fd_tell", fd, AT_OUT), WASI_SUCCESS);
    assert_int_equal(get_u64(w, AT_OUT), 0);
    assert_int_equal(CALL(w, "fd_pread", fd, AT_IOV, 1, UINT64_MAX, AT_OUT), WASI_EINVAL);
    assert_int_equal(CALL(w, "fd_pwrite", fd, AT_IOV, 1, UINT64_MAX, AT_OUT), WASI_EINVAL);
    assert_int_equal(CALL(w, "fd_pread", 0, AT_IOV, 1, 0, AT_OUT), WASI_ESPIPE);
    assert_int_equal(CALL(w, "fd_pwrite", 60, AT_IOV, 1, 0, AT_OUT), WASI_EBADF);
}

static void test_iovecs_outside_memory_or_too_many_are_refused(void **state) {
    struct world *w = *state;
    uint32_t fd = open_ok(w, RW, "file", 0);
    const uint32_t cases[][2] = {
        {MEMORY_BYTES - 1, 2}, {UINT32_MAX, 1}, {0, UINT32_MAX}, {1u << 31, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_true(guest_put(&w->memory, AT_IOV, cases[i], 8));
        assert_int_equal(CALL(w, "fd_read", fd, AT_IOV, 1, AT_OUT), WASI_EFAULT);
        assert_int_equal(CALL(w, "fd_write", fd, AT_IOV, 1, AT_OUT), WASI_EFAULT);
    }
    assert_int_equal(CALL(w, "fd_read", fd, MEMORY_BYTES - 7, 1, AT_OUT), WASI_EFAULT);
    assert_int_equal(CALL(w, "fd_write", fd, AT_IOV, 1 << 28, AT_OUT), WASI_EINVAL);
    assert_int_equal(CALL(w, "fd_write", fd, AT_IOV, 0, MEMORY_BYTES - 3), WASI_EFAULT);
    assert_string_equal(host_text(w, "rw/file"), "hello");
}

static void test_append_flag_can_be_set_and_cleared(void **state) {
    struct world *w = *state;
    uint32_t fd = 0, done = 0;
    assert_int_equal(open_path(w, RW, "file", 0, 0, WASI_RIGHTS_FILE, WASI_FDFLAG_APPEND, &fd),
                     WASI_SUCCESS);
    assert_int_equal(write_text(w, fd, "!", &done), WASI_SUCCESS);
    assert_string_equal(host_text(w, "rw/file"), "hello!");
    assert_int_equal(CALL(w, "fd_fdstat_get", fd, AT_OUT), WASI_SUCCESS);
    assert_int_equal(w->memory.base[AT_OUT], WASI_FILETYPE_REGULAR);
    assert_int_equal(w->memory.base[AT_OUT + 2], WASI_FDFLAG_APPEND);
    assert_int_equal(CALL(w, "fd_fdstat_set_flags", fd, 0), WASI_SUCCESS);
    assert_int_equal(CALL(w, "fd_seek", fd, 0, WASI_WHENCE_SET, AT_OUT), WASI_SUCCESS);
    assert_int_equal(write_text(w, fd, "J", &done), WASI_SUCCESS);
    assert_string_equal(host_text(w, "rw/file"), "Jello!");
    assert_int_equal(CALL(w, "fd_fdstat_set_flags", fd, WASI_FDFLAG_SYNC), WASI_ENOTSUP);
    assert_int_equal(CALL(w, "fd_fdstat_set_flags", fd, 32), WASI_EINVAL);
    assert_int_equal(CALL(w, "fd_fdstat_set_flags", 60, 0), WASI_EBADF);
    assert_int_equal(CALL(w, "fd_fdstat_get", fd, MEMORY_BYTES - 23), WASI_EFAULT);
}

static void test_sizes_and_allocation(void **state) {
    struct world *w = *state;
    uint32_t fd = open_ok(w, RW, "file", 0);
    assert_int_equal(CALL(w, "fd_filestat_set_size", fd, 2), WASI_SUCCESS);
    assert_string_equal(host_text(w, "rw/file"), "he");
    assert_int_equal(CALL(w, "fd_allocate", fd, 0, 100), WASI_SUCCESS);
    assert_int_equal(CALL(w, "fd_filestat_get", fd, AT_OUT), WASI_SUCCESS);
    assert_int_equal(get_u64(w, AT_OUT + 32), 100);
    assert_int_equal(w->memory.base[AT_OUT + 16], WASI_FILETYPE_REGULAR);
    assert_int_equal(CALL(w, "fd_allocate", fd, 0, 0), WASI_EINVAL);
    assert_int_equal(CALL(w, "fd_allocate", fd, UINT64_MAX, 2), WASI_EINVAL);
    assert_int_equal(CALL(w, "fd_allocate", RW, 0, 1), WASI_EBADF);
    assert_int_equal(CALL(w, "fd_filestat_set_size", fd, UINT64_MAX), WASI_EINVAL);
    assert_int_equal(CALL(w, "fd_filestat_set_size", 60, 0), WASI_EBADF);
    assert_int_equal(CALL(w, "fd_filestat_get", fd, MEMORY_BYTES - 63), WASI_EFAULT);
}

static void test_times(void **state) {
    struct world *w = *state;
    uint32_t fd = open_ok(w, RW, "file", 0);
    const uint64_t when = UINT64_C(1234567890123456789);
    assert_int_equal(
        CALL(w, "fd_filestat_set_times", fd, 5, when, WASI_FSTFLAG_ATIM | WASI_FSTFLAG_MTIM),
        WASI_SUCCESS);
    assert_int_equal(CALL(w, "fd_filestat_get", fd, AT_OUT), WASI_SUCCESS);
    assert_int_equal(get_u64(w, AT_OUT + 40), 5);
    assert_true(get_u64(w, AT_OUT + 48) == when);
    assert_int_equal(CALL(w, "fd_filestat_set_times", fd, 0, 0, WASI_FSTFLAG_MTIM_NOW),
                     WASI_SUCCESS);
    assert_int_equal(CALL(w, "fd_filestat_get", fd, AT_OUT), WASI_SUCCESS);
    assert_int_equal(get_u64(w, AT_OUT + 40), 5); /* not asked for: as it was */
    assert_true(get_u64(w, AT_OUT + 48) > when);
    assert_int_equal(CALL(w, "fd_filestat_set_times", fd, 0, 0, 3), WASI_EINVAL);
    assert_int_equal(CALL(w, "fd_filestat_set_times", fd, 0, 0, 12), WASI_EINVAL);
    assert_int_equal(CALL(w, "fd_filestat_set_times", fd, 0, 0, 16), WASI_EINVAL);
    /* The largest number of nanoseconds is a date in 2554: no crash, whatever the file system. */
    assert_int_not_equal(CALL(w, "fd_filestat_set_times", fd, UINT64_MAX, 0, WASI_FSTFLAG_ATIM),
                         WASI_EFAULT);
}

static void test_new_files_lack_what_the_mask_says(void **state) {
    struct world *w = *state;
    struct stat st;
    w->config.mask = 027;
    mode_t own = umask(0);
    world_restart(w);
    (void)open_ok(w, RW, "made", WASI_OFLAG_CREAT);
    uint64_t length = put_path(w, AT_PATH, "folder");
    assert_int_equal(CALL(w, "path_create_directory", RW, AT_PATH, length), WASI_SUCCESS);
    (void)umask(own);
    assert_int_equal(fstatat(w->mounts[0].dir_fd, "made", &st, 0), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_int_equal(fstatat(w->mounts[0].dir_fd, "folder", &st, 0), 0);
    assert_int_equal(st.st_mode & 0777, 0750);
}

static void test_directories_are_not_opened_for_writing(void **state) {
    struct world *w = *state;
    uint32_t fd = 0;
    const uint64_t write = WASI_RIGHT_FD_READ | WASI_RIGHT_FD_WRITE;
    static const uint32_t dirs[] = {RW, RO};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(open_path(w, dirs[i], "dir", 0, WASI_OFLAG_DIRECTORY, write, 0, &fd),
                         WASI_EISDIR);
        assert_int_equal(open_path(w, dirs[i], ".", 0, WASI_OFLAG_DIRECTORY, write, 0, &fd),
                         WASI_EISDIR);
        assert_int_equal(open_path(w, dirs[i], "file", 0, WASI_OFLAG_DIRECTORY, write, 0, &fd),
                         WASI_ENOTDIR);
        assert_int_equal(open_path(w, dirs[i], "none", 0, WASI_OFLAG_DIRECTORY, write, 0, &fd),
                         WASI_ENOENT);
    }
    assert_int_equal(open_path(w, RW, "dir", 0, 0, write, 0, &fd), WASI_EISDIR);
    assert_int_equal(open_path(w, RW, "dir/", 0, 0, write, 0, &fd), WASI_EISDIR);
    assert_int_equal(open_path(w, RW, "dir", 0, WASI_OFLAG_CREAT, write, 0, &fd), WASI_EISDIR);
    assert_int_equal(open_path(w, RW, "dir", 0, WASI_OFLAG_TRUNC, WASI_RIGHT_FD_READ, 0, &fd),
                     WASI_EISDIR);
    assert_int_equal(open_path(w, RW, "escape", 1, WASI_OFLAG_DIRECTORY, write, 0, &fd),
                     WASI_EPERM);
    assert_int_equal(open_path(w, RW, "dir", 0, 0, WASI_RIGHT_FD_READDIR, 0, &fd), WASI_SUCCESS);
}

static void test_dates_before_1970_read_as_zero(void **state) {
    struct world *w = *state;
    const struct timespec old[2] = {{.tv_sec = -315619200}, {.tv_sec = -315619200}};
    assert_int_equal(utimensat(w->mounts[0].dir_fd, "file", old, 0), 0);
    uint64_t length = put_path(w, AT_PATH, "file");
    assert_int_equal(CALL(w, "path_filestat_get", RW, 0, AT_PATH, length, AT_OUT), WASI_SUCCESS);
    assert_int_equal(get_u64(w, AT_OUT + 48), 0);
}

static void test_sync_and_advice(void **state) {
    struct world *w = *state;
    uint32_t fd = open_ok(w, RW, "file", 0);
    assert_int_equal(CALL(w, "fd_sync", fd), WASI_SUCCESS);
    assert_int_equal(CALL(w, "fd_datasync", fd), WASI_SUCCESS);
    assert_int_equal(CALL(w, "fd_sync", RW), WASI_SUCCESS);
    assert_int_equal(CALL(w, "fd_sync", 1), WASI_EINVAL);
    assert_int_equal(CALL(w, "fd_sync", 60), WASI_EBADF);
    for (uint64_t advice = 0; advice < 6; advice++) {
        assert_int_equal(CALL(w, "fd_advise", fd, 0, 10, advice), WASI_SUCCESS);
    }
    assert_int_equal(CALL(w, "fd_advise", fd, 0, 10, 6), WASI_EINVAL);
    assert_int_equal(CALL(w, "fd_advise", fd, UINT64_MAX, 10, 0), WASI_EINVAL);
    assert_int_equal(CALL(w, "fd_advise", RW, 0, 10, 0), WASI_EBADF);
}

static void test_renumber_moves_and_leaks_nothing(void **state) {
    struct world *w = *state;
    char text[16];
    uint32_t done, from = open_ok(w, RW, "file", 0), to = open_ok(w, RW, "dir/inner", 0);
    assert_int_equal(CALL(w, "fd_renumber", from, to), WASI_SUCCESS);
    assert_int_equal(read_text(w, to, 10, text, &done), WASI_SUCCESS);
    assert_string_equal(text, "hello");
    assert_int_equal(CALL(w, "fd_close", from), WASI_EBADF);
    assert_int_equal(CALL(w, "fd_renumber", to, to), WASI_SUCCESS);
    assert_int_equal(CALL(w, "fd_renumber", to, 60), WASI_EBADF);
    assert_int_equal(CALL(w, "fd_renumber", 60, to), WASI_EBADF);
    assert_int_equal(CALL(w, "fd_renumber", to, UINT32_MAX), WASI_EBADF);
    int before = dup(0);
    (void)close(before);
    for (int i = 0; i < 2000; i++) {
        uint32_t next = open_ok(w, RW, "file", 0);
        assert_int_equal(CALL(w, "fd_renumber", next, to), WASI_SUCCESS);
    }
    int after = dup(0); /* the lowest free number of the host has not moved */
    (void)close(after);
    assert_int_equal(before, after);
}

static void test_open_files_are_limited(void **state) {
    struct world *w = *state;
    uint32_t fd = 0;
    for (int i = 0; i < 64 - 5; i++)
        (void)open_ok(w, RW, "file", 0);
    assert_int_equal(open_path(w, RW, "file", 0, 0, WASI_RIGHTS_FILE, 0, &fd), WASI_EMFILE);
    assert_int_equal(CALL(w, "fd_close", 40), WASI_SUCCESS);
    assert_int_equal(open_ok(w, RW, "file", 0), 40); /* the lowest free number */
}

static void test_growth_ends_at_the_quota(void **state) {
    struct world *w = *state;
    uint32_t done = 0, fd = open_ok(w, RW, "big", WASI_OFLAG_CREAT);
    assert_int_equal(CALL(w, "fd_filestat_set_size", fd, 1 << 20), WASI_SUCCESS);
    assert_int_equal(CALL(w, "fd_filestat_set_size", fd, (1 << 20) + 1), WASI_EDQUOT);
    assert_int_equal(CALL(w, "fd_allocate", fd, UINT64_C(1) << 40, 1), WASI_EDQUOT); /* sparse */
    assert_int_equal(CALL(w, "fd_seek", fd, 0, WASI_WHENCE_END, AT_OUT), WASI_SUCCESS);
    assert_int_equal(write_text(w, fd, "x", &done), WASI_EDQUOT);
    assert_int_equal(CALL(w, "fd_filestat_set_size", fd, 10), WASI_SUCCESS); /* gives back */
    assert_int_equal(write_text(w, fd, "x", &done), WASI_EDQUOT);
    assert_int_equal(CALL(w, "fd_seek", fd, 10, WASI_WHENCE_SET, AT_OUT), WASI_SUCCESS);
    assert_int_equal(write_text(w, fd, "x", &done), WASI_SUCCESS);
    /* Unlinked but open: the bytes are still taken, until the last descriptor closes. */
    assert_int_equal(CALL(w, "fd_filestat_set_size", fd, 1 << 20), WASI_SUCCESS);
    uint64_t length = put_path(w, AT_PATH, "big");
    assert_int_equal(CALL(w, "path_unlink_file", RW, AT_PATH, length), WASI_SUCCESS);
    uint32_t other = open_ok(w, RW, "other", WASI_OFLAG_CREAT);
    assert_int_equal(write_text(w, other, "x", &done), WASI_EDQUOT);
    assert_int_equal(CALL(w, "fd_close", fd), WASI_SUCCESS);
    assert_int_equal(write_text(w, other, "x", &done), WASI_SUCCESS);
}

static void test_inodes_end_at_the_quota(void **state) {
    struct world *w = *state;
    char name[16];
    uint32_t fd = 0;
    w->config.workspace_inodes = 3;
    world_restart(w);
    for (int i = 0; i < 3; i++) {
        (void)snprintf(name, sizeof name, "n%d", i);
        (void)open_ok(w, RW, name, WASI_OFLAG_CREAT);
    }
    (void)open_ok(w, RW, "n1", WASI_OFLAG_CREAT); /* exists: costs nothing */
    assert_int_equal(open_path(w, RW, "n3", 0, WASI_OFLAG_CREAT, WASI_RIGHTS_FILE, 0, &fd),
                     WASI_EDQUOT);
    uint64_t length = put_path(w, AT_PATH, "d");
    assert_int_equal(CALL(w, "path_create_directory", RW, AT_PATH, length), WASI_EDQUOT);
    length = put_path(w, AT_PATH, "n0");
    assert_int_equal(CALL(w, "path_unlink_file", RW, AT_PATH, length), WASI_SUCCESS);
    assert_int_equal(open_path(w, RW, "n3", 0, WASI_OFLAG_CREAT, WASI_RIGHTS_FILE, 0, &fd),
                     WASI_EDQUOT); /* it is open still */
    assert_int_equal(CALL(w, "fd_close", FIRST_FREE), WASI_SUCCESS);
    (void)open_ok(w, RW, "n3", WASI_OFLAG_CREAT);
}

/* A name through a link that leads to nothing is a name as any other. */
static void test_names_through_dangling_links_are_counted(void **state) {
    struct world *w = *state;
    char name[16];
    uint32_t fd = 0;
    w->config.workspace_inodes = 4;
    world_restart(w);
    for (int i = 0; i < 3; i++) {
        uint64_t length;
        (void)snprintf(name, sizeof name, "n%d", i);
        length = put_path(w, AT_PATH, name);
        uint64_t link = put_path(w, AT_PATH2, "l");
        assert_int_equal(CALL(w, "path_symlink", AT_PATH, length, RW, AT_PATH2, link),
                         WASI_SUCCESS);
        assert_int_equal(open_path(w, RW, "l", WASI_LOOKUP_SYMLINK_FOLLOW, WASI_OFLAG_CREAT,
                                   WASI_RIGHTS_FILE, 0, &fd),
                         WASI_SUCCESS);
        assert_true(host_exists(w, name[1] == '0' ? "rw/n0" : name[1] == '1' ? "rw/n1" : "rw/n2"));
        assert_int_equal(CALL(w, "fd_close", fd), WASI_SUCCESS);
        assert_int_equal(CALL(w, "path_unlink_file", RW, AT_PATH2, put_path(w, AT_PATH2, "l")),
                         WASI_SUCCESS);
    }
    assert_int_equal(w->growth.names, 3);
    (void)open_ok(w, RW, "n3", WASI_OFLAG_CREAT);
    assert_int_equal(open_path(w, RW, "dangling", WASI_LOOKUP_SYMLINK_FOLLOW, WASI_OFLAG_CREAT,
                               WASI_RIGHTS_FILE, 0, &fd),
                     WASI_EDQUOT);
    assert_false(host_exists(w, "rw/nowhere"));
}

static void test_names_by_hard_links_are_counted(void **state) {
    struct world *w = *state;
    w->config.workspace_inodes = 2;
    world_restart(w);
    uint64_t length = put_path(w, AT_PATH, "file");
    static const char *const names[] = {"a", "b", "c"};
    for (int i = 0; i < 3; i++) {
        uint64_t to = put_path(w, AT_PATH2, names[i]);
        assert_int_equal(CALL(w, "path_link", RW, 0, AT_PATH, length, RW, AT_PATH2, to),
                         i < 2 ? WASI_SUCCESS : WASI_EDQUOT);
    }
    assert_int_equal(w->growth.names, 2);
    assert_int_equal(w->growth.bytes, 0);
    assert_int_equal(CALL(w, "path_unlink_file", RW, AT_PATH, length), WASI_SUCCESS);
    assert_int_equal(w->growth.names, 1);
    assert_int_equal(w->growth.bytes, 0); /* it has other names */
}

/* Many small files take many blocks. */
static void test_bytes_are_counted_in_blocks(void **state) {
    struct world *w = *state;
    uint32_t done = 0;
    w->config.workspace_bytes = 4 * 4096;
    world_restart(w);
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    for (int i = 0; i < 5; i++) {
        uint32_t fd = open_ok(w, RW, names[i], WASI_OFLAG_CREAT);
        assert_int_equal(write_text(w, fd, "x", &done), i < 4 ? WASI_SUCCESS : WASI_EDQUOT);
        assert_int_equal(write_text(w, fd, "y", &done), i < 4 ? WASI_SUCCESS : WASI_EDQUOT);
        assert_int_equal(CALL(w, "fd_close", fd), WASI_SUCCESS);
    }
    assert_int_equal(w->growth.bytes, 4 * 4096);
    uint64_t length = put_path(w, AT_PATH, "directory");
    assert_int_equal(CALL(w, "path_create_directory", RW, AT_PATH, length), WASI_EDQUOT);
    length = put_path(w, AT_PATH, "a");
    assert_int_equal(CALL(w, "path_unlink_file", RW, AT_PATH, length), WASI_SUCCESS);
    length = put_path(w, AT_PATH, "directory");
    assert_int_equal(CALL(w, "path_create_directory", RW, AT_PATH, length), WASI_SUCCESS);
    assert_int_equal(CALL(w, "path_remove_directory", RW, AT_PATH, length), WASI_SUCCESS);
    assert_int_equal(w->growth.bytes, 3 * 4096);
    uint32_t fd = 0; /* emptied: its block is free again */
    assert_int_equal(open_path(w, RW, "b", 0, WASI_OFLAG_TRUNC, WASI_RIGHTS_FILE, 0, &fd),
                     WASI_SUCCESS);
    assert_int_equal(w->growth.bytes, 2 * 4096);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        T(test_read_write_seek_tell),
        T(test_pread_pwrite_leave_the_position_alone),
        T(test_iovecs_outside_memory_or_too_many_are_refused),
        T(test_append_flag_can_be_set_and_cleared),
        T(test_sizes_and_allocation),
        T(test_times),
        T(test_new_files_lack_what_the_mask_says),
        T(test_directories_are_not_opened_for_writing),
        T(test_dates_before_1970_read_as_zero),
        T(test_sync_and_advice),
        T(test_renumber_moves_and_leaks_nothing),
        T(test_open_files_are_limited),
        T(test_growth_ends_at_the_quota),
        T(test_inodes_end_at_the_quota),
        T(test_names_through_dangling_links_are_counted),
        T(test_names_by_hard_links_are_counted),
        T(test_bytes_are_counted_in_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Promise: from turn to turn of a session, nothing of a former job is left in the interpreter's
 * world, whatever the guest has done with its descriptors. */
#include "wasi_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* What a job brings is a guest's no longer than the job lasts: these are freed with it. */
struct turn {
    struct world *w;
    struct wasi_config config;
    char *job;
    struct buffer output[2];
    struct wasi_output_counts *counts;
};

static void turn_begin(struct turn *turn, struct world *w, const char *job) {
    struct error err = {0};
    *turn = (struct turn){.w = w, .config = w->config, .job = strdup(job)};
    turn->counts = calloc(2, sizeof *turn->counts);
    assert_non_null(turn->job);
    assert_non_null(turn->counts);
    turn->config.job_data = turn->job;
    turn->config.job_bytes = strlen(job);
    turn->config.stdin_data = turn->job;
    turn->config.stdin_bytes = strlen(job);
    turn->config.stdout_sink.capture = &turn->output[0];
    turn->config.stderr_sink.capture = &turn->output[1];
    turn->config.counts = turn->counts;
    turn->config.stays = true;
    if (wasi_rebind(w->wasi, &turn->config, &err) != 0) fail_msg("%s", err.text);
}

static void turn_end(struct turn *turn) {
    wasi_rest(turn->w->wasi);
    free(turn->job);
    free(turn->counts);
    buffer_fini(&turn->output[0]);
    buffer_fini(&turn->output[1]);
}

static void test_streams_are_the_jobs_under_any_number(void **state) {
    struct world *w = *state;
    struct turn turn;
    char text[32];
    uint32_t done = 0, file = open_ok(w, RW, "file", 0), other = open_ok(w, RW, "dir/inner", 0);
    turn_begin(&turn, w, "the first job");
    assert_int_equal(read_text(w, 0, 4, text, &done), WASI_SUCCESS);
    assert_int_equal(CALL(w, "fd_renumber", 0, file), WASI_SUCCESS);
    assert_int_equal(CALL(w, "fd_renumber", 1, other), WASI_SUCCESS);
    assert_int_equal(write_text(w, other, "old", &done), WASI_SUCCESS);
    turn_end(&turn);

    turn_begin(&turn, w, "NEXT");
    assert_int_equal(read_text(w, file, 30, text, &done), WASI_SUCCESS);
    assert_string_equal(text, "NEXT");
    assert_int_equal(write_text(w, other, "new", &done), WASI_SUCCESS);
    assert_int_equal(turn.output[0].size, 3);
    assert_memory_equal(turn.output[0].data, "new", 3);
    assert_int_equal(turn.counts[0].bytes, 3);
    turn_end(&turn);

    /* A job without any stdin, and nobody who listens. */
    w->config.stdin_fd = -1;
    w->config.stays = true;
    struct error err = {0};
    assert_int_equal(wasi_rebind(w->wasi, &w->config, &err), 0);
    assert_int_equal(read_text(w, file, 30, text, &done), WASI_SUCCESS);
    assert_int_equal(done, 0);
    assert_int_equal(write_text(w, file, "an answer", &done), WASI_ENOTCAPABLE);
}

static void test_host_descriptors_are_the_jobs_under_any_number(void **state) {
    struct world *w = *state;
    struct error err = {0};
    int old[2], new[2];
    char text[32];
    uint32_t done = 0, file = open_ok(w, RW, "file", 0);
    assert_int_equal(pipe(old), 0);
    assert_int_equal(pipe(new), 0);
    w->config.stdin_fd = old[0];
    w->config.stays = true;
    world_restart(w);
    file = open_ok(w, RW, "file", 0);
    assert_int_equal(CALL(w, "fd_renumber", 0, file), WASI_SUCCESS);
    wasi_rest(w->wasi);
    w->config.stdin_fd = new[0];
    assert_int_equal(wasi_rebind(w->wasi, &w->config, &err), 0);
    assert_int_equal(write(old[1], "old", 3), 3);
    assert_int_equal(write(new[1], "new", 3), 3);
    assert_int_equal(read_text(w, file, 30, text, &done), WASI_SUCCESS);
    assert_string_equal(text, "new");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(close(old[i]), 0);
        assert_int_equal(close(new[i]), 0);
    }
}

static void test_mounts_are_exchanged_under_any_number(void **state) {
    struct world *w = *state;
    struct error err = {0};
    uint32_t fd, dir = open_ok(w, RW, "dir", WASI_OFLAG_DIRECTORY);
    assert_int_equal(CALL(w, "fd_renumber", RW, dir), WASI_SUCCESS);
    struct wasi_mount_config mounts[2] = {w->mounts[1], w->mounts[1]};
    mounts[0].guest_path = "/rw";
    struct wasi_config config = w->config;
    config.mounts = mounts;
    assert_int_equal(wasi_rebind(w->wasi, &config, &err), 0);
    assert_int_equal(open_path(w, dir, "new", 0, WASI_OFLAG_CREAT, WASI_RIGHTS_FILE, 0, &fd),
                     WASI_EROFS);
    assert_false(host_exists(w, "rw/new"));
    assert_int_equal(CALL(w, "fd_prestat_get", dir, AT_OUT), WASI_SUCCESS);
}

static void rest_and_go_on(struct world *w) {
    struct error err = {0};
    wasi_rest(w->wasi);
    w->growth = (struct wasi_growth){0};
    assert_int_equal(wasi_rebind(w->wasi, &w->config, &err), 0);
}

/* A file without a name stays charged until its last descriptor is closed, in whichever turn. */
static void test_files_without_a_name_are_charged_from_turn_to_turn(void **state) {
    struct world *w = *state;
    uint32_t done = 0, fd, other;
    w->config.stays = true;
    w->config.workspace_bytes = 40960;
    w->config.workspace_inodes = 3;
    world_restart(w);
    fd = open_ok(w, RW, "big", WASI_OFLAG_CREAT);
    assert_int_equal(CALL(w, "fd_filestat_set_size", fd, 30000), WASI_SUCCESS);
    assert_int_equal(w->growth.bytes, 32768);
    uint64_t length = put_path(w, AT_PATH, "big");
    uint64_t to = put_path(w, AT_PATH2, "second");
    assert_int_equal(CALL(w, "path_link", RW, 0, AT_PATH, length, RW, AT_PATH2, to), WASI_SUCCESS);
    assert_int_equal(CALL(w, "path_unlink_file", RW, AT_PATH2, to), WASI_SUCCESS);
    other = open_ok(w, RW, "big", 0);
    assert_int_equal(CALL(w, "path_unlink_file", RW, AT_PATH, length), WASI_SUCCESS);
    assert_int_equal(w->growth.bytes, 0); /* of what has a name */
    assert_int_equal(w->growth.names, 0);

    rest_and_go_on(w);
    uint32_t next = open_ok(w, RW, "next", WASI_OFLAG_CREAT);
    assert_int_equal(CALL(w, "fd_filestat_set_size", next, 8193), WASI_EDQUOT);
    assert_int_equal(CALL(w, "fd_filestat_set_size", next, 8192), WASI_SUCCESS);
    assert_int_equal(CALL(w, "fd_filestat_set_size", fd, 32769), WASI_EDQUOT);
    assert_int_equal(CALL(w, "fd_filestat_set_size", fd, 100), WASI_SUCCESS);
    assert_int_equal(CALL(w, "fd_filestat_set_size", next, 8193), WASI_SUCCESS);
    assert_int_equal(w->growth.bytes, 12288);
    assert_int_equal(CALL(w, "fd_close", fd), WASI_SUCCESS);
    assert_int_equal(CALL(w, "fd_filestat_set_size", next, 36864), WASI_SUCCESS);
    assert_int_equal(CALL(w, "fd_filestat_set_size", next, 36865), WASI_EDQUOT); /* the other */
    (void)open_ok(w, RW, "third", WASI_OFLAG_CREAT);
    uint32_t fourth;
    assert_int_equal(open_path(w, RW, "fourth", 0, WASI_OFLAG_CREAT, WASI_RIGHTS_FILE, 0, &fourth),
                     WASI_EDQUOT);
    assert_int_equal(CALL(w, "fd_close", other), WASI_SUCCESS);
    assert_int_equal(CALL(w, "fd_filestat_set_size", next, 40960), WASI_SUCCESS);
    (void)open_ok(w, RW, "fourth", WASI_OFLAG_CREAT);
    assert_int_equal(w->growth.bytes, 40960);
    assert_int_equal(w->growth.names, 3);
    assert_int_equal(write_text(w, next, "x", &done), WASI_SUCCESS);
}

static void copy_file(struct world *w, const char *from, const char *to) {
    char command[300];
    (void)snprintf(command, sizeof command, "cp -p %s/%s %s/%s", w->tree, from, w->tree, to);
    assert_int_equal(system(command), 0);
}

static void host(struct world *w, const char *format) {
    char command[400];
    (void)snprintf(command, sizeof command, format, w->tree, w->tree, w->tree);
    assert_int_equal(system(command), 0);
}

/* Goes on in TREE/branch, a copy of TREE/rw. */
static void go_on_in_branch(struct world *w) {
    struct error err = {0};
    char path[100];
    wasi_rest(w->wasi);
    host(w, "cp -a %s/rw %s/branch");
    (void)snprintf(path, sizeof path, "%s/branch", w->tree);
    (void)close(w->mounts[0].dir_fd);
    w->mounts[0].dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    w->config.moved = true;
    assert_int_equal(wasi_rebind(w->wasi, &w->config, &err), 0);
    w->config.moved = false;
}

static void stay(struct world *w) {
    w->config.stays = true;
    world_restart(w);
}

static void unlink_path(struct world *w, const char *path) {
    assert_int_equal(CALL(w, "path_unlink_file", RW, AT_PATH, put_path(w, AT_PATH, path)),
                     WASI_SUCCESS);
}

static void rename_path(struct world *w, const char *from, const char *to) {
    uint64_t length = put_path(w, AT_PATH, from);
    assert_int_equal(
        CALL(w, "path_rename", RW, AT_PATH, length, RW, AT_PATH2, put_path(w, AT_PATH2, to)),
        WASI_SUCCESS);
}

static uint64_t inode_of(struct world *w, uint32_t fd) {
    assert_int_equal(CALL(w, "fd_filestat_get", fd, AT_OUT), WASI_SUCCESS);
    return get_u64(w, AT_OUT + 8);
}

static uint64_t inode_at(struct world *w, const char *path) {
    uint64_t length = put_path(w, AT_PATH, path);
    assert_int_equal(CALL(w, "path_filestat_get", RW, 0, AT_PATH, length, AT_OUT), WASI_SUCCESS);
    return get_u64(w, AT_OUT + 8);
}

static void test_a_branch_has_files_of_its_own(void **state) {
    struct world *w = *state;
    char text[32];
    uint32_t done = 0, append;
    stay(w);
    uint32_t reading = open_ok(w, RW, "./dir//inner", 0);
    uint32_t writing = open_ok(w, RW, "new", WASI_OFLAG_CREAT);
    uint32_t dir = open_ok(w, RW, "dir", WASI_OFLAG_DIRECTORY);
    uint32_t beneath = open_ok(w, dir, "inner", 0);
    assert_int_equal(open_path(w, RW, "file", 0, 0, WASI_RIGHTS_FILE, WASI_FDFLAG_APPEND, &append),
                     WASI_SUCCESS);
    assert_int_equal(read_text(w, reading, 2, text, &done), WASI_SUCCESS);
    assert_int_equal(write_text(w, writing, "both ", &done), WASI_SUCCESS);
    rename_path(w, "new", "dir/renamed");
    rename_path(w, "dir", "other");
    uint64_t inode = inode_of(w, writing);
    go_on_in_branch(w);
    assert_int_equal(wasi_lost(w->wasi), 0);
    assert_int_equal(read_text(w, reading, 9, text, &done), WASI_SUCCESS);
    assert_string_equal(text, "ner"); /* where it was */
    assert_int_equal(write_text(w, writing, "branch", &done), WASI_SUCCESS);
    assert_int_equal(write_text(w, append, "!", &done), WASI_SUCCESS);
    assert_int_equal(write_text(w, beneath, "x", &done), WASI_SUCCESS);
    (void)open_ok(w, dir, "made", WASI_OFLAG_CREAT);
    assert_string_equal(host_text(w, "branch/other/renamed"), "both branch");
    assert_string_equal(host_text(w, "branch/file"), "hello!");
    assert_string_equal(host_text(w, "branch/other/inner"), "xnner");
    assert_true(host_exists(w, "branch/other/made"));
    /* The parent's are as they were. */
    assert_string_equal(host_text(w, "rw/other/renamed"), "both ");
    assert_string_equal(host_text(w, "rw/file"), "hello");
    assert_string_equal(host_text(w, "rw/other/inner"), "inner");
    assert_false(host_exists(w, "rw/other/made"));
    /* To the guest they are the files that it knows. */
    assert_int_equal(inode_of(w, writing), inode);
    assert_int_equal(inode_at(w, "other/renamed"), inode);
    assert_int_not_equal(inode_at(w, "file"), inode);
}

static void test_what_is_not_there_is_lost(void **state) {
    struct world *w = *state;
    char text[32];
    uint32_t done = 0, free_again;
    stay(w);
    uint32_t gone = open_ok(w, RW, "gone", WASI_OFLAG_CREAT);
    uint32_t replaced = open_ok(w, RW, "file", 0);
    uint32_t kept = open_ok(w, RW, "dir/inner", 0);
    (void)open_ok(w, RW, "better", WASI_OFLAG_CREAT);
    unlink_path(w, "gone");
    rename_path(w, "better", "file");
    go_on_in_branch(w);
    assert_int_equal(wasi_lost(w->wasi), 2);
    const uint32_t lost[] = {gone, replaced};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(read_text(w, lost[i], 2, text, &done), WASI_EIO);
        assert_int_equal(write_text(w, lost[i], "x", &done), WASI_EIO);
        assert_int_equal(CALL(w, "fd_fdstat_get", lost[i], AT_OUT), WASI_EIO);
        assert_int_equal(CALL(w, "fd_seek", lost[i], 0, WASI_WHENCE_SET, AT_OUT), WASI_EIO);
    }
    assert_int_equal(read_text(w, kept, 9, text, &done), WASI_SUCCESS);
    assert_string_equal(text, "inner");
    /* Its number is nobody else's until it is closed. */
    free_again = open_ok(w, RW, "file", 0);
    assert_true(free_again != gone && free_again != replaced);
    assert_int_equal(CALL(w, "fd_close", gone), WASI_SUCCESS);
    assert_int_equal(open_ok(w, RW, "file", 0), gone);
    assert_int_equal(CALL(w, "fd_renumber", kept, replaced), WASI_SUCCESS);
    assert_int_equal(CALL(w, "fd_tell", replaced, AT_OUT), WASI_SUCCESS);
}

/* The front has put an earlier copy of the files into the same folder. */
static void test_a_rollback_has_the_files_of_then(void **state) {
    struct world *w = *state;
    struct error err = {0};
    char text[32];
    uint32_t done = 0;
    stay(w);
    uint32_t fd = open_ok(w, RW, "file", 0), other = open_ok(w, RW, "dir/inner", 0);
    assert_int_equal(read_text(w, fd, 3, text, &done), WASI_SUCCESS);
    wasi_rest(w->wasi);
    copy_file(w, "rw/file", "then");
    host(w, "rm %s/rw/file %s/rw/dir/inner");
    copy_file(w, "then", "rw/file");
    host(w, "printf 'not it' > %s/rw/dir/inner"); /* that is another one */
    w->config.same_mounts = true;
    w->config.moved = true;
    assert_int_equal(wasi_rebind(w->wasi, &w->config, &err), 0);
    assert_int_equal(wasi_lost(w->wasi), 1);
    assert_int_equal(read_text(w, other, 3, text, &done), WASI_EIO);
    assert_int_equal(read_text(w, fd, 3, text, &done), WASI_SUCCESS);
    assert_string_equal(text, "lo");
    assert_int_equal(write_text(w, fd, "!", &done), WASI_SUCCESS);
    assert_string_equal(host_text(w, "rw/file"), "hello!");
}

/* Copies of a process share offsets: that of a turn that was undone is none of the next one's. */
static void test_a_turn_begins_where_the_last_one_ended(void **state) {
    struct world *w = *state;
    struct error err = {0};
    char text[32];
    uint32_t done = 0;
    stay(w);
    uint32_t fd = open_ok(w, RW, "file", 0), hidden = open_ok(w, RW, "hidden", WASI_OFLAG_CREAT);
    uint32_t removed = open_ok(w, RW, "dir/inner", 0);
    assert_int_equal(read_text(w, fd, 2, text, &done), WASI_SUCCESS);
    assert_int_equal(write_text(w, hidden, "here", &done), WASI_SUCCESS);
    unlink_path(w, "hidden");
    rest_and_go_on(w);
    assert_int_equal(wasi_lost(w->wasi), 0);
    assert_int_equal(read_text(w, fd, 3, text, &done), WASI_SUCCESS); /* undone: */
    assert_int_equal(CALL(w, "fd_fdstat_set_flags", fd, WASI_FDFLAG_APPEND), WASI_SUCCESS);
    assert_int_equal(CALL(w, "fd_fdstat_set_flags", fd, 0), WASI_SUCCESS);
    host(w, "rm %s/rw/dir/inner");
    assert_int_equal(wasi_rebind(w->wasi, &w->config, &err), 0);
    assert_int_equal(read_text(w, fd, 3, text, &done), WASI_SUCCESS);
    assert_string_equal(text, "llo");
    /* What the guest has unlinked is its own; what others have removed would be written in vain. */
    assert_int_equal(CALL(w, "fd_seek", hidden, 0, WASI_WHENCE_SET, AT_OUT), WASI_SUCCESS);
    assert_int_equal(read_text(w, hidden, 9, text, &done), WASI_SUCCESS);
    assert_string_equal(text, "here");
    assert_int_equal(wasi_lost(w->wasi), 1);
    assert_int_equal(write_text(w, removed, "x", &done), WASI_EIO);
}

struct poller {
    struct world *w;
    int former, now;
};

static void exchange_output(void *context) {
    struct poller *p = context;
    struct error err = {0};
    struct wasi_config config = p->w->config;
    config.stdout_sink = (struct wasi_sink_config){.fd = p->now};
    assert_int_equal(wasi_rebind(p->w->wasi, &config, &err), 0);
    assert_int_equal(close(p->former), 0);
}

/* The first subscription's descriptor is another one after the second has led to the checkpoint. */
static void test_poll_waits_for_the_jobs_streams_only(void **state) {
    struct world *w = *state;
    int former[2], now[2];
    uint8_t subs[2][WASI_SUBSCRIPTION_BYTES] = {{0}};
    assert_int_equal(pipe(former), 0);
    assert_int_equal(pipe(now), 0);
    struct poller poller = {w, former[1], now[1]};
    w->config.stdout_sink = (struct wasi_sink_config){.fd = former[1]};
    w->config.before_input = exchange_output;
    w->config.before_input_context = &poller;
    world_restart(w);
    subs[0][8] = WASI_EVENT_FD_WRITE;
    subs[0][16] = 1;
    subs[1][8] = WASI_EVENT_FD_READ;
    assert_true(guest_put(&w->memory, AT_DATA, subs, sizeof subs));
    assert_int_equal(CALL(w, "poll_oneoff", AT_DATA, AT_DATA + 0x1000, 2, AT_OUT), WASI_SUCCESS);
    for (uint32_t i = 0; i < get_u32(w, AT_OUT); i++) {
        uint16_t error;
        assert_true(guest_get(&w->memory, AT_DATA + 0x1000 + 32 * i + 8, &error, sizeof error));
        assert_int_equal(error, WASI_SUCCESS);
    }
    assert_int_equal(close(former[0]), 0);
    assert_int_equal(close(now[0]), 0);
    assert_int_equal(close(now[1]), 0);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        T(test_streams_are_the_jobs_under_any_number),
        T(test_host_descriptors_are_the_jobs_under_any_number),
        T(test_mounts_are_exchanged_under_any_number),
        T(test_files_without_a_name_are_charged_from_turn_to_turn),
        T(test_a_branch_has_files_of_its_own),
        T(test_what_is_not_there_is_lost),
        T(test_a_rollback_has_the_files_of_then),
        T(test_a_turn_begins_where_the_last_one_ended),
        T(test_poll_waits_for_the_jobs_streams_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

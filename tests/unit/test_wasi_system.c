/* Promise: arguments, clocks, random numbers, ending and sockets are what the specification says;
 * what is denied answers with an errno; and deterministic mode gives the same bytes each time. */
#include "wasi_fixture.h"

#include <stdlib.h>

static void test_arguments_and_environment(void **state) {
    static const char *const argv[] = {"prog", "", "\xc3\xa9"};
    static const char *const env[] = {"A=1"};
    struct world *w = *state;
    w->config.argv = argv;
    w->config.argc = 3;
    w->config.env = env;
    w->config.env_count = 1;
    world_restart(w);
    assert_int_equal(CALL(w, "args_sizes_get", AT_OUT, AT_OUT + 4), WASI_SUCCESS);
    assert_int_equal(get_u32(w, AT_OUT), 3);
    assert_int_equal(get_u32(w, AT_OUT + 4), 9);
    assert_int_equal(CALL(w, "args_get", AT_OUT, AT_DATA), WASI_SUCCESS);
    assert_memory_equal(w->memory.base + AT_DATA, "prog\0\0\xc3\xa9\0", 9);
    assert_int_equal(get_u32(w, AT_OUT + 4), AT_DATA + 5);
    assert_int_equal(get_u32(w, AT_OUT + 8), AT_DATA + 6);
    assert_int_equal(CALL(w, "environ_sizes_get", AT_OUT, AT_OUT + 4), WASI_SUCCESS);
    assert_int_equal(get_u32(w, AT_OUT + 4), 4);
    assert_int_equal(CALL(w, "environ_get", AT_OUT, AT_DATA), WASI_SUCCESS);
    assert_memory_equal(w->memory.base + AT_DATA, "A=1", 4);
    assert_int_equal(CALL(w, "args_get", MEMORY_BYTES - 11, AT_DATA), WASI_EFAULT);
    assert_int_equal(CALL(w, "args_get", AT_OUT, MEMORY_BYTES - 8), WASI_EFAULT);
    assert_int_equal(CALL(w, "args_sizes_get", MEMORY_BYTES - 3, AT_OUT), WASI_EFAULT);
    assert_int_equal(CALL(w, "environ_sizes_get", AT_OUT, UINT32_MAX), WASI_EFAULT);
}

static void test_clocks(void **state) {
    struct world *w = *state;
    for (uint64_t id = 0; id < 4; id++) {
        assert_int_equal(CALL(w, "clock_res_get", id, AT_OUT), WASI_SUCCESS);
        assert_true(get_u64(w, AT_OUT) > 0);
        assert_int_equal(CALL(w, "clock_time_get", id, 1, AT_OUT), WASI_SUCCESS);
        uint64_t first = get_u64(w, AT_OUT);
        assert_int_equal(CALL(w, "clock_time_get", id, 1, AT_OUT), WASI_SUCCESS);
        assert_true(get_u64(w, AT_OUT) >= first);
    }
    assert_int_equal(CALL(w, "clock_time_get", 4, 1, AT_OUT), WASI_EINVAL);
    assert_int_equal(CALL(w, "clock_res_get", UINT32_MAX, AT_OUT), WASI_EINVAL);
    assert_int_equal(CALL(w, "clock_time_get", 0, 1, MEMORY_BYTES - 7), WASI_EFAULT);
    assert_int_equal(CALL(w, "clock_res_get", 0, MEMORY_BYTES - 7), WASI_EFAULT);
}

static void test_random_numbers(void **state) {
    struct world *w = *state;
    uint8_t first[64];
    assert_int_equal(CALL(w, "random_get", AT_DATA, sizeof first), WASI_SUCCESS);
    memcpy(first, w->memory.base + AT_DATA, sizeof first);
    assert_int_equal(CALL(w, "random_get", AT_DATA, sizeof first), WASI_SUCCESS);
    assert_memory_not_equal(first, w->memory.base + AT_DATA, sizeof first);
    assert_int_equal(CALL(w, "random_get", AT_DATA, 0), WASI_SUCCESS);
    assert_int_equal(CALL(w, "random_get", AT_DATA, 500000), WASI_SUCCESS);
    assert_int_equal(CALL(w, "random_get", AT_DATA, UINT32_MAX), WASI_EFAULT);
    assert_int_equal(CALL(w, "random_get", MEMORY_BYTES, 1), WASI_EFAULT);
}

static void test_what_is_denied_answers_with_an_errno(void **state) {
    struct world *w = *state;
    w->config.deny_clock = true;
    w->config.deny_random = true;
    world_restart(w);
    assert_int_equal(CALL(w, "clock_time_get", 0, 1, AT_OUT), WASI_ENOTCAPABLE);
    assert_int_equal(CALL(w, "clock_res_get", 1, AT_OUT), WASI_ENOTCAPABLE);
    assert_int_equal(CALL(w, "random_get", AT_DATA, 8), WASI_ENOTCAPABLE);
    assert_int_equal(get_u64(w, AT_DATA), 0);
}

static void reached(void *context) {
    (void)context;
}

/* What an interpreter needs to start (a hash seed) is not refused to it; its program is. */
static void test_denied_random_numbers_let_an_interpreter_start(void **state) {
    struct world *w = *state;
    char text[8];
    uint32_t done = 0;
    w->config.deny_random = true;
    w->config.before_input = reached;
    w->config.job_data = "job";
    w->config.job_bytes = 3;
    world_restart(w);
    assert_int_equal(CALL(w, "random_get", AT_DATA, 8), WASI_SUCCESS);
    assert_int_equal(read_text(w, 0, 3, text, &done), WASI_SUCCESS);
    assert_int_equal(CALL(w, "random_get", AT_DATA, 8), WASI_ENOTCAPABLE);
}

/* The number of a name in a listing of RW. */
static uint64_t listed_inode(struct world *w, const char *name) {
    uint8_t head[WASI_DIRENT_BYTES], *at = w->memory.base + AT_DATA;
    assert_int_equal(CALL(w, "fd_readdir", RW, AT_DATA, 8192, 0, AT_OUT), WASI_SUCCESS);
    const uint8_t *end = at + get_u32(w, AT_OUT);
    while (at < end) {
        uint64_t inode;
        uint32_t length;
        memcpy(head, at, sizeof head);
        memcpy(&inode, head + 8, 8);
        memcpy(&length, head + 16, 4);
        if (length == strlen(name) && memcmp(at + sizeof head, name, length) == 0) return inode;
        at += sizeof head + length;
    }
    fail_msg("%s is not listed", name);
    return 0;
}

static void test_inode_numbers_agree(void **state) {
    struct world *w = *state;
    for (int round = 0; round < 2; round++) {
        w->config.deterministic = round == 1;
        world_restart(w);
        uint64_t listed = listed_inode(w, "to_file"), file = listed_inode(w, "file");
        assert_int_not_equal(listed, file);
        uint64_t n = put_path(w, AT_PATH, "file");
        assert_int_equal(CALL(w, "path_filestat_get", RW, 0, AT_PATH, n, AT_OUT), WASI_SUCCESS);
        assert_int_equal(get_u64(w, AT_OUT + 8), file);
        n = put_path(w, AT_PATH, "to_file");
        assert_int_equal(CALL(w, "path_filestat_get", RW, 0, AT_PATH, n, AT_OUT), WASI_SUCCESS);
        assert_int_equal(get_u64(w, AT_OUT + 8), listed);
        uint32_t fd = open_ok(w, RW, "file", 0), made;
        assert_int_equal(CALL(w, "fd_filestat_get", fd, AT_OUT), WASI_SUCCESS);
        assert_int_equal(get_u64(w, AT_OUT + 8), file);
        assert_int_equal(CALL(w, "fd_filestat_get", RW, AT_OUT), WASI_SUCCESS);
        assert_int_equal(get_u64(w, AT_OUT + 8), listed_inode(w, "."));
        if (round == 0) continue;
        /* The host may give a number again at once, or not: the guest sees a new one. */
        made = open_ok(w, RW, "made", WASI_OFLAG_CREAT);
        uint64_t first = listed_inode(w, "made");
        assert_int_equal(CALL(w, "fd_close", made), WASI_SUCCESS);
        n = put_path(w, AT_PATH, "made");
        assert_int_equal(CALL(w, "path_unlink_file", RW, AT_PATH, n), WASI_SUCCESS);
        (void)open_ok(w, RW, "made", WASI_OFLAG_CREAT);
        assert_int_equal(listed_inode(w, "made"), first + 1);
    }
}

static void test_deterministic_mode_keeps_times(void **state) {
    struct world *w = *state;
    uint32_t done = 0;
    const uint64_t when = UINT64_C(1234567890123456789);
    w->config.deterministic = true;
    world_restart(w);
    uint32_t fd = open_ok(w, RW, "file", 0);
    assert_int_equal(
        CALL(w, "fd_filestat_set_times", fd, 5, when, WASI_FSTFLAG_ATIM | WASI_FSTFLAG_MTIM),
        WASI_SUCCESS);
    uint64_t n = put_path(w, AT_PATH, "file");
    assert_int_equal(CALL(w, "path_filestat_get", RW, 0, AT_PATH, n, AT_OUT), WASI_SUCCESS);
    assert_int_equal(get_u64(w, AT_OUT + 40), 5);
    assert_true(get_u64(w, AT_OUT + 48) == when);
    assert_int_equal(CALL(w, "path_filestat_set_times", RW, 0, AT_PATH, n, 7, 0, WASI_FSTFLAG_ATIM),
                     WASI_SUCCESS);
    assert_int_equal(CALL(w, "fd_filestat_get", fd, AT_OUT), WASI_SUCCESS);
    assert_int_equal(get_u64(w, AT_OUT + 40), 7);
    assert_true(get_u64(w, AT_OUT + 48) == when);
    /* Writing changes it, by the clock that the guest sees. */
    assert_int_equal(CALL(w, "clock_time_get", 0, 1, AT_OUT), WASI_SUCCESS);
    uint64_t now = get_u64(w, AT_OUT);
    assert_int_equal(write_text(w, fd, "x", &done), WASI_SUCCESS);
    assert_int_equal(CALL(w, "fd_filestat_get", fd, AT_OUT), WASI_SUCCESS);
    assert_true(get_u64(w, AT_OUT + 48) == now);
    assert_int_equal(get_u64(w, AT_OUT + 40), 7);
}

static void test_deterministic_mode_repeats_itself(void **state) {
    struct world *w = *state;
    uint8_t first[3][64];
    uint64_t times[2][2], inodes[2];
    w->config.deterministic = true;
    for (int round = 0; round < 3; round++) {
        w->config.seed = round == 2 ? 8 : 7;
        world_restart(w);
        assert_int_equal(CALL(w, "random_get", AT_DATA, 64), WASI_SUCCESS);
        memcpy(first[round], w->memory.base + AT_DATA, 64);
        for (int i = 0; i < 2 && round < 2; i++) {
            assert_int_equal(CALL(w, "clock_time_get", 0, 1, AT_OUT), WASI_SUCCESS);
            times[round][i] = get_u64(w, AT_OUT);
        }
        uint64_t n = put_path(w, AT_PATH, "file");
        assert_int_equal(CALL(w, "path_filestat_get", RW, 0, AT_PATH, n, AT_OUT), WASI_SUCCESS);
        if (round < 2) inodes[round] = get_u64(w, AT_OUT + 8);
    }
    assert_memory_equal(first[0], first[1], 64);
    assert_memory_not_equal(first[0], first[2], 64); /* another seed */
    assert_true(times[0][0] == times[1][0] && times[0][1] == times[1][1]);
    assert_true(times[0][1] > times[0][0]);
    assert_int_equal(inodes[0], inodes[1]);
}

static void test_deterministic_sleep_takes_no_time_but_moves_the_clock(void **state) {
    struct world *w = *state;
    uint8_t raw[WASI_SUBSCRIPTION_BYTES] = {0};
    const uint64_t hour_ns = 3600 * NS_PER_SECOND;
    w->config.deterministic = true;
    world_restart(w);
    assert_int_equal(CALL(w, "clock_time_get", 1, 1, AT_OUT), WASI_SUCCESS);
    uint64_t before = get_u64(w, AT_OUT);
    raw[16] = 1;
    memcpy(raw + 24, &hour_ns, 8);
    assert_true(guest_put(&w->memory, AT_DATA, raw, sizeof raw));
    assert_int_equal(CALL(w, "poll_oneoff", AT_DATA, AT_PATH, 1, AT_OUT), WASI_SUCCESS);
    assert_int_equal(get_u32(w, AT_OUT), 1);
    assert_int_equal(CALL(w, "clock_time_get", 1, 1, AT_OUT), WASI_SUCCESS);
    assert_true(get_u64(w, AT_OUT) >= before + hour_ns);
}

static void test_ending(void **state) {
    struct world *w = *state;
    const uint32_t ignored[] = {0, 16, 17, 22, 27};
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(CALL(w, "proc_raise", ignored[i]), WASI_SUCCESS);
        assert_int_equal(wasi_stopped(w->wasi), WASI_RUNNING);
    }
    assert_int_equal(CALL(w, "proc_raise", 18), WASI_ENOTSUP);
    assert_int_equal(CALL(w, "proc_raise", 31), WASI_EINVAL);
    assert_int_equal(CALL(w, "sched_yield", 0), WASI_SUCCESS);
    assert_int_equal(CALL(w, "proc_raise", 6), WASI_SUCCESS);
    assert_int_equal(wasi_stopped(w->wasi), WASI_STOP_EXIT);
    assert_int_equal(wasi_exit_code(w->wasi), 134);
    world_restart(w);
    assert_int_equal(CALL(w, "proc_exit", 7), WASI_SUCCESS);
    assert_int_equal(wasi_stopped(w->wasi), WASI_STOP_EXIT);
    assert_int_equal(wasi_exit_code(w->wasi), 7);
}

static void test_there_are_no_sockets(void **state) {
    static const char *const functions[] = {"sock_accept", "sock_recv", "sock_send",
                                            "sock_shutdown"};
    struct world *w = *state;
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(CALL(w, functions[i], 60, 0), WASI_EBADF);
        assert_int_equal(CALL(w, functions[i], 1, 0), WASI_ENOTSOCK);
        assert_int_equal(CALL(w, functions[i], RW, 0), WASI_ENOTSOCK);
    }
}

/* Every function with every combination of hostile numbers: an errno, never a crash, and the
 * outside tree as it was. Under AddressSanitizer this also finds each stray access. */
static void test_hostile_numbers_in_every_argument(void **state) {
    static const uint64_t numbers[] = {
        0,        1,          3,          AT_PATH,  MEMORY_BYTES - 1, MEMORY_BYTES,
        1u << 31, UINT32_MAX, UINT64_MAX, INT64_MAX};
    struct world *w = *state;
    (void)put_path(w, AT_PATH, "../outside/secret");
    w->config.deadline_ns = 1; /* long past: whatever would wait returns */
    w->config.output_limit_bytes = 100;
    srand(1);
    for (size_t f = 0; f < wasi_function_count; f++) {
        for (int round = 0; round < 400; round++) {
            uint64_t args[10];
            if (round % 50 == 0) world_restart(w);
            for (int i = 0; i < 10; i++)
                args[i] = numbers[rand() % 10];
            (void)wasi_call(w->wasi, &wasi_functions[f], args);
        }
    }
    assert_outside_untouched(w);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        T(test_arguments_and_environment),
        T(test_clocks),
        T(test_random_numbers),
        T(test_what_is_denied_answers_with_an_errno),
        T(test_denied_random_numbers_let_an_interpreter_start),
        T(test_inode_numbers_agree),
        T(test_deterministic_mode_keeps_times),
        T(test_deterministic_mode_repeats_itself),
        T(test_deterministic_sleep_takes_no_time_but_moves_the_clock),
        T(test_ending),
        T(test_there_are_no_sockets),
        T(test_hostile_numbers_in_every_argument),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

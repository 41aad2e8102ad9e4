/* Promise: stdin, stdout and stderr behave as streams, stop at their caps and at the deadline, and
 * a sleeping or waiting guest never outlasts its run. */
#include "wasi_fixture.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static void test_job_comes_before_stdin_and_reads_do_not_cross(void **state) {
    struct world *w = *state;
    char text[16];
    uint32_t done = 0;
    w->config.job_data = "job";
    w->config.job_bytes = 3;
    w->config.stdin_data = "input";
    w->config.stdin_bytes = 5;
    world_restart(w);
    assert_int_equal(read_text(w, 0, 2, text, &done), WASI_SUCCESS);
    assert_string_equal(text, "jo");
    assert_int_equal(read_text(w, 0, 10, text, &done), WASI_SUCCESS);
    assert_string_equal(text, "b");
    assert_int_equal(read_text(w, 0, 10, text, &done), WASI_SUCCESS);
    assert_string_equal(text, "input");
    assert_int_equal(read_text(w, 0, 10, text, &done), WASI_SUCCESS);
    assert_int_equal(done, 0);
    assert_int_equal(write_text(w, 0, "x", &done), WASI_ENOTCAPABLE);
    assert_int_equal(read_text(w, 1, 1, text, &done), WASI_ENOTCAPABLE);
    assert_int_equal(CALL(w, "fd_read", 60, AT_IOV, 1, AT_OUT), WASI_EBADF);
    assert_int_equal(CALL(w, "fd_read", RW, AT_IOV, 1, AT_OUT), WASI_EBADF);
}

/* The checkpoint of an interpreter, and the next job when it comes there again. */
struct turns {
    struct world *w;
    int reached;
};

static void next_turn(void *context) {
    static const char *const jobs[] = {"one", "two"};
    struct turns *turns = context;
    struct error err = {0};
    struct wasi_config config = turns->w->config;
    config.job_data = jobs[turns->reached++];
    config.job_bytes = 3;
    assert_int_equal(wasi_rebind(turns->w->wasi, &config, &err), 0);
}

static void test_an_answer_ends_a_turn(void **state) {
    struct world *w = *state;
    struct turns turns = {.w = w};
    char text[16], answer[16] = "";
    uint32_t done = 0;
    int fd = memfd_create("answer", MFD_CLOEXEC);
    w->config.answer_fd = fd;
    w->config.stdin_data = "input";
    w->config.stdin_bytes = 5;
    w->config.before_input = next_turn;
    w->config.before_input_context = &turns;
    w->config.stays = true;
    world_restart(w);
    assert_int_equal(read_text(w, 0, 10, text, &done), WASI_SUCCESS);
    assert_string_equal(text, "one");
    assert_int_equal(read_text(w, 0, 10, text, &done), WASI_SUCCESS);
    assert_string_equal(text, "input"); /* no answer yet: it is the program that reads */
    assert_int_equal(turns.reached, 1);
    assert_int_equal(write_text(w, 0, "ans", &done), WASI_SUCCESS);
    assert_int_equal(write_text(w, 0, "wer", &done), WASI_SUCCESS);
    assert_int_equal(pread(fd, answer, sizeof answer - 1, 0), 6);
    assert_string_equal(answer, "answer");
    assert_int_equal(read_text(w, 0, 10, text, &done), WASI_SUCCESS);
    assert_string_equal(text, "two");
    assert_int_equal(turns.reached, 2);
    (void)close(fd);
}

static void test_answers_are_bounded(void **state) {
    struct world *w = *state;
    uint32_t done = 0;
    char *much = calloc(1, (1 << 19) + 1);
    int fd = memfd_create("answer", MFD_CLOEXEC);
    memset(much, 'x', 1 << 19);
    w->config.answer_fd = fd;
    world_restart(w);
    for (int i = 0; i < 64; i++)
        assert_int_equal(write_text(w, 0, much, &done), WASI_SUCCESS);
    assert_int_equal(write_text(w, 0, "x", &done), WASI_EFBIG);
    assert_int_equal(lseek(fd, 0, SEEK_END), 32 << 20);
    (void)close(fd);
    free(much);
}

static void test_output_is_captured_and_counted(void **state) {
    struct world *w = *state;
    uint32_t done = 0;
    assert_int_equal(write_text(w, 1, "out", &done), WASI_SUCCESS);
    assert_int_equal(done, 3);
    assert_int_equal(write_text(w, 2, "error", &done), WASI_SUCCESS);
    assert_string_equal((char *)w->output[0].data, "out");
    assert_string_equal((char *)w->output[1].data, "error");
    assert_int_equal(w->counts[0].bytes, 3);
    assert_int_equal(w->counts[1].bytes, 5);
}

static void test_output_stops_at_its_cap(void **state) {
    struct world *w = *state;
    uint32_t done = 0;
    w->config.output_limit_bytes = 5;
    world_restart(w);
    assert_int_equal(write_text(w, 1, "1234", &done), WASI_SUCCESS);
    assert_int_equal(write_text(w, 1, "5678", &done), WASI_EFBIG);
    assert_int_equal(wasi_stopped(w->wasi), WASI_STOP_OUTPUT_LIMIT);
    assert_string_equal((char *)w->output[0].data, "12345"); /* what fits is kept */
    assert_true(w->counts[0].truncated);
}

static void test_output_can_be_cut_instead(void **state) {
    struct world *w = *state;
    uint32_t done = 0;
    w->config.output_limit_bytes = 5;
    w->config.output_truncate = true;
    world_restart(w);
    for (int i = 0; i < 100; i++)
        assert_int_equal(write_text(w, 1, "1234", &done), WASI_SUCCESS);
    assert_int_equal(done, 4);
    assert_int_equal(wasi_stopped(w->wasi), WASI_RUNNING);
    assert_string_equal((char *)w->output[0].data, "12341");
    assert_int_equal(w->counts[0].bytes, 400);
    assert_true(w->counts[0].truncated);
}

static int times_held;

static void note_held(void) {
    times_held++;
}

/* What can be read at the other end of a pipe now. */
static const char *arrived(int fd) {
    static char text[4096];
    ssize_t got = read(fd, text, sizeof text - 1);
    text[got > 0 ? got : 0] = 0;
    return text;
}

/* Pieces of a line come as one write, and none of them is anywhere else than where a parent sees
 * it.
 */
static void test_pieces_of_lines_are_held_where_a_parent_sees_them(void **state) {
    struct world *w = *state;
    struct wasi_tails tails;
    char text[8];
    uint32_t done = 0;
    int out[2], err[2];
    assert_int_equal(pipe2(out, O_NONBLOCK), 0);
    assert_int_equal(pipe2(err, O_NONBLOCK), 0);
    w->config.stdout_sink = (struct wasi_sink_config){.fd = out[1]};
    w->config.stderr_sink = (struct wasi_sink_config){.fd = err[1]};
    w->config.tails = &tails;
    w->config.held = note_held;
    w->config.output_limit_bytes = 0;
    times_held = 0;
    world_restart(w);
    assert_int_equal(write_text(w, 1, "one", &done), WASI_SUCCESS);
    assert_int_equal(write_text(w, 1, " two", &done), WASI_SUCCESS);
    assert_int_equal(done, 4);
    assert_string_equal(arrived(out[0]), "");
    assert_int_equal(w->counts[0].held, 7);
    assert_memory_equal(tails.bytes[0], "one two", 7);
    assert_int_equal(times_held, 1); /* told once is enough */
    assert_int_equal(write_text(w, 1, "\n", &done), WASI_SUCCESS);
    assert_string_equal(arrived(out[0]), "one two\n");
    assert_int_equal(w->counts[0].held, 0);

    assert_int_equal(write_text(w, 1, "out", &done), WASI_SUCCESS);
    wasi_flush_in_signal();
    assert_string_equal(arrived(out[0]), "out");
    assert_int_equal(w->counts[0].held, 0);
    assert_int_equal(write_text(w, 1, "again", &done), WASI_SUCCESS);
    assert_int_equal(times_held, 2);
    assert_int_equal(write_text(w, 2, "error", &done), WASI_SUCCESS); /* in their order */
    assert_string_equal(arrived(out[0]), "again");
    assert_int_equal(w->counts[1].held, 5);
    assert_int_equal(read_text(w, 0, 1, text, &done), WASI_SUCCESS); /* a prompt is seen */
    assert_string_equal(arrived(err[0]), "error");

    for (int i = 0; i < 103; i++)
        assert_int_equal(write_text(w, 1, "0123456789", &done), WASI_SUCCESS);
    assert_int_equal(strlen(arrived(out[0])), 1020);
    assert_int_equal(w->counts[0].held, 10);
    wasi_rest(w->wasi);
    assert_string_equal(arrived(out[0]), "0123456789");
    assert_int_equal(w->counts[0].bytes, 8 + 3 + 5 + 1030);
    wasi_flush_in_signal(); /* of a timer that is late */
    assert_string_equal(arrived(out[0]), "");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(close(out[i]), 0);
        assert_int_equal(close(err[i]), 0);
    }
}

static void test_a_read_ends_at_the_deadline(void **state) {
    struct world *w = *state;
    int pipe_fds[2];
    char text[16];
    uint32_t done = 0;
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    w->config.stdin_fd = pipe_fds[0];
    w->config.deadline_ns = clock_deadline_ns(50);
    world_restart(w);
    assert_int_equal(write(pipe_fds[1], "abc", 3), 3);
    assert_int_equal(read_text(w, 0, 10, text, &done), WASI_SUCCESS);
    assert_string_equal(text, "abc");
    assert_int_equal(read_text(w, 0, 10, text, &done), WASI_EINTR);
    assert_int_equal(wasi_stopped(w->wasi), WASI_STOP_DEADLINE);
    (void)close(pipe_fds[0]);
    (void)close(pipe_fds[1]);
}

/* Puts a subscription at `index`; for a clock, `value` is the clock, else the descriptor. */
static void subscribe(struct world *w, uint32_t index, uint8_t type, uint32_t value,
                      uint64_t timeout, uint16_t flags) {
    uint8_t raw[WASI_SUBSCRIPTION_BYTES] = {0};
    uint64_t userdata = 1000 + index;
    memcpy(raw, &userdata, 8);
    raw[8] = type;
    memcpy(raw + 16, &value, 4);
    memcpy(raw + 24, &timeout, 8);
    memcpy(raw + 40, &flags, 2);
    assert_true(guest_put(&w->memory, AT_DATA + index * (uint32_t)sizeof raw, raw, sizeof raw));
}

enum { EVENTS = 0x40000 };

static wasi_errno poll_n(struct world *w, uint64_t count) {
    return CALL(w, "poll_oneoff", AT_DATA, EVENTS, count, AT_OUT);
}

static void assert_event(struct world *w, uint32_t at, uint64_t userdata, uint16_t error,
                         uint8_t type) {
    uint16_t found;
    memcpy(&found, w->memory.base + EVENTS + at * 32 + 8, 2);
    assert_int_equal(get_u64(w, EVENTS + at * 32), userdata);
    assert_int_equal(found, error);
    assert_int_equal(w->memory.base[EVENTS + at * 32 + 10], type);
}

static void test_poll_sleeps_and_reports_the_clock(void **state) {
    struct world *w = *state;
    uint64_t before_ns = clock_now_ns();
    subscribe(w, 0, WASI_EVENT_CLOCK, WASI_CLOCK_MONOTONIC, 20 * NS_PER_MS, 0);
    subscribe(w, 1, WASI_EVENT_CLOCK, WASI_CLOCK_MONOTONIC, UINT64_MAX, 0);
    assert_int_equal(poll_n(w, 2), WASI_SUCCESS);
    assert_true(clock_now_ns() - before_ns >= 20 * NS_PER_MS);
    assert_int_equal(get_u32(w, AT_OUT), 1);
    assert_event(w, 0, 1000, WASI_SUCCESS, WASI_EVENT_CLOCK);
    subscribe(w, 0, WASI_EVENT_CLOCK, WASI_CLOCK_REALTIME, 1, WASI_SUBCLOCK_ABSTIME); /* in 1970 */
    assert_int_equal(poll_n(w, 1), WASI_SUCCESS);
    assert_event(w, 0, 1000, WASI_SUCCESS, WASI_EVENT_CLOCK);
}

static void test_poll_reports_bad_subscriptions_as_events(void **state) {
    struct world *w = *state;
    subscribe(w, 0, WASI_EVENT_CLOCK, 77, 1, 0);
    subscribe(w, 1, WASI_EVENT_FD_READ, 60, 0, 0);
    subscribe(w, 2, WASI_EVENT_FD_READ, 1, 0, 0);
    subscribe(w, 3, WASI_EVENT_FD_WRITE, 1, 0, 0);
    subscribe(w, 4, WASI_EVENT_FD_READ, RW, 0, 0);
    subscribe(w, 5, WASI_EVENT_CLOCK, WASI_CLOCK_MONOTONIC, 0, 2);
    assert_int_equal(poll_n(w, 6), WASI_SUCCESS);
    assert_int_equal(get_u32(w, AT_OUT), 6);
    assert_event(w, 0, 1000, WASI_ENOTSUP, WASI_EVENT_CLOCK);
    assert_event(w, 1, 1001, WASI_EBADF, WASI_EVENT_FD_READ);
    assert_event(w, 2, 1002, WASI_ENOTCAPABLE, WASI_EVENT_FD_READ);
    assert_event(w, 3, 1003, WASI_SUCCESS, WASI_EVENT_FD_WRITE);
    assert_event(w, 4, 1004, WASI_EBADF, WASI_EVENT_FD_READ);
    assert_event(w, 5, 1005, WASI_EINVAL, WASI_EVENT_CLOCK);
}

static void test_poll_bounds(void **state) {
    struct world *w = *state;
    subscribe(w, 0, 9, 0, 0, 0);
    assert_int_equal(poll_n(w, 1), WASI_EINVAL);
    assert_int_equal(poll_n(w, 0), WASI_EINVAL);
    assert_int_equal(poll_n(w, 10000000), WASI_EINVAL);
    assert_int_equal(CALL(w, "poll_oneoff", MEMORY_BYTES - 47, EVENTS, 1, AT_OUT), WASI_EFAULT);
    assert_int_equal(CALL(w, "poll_oneoff", AT_DATA, MEMORY_BYTES - 31, 1, AT_OUT), WASI_EFAULT);
    subscribe(w, 0, WASI_EVENT_FD_WRITE, 1, 0, 0);
    assert_int_equal(CALL(w, "poll_oneoff", AT_DATA, AT_DATA, 1, AT_OUT),
                     WASI_SUCCESS); /* overlap */
    assert_int_equal(CALL(w, "poll_oneoff", AT_DATA, EVENTS, 1, MEMORY_BYTES - 3), WASI_EFAULT);
}

static void test_poll_ends_at_the_deadline(void **state) {
    struct world *w = *state;
    w->config.deadline_ns = clock_deadline_ns(30);
    world_restart(w);
    subscribe(w, 0, WASI_EVENT_CLOCK, WASI_CLOCK_REALTIME, UINT64_MAX, WASI_SUBCLOCK_ABSTIME);
    assert_int_equal(poll_n(w, 1), WASI_EINTR);
    assert_int_equal(wasi_stopped(w->wasi), WASI_STOP_DEADLINE);
}

static void test_poll_waits_for_a_pipe(void **state) {
    struct world *w = *state;
    int pipe_fds[2];
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    w->config.stdin_fd = pipe_fds[0];
    world_restart(w);
    subscribe(w, 0, WASI_EVENT_FD_READ, 0, 0, 0);
    subscribe(w, 1, WASI_EVENT_CLOCK, WASI_CLOCK_MONOTONIC, 5 * NS_PER_MS, 0);
    assert_int_equal(poll_n(w, 2), WASI_SUCCESS);
    assert_event(w, 0, 1001, WASI_SUCCESS, WASI_EVENT_CLOCK); /* nothing came */
    assert_int_equal(write(pipe_fds[1], "abc", 3), 3);
    assert_int_equal(poll_n(w, 2), WASI_SUCCESS);
    assert_event(w, 0, 1000, WASI_SUCCESS, WASI_EVENT_FD_READ);
    assert_int_equal(get_u64(w, EVENTS + 16), 3);
    assert_int_equal(get_u64(w, EVENTS + 24), 0);
    (void)close(pipe_fds[1]);
    assert_int_equal(poll_n(w, 2), WASI_SUCCESS);
    assert_int_equal(get_u64(w, EVENTS + 24), WASI_EVENT_HANGUP);
    (void)close(pipe_fds[0]);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        T(test_job_comes_before_stdin_and_reads_do_not_cross),
        T(test_an_answer_ends_a_turn),
        T(test_answers_are_bounded),
        T(test_output_is_captured_and_counted),
        T(test_output_stops_at_its_cap),
        T(test_output_can_be_cut_instead),
        T(test_pieces_of_lines_are_held_where_a_parent_sees_them),
        T(test_a_read_ends_at_the_deadline),
        T(test_poll_sleeps_and_reports_the_clock),
        T(test_poll_reports_bad_subscriptions_as_events),
        T(test_poll_bounds),
        T(test_poll_ends_at_the_deadline),
        T(test_poll_waits_for_a_pipe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

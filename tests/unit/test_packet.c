/* Promise: whatever arrives on a socket in place of a job is either a job that is consistent in
 * each number, or refused; no descriptor stays behind, and nothing is read beyond what was sent. */
#include "worker/packet.h"
#include "worker/wire.h"

#include "base/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define ALL_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)

static int count_fds(void) {
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (readdir(dir) != NULL)
        count++;
    (void)closedir(dir);
    return count;
}

static const char *const argv[] = {"program", "one", "two"};
static const char *const env[] = {"A=1"};
static const struct pa_mount mounts[] = {{"/tmp", "/data", false, false},
                                         {"/tmp", "/work", true, false}};

static struct pa_job example(void) {
    struct pa_job job = {.argv = argv,
                         .argc = 3,
                         .env = env,
                         .env_count = 1,
                         .stdin_data = "input",
                         .stdin_bytes = 5,
                         .job_data = "source",
                         .job_bytes = 6,
                         .rehearsal_data = "practice",
                         .rehearsal_bytes = 8,
                         .mounts = mounts,
                         .mount_count = 2,
                         .use_output_fds = true,
                         .stdout_fd = 1,
                         .stderr_fd = 2,
                         .invoke = "f",
                         .deny_clock = true,
                         .deterministic = true,
                         .seed = 42};
    pa_limits_default(&job.limits);
    return job;
}

static void transfer(const struct packet *packet, struct packet *received) {
    int pair[2];
    assert_int_equal(wire_pair(pair), 0);
    assert_int_equal(packet_send(packet, pair[0], 0), 0);
    assert_int_equal(packet_receive(received, pair[1], 0), 1);
    (void)close(pair[0]);
    (void)close(pair[1]);
}

static void check_example(const struct packet_view *view, const void *source, size_t source_bytes) {
    const struct pa_job *job = &view->job;
    assert_int_equal(job->argc, 3);
    assert_string_equal(job->argv[0], "program");
    assert_string_equal(job->argv[2], "two");
    assert_int_equal(job->env_count, 1);
    assert_string_equal(job->env[0], "A=1");
    assert_int_equal(job->stdin_bytes, 5);
    assert_memory_equal(job->stdin_data, "input", 5);
    assert_int_equal(job->job_bytes, source_bytes);
    assert_memory_equal(job->job_data, source, source_bytes);
    assert_memory_equal(job->rehearsal_data, "practice", 8);
    assert_string_equal(job->invoke, "f");
    assert_int_equal(job->mount_count, 2);
    assert_string_equal(view->mounts[0].guest_path, "/data");
    assert_false(view->mounts[0].writable);
    assert_string_equal(view->mounts[1].guest_path, "/work");
    assert_true(view->mounts[1].writable);
    assert_true(job->deny_clock && !job->deny_random && job->deterministic);
    assert_int_equal(job->seed, 42);
    assert_true(job->use_output_fds);
}

/* What arrives is what was sent, small or large. */
static void test_a_job_arrives_whole(void **state) {
    static char source[200000];
    const size_t sizes[] = {6, sizeof source};
    int fds = count_fds();
    (void)state;
    memset(source, 'x', sizeof source);
    for (size_t i = 0; i < 2; i++) {
        struct packet packet, received;
        struct packet_view view;
        struct error err = {0};
        struct pa_job job = example();
        job.job_data = source;
        job.job_bytes = sizes[i];
        assert_int_equal(packet_pack(&packet, &job, &err), 0);
        assert_int_equal(packet.body_fd >= 0, sizes[i] > PACKET_INLINE_BYTES);
        transfer(&packet, &received);
        assert_int_equal(packet_open(&received, &view, &err), 0);
        check_example(&view, source, sizes[i]);
        packet_view_fini(&view);
        packet_fini(&received);
        packet_fini(&packet);
    }
    assert_int_equal(count_fds(), fds);
}

/* What cannot be packed names the reason, and leaves nothing open. */
static void test_impossible_jobs_are_refused(void **state) {
    struct packet packet;
    struct error err = {0};
    int fds = count_fds();
    (void)state;
    struct pa_job job = example();
    const struct pa_mount missing[] = {{"/tmp", "/data", false, false},
                                       {"/nonexistent", "/x", false, false}};
    job.mounts = missing;
    assert_int_equal(packet_pack(&packet, &job, &err), -1);
    assert_int_equal(err.code, PA_NOT_FOUND);
    assert_non_null(strstr(err.text, "/nonexistent"));
    const struct pa_mount nameless[] = {{"/tmp", "", false, false}};
    job.mounts = nameless;
    job.mount_count = 1;
    assert_int_equal(packet_pack(&packet, &job, &err), -1);
    job.mount_count = PACKET_MAX_MOUNTS + 1;
    assert_int_equal(packet_pack(&packet, &job, &err), -1);
    job = example();
    job.argc = PACKET_MAX_STRINGS + 1;
    assert_int_equal(packet_pack(&packet, &job, &err), -1);
    job = example();
    job.stdout_fd = 999999;
    assert_int_equal(packet_pack(&packet, &job, &err), -1);
    assert_int_equal(count_fds(), fds);
}

/* One number at a time is made impossible. */
static void test_numbers_out_of_range_are_refused(void **state) {
    struct packet packet, broken;
    struct packet_view view;
    struct error err = {0};
    const struct pa_job job = example();
    (void)state;
    assert_int_equal(packet_pack(&packet, &job, &err), 0);
#define REFUSED(field, value) \
    do { \
        broken = packet; \
        broken.header.field = (value); \
        err = (struct error){0}; \
        assert_int_equal(packet_open(&broken, &view, &err), -1); \
        assert_int_equal(err.code, PA_INVALID_ARGUMENT); \
    } while (0)
    REFUSED(flags, packet.header.flags | 1u << 31);
    REFUSED(variant, 1000);
    REFUSED(argc, PACKET_MAX_STRINGS + 1);
    REFUSED(argc, packet.header.argc + 1); /* a string is missing */
    REFUSED(argc, packet.header.argc - 1); /* one is left over */
    REFUSED(env_count, UINT32_MAX);
    REFUSED(mount_count, PACKET_MAX_MOUNTS + 1);
    REFUSED(body_bytes, UINT64_MAX);
    REFUSED(job_bytes, UINT64_MAX);
    REFUSED(stdin_bytes, UINT64_MAX);
    REFUSED(stdin_bytes, packet.header.body_bytes);
    REFUSED(rehearsal_bytes, UINT64_MAX - 3);
    REFUSED(policy.enabled, UINT32_MAX);
    REFUSED(policy.required, UINT32_MAX);
    REFUSED(limits.memory_limit_bytes, 0);
    REFUSED(limits.memory_limit_bytes, UINT64_MAX);
    REFUSED(limits.max_open_files, 2);
    REFUSED(limits.max_open_files, 1 << 20);
    REFUSED(limits.max_fuel, UINT64_MAX);
    broken = packet; /* a name without an end */
    memset(broken.header.tenant, 'x', sizeof broken.header.tenant);
    assert_int_equal(packet_open(&broken, &view, &err), -1);
    packet_fini(&packet);
}

/* A body that its sender could still change, or that is not of the size it says, is not mapped. */
static void test_only_sealed_bodies_are_mapped(void **state) {
    const struct {
        int seals;
        off_t bytes;
        bool good;
    } cases[] = {{ALL_SEALS, 100, true},
                 {ALL_SEALS & ~F_SEAL_WRITE, 100, false},
                 {ALL_SEALS & ~F_SEAL_SHRINK, 100, false},
                 {ALL_SEALS & ~F_SEAL_SEAL, 100, false},
                 {0, 100, false},
                 {ALL_SEALS, 99, false},
                 {ALL_SEALS, 0, false}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct packet packet;
        struct packet_view view;
        struct error err = {0};
        packet_init(&packet);
        pa_limits_default(&packet.header.limits);
        packet.header.flags = PACKET_BODY_MEMFD;
        packet.header.body_bytes = packet.header.job_bytes = 100;
        packet.body_fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        assert_int_equal(ftruncate(packet.body_fd, cases[i].bytes), 0);
        assert_int_equal(fcntl(packet.body_fd, F_ADD_SEALS, cases[i].seals), 0);
        assert_int_equal(packet_open(&packet, &view, &err), cases[i].good ? 0 : -1);
        if (cases[i].good) packet_view_fini(&view);
        packet_fini(&packet);
    }
    struct packet packet; /* and no other kind of file */
    struct packet_view view;
    struct error err = {0};
    packet_init(&packet);
    pa_limits_default(&packet.header.limits);
    packet.header.flags = PACKET_BODY_MEMFD;
    packet.header.body_bytes = 100;
    packet.body_fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    assert_int_equal(packet_open(&packet, &view, &err), -1);
    packet_fini(&packet);
}

/* The message as packet_send() makes it, to be spoilt. */
struct message {
    uint8_t bytes[4096];
    size_t size;
    int fds[8];
    size_t fd_count;
};

static void capture(struct message *message) {
    struct packet packet;
    struct error err = {0};
    const struct pa_job job = example();
    int pair[2];
    assert_int_equal(packet_pack(&packet, &job, &err), 0);
    assert_int_equal(wire_pair(pair), 0);
    assert_int_equal(packet_send(&packet, pair[0], 0), 0);
    const struct iovec part = {message->bytes, sizeof message->bytes};
    int fds[WIRE_MAX_FDS];
    ssize_t got = wire_receive(pair[1], &part, 1, fds, &message->fd_count, 0);
    assert_true(got > 0 && message->fd_count <= 8);
    message->size = (size_t)got;
    memcpy(message->fds, fds, message->fd_count * sizeof *fds);
    (void)close(pair[0]);
    (void)close(pair[1]);
    packet_fini(&packet);
}

/* What comes of a message: received and opened (1), or refused at either step (0). */
static int try(const uint8_t *bytes, size_t size, const int *fds, size_t fd_count) {
    struct packet packet;
    struct packet_view view;
    struct error err = {0};
    int pair[2], result = 0;
    assert_int_equal(wire_pair(pair), 0);
    const struct iovec part = {(void *)(uintptr_t)bytes, size};
    assert_int_equal(wire_send(pair[0], &part, 1, fds, fd_count, 0), 0);
    int got = packet_receive(&packet, pair[1], 0);
    assert_true(got == 1 || got == 0 || got == -EPROTO);
    if (got == 1) {
        result = packet_open(&packet, &view, &err) == 0;
        if (result) packet_view_fini(&view);
        packet_fini(&packet);
    }
    (void)close(pair[0]);
    (void)close(pair[1]);
    return result;
}

/* Cut at each byte; with descriptors missing or too many; with bytes behind. */
static void test_cut_messages_are_refused(void **state) {
    struct message m;
    (void)state;
    capture(&m);
    int fds = count_fds();
    assert_int_equal(try(m.bytes, m.size, m.fds, m.fd_count), 1);
    for (size_t size = 0; size < m.size; size++)
        assert_int_equal(try(m.bytes, size, m.fds, m.fd_count), 0);
    for (size_t count = 0; count < m.fd_count; count++)
        assert_int_equal(try(m.bytes, m.size, m.fds, count), 0);
    m.fds[m.fd_count] = m.fds[0];
    assert_int_equal(try(m.bytes, m.size, m.fds, m.fd_count + 1), 0);
    m.bytes[m.size] = 0;
    assert_int_equal(try(m.bytes, m.size + 1, m.fds, m.fd_count), 0);
    uint8_t *large = calloc(1, WIRE_MAX_BYTES);
    memcpy(large, m.bytes, m.size);
    assert_int_equal(try(large, WIRE_MAX_BYTES, m.fds, m.fd_count), 0);
    free(large);
    assert_int_equal(count_fds(), fds);
    wire_close_fds(m.fds, m.fd_count);
}

/* Random damage: no crash, no descriptor left. Under the sanitizers, too. */
static void test_damaged_messages_do_no_harm(void **state) {
    struct message m;
    unsigned seed = 7;
    int accepted = 0;
    (void)state;
    capture(&m);
    int fds = count_fds();
    for (int i = 0; i < 20000; i++) {
        uint8_t bytes[sizeof m.bytes];
        memcpy(bytes, m.bytes, m.size);
        for (int flips = 1 + rand_r(&seed) % 4; flips > 0; flips--)
            bytes[(unsigned)rand_r(&seed) % m.size] = (uint8_t)rand_r(&seed);
        accepted += try(bytes, m.size, m.fds, m.fd_count);
    }
    assert_int_equal(count_fds(), fds);
    assert_true(accepted > 100); /* a changed letter is a job, too: the damage got that deep */
    wire_close_fds(m.fds, m.fd_count);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_job_arrives_whole),
        cmocka_unit_test(test_impossible_jobs_are_refused),
        cmocka_unit_test(test_numbers_out_of_range_are_refused),
        cmocka_unit_test(test_only_sealed_bodies_are_mapped),
        cmocka_unit_test(test_cut_messages_are_refused),
        cmocka_unit_test(test_damaged_messages_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Promise: bytes in place of a job are a consistent job or refused, and so is a worker's report;
 * nothing stays open. */
#include "fuzz.h"

#include "supervisor/internal.h"
#include "worker/packet.h"
#include "worker/wire.h"

#include <fcntl.h>
#include <unistd.h>

static void judge(const uint8_t *data, size_t size) {
    struct worker_report report = {0};
    struct pa_limits limits;
    siginfo_t info = {0};
    pa_limits_default(&limits);
    memcpy(&report, data, size < sizeof report ? size : sizeof report);
    info.si_code = CLD_EXITED;
    info.si_status = size > 0 ? data[size - 1] : 0;
    struct verdict_facts facts = {
        .limits = &limits, .info = &info, .required_layers = size > 1 ? data[0] : 0};
    judge_run(&facts, &report);
    PROMISE(report.run.status <= PA_INTERNAL);
    PROMISE(memchr(report.run.message, 0, sizeof report.run.message) != NULL);
    PROMISE(memchr(report.run.backtrace, 0, sizeof report.run.backtrace) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input in = {data, size};
    struct packet_header header = {0};
    struct packet packet;
    struct error err;
    int pair[2], fds[8];
    if (size > WIRE_MAX_BYTES) return 0;
    uint8_t count = take_byte(&in) % 8, kind = take_byte(&in);
    if (kind % 4 == 0) {
        judge(in.data, in.size);
        return 0;
    }
    PROMISE(wire_pair(pair) == 0);
    int next = dup(0);
    for (uint8_t i = 0; i < count; i++) {
        fds[i] = kind & 1 ? open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
                          : open("/dev/null", O_RDWR | O_CLOEXEC);
        PROMISE(fds[i] >= 0);
    }
    if (kind &
        2) { /* a header that is nearly right: the fuzzer does not guess magic numbers by chance */
        struct pa_job job = {.job_data = "source", .job_bytes = 6};
        struct packet good;
        pa_limits_default(&job.limits);
        PROMISE(packet_pack(&good, &job, &err) == 0);
        header = good.header;
        packet_fini(&good);
        for (uint8_t i = take_byte(&in) % 8; i > 0; i--) {
            size_t at = (size_t)(take_number(&in) % sizeof header);
            ((uint8_t *)&header)[at] = take_byte(&in);
        }
    } else {
        memcpy(&header, in.data, in.size < sizeof header ? in.size : sizeof header);
    }
    struct iovec parts[] = {{&header, sizeof header}, {(void *)(uintptr_t)in.data, in.size}};
    if (wire_send(pair[0], parts, 2, fds, count, 0) == 0 &&
        packet_receive(&packet, pair[1], 0) == 1) {
        struct packet_view view;
        if (packet_open(&packet, &view, &err) == 0) {
            for (size_t i = 0; i < view.job.argc; i++)
                PROMISE(strlen(view.job.argv[i]) < PACKET_MAX_BODY_BYTES);
            packet_view_fini(&view);
        }
        packet_fini(&packet);
    }
    wire_close_fds(fds, count);
    (void)close(pair[0]);
    (void)close(pair[1]);
    (void)close(next);
    int after = dup(0);
    PROMISE(after <= next);
    (void)close(after);
    return 0;
}

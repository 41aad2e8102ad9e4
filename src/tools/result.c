#include "tools/result.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json_text.h"
#include "base/text.h"
#include "base/json_scan.h"
#include "tools/artifact.h"
#include "tools/base64.h"

#include <errno.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of an answer: what the WASI layer lets through, and 100 artifacts of four values each with room
 * to spare. A parse of 32 MiB of "{}," takes 1.8 GB. */
enum { ANSWER_BYTES = 32 << 20, ANSWER_VALUES = 2000, ANSWER_DEPTH = 8 };
enum { ENDLESS_BYTES = 256 << 20 }; /* read of an output without a limit */

json_t *result_json(const struct pa_result *r) {
    const struct pa_usage *u = &r->usage;
    json_t *isolation = json_array();
    for (size_t i = 0; r->isolation[i] != NULL; i++) {
        (void)json_array_append_new(isolation, json_string(r->isolation[i]));
    }
    json_t *usage =
        json_pack("{s:f, s:f, s:f, s:f, s:I, s:I, s:I, s:I, s:s}", "wall_ms", u->wall_ms, "cpu_ms",
                  u->cpu_ms, "start_ms", u->start_ms, "queue_ms", u->queue_ms, "fuel",
                  (json_int_t)u->fuel, "peak_memory_bytes", (json_int_t)u->peak_memory_bytes,
                  "stdout_bytes", (json_int_t)u->stdout_bytes, "stderr_bytes",
                  (json_int_t)u->stderr_bytes, "cache", u->cache_hit ? "hit" : "miss");
    json_t *error = r->message == NULL
                        ? json_null()
                        : json_pack("{s:s, s:o, s:o}", "code", pa_status_name(r->status), "message",
                                    json_of_text(r->message), "backtrace",
                                    json_of_text(r->backtrace != NULL ? r->backtrace : ""));
    return json_pack("{s:s, s:i, s:b, s:b, s:o, s:o, s:o, s:s}", "status",
                     pa_status_name(r->status), "exit_code", r->exit_code, "stdout_truncated",
                     r->stdout_truncated, "stderr_truncated", r->stderr_truncated, "error", error,
                     "usage", usage, "isolation", isolation, "module_sha256", r->module_sha256);
}

/* The bytes as text; whatever is none becomes U+FFFD. -1 when memory runs out. */
static int to_text(const uint8_t *data, size_t size, struct buffer *text, bool *clean) {
    size_t start = 0, at = 0;
    *clean = true;
    while (at < size) {
        size_t length = text_character(data + at, size - at);
        if (length > 0) {
            at += length;
            continue;
        }
        *clean = false;
        if (buffer_append(text, data + start, at - start) != 0 ||
            buffer_append(text, "\xef\xbf\xbd", 3) != 0) {
            return -1;
        }
        start = ++at;
    }
    return buffer_append(text, data + start, size - start);
}

int result_add_output(json_t *result, const char *name, const void *data, size_t size) {
    struct buffer text = {0};
    char key[32];
    bool clean = true;
    int done = to_text(data, size, &text, &clean);
    if (done == 0) {
        const char *bytes = text.size > 0 ? (const char *)text.data : "";
        done = json_object_set_new(result, name, json_stringn(bytes, text.size));
    }
    buffer_fini(&text);
    if (done != 0 || clean) return done;
    char *encoded = base64_encode(data, size);
    if (encoded == NULL) return -1;
    (void)snprintf(key, sizeof key, "%s_base64", name);
    done = json_object_set_new(result, key, json_string(encoded));
    free(encoded);
    return done;
}

/* At most `most` bytes from the file's beginning; `more` tells if that is not all. The offset,
 * which whoever writes shares, stays as it is. */
static int read_file(int fd, uint64_t most, struct buffer *bytes, bool *more) {
    struct stat st;
    *more = false;
    if (fd < 0) return 0;
    if (fstat(fd, &st) != 0) return -errno;
    *more = (uint64_t)st.st_size > most;
    size_t size = *more ? (size_t)most : (size_t)st.st_size, at = 0;
    bytes->data = size > 0 ? malloc(size) : NULL;
    if (size > 0 && bytes->data == NULL) return -ENOMEM;
    bytes->capacity = size;
    while (at < size) {
        ssize_t got = pread(fd, bytes->data + at, size - at, (off_t)at);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return -errno;
        if (got == 0) break;
        at += (size_t)got;
    }
    bytes->size = at;
    return 0;
}

int result_add_outputs(json_t *result, const struct result_files *files) {
    static const char *const names[] = {"stdout", "stderr"}, *const truncated[] = {
                                                                 "stdout_truncated",
                                                                 "stderr_truncated"};
    for (int i = 0; i < 2; i++) {
        struct buffer bytes = {0};
        bool more;
        int done = read_file(files->outputs[i], files->limit_bytes, &bytes, &more);
        if (done == 0) done = result_add_output(result, names[i], bytes.data, bytes.size);
        if (done == 0 && more) done = json_object_set_new(result, truncated[i], json_true());
        buffer_fini(&bytes);
        if (done != 0) return -1;
    }
    return 0;
}

/* What is no file by its form is left out. */
static int add_artifacts(json_t *result, const json_t *given) {
    json_t *list = json_object_get(result, "artifacts"), *file;
    size_t index;
    if (json_array_size(given) == 0) return 0;
    if (list == NULL) {
        list = json_array();
        if (json_object_set_new(result, "artifacts", list) != 0) return -1;
    }
    json_array_foreach((json_t *)(uintptr_t)given, index, file) {
        if (index < ARTIFACT_MAX_FILES && artifact_is_sound(file) &&
            json_array_append(list, file) != 0)
            return -1;
    }
    return 0;
}

/* NULL: it is none, or memory is out. The guest may have written there itself. */
static json_t *parse_answer(int fd) {
    struct buffer bytes = {0};
    json_t *all = NULL;
    bool more;
    if (read_file(fd, ANSWER_BYTES, &bytes, &more) == 0 && !more && bytes.size > 0 &&
        json_scan_is_within((const char *)bytes.data, bytes.size, ANSWER_VALUES, ANSWER_DEPTH))
        all = json_loadb((const char *)bytes.data, bytes.size, JSON_REJECT_DUPLICATES, NULL);
    buffer_fini(&bytes);
    return all;
}

int result_add_answer(json_t *result, int answer, bool turn) {
    json_t *all = parse_answer(answer);
    json_t *text = json_object_get(all, "result"), *code = json_object_get(all, "exit_code");
    int done = json_is_string(text) ? json_object_set(result, "result", text) : 0;
    if (done == 0) done = add_artifacts(result, json_object_get(all, "artifacts"));
    if (done == 0 && turn && json_is_integer(code))
        done =
            json_object_set_new(result, "exit_code", json_integer(json_integer_value(code) & 0xff));
    json_decref(all);
    return done == 0 ? 0 : -1;
}

int result_files_open(struct result_files *files, bool merged, bool answers, uint64_t limit_bytes,
                      struct error *err) {
    uint64_t limit = limit_bytes > 0 && limit_bytes < ENDLESS_BYTES ? limit_bytes : ENDLESS_BYTES;
    *files = (struct result_files){.outputs = {memfd_create("stdout", MFD_CLOEXEC), -1},
                                   .answer = -1,
                                   .limit_bytes = merged ? 2 * limit : limit};
    if (!merged) files->outputs[1] = memfd_create("stderr", MFD_CLOEXEC);
    if (answers) files->answer = memfd_create("answer", MFD_CLOEXEC);
    if (files->outputs[0] >= 0 && (merged || files->outputs[1] >= 0) &&
        (!answers || files->answer >= 0)) {
        return 0;
    }
    error_set_errno(err, PA_INTERNAL, errno, "a place for the output");
    result_files_close(files);
    return -1;
}

void result_files_close(struct result_files *files) {
    fd_closep(&files->outputs[0]);
    fd_closep(&files->outputs[1]);
    fd_closep(&files->answer);
}

json_t *result_chunk(struct buffer *held, const void *data, size_t size, bool last) {
    struct buffer text = {0};
    bool clean;
    json_t *value = NULL;
    if (size > 0 && buffer_append(held, data, size) != 0) return NULL;
    size_t tail = last ? 0 : text_cut_off(held->data, held->size);
    size_t whole = held->size - tail;
    if (to_text(held->data, whole, &text, &clean) == 0)
        value = json_stringn(text.size > 0 ? (const char *)text.data : "", text.size);
    buffer_fini(&text);
    if (tail > 0) memmove(held->data, held->data + whole, tail);
    held->size = tail;
    return value;
}

static double ms_between(uint64_t from_ns, uint64_t to_ns) {
    return to_ns > from_ns ? (double)(to_ns - from_ns) / (double)NS_PER_MS : 0;
}

struct pa_result result_of_reply(struct socket_reply *reply) {
    struct run_report *r = &reply->report;
    text_tidy(r->message, sizeof r->message, TEXT_ONE_LINE);
    text_tidy(r->backtrace, sizeof r->backtrace, TEXT_LINES);
    struct pa_result result = {
        .status = r->status <= PA_INTERNAL ? r->status : PA_INTERNAL,
        .exit_code = r->exit_code,
        .message = r->status != PA_OK ? r->message : NULL,
        .backtrace = r->backtrace[0] != 0 ? r->backtrace : NULL,
        .stdout_truncated = r->output[0].truncated,
        .stderr_truncated = r->output[1].truncated,
        .usage = {.wall_ms = ms_between(reply->submitted_ns, r->ended_ns),
                  .cpu_ms = (double)r->cpu_ns / (double)NS_PER_MS,
                  .start_ms = ms_between(reply->submitted_ns, r->started_ns),
                  .queue_ms = ms_between(reply->submitted_ns, reply->dispatched_ns),
                  .fuel = r->fuel,
                  .peak_memory_bytes = r->peak_memory_bytes,
                  .stdout_bytes = r->output[0].bytes,
                  .stderr_bytes = r->output[1].bytes,
                  .cache_hit = reply->cache_hit}};
    size_t layers = 0;
    for (unsigned i = 0; i < LAYER_COUNT; i++) {
        if (reply->layers >> i & 1) result.isolation[layers++] = layer_name(i);
    }
    (void)sodium_bin2hex(result.module_sha256, sizeof result.module_sha256, reply->module_sha256,
                         sizeof reply->module_sha256);
    return result;
}

/* Promise: whatever a guest, or native code in its place, leaves in a run's files, a result takes
 * no more of it than its limits say, and nothing that is not what it says it is. */
#include "tools/result.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tools/artifact.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static struct result_files open_files(uint64_t limit_bytes) {
    struct result_files files;
    struct error err = {0};
    assert_int_equal(result_files_open(&files, false, true, limit_bytes, &err), 0);
    return files;
}

static void put(int fd, const char *text) {
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void test_an_output_is_read_to_its_limit(void **state) {
    struct result_files files = open_files(10);
    json_t *result = json_object();
    (void)state;
    put(files.outputs[0], "0123456789");
    put(files.outputs[1], "0123456789a");
    assert_int_equal(ftruncate(files.outputs[1], (off_t)4 << 30),
                     0); /* more than there is memory */
    assert_int_equal(result_add_outputs(result, &files), 0);
    assert_string_equal(json_string_value(json_object_get(result, "stdout")), "0123456789");
    assert_string_equal(json_string_value(json_object_get(result, "stderr")), "0123456789");
    assert_null(json_object_get(result, "stdout_truncated"));
    assert_true(json_is_true(json_object_get(result, "stderr_truncated")));
    json_decref(result);
    result_files_close(&files);
}

static json_t *answered(const char *text) {
    struct result_files files = open_files(0);
    json_t *result = json_object();
    put(files.answer, text);
    assert_int_equal(result_add_answer(result, files.answer, true), 0);
    result_files_close(&files);
    return result;
}

static long peak_kib(void) {
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

static void test_a_bomb_is_not_parsed(void **state) {
    static const char *const bombs[] = {"{},", "1,", "[", "\"\","};
    enum { BYTES = 12 << 20 };
    char *text = malloc(BYTES + 64);
    (void)state;
    assert_non_null(text);
    for (size_t b = 0; b < sizeof bombs / sizeof *bombs; b++) {
        size_t length = strlen(bombs[b]), at = (size_t)sprintf(text, "{\"artifacts\": [");
        for (; at + length < BYTES; at += length)
            memcpy(text + at, bombs[b], length);
        (void)strcpy(text + at, "1], \"result\": \"x\"}");
        long before_kib = peak_kib();
        json_t *result = answered(text);
        assert_int_equal(json_object_size(result), 0);
        assert_true(peak_kib() - before_kib < 128 << 10); /* the text twice; parsed it is 0.5 GB */
        json_decref(result);
    }
    free(text);
}

static void test_an_answer_as_bootstraps_give_it(void **state) {
    json_t *result =
        answered("{\"exit_code\": 7, \"result\": \"{[,\\\"\", \"artifacts\": [{\"name\": "
                 "\"figure-1.png\", \"mime\": \"image/svg+xml\", \"bytes_base64\": "
                 "\"QUJD\"}]}");
    (void)state;
    assert_string_equal(json_string_value(json_object_get(result, "result")), "{[,\"");
    assert_int_equal(json_integer_value(json_object_get(result, "exit_code")), 7);
    assert_int_equal(json_array_size(json_object_get(result, "artifacts")), 1);
    json_decref(result);
}

static void test_artifacts_are_what_they_say(void **state) {
    static const struct {
        const char *name, *mime, *bytes;
        bool sound;
    } cases[] = {{"a.png", "image/png", "QUJD", true},
                 {"ä ...", "application/x.y-z+json", "", true},
                 {"../../../etc/cron.d/x", "text/html", "QUJD", false},
                 {"a/b", "text/html", "QUJD", false},
                 {"..", "text/html", "QUJD", false},
                 {".", "text/html", "QUJD", false},
                 {"", "text/html", "QUJD", false},
                 {"a\nb", "text/html", "QUJD", false},
                 {"a\x1b[2J", "text/html", "QUJD", false},
                 {"a\xc2\x9b", "text/html", "QUJD", false},
                 {"a\x7f", "text/html", "QUJD", false},
                 {"a", "text/html", "!!!", false},
                 {"a", "text/html", "QUJ", false},
                 {"a", "html", "QUJD", false},
                 {"a", "text/", "QUJD", false},
                 {"a", "/html", "QUJD", false},
                 {"a", "text/html\r\nX: y", "QUJD", false},
                 {"a", "text/ht ml", "QUJD", false},
                 {"a", "text/html/x", "QUJD", false}};
    char longest[300];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *entry = json_pack("{s:s, s:s, s:s}", "name", cases[i].name, "mime", cases[i].mime,
                                  "bytes_base64", cases[i].bytes);
        assert_int_equal(artifact_is_sound(entry), cases[i].sound);
        if (cases[i].sound) {
            (void)json_object_set_new(entry, "more", json_true());
            assert_false(artifact_is_sound(entry));
        }
        json_decref(entry);
    }
    memset(longest, 'a', sizeof longest);
    longest[256] = 0;
    json_t *entry =
        json_pack("{s:s, s:s, s:s}", "name", longest, "mime", "a/b", "bytes_base64", "");
    assert_false(artifact_is_sound(entry));
    json_decref(entry);
    assert_true(artifact_is_name("d/e/f.txt", true));
    assert_false(artifact_is_name("d/../f.txt", true));
    assert_false(artifact_is_name("d//f.txt", true));
    assert_false(artifact_is_name("d/e\n/f.txt", true));
}

/* A text that is no UTF-8 costs no answer. */
static void test_a_result_is_one_whatever_its_message(void **state) {
    const struct pa_result given = {.status = PA_TRAP,
                                    .message = (char *)(uintptr_t) "cut \xc3",
                                    .backtrace = (char *)(uintptr_t) "#0 \xff\x1b\n"};
    json_t *result = result_json(&given), *error = json_object_get(result, "error");
    (void)state;
    assert_string_equal(json_string_value(json_object_get(error, "message")), "cut \xef\xbf\xbd");
    assert_string_equal(json_string_value(json_object_get(error, "backtrace")),
                        "#0 \xef\xbf\xbd\\x1b\n");
    json_decref(result);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_result_is_one_whatever_its_message),
                                       cmocka_unit_test(test_an_output_is_read_to_its_limit),
                                       cmocka_unit_test(test_a_bomb_is_not_parsed),
                                       cmocka_unit_test(test_an_answer_as_bootstraps_give_it),
                                       cmocka_unit_test(test_artifacts_are_what_they_say)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

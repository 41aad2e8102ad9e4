/* Promise: a log tells what its filter asks for, by component; each event is one line, valid JSON
 * or text without anything that controls, whatever strangers put into its fields. */
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static char said[16384];

/* What one event writes. */
static const char *tell(enum log_format format, const char *text) {
    int file = memfd_create("log", MFD_CLOEXEC), kept = dup(STDERR_FILENO);
    assert_true(file >= 0 && kept >= 0);
    log_set_format(format);
    assert_true(dup2(file, STDERR_FILENO) >= 0);
    log_event(LOG_INFO, "http", "run ended", {"text", text, 0}, {"number", NULL, 7});
    assert_true(dup2(kept, STDERR_FILENO) >= 0);
    ssize_t got = pread(file, said, sizeof said - 1, 0);
    assert_true(got > 0);
    said[got] = 0;
    (void)close(file);
    (void)close(kept);
    assert_true(said[got - 1] == '\n' && strchr(said, '\n') == said + got - 1);
    return said;
}

static void test_json_is_valid_whatever_a_text_holds(void **state) {
    static const char *const texts[][2] = {
        {"a\"b\\c\n\x1b[2J\x7f", "a\"b\\c\n\x1b[2J\x7f"},
        {"\xc3\xa9\xe2\x80\xae\xc2\x9b", "\xc3\xa9\xe2\x80\xae\xc2\x9b"},
        {"\xff\xc3", "\xef\xbf\xbd\xef\xbf\xbd"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        json_t *event = json_loads(tell(LOG_FORMAT_JSON, texts[i][0]), 0, NULL);
        assert_non_null(event);
        assert_string_equal(json_string_value(json_object_get(event, "text")), texts[i][1]);
        assert_int_equal(json_integer_value(json_object_get(event, "number")), 7);
        json_decref(event);
        for (const char *at = said; at[1] != 0; at++)
            assert_true((unsigned char)*at >= 0x20 && *at != 0x7f);
    }
}

static void test_a_text_that_is_too_long_is_cut_in_its_quotes(void **state) {
    static const char *const units[] = {"k", "\xc3\xa9", "\xf0\x9f\x8e\x89", "\"", "\x1b", "\xff"};
    char text[9000];
    (void)state;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        for (size_t ahead = 0; ahead < 6; ahead++) {
            text[0] = 0;
            memset(text, 'a', ahead);
            text[ahead] = 0;
            for (size_t at = ahead; at + 5 < sizeof text; at += strlen(units[i]))
                strcpy(text + at, units[i]);
            json_t *event = json_loads(tell(LOG_FORMAT_JSON, text), 0, NULL);
            assert_non_null(event);
            assert_true(json_string_length(json_object_get(event, "text")) > 500);
            json_decref(event);
            (void)tell(LOG_FORMAT_TEXT, text);
        }
    }
}

static void test_text_has_nothing_that_controls(void **state) {
    (void)state;
    assert_non_null(strstr(tell(LOG_FORMAT_TEXT, "plain"), " text=plain number=7\n"));
    assert_non_null(strstr(tell(LOG_FORMAT_TEXT, "\xc3\xa9"), " text=\xc3\xa9 "));
    assert_non_null(strstr(tell(LOG_FORMAT_TEXT, "two words"), " text=\"two words\" "));
    assert_non_null(strstr(tell(LOG_FORMAT_TEXT, "\x1b[2J"), " text=\"\\u001b[2J\" "));
    assert_non_null(strstr(tell(LOG_FORMAT_TEXT, "\xc2\x9b"
                                                 "2J"),
                           " text=\"\\u009b2J\" "));
    assert_non_null(strstr(tell(LOG_FORMAT_TEXT, "a\nb"), " text=\"a\\u000ab\" "));
    assert_non_null(strstr(tell(LOG_FORMAT_TEXT, "\xff"), " text=\"\xef\xbf\xbd\" "));
}

static void test_levels_are_by_component(void **state) {
    struct error err = {0};
    (void)state;
    assert_int_equal(log_set_filter("warn,http=debug,wasi=TRACE", &err), 0);
    assert_true(log_enabled(LOG_DEBUG, "http") && !log_enabled(LOG_TRACE, "http"));
    assert_true(log_enabled(LOG_TRACE, "wasi"));
    assert_true(log_enabled(LOG_WARN, "grpc") && !log_enabled(LOG_INFO, "grpc"));
    assert_int_equal(log_set_filter("loud", &err), -1);
    assert_int_equal(log_set_filter("info,htp=debug", &err), -1);
    assert_non_null(strstr(err.text, "did you mean http?"));
    assert_int_equal(log_set_filter("info,", &err), -1);
    assert_true(log_enabled(LOG_TRACE, "wasi")); /* as it was */
    assert_int_equal(log_set_filter("off", &err), 0);
    assert_false(log_enabled(LOG_ERROR, "http"));
    assert_int_equal(log_set_filter("info", &err), 0);
}

static void test_what_rust_log_says_of_us(void **state) {
    static const char *const cases[][2] = {
        {"polyagent_agent_core=debug,wasi_sandbox=trace", "debug,wasi=trace"},
        {"info,polyagent_agent_core::wasi_sandbox=trace", "info,wasi=trace"},
        {"polyagent_agent_core::cache=debug", "cache=debug"},
        {"hyper=debug,tokio=trace", ""},
        {"WARN,hyper=debug", "warn"},
        {"wasi_sandbox", "wasi=trace"},
        {"debug/foo=warn", "debug"},
        {"=,,nonsense=loud", ""},
        {"", ""},
    };
    char out[64];
    struct error err = {0};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(log_filter_of_rust(cases[i][0], out, sizeof out), strlen(cases[i][1]));
        assert_string_equal(out, cases[i][1]);
        if (out[0] != 0) assert_int_equal(log_set_filter(out, &err), 0);
    }
    assert_int_equal(log_filter_of_rust("debug,wasi_sandbox=trace", out, 8), 5); /* whole parts */
    assert_string_equal(out, "debug");
    assert_int_equal(log_set_filter("info", &err), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_is_valid_whatever_a_text_holds),
        cmocka_unit_test(test_a_text_that_is_too_long_is_cut_in_its_quotes),
        cmocka_unit_test(test_text_has_nothing_that_controls),
        cmocka_unit_test(test_levels_are_by_component),
        cmocka_unit_test(test_what_rust_log_says_of_us),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

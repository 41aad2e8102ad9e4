/* Promise: YAML that is data becomes JSON, and all else an error that names file and line. */
#include "config/yaml_json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static json_t *load(const char *text, struct error *err) {
    char path[] = "/tmp/polyagent-yaml-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    (void)close(fd);
    *err = (struct error){0};
    json_t *root = yaml_json_load(path, err);
    (void)unlink(path);
    return root;
}

static void test_values(void **state) {
    struct error err;
    (void)state;
    json_t *got =
        load("a: 1\nb: [true, null, x, \"1\", '', -7]\nc:\n  d: |\n    two\n    lines\n", &err);
    json_t *wanted = json_pack("{s:i, s:[b, n, s, s, s, i], s:{s:s}}", "a", 1, "b", 1, "x", "1", "",
                               -7, "c", "d", "two\nlines\n");
    assert_non_null(got);
    assert_true(json_equal(got, wanted));
    json_decref(got);
    json_decref(wanted);
    got = load("", &err);
    assert_true(json_is_object(got));
    json_decref(got);
}

static void test_refusals(void **state) {
    static const char *const texts[][2] = {
        {"a: [1, 2", ":2: "},        {"a: 1\na: 2", ":2: the key is there twice"},
        {"a: &x 1\nb: *y", ":2: "},  {"[a]: 1", ":1: a key must be a text"},
        {"a: \"\\0\"", ":1: a NUL"}, {"\tb: 1", ":1: "}};
    char deep[200] = "a: ";
    struct error err;
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_null(load(texts[i][0], &err));
        assert_int_equal(err.code, PA_INVALID_ARGUMENT);
        if (strstr(err.text, texts[i][1]) == NULL) fail_msg("%s: %s", texts[i][0], err.text);
    }
    memset(deep + 3, '[', 50);
    memset(deep + 53, ']', 50);
    assert_null(load(deep, &err));
    assert_non_null(strstr(err.text, "nested too deeply"));
    err = (struct error){0};
    assert_null(yaml_json_load("/nonexistent/x.yaml", &err));
    assert_int_equal(err.code, PA_NOT_FOUND);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_values),
                                       cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

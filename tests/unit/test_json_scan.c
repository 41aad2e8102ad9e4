/* Promise: text is looked at once, whatever stands in it, and what a parse would make of it is
 * never more than was counted. */
#include "base/json_scan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void test_the_end_of_a_text(void **state) {
    static const struct {
        const char *text;
        size_t end;
        bool plain;
    } cases[] = {{"\"", 0, true},
                 {"abc\"d\"", 3, true},
                 {"a\\\"b\"", 4, false},
                 {"a\\\\\"b", 3, false},
                 {"\\\"\\\"\"", 4, false},
                 {"\\\\\\\"\"", 4, false},
                 {"abc", 3, true},
                 {"abc\\", 4, true},
                 {"a\\\"", 3, false},
                 {"\\\\\\\\\"", 4, false},
                 {"", 0, true},
                 {"a\\\"b\"c\"", 4, false}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *text = cases[i].text, *end = text + strlen(text);
        bool plain = !cases[i].plain;
        assert_ptr_equal(json_scan_text(text, end, &plain), text + cases[i].end);
        if (text + cases[i].end < end) assert_int_equal(plain, cases[i].plain);
    }
}

/* Before, each escape cost the way to the closing quote: minutes. */
static void test_escapes_cost_no_more_than_other_characters(void **state) {
    enum { SIZE = 1 << 20 };
    static const char *const pairs[] = {"\\n", "\\\\", "\\\"", "ab"};
    char *text = malloc(SIZE + 1);
    bool plain;
    (void)state;
    assert_non_null(text);
    for (size_t p = 0; p < sizeof pairs / sizeof *pairs; p++) {
        for (size_t i = 0; i < SIZE; i += 2)
            memcpy(text + i, pairs[p], 2);
        text[SIZE] = '"';
        clock_t began = clock();
        assert_ptr_equal(json_scan_text(text, text + SIZE + 1, &plain), text + SIZE);
        assert_true(clock() - began < 5 * CLOCKS_PER_SEC);
    }
    free(text);
}

static size_t count(const json_t *value) {
    size_t all = 1, index;
    const char *key;
    json_t *member;
    json_object_foreach((json_t *)(uintptr_t)value, key, member) all += count(member);
    json_array_foreach(value, index, member) all += count(member);
    return all;
}

static void test_values_and_depth(void **state) {
    static const struct {
        const char *text;
        size_t depth;
    } cases[] = {{"1", 0},
                 {"[]", 1},
                 {"[1, 2, [3], \"],[{\"]", 2},
                 {"{\"a,b\": {\"c\\\"[\": []}, \"d\": [[[1]]]}", 4},
                 {"[{}, {}, {}]", 2}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *text = cases[i].text;
        json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);
        assert_non_null(value);
        assert_false(json_scan_is_within(text, strlen(text), count(value) - 1, 64));
        assert_true(json_scan_is_within(text, strlen(text), 2 * count(value), 64));
        assert_true(json_scan_is_within(text, strlen(text), 1000, cases[i].depth));
        if (cases[i].depth > 0)
            assert_false(json_scan_is_within(text, strlen(text), 1000, cases[i].depth - 1));
        json_decref(value);
    }
    assert_false(json_scan_is_within("[[[[[[", 6, 1000, 5));
    assert_false(json_scan_is_within("{},{},{},{}", 11, 5, 64));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_end_of_a_text),
        cmocka_unit_test(test_escapes_cost_no_more_than_other_characters),
        cmocka_unit_test(test_values_and_depth)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Promise: whatever bytes guests and strangers give, what is shown of them is UTF-8, cut between
 * characters, and moves no cursor, ends no line and turns no direction. */
#include "base/text.h"

#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#define BAD "\xef\xbf\xbd"

static void check_shown(const char *text, size_t size, enum text_lines lines, const char *wanted) {
    char out[200];
    assert_int_equal(text_show(out, sizeof out, text, size, lines), strlen(wanted));
    assert_string_equal(out, wanted);
}
#define shows(text, lines, wanted) check_shown(text, sizeof text - 1, lines, wanted)

static void test_characters_that_control_are_made_visible(void **state) {
    (void)state;
    shows("plain \xc3\xa9 \xe6\x97\xa5 \xf0\x9f\x8e\x89\t.", TEXT_ONE_LINE,
          "plain \xc3\xa9 \xe6\x97\xa5 \xf0\x9f\x8e\x89\t.");
    shows("a\nb\r\n", TEXT_ONE_LINE, "a\\nb\\r\\n");
    shows("a\nb\r\n", TEXT_LINES, "a\nb\\r\n");
    shows("\x1b]0;pwned\a\x1b[31mFAKE\x7f", TEXT_LINES, "\\x1b]0;pwned\\a\\x1b[31mFAKE\\x7f");
    shows("\xc2\x9b"
          "2J",
          TEXT_LINES, "\\x9b2J"); /* CSI of C1 */
    shows("\xe2\x80\xa8\xe2\x80\xae\xe2\x81\xa6\xd8\x9c", TEXT_LINES,
          "\\u2028\\u202e\\u2066\\u061c");
    shows("a\0b", TEXT_LINES, "a" BAD "b");
}

static void test_what_is_no_utf8_is_replaced(void **state) {
    (void)state;
    shows("\xff\xfe", TEXT_ONE_LINE, BAD BAD);
    shows("\xc0\xaf", TEXT_ONE_LINE, BAD BAD);         /* longer than needed */
    shows("\xed\xa0\x80", TEXT_ONE_LINE, BAD BAD BAD); /* a surrogate */
    shows("\xf4\x90\x80\x80", TEXT_ONE_LINE, BAD BAD BAD BAD);
    shows("\xe6\x97", TEXT_ONE_LINE, BAD BAD);
}

static void test_cuts_are_between_characters(void **state) {
    static const char text[] = "ab\xc3\xa9\xf0\x9f\x8e\x89\x1b!";
    static const size_t whole[] = {0, 1, 2, 2, 4, 4, 4, 4, 8, 8, 8, 8, 12, 13};
    char out[16];
    (void)state;
    for (size_t room = 1; room <= sizeof whole / sizeof *whole; room++) {
        memset(out, 'x', sizeof out);
        assert_int_equal(text_show(out, room, text, sizeof text - 1, TEXT_ONE_LINE),
                         whole[room - 1]);
        assert_int_equal(out[whole[room - 1]], 0);
        if (room < sizeof out) assert_int_equal(out[room], 'x');
    }
}

static void test_an_error_is_one_line_of_text(void **state) {
    struct error err = {0};
    char long_text[2000] = {0};
    (void)state;
    error_set(&err, PA_INTERNAL, "%s: %s", "file\x1b[2J", "two\nlines");
    assert_string_equal(err.text, "file\\x1b[2J: two\\nlines");
    error_prefix(&err, "\xff");
    assert_string_equal(err.text, BAD ": file\\x1b[2J: two\\nlines");
    for (size_t start = 0; start < 4; start++) { /* the end is within a character */
        memset(long_text, 'k', start);
        for (size_t at = start; at + 2 < sizeof long_text; at += 2)
            memcpy(long_text + at, "\xc3\xa9", 2);
        error_set(&err, PA_INTERNAL, "%s", long_text);
        size_t length = strlen(err.text);
        assert_in_range(length, sizeof err.text - 3, sizeof err.text - 1);
        assert_memory_equal(err.text, long_text, length);
        assert_int_equal((length - start) % 2, 0);
    }
    for (size_t start = 0; start < 4;
         start++) { /* the same with longer ones: no U+FFFD comes of it */
        memset(long_text, 'k', start);
        for (size_t at = start; at + 4 < sizeof long_text; at += 4)
            memcpy(long_text + at, "\xf0\x9f\x8e\x89", 4);
        error_set(&err, PA_INTERNAL, "%s", long_text);
        assert_memory_equal(err.text, long_text, strlen(err.text));
        assert_int_equal((strlen(err.text) - start) % 4, 0);
    }
    memset(long_text, 1, sizeof long_text - 1); /* all of it grows fourfold */
    error_set(&err, PA_INTERNAL, "%s", long_text);
    assert_int_equal(strlen(err.text), (sizeof err.text - 1) / 4 * 4);
}

/* The same, whatever the pieces are that it comes in. */
static void check_screen(const char *text, size_t size, const char *wanted) {
    for (size_t piece = 1; piece <= size + 1; piece++) {
        struct text_screen screen = {.used = 0};
        struct buffer out = {0};
        for (size_t at = 0; at < size; at += piece) {
            size_t more = size - at < piece ? size - at : piece;
            assert_int_equal(text_screen_write(&screen, text + at, more, false, &out), 0);
        }
        assert_int_equal(text_screen_write(&screen, NULL, 0, true, &out), 0);
        assert_string_equal(out.data != NULL ? (char *)out.data : "", wanted);
        buffer_fini(&out);
    }
}
#define screens(text, wanted) check_screen(text, sizeof text - 1, wanted)

static void test_a_terminal_gets_text_and_colours_only(void **state) {
    (void)state;
    screens("", "");
    screens("one\n50%\r100%\b\t\xc3\xa9 \xf0\x9f\x8e\x89\n",
            "one\n50%\r100%\b\t\xc3\xa9 \xf0\x9f\x8e\x89\n");
    screens("\x1b[1;31mred\x1b[0m.", "\x1b[1;31mred\x1b[0m.");
    screens("\x1b[38:2::1:2:3mred\x1b[m.", "\x1b[38:2::1:2:3mred\x1b[m.");
    screens("\x1b[31mred", "\x1b[31mred\x1b[0m"); /* the prompt is not red */
    screens("\x1b]0;title\a", "\\x1b]0;title\\a");
    screens("\x1b]52;c;Zm9v\x1b\\", "\\x1b]52;c;Zm9v\\x1b\\");
    screens("\x1b[2J\x1b[6n\x1b[?25l", "\\x1b[2J\\x1b[6n\\x1b[?25l");
    screens("\x1b[>4;2m", "\\x1b[>4;2m"); /* not a colour: a mode of xterm's keys */
    screens("\x1b\x1b[31\x1b[m", "\\x1b\\x1b[31\x1b[m");
    screens("\x1bM\x1b"
            "c\x1b",
            "\\x1bM\\x1bc\\x1b");
    screens("\x1b[\xc3\xa9", "\\x1b[\xc3\xa9");
    screens("\x1b[1111111111111111111111111111111111m",
            "\\x1b[1111111111111111111111111111111111m");
    screens("\xc2\x9b"
            "2J",
            "\\x9b2J");
    screens("\x9b"
            "2J\xff\xc3(\xf0\x9f\x8e\x80\x80",
            "\\x9b2J\\xff\\xc3(\xf0\x9f\x8e\x80\\x80");
    screens("\xe6\x97", "\\xe6\\x97");
    screens("\0\x7f\x0e\f\v", "\\x00\\x7f\\x0e\\f\\v");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_characters_that_control_are_made_visible),
        cmocka_unit_test(test_what_is_no_utf8_is_replaced),
        cmocka_unit_test(test_cuts_are_between_characters),
        cmocka_unit_test(test_an_error_is_one_line_of_text),
        cmocka_unit_test(test_a_terminal_gets_text_and_colours_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Promise: base64 is decoded as RFC 4648 says, and what is none is refused at its place. */
#include "tools/base64.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sodium.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static void test_texts(void **state) {
    const struct {
        const char *text, *bytes; /* NULL: refused at `wrong` */
        size_t wrong;
    } cases[] = {
        {"", "", 0},
        {"QQ==", "A", 0},
        {"QUI=", "AB", 0},
        {"QUJD", "ABC", 0},
        {"QUJDRA==", "ABCD", 0},
        {"QU\r\nJD\n", "ABC", 0},
        {"\nQQ=\n=\n", "A", 0},
        {"Q", NULL, 1},
        {"QQ", NULL, 2},
        {"QQ=", NULL, 3},
        {"QUJD*", NULL, 4},
        {"QQ==QQ==", NULL, 4},
        {"QQ=A", NULL, 3},
        {"=", NULL, 0},
        {"Q===", NULL, 1},
        {"QUJ DRA==", NULL, 3},
        {"QR==", NULL, 3},
        {"QU-_", NULL, 2},
        {"\xff\xff\xff\xff", NULL, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t out[64];
        size_t wrong = 0;
        const char *text = cases[i].text;
        ptrdiff_t size = base64_decode(text, strlen(text), out, &wrong);
        if (cases[i].bytes == NULL) {
            if (size != -1 || wrong != cases[i].wrong) fail_msg("%s: %td, %zu", text, size, wrong);
        } else {
            if (size != (ptrdiff_t)strlen(cases[i].bytes)) fail_msg("%s: %td", text, size);
            assert_memory_equal(out, cases[i].bytes, (size_t)size);
        }
    }
}

/* What libsodium encodes comes back; what is changed at random is what libsodium says of it. */
static void test_against_libsodium(void **state) {
    (void)state;
    for (int round = 0; round < 3000; round++) {
        uint8_t bytes[100], out[200], other[200];
        char text[200];
        size_t size = (size_t)rand() % sizeof bytes, wrong, length, other_size = 0;
        const char *end;
        randombytes_buf(bytes, size);
        (void)sodium_bin2base64(text, sizeof text, bytes, size, sodium_base64_VARIANT_ORIGINAL);
        length = strlen(text);
        assert_int_equal(base64_decode(text, length, out, &wrong), size);
        assert_memory_equal(out, bytes, size);
        if (length == 0) continue;
        text[(size_t)rand() % length] = (char)(rand() % 127 + 1);
        ptrdiff_t got = base64_decode(text, length, out, &wrong);
        bool good = sodium_base642bin(other, sizeof other, text, length, "\r\n", &other_size, &end,
                                      sodium_base64_VARIANT_ORIGINAL) == 0 &&
                    end == text + length;
        assert_int_equal(got >= 0, good);
        if (good) {
            assert_int_equal(got, other_size);
            assert_memory_equal(out, other, other_size);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_against_libsodium),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}

/* Promise: the interactive session knows when enough lines are there, and asks for no more then. */
#include "repl/input.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void test_python(void **state) {
    static const char *const whole[] = {
        "x = 1\n",     "f(1)\n", "x = [1,\n2]\n", "'a ( b'\n",      "x = 1 # (\n", "'''a\nb'''\n",
        "\"\\\"(\"\n", ")\n",    "'unfinished\n", "x = {'a': 1}\n", "`\n",         "d[1:2]\n"};
    static const char *const open[] = {"if x:\n",      "def f():\n    return 1\n",
                                       "f(\n",         "x = [1,\n",
                                       "'''a\n",       "x = 1 + \\\n",
                                       "@decorator\n", "for i in range(3): # note\n",
                                       "x = {\n",      "\"\"\"a 'b' \"\n"};
    (void)state;
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        if (!input_is_complete(whole[i], true)) fail_msg("not complete: %s", whole[i]);
    for (size_t i = 0; i < sizeof open / sizeof *open; i++)
        if (input_is_complete(open[i], true)) fail_msg("complete: %s", open[i]);
}

static void test_javascript(void **state) {
    static const char *const whole[] = {"let x = 1\n",  "function f() {\n return 1 }\n",
                                        "`a\nb`\n",     "x // {\n",
                                        "({a: [1]})\n", "'}'\n"};
    static const char *const open[] = {"function f() {\n", "[1,\n", "`a\n", "f(() => {\n"};
    (void)state;
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        if (!input_is_complete(whole[i], false)) fail_msg("not complete: %s", whole[i]);
    for (size_t i = 0; i < sizeof open / sizeof *open; i++)
        if (input_is_complete(open[i], false)) fail_msg("complete: %s", open[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_python),
                                       cmocka_unit_test(test_javascript)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

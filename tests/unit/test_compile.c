/* The worst programs that a stranger can send to be compiled: each production of the language in
 * itself, in a row, and what makes a lot of work of a short text. None may end the process on a
 * stack of 256 KiB, and four times the text may not be much more than four times the work. */
#include "compile/compile.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { STACK_BYTES = 256 << 10, SHORT_BYTES = 64 << 10, LONG_BYTES = 256 << 10 };
/* Milliseconds are usual: a machine may be a hundred times as slow. */
enum { LONG_SECONDS = 1, SQUARE_RATIO = 12, ENDLESS_SECONDS = 30 };
#if defined(__SANITIZE_ADDRESS__)
enum { STACK_FACTOR = 16 };
#else
enum { STACK_FACTOR = 1 };
#endif

/* What must come of one that is as long as may be. */
enum outcome { ANY, TOO_DEEP, COMPILED };

/* `head`, so often `open`, `middle`, so often `close`, `tail`. # is the number of the repetition,
 * in letters; @ so many spaces. */
struct worst {
    const char *name, *head, *open, *middle, *close, *tail;
    enum outcome outcome;
};

#define USES "a = input()\nb = [a]\ndef f(c=0, d=1):\n    return c\n"

static const struct worst worsts[] = {
    /* rows, each around what is before it */
    {"sum", USES "x = a", "+a", "", "", "\n", TOO_DEEP},
    {"sum of constants", "x = 1", "+1", "", "", "\n", TOO_DEEP},
    {"sum of texts", "x = 'a'", "+'a'", "", "", "\n", TOO_DEEP},
    {"product", USES "x = a", "*a", "", "", "\n", TOO_DEEP},
    {"shift", USES "x = a", "<<1", "", "", "\n", TOO_DEEP},
    {"bits", USES "x = a", "|1&1^1", "", "", "\n", TOO_DEEP},
    {"items", USES "x = b", "[0]", "", "", "\n", TOO_DEEP},
    {"slices", USES "x = b", "[0:1]", "", "", "\n", TOO_DEEP},
    {"calls", USES "x = f", "(1)", "", "", "\n", TOO_DEEP},
    {"methods", USES "x = a", ".upper()", "", "", "\n", TOO_DEEP},
    {"attributes", USES "x = a", ".y", "", "", "\n", TOO_DEEP},
    {"item targets", USES "b", "[0]", "", "", " = 1\n", TOO_DEEP},
    {"deleted items", USES "del b", "[0]", "", "", "\n", TOO_DEEP},
    {"and", USES "x = a", " and a", "", "", "\n", TOO_DEEP},
    {"or", USES "x = a", " or a", "", "", "\n", TOO_DEEP},
    {"union", "x: int", "|int", "", "", " = 1\n", TOO_DEEP},
    {"elif", USES "if a:\n  pass\n", "elif a:\n  pass\n", "", "", "", TOO_DEEP},
    {"clauses", USES "x = [1 ", "for # in b ", "", "", "]\n", ANY},
    {"clauses of one name", USES "x = [1 ", "for c in b ", "", "", "]\n", TOO_DEEP},
    /* in themselves */
    {"not", USES "x = ", "not ", "a", "", "\n", TOO_DEEP},
    {"minus", USES "x = ", "-", "a", "", "\n", TOO_DEEP},
    {"power", USES "x = ", "a**", "a", "", "\n", TOO_DEEP},
    {"lambda", "x = ", "lambda:", "1", "", "\n", TOO_DEEP},
    {"default", "x = ", "lambda c=", "1", ":c", "\n", TOO_DEEP},
    {"if else", USES "x = ", "1 if a else ", "2", "", "\n", TOO_DEEP},
    {"parentheses", USES "x = ", "(", "a", ")", "\n", TOO_DEEP},
    {"sums in parentheses", USES "x = ", "(a+", "a", ")", "\n", TOO_DEEP},
    {"list", USES "x = ", "[", "a", "]", "\n", TOO_DEEP},
    {"tuple", USES "x = ", "(1,", "a", ")", "\n", TOO_DEEP},
    {"dict", USES "x = ", "{1:", "a", "}", "\n", TOO_DEEP},
    {"key", "x = ", "{", "1", ":1}", "\n", TOO_DEEP},
    {"call", USES "x = ", "f(", "a", ")", "\n", TOO_DEEP},
    {"call by name", USES "x = ", "f(c=1,d=", "a", ")", "\n", TOO_DEEP},
    {"call with defaults", USES "x = ", "f(1,", "a", ")", "\n", TOO_DEEP},
    {"built-ins", USES "x = ", "max(1,", "2", ")", "\n", TOO_DEEP},
    {"sorted", USES "x = ", "sorted(", "b", ",key=lambda c:c)", "\n", TOO_DEEP},
    {"sorted key", USES "x = ", "sorted(b,key=lambda c:", "c", ")", "\n", TOO_DEEP},
    {"map", USES "x = ", "list(map(lambda c:c,", "b", "))", "\n", TOO_DEEP},
    {"map in its function", USES "x = ", "list(map(lambda c:", "c", ",b))", "\n", TOO_DEEP},
    {"print", USES, "print(", "a", ")", "\n", TOO_DEEP},
    {"range", USES "x = ", "list(range(len(", "b", ")))", "\n", TOO_DEEP},
    {"item", USES "x = ", "b[", "0", "]", "\n", TOO_DEEP},
    {"slice", USES "x = ", "b[0:", "0", ":1]", "\n", TOO_DEEP},
    {"method argument", USES "x = ", "a.join(", "b", ")", "\n", TOO_DEEP},
    {"iterable", USES "x = ", "[c for c in ", "b", "]", "\n", TOO_DEEP},
    {"element", USES "x = ", "[", "1", " for c in b]", "\n", TOO_DEEP},
    {"pair", USES "x = ", "{1:", "1", " for c in b}", "\n", TOO_DEEP},
    {"condition", USES "x = ", "[1 for c in b if ", "1", "]", "\n", TOO_DEEP},
    {"generator", USES "x = ", "any(", "1", " for c in b)", "\n", TOO_DEEP},
    {"format", USES "x = f'{a", ":{a", "", "}", "}'\n", TOO_DEEP},
    {"comparison", USES "x = ", "(a<", "a", ")", "\n", TOO_DEEP},
    {"target", USES, "[", "x", "]", " = b\n", TOO_DEEP},
    {"starred target", USES, "*", "x", "", " = b\n", ANY},
    {"loop target", USES "for ", "[", "x", "]", " in b:\n pass\n", TOO_DEEP},
    {"assert", USES "assert ", "(", "a", ")", "\n", TOO_DEEP},
    {"annotation", "x: ", "list[", "int", "]", " = 1\n", TOO_DEEP},
    {"one-line if", USES, "if a:", "pass", "", "\n", ANY},
    {"one-line for", USES, "for x in b:", "pass", "", "\n", ANY},
    {"one-line def", "", "def #():", "pass", "", "\n", ANY},
    {"if", USES, "@if a:\n", "@pass\n", "", "", ANY},
    {"else", USES, "@if a:\n@ pass\n@else:\n", "@pass\n", "", "", ANY},
    {"while", USES, "@while a:\n", "@pass\n", "", "", ANY},
    {"for", USES, "@for x in b:\n", "@pass\n", "", "", ANY},
    {"def", "", "@def #():\n", "@pass\n", "", "", ANY},
    {"try", USES, "@try:\n@ pass\n@except:\n", "@pass\n", "", "", ANY},
    {"finally", USES, "@try:\n@ pass\n@finally:\n", "@x = a\n", "", "", ANY},
    {"decorator", "", "@@f\n", "", "", "", ANY},
    /* lists */
    {"assignments", "", "a=1\n", "", "", "", COMPILED},
    {"floats", "", "#=1.5\n", "", "", "", ANY},
    {"one line", "", "a=1;", "", "", "\n", COMPILED},
    {"targets", "x = ", "x=", "1", "", "\n", COMPILED},
    {"imports", "import math", ",math", "", "", "\n", COMPILED},
    {"imports in lines", "", "import math\n", "", "", "x = math.pi\n", COMPILED},
    {"import of names", "from math import pi", ",e as #", "", "", "\n", ANY},
    {"imports after names", USES, "#=1;", "import math", ",math", "\n", ANY},
    {"literals", "x = ", "'a' ", "", "", "\n", COMPILED},
    {"literals with parts", USES "x = ", "f'{a}' ", "", "", "\n", ANY},
    {"literals of both kinds", USES "x = f'{a}' ", "'a' ", "", "", "\n", ANY},
    {"fields", USES "x = f'", "{a}", "", "", "'\n", ANY},
    {"braces", "x = f'", "{{", "", "", "'\n", COMPILED},
    {"open fields", "x = f'", "{a[", "", "", "'\n", ANY},
    {"escapes", "x = '", "\\x41", "", "", "'\n", COMPILED},
    {"digits", "x = 1", "1", "", "", "\n", ANY},
    {"digits of a float", "x = 1.", "1", "", "", "e-5\n", COMPILED},
    {"big integers", "x = [", "0x1111111111111111111,", "", "", "]\n", ANY},
    {"items of a list", USES "x = [", "a,", "", "", "]\n", ANY},
    {"constants of a list", "x = [", "1,", "", "", "]\n", ANY},
    {"pairs", "x = {", "1:1,", "", "", "}\n", COMPILED},
    {"arguments", USES "print(", "a,", "", "", "a)\n", ANY},
    {"arguments by name", USES "f(", "#=1,", "", "", ")\n", ANY},
    {"parameters", "def f(", "#,", "", "", "):\n    pass\n", ANY},
    {"parameters with defaults", "def f(", "#=1,", "", "", "):\n    pass\n", ANY},
    {"comparisons", USES "x = a", "<a", "", "", "\n", COMPILED},
    {"globals", "def f():\n    global x", ",#", "", "", "\n", ANY},
    {"globals and their uses", "def f():\n    global x", ",#", "\n    x", ";x", "\n", ANY},
    {"names", "", "#=1\n", "", "", "", ANY},
    {"names and calls", USES, "#=1;", "f()\n", "f()\n", "", ANY},
    {"names of a comprehension", USES "x = [1 for ", "#,", "a in b if ", "a or ", "a]\n", ANY},
    {"conditions", USES "x = [1 for c in b ", "if c ", "", "", "]\n", ANY},
    {"functions", "", "def #():pass\n", "", "", "", ANY},
    {"functions that call", "def a():pass\n", "def #():a()\n", "", "", "", ANY},
    {"functions as values", "x = [", "lambda:x(),", "]\n", "x()\n", "", ANY},
    {"functions that set", "", "#=1;", "x=lambda:a\n", "x()\n", "", ANY},
    {"closures", "def f(c):\n    def g():\n        return c\n", "    def #():g()\n", "",
     "    g()\n", "", ANY},
    {"built-in calls", "", "max()\n", "", "", "", ANY},
    {"calls of a method", USES, "a.rpartition(a)\n", "", "", "", ANY},
    {"types in a row", USES, "a=b;b=c;c=d;d=e;e=g;g=h;h=i;i=j;j=k;k=l;l=m;m=n;n=o;o=p\n",
     "p=1;p='a'\n", "", "", ANY},
    {"branches", USES, "if a:a=1\n", "", "", "", ANY},
    {"loops", USES, "for c in b:a=1\n", "", "", "", ANY},
    {"breaks", USES "while a:\n", " if a:break\n", "", "", "", ANY},
    {"handlers", USES "try:\n a=1\n", "except E:a=1\n", "", "", "", ANY},
    {"tries", USES, "try:a=1\nexcept:a=2\n", "", "", "", ANY},
    {"deletions", USES "del b[0]", ",b[0]", "", "", "\n", ANY},
    {"unpacking", USES "", "a,", "a", "", " = b\n", ANY},
    {"swaps", USES "", "a,b=b,a\n", "", "", "", ANY},
    {"tabs", "", "\t\t\t\t\t\t\t\n", "", "", "", ANY},
    {"comments", "", "#\n", "", "", "", ANY},
    {"joined lines", "x = 1", "\\\n", "", "", "\n", ANY},
    {"carriage returns", "", "a=1\r\n", "", "", "", COMPILED},
    {"brackets", "x = ", "([{", "", "", "\n", ANY},
    {"semicolons", "a=1", ";", "", "", "\n", ANY},
    {"open text", "x = ", "'", "", "", "", ANY},
};
enum { WORSTS = sizeof worsts / sizeof *worsts };

/* What grows with the product of two things: so many of the one, and the other in the rest. */
struct product {
    const char *name, *head, *one;
    uint32_t count;
    const char *middle, *other, *tail;
};

static const struct product products[] = {
    {"integers kept at each call", USES, "#=c=1;", 1900, "", "f();", "\n"},
    {"integers kept in each loop", USES, "#=1;", 3900, "\n", "for x in b:x\n", ""},
    {"shared names and calls", USES, "#=a;", 1900, "\ng=lambda:qz\n", "g();", "\n"},
    {"functions as values and calls", USES "x=[", "lambda:b(),", 990, "1]\n", "b();", "\n"},
    {"functions that call one another", "", "def #():qz()\n", 990, "", "qz();", "\n"},
    {"names and branches", USES, "#=1;", 3900, "\n", "if a:a\n", ""},
    {"names and loops", USES, "#=1;", 3900, "\n", "while a:b\n", ""},
    {"names and tries", USES, "#=1;", 3900, "\n", "try:a\nexcept:a\n", ""},
    {"globals and uses", "def f():\n global x", ",#", 198, "\n x", ";x", "\nf()\n"},
    {"names of a comprehension", USES "x = [1 for ", "#,", 190, "c in b if c", " <c", "]\n"},
    {"imports and names", USES, "#=1;", 3900, "import math", ",math", "\n"},
    {"keywords", "def f(", "#=1,", 30, "):\n pass\n", "f(qcz=1,qbz=2,qz=3)\n", ""},
    {"types in a row", USES, "#=x;", 40, "p=1;p='a';\n", "a=b;b=c;c=d;d=e;e=p;", "\n"},
    {"handlers", USES "try:\n a\n", "except ValueError:a\n", 2000, "", "a;", "\n"},
    {"captured", "def f():\n", " #=1\n", 23, " def g():return qz+qaz\n ", "g();", "\nf()\n"},
};
enum { PRODUCTS = sizeof products / sizeof *products };

struct text {
    char *bytes;
    size_t size, room;
};

static void add_byte(struct text *t, char c) {
    if (t->size + 1 >= t->room) {
        t->room = t->room * 2 + 4096;
        t->bytes = realloc(t->bytes, t->room);
        assert_non_null(t->bytes);
    }
    t->bytes[t->size++] = c;
    t->bytes[t->size] = 0;
}

static void add_part(struct text *t, const char *part, uint32_t number) {
    for (; *part != 0; part++) {
        if (*part == '@') {
            for (uint32_t i = 0; i < number; i++)
                add_byte(t, ' ');
        } else if (*part == '#' && part[1] != '\n') {
            add_byte(t, 'q');
            for (uint32_t rest = number; rest > 0; rest /= 26)
                add_byte(t, (char)('a' + rest % 26));
            add_byte(t, 'z');
        } else {
            add_byte(t, *part);
        }
    }
}

/* So often, or until it is as long as may be. */
static struct text write_worst(const struct worst *w, uint32_t times, size_t most) {
    struct text t = {0};
    size_t around = strlen(w->head) + strlen(w->middle) + strlen(w->tail) + 256;
    uint32_t done = 0;
    add_part(&t, w->head, 0);
    while (done < times && t.size + done * strlen(w->close) + around < most)
        add_part(&t, w->open, done++);
    add_part(&t, w->middle, done);
    for (uint32_t i = 0; i < done; i++)
        add_part(&t, w->close, done);
    add_part(&t, w->tail, 0);
    return t;
}

static struct text write_product(const struct product *p, size_t most) {
    struct text t = {0};
    add_part(&t, p->head, 0);
    for (uint32_t i = 0; i < p->count; i++)
        add_part(&t, p->one, i);
    add_part(&t, p->middle, 0);
    while (t.size + strlen(p->other) + strlen(p->tail) < most)
        add_part(&t, p->other, 0);
    add_part(&t, p->tail, 0);
    return t;
}

struct work {
    const struct text *text;
    struct compile_error error;
    bool compiled;
    double seconds;
};

static void *compile_it(void *context) {
    struct work *work = context;
    struct compiled made;
    struct timespec from, to;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
    work->compiled =
        compile_python(work->text->bytes, work->text->size, "<code>", &made, &work->error) == 0;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
    work->seconds = (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
    if (work->compiled) free(made.wasm);
    return NULL;
}

/* On a stack of 256 KiB. */
static struct work compile_small(const struct text *text) {
    struct work work = {.text = text};
    pthread_attr_t attributes;
    pthread_t thread;
    assert_int_equal(pthread_attr_init(&attributes), 0);
    assert_int_equal(pthread_attr_setstacksize(&attributes, STACK_BYTES * STACK_FACTOR), 0);
    assert_int_equal(pthread_create(&thread, &attributes, compile_it, &work), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    (void)pthread_attr_destroy(&attributes);
    if (!work.compiled) assert_int_not_equal(work.error.text[0], 0);
    return work;
}

static bool is_too_deep(const struct work *work) {
    return !work->compiled && strstr(work->error.text, "nested too deeply") != NULL &&
           work->error.line > 0 && work->error.column > 0;
}

static void check_outcome(const struct worst *w, const struct work *work) {
    bool right = w->outcome == ANY || (w->outcome == TOO_DEEP ? is_too_deep(work) : work->compiled);
    if (!right)
        fail_msg("%s: %s, line %u: %s", w->name, work->compiled ? "compiled" : "refused",
                 work->error.line, work->error.text);
}

static void test_the_longest_of_each_is_refused_or_compiled(void **state) {
    (void)state;
    for (int i = 0; i < WORSTS; i++) {
        struct text t = write_worst(&worsts[i], UINT32_MAX, LONG_BYTES);
        struct work work = compile_small(&t);
        check_outcome(&worsts[i], &work);
        free(t.bytes);
    }
}

/* Whatever is just not too deep needs the most of the stack. */
static void test_the_deepest_of_each_fits_the_stack(void **state) {
    (void)state;
    for (int i = 0; i < WORSTS; i++) {
        uint32_t accepted = 0;
        for (uint32_t times = 1; times <= 210; times += times < 60 ? 7 : 1) {
            struct text t = write_worst(&worsts[i], times, LONG_BYTES);
            struct work work = compile_small(&t);
            if (!is_too_deep(&work)) accepted = times;
            free(t.bytes);
        }
        if (worsts[i].outcome == TOO_DEEP && accepted < 20)
            fail_msg("%s: only %u are accepted", worsts[i].name, accepted);
    }
}

/* Four times the text: four times the work, or with a table that grows a little more; a square of
 * it would be sixteen times. Processor time tells them apart on a slow machine, too; what takes
 * less than a second harms nobody. */
static void test_work_grows_with_the_text(void **state) {
    (void)state;
    for (int i = 0; i < WORSTS; i++) {
        double ratio = 0;
        for (int attempt = 0; attempt < 3; attempt++) { /* others may be in the way */
            struct text small = write_worst(&worsts[i], UINT32_MAX, SHORT_BYTES);
            struct text large = write_worst(&worsts[i], UINT32_MAX, LONG_BYTES);
            struct work one = compile_small(&small), four = compile_small(&large);
            free(small.bytes);
            free(large.bytes);
            if (getenv("SHOW_WORK") != NULL)
                print_message("%-26s %7.1f ms %7.1f ms  %s\n", worsts[i].name, one.seconds * 1e3,
                              four.seconds * 1e3, four.compiled ? "" : four.error.text);
            ratio = four.seconds > LONG_SECONDS ? four.seconds / (one.seconds + 0.001) : 0;
            if (ratio < SQUARE_RATIO) break;
        }
        if (ratio >= SQUARE_RATIO) fail_msg("%s: %.0f times the work", worsts[i].name, ratio);
    }
}

/* Nothing that one request may hold takes long, or much memory. */
static void test_products_are_bounded(void **state) {
    (void)state;
    for (int i = 0; i < PRODUCTS; i++) {
        struct text t = write_product(&products[i], LONG_BYTES);
        struct work work = compile_small(&t);
        if (getenv("SHOW_WORK") != NULL)
            print_message("%-32s %7.1f ms  %s\n", products[i].name, work.seconds * 1e3,
                          work.compiled ? "" : work.error.text);
        if (work.seconds > ENDLESS_SECONDS) fail_msg("%s: %.1f s", products[i].name, work.seconds);
        free(t.bytes);
    }
}

/* A function of more parameters than its type has room for was a write behind an array. */
static void test_functions_of_many_parameters(void **state) {
    (void)state;
    for (uint32_t count = 1; count < 400; count += count < 40 ? 1 : 50) {
        struct text t = {0};
        add_part(&t, "def f(", 0);
        for (uint32_t i = 0; i < count; i++)
            add_part(&t, "#, ", i);
        add_part(&t, "):\n    return 1\nprint(len(input()))\n", 0);
        struct work work = compile_small(&t);
        assert_int_equal(work.compiled, count < 32);
        if (count >= 32) assert_int_equal(work.error.line, 1);
        free(t.bytes);
    }
}

/* Variables of those around come in as parameters, too. */
static void test_functions_of_many_captured_variables(void **state) {
    (void)state;
    for (uint32_t own = 1; own < 31; own++) {
        struct text t = {0};
        add_part(&t, "def f():\n", 0);
        for (uint32_t i = 0; i < 23; i++)
            add_part(&t, "    # = 1\n", i);
        add_part(&t, "    def g(", 0);
        for (uint32_t i = 0; i < own; i++)
            add_part(&t, "x#, ", i);
        add_part(&t, "):\n        return 0", 0);
        for (uint32_t i = 0; i < 23; i++)
            add_part(&t, " + #", i);
        add_part(&t, "\nf()\nprint(len(input()))\n", 0);
        struct work work = compile_small(&t);
        assert_int_equal(work.compiled, own + 23 < 32);
        free(t.bytes);
    }
}

/* Each finally is there twice: in each other, they would double with each level. */
static void test_finally_in_finally(void **state) {
    struct text t = {0};
    (void)state;
    add_part(&t, "a = len(input())\n", 0);
    for (uint32_t i = 0; i < 60; i++)
        add_part(&t, "@try:\n@ a = a + 1\n@finally:\n", i);
    add_part(&t, "@a = a + 2\n", 60);
    struct work work = compile_small(&t);
    assert_false(work.compiled);
    assert_non_null(strstr(work.error.text, "too large"));
    free(t.bytes);
}

/* What CPython calls a syntax error. */
static void test_one_line_has_one_compound_statement(void **state) {
    static const char *const lines[] = {"if 1: if 2: print(3)\n", "for x in [1]: def f(): pass\n",
                                        "while 1: try: pass\n", "if 1: pass; if 2: pass\n"};
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct text t = {0};
        add_part(&t, lines[i], 0);
        struct work work = compile_small(&t);
        assert_false(work.compiled);
        free(t.bytes);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_longest_of_each_is_refused_or_compiled),
        cmocka_unit_test(test_the_deepest_of_each_fits_the_stack),
        cmocka_unit_test(test_work_grows_with_the_text),
        cmocka_unit_test(test_products_are_bounded),
        cmocka_unit_test(test_functions_of_many_parameters),
        cmocka_unit_test(test_functions_of_many_captured_variables),
        cmocka_unit_test(test_finally_in_finally),
        cmocka_unit_test(test_one_line_has_one_compound_statement),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Errors: raised, caught, and told when nobody catches them. */
#include "rt.h"

struct failure failure;
/* With a handler anywhere in the program; without, an error ends it on the spot. */
static int32_t has_handlers;

static const struct {
    const char *name;
    enum error base;
} errors[ERRORS] = {
    [EXCEPTION] = {"Exception", NO_ERROR},
    [ARITHMETIC_ERROR] = {"ArithmeticError", EXCEPTION},
    [ZERO_DIVISION_ERROR] = {"ZeroDivisionError", ARITHMETIC_ERROR},
    [OVERFLOW_ERROR] = {"OverflowError", ARITHMETIC_ERROR},
    [LOOKUP_ERROR] = {"LookupError", EXCEPTION},
    [INDEX_ERROR] = {"IndexError", LOOKUP_ERROR},
    [KEY_ERROR] = {"KeyError", LOOKUP_ERROR},
    [VALUE_ERROR] = {"ValueError", EXCEPTION},
    [UNICODE_ERROR] = {"UnicodeError", VALUE_ERROR},
    [TYPE_ERROR] = {"TypeError", EXCEPTION},
    [NAME_ERROR] = {"NameError", EXCEPTION},
    [UNBOUND_LOCAL_ERROR] = {"UnboundLocalError", NAME_ERROR},
    [ASSERTION_ERROR] = {"AssertionError", EXCEPTION},
    [RUNTIME_ERROR] = {"RuntimeError", EXCEPTION},
    [RECURSION_ERROR] = {"RecursionError", RUNTIME_ERROR},
    [NOT_IMPLEMENTED_ERROR] = {"NotImplementedError", RUNTIME_ERROR},
    [EOF_ERROR] = {"EOFError", EXCEPTION},
    [ATTRIBUTE_ERROR] = {"AttributeError", EXCEPTION},
    [MEMORY_ERROR] = {"MemoryError", EXCEPTION},
    [STOP_ITERATION] = {"StopIteration", EXCEPTION},
};

static struct text trace; /* of the error that is being raised */

static void add_number(struct text *out, uint32_t n) {
    char digits[12];
    int at = sizeof digits;
    do {
        digits[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    text_add(out, digits + at, sizeof digits - (size_t)at);
}

/* infos[0] is the program: its name is the file's. */
static void take_trace(void) {
    const struct function_info *infos = function_infos();
    const char *at = frames_start(), *end = frames_end();
    size_t stride = frame_stride();
    text_add_c(&trace, "Traceback (most recent call last):\n");
    for (uint32_t depth = 0; at < end; depth++) {
        const struct place *place = (const struct place *)at;
        const struct function_info *info = &infos[place->function];
        at += info == infos ? info->frame_bytes : stride;
        if (depth == 20 && at < end) text_add_c(&trace, "  ...\n");
        if (depth >= 20 && at < end) continue;
        text_add_c(&trace, "  File \"");
        text_add(&trace, (const char *)(uintptr_t)infos[0].name, infos[0].name_bytes);
        text_add_c(&trace, "\", line ");
        add_number(&trace, place->line);
        text_add_c(&trace, ", in ");
        if (info == infos) {
            text_add_c(&trace, "<module>");
        } else {
            text_add(&trace, (const char *)(uintptr_t)info->name, info->name_bytes);
        }
        text_add_c(&trace, "\n");
    }
}

/* As str(exception); nothing is being raised any more. */
static V message(struct failure what) {
    failure = (struct failure){.error = NO_ERROR, .value = UNDEF};
    if (what.value == UNDEF) return str_new("", 0);
    return what.error == KEY_ERROR ? rt_repr(what.value) : rt_str(what.value);
}

EXPORT(rt_uncaught) void rt_uncaught(void) {
    struct text out = {0};
    struct failure what = failure;
    io_flush();
    out = trace;
    text_add_c(&out, errors[what.error].name);
    V said = message(what);
    if (str(said)->head.size > 0) {
        text_add_c(&out, ": ");
        text_add_str(&out, said);
    }
    text_add_c(&out, "\n");
    io_write(2, out.byte, out.size);
    io_exit(1);
}

V raise_value(enum error error, V value) {
    failure = (struct failure){.error = error, .value = value};
    trace.size = 0;
    take_trace();
    if (!has_handlers) rt_uncaught();
    return 0;
}

V raise(enum error error, const char *text) {
    return raise_value(error, str_c(text));
}

V raisef(enum error error, const char *format, const char *a, const char *b) {
    struct text out = {0};
    for (const char *f = format; *f != 0; f++) {
        if (f[0] == '%' && f[1] == 's') {
            text_add_c(&out, a);
            a = b;
            f++;
        } else {
            text_add(&out, f, 1);
        }
    }
    return raise_value(error, text_take(&out));
}

_Noreturn void unsupported(const char *what) {
    struct text out = {0};
    io_flush();
    take_trace();
    out = trace;
    text_add_c(&out, "polyagent: compiled Python cannot do this: ");
    text_add_c(&out, what);
    text_add_c(&out, "; run it in the interpreter (mode: interpreted)\n");
    io_write(2, out.byte, out.size);
    io_exit(70);
}

EXPORT(rt_use_handlers) void rt_use_handlers(void) {
    has_handlers = 1;
}

EXPORT(rt_failure) int32_t *rt_failure(void) {
    return &failure.error;
}

EXPORT(rt_raise) void rt_raise(int32_t error, V value) {
    raise_value((enum error)error, value);
}

EXPORT(rt_raise_name) void rt_raise_name(V name, int32_t is_local) {
    struct text out = {0};
    text_add_c(&out, is_local ? "cannot access local variable '" : "name '");
    text_add_str(&out, name);
    text_add_c(&out, is_local ? "' where it is not associated with a value" : "' is not defined");
    raise_value(is_local ? UNBOUND_LOCAL_ERROR : NAME_ERROR, text_take(&out));
}

EXPORT(rt_raise_depth) void rt_raise_depth(void) {
    raise(RECURSION_ERROR, "maximum recursion depth exceeded");
}

static bool descends(int32_t error, int32_t base) {
    for (; error != NO_ERROR; error = errors[error].base) {
        if (error == base) return true;
    }
    return false;
}

/* Does `except BASE` take it? */
EXPORT(rt_matches) int32_t rt_matches(int32_t base) {
    return descends(failure.error, base);
}

/* What `as NAME` becomes. */
EXPORT(rt_caught) V rt_caught(void) {
    struct failure what = failure;
    V way = str_new(trace.byte, trace.size), said = message(what), t = tuple_new(3);
    object(t)->type = CAUGHT;
    object(t)->flag = (uint16_t)what.error;
    tuple(t)->item[0] = what.value;
    tuple(t)->item[1] = said;
    tuple(t)->item[2] = way;
    return t;
}

const char *error_name(int32_t error) {
    return errors[error].name;
}

/* Raises what rt_caught() gave once more. */
EXPORT(rt_reraise) void rt_reraise(V caught) {
    if (!is_a(caught, CAUGHT)) {
        raise(TYPE_ERROR, "exceptions must derive from BaseException");
        return;
    }
    raise_value((enum error)object(caught)->flag, tuple(caught)->item[0]);
    trace.size = 0; /* it is told where it came from, not where it was caught */
    text_add_str(&trace, tuple(caught)->item[2]);
}

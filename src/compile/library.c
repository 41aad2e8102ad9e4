#include "compile/library.h"

#include <math.h>
#include <string.h>

static const struct entry functions[] = {
    {"len", "rt_len", 1, 1, 'I', K_INT, NO_EXTRA, NULL, 0},
    {"repr", "rt_repr", 1, 1, 'V', K_STR, NO_EXTRA, NULL, 0},
    {"ascii", "rt_ascii", 1, 1, 'V', K_STR, NO_EXTRA, NULL, 0},
    {"chr", "rt_chr", 1, 1, 'V', K_STR, NO_EXTRA, NULL, 0},
    {"ord", "rt_ord", 1, 1, 'V', K_INT, NO_EXTRA, NULL, 0},
    {"int", "rt_int", 1, 2, 'V', K_INT, NO_EXTRA, "1:base", 0},
    {"float", "rt_float", 1, 1, 'F', K_FLOAT, NO_EXTRA, NULL, 0},
    {"bin", "rt_based", 1, 1, 'V', K_STR, 2, NULL, 0},
    {"oct", "rt_based", 1, 1, 'V', K_STR, 8, NULL, 0},
    {"hex", "rt_based", 1, 1, 'V', K_STR, 16, NULL, 0},
    {"abs", "rt_abs", 1, 1, 'V', K_ANY, NO_EXTRA, NULL, 0},
    {"round", "rt_round", 1, 2, 'V', K_ANY, NO_EXTRA, "1:ndigits", 0},
    {"sum", "rt_sum", 1, 2, 'V', K_ANY, NO_EXTRA, "1:start", 0},
    {"divmod", "rt_divmod", 2, 2, 'V', K_TUPLE, NO_EXTRA, NULL, 0},
    {"list", "rt_list_of", 1, 1, 'V', K_LIST, NO_EXTRA, NULL, 0},
    {"tuple", "rt_to_tuple", 1, 1, 'V', K_TUPLE, NO_EXTRA, NULL, 0},
    {"dict", "rt_dict_of", 0, 1, 'V', K_DICT, NO_EXTRA, NULL, 0},
    {"enumerate", "rt_enumerate", 1, 2, 'V', K_ANY, NO_EXTRA, "1:start", 0},
    {"reversed", "rt_reversed", 1, 1, 'V', K_ANY, NO_EXTRA, NULL, 0},
    {"iter", "rt_iter", 1, 1, 'V', K_ANY, NO_EXTRA, NULL, 0},
    {"next", "rt_next_or", 1, 2, 'V', K_ANY, NO_EXTRA, NULL, 0},
    {"any", "rt_any", 1, 1, 'B', K_BOOL, 0, NULL, 0},
    {"all", "rt_any", 1, 1, 'B', K_BOOL, 1, NULL, 0},
    {"input", "rt_input", 0, 1, 'V', K_STR, NO_EXTRA, NULL, 0},
    {"exit", "rt_exit", 0, 1, 'N', K_NONE, NO_EXTRA, NULL, 0},
    {"quit", "rt_exit", 0, 1, 'N', K_NONE, NO_EXTRA, NULL, 0},
};

static const struct entry methods[] = {
    {"append", "rt_list_push", 1, 1, 'N', K_NONE, NO_EXTRA, NULL, K_LIST},
    {"extend", "rt_list_extend", 1, 1, 'N', K_NONE, NO_EXTRA, NULL, K_LIST},
    {"insert", "rt_list_insert", 2, 2, 'N', K_NONE, NO_EXTRA, NULL, K_LIST},
    {"remove", "rt_list_remove", 1, 1, 'N', K_NONE, NO_EXTRA, NULL, K_LIST},
    {"reverse", "rt_list_reverse", 0, 0, 'N', K_NONE, NO_EXTRA, NULL, K_LIST},
    {"pop", "rt_any_pop", 0, 2, 'V', K_ANY, NO_EXTRA, NULL, K_ANY},
    {"clear", "rt_any_clear", 0, 0, 'N', K_NONE, NO_EXTRA, NULL, K_ANY},
    {"copy", "rt_any_copy", 0, 0, 'V', K_ANY, NO_EXTRA, NULL, K_ANY},
    {"index", "rt_any_index", 1, 3, 'V', K_INT, NO_EXTRA, NULL, K_ANY},
    {"count", "rt_any_count", 1, 3, 'V', K_INT, NO_EXTRA, NULL, K_ANY},
    {"get", "rt_dict_get", 1, 2, 'V', K_ANY, NO_EXTRA, NULL, K_DICT},
    {"setdefault", "rt_dict_setdefault", 1, 2, 'V', K_ANY, NO_EXTRA, NULL, K_DICT},
    {"update", "rt_dict_update", 1, 1, 'N', K_NONE, NO_EXTRA, NULL, K_DICT},
    {"popitem", "rt_dict_popitem", 0, 0, 'V', K_TUPLE, NO_EXTRA, NULL, K_DICT},
    {"keys", "rt_dict_view", 0, 0, 'V', K_ANY, 0, NULL, K_DICT},
    {"values", "rt_dict_view", 0, 0, 'V', K_ANY, 1, NULL, K_DICT},
    {"items", "rt_dict_view", 0, 0, 'V', K_ANY, 2, NULL, K_DICT},
    {"find", "rt_str_find", 1, 3, 'V', K_INT, 0, NULL, K_STR},
    {"rfind", "rt_str_find", 1, 3, 'V', K_INT, 1, NULL, K_STR},
    {"rindex", "rt_str_find", 1, 3, 'V', K_INT, 3, NULL, K_STR},
    {"startswith", "rt_str_ends", 1, 3, 'V', K_BOOL, 1, NULL, K_STR},
    {"endswith", "rt_str_ends", 1, 3, 'V', K_BOOL, 0, NULL, K_STR},
    {"strip", "rt_str_strip", 0, 1, 'V', K_STR, 3, NULL, K_STR},
    {"lstrip", "rt_str_strip", 0, 1, 'V', K_STR, 1, NULL, K_STR},
    {"rstrip", "rt_str_strip", 0, 1, 'V', K_STR, 2, NULL, K_STR},
    {"split", "rt_str_split", 0, 2, 'V', K_LIST, NO_EXTRA, "0:sep", K_STR},
    {"rsplit", "rt_str_rsplit", 0, 2, 'V', K_LIST, NO_EXTRA, "0:sep", K_STR},
    {"splitlines", "rt_str_splitlines", 0, 0, 'V', K_LIST, NO_EXTRA, NULL, K_STR},
    {"partition", "rt_str_partition", 1, 1, 'V', K_TUPLE, 0, NULL, K_STR},
    {"rpartition", "rt_str_partition", 1, 1, 'V', K_TUPLE, 1, NULL, K_STR},
    {"join", "rt_str_join", 1, 1, 'V', K_STR, NO_EXTRA, NULL, K_STR},
    {"replace", "rt_str_replace", 2, 3, 'V', K_STR, NO_EXTRA, NULL, K_STR},
    {"upper", "rt_str_case", 0, 0, 'V', K_STR, 0, NULL, K_STR},
    {"lower", "rt_str_case", 0, 0, 'V', K_STR, 1, NULL, K_STR},
    {"capitalize", "rt_str_case", 0, 0, 'V', K_STR, 2, NULL, K_STR},
    {"title", "rt_str_case", 0, 0, 'V', K_STR, 3, NULL, K_STR},
    {"swapcase", "rt_str_case", 0, 0, 'V', K_STR, 4, NULL, K_STR},
    {"isdigit", "rt_str_is", 0, 0, 'V', K_BOOL, 0, NULL, K_STR},
    {"isalpha", "rt_str_is", 0, 0, 'V', K_BOOL, 1, NULL, K_STR},
    {"isalnum", "rt_str_is", 0, 0, 'V', K_BOOL, 2, NULL, K_STR},
    {"isspace", "rt_str_is", 0, 0, 'V', K_BOOL, 3, NULL, K_STR},
    {"isupper", "rt_str_is", 0, 0, 'V', K_BOOL, 4, NULL, K_STR},
    {"islower", "rt_str_is", 0, 0, 'V', K_BOOL, 5, NULL, K_STR},
    {"isdecimal", "rt_str_is", 0, 0, 'V', K_BOOL, 6, NULL, K_STR},
    {"isnumeric", "rt_str_is", 0, 0, 'V', K_BOOL, 7, NULL, K_STR},
    {"ljust", "rt_str_justify", 1, 2, 'V', K_STR, 1, NULL, K_STR},
    {"rjust", "rt_str_justify", 1, 2, 'V', K_STR, -1, NULL, K_STR},
    {"center", "rt_str_justify", 1, 2, 'V', K_STR, 0, NULL, K_STR},
    {"zfill", "rt_str_zfill", 1, 1, 'V', K_STR, NO_EXTRA, NULL, K_STR},
    {"removeprefix", "rt_str_remove", 1, 1, 'V', K_STR, 1, NULL, K_STR},
    {"removesuffix", "rt_str_remove", 1, 1, 'V', K_STR, 0, NULL, K_STR},
    {"bit_length", "rt_bit_length", 0, 0, 'V', K_INT, NO_EXTRA, NULL, K_INT},
};

#define FLOAT_OF(name) \
    { #name, "rt_math_" #name, 1, 1, 'F', K_FLOAT, NO_EXTRA, NULL, 0 }
static const struct entry maths[] = {
    FLOAT_OF(sin),
    FLOAT_OF(cos),
    FLOAT_OF(tan),
    FLOAT_OF(asin),
    FLOAT_OF(acos),
    FLOAT_OF(atan),
    FLOAT_OF(sinh),
    FLOAT_OF(cosh),
    FLOAT_OF(tanh),
    FLOAT_OF(exp),
    FLOAT_OF(sqrt),
    FLOAT_OF(fabs),
    FLOAT_OF(degrees),
    FLOAT_OF(radians),
    FLOAT_OF(log2),
    FLOAT_OF(log10),
    {"pow", "rt_math_pow", 2, 2, 'F', K_FLOAT, NO_EXTRA, NULL, 0},
    {"atan2", "rt_math_atan2", 2, 2, 'F', K_FLOAT, NO_EXTRA, NULL, 0},
    {"hypot", "rt_math_hypot", 2, 2, 'F', K_FLOAT, NO_EXTRA, NULL, 0},
    {"fmod", "rt_math_fmod", 2, 2, 'F', K_FLOAT, NO_EXTRA, NULL, 0},
    {"copysign", "rt_math_copysign", 2, 2, 'F', K_FLOAT, NO_EXTRA, NULL, 0},
    {"floor", "rt_math_whole", 1, 1, 'V', K_INT, 0, NULL, 0},
    {"ceil", "rt_math_whole", 1, 1, 'V', K_INT, 1, NULL, 0},
    {"trunc", "rt_math_whole", 1, 1, 'V', K_INT, 2, NULL, 0},
    {"isnan", "rt_math_is", 1, 1, 'B', K_BOOL, 0, NULL, 0},
    {"isinf", "rt_math_is", 1, 1, 'B', K_BOOL, 1, NULL, 0},
    {"isfinite", "rt_math_is", 1, 1, 'B', K_BOOL, 2, NULL, 0},
    {"gcd", "rt_math_gcd", 2, 2, 'V', K_INT, NO_EXTRA, NULL, 0},
    {"isqrt", "rt_math_isqrt", 1, 1, 'V', K_INT, NO_EXTRA, NULL, 0},
    {"factorial", "rt_math_factorial", 1, 1, 'V', K_INT, NO_EXTRA, NULL, 0},
    {"comb", "rt_math_comb", 2, 2, 'V', K_INT, NO_EXTRA, NULL, 0},
};
static const struct entry log_entries[] = {
    {"log", "rt_math_log", 1, 1, 'F', K_FLOAT, NO_EXTRA, NULL, 0},
    {"log", "rt_math_log_base", 2, 2, 'F', K_FLOAT, NO_EXTRA, NULL, 0}};

static const struct entry *find(const struct entry *entries, size_t count, const char *name,
                                uint32_t size) {
    for (size_t i = 0; i < count; i++) {
        if (text_is(name, size, entries[i].name)) return &entries[i];
    }
    return NULL;
}

const struct entry *library_function(const char *name, uint32_t size) {
    return find(functions, sizeof functions / sizeof *functions, name, size);
}

const struct entry *library_method(const char *name, uint32_t size) {
    return find(methods, sizeof methods / sizeof *methods, name, size);
}

const struct entry *library_math(const char *name, uint32_t size) {
    const struct entry *found = find(maths, sizeof maths / sizeof *maths, name, size);
    return found != NULL ? found : find(log_entries, 1, name, size);
}

bool library_constant(const char *name, uint32_t size, double *out) {
    static const struct {
        const char *name;
        double value;
    } constants[] = {{"pi", 3.141592653589793},
                     {"e", 2.718281828459045},
                     {"tau", 6.283185307179586},
                     {"inf", INFINITY},
                     {"nan", NAN}};
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++) {
        *out = constants[i].value;
        if (text_is(name, size, constants[i].name)) return true;
    }
    return false;
}

int library_error(const char *name, uint32_t size) {
    /* In the order of enum error in runtime/rt.h. */
    static const char *const errors[] = {
        "Exception",      "ArithmeticError", "ZeroDivisionError", "OverflowError",
        "LookupError",    "IndexError",      "KeyError",          "ValueError",
        "UnicodeError",   "TypeError",       "NameError",         "UnboundLocalError",
        "AssertionError", "RuntimeError",    "RecursionError",    "NotImplementedError",
        "EOFError",       "AttributeError",  "MemoryError",       "StopIteration"};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        if (text_is(name, size, errors[i])) return (int)i + 1;
    }
    return 0;
}

static int among(const char *name, uint32_t size, const char *const *words, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (text_is(name, size, words[i])) return (int)i;
    }
    return -1;
}

bool library_is_special(const char *name, uint32_t size) {
    static const char *const words[] = {"print",  "range",      "zip", "map",  "filter",
                                        "sorted", "min",        "max", "bool", "str",
                                        "pow",    "isinstance", "type"};
    return among(name, size, words, sizeof words / sizeof *words) >= 0;
}

int library_class(const char *name, uint32_t size) {
    static const char *const words[] = {"int", "float", "str", "bool", "list", "tuple", "dict"};
    return among(name, size, words, sizeof words / sizeof *words);
}

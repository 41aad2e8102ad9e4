/* Built-in functions, and those of math. */
#include "rt.h"

#include <math.h>

V rt_binary(V a, V b, int32_t operation);
V rt_unary(V v, int32_t operation);
double rt_float_div(double a, double b);
enum { ADD, SUB, MUL, TRUEDIV, FLOORDIV, MOD };

EXPORT(rt_int) V rt_int(V v, V base_value) {
    if (base_value != UNDEF) {
        int64_t base = 0;
        I i = index_of(base_value, "integer");
        if (failed()) return 0;
        if (!int64_of(i, &base) || base < 0 || base == 1 || base > 36)
            return raise(VALUE_ERROR, "int() base must be >= 2 and <= 36, or 0");
        if (!is_a(v, STR))
            return raise(TYPE_ERROR, "int() can't convert non-string with explicit base");
        return box_int(int_parse(str(v)->byte, str(v)->head.size, (int)base, v));
    }
    if (is_int(v)) return box_int(int_of(v));
    if (is_float(v)) return box_int(int_of_float(as_float(v)));
    if (is_a(v, STR)) return box_int(int_parse(str(v)->byte, str(v)->head.size, 10, v));
    return raisef(TYPE_ERROR,
                  "int() argument must be a string, a bytes-like object or a real number, not '%s'",
                  type_name(v), "");
}

EXPORT(rt_float) double rt_float(V v) {
    double d;
    if (is_float(v)) return as_float(v);
    if (is_int(v)) return float_of_int(int_of(v));
    if (is_a(v, STR)) {
        if (float_parse(str(v)->byte, str(v)->head.size, &d)) return d;
        V shown = rt_repr(v);
        raisef(VALUE_ERROR, "could not convert string to float: %s", str(shown)->byte, "");
        return 0;
    }
    raisef(TYPE_ERROR, "float() argument must be a string or a real number, not '%s'", type_name(v),
           "");
    return 0;
}

EXPORT(rt_abs) V rt_abs(V v) {
    if (is_float(v)) return of_float(fabs(as_float(v)));
    if (!is_int(v)) return raisef(TYPE_ERROR, "bad operand type for abs(): '%s'", type_name(v), "");
    I i = int_of(v);
    return box_int(sign_of_int(i) < 0 ? rt_int_neg(i) : i);
}

/* As CPython 3.12 does (bltinmodule.c, builtin_sum): integers first, then floats with what their
 * rounding loses, after Neumaier, and from the first that is neither, whatever + does. */
struct sum {
    V value;
    double lost;
    enum { INTEGERS, FLOATS, ANYTHING } phase;
};

static void add_to_sum(struct sum *sum, V item) {
    if (sum->phase == INTEGERS) {
        if (tag(sum->value) == TAG_INT && (tag(item) == TAG_INT || item == TRUE || item == FALSE)) {
            int64_t n = small(sum->value) + (tag(item) == TAG_INT ? small(item) : item == TRUE);
            sum->value = box_int64(n);
            return;
        }
        if (is_int(sum->value) && is_int(item)) {
            sum->value = box_int(rt_int_add(int_of(sum->value), int_of(item)));
            return;
        }
        sum->value = rt_binary(sum->value, item, ADD);
        sum->phase = !failed() && is_float(sum->value) ? FLOATS : ANYTHING;
        return;
    }
    if (sum->phase == FLOATS && is_float(item)) {
        double f = as_float(sum->value), x = as_float(item), t = f + x;
        sum->lost += fabs(f) >= fabs(x) ? (f - t) + x : (x - t) + f;
        sum->value = of_float(t);
        return;
    }
    if (sum->phase == FLOATS && is_int(item)) {
        sum->value = of_float(as_float(sum->value) + float_of_int(int_of(item)));
        return;
    }
    if (sum->phase == FLOATS && sum->lost != 0 && isfinite(sum->lost))
        sum->value = of_float(as_float(sum->value) + sum->lost);
    sum->phase = ANYTHING;
    sum->lost = 0;
    sum->value = rt_binary(sum->value, item, ADD);
}

enum { FEW = 4096 }; /* times 48 bits */

EXPORT(rt_sum) V rt_sum(V v, V start) {
    struct sum sum = {.value = start == UNDEF ? BOX(TAG_INT, 0) : start};
    if (is_a(sum.value, STR))
        return raise(TYPE_ERROR, "sum() can't sum strings [use ''.join(seq) instead]");
    if (!is_int(sum.value)) sum.phase = is_float(sum.value) ? FLOATS : ANYTHING;
    if (is_a(v, LIST)) {
        const V *item = list(v)->item;
        uint32_t i = 0, size = object(v)->size;
        int64_t total = 0; /* of as many small integers and bools as there are in front */
        const int64_t far = (int64_t)1 << 61;
        while (sum.phase == INTEGERS && total < far && total > -far) {
            uint32_t stop = size - i > FEW ? i + FEW : size; /* so many cannot go too far */
            for (; i < stop; i++) {
                V bit = item[i] - FALSE;
                if (bit <= 1) { /* or TRUE, the next */
                    total += (int64_t)bit;
                } else if (tag(item[i]) == TAG_INT) {
                    total += small(item[i]);
                } else {
                    break;
                }
            }
            if (i < stop || i == size) break;
        }
        if (i > 0) sum.value = box_int(rt_int_add(int_of(sum.value), of_int64(total)));
        for (; i < object(v)->size && !failed(); i++)
            add_to_sum(&sum, list(v)->item[i]);
    } else {
        V it = rt_iter(v);
        for (V item; !failed() && (item = rt_next(it)) != UNDEF;)
            add_to_sum(&sum, item);
    }
    if (failed()) return 0;
    if (sum.phase == FLOATS && sum.lost != 0 && isfinite(sum.lost))
        return of_float(as_float(sum.value) + sum.lost);
    return type_of(sum.value) == BOOL ? box_int(int_of(sum.value)) : sum.value;
}

/* Of one iterable; `keys` is as long, or UNDEF. The first of equals. */
EXPORT(rt_best) V rt_best(V v, V keys, V standard, int32_t most) {
    V all = list_of(v);
    if (failed()) return 0;
    uint32_t count = object(all)->size, best = 0;
    if (count == 0) {
        if (standard != UNDEF) return standard;
        return raise(VALUE_ERROR, most ? "max() iterable argument is empty"
                                       : "min() iterable argument is empty");
    }
    const V *key = keys == UNDEF ? list(all)->item : list(keys)->item;
    for (uint32_t i = 1; i < count; i++) {
        if (rt_order(key[i], key[best], most ? GREATER : LESS)) best = i;
        if (failed()) return 0;
    }
    return list(all)->item[best];
}

EXPORT(rt_sorted) V rt_sorted(V v, V keys, int32_t reverse) {
    V all = list_of(v);
    if (failed()) return 0;
    sort_items(list(all)->item, keys == UNDEF ? list(all)->item : list(keys)->item,
               object(all)->size, reverse);
    return failed() ? 0 : all;
}

EXPORT(rt_round) V rt_round(V v, V digits_value) {
    int64_t digits = 0;
    if (is_float(v) && (digits_value == UNDEF || digits_value == NONE)) {
        return box_int(int_of_float(nearbyint(as_float(v))));
    }
    if (!is_float(v) && !is_int(v))
        return raisef(TYPE_ERROR, "type %s doesn't define __round__ method", type_name(v), "");
    if (digits_value != UNDEF && digits_value != NONE) {
        I i = index_of(digits_value, "integer");
        if (failed()) return 0;
        if (!int64_of(i, &digits) || digits > 10000 || digits < -10000)
            digits = sign_of_int(i) < 0 ? -10000 : 10000;
    }
    if (is_float(v)) return of_float(float_round(as_float(v), (int)digits));
    I i = int_of(v);
    if (digits >= 0) return box_int(i);
    I unit = int_power(20, (uint64_t)-digits), down = rt_int_floordiv(i, unit),
      rest = rt_int_mod(i, unit);
    int half = rt_int_compare(rt_int_mul(rest, 4), unit);
    if (half > 0 || (half == 0 && rt_int_mod(down, 4) != 0)) down = rt_int_add(down, 2);
    return box_int(rt_int_mul(down, unit));
}

EXPORT(rt_divmod) V rt_divmod(V a, V b) {
    V t = tuple_new(2);
    tuple(t)->item[0] = rt_binary(a, b, FLOORDIV);
    if (failed()) return 0;
    tuple(t)->item[1] = rt_binary(a, b, MOD);
    return t;
}

EXPORT(rt_pow_modulo) V rt_pow_modulo(V a, V b, V m) {
    if (!is_int(a) || !is_int(b) || !is_int(m)) {
        return raise(TYPE_ERROR,
                     "pow() 3rd argument not allowed unless all arguments are integers");
    }
    I base = int_of(a), exponent = int_of(b), modulus = int_of(m), result = 2;
    if (modulus == 0) return raise(VALUE_ERROR, "pow() 3rd argument cannot be 0");
    if (sign_of_int(exponent) < 0) unsupported("pow() with a negative exponent and a modulus");
    base = rt_int_mod(base, modulus);
    while (exponent != 0) {
        if (rt_int_mod(exponent, 4) != 0) result = rt_int_mod(rt_int_mul(result, base), modulus);
        base = rt_int_mod(rt_int_mul(base, base), modulus);
        exponent = int_shift_right(exponent, 1);
    }
    return box_int(rt_int_mod(result, modulus));
}

/* bin(), oct(), hex() */
EXPORT(rt_based) V rt_based(V v, int32_t base) {
    I i = index_of(v, "integer");
    if (failed()) return 0;
    bool negative = sign_of_int(i) < 0;
    V digits = int_text(negative ? rt_int_neg(i) : i, base, false);
    V prefix = str_c(base == 2   ? (negative ? "-0b" : "0b")
                     : base == 8 ? (negative ? "-0o" : "0o")
                     : negative  ? "-0x"
                                 : "0x");
    return str_cat(prefix, digits);
}

EXPORT(rt_any) int32_t rt_any(V v, int32_t all) {
    V it = rt_iter(v);
    for (V item; !failed() && (item = rt_next(it)) != UNDEF;) {
        if (rt_truth(item) != all) return !all;
    }
    return all;
}

EXPORT(rt_dict_of) V rt_dict_of(V v) {
    V out = dict_new();
    void rt_dict_update(V to, V from);
    if (v != UNDEF) rt_dict_update(out, v);
    return out;
}

enum class { IS_INT, IS_FLOAT, IS_STR, IS_BOOL, IS_LIST, IS_TUPLE, IS_DICT };
EXPORT(rt_is_instance) int32_t rt_is_instance(V v, int32_t class) {
    switch (class) {
    case IS_INT: return is_int(v);
    case IS_FLOAT: return is_float(v);
    case IS_STR: return is_a(v, STR);
    case IS_BOOL: return type_of(v) == BOOL;
    case IS_LIST: return is_a(v, LIST);
    case IS_TUPLE: return is_a(v, TUPLE);
    default: return is_a(v, DICT);
    }
}

EXPORT(rt_type_name) V rt_type_name(V v) {
    return str_c(type_name(v));
}

EXPORT(rt_bit_length) V rt_bit_length(V v) {
    return box_int64(int_bit_length(int_of(v)));
}

/* ---- math */
static double domain(double result, double x, bool may_overflow) {
    if (result != result && x == x) {
        raise(VALUE_ERROR, "math domain error");
    } else if (isinf(result) && !isinf(x)) {
        raise(may_overflow ? OVERFLOW_ERROR : VALUE_ERROR,
              may_overflow ? "math range error" : "math domain error");
    }
    return result;
}

static double log_of(V v, double (*log_function)(double)) {
    if (is_int(v)) {
        I i = int_of(v);
        if (sign_of_int(i) <= 0) {
            raise(VALUE_ERROR, "math domain error");
            return 0;
        }
        int bits = int_bit_length(i), drop = bits > 1000 ? bits - 60 : 0;
        double d = float_of_int(int_shift_right(i, (uint64_t)drop));
        return drop == 0 ? log_function(d) : log_function(d) + drop * log_function(2.0);
    }
    double d = rt_float(v);
    if (failed()) return 0;
    if (d <= 0) {
        raise(VALUE_ERROR, "math domain error");
        return 0;
    }
    return log_function(d);
}

static double real(V v) {
    if (is_float(v)) return as_float(v);
    if (is_int(v)) return float_of_int(int_of(v));
    raisef(TYPE_ERROR, "must be real number, not %s", type_name(v), "");
    return 0;
}

#define MATH(name, function, overflows) \
    EXPORT(rt_math_##name) double rt_math_##name(V v) { \
        double x = real(v); \
        return failed() ? 0 : domain(function(x), x, overflows); \
    }
MATH(sin, sin, false)
MATH(cos, cos, false)
MATH(tan, tan, false)
MATH(asin, asin, false)
MATH(acos, acos, false)
MATH(atan, atan, false)
MATH(sinh, sinh, true)
MATH(cosh, cosh, true)
MATH(tanh, tanh, false)
MATH(exp, exp, true)
MATH(sqrt, sqrt, false)
MATH(fabs, fabs, false)

static double to_degrees(double x) {
    return x * (180.0 / 3.141592653589793);
}
static double to_radians(double x) {
    return x * (3.141592653589793 / 180.0);
}
MATH(degrees, to_degrees, true)
MATH(radians, to_radians, true)

EXPORT(rt_math_log) double rt_math_log(V v) {
    if (!is_float(v) && !is_int(v)) return real(v);
    return log_of(v, log);
}
EXPORT(rt_math_log2) double rt_math_log2(V v) {
    if (!is_float(v) && !is_int(v)) return real(v);
    return log_of(v, log2);
}
EXPORT(rt_math_log10) double rt_math_log10(V v) {
    if (!is_float(v) && !is_int(v)) return real(v);
    return log_of(v, log10);
}

EXPORT(rt_math_log_base) double rt_math_log_base(V v, V base) {
    double x = rt_math_log(v), y = failed() ? 0 : rt_math_log(base);
    return failed() ? 0 : rt_float_div(x, y);
}

EXPORT(rt_math_pow) double rt_math_pow(V a, V b) {
    double x = real(a), y = failed() ? 0 : real(b);
    if (failed()) return 0;
    double result = pow(x, y);
    if (result != result && x == x && y == y) raise(VALUE_ERROR, "math domain error");
    if (isinf(result) && !isinf(x) && !isinf(y))
        raise(x == 0 ? VALUE_ERROR : OVERFLOW_ERROR,
              x == 0 ? "math domain error" : "math range error");
    return result;
}

EXPORT(rt_math_atan2) double rt_math_atan2(V a, V b) {
    double x = real(a), y = failed() ? 0 : real(b);
    return failed() ? 0 : atan2(x, y);
}

EXPORT(rt_math_hypot) double rt_math_hypot(V a, V b) {
    double x = real(a), y = failed() ? 0 : real(b);
    return failed() ? 0 : hypot(x, y);
}

EXPORT(rt_math_fmod) double rt_math_fmod(V a, V b) {
    double x = real(a), y = failed() ? 0 : real(b);
    if (failed()) return 0;
    double result = fmod(x, y);
    if (result != result && x == x && y == y) raise(VALUE_ERROR, "math domain error");
    return result;
}

EXPORT(rt_math_copysign) double rt_math_copysign(V a, V b) {
    double x = real(a), y = failed() ? 0 : real(b);
    return failed() ? 0 : copysign(x, y);
}

/* floor, ceil, trunc: to an integer. */
EXPORT(rt_math_whole) V rt_math_whole(V v, int32_t how) {
    if (is_int(v)) return box_int(int_of(v));
    if (!is_float(v))
        return raisef(TYPE_ERROR,
                      how == 2 ? "type %s doesn't define __trunc__ method"
                               : "must be real number, not %s",
                      type_name(v), "");
    double d = as_float(v);
    return box_int(int_of_float(how == 0 ? floor(d) : how == 1 ? ceil(d) : trunc(d)));
}

EXPORT(rt_math_is) int32_t rt_math_is(V v, int32_t what) {
    double d = real(v);
    return what == 0 ? isnan(d) : what == 1 ? isinf(d) : d - d == 0;
}

EXPORT(rt_math_gcd) V rt_math_gcd(V x, V y) {
    I a = index_of(x, "integer"), b = failed() ? 0 : index_of(y, "integer");
    if (failed()) return 0;
    while (b != 0) {
        I rest = rt_int_mod(a, b);
        a = b;
        b = rest;
    }
    return box_int(sign_of_int(a) < 0 ? rt_int_neg(a) : a);
}

EXPORT(rt_math_isqrt) V rt_math_isqrt(V v) {
    I n = index_of(v, "integer");
    if (failed()) return 0;
    if (sign_of_int(n) < 0) return raise(VALUE_ERROR, "isqrt() argument must be nonnegative");
    if (n == 0) return box_int(0);
    I x = int_shift_left(2, (uint64_t)(int_bit_length(n) + 1) / 2); /* not below the root */
    for (;;) {
        I y = int_shift_right(rt_int_add(x, rt_int_floordiv(n, x)), 1);
        if (rt_int_compare(y, x) >= 0) return box_int(x);
        x = y;
    }
}

EXPORT(rt_math_factorial) V rt_math_factorial(V v) {
    int64_t n = 0;
    I i = index_of(v, "integer"), product = 2;
    if (failed()) return 0;
    if (sign_of_int(i) < 0)
        return raise(VALUE_ERROR, "factorial() not defined for negative values");
    if (!int64_of(i, &n) || n > 100000) unsupported("the factorial of so large a number");
    for (int64_t k = 2; k <= n; k++)
        product = rt_int_mul(product, k * 2);
    return box_int(product);
}

EXPORT(rt_math_comb) V rt_math_comb(V x, V y) {
    I n = index_of(x, "integer"), k = failed() ? 0 : index_of(y, "integer"), result = 2;
    int64_t count = 0;
    if (failed()) return 0;
    if (sign_of_int(n) < 0) return raise(VALUE_ERROR, "n must be a non-negative integer");
    if (sign_of_int(k) < 0) return raise(VALUE_ERROR, "k must be a non-negative integer");
    I other = rt_int_sub(n, k);
    if (sign_of_int(other) < 0) return box_int(0);
    if (rt_int_compare(other, k) < 0) k = other;
    if (!int64_of(k, &count) || count > 100000) unsupported("so many combinations");
    for (int64_t i = 0; i < count; i++)
        result = rt_int_floordiv(rt_int_mul(result, rt_int_sub(n, i * 2)), (i + 1) * 2);
    return box_int(result);
}

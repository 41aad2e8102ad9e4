/* Floats as CPython prints, reads and divides them. */
#include "rt.h"

#include <math.h>
#include <stdlib.h>

/* Numbers of the size that digits of a double need; the lowest part first. */
enum { WIDE = 76 };
struct wide {
    uint32_t count, part[WIDE];
};

static void wide_set(struct wide *w, uint64_t value) {
    w->part[0] = (uint32_t)value;
    w->part[1] = (uint32_t)(value >> 32);
    w->count = value == 0 ? 0 : value >> 32 == 0 ? 1 : 2;
}

static void wide_multiply(struct wide *w, uint32_t factor) {
    uint64_t carry = 0;
    for (uint32_t i = 0; i < w->count; i++) {
        carry += (uint64_t)w->part[i] * factor;
        w->part[i] = (uint32_t)carry;
        carry >>= 32;
    }
    if (carry != 0) w->part[w->count++] = (uint32_t)carry;
}

static void wide_power(struct wide *w, int exponent) {
    for (; exponent >= 9; exponent -= 9)
        wide_multiply(w, 1000000000);
    for (; exponent > 0; exponent--)
        wide_multiply(w, 10);
}

static void wide_shift(struct wide *w, int bits) {
    uint32_t whole = (uint32_t)bits / 32, rest = (uint32_t)bits % 32;
    if (w->count == 0) return;
    if (rest > 0) wide_multiply(w, 1U << rest);
    for (uint32_t i = w->count; whole > 0 && i-- > 0;)
        w->part[i + whole] = w->part[i];
    for (uint32_t i = 0; i < whole; i++)
        w->part[i] = 0;
    w->count += whole;
}

static int wide_compare(const struct wide *a, const struct wide *b) {
    if (a->count != b->count) return a->count < b->count ? -1 : 1;
    for (uint32_t i = a->count; i-- > 0;) {
        if (a->part[i] != b->part[i]) return a->part[i] < b->part[i] ? -1 : 1;
    }
    return 0;
}

/* a + b compared with c. */
static int wide_compare_sum(const struct wide *a, const struct wide *b, const struct wide *c) {
    struct wide sum;
    uint64_t carry = 0;
    sum.count = a->count > b->count ? a->count : b->count;
    for (uint32_t i = 0; i < sum.count; i++) {
        carry += (uint64_t)(i < a->count ? a->part[i] : 0) + (i < b->count ? b->part[i] : 0);
        sum.part[i] = (uint32_t)carry;
        carry >>= 32;
    }
    if (carry != 0) sum.part[sum.count++] = (uint32_t)carry;
    return wide_compare(&sum, c);
}

static void wide_subtract(struct wide *a, const struct wide *b) { /* a >= b */
    int64_t borrow = 0;
    for (uint32_t i = 0; i < a->count; i++) {
        borrow += (int64_t)a->part[i] - (i < b->count ? b->part[i] : 0);
        a->part[i] = (uint32_t)borrow;
        borrow >>= 32;
    }
    while (a->count > 0 && a->part[a->count - 1] == 0)
        a->count--;
}

/* a / b, which is below 10; a becomes the rest. */
static int wide_digit(struct wide *a, const struct wide *b) {
    int digit = 0;
    while (wide_compare(a, b) >= 0) {
        wide_subtract(a, b);
        digit++;
    }
    return digit;
}

/* d as mantissa * 2^exponent. */
static uint64_t split(double d, int *exponent) {
    union {
        double d;
        uint64_t u;
    } bits = {d};
    int e = (int)(bits.u >> 52 & 2047);
    uint64_t fraction = bits.u & (((uint64_t)1 << 52) - 1);
    *exponent = e == 0 ? -1074 : e - 1075;
    return e == 0 ? fraction : fraction | (uint64_t)1 << 52;
}

/* Not above the place of the point, and at most one below. */
static int guess_point(uint64_t mantissa, int exponent) {
    int top = exponent + 63 - __builtin_clzll(mantissa);
    return (int)ceil(top * 0.30102999566398114 - 1e-10);
}

/* Steele and White's, with the bounds of Burger and Dybvig, "Printing Floating-Point Numbers
 * Quickly and Accurately" (1996): the value is r / s, and what reads back as it reaches down by
 * below / s and up by above / s. */
int float_shortest(double d, char *digits, int *point) {
    static struct wide r, s, above, below;
    int exponent, count = 0;
    uint64_t mantissa = split(d, &exponent);
    bool even = (mantissa & 1) == 0, edge = mantissa == (uint64_t)1 << 52 && exponent > -1074;
    wide_set(&r, mantissa);
    wide_set(&s, 1);
    wide_set(&above, 1);
    wide_set(&below, 1);
    wide_shift(&r, (exponent > 0 ? exponent : 0) + 1 + edge);
    wide_shift(&s, (exponent < 0 ? -exponent : 0) + 1 + edge);
    wide_shift(&above, (exponent > 0 ? exponent : 0) + edge);
    wide_shift(&below, exponent > 0 ? exponent : 0);
    int k = guess_point(mantissa, exponent);
    if (k >= 0) {
        wide_power(&s, k);
    } else {
        wide_power(&r, -k);
        wide_power(&above, -k);
        wide_power(&below, -k);
    }
    while (wide_compare_sum(&r, &above, &s) >= (even ? 0 : 1)) {
        wide_multiply(&s, 10);
        k++;
    }
    *point = k;
    for (;;) {
        wide_multiply(&r, 10);
        wide_multiply(&above, 10);
        wide_multiply(&below, 10);
        int digit = wide_digit(&r, &s);
        bool low = wide_compare(&r, &below) < (even ? 1 : 0);
        bool high = wide_compare_sum(&r, &above, &s) >= (even ? 0 : 1);
        if (low && high) {
            int half = wide_compare_sum(&r, &r, &s);
            high = half > 0 || (half == 0 && digit & 1);
        }
        digits[count++] = (char)('0' + digit + high);
        if (low || high) return count;
    }
}

int float_digits(double d, int count, bool significant, char *digits, int *point) {
    static struct wide r, s;
    int exponent, made = 0;
    uint64_t mantissa = split(d, &exponent);
    if (mantissa == 0) {
        *point = 1;
        int zeros = significant ? count : count + 1;
        for (int i = 0; i < zeros; i++)
            digits[i] = '0';
        return zeros;
    }
    wide_set(&r, mantissa);
    wide_set(&s, 1);
    if (exponent > 0) wide_shift(&r, exponent);
    if (exponent < 0) wide_shift(&s, -exponent);
    int k = guess_point(mantissa, exponent);
    if (k >= 0) wide_power(&s, k);
    if (k < 0) wide_power(&r, -k);
    while (wide_compare(&r, &s) >= 0) {
        wide_multiply(&s, 10);
        k++;
    }
    int wanted = significant ? count : k + count;
    if (wanted > DIGITS_ROOM - 2) unsupported("so many digits of a float");
    *point = k;
    if (wanted < 0) return 0;
    for (; made < wanted; made++) {
        wide_multiply(&r, 10);
        digits[made] = (char)('0' + wide_digit(&r, &s));
    }
    int half = wide_compare_sum(&r, &r, &s);
    if (half > 0 || (half == 0 && made > 0 && digits[made - 1] & 1)) {
        int at = made;
        while (at > 0 && digits[at - 1] == '9')
            digits[--at] = '0';
        if (at > 0) {
            digits[at - 1]++;
        } else { /* 9.99 is 10.0: a digit more in front */
            for (int i = made; i > 0; i--)
                digits[i] = digits[i - 1];
            digits[0] = '1';
            ++*point;
            if (!significant) made++;
            if (made == 0) made = 1;
        }
    }
    return made;
}

static void add_exponent(struct text *out, int exponent) {
    char two[3] = {(char)('0' + abs(exponent) / 10 % 10), (char)('0' + abs(exponent) % 10), 0};
    text_add_c(out, exponent < 0 ? "e-" : "e+");
    if (abs(exponent) >= 100) text_add_char(out, (uint32_t)('0' + abs(exponent) / 100));
    text_add_c(out, two);
}

V float_repr(double d) {
    static char digits[DIGITS_ROOM];
    struct text out = {0};
    int point, count;
    if (d != d) return str_c("nan");
    if (signbit(d)) text_add_c(&out, "-");
    d = fabs(d);
    if (isinf(d)) {
        text_add_c(&out, "inf");
        return text_take(&out);
    }
    if (d == 0) {
        text_add_c(&out, "0.0");
        return text_take(&out);
    }
    count = float_shortest(d, digits, &point);
    if (point <= -4 || point > 16) {
        text_add(&out, digits, 1);
        if (count > 1) text_add_c(&out, ".");
        text_add(&out, digits + 1, (size_t)(count - 1));
        add_exponent(&out, point - 1);
    } else if (point <= 0) {
        text_add_c(&out, "0.");
        for (int i = point; i < 0; i++)
            text_add_c(&out, "0");
        text_add(&out, digits, (size_t)count);
    } else {
        for (int i = 0; i < point; i++)
            text_add(&out, i < count ? digits + i : "0", 1);
        text_add_c(&out, ".");
        if (count <= point) text_add_c(&out, "0");
        if (count > point) text_add(&out, digits + point, (size_t)(count - point));
    }
    return text_take(&out);
}

static bool is_word(const char *at, const char *end, const char *word) {
    while (*word != 0 && at < end && (*at | 32) == *word)
        at++, word++;
    return *word == 0 && at == end;
}

bool float_parse(const char *text, size_t bytes, double *out) {
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                    1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    const char *at = text, *end = text + bytes;
    while (at < end && is_space((unsigned char)*at))
        at++;
    while (end > at && is_space((unsigned char)end[-1]))
        end--;
    bool negative = at < end && *at == '-', any = false, sticky = false;
    if (at < end && (*at == '+' || *at == '-')) at++;
    if (is_word(at, end, "inf") || is_word(at, end, "infinity") || is_word(at, end, "nan")) {
        double d = (*at | 32) == 'n' ? (double)NAN : (double)INFINITY;
        *out = negative ? -d : d;
        return true;
    }
    uint64_t part = 0, scale = 1;
    I value = 0;
    int digits = 0, exponent = 0;
    bool point = false;
    for (; at < end; at++) {
        if (*at == '.' && !point) {
            point = true;
            continue;
        }
        if (*at == '_' && any && at + 1 < end && at[1] >= '0' && at[1] <= '9' && at[-1] != '.')
            continue;
        if (*at < '0' || *at > '9') break;
        any = true;
        if (digits >= 800) { /* more cannot change more than which side of a half it is */
            sticky |= *at != '0';
            exponent += !point;
            continue;
        }
        if (part > 0 || *at != '0' || value != 0) digits++;
        part = part * 10 + (uint64_t)(*at - '0');
        scale *= 10;
        exponent -= point;
        if (scale >= 1000000000000000000) {
            value =
                rt_int_add(rt_int_mul(value, of_int64((int64_t)scale)), of_int64((int64_t)part));
            part = 0;
            scale = 1;
        }
    }
    if (!any) return false;
    if (at < end && (*at | 32) == 'e') {
        int sign = 1, e = 0;
        at++;
        if (at < end && (*at == '+' || *at == '-')) sign = *at++ == '-' ? -1 : 1;
        if (at == end) return false;
        for (; at < end && *at >= '0' && *at <= '9'; at++)
            e = e < 100000 ? e * 10 + (*at - '0') : e;
        exponent += sign * e;
    }
    if (at != end) return false;
    double d;
    if (value == 0 && part < (uint64_t)1 << 53 && exponent >= -22 && exponent <= 22) {
        d = exponent < 0 ? (double)part / powers[-exponent] : (double)part * powers[exponent];
    } else {
        value = rt_int_add(rt_int_mul(value, of_int64((int64_t)scale)), of_int64((int64_t)part));
        if (sticky) {
            value = rt_int_add(rt_int_mul(value, 20), 2);
            exponent--;
        }
        if (value == 0 || digits + exponent < -400) {
            d = 0;
        } else if (digits + exponent > 400) {
            d = (double)INFINITY;
        } else if (exponent >= 0) {
            d = int_true_divide(rt_int_mul(value, int_power(20, (uint64_t)exponent)), 2);
        } else {
            d = int_true_divide(value, int_power(20, (uint64_t)-exponent));
        }
    }
    *out = negative ? -d : d;
    return true;
}

/* Floats have a quotient and a rest as integers do: floats of CPython (floatobject.c) round down,
 * too. */
static double divide(double a, double b, double *rest) {
    double mod = fmod(a, b), quotient = (a - mod) / b;
    if (mod != 0) {
        if ((b < 0) != (mod < 0)) {
            mod += b;
            quotient -= 1;
        }
    } else {
        mod = copysign(0, b);
    }
    *rest = mod;
    if (quotient == 0) return copysign(0, a / b);
    double whole = floor(quotient);
    return quotient - whole > 0.5 ? whole + 1 : whole;
}

EXPORT(rt_float_mod) double rt_float_mod(double a, double b) {
    double rest = 0;
    if (b == 0) {
        raise(ZERO_DIVISION_ERROR, "float modulo");
    } else {
        (void)divide(a, b, &rest);
    }
    return rest;
}

EXPORT(rt_float_floordiv) double rt_float_floordiv(double a, double b) {
    double rest;
    if (b != 0) return divide(a, b, &rest);
    raise(ZERO_DIVISION_ERROR, "float floor division by zero");
    return 0;
}

EXPORT(rt_float_div) double rt_float_div(double a, double b) {
    if (b == 0) raise(ZERO_DIVISION_ERROR, "float division by zero");
    return a / b;
}

EXPORT(rt_float_pow) double rt_float_pow(double a, double b) {
    if (a == 0 && b < 0 && !isinf(b)) {
        raise(ZERO_DIVISION_ERROR, "0.0 cannot be raised to a negative power");
        return 0;
    }
    if (a < 0 && !isinf(a) && floor(b) != b && b == b) unsupported("complex numbers");
    double result = pow(a, b);
    if (isinf(result) && !isinf(a) && !isinf(b))
        raise(OVERFLOW_ERROR, "(34, 'Numerical result out of range')");
    return result;
}

uint32_t hash_float(double d) {
    if (d == trunc(d) && fabs(d) < 1e300) return hash_int(int_of_float(d));
    uint64_t bits = of_float(d) * 0x9E3779B97F4A7C15;
    return (uint32_t)(bits >> 32);
}

/* As round(d, digits): through decimals, as CPython does. */
double float_round(double d, int digits) {
    static char text[DIGITS_ROOM + 32];
    int point;
    if (d - d != 0 || d == 0 || digits > 323) return d;
    if (digits < -308) return copysign(0, d);
    int count = float_digits(fabs(d), digits, false, text, &point);
    if (count == 0) return copysign(0, d);
    double out = 0;
    int exponent = point - count, at = count, e = abs(exponent);
    text[at++] = 'e';
    text[at++] = exponent < 0 ? '-' : '+';
    text[at++] = (char)('0' + e / 100);
    text[at++] = (char)('0' + e / 10 % 10);
    text[at++] = (char)('0' + e % 10);
    (void)float_parse(text, (size_t)at, &out);
    if (isinf(out)) raise(OVERFLOW_ERROR, "rounded value too large to represent");
    return copysign(out, d);
}

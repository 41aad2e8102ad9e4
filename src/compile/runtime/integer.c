/* Integers of any size. What fits in 63 bits is calculated with at once; digits are 32 bits wide.
 */
#include "rt.h"

#include <math.h>

enum { MAX_TEXT_DIGITS = 4300 }; /* as CPython allows */

/* An operand, however it is held. */
struct number {
    bool negative;
    uint32_t count;
    const uint32_t *digit;
    uint32_t own[2];
};

static bool is_small(I i) {
    return (i & 1) == 0;
}

static struct big *big_of(I i) {
    return (struct big *)(uintptr_t)((uint64_t)i >> 1);
}

static void open(struct number *n, I i) {
    if (!is_small(i)) {
        const struct big *big = big_of(i);
        *n = (struct number){
            .negative = big->head.flag, .count = big->head.size, .digit = big->digit};
        return;
    }
    int64_t value = i >> 1;
    uint64_t size = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    n->negative = value < 0;
    n->own[0] = (uint32_t)size;
    n->own[1] = (uint32_t)(size >> 32);
    n->count = size == 0 ? 0 : size >> 32 == 0 ? 1 : 2;
    n->digit = n->own;
}

static struct big *new_big(uint32_t count) {
    struct big *big = allocate(BIG, sizeof *big + count * sizeof *big->digit);
    big->head.size = count;
    return big;
}

/* Leading zeros away; small if it can be. */
static I close(struct big *big) {
    while (big->head.size > 0 && big->digit[big->head.size - 1] == 0)
        big->head.size--;
    uint32_t count = big->head.size;
    if (count <= 2) {
        uint64_t size = count > 0 ? big->digit[0] : 0;
        if (count > 1) size |= (uint64_t)big->digit[1] << 32;
        if (size < (uint64_t)1 << 62) {
            return (big->head.flag ? -(int64_t)size : (int64_t)size) * 2;
        }
        if (size == (uint64_t)1 << 62 && big->head.flag) return INT64_MIN;
    }
    return (I)((uint64_t)(uintptr_t)big << 1 | 1);
}

I of_int64(int64_t n) {
    if (n >= -((int64_t)1 << 62) && n < (int64_t)1 << 62) return n * 2;
    struct big *big = new_big(2);
    uint64_t size = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
    big->head.flag = n < 0;
    big->digit[0] = (uint32_t)size;
    big->digit[1] = (uint32_t)(size >> 32);
    return close(big);
}

EXPORT(rt_box_int) V box_int(I i) {
    if (is_small(i)) {
        int64_t value = i >> 1;
        if (value >= -((int64_t)1 << 47) && value < (int64_t)1 << 47) return BOX(TAG_INT, value);
        struct number n;
        open(&n, i);
        struct big *big = new_big(n.count);
        big->head.flag = n.negative;
        __builtin_memcpy(big->digit, n.own, n.count * sizeof(uint32_t));
        return of(big);
    }
    return of(big_of(i));
}

V box_int64(int64_t n) {
    return box_int(of_int64(n));
}

bool is_int(V v) {
    return tag(v) == TAG_INT || v == TRUE || v == FALSE || is_a(v, BIG);
}

EXPORT(rt_unbox_int) I int_of(V v) {
    if (tag(v) == TAG_INT) return small(v) * 2;
    if (v == TRUE || v == FALSE) return v == TRUE ? 2 : 0;
    return close((struct big *)object(v));
}

bool int64_of(I i, int64_t *out) {
    if (is_small(i)) {
        *out = i >> 1;
        return true;
    }
    const struct big *big = big_of(i);
    if (big->head.size > 2) return false;
    uint64_t size = big->digit[0] | (uint64_t)big->digit[1] << 32;
    if (size > (uint64_t)INT64_MAX + big->head.flag) return false;
    *out = big->head.flag ? (int64_t)(0 - size) : (int64_t)size;
    return true;
}

int sign_of_int(I i) {
    if (is_small(i)) return (i > 0) - (i < 0);
    return big_of(i)->head.flag ? -1 : 1;
}

static int compare_sizes(const struct number *a, const struct number *b) {
    if (a->count != b->count) return a->count < b->count ? -1 : 1;
    for (uint32_t i = a->count; i-- > 0;) {
        if (a->digit[i] != b->digit[i]) return a->digit[i] < b->digit[i] ? -1 : 1;
    }
    return 0;
}

static I add_sizes(const struct number *a, const struct number *b, bool negative) {
    if (a->count < b->count) return add_sizes(b, a, negative);
    struct big *sum = new_big(a->count + 1);
    uint64_t carry = 0;
    for (uint32_t i = 0; i < a->count; i++) {
        carry += (uint64_t)a->digit[i] + (i < b->count ? b->digit[i] : 0);
        sum->digit[i] = (uint32_t)carry;
        carry >>= 32;
    }
    sum->digit[a->count] = (uint32_t)carry;
    sum->head.flag = negative;
    return close(sum);
}

static void subtract_digits(uint32_t *out, const uint32_t *a, uint32_t a_count, const uint32_t *b,
                            uint32_t b_count) { /* a >= b */
    int64_t borrow = 0;
    for (uint32_t i = 0; i < a_count; i++) {
        borrow += (int64_t)a[i] - (i < b_count ? b[i] : 0);
        out[i] = (uint32_t)borrow;
        borrow >>= 32;
    }
}

static I add_signed(const struct number *a, const struct number *b, bool b_negative) {
    if (a->negative == b_negative) return add_sizes(a, b, a->negative);
    bool swap = compare_sizes(a, b) < 0;
    const struct number *large = swap ? b : a, *less = swap ? a : b;
    struct big *rest = new_big(large->count);
    subtract_digits(rest->digit, large->digit, large->count, less->digit, less->count);
    rest->head.flag = swap ? b_negative : a->negative;
    return close(rest);
}

EXPORT(rt_int_add) I rt_int_add(I a, I b) {
    struct number x, y;
    if (is_small(a) && is_small(b)) return of_int64((a >> 1) + (b >> 1));
    open(&x, a), open(&y, b);
    return add_signed(&x, &y, y.negative);
}

EXPORT(rt_int_sub) I rt_int_sub(I a, I b) {
    struct number x, y;
    if (is_small(a) && is_small(b)) return of_int64((a >> 1) - (b >> 1));
    open(&x, a), open(&y, b);
    return add_signed(&x, &y, !y.negative);
}

EXPORT(rt_int_neg) I rt_int_neg(I a) {
    return rt_int_sub(0, a);
}

static void multiply_digits(uint32_t *out, const uint32_t *a, uint32_t a_count, const uint32_t *b,
                            uint32_t b_count) {
    for (uint32_t i = 0; i < a_count; i++) {
        uint64_t carry = 0;
        for (uint32_t k = 0; k < b_count; k++) {
            carry += (uint64_t)a[i] * b[k] + out[i + k];
            out[i + k] = (uint32_t)carry;
            carry >>= 32;
        }
        out[i + b_count] = (uint32_t)carry;
    }
}

EXPORT(rt_int_mul) I rt_int_mul(I a, I b) {
    struct number x, y;
    int64_t product;
    if (is_small(a) && is_small(b) && !__builtin_mul_overflow(a >> 1, b >> 1, &product)) {
        return of_int64(product);
    }
    open(&x, a), open(&y, b);
    struct big *big = new_big(x.count + y.count);
    multiply_digits(big->digit, x.digit, x.count, y.digit, y.count);
    big->head.flag = x.negative != y.negative;
    return close(big);
}

static uint32_t divide_by_digit(uint32_t *digit, uint32_t count, uint32_t divisor) {
    uint64_t rest = 0;
    for (uint32_t i = count; i-- > 0;) {
        rest = rest << 32 | digit[i];
        digit[i] = (uint32_t)(rest / divisor);
        rest %= divisor;
    }
    return (uint32_t)rest;
}

/* Knuth, The Art of Computer Programming 2, 4.3.1, algorithm D. `rest` holds the dividend, with a
 * digit more, and then the remainder. */
static void divide_digits(uint32_t *rest, uint32_t count, const uint32_t *divisor,
                          uint32_t divisor_count, uint32_t *quotient) {
    uint32_t shift = (uint32_t)__builtin_clz(divisor[divisor_count - 1]);
    struct big *scaled = new_big(divisor_count);
    uint32_t *d = scaled->digit;
    for (uint32_t i = divisor_count; i-- > 0;) {
        d[i] = divisor[i] << shift;
        if (shift > 0 && i > 0) d[i] |= divisor[i - 1] >> (32 - shift);
    }
    rest[count] = shift > 0 ? rest[count - 1] >> (32 - shift) : 0;
    for (uint32_t i = count; i-- > 0;) {
        rest[i] <<= shift;
        if (shift > 0 && i > 0) rest[i] |= rest[i - 1] >> (32 - shift);
    }
    for (uint32_t j = count - divisor_count + 1; j-- > 0;) {
        uint64_t top = (uint64_t)rest[j + divisor_count] << 32 | rest[j + divisor_count - 1];
        uint64_t guess = top / d[divisor_count - 1], left = top % d[divisor_count - 1];
        while (guess >> 32 != 0 ||
               guess * d[divisor_count - 2] > (left << 32 | rest[j + divisor_count - 2])) {
            guess--;
            left += d[divisor_count - 1];
            if (left >> 32 != 0) break;
        }
        int64_t borrow = 0;
        uint64_t carry = 0;
        for (uint32_t i = 0; i < divisor_count; i++) {
            carry += guess * d[i];
            borrow += (int64_t)rest[i + j] - (uint32_t)carry;
            rest[i + j] = (uint32_t)borrow;
            borrow >>= 32;
            carry >>= 32;
        }
        borrow += (int64_t)rest[j + divisor_count] - (int64_t)carry;
        rest[j + divisor_count] = (uint32_t)borrow;
        if (borrow < 0) { /* one too many: back */
            guess--;
            carry = 0;
            for (uint32_t i = 0; i < divisor_count; i++) {
                carry += (uint64_t)rest[i + j] + d[i];
                rest[i + j] = (uint32_t)carry;
                carry >>= 32;
            }
            rest[j + divisor_count] += (uint32_t)carry;
        }
        quotient[j] = (uint32_t)guess;
    }
    for (uint32_t i = 0; i < divisor_count; i++) {
        rest[i] >>= shift;
        if (shift > 0) rest[i] |= rest[i + 1] << (32 - shift);
    }
}

/* Towards zero; the rest has the sign of a. */
static void divide(const struct number *a, const struct number *b, I *quotient, I *rest) {
    if (compare_sizes(a, b) < 0) {
        struct big *same = new_big(a->count);
        __builtin_memcpy(same->digit, a->digit, a->count * sizeof(uint32_t));
        same->head.flag = a->negative;
        *quotient = 0;
        *rest = close(same);
        return;
    }
    struct big *r = new_big(a->count + 1), *q = new_big(a->count - b->count + 1);
    __builtin_memcpy(r->digit, a->digit, a->count * sizeof(uint32_t));
    if (b->count == 1) {
        r->digit[0] = divide_by_digit(r->digit, a->count, b->digit[0]);
        /* The quotient is where the dividend was, but for its lowest digit. */
        struct big *again = new_big(a->count);
        __builtin_memcpy(again->digit, a->digit, a->count * sizeof(uint32_t));
        (void)divide_by_digit(again->digit, a->count, b->digit[0]);
        q = again;
        r->head.size = 1;
    } else {
        divide_digits(r->digit, a->count, b->digit, b->count, q->digit);
        r->head.size = b->count;
    }
    q->head.flag = a->negative != b->negative;
    r->head.flag = a->negative;
    *quotient = close(q);
    *rest = close(r);
}

static bool floor_divide(I a, I b, I *quotient, I *rest) {
    struct number x, y;
    if (b == 0) return false;
    if (is_small(a) && is_small(b)) {
        int64_t m = a >> 1, n = b >> 1, q = m / n, r = m % n;
        if (r != 0 && (r < 0) != (n < 0)) {
            q--;
            r += n;
        }
        *quotient = of_int64(q);
        *rest = r * 2;
        return true;
    }
    open(&x, a), open(&y, b);
    divide(&x, &y, quotient, rest);
    if (*rest != 0 && x.negative != y.negative) {
        *quotient = rt_int_sub(*quotient, 2);
        *rest = rt_int_add(*rest, b);
    }
    return true;
}

EXPORT(rt_int_floordiv) I rt_int_floordiv(I a, I b) {
    I quotient = 0, rest;
    if (!floor_divide(a, b, &quotient, &rest))
        (void)raise(ZERO_DIVISION_ERROR, "integer division or modulo by zero");
    return quotient;
}

EXPORT(rt_int_mod) I rt_int_mod(I a, I b) {
    I quotient, rest = 0;
    if (!floor_divide(a, b, &quotient, &rest))
        (void)raise(ZERO_DIVISION_ERROR, "integer modulo by zero");
    return rest;
}

I int_power(I a, uint64_t exponent) {
    I result = 2;
    for (;;) {
        if (exponent & 1) result = rt_int_mul(result, a);
        exponent >>= 1;
        if (exponent == 0) return result;
        a = rt_int_mul(a, a);
    }
}

EXPORT(rt_int_pow) V rt_int_pow(I a, I b) {
    int64_t exponent;
    if (sign_of_int(b) < 0) {
        if (a == 0) return raise(ZERO_DIVISION_ERROR, "0.0 cannot be raised to a negative power");
        double x = float_of_int(a), y = float_of_int(b);
        return failed() ? 0 : of_float(rt_float_pow(x, y));
    }
    if (a == 0 || a == 2) return box_int(b == 0 ? 2 : a);
    if (a == -2) return box_int(rt_int_mod(b, 4) == 0 ? 2 : -2);
    if (!int64_of(b, &exponent) || exponent > 1 << 27) {
        return raise(MEMORY_ERROR, "");
    }
    return box_int(int_power(a, (uint64_t)exponent));
}

EXPORT(rt_int_compare) int32_t rt_int_compare(I a, I b) {
    struct number x, y;
    if (is_small(a) && is_small(b)) return (a > b) - (a < b);
    open(&x, a), open(&y, b);
    if (x.negative != y.negative) return x.negative ? -1 : 1;
    int sizes = compare_sizes(&x, &y);
    return x.negative ? -sizes : sizes;
}

I int_shift_left(I a, uint64_t bits) {
    struct number n;
    open(&n, a);
    if (n.count == 0) return 0;
    if (bits > (uint64_t)1 << 31) return raise(MEMORY_ERROR, "");
    uint32_t whole = (uint32_t)(bits / 32), part = (uint32_t)(bits % 32);
    struct big *big = new_big(n.count + whole + 1);
    for (uint32_t i = 0; i < n.count; i++) {
        uint64_t moved = (uint64_t)n.digit[i] << part;
        big->digit[i + whole] |= (uint32_t)moved;
        big->digit[i + whole + 1] = (uint32_t)(moved >> 32);
    }
    big->head.flag = n.negative;
    return close(big);
}

I int_shift_right(I a, uint64_t bits) { /* rounds down */
    struct number n;
    if (is_small(a)) return bits > 62 ? (a < 0 ? -2 : 0) : (a >> 1 >> bits) * 2;
    open(&n, a);
    if (bits / 32 >= n.count) return n.negative ? -2 : 0;
    uint32_t whole = (uint32_t)(bits / 32), part = (uint32_t)(bits % 32);
    struct big *big = new_big(n.count - whole);
    bool lost = false;
    for (uint32_t i = 0; i < whole; i++)
        lost |= n.digit[i] != 0;
    lost |= part > 0 && n.digit[whole] << (32 - part) != 0;
    for (uint32_t i = whole; i < n.count; i++) {
        uint64_t two = n.digit[i] | (uint64_t)(i + 1 < n.count ? n.digit[i + 1] : 0) << 32;
        big->digit[i - whole] = (uint32_t)(two >> part);
    }
    big->head.flag = n.negative;
    I result = close(big);
    return n.negative && lost ? rt_int_sub(result, 2) : result;
}

int int_bit_length(I a) {
    struct number n;
    open(&n, a);
    return n.count == 0 ? 0 : (int)(n.count * 32) - __builtin_clz(n.digit[n.count - 1]);
}

/* Digit i of it in two's complement. */
static uint32_t complement_digit(const struct number *n, uint32_t i, bool *carry) {
    uint32_t digit = i < n->count ? n->digit[i] : 0;
    if (!n->negative) return digit;
    digit = ~digit + *carry;
    *carry = *carry && digit == 0;
    return digit;
}

enum bit_operation { AND, OR, XOR };
EXPORT(rt_int_bits) I rt_int_bits(I a, I b, int32_t operation) {
    struct number x, y;
    if (is_small(a) && is_small(b))
        return operation == AND ? (a & b) : operation == OR ? (a | b) : (a ^ b);
    open(&x, a), open(&y, b);
    uint32_t count = (x.count > y.count ? x.count : y.count) + 1;
    struct big *big = new_big(count);
    bool x_carry = true, y_carry = true;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t m = complement_digit(&x, i, &x_carry), n = complement_digit(&y, i, &y_carry);
        big->digit[i] = operation == AND ? (m & n) : operation == OR ? (m | n) : (m ^ n);
    }
    if (big->digit[count - 1] >> 31 != 0) { /* negative: back from the complement */
        bool carry = true;
        for (uint32_t i = 0; i < count; i++) {
            big->digit[i] = ~big->digit[i] + carry;
            carry = carry && big->digit[i] == 0;
        }
        big->head.flag = 1;
    }
    return close(big);
}

static bool shift_count(I b, uint64_t *out) {
    int64_t bits;
    if (sign_of_int(b) < 0) {
        raise(VALUE_ERROR, "negative shift count");
        return false;
    }
    *out = int64_of(b, &bits) ? (uint64_t)bits : UINT64_MAX;
    return true;
}

EXPORT(rt_int_lshift) I rt_int_lshift(I a, I b) {
    uint64_t bits;
    return shift_count(b, &bits) ? int_shift_left(a, bits) : 0;
}

EXPORT(rt_int_rshift) I rt_int_rshift(I a, I b) {
    uint64_t bits;
    return shift_count(b, &bits) ? int_shift_right(a, bits) : 0;
}

/* The top 64 bits, the lowest of them set if any below is: enough to round by. */
static uint64_t top_bits(const struct number *n, int *exponent) {
    int bits = (int)(n->count * 32) - __builtin_clz(n->digit[n->count - 1]), drop = bits - 64;
    uint64_t top = 0;
    for (int i = 0; i < 64; i++) {
        int at = drop + i;
        if (at >= 0 && n->digit[at / 32] >> (at % 32) & 1) top |= (uint64_t)1 << i;
    }
    for (int at = 0; at < drop; at++) {
        if (n->digit[at / 32] >> (at % 32) & 1) {
            top |= 1;
            break;
        }
    }
    *exponent = drop;
    return top;
}

/* top * 2^exponent, the lowest bit being sticky, rounded to even. */
static double round_top(uint64_t top, int exponent) {
    int drop = 11;
    int low = exponent + 11;
    if (low < -1074) drop += -1074 - low; /* it will be subnormal */
    if (drop >= 64) drop = 64;
    uint64_t kept = drop == 64 ? 0 : top >> drop;
    uint64_t half = (uint64_t)1 << (drop - 1), rest = drop == 64 ? top : top & ((half << 1) - 1);
    if (rest > half || (rest == half && kept & 1)) kept++;
    int scale = exponent + drop;
    double d = (double)kept;
    while (scale > 900) {
        d *= 0x1p900;
        scale -= 900;
    }
    while (scale < -900) {
        d *= 0x1p-900;
        scale += 900;
    }
    union {
        uint64_t u;
        double d;
    } power = {(uint64_t)(scale + 1023) << 52};
    return d * power.d;
}

double float_of_int(I i) {
    struct number n;
    if (is_small(i)) return (double)(i >> 1);
    open(&n, i);
    int exponent;
    uint64_t top = top_bits(&n, &exponent);
    if (exponent > 1024 - 64) {
        raise(OVERFLOW_ERROR, "int too large to convert to float");
        return 0;
    }
    double d = round_top(top, exponent);
    if (d > 1.7976931348623157e308) {
        raise(OVERFLOW_ERROR, "int too large to convert to float");
        return 0;
    }
    return n.negative ? -d : d;
}

EXPORT(rt_int_to_float) double rt_int_to_float(I i) {
    return float_of_int(i);
}

/* Correctly rounded, infinite if too large: as many bits as are needed, and whether there are more.
 */
double int_true_divide(I a, I b) {
    const int64_t exact = (int64_t)1 << 53;
    if (is_small(a) && is_small(b) && a >> 1 <= exact && a >> 1 >= -exact && b >> 1 <= exact &&
        b >> 1 >= -exact) {
        return (double)(a >> 1) / (double)(b >> 1);
    }
    bool negative = (sign_of_int(a) < 0) != (sign_of_int(b) < 0);
    if (sign_of_int(a) < 0) a = rt_int_neg(a);
    if (sign_of_int(b) < 0) b = rt_int_neg(b);
    if (a == 0) return 0;
    int shift = int_bit_length(b) - int_bit_length(a) + 66;
    if (shift > 0) a = int_shift_left(a, (uint64_t)shift);
    if (shift < 0) b = int_shift_left(b, (uint64_t)-shift);
    I quotient, rest;
    (void)floor_divide(a, b, &quotient, &rest);
    struct number n;
    open(&n, quotient);
    int exponent;
    uint64_t top = top_bits(&n, &exponent);
    if (rest != 0) top |= 1;
    exponent -= shift;
    double d = exponent > 1024 - 64    ? __builtin_inf()
               : exponent < -1074 - 64 ? 0
                                       : round_top(top, exponent);
    return negative ? -d : d;
}

EXPORT(rt_int_truediv) double rt_int_truediv(I a, I b) {
    if (b == 0) {
        raise(ZERO_DIVISION_ERROR, "division by zero");
        return 0;
    }
    double d = int_true_divide(a, b);
    if (d - d != 0) raise(OVERFLOW_ERROR, "integer division result too large for a float");
    return d;
}

EXPORT(rt_int_of_float) I int_of_float(double d) {
    if (d != d) return raise(VALUE_ERROR, "cannot convert float NaN to integer");
    if (d - d != 0) return raise(OVERFLOW_ERROR, "cannot convert float infinity to integer");
    if (fabs(d) < 4611686018427387904.0) return (int64_t)d * 2;
    union {
        double d;
        uint64_t u;
    } bits = {d};
    int exponent = (int)(bits.u >> 52 & 2047) - 1075;
    I mantissa = of_int64((int64_t)((bits.u & (((uint64_t)1 << 52) - 1)) | (uint64_t)1 << 52));
    mantissa = int_shift_left(mantissa, (uint64_t)exponent);
    return d < 0 ? rt_int_neg(mantissa) : mantissa;
}

int compare_int_float(I i, double d) {
    if (d - d != 0) return d > 0 ? -1 : 1;
    double whole = __builtin_trunc(d);
    int order = rt_int_compare(i, int_of_float(whole));
    if (order != 0) return order;
    return d > whole ? -1 : d < whole ? 1 : 0;
}

/* Modulo 2^61 - 1, as CPython's: equal numbers of any type have it in common. */
uint32_t hash_int(I i) {
    const uint64_t prime = ((uint64_t)1 << 61) - 1;
    struct number n;
    open(&n, i);
    uint64_t h = 0;
    for (uint32_t k = n.count; k-- > 0;) {
        h = (h << 32 & prime) | h >> 29;
        h += n.digit[k];
        if (h >= prime) h -= prime;
    }
    if (n.negative) h = 0 - h;
    return (uint32_t)(h ^ h >> 32);
}

V int_text(I i, int base, bool upper) {
    struct number n;
    open(&n, i);
    uint32_t bits = (uint32_t)int_bit_length(i),
             most = base == 10 ? bits * 31 / 100 + 12 : bits + 2;
    if (base == 10 && bits > (uint32_t)MAX_TEXT_DIGITS * 10 / 3 + 2 &&
        bits * 30103.0 / 100000 > MAX_TEXT_DIGITS) {
        return raise(VALUE_ERROR, "Exceeds the limit (4300 digits) for integer string conversion; "
                                  "use sys.set_int_max_str_digits() to increase the limit");
    }
    char *text = allocate_buffer(most);
    uint32_t *rest = allocate_buffer((n.count + 1) * sizeof *rest);
    __builtin_memcpy(rest, n.digit, n.count * sizeof *rest);
    uint32_t count = n.count, at = most, chunk = base == 10 ? 1000000000 : (uint32_t)base;
    do {
        uint32_t part = divide_by_digit(rest, count, chunk);
        while (count > 0 && rest[count - 1] == 0)
            count--;
        int written = 0; /* of nine that a part of ten's powers has, or of one */
        do {
            uint32_t digit = part % (uint32_t)base;
            part /= (uint32_t)base;
            text[--at] = (char)(digit < 10 ? '0' + digit : (upper ? 'A' : 'a') + digit - 10);
            written++;
        } while (base == 10 && written < 9 && (count > 0 || part > 0));
    } while (count > 0);
    if (n.negative) text[--at] = '-';
    V out = str_new(text + at, most - at);
    release_buffer(text);
    release_buffer(rest);
    if (base == 10 && str(out)->head.size - n.negative > MAX_TEXT_DIGITS) {
        return raise(VALUE_ERROR, "Exceeds the limit (4300 digits) for integer string conversion; "
                                  "use sys.set_int_max_str_digits() to increase the limit");
    }
    return out;
}

static int digit_of(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'z') return c - 'a' + 10;
    if (c >= 'A' && c <= 'Z') return c - 'A' + 10;
    return 99;
}

/* As int(text, base) reads it: spaces around, a sign, a prefix, underscores between digits. */
I int_parse(const char *text, size_t bytes, int base, V source) {
    const char *at = text, *end = text + bytes;
    char base_text[4] = {0};
    bool negative = false, digit_before = false, any = false;
    while (at < end && is_space((unsigned char)*at))
        at++;
    while (end > at && is_space((unsigned char)end[-1]))
        end--;
    if (at < end && (*at == '+' || *at == '-')) negative = *at++ == '-';
    if (end - at > 2 && at[0] == '0') {
        char kind = (char)(at[1] | 32);
        int named = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 0;
        if (named != 0 && (base == named || base == 0)) {
            base = named;
            at += 2;
            if (*at == '_') at++;
        }
    }
    if (base == 0) base = 10;
    I value = 0;
    uint64_t part = 0, scale = 1;
    for (; at < end; at++) {
        if (*at == '_' && digit_before) {
            digit_before = false;
            continue;
        }
        int digit = digit_of(*at);
        if (digit >= base) break;
        part = part * (uint64_t)base + (uint64_t)digit;
        scale *= (uint64_t)base;
        digit_before = any = true;
        if (scale > (uint64_t)1 << 55) {
            value = rt_int_add(rt_int_mul(value, (I)(scale * 2)), (I)(part * 2));
            part = 0;
            scale = 1;
        }
    }
    if (at < end || !any || !digit_before) {
        base_text[0] = (char)(base >= 10 ? '0' + base / 10 : '0' + base);
        if (base >= 10) base_text[1] = (char)('0' + base % 10);
        V shown = rt_repr(source);
        struct text out = {0};
        text_add_c(&out, "invalid literal for int() with base ");
        text_add_c(&out, base_text);
        text_add_c(&out, ": ");
        text_add_str(&out, shown);
        raise_value(VALUE_ERROR, text_take(&out));
        return 0;
    }
    value = rt_int_add(rt_int_mul(value, (I)(scale * 2)), (I)(part * 2));
    return negative ? rt_int_neg(value) : value;
}

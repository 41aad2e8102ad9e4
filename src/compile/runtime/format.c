/* Format specifications, [[fill]align][sign][z][#][0][width][grouping][.precision][type], and the
 * older ones of `text % values`. */
#include "rt.h"

#include <math.h>

struct spec {
    uint32_t fill;
    char align, sign, group, type; /* 0: not given */
    bool alternate, zero;
    int64_t width, precision; /* -1: not given */
};

static bool read_count(const char **at, const char *end, int64_t *out) {
    if (*at == end || **at < '0' || **at > '9') return false;
    for (*out = 0; *at < end && **at >= '0' && **at <= '9'; ++*at)
        *out = *out < 1000000 ? *out * 10 + (**at - '0') : *out;
    return true;
}

static bool is_align(char c) {
    return c == '<' || c == '>' || c == '=' || c == '^';
}

/* False, and an error is raised. */
static bool read_spec(V text, V v, struct spec *spec) {
    const char *at = str(text)->byte, *end = at + str(text)->head.size, *next = at;
    *spec = (struct spec){.fill = ' ', .width = -1, .precision = -1};
    uint32_t first = at < end ? utf8_next(&next) : 0;
    if (next < end && is_align(*next)) {
        spec->fill = first;
        spec->align = *next;
        at = next + 1;
    } else if (at < end && is_align(*at)) {
        spec->align = *at++;
    }
    if (at < end && (*at == '+' || *at == '-' || *at == ' ')) spec->sign = *at++;
    if (at < end && *at == 'z') unsupported("the z of a format specification");
    if (at < end && *at == '#') {
        spec->alternate = true;
        at++;
    }
    if (at < end && *at == '0') {
        spec->zero = true;
        if (spec->align == 0) {
            spec->fill = '0';
            spec->align = is_a(v, STR) ? '<' : '=';
        }
        at++;
    }
    (void)read_count(&at, end, &spec->width);
    if (at < end && (*at == ',' || *at == '_')) spec->group = *at++;
    if (at < end && *at == '.') {
        at++;
        if (!read_count(&at, end, &spec->precision)) {
            raise(VALUE_ERROR, "Format specifier missing precision");
            return false;
        }
    }
    if (at < end) spec->type = *at++;
    if (at != end) {
        raisef(VALUE_ERROR, "Invalid format specifier '%s' for object of type '%s'",
               str(text)->byte, type_name(v));
        return false;
    }
    if (spec->width > 1000000) unsupported("so wide a field");
    return true;
}

/* Sign and prefix, digits, and what follows them, in a field. */
static V lay_out(const struct spec *spec, V head, V digits, V tail, char standard) {
    struct text out = {0};
    int64_t size = (int64_t)str(head)->chars + str(digits)->chars + str(tail)->chars;
    int64_t left = spec->width - size;
    char align = spec->align != 0 ? spec->align : standard;
    int64_t before = align == '<' || left <= 0 ? 0 : align == '^' ? left / 2 : left;
    if (align == '=') text_add_str(&out, head);
    for (int64_t i = 0; i < before; i++)
        text_add_char(&out, spec->fill);
    if (align != '=') text_add_str(&out, head);
    text_add_str(&out, digits);
    text_add_str(&out, tail);
    for (int64_t i = before; i < left; i++)
        text_add_char(&out, spec->fill);
    return text_take(&out);
}

/* Groups digits; with zeros for fill, these are grouped, too, up to the width. */
static V group_digits(const struct spec *spec, V digits, int every, int64_t others) {
    char reversed[DIGITS_ROOM * 2];
    const struct str *d = str(digits);
    size_t at = 0;
    int64_t wanted =
        spec->zero && spec->align == '=' && spec->fill == '0' ? spec->width - others : 0;
    if (d->head.size > DIGITS_ROOM || wanted > DIGITS_ROOM) unsupported("grouping so many digits");
    for (uint32_t i = 0; i < d->head.size || (int64_t)at < wanted; i++) {
        if (i > 0 && i % (uint32_t)every == 0) reversed[at++] = spec->group;
        if (i >= d->head.size && (int64_t)at >= wanted && reversed[at - 1] == spec->group) {
            reversed[at++] = '0'; /* never begins with a separator */
            break;
        }
        reversed[at++] = i < d->head.size ? d->byte[d->head.size - 1 - i] : '0';
    }
    for (size_t i = 0; i < at / 2; i++) {
        char kept = reversed[i];
        reversed[i] = reversed[at - 1 - i];
        reversed[at - 1 - i] = kept;
    }
    return str_new(reversed, at);
}

static V sign_text(const struct spec *spec, bool negative) {
    return str_c(negative ? "-" : spec->sign == '+' ? "+" : spec->sign == ' ' ? " " : "");
}

static V format_int(I i, const struct spec *spec) {
    int base = spec->type == 'x' || spec->type == 'X' ? 16
               : spec->type == 'o'                    ? 8
               : spec->type == 'b'                    ? 2
                                                      : 10;
    bool negative = sign_of_int(i) < 0;
    if (spec->precision >= 0)
        return raise(VALUE_ERROR, "Precision not allowed in integer format specifier");
    if (spec->type == 'c') {
        char bytes[4];
        int64_t c = 0;
        if (spec->sign != 0)
            return raise(VALUE_ERROR, "Sign not allowed with integer format specifier 'c'");
        if (!int64_of(i, &c) || c < 0 || c > 0x10FFFF)
            return raise(OVERFLOW_ERROR, "%c arg not in range(0x110000)");
        return lay_out(spec, str_c(""), str_new(bytes, utf8_put(bytes, (uint32_t)c)), str_c(""),
                       '<');
    }
    if (spec->group == ',' && base != 10) {
        char type[2] = {spec->type, 0};
        return raisef(VALUE_ERROR, "Cannot specify ',' with '%s'.", type, "");
    }
    V digits = int_text(negative ? rt_int_neg(i) : i, base, spec->type == 'X');
    if (failed()) return 0;
    V head = sign_text(spec, negative);
    if (spec->alternate && base != 10) {
        char prefix[3] = {'0', spec->type, 0};
        head = str_cat(head, str_c(prefix));
    }
    if (spec->group != 0) digits = group_digits(spec, digits, base == 10 ? 3 : 4, str(head)->chars);
    return lay_out(spec, head, digits, str_c(""), '>');
}

static void add_fixed(struct text *out, const char *digits, int count, int point, int64_t behind,
                      bool alternate) {
    if (point <= 0) text_add_c(out, "0");
    for (int i = 0; i < point; i++)
        text_add(out, i < count ? digits + i : "0", 1);
    if (behind > 0 || alternate) text_add_c(out, ".");
    for (int64_t i = point; i < point + behind; i++)
        text_add(out, i >= 0 && i < count ? digits + i : "0", 1);
}

static void add_scientific(struct text *out, const char *digits, int count, int point,
                           int64_t behind, bool alternate, bool upper) {
    int exponent = count == 0 || digits[0] == '0' ? 0 : point - 1,
        size = exponent < 0 ? -exponent : exponent;
    char tail[6] = {upper ? 'E' : 'e', exponent < 0 ? '-' : '+', 0};
    int at = 2;
    text_add(out, digits, 1);
    if (behind > 0 || alternate) text_add_c(out, ".");
    for (int64_t i = 1; i <= behind; i++)
        text_add(out, i < count ? digits + i : "0", 1);
    if (size >= 100) tail[at++] = (char)('0' + size / 100);
    tail[at++] = (char)('0' + size / 10 % 10);
    tail[at++] = (char)('0' + size % 10);
    text_add(out, tail, (size_t)at);
}

/* Of a finite d >= 0. `plain`: as str(), but with a precision: at least one digit behind the point.
 */
static V float_text(double d, char type, int64_t precision, bool alternate, bool plain) {
    static char digits[DIGITS_ROOM + 2];
    struct text out = {0};
    int point, count;
    bool upper = type == 'E' || type == 'G';
    if (precision > 600) unsupported("so many digits of a float");
    if (type == 'f' || type == 'F' || type == '%') {
        count = float_digits(d, (int)precision, false, digits, &point);
        if (count == 0) point = 0;
        add_fixed(&out, digits, count, point, precision, alternate);
    } else if (type == 'e' || type == 'E') {
        count = float_digits(d, (int)precision + 1, true, digits, &point);
        add_scientific(&out, digits, count, point, precision, alternate, upper);
    } else {
        if (precision == 0) precision = 1;
        count = float_digits(d, (int)precision, true, digits, &point);
        if (count > precision) count = (int)precision;
        bool science = point - 1 < -4 || point - (plain ? 0 : 1) >= precision;
        while (!alternate && count > 1 && digits[count - 1] == '0')
            count--;
        if (science) {
            add_scientific(&out, digits, count, point, count - 1, alternate, upper);
        } else {
            int64_t behind = count > point ? count - point : 0;
            if (plain && behind == 0) behind = 1;
            add_fixed(&out, digits, count, point, behind, alternate);
        }
    }
    return text_take(&out);
}

static V format_float(double d, const struct spec *spec) {
    char type = spec->type;
    bool negative = signbit(d) && d == d;
    V tail = str_c(type == '%' ? "%" : ""), digits;
    if (type == '%') d *= 100;
    if (d - d != 0) {
        bool upper = type == 'E' || type == 'F' || type == 'G';
        digits = str_c(d != d ? (upper ? "NAN" : "nan") : (upper ? "INF" : "inf"));
    } else if (type == 0 && spec->precision < 0) {
        digits = float_repr(fabs(d));
    } else {
        digits = float_text(fabs(d), type == 0 ? 'g' : type,
                            spec->precision < 0 ? 6 : spec->precision, spec->alternate, type == 0);
    }
    V head = sign_text(spec, negative);
    if (spec->group != 0 && d - d == 0) {
        const struct str *s = str(digits);
        uint32_t whole = 0;
        while (whole < s->head.size && s->byte[whole] >= '0' && s->byte[whole] <= '9')
            whole++;
        tail = str_cat(str_slice_bytes(digits, whole, s->head.size), tail);
        digits = group_digits(spec, str_slice_bytes(digits, 0, whole), 3,
                              (int64_t)str(head)->chars + str(tail)->chars);
    }
    return lay_out(spec, head, digits, tail, '>');
}

static V format_str(V v, const struct spec *spec) {
    struct spec own = *spec;
    if (spec->sign != 0) return raise(VALUE_ERROR, "Sign not allowed in string format specifier");
    if (spec->align == '=')
        return raise(VALUE_ERROR, "'=' alignment not allowed in string format specifier");
    if (spec->group != 0) return raise(VALUE_ERROR, "Cannot specify ',' with 's'.");
    if (spec->precision >= 0 && spec->precision < str(v)->chars) {
        v = str_slice_bytes(v, 0, str_offset(str(v), (uint32_t)spec->precision));
    }
    return lay_out(&own, str_c(""), v, str_c(""), '<');
}

static V bad_code(char code, V v) {
    char text[2] = {code, 0};
    return raisef(VALUE_ERROR, "Unknown format code '%s' for object of type '%s'", text,
                  is_int(v) ? (type_of(v) == BOOL ? "bool" : "int") : type_name(v));
}

static bool among(char c, const char *set) {
    for (; *set != 0; set++) {
        if (*set == c) return true;
    }
    return false;
}

EXPORT(rt_format) V rt_format(V v, V text) {
    struct spec spec;
    if (str(text)->head.size == 0) return rt_str(v);
    if (is_a(v, STR)) {
        if (!read_spec(text, v, &spec)) return 0;
        return spec.type == 0 || spec.type == 's' ? format_str(v, &spec) : bad_code(spec.type, v);
    }
    if (is_float(v) || is_int(v)) {
        if (!read_spec(text, v, &spec)) return 0;
        if (type_of(v) == BOOL && spec.type == 0) unsupported("a bool in a field");
        if (is_float(v) || among(spec.type, "eEfFgG%")) {
            if (spec.type != 0 && !among(spec.type, "eEfFgG%")) return bad_code(spec.type, v);
            double d = is_float(v) ? as_float(v) : float_of_int(int_of(v));
            return failed() ? 0 : format_float(d, &spec);
        }
        if (spec.type == 'n') unsupported("the n of a format specification");
        if (spec.type != 0 && !among(spec.type, "bcdoxX")) return bad_code(spec.type, v);
        return format_int(int_of(v), &spec);
    }
    return raisef(TYPE_ERROR, "unsupported format string passed to %s.__format__", type_name(v),
                  "");
}

/* ---- text % values */

static V printf_number(V v, struct spec *spec) {
    if (spec->type == 'i' || spec->type == 'u') spec->type = 'd';
    bool whole = among(spec->type, "dxXo");
    char type[2] = {spec->type, 0};
    if (!is_float(v) && !is_int(v)) {
        if (!whole) return raisef(TYPE_ERROR, "must be real number, not %s", type_name(v), "");
        return raisef(TYPE_ERROR,
                      spec->type == 'd' ? "%%s format: a real number is required, not %s"
                                        : "%%s format: an integer is required, not %s",
                      type, type_name(v));
    }
    if (whole) {
        if (is_float(v) && spec->type != 'd')
            return raisef(TYPE_ERROR, "%%s format: an integer is required, not float", type, "");
        I i = is_float(v) ? int_of_float(as_float(v)) : int_of(v);
        if (failed()) return 0;
        if (spec->precision >= 0) unsupported("a precision for an integer");
        return format_int(i, spec);
    }
    double d = is_float(v) ? as_float(v) : float_of_int(int_of(v));
    return failed() ? 0 : format_float(d, spec);
}

EXPORT(rt_printf) V rt_printf(V format, V values) {
    struct text out = {0};
    bool many = is_a(values, TUPLE);
    uint32_t used = 0, count = many ? object(values)->size : 1;
    const char *at = str(format)->byte, *end = at + str(format)->head.size;
    while (at < end) {
        if (*at != '%') {
            text_add(&out, at++, 1);
            continue;
        }
        struct spec spec = {.fill = ' ', .width = -1, .precision = -1, .align = '>'};
        if (++at < end && *at == '(') unsupported("names in text % values");
        for (; at < end && among(*at, "-+ #0"); at++) {
            if (*at == '-') spec.align = '<';
            if (*at == '+' || (*at == ' ' && spec.sign == 0)) spec.sign = *at;
            if (*at == '#') spec.alternate = true;
            if (*at == '0') spec.zero = true;
        }
        if (at < end && *at == '*') unsupported("a * in text % values");
        (void)read_count(&at, end, &spec.width);
        if (at < end && *at == '.') {
            at++;
            if (!read_count(&at, end, &spec.precision)) spec.precision = 0;
        }
        if (at == end) return raise(VALUE_ERROR, "incomplete format");
        spec.type = *at++;
        if (spec.type == '%') {
            text_add_c(&out, "%");
            continue;
        }
        if (!among(spec.type, "diuxXoeEfFgGsrac")) unsupported("this code in text % values");
        if (used == count) return raise(TYPE_ERROR, "not enough arguments for format string");
        V v = many ? tuple(values)->item[used] : values, text;
        used++;
        if (among(spec.type, "sra")) {
            spec.fill = ' ';
            text = spec.type == 's' ? rt_str(v) : rt_repr(v);
            spec.type = 's';
            spec.sign = 0;
            if (!failed()) text = format_str(text, &spec);
        } else if (spec.type == 'c') {
            if (is_a(v, STR) && str(v)->chars != 1)
                return raise(TYPE_ERROR, "%c requires int or char");
            spec.sign = 0;
            text = is_a(v, STR) ? format_str(v, &spec)
                   : is_int(v)  ? format_int(int_of(v), &spec)
                                : raise(TYPE_ERROR, "%c requires int or char");
        } else {
            if (spec.zero && spec.align == '>') {
                spec.align = '=';
                spec.fill = '0';
            }
            text = printf_number(v, &spec);
        }
        if (failed()) return 0;
        text_add_str(&out, text);
    }
    if (many && used < count)
        return raise(TYPE_ERROR, "not all arguments converted during string formatting");
    if (!many && used == 0 && !is_a(values, DICT))
        return raise(TYPE_ERROR, "not all arguments converted during string formatting");
    return text_take(&out);
}

/* text.format(...): {} and {0}, each with a specification. */
EXPORT(rt_str_format) V rt_str_format(V format, const V *item, int32_t count) {
    struct text out = {0};
    int64_t next = 0;
    const char *at = str(format)->byte, *end = at + str(format)->head.size;
    while (at < end) {
        char c = *at++;
        if (c != '{' && c != '}') {
            text_add(&out, &c, 1);
            continue;
        }
        if (at < end && *at == c) {
            text_add(&out, &c, 1);
            at++;
            continue;
        }
        if (c == '}') return raise(VALUE_ERROR, "Single '}' encountered in format string");
        int64_t which = -1;
        (void)read_count(&at, end, &which);
        char conversion = 0;
        if (at + 1 < end && *at == '!') {
            conversion = at[1];
            at += 2;
        }
        const char *spec = at;
        if (at < end && *at == ':') {
            spec = ++at;
            while (at < end && *at != '}' && *at != '{')
                at++;
        }
        if (at == end || *at != '}') unsupported("this field of str.format()");
        V text = str_new(spec, (size_t)(at - spec));
        at++;
        if (which < 0) which = next++;
        if (which >= count)
            return raise(INDEX_ERROR, "Replacement index out of range for positional args tuple");
        V v = item[which];
        if (conversion != 0) v = conversion == 'r' ? rt_repr(v) : rt_str(v);
        if (failed()) return 0;
        V shown = rt_format(v, text);
        if (failed()) return 0;
        text_add_str(&out, shown);
    }
    return text_take(&out);
}

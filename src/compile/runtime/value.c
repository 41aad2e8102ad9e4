/* What can be done with any value: for where the compiler does not know what it is. */
#include "rt.h"

#include <math.h>

enum type type_of(V v) {
    if (is_float(v)) return FLOAT;
    if (tag(v) == TAG_INT) return INT;
    if (is_object(v)) return object(v)->type;
    return v == NONE ? NONETYPE : BOOL;
}

const char *type_name(V v) {
    switch (type_of(v)) {
    case INT:
    case BIG: return "int";
    case FLOAT: return "float";
    case BOOL: return "bool";
    case NONETYPE: return "NoneType";
    case STR: return "str";
    case LIST: return "list";
    case TUPLE: return "tuple";
    case DICT: return "dict";
    case RANGE: return "range";
    case FUNCTION: return "function";
    case CAUGHT: return error_name(object(v)->flag);
    case VIEW:
        return object(v)->flag == KEYS     ? "dict_keys"
               : object(v)->flag == VALUES ? "dict_values"
                                           : "dict_items";
    case ITERATOR:
        switch (object(v)->flag) {
        case OVER_LIST: return "list_iterator";
        case OVER_TUPLE: return "tuple_iterator";
        case OVER_STR: return "str_iterator";
        case OVER_RANGE: return "range_iterator";
        case OVER_ENUMERATE: return "enumerate";
        case OVER_ZIP: return "zip";
        case OVER_REVERSED: return "reversed";
        default: return "dict_keyiterator";
        }
    default: return "object";
    }
}

EXPORT(rt_truth) int32_t rt_truth(V v) {
    if (is_float(v)) return as_float(v) != 0;
    switch (type_of(v)) {
    case INT: return small(v) != 0;
    case BOOL: return v == TRUE;
    case NONETYPE: return 0;
    case STR:
    case LIST:
    case TUPLE:
    case DICT: return object(v)->size != 0;
    case RANGE:
    case VIEW: return rt_length(v) != 0;
    default: return 1; /* a big integer is not 0 */
    }
}

static bool is_number(V v) {
    return is_float(v) || is_int(v);
}

/* a and b are numbers: -1, 0, 1, or 2 if one is no number at all (nan). */
static int compare_numbers(V a, V b) {
    if (is_float(a) && is_float(b)) {
        double x = as_float(a), y = as_float(b);
        return x < y ? -1 : x > y ? 1 : x == y ? 0 : 2;
    }
    if (is_float(a))
        return as_float(a) != as_float(a) ? 2 : -compare_int_float(int_of(b), as_float(a));
    if (is_float(b))
        return as_float(b) != as_float(b) ? 2 : compare_int_float(int_of(a), as_float(b));
    return rt_int_compare(int_of(a), int_of(b));
}

/* As items and keys are compared: the same object is equal to itself. A nan, then, is equal to some
 * nans, and which those are a double does not tell. */
bool same_item(V a, V b) {
    if (is_float(a) && is_float(b) && as_float(a) != as_float(a) && as_float(b) != as_float(b))
        unsupported("to tell one nan from another in a list, tuple or dict");
    return a == b || rt_equal(a, b);
}

static bool equal_items(const V *a, const V *b, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        if (!same_item(a[i], b[i])) return false;
    }
    return true;
}

EXPORT(rt_equal) int32_t rt_equal(V a, V b) {
    if (tag(a) == TAG_INT && tag(b) == TAG_INT) return a == b;
    if (is_number(a) && is_number(b)) return compare_numbers(a, b) == 0;
    enum type type = type_of(a);
    if (a == b) return 1;
    if (type != type_of(b)) return 0;
    switch (type) {
    case STR: return str_equal(str(a), str(b));
    case LIST:
        return object(a)->size == object(b)->size &&
               equal_items(list(a)->item, list(b)->item, object(a)->size);
    case TUPLE:
        return object(a)->size == object(b)->size &&
               equal_items(tuple(a)->item, tuple(b)->item, object(a)->size);
    case DICT:
        if (object(a)->size != object(b)->size) return 0;
        for (uint32_t i = 0; i < dict(a)->used; i++) {
            const struct entry *e = &dict(a)->entry[i];
            if (e->key == UNDEF) continue;
            V other = dict_get(b, e->key);
            if (other == UNDEF || !same_item(e->value, other)) return 0;
        }
        return 1;
    case RANGE: {
        const struct range *x = (struct range *)object(a), *y = (struct range *)object(b);
        return x->count == y->count &&
               (x->count == 0 || (x->start == y->start && (x->count == 1 || x->step == y->step)));
    }
    case VIEW: unsupported("comparing views of dicts");
    default: return 0;
    }
}

static bool in_order(int order, int32_t wanted) {
    if (order == 2) return false;
    return wanted == LESS         ? order < 0
           : wanted == LESS_EQUAL ? order <= 0
           : wanted == GREATER    ? order > 0
                                  : order >= 0;
}

EXPORT(rt_order) int32_t rt_order(V a, V b, int32_t order) {
    if (tag(a) == TAG_INT && tag(b) == TAG_INT)
        return in_order((small(a) > small(b)) - (small(a) < small(b)), order);
    static const char *const signs[] = {"<", "<=", ">", ">="};
    if (is_number(a) && is_number(b)) return in_order(compare_numbers(a, b), order);
    enum type type = type_of(a);
    if (type == type_of(b) && type == STR) return in_order(str_compare(str(a), str(b)), order);
    if (type == type_of(b) && (type == LIST || type == TUPLE)) {
        const V *x = type == LIST ? list(a)->item : tuple(a)->item,
                *y = type == LIST ? list(b)->item : tuple(b)->item;
        uint32_t size = object(a)->size < object(b)->size ? object(a)->size : object(b)->size;
        for (uint32_t i = 0; i < size; i++) {
            if (!same_item(x[i], y[i])) return rt_order(x[i], y[i], order);
        }
        return in_order((object(a)->size > object(b)->size) - (object(a)->size < object(b)->size),
                        order);
    }
    struct text out = {0};
    text_add_c(&out, "'");
    text_add_c(&out, signs[order]);
    text_add_c(&out, "' not supported between instances of '");
    text_add_c(&out, type_name(a));
    text_add_c(&out, "' and '");
    text_add_c(&out, type_name(b));
    text_add_c(&out, "'");
    return (int32_t)raise_value(TYPE_ERROR, text_take(&out));
}

/* ---- operators */
enum operation {
    ADD,
    SUB,
    MUL,
    TRUEDIV,
    FLOORDIV,
    MOD,
    POW,
    LSHIFT,
    RSHIFT,
    BIT_AND,
    BIT_OR,
    BIT_XOR
};
static const char *const signs[] = {"+",           "-",  "*",  "/", "//", "%",
                                    "** or pow()", "<<", ">>", "&", "|",  "^"};

I rt_int_lshift(I a, I b);
I rt_int_rshift(I a, I b);
I rt_int_bits(I a, I b, int32_t operation);
double rt_int_truediv(I a, I b);
double rt_float_div(double a, double b);
V rt_items_add(V a, V b);
V rt_items_repeat(V v, int64_t times);
V rt_printf(V format, V values);
V rt_dict_copy(V v);
void rt_dict_update(V v, V other);

static V refuse(V a, V b, int32_t operation) {
    struct text out = {0};
    if (operation == ADD && is_a(a, STR)) {
        return raisef(TYPE_ERROR, "can only concatenate str (not \"%s\") to str", type_name(b), "");
    }
    if (operation == ADD && (is_a(a, LIST) || is_a(a, TUPLE))) {
        return raisef(TYPE_ERROR,
                      is_a(a, LIST) ? "can only concatenate list (not \"%s\") to list"
                                    : "can only concatenate tuple (not \"%s\") to tuple",
                      type_name(b), "");
    }
    if (operation == MUL && (is_a(a, STR) || is_a(a, LIST) || is_a(a, TUPLE))) {
        return raisef(TYPE_ERROR, "can't multiply sequence by non-int of type '%s'", type_name(b),
                      "");
    }
    if (operation == MUL && (is_a(b, STR) || is_a(b, LIST) || is_a(b, TUPLE))) {
        return raisef(TYPE_ERROR, "can't multiply sequence by non-int of type '%s'", type_name(a),
                      "");
    }
    text_add_c(&out, "unsupported operand type(s) for ");
    text_add_c(&out, signs[operation]);
    text_add_c(&out, ": '");
    text_add_c(&out, type_name(a));
    text_add_c(&out, "' and '");
    text_add_c(&out, type_name(b));
    text_add_c(&out, "'");
    return raise_value(TYPE_ERROR, text_take(&out));
}

static V int_operation(V a, V b, int32_t operation) {
    I x = int_of(a), y = int_of(b);
    bool bools = type_of(a) == BOOL && type_of(b) == BOOL;
    I bits = 0;
    switch (operation) {
    case ADD: return box_int(rt_int_add(x, y));
    case SUB: return box_int(rt_int_sub(x, y));
    case MUL: return box_int(rt_int_mul(x, y));
    case TRUEDIV: return of_float(rt_int_truediv(x, y));
    case FLOORDIV: return box_int(rt_int_floordiv(x, y));
    case MOD: return box_int(rt_int_mod(x, y));
    case POW: return rt_int_pow(x, y);
    case LSHIFT: return box_int(rt_int_lshift(x, y));
    case RSHIFT: return box_int(rt_int_rshift(x, y));
    default:
        bits = rt_int_bits(x, y, operation - BIT_AND);
        return bools ? of_bool(bits != 0) : box_int(bits);
    }
}

static double number(V v) {
    return is_float(v) ? as_float(v) : float_of_int(int_of(v));
}

static V float_operation(V a, V b, int32_t operation) {
    double x = number(a), y = failed() ? 0 : number(b);
    if (failed()) return 0;
    switch (operation) {
    case ADD: return of_float(x + y);
    case SUB: return of_float(x - y);
    case MUL: return of_float(x * y);
    case TRUEDIV: return of_float(rt_float_div(x, y));
    case FLOORDIV: return of_float(rt_float_floordiv(x, y));
    case MOD: return of_float(rt_float_mod(x, y));
    case POW: return of_float(rt_float_pow(x, y));
    default: return refuse(a, b, operation);
    }
}

static V repeat(V v, V times) {
    int64_t count;
    I i = int_of(times);
    if (!int64_of(i, &count)) {
        if (sign_of_int(i) < 0) {
            count = 0;
        } else {
            return raise(OVERFLOW_ERROR, "cannot fit 'int' into an index-sized integer");
        }
    }
    return is_a(v, STR) ? str_repeat(v, count) : rt_items_repeat(v, count);
}

/* Of two small integers; UNDEF: it takes the longer way. */
static V small_operation(int64_t x, int64_t y, int32_t operation) {
    switch (operation) {
    case FLOORDIV:
    case MOD: {
        if (y <= 0) return UNDEF;
        int64_t rest = x % y;
        if (rest < 0) rest += y;
        return BOX(TAG_INT, operation == MOD ? rest : (x - rest) / y);
    }
    case TRUEDIV: return y != 0 ? of_float((double)x / (double)y) : UNDEF;
    case BIT_AND: return BOX(TAG_INT, x & y);
    case BIT_OR: return BOX(TAG_INT, x | y);
    case BIT_XOR: return BOX(TAG_INT, x ^ y);
    default: return UNDEF;
    }
}

EXPORT(rt_binary) V rt_binary(V a, V b, int32_t operation) {
    if (tag(a) == TAG_INT && tag(b) == TAG_INT) {
        V quick = small_operation(small(a), small(b), operation);
        if (quick != UNDEF) return quick;
    }
    if (is_int(a) && is_int(b)) return int_operation(a, b, operation);
    if (is_number(a) && is_number(b)) return float_operation(a, b, operation);
    enum type x = type_of(a), y = type_of(b);
    if (operation == ADD && x == y && x == STR) return str_cat(a, b);
    if (operation == ADD && x == y && (x == LIST || x == TUPLE)) return rt_items_add(a, b);
    if (operation == MUL && (x == STR || x == LIST || x == TUPLE) && is_int(b)) return repeat(a, b);
    if (operation == MUL && (y == STR || y == LIST || y == TUPLE) && is_int(a)) return repeat(b, a);
    if (operation == MOD && x == STR) return rt_printf(a, b);
    if (operation == BIT_OR && x == DICT && y == DICT) {
        V out = rt_dict_copy(a);
        rt_dict_update(out, b);
        return out;
    }
    if (operation >= BIT_AND && (x == VIEW || y == VIEW)) unsupported("sets");
    return refuse(a, b, operation);
}

/* The common cases first: what loops do. */
static bool fits(int64_t n) {
    return n >= -((int64_t)1 << 47) && n < (int64_t)1 << 47;
}

#define QUICK(name, operation, sign) \
    EXPORT(name) V name(V a, V b) { \
        if (is_float(a) && is_float(b)) return of_float(as_float(a) sign as_float(b)); \
        if (tag(a) == TAG_INT && tag(b) == TAG_INT) { \
            int64_t n = small(a) sign small(b); \
            if (fits(n)) return BOX(TAG_INT, n); \
        } \
        return rt_binary(a, b, operation); \
    }
QUICK(rt_add, ADD, +)
QUICK(rt_sub, SUB, -)

EXPORT(rt_mul) V rt_mul(V a, V b) {
    if (is_float(a) && is_float(b)) return of_float(as_float(a) * as_float(b));
    if (tag(a) == TAG_INT && tag(b) == TAG_INT) {
        int64_t x = small(a), y = small(b);
        if (x == (int32_t)x && y == (int32_t)y && fits(x * y)) return BOX(TAG_INT, x * y);
    }
    return rt_binary(a, b, MUL);
}

void rt_list_extend(V v, V items);

/* `a OPERATION= b`: a list is changed where it is. */
EXPORT(rt_in_place) V rt_in_place(V a, V b, int32_t operation) {
    if (operation == ADD && is_a(a, LIST)) {
        rt_list_extend(a, b);
        return a;
    }
    if (operation == BIT_OR && is_a(a, DICT)) {
        rt_dict_update(a, b);
        return a;
    }
    if (operation == MUL && is_a(a, LIST) && is_int(b)) {
        V out = repeat(a, b);
        if (failed()) return 0;
        struct list *l = list(a), *more = list(out);
        V *kept = l->item;
        l->item = more->item;
        l->head.size = more->head.size;
        l->room = more->room;
        more->item = kept;
        more->head.size = more->room = 0;
        return a;
    }
    V out = rt_binary(a, b, operation);
    if (failed() && failure.error == TYPE_ERROR && is_a(failure.value, STR) &&
        str(failure.value)->byte[0] == 'u') {
        failure.error = NO_ERROR; /* the sign is another in the message */
        struct text text = {0};
        text_add_c(&text, "unsupported operand type(s) for ");
        text_add_c(&text, operation == POW ? "**" : signs[operation]);
        text_add_c(&text, "=: '");
        text_add_c(&text, type_name(a));
        text_add_c(&text, "' and '");
        text_add_c(&text, type_name(b));
        text_add_c(&text, "'");
        return raise_value(TYPE_ERROR, text_take(&text));
    }
    return out;
}

enum unary { NEGATE, PLUS, INVERT };
EXPORT(rt_unary) V rt_unary(V v, int32_t operation) {
    static const char *const names[] = {"-", "+", "~"};
    if (is_int(v)) {
        I i = int_of(v);
        return box_int(operation == NEGATE ? rt_int_neg(i)
                       : operation == PLUS ? i
                                           : rt_int_sub(-2, i));
    }
    if (is_float(v) && operation != INVERT) return operation == PLUS ? v : of_float(-as_float(v));
    return raisef(TYPE_ERROR, "bad operand type for unary %s: '%s'", names[operation],
                  type_name(v));
}

EXPORT(rt_index_of) I rt_index_of(V v) {
    return index_of(v, "integer");
}

I index_of(V v, const char *message) {
    if (is_int(v)) return int_of(v);
    if (message[0] == 's') return raise(TYPE_ERROR, message);
    return raisef(TYPE_ERROR, "'%s' object cannot be interpreted as an integer", type_name(v), "");
}

int64_t rt_length(V v) {
    switch (type_of(v)) {
    case STR: return str(v)->chars;
    case LIST:
    case TUPLE:
    case DICT: return object(v)->size;
    case VIEW: return object(((struct view *)object(v))->dict)->size;
    case RANGE: return ((struct range *)object(v))->count;
    default:
        return (int64_t)raisef(TYPE_ERROR, "object of type '%s' has no len()", type_name(v), "");
    }
}

EXPORT(rt_len) I rt_len(V v) {
    return rt_length(v) * 2;
}

static V index_error(V v) {
    const char *type = type_of(v) == STR     ? "string"
                       : type_of(v) == RANGE ? "range object"
                                             : type_name(v);
    return raisef(INDEX_ERROR, "%s index out of range", type, "");
}

EXPORT(rt_item) V rt_item(V v, V at) {
    enum type type = type_of(v);
    if (type == DICT) {
        V found = dict_get(v, at);
        return found != UNDEF || failed() ? found : raise_value(KEY_ERROR, at);
    }
    if (type != STR && type != LIST && type != TUPLE && type != RANGE) {
        return raisef(TYPE_ERROR, "'%s' object is not subscriptable", type_name(v), "");
    }
    if (!is_int(at)) {
        if (type == STR)
            return raisef(TYPE_ERROR, "string indices must be integers, not '%s'", type_name(at),
                          "");
        return raisef(TYPE_ERROR, "%s indices must be integers or slices, not %s", type_name(v),
                      type_name(at));
    }
    int64_t i, length = rt_length(v);
    if (!int64_of(int_of(at), &i))
        return raise(INDEX_ERROR, "cannot fit 'int' into an index-sized integer");
    if (i < 0) i += length;
    if (i < 0 || i >= length) return index_error(v);
    if (type == LIST) return list(v)->item[i];
    if (type == TUPLE) return tuple(v)->item[i];
    if (type == RANGE)
        return box_int64(((struct range *)object(v))->start +
                         i * ((struct range *)object(v))->step);
    const struct str *s = str(v);
    const char *from = s->byte + str_offset(s, (uint32_t)i), *next = from;
    (void)utf8_next(&next);
    return str_new(from, (size_t)(next - from));
}

EXPORT(rt_set_item) void rt_set_item(V v, V at, V value) {
    if (is_a(v, DICT)) {
        dict_set(v, at, value);
        return;
    }
    if (!is_a(v, LIST)) {
        raisef(TYPE_ERROR, "'%s' object does not support item assignment", type_name(v), "");
        return;
    }
    int64_t i, length = object(v)->size;
    if (!is_int(at)) {
        raisef(TYPE_ERROR, "list indices must be integers or slices, not %s", type_name(at), "");
        return;
    }
    if (!int64_of(int_of(at), &i)) i = length;
    if (i < 0) i += length;
    if (i < 0 || i >= length) {
        raise(INDEX_ERROR, "list assignment index out of range");
        return;
    }
    list(v)->item[i] = value;
}

void rt_dict_delete(V v, V key);
V rt_list_pop(V v, V at);

EXPORT(rt_delete_item) void rt_delete_item(V v, V at) {
    if (is_a(v, DICT)) {
        rt_dict_delete(v, at);
        return;
    }
    if (!is_a(v, LIST)) {
        raisef(TYPE_ERROR, "'%s' object doesn't support item deletion", type_name(v), "");
        return;
    }
    if (!is_int(at)) {
        raisef(TYPE_ERROR, "list indices must be integers or slices, not %s", type_name(at), "");
        return;
    }
    int64_t i, length = object(v)->size;
    if (!int64_of(int_of(at), &i)) i = length;
    if (i < -length || i >= length) {
        raise(INDEX_ERROR, "list assignment index out of range");
        return;
    }
    (void)rt_list_pop(v, at);
}

EXPORT(rt_contains) int32_t rt_contains(V wanted, V v) {
    switch (type_of(v)) {
    case STR:
        if (is_a(wanted, STR)) return str_contains(str(v), str(wanted));
        return (int32_t)raisef(TYPE_ERROR, "'in <string>' requires string as left operand, not %s",
                               type_name(wanted), "");
    case DICT: return dict_get(v, wanted) != UNDEF;
    case LIST:
    case TUPLE: {
        const V *item = is_a(v, LIST) ? list(v)->item : tuple(v)->item;
        for (uint32_t i = 0; i < object(v)->size; i++) {
            if (same_item(item[i], wanted)) return 1;
        }
        return 0;
    }
    case RANGE: {
        const struct range *r = (struct range *)object(v);
        int64_t n;
        if (!is_int(wanted)) {
            if (!is_float(wanted)) return 0;
            double d = as_float(wanted);
            if (d != floor(d) || fabs(d) > 1e18) return 0;
            n = (int64_t)d;
        } else if (!int64_of(int_of(wanted), &n)) {
            return 0;
        }
        int64_t at = (n - r->start) / r->step;
        return at >= 0 && at < r->count && r->start + at * r->step == n;
    }
    case VIEW:
        if (object(v)->flag == KEYS)
            return dict_get(((struct view *)object(v))->dict, wanted) != UNDEF;
        /* fall through */
    case ITERATOR: {
        V it = rt_iter(v);
        for (V item; !failed() && (item = rt_next(it)) != UNDEF;) {
            if (same_item(item, wanted)) return 1;
        }
        return 0;
    }
    default:
        return (int32_t)raisef(TYPE_ERROR, "argument of type '%s' is not iterable", type_name(v),
                               "");
    }
}

/* ---- functions as values */
EXPORT(rt_function) V rt_function(int32_t number, int32_t parameters, V name) {
    struct function *f = allocate(FUNCTION, sizeof *f);
    f->head.size = (uint32_t)number;
    f->head.flag = (uint16_t)parameters;
    f->name = str(name);
    return of(f);
}

/* Its place in the table, or TypeError. */
EXPORT(rt_callee) int32_t rt_callee(V v, int32_t arguments) {
    if (is_a(v, FUNCTION)) {
        if (object(v)->flag != arguments)
            unsupported("calling a function, held in a variable, with another number of arguments "
                        "than it has");
        return (int32_t)object(v)->size;
    }
    return (int32_t)raisef(TYPE_ERROR, "'%s' object is not callable", type_name(v), "");
}

/* ---- methods of what may be of more than one type */
V rt_str_find(V v, V part, V start, V stop, int32_t how);
V rt_str_count(V v, V part, V start, V stop);
V rt_items_index(V v, V wanted, V start, V stop);
V rt_items_count(V v, V wanted);
V rt_dict_pop(V v, V key, V standard);
void rt_dict_clear(V v);
void rt_list_clear(V v);
V rt_list_copy(V v);

/* AttributeError, unless v is of the type. */
EXPORT(rt_want) V rt_want(V v, int32_t type, V method) {
    if ((int32_t)type_of(v) == type) return v;
    return raisef(ATTRIBUTE_ERROR, "'%s' object has no attribute '%s'", type_name(v),
                  str(method)->byte);
}

static V no_method(V v, const char *name) {
    return raisef(ATTRIBUTE_ERROR, "'%s' object has no attribute '%s'", type_name(v), name);
}

EXPORT(rt_any_index) V rt_any_index(V v, V wanted, V start, V stop) {
    if (is_a(v, STR)) return rt_str_find(v, wanted, start, stop, 2);
    if (is_a(v, LIST) || is_a(v, TUPLE)) return rt_items_index(v, wanted, start, stop);
    return no_method(v, "index");
}

EXPORT(rt_any_count) V rt_any_count(V v, V wanted, V start, V stop) {
    if (is_a(v, STR)) return rt_str_count(v, wanted, start, stop);
    if (is_a(v, LIST) || is_a(v, TUPLE)) return rt_items_count(v, wanted);
    return no_method(v, "count");
}

EXPORT(rt_any_pop) V rt_any_pop(V v, V at, V standard) {
    if (is_a(v, LIST)) return rt_list_pop(v, at);
    if (!is_a(v, DICT)) return no_method(v, "pop");
    if (at == UNDEF) return raise(TYPE_ERROR, "pop expected at least 1 argument, got 0");
    return rt_dict_pop(v, at, standard);
}

EXPORT(rt_any_clear) void rt_any_clear(V v) {
    if (is_a(v, LIST)) rt_list_clear(v);
    if (is_a(v, DICT)) rt_dict_clear(v);
    if (!is_a(v, LIST) && !is_a(v, DICT)) no_method(v, "clear");
}

EXPORT(rt_any_copy) V rt_any_copy(V v) {
    if (is_a(v, LIST)) return rt_list_copy(v);
    return is_a(v, DICT) ? rt_dict_copy(v) : no_method(v, "copy");
}

/* str(), repr(), print() and input(). */
#include "rt.h"

enum { MAX_DEPTH = 400 };

struct outer {
    V v;
    const struct outer *next;
};

static void show_in(struct text *out, V v, bool repr, const struct outer *outer, int depth);

/* A list in itself is "[...]". */
static bool is_inside_itself(V v, const struct outer *outer) {
    for (; outer != NULL; outer = outer->next) {
        if (outer->v == v) return true;
    }
    return false;
}

static void show_items(struct text *out, const V *item, uint32_t count, const struct outer *outer,
                       int depth) {
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0) text_add_c(out, ", ");
        show_in(out, item[i], true, outer, depth);
    }
}

static void show_dict(struct text *out, V v, const struct outer *outer, int depth, int kind) {
    bool first = true;
    for (uint32_t i = 0; i < dict(v)->used; i++) {
        const struct entry *e = &dict(v)->entry[i];
        if (e->key == UNDEF) continue;
        if (!first) text_add_c(out, ", ");
        first = false;
        if (kind == ITEMS) text_add_c(out, "(");
        if (kind != VALUES) show_in(out, e->key, true, outer, depth);
        if (kind < 0) text_add_c(out, ": ");
        if (kind == ITEMS) text_add_c(out, ", ");
        if (kind != KEYS) show_in(out, e->value, true, outer, depth);
        if (kind == ITEMS) text_add_c(out, ")");
    }
}

static void show_range(struct text *out, const struct range *r, const struct outer *outer) {
    text_add_c(out, "range(");
    show_in(out, box_int64(r->start), true, outer, 0);
    text_add_c(out, ", ");
    show_in(out, box_int64(r->stop), true, outer, 0);
    if (r->step != 1) {
        text_add_c(out, ", ");
        show_in(out, box_int64(r->step), true, outer, 0);
    }
    text_add_c(out, ")");
}

static void show_in(struct text *out, V v, bool repr, const struct outer *outer, int depth) {
    const struct outer own = {v, outer};
    if (depth > MAX_DEPTH) unsupported("showing what is nested so deeply");
    switch (type_of(v)) {
    case INT:
    case BIG: {
        V text = int_text(int_of(v), 10, false);
        if (!failed()) text_add_str(out, text);
        break;
    }
    case FLOAT: text_add_str(out, float_repr(as_float(v))); break;
    case BOOL: text_add_c(out, v == TRUE ? "True" : "False"); break;
    case NONETYPE: text_add_c(out, "None"); break;
    case STR: text_add_str(out, repr ? str_repr(v) : v); break;
    case LIST:
        if (is_inside_itself(v, outer)) {
            text_add_c(out, "[...]");
            break;
        }
        text_add_c(out, "[");
        show_items(out, list(v)->item, object(v)->size, &own, depth + 1);
        text_add_c(out, "]");
        break;
    case TUPLE:
        text_add_c(out, "(");
        show_items(out, tuple(v)->item, object(v)->size, &own, depth + 1);
        text_add_c(out, object(v)->size == 1 ? ",)" : ")");
        break;
    case DICT:
        if (is_inside_itself(v, outer)) {
            text_add_c(out, "{...}");
            break;
        }
        text_add_c(out, "{");
        show_dict(out, v, &own, depth + 1, -1);
        text_add_c(out, "}");
        break;
    case VIEW:
        text_add_c(out, type_name(v));
        text_add_c(out, "([");
        show_dict(out, ((struct view *)object(v))->dict, &own, depth + 1, object(v)->flag);
        text_add_c(out, "])");
        break;
    case RANGE: show_range(out, (struct range *)object(v), outer); break;
    case CAUGHT:
        if (!repr) {
            text_add_str(out, tuple(v)->item[1]);
            break;
        }
        text_add_c(out, type_name(v));
        text_add_c(out, "(");
        if (tuple(v)->item[0] != UNDEF) show_in(out, tuple(v)->item[0], true, &own, depth + 1);
        text_add_c(out, ")");
        break;
    default: unsupported("showing where an object is in memory");
    }
}

void show(struct text *out, V v, bool repr) {
    show_in(out, v, repr, NULL, 0);
}

static V shown(V v, bool repr) {
    struct text out = {0};
    show(&out, v, repr);
    return failed() ? 0 : text_take(&out);
}

EXPORT(rt_str) V rt_str(V v) {
    return is_a(v, STR) ? v : shown(v, false);
}

EXPORT(rt_repr) V rt_repr(V v) {
    return shown(v, true);
}

/* repr() with what is not ASCII escaped. */
EXPORT(rt_ascii) V rt_ascii(V v) {
    V text = rt_repr(v);
    if (failed()) return 0;
    if (str(text)->chars != str(text)->head.size) unsupported("ascii() of other letters");
    return text;
}

static void print_text(V text) {
    io_write(1, str(text)->byte, str(text)->head.size);
}

EXPORT(rt_print_value) void rt_print_value(V v) {
    if (is_a(v, STR)) {
        print_text(v);
        return;
    }
    struct text out = {0};
    show(&out, v, false);
    if (!failed()) io_write(1, out.byte, out.size);
    release_buffer(out.byte);
}

/* print(*values, sep=, end=): UNDEF where one is not given. */
EXPORT(rt_print) void rt_print(const V *item, int32_t count, V separator, V end) {
    const V given[] = {separator, end};
    for (int i = 0; i < 2; i++) {
        if (given[i] != UNDEF && given[i] != NONE && !is_a(given[i], STR)) {
            raisef(TYPE_ERROR, "%s must be None or a string, not %s", i == 0 ? "sep" : "end",
                   type_name(given[i]));
            return;
        }
    }
    for (int32_t i = 0; i < count && !failed(); i++) {
        if (i > 0) {
            if (is_a(separator, STR)) print_text(separator);
            if (!is_a(separator, STR)) io_write(1, " ", 1);
        }
        rt_print_value(item[i]);
    }
    if (failed()) return;
    if (is_a(end, STR)) print_text(end);
    if (!is_a(end, STR)) io_write(1, "\n", 1);
}

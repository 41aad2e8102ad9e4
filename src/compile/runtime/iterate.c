/* Iterators: one object for each loop, zip(), enumerate() ... */
#include "rt.h"

static V new_iterator(enum iterator_kind kind, V source, int64_t at) {
    struct iterator *it = allocate(ITERATOR, sizeof *it);
    it->head.flag = (uint16_t)kind;
    it->source = source;
    it->at = at;
    return of(it);
}

static struct iterator *iterator(V v) {
    return (struct iterator *)object(v);
}

EXPORT(rt_iter) V rt_iter(V v) {
    switch (type_of(v)) {
    case LIST: return new_iterator(OVER_LIST, v, 0);
    case TUPLE: return new_iterator(OVER_TUPLE, v, 0);
    case STR: return new_iterator(OVER_STR, v, 0);
    case RANGE: return new_iterator(OVER_RANGE, v, 0);
    case ITERATOR: return v;
    case DICT:
    case VIEW: {
        V it = new_iterator(OVER_DICT, v, 0);
        iterator(it)->seen = object(is_a(v, VIEW) ? ((struct view *)object(v))->dict : v)->size;
        return it;
    }
    default: return raisef(TYPE_ERROR, "'%s' object is not iterable", type_name(v), "");
    }
}

EXPORT(rt_enumerate) V rt_enumerate(V v, V start) {
    int64_t from = 0;
    V source = rt_iter(v);
    if (failed()) return 0;
    if (start != UNDEF) {
        I i = index_of(start, "integer");
        if (failed()) return 0;
        if (!int64_of(i, &from)) unsupported("enumerate() from such a large number");
    }
    return new_iterator(OVER_ENUMERATE, source, from);
}

EXPORT(rt_zip) V rt_zip(const V *part, int32_t count) {
    V all = tuple_new((uint32_t)count);
    for (int32_t i = 0; i < count; i++) {
        tuple(all)->item[i] = rt_iter(part[i]);
        if (failed()) return 0;
    }
    return new_iterator(OVER_ZIP, all, 0);
}

EXPORT(rt_reversed) V rt_reversed(V v) {
    enum type type = type_of(v);
    if (type == DICT || type == VIEW) {
        V all = list_of(v);
        return new_iterator(OVER_REVERSED, all, object(all)->size);
    }
    if (type != LIST && type != TUPLE && type != STR && type != RANGE) {
        return raisef(TYPE_ERROR, "'%s' object is not reversible", type_name(v), "");
    }
    return new_iterator(OVER_REVERSED, v, rt_length(v));
}

static V char_at(const struct str *s, int64_t *byte) {
    const char *at = s->byte + *byte, *from = at;
    (void)utf8_next(&at);
    *byte = at - s->byte;
    return str_new(from, (size_t)(at - from));
}

V rt_item(V v, V at);

static V next_of_dict(struct iterator *it) {
    V v = it->source;
    int kind = is_a(v, VIEW) ? object(v)->flag : KEYS;
    const struct dict *d = dict(is_a(v, VIEW) ? ((struct view *)object(v))->dict : v);
    if (d->head.size != it->seen)
        return raise(RUNTIME_ERROR, "dictionary changed size during iteration");
    while (it->at < d->used && d->entry[it->at].key == UNDEF)
        it->at++;
    if (it->at >= d->used) return UNDEF;
    const struct entry *e = &d->entry[it->at++];
    if (kind != ITEMS) return kind == KEYS ? e->key : e->value;
    V pair = tuple_new(2);
    tuple(pair)->item[0] = e->key;
    tuple(pair)->item[1] = e->value;
    return pair;
}

EXPORT(rt_next) V rt_next(V v) {
    struct iterator *it = iterator(v);
    V from = it->source;
    switch (it->head.flag) {
    case OVER_LIST: return it->at < object(from)->size ? list(from)->item[it->at++] : UNDEF;
    case OVER_TUPLE: return it->at < object(from)->size ? tuple(from)->item[it->at++] : UNDEF;
    case OVER_STR: return it->at < object(from)->size ? char_at(str(from), &it->at) : UNDEF;
    case OVER_RANGE: {
        const struct range *r = (struct range *)object(from);
        return it->at < r->count ? box_int64(r->start + it->at++ * r->step) : UNDEF;
    }
    case OVER_DICT: return next_of_dict(it);
    case OVER_ENUMERATE: {
        V item = rt_next(from);
        if (item == UNDEF || failed()) return UNDEF;
        V pair = tuple_new(2);
        tuple(pair)->item[0] = box_int64(it->at++);
        tuple(pair)->item[1] = item;
        return pair;
    }
    case OVER_ZIP: {
        uint32_t count = object(from)->size;
        V all = tuple_new(count);
        for (uint32_t i = 0; i < count; i++) {
            tuple(all)->item[i] = rt_next(tuple(from)->item[i]);
            if (tuple(all)->item[i] == UNDEF || failed()) return UNDEF;
        }
        return count > 0 ? all : UNDEF;
    }
    default:
        return it->at > 0 && it->at <= rt_length(from) ? rt_item(from, box_int64(--it->at)) : UNDEF;
    }
}

/* next(iterator[, default]) */
EXPORT(rt_next_or) V rt_next_or(V v, V standard) {
    if (!is_a(v, ITERATOR))
        return raisef(TYPE_ERROR, "'%s' object is not an iterator", type_name(v), "");
    V item = rt_next(v);
    if (item != UNDEF || failed()) return item;
    return standard != UNDEF ? standard : raise_value(STOP_ITERATION, UNDEF);
}

EXPORT(rt_list_of) V list_of(V v) {
    V out = list_new(is_a(v, LIST) || is_a(v, TUPLE) ? object(v)->size : 8);
    V it = rt_iter(v);
    for (V item; !failed() && (item = rt_next(it)) != UNDEF;)
        list_push(out, item);
    return out;
}

EXPORT(rt_to_tuple) V rt_to_tuple(V v) {
    if (is_a(v, TUPLE)) return v;
    V all = list_of(v);
    return failed() ? 0 : tuple_of(all);
}

/* What `a, b, *c = v` takes apart: `before` values, and `after` behind a starred one (-1: none). In
 * a list. */
EXPORT(rt_unpack) V rt_unpack(V v, int32_t before, int32_t after) {
    enum type type = type_of(v);
    if (type != LIST && type != TUPLE && type != STR && type != RANGE && type != DICT &&
        type != ITERATOR && type != VIEW) {
        return raisef(TYPE_ERROR, "cannot unpack non-iterable %s object", type_name(v), "");
    }
    V all = list_of(v);
    if (failed()) return 0;
    uint32_t size = object(all)->size, least = (uint32_t)before + (after > 0 ? (uint32_t)after : 0);
    char wanted[12], got[12];
    V w = int_text((I)least * 2, 10, false), g = int_text((I)size * 2, 10, false);
    __builtin_memcpy(wanted, str(w)->byte, str(w)->head.size + 1);
    __builtin_memcpy(got, str(g)->byte, str(g)->head.size + 1);
    if (size < least) {
        return raisef(VALUE_ERROR,
                      after < 0 ? "not enough values to unpack (expected %s, got %s)"
                                : "not enough values to unpack (expected at least %s, got %s)",
                      wanted, got);
    }
    if (after < 0) {
        if (size > least) {
            return raisef(VALUE_ERROR, "too many values to unpack (expected %s)", wanted, "");
        }
        return all;
    }
    V out = list_new(least + 1), middle = list_new(size - least);
    for (uint32_t i = 0; i < size; i++) {
        if (i == (uint32_t)before) list_push(out, middle);
        bool inside = i >= (uint32_t)before && i < size - (uint32_t)after;
        list_push(inside ? middle : out, list(all)->item[i]);
    }
    if (size == (uint32_t)before) list_push(out, middle);
    return out;
}

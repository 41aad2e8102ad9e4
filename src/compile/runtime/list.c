/* Lists, tuples, ranges, and slices of all that has an order. */
#include "rt.h"

EXPORT(rt_list_new) V list_new(uint32_t room) {
    struct list *l = allocate(LIST, sizeof *l);
    if (room > 0) l->item = allocate_buffer(room * sizeof(V));
    l->room = room;
    return of(l);
}

EXPORT(rt_list_push) void list_push(V v, V item) {
    struct list *l = list(v);
    if (l->head.size == l->room) {
        uint32_t room = l->room + l->room / 2 + 4;
        l->item = grow_buffer(l->item, l->head.size * sizeof(V), room * sizeof(V));
        l->room = room;
    }
    l->item[l->head.size++] = item;
}

EXPORT(rt_tuple_new) V tuple_new(uint32_t size) {
    struct tuple *t = allocate(TUPLE, sizeof *t + size * sizeof(V));
    t->head.size = size;
    return of(t);
}

EXPORT(rt_tuple_of) V rt_tuple_of(const V *item, int32_t count) {
    V t = tuple_new((uint32_t)count);
    __builtin_memcpy(tuple(t)->item, item, (size_t)count * sizeof(V));
    return t;
}

EXPORT(rt_list_of_items) V rt_list_of_items(const V *item, int32_t count) {
    V l = list_new((uint32_t)count);
    if (count > 0) __builtin_memcpy(list(l)->item, item, (size_t)count * sizeof(V));
    list(l)->head.size = (uint32_t)count;
    return l;
}

V tuple_of(V v) {
    V t = tuple_new(object(v)->size);
    __builtin_memcpy(tuple(t)->item, list(v)->item, object(v)->size * sizeof(V));
    return t;
}

V range_new(int64_t start, int64_t stop, int64_t step) {
    struct range *r = allocate(RANGE, sizeof *r);
    uint64_t span = step > 0 ? (uint64_t)stop - (uint64_t)start : (uint64_t)start - (uint64_t)stop;
    bool empty = step > 0 ? start >= stop : start <= stop;
    uint64_t stride = step > 0 ? (uint64_t)step : 0 - (uint64_t)step;
    r->start = start;
    r->stop = stop;
    r->step = step;
    r->count = empty ? 0 : (int64_t)((span - 1) / stride + 1);
    return of(r);
}

static bool range_bound(V v, int64_t *out) {
    I i = index_of(v, "integer");
    if (failed()) return false;
    if (!int64_of(i, out) || *out > INT64_MAX / 4 || *out < INT64_MIN / 4)
        unsupported("ranges of such large numbers");
    return true;
}

EXPORT(rt_range) V rt_range(V start, V stop, V step) {
    int64_t from, to, by = 1;
    if (!range_bound(start, &from) || !range_bound(stop, &to) ||
        (step != UNDEF && !range_bound(step, &by)))
        return 0;
    if (by == 0) return raise(VALUE_ERROR, "range() arg 3 must not be zero");
    return range_new(from, to, by);
}

/* Of bounds that a loop cannot count by itself. */
EXPORT(rt_check_range) void rt_check_range(V start, V stop, V step) {
    (void)rt_range(start, stop, step);
    if (!failed()) unsupported("ranges of such large numbers");
}

/* The bounds as a number within what can be; NONE: as given. */
static bool slice_bound(V v, int64_t standard, int64_t length, int64_t low, int64_t high,
                        int64_t *out) {
    if (v == NONE) {
        *out = standard;
        return true;
    }
    I i = index_of(v, "slice indices must be integers or None or have an __index__ method");
    if (failed()) return false;
    int64_t n;
    if (!int64_of(i, &n)) n = sign_of_int(i) < 0 ? INT64_MIN / 2 : INT64_MAX / 2;
    if (n < 0) n += length;
    *out = n < low ? low : n > high ? high : n;
    return true;
}

bool slice_of(V start, V stop, V step, int64_t length, struct slice *out) {
    int64_t to;
    *out = (struct slice){.step = 1};
    if (step != NONE) {
        I i = index_of(step, "slice indices must be integers or None or have an __index__ method");
        if (failed()) return false;
        if (!int64_of(i, &out->step))
            out->step = sign_of_int(i) < 0 ? INT64_MIN / 4 : INT64_MAX / 4;
        if (out->step == 0) {
            raise(VALUE_ERROR, "slice step cannot be zero");
            return false;
        }
    }
    bool down = out->step < 0;
    int64_t low = down ? -1 : 0, high = down ? length - 1 : length;
    if (!slice_bound(start, down ? high : 0, length, low, high, &out->start) ||
        !slice_bound(stop, down ? -1 : length, length, low, high, &to)) {
        return false;
    }
    if (down && out->start > to) out->count = (out->start - to - 1) / -out->step + 1;
    if (!down && out->start < to) out->count = (to - out->start - 1) / out->step + 1;
    return true;
}

static V slice_str(V v, const struct slice *slice) {
    const struct str *s = str(v);
    struct text out = {0};
    if (slice->step == 1) {
        return str_slice_bytes(v, str_offset(s, (uint32_t)slice->start),
                               str_offset(s, (uint32_t)(slice->start + slice->count)));
    }
    if (slice->count == 0) return str_new("", 0);
    bool ascii = s->chars == s->head.size;
    if (!ascii && slice->step == -1) {
        const char *at = s->byte + str_offset(s, (uint32_t)slice->start);
        for (int64_t i = 0; i < slice->count; i++) {
            const char *next = at;
            text_add_char(&out, utf8_next(&next));
            while (--at >= s->byte && (*at & 0xC0) == 0x80) {
            }
        }
        return text_take(&out);
    }
    for (int64_t i = 0, at = slice->start; i < slice->count; i++, at += slice->step) {
        const char *p = s->byte + (ascii ? (uint32_t)at : str_offset(s, (uint32_t)at));
        text_add_char(&out, utf8_next(&p));
    }
    return text_take(&out);
}

EXPORT(rt_slice) V rt_slice(V v, V start, V stop, V step) {
    struct slice slice;
    enum type type = type_of(v);
    if (type != STR && type != LIST && type != TUPLE && type != RANGE) {
        return raisef(TYPE_ERROR, "'%s' object is not subscriptable", type_name(v), "");
    }
    if (!slice_of(start, stop, step, rt_length(v), &slice)) return 0;
    if (type == STR) return slice_str(v, &slice);
    if (type == RANGE) {
        const struct range *r = (struct range *)object(v);
        int64_t from = r->start + slice.start * r->step, by = r->step * slice.step;
        return range_new(from, from + slice.count * by, by);
    }
    const V *item = type == LIST ? list(v)->item : tuple(v)->item;
    V out = type == LIST ? list_new((uint32_t)slice.count) : tuple_new((uint32_t)slice.count);
    V *to = type == LIST ? list(out)->item : tuple(out)->item;
    for (int64_t i = 0, at = slice.start; i < slice.count; i++, at += slice.step)
        to[i] = item[at];
    object(out)->size = (uint32_t)slice.count;
    return out;
}

EXPORT(rt_set_slice) void rt_set_slice(V v, V start, V stop, V step, V items) {
    struct slice slice;
    if (!is_a(v, LIST)) {
        raisef(TYPE_ERROR, "'%s' object does not support item assignment", type_name(v), "");
        return;
    }
    V from = items == UNDEF ? list_new(0) : list_of(items); /* UNDEF: deleted */
    if (failed()) {
        failure.error = NO_ERROR;
        raise(TYPE_ERROR, "can only assign an iterable");
        return;
    }
    struct list *l = list(v);
    if (!slice_of(start, stop, step, l->head.size, &slice)) return;
    uint32_t count = object(from)->size;
    if (step != NONE && slice.step != 1) {
        if (items == UNDEF) unsupported("deleting a slice with a step");
        if (count != slice.count)
            unsupported("assigning to a slice with a step what has another length");
        for (uint32_t i = 0; i < count; i++)
            l->item[slice.start + (int64_t)i * slice.step] = list(from)->item[i];
        return;
    }
    V out = list_new(l->head.size - (uint32_t)slice.count + count);
    V *to = list(out)->item;
    uint32_t rest = (uint32_t)(slice.start + slice.count);
    __builtin_memcpy(to, l->item, (size_t)slice.start * sizeof(V));
    __builtin_memcpy(to + slice.start, list(from)->item, count * sizeof(V));
    __builtin_memcpy(to + slice.start + count, l->item + rest, (l->head.size - rest) * sizeof(V));
    uint32_t size = list(out)->room;
    V *old = l->item;
    l->item = to;
    l->head.size = l->room = size;
    list(out)->item = NULL;
    list(out)->room = 0;
    release_buffer(old);
}

EXPORT(rt_list_extend) void rt_list_extend(V v, V items) {
    V from = is_a(items, LIST) ? items : list_of(items);
    if (failed()) return;
    uint32_t count = object(from)->size; /* it may be the list itself */
    for (uint32_t i = 0; i < count; i++)
        list_push(v, list(from)->item[i]);
}

EXPORT(rt_list_insert) void rt_list_insert(V v, V at_value, V item) {
    struct list *l = list(v);
    int64_t at;
    if (!slice_bound(at_value, 0, l->head.size, 0, l->head.size, &at)) return;
    list_push(v, item);
    for (int64_t i = l->head.size - 1; i > at; i--)
        l->item[i] = l->item[i - 1];
    l->item[at] = item;
}

EXPORT(rt_list_pop) V rt_list_pop(V v, V at_value) {
    struct list *l = list(v);
    int64_t at = (int64_t)l->head.size - 1;
    if (l->head.size == 0) return raise(INDEX_ERROR, "pop from empty list");
    if (at_value != UNDEF) {
        I i = index_of(at_value, "integer");
        if (failed()) return 0;
        if (!int64_of(i, &at)) at = INT64_MAX;
        if (at < 0) at += l->head.size;
        if (at < 0 || at >= l->head.size) return raise(INDEX_ERROR, "pop index out of range");
    }
    V item = l->item[at];
    for (uint32_t i = (uint32_t)at; i + 1 < l->head.size; i++)
        l->item[i] = l->item[i + 1];
    l->head.size--;
    return item;
}

static const V *items_of(V v) {
    return is_a(v, LIST) ? list(v)->item : tuple(v)->item;
}

/* -1: nowhere. */
static int64_t position(V v, V wanted, int64_t from, int64_t to) {
    for (int64_t i = from; i < to && i < object(v)->size; i++) {
        if (same_item(items_of(v)[i], wanted)) return i;
    }
    return -1;
}

EXPORT(rt_list_remove) void rt_list_remove(V v, V wanted) {
    int64_t at = position(v, wanted, 0, object(v)->size);
    if (at < 0) {
        raise(VALUE_ERROR, "list.remove(x): x not in list");
        return;
    }
    (void)rt_list_pop(v, box_int64(at));
}

EXPORT(rt_items_index) V rt_items_index(V v, V wanted, V start, V stop) {
    int64_t from, to, length = object(v)->size;
    if (!slice_bound(start == UNDEF ? NONE : start, 0, length, 0, length, &from) ||
        !slice_bound(stop == UNDEF ? NONE : stop, length, length, 0, length, &to))
        return 0;
    int64_t at = position(v, wanted, from, to);
    if (at >= 0) return box_int64(at);
    if (is_a(v, TUPLE)) return raise(VALUE_ERROR, "tuple.index(x): x not in tuple");
    return raisef(VALUE_ERROR, "%s is not in list", str(rt_repr(wanted))->byte, "");
}

EXPORT(rt_items_count) V rt_items_count(V v, V wanted) {
    int64_t count = 0;
    for (int64_t at = -1; (at = position(v, wanted, at + 1, object(v)->size)) >= 0;)
        count++;
    return box_int64(count);
}

EXPORT(rt_list_reverse) void rt_list_reverse(V v) {
    struct list *l = list(v);
    for (uint32_t i = 0; i < l->head.size / 2; i++) {
        V kept = l->item[i];
        l->item[i] = l->item[l->head.size - 1 - i];
        l->item[l->head.size - 1 - i] = kept;
    }
}

EXPORT(rt_list_clear) void rt_list_clear(V v) {
    list(v)->head.size = 0;
}

EXPORT(rt_items_add) V rt_items_add(V a, V b) {
    uint32_t first = object(a)->size, second = object(b)->size;
    V out = is_a(a, LIST) ? list_new(first + second) : tuple_new(first + second);
    V *to = is_a(a, LIST) ? list(out)->item : tuple(out)->item;
    if (first > 0) __builtin_memcpy(to, items_of(a), first * sizeof(V));
    if (second > 0) __builtin_memcpy(to + first, items_of(b), second * sizeof(V));
    object(out)->size = first + second;
    return out;
}

enum { REPEATED = 1024 };
EXPORT(rt_items_repeat) V rt_items_repeat(V v, int64_t times) {
    uint32_t size = object(v)->size;
    if (times < 0) times = 0;
    if (size > 0 && times > ((int64_t)1 << 27) / size) return raise(MEMORY_ERROR, "");
    uint32_t count = size * (uint32_t)times;
    V out = is_a(v, LIST) ? list_new(count) : tuple_new(count);
    V *to = is_a(v, LIST) ? list(out)->item : tuple(out)->item;
    if (count > 0) __builtin_memcpy(to, items_of(v), size * sizeof(V));
    /* Twice as much each time, until it is what stays in the cache. */
    for (uint32_t done = size, part = size; done < count;) {
        uint32_t more = part < count - done ? part : count - done;
        __builtin_memcpy(to + done, to, more * sizeof(V));
        done += more;
        if (part < REPEATED) part = done;
    }
    object(out)->size = count;
    return out;
}

/* Sorts stably, by merging; `key` is sorted along, and is what is compared. `reverse` keeps the
 * order of equals, too. */
void sort_items(V *item, V *key, uint32_t count, bool reverse) {
    V *other_item = allocate_buffer(count * sizeof(V) + 1),
      *other_key = item == key ? other_item : allocate_buffer(count * sizeof(V) + 1);
    for (uint32_t i = 1; i < count; i++) { /* short runs by insertion */
        V v = item[i], k = key[i];
        uint32_t at = i;
        for (; at % 8 != 0 && !failed() &&
               (reverse ? rt_order(key[at - 1], k, LESS) : rt_order(k, key[at - 1], LESS));
             at--) {
            key[at] = key[at - 1];
            item[at] = item[at - 1];
        }
        item[at] = v;
        key[at] = k;
    }
    for (uint32_t width = 8; width < count; width *= 2) {
        for (uint32_t low = 0; low < count; low += 2 * width) {
            uint32_t middle = low + width < count ? low + width : count,
                     high = low + 2 * width < count ? low + 2 * width : count;
            uint32_t a = low, b = middle;
            for (uint32_t to = low; to < high; to++) {
                bool right =
                    b < high &&
                    (a >= middle || (!failed() && (reverse ? rt_order(key[a], key[b], LESS)
                                                           : rt_order(key[b], key[a], LESS))));
                uint32_t from = right ? b++ : a++;
                other_key[to] = key[from];
                other_item[to] = item[from];
            }
        }
        __builtin_memcpy(item, other_item, count * sizeof(V));
        if (item != key) __builtin_memcpy(key, other_key, count * sizeof(V));
    }
    if (other_key != other_item) release_buffer(other_key);
    release_buffer(other_item);
}

EXPORT(rt_list_sort) void rt_list_sort(V v, V keys, int32_t reverse) {
    struct list *l = list(v);
    sort_items(l->item, keys == UNDEF ? l->item : list(keys)->item, l->head.size, reverse);
}

EXPORT(rt_list_copy) V rt_list_copy(V v) {
    return rt_list_of_items(list(v)->item, (int32_t)object(v)->size);
}

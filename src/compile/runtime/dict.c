/* Dicts: entries in the order of their insertion, and an index of them by hash. */
#include "rt.h"

EXPORT(rt_dict_new) V dict_new(void) {
    struct dict *d = allocate(DICT, sizeof *d);
    return of(d);
}

uint32_t hash(V v) {
    if (is_float(v)) return hash_float(as_float(v));
    switch (type_of(v)) {
    case INT:
    case BOOL:
    case BIG: return hash_int(int_of(v));
    case STR: return hash_str(str(v));
    case NONETYPE: return 0x5A5A5A5A;
    case TUPLE: {
        uint32_t h = 0x345678;
        for (uint32_t i = 0; i < object(v)->size && !failed(); i++)
            h = (h ^ hash(tuple(v)->item[i])) * 1000003 + i;
        return h;
    }
    case FUNCTION:
    case RANGE: return (uint32_t)v * 2654435761U;
    default: raisef(TYPE_ERROR, "unhashable type: '%s'", type_name(v), ""); return 0;
    }
}

static bool same_key(const struct entry *e, V key, uint32_t h) {
    return e->hash == h && e->key != UNDEF && same_item(e->key, key);
}

static void index_all(struct dict *d, uint32_t slots) {
    if (slots != d->slots) {
        release_buffer(d->index);
        d->index = allocate_buffer(slots * sizeof *d->index);
        d->slots = slots;
    }
    __builtin_memset(d->index, 0xFF, slots * sizeof *d->index);
    for (uint32_t i = 0; i < d->used; i++) {
        uint32_t at = d->entry[i].hash & (slots - 1);
        while (d->index[at] >= 0)
            at = (at + 1) & (slots - 1);
        d->index[at] = (int32_t)i;
    }
}

/* Room for one more; what was deleted goes. */
static void make_room(struct dict *d) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < d->used; i++) {
        if (d->entry[i].key != UNDEF) d->entry[kept++] = d->entry[i];
    }
    d->used = kept;
    if (kept * 4 >= d->room * 3) {
        uint32_t room = d->room == 0 ? 5 : d->room * 2;
        d->entry = grow_buffer(d->entry, kept * sizeof *d->entry, room * sizeof *d->entry);
        d->room = room;
    }
    uint32_t slots = d->slots == 0 ? 8 : d->slots;
    while (slots < d->room * 3 / 2)
        slots *= 2;
    index_all(d, slots);
}

static int32_t look_up(const struct dict *d, V key, uint32_t h) {
    if (d->slots == 0) return -1;
    for (uint32_t at = h & (d->slots - 1);; at = (at + 1) & (d->slots - 1)) {
        int32_t i = d->index[at];
        if (i < 0 || same_key(&d->entry[i], key, h)) return i;
    }
}

EXPORT(rt_dict_set) void dict_set(V v, V key, V value) {
    struct dict *d = dict(v);
    uint32_t h = hash(key);
    if (failed()) return;
    int32_t found = look_up(d, key, h);
    if (found >= 0) {
        d->entry[found].value = value;
        return;
    }
    if (d->used == d->room) make_room(d);
    uint32_t at = h & (d->slots - 1);
    while (d->index[at] >= 0)
        at = (at + 1) & (d->slots - 1);
    d->index[at] = (int32_t)d->used;
    d->entry[d->used++] = (struct entry){.key = key, .value = value, .hash = h};
    d->head.size++;
}

V dict_get(V v, V key) {
    uint32_t h = hash(key);
    if (failed()) return UNDEF;
    int32_t found = look_up(dict(v), key, h);
    return found < 0 ? UNDEF : dict(v)->entry[found].value;
}

static V take(V v, V key) {
    uint32_t h = hash(key);
    if (failed()) return UNDEF;
    struct dict *d = dict(v);
    int32_t found = look_up(d, key, h);
    if (found < 0) return UNDEF;
    V value = d->entry[found].value;
    d->entry[found].key = d->entry[found].value = UNDEF;
    d->head.size--;
    return value;
}

EXPORT(rt_dict_delete) void rt_dict_delete(V v, V key) {
    if (take(v, key) == UNDEF && !failed()) raise_value(KEY_ERROR, key);
}

EXPORT(rt_dict_get) V rt_dict_get(V v, V key, V standard) {
    V found = dict_get(v, key);
    return found != UNDEF ? found : standard == UNDEF ? NONE : standard;
}

EXPORT(rt_dict_item) V rt_dict_item(V v, V key) {
    V found = dict_get(v, key);
    return found != UNDEF || failed() ? found : raise_value(KEY_ERROR, key);
}

EXPORT(rt_dict_pop) V rt_dict_pop(V v, V key, V standard) {
    V found = take(v, key);
    if (found != UNDEF || failed()) return found;
    return standard != UNDEF ? standard : raise_value(KEY_ERROR, key);
}

EXPORT(rt_dict_popitem) V rt_dict_popitem(V v) {
    struct dict *d = dict(v);
    while (d->used > 0 && d->entry[d->used - 1].key == UNDEF)
        d->used--; /* the index may name it still: nothing is there to be found */
    if (d->used == 0) return raise(KEY_ERROR, "popitem(): dictionary is empty");
    V pair[] = {d->entry[d->used - 1].key, d->entry[d->used - 1].value};
    (void)take(v, pair[0]);
    V t = tuple_new(2);
    tuple(t)->item[0] = pair[0];
    tuple(t)->item[1] = pair[1];
    index_all(d, d->slots);
    return t;
}

EXPORT(rt_dict_setdefault) V rt_dict_setdefault(V v, V key, V standard) {
    V found = dict_get(v, key);
    if (found != UNDEF || failed()) return found;
    if (standard == UNDEF) standard = NONE;
    dict_set(v, key, standard);
    return standard;
}

EXPORT(rt_dict_clear) void rt_dict_clear(V v) {
    struct dict *d = dict(v);
    d->head.size = d->used = 0;
    if (d->slots > 0) index_all(d, d->slots);
}

EXPORT(rt_dict_update) void rt_dict_update(V v, V other) {
    if (is_a(other, DICT)) {
        for (uint32_t i = 0; i < dict(other)->used; i++) {
            struct entry e = dict(other)->entry[i];
            if (e.key != UNDEF) dict_set(v, e.key, e.value);
        }
        return;
    }
    V pairs = list_of(other);
    for (uint32_t i = 0; !failed() && i < object(pairs)->size; i++) {
        V pair = list_of(list(pairs)->item[i]);
        if (failed()) return;
        if (object(pair)->size != 2) {
            unsupported("making a dict of what are no pairs");
        }
        dict_set(v, list(pair)->item[0], list(pair)->item[1]);
    }
}

EXPORT(rt_dict_copy) V rt_dict_copy(V v) {
    V out = dict_new();
    rt_dict_update(out, v);
    return out;
}

EXPORT(rt_dict_view) V rt_dict_view(V v, int32_t kind) {
    struct view *view = allocate(VIEW, sizeof *view);
    view->head.flag = (uint16_t)kind;
    view->dict = v;
    return of(view);
}

bool dict_remove(V v, V key) {
    return take(v, key) != UNDEF;
}

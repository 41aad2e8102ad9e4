/* Strings: UTF-8, whose code points are counted once; and text that is being put together. */
#include "rt.h"

uint32_t utf8_length(const char *bytes, size_t size) {
    uint32_t count = 0;
    for (size_t i = 0; i < size; i++)
        count += (bytes[i] & 0xC0) != 0x80;
    return count;
}

uint32_t utf8_next(const char **at) {
    const unsigned char *s = (const unsigned char *)*at;
    int more = s[0] < 0x80 ? 0 : s[0] < 0xE0 ? 1 : s[0] < 0xF0 ? 2 : 3;
    uint32_t c = more == 0 ? s[0] : s[0] & (0x3FU >> more);
    for (int i = 1; i <= more; i++)
        c = c << 6 | (s[i] & 0x3F);
    *at += more + 1;
    return c;
}

size_t utf8_put(char *out, uint32_t c) {
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    for (size_t i = more; i > 0; i--) {
        out[i] = (char)(0x80 | (c & 0x3F));
        c >>= 6;
    }
    out[0] = (char)((0xFF00U >> (more + 1) & 0xFF) | c);
    return more + 1;
}

static struct str *new_str(size_t size) {
    if (size > (size_t)1 << 30) raise(MEMORY_ERROR, "");
    struct str *s = allocate(STR, sizeof *s + size + 1);
    s->head.size = (uint32_t)size;
    return s;
}

V str_new(const char *bytes, size_t size) {
    struct str *s = new_str(size);
    __builtin_memcpy(s->byte, bytes, size);
    s->chars = utf8_length(bytes, size);
    return of(s);
}

V str_c(const char *text) {
    return str_new(text, __builtin_strlen(text));
}

V str_cat(V a, V b) {
    const struct str *x = str(a), *y = str(b);
    if (x->head.size == 0) return b;
    if (y->head.size == 0) return a;
    struct str *s = new_str((size_t)x->head.size + y->head.size);
    __builtin_memcpy(s->byte, x->byte, x->head.size);
    __builtin_memcpy(s->byte + x->head.size, y->byte, y->head.size);
    s->chars = x->chars + y->chars;
    return of(s);
}

V str_repeat(V v, int64_t times) {
    const struct str *part = str(v);
    if (times <= 0 || part->head.size == 0) return str_new("", 0);
    if (times > ((int64_t)1 << 30) / part->head.size) return raise(MEMORY_ERROR, "");
    struct str *s = new_str((size_t)times * part->head.size);
    for (int64_t i = 0; i < times; i++)
        __builtin_memcpy(s->byte + i * part->head.size, part->byte, part->head.size);
    s->chars = (uint32_t)times * part->chars;
    return of(s);
}

V str_slice_bytes(V v, uint32_t from, uint32_t to) {
    const struct str *whole = str(v);
    if (from == 0 && to == whole->head.size) return v;
    return str_new(whole->byte + from, to - from);
}

uint32_t str_offset(const struct str *s, uint32_t at) {
    if (s->chars == s->head.size) return at; /* ASCII */
    const char *p = s->byte;
    for (; at > 0; at--)
        (void)utf8_next(&p);
    return (uint32_t)(p - s->byte);
}

bool str_equal(const struct str *a, const struct str *b) {
    return a == b ||
           (a->head.size == b->head.size && __builtin_memcmp(a->byte, b->byte, a->head.size) == 0);
}

/* UTF-8 sorts as code points do. */
int str_compare(const struct str *a, const struct str *b) {
    uint32_t size = a->head.size < b->head.size ? a->head.size : b->head.size;
    int order = __builtin_memcmp(a->byte, b->byte, size);
    return order != 0 ? order : (a->head.size > b->head.size) - (a->head.size < b->head.size);
}

uint32_t hash_str(struct str *s) {
    if (s->hash != 0) return s->hash;
    uint32_t h = 2166136261; /* FNV-1a */
    for (uint32_t i = 0; i < s->head.size; i++)
        h = (h ^ (unsigned char)s->byte[i]) * 16777619;
    h ^= h >> 15;
    return s->hash = h != 0 ? h : 1;
}

/* Where it begins, from `from` on; -1: nowhere. */
static int64_t find_bytes(const struct str *s, const struct str *part, uint32_t from, uint32_t to) {
    for (uint32_t at = from; at + (uint64_t)part->head.size <= to; at++) {
        if (__builtin_memcmp(s->byte + at, part->byte, part->head.size) == 0) return at;
    }
    return -1;
}

bool str_contains(const struct str *s, const struct str *part) {
    return find_bytes(s, part, 0, s->head.size) >= 0;
}

bool is_space(uint32_t c) {
    return c == ' ' || (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x1F) || c == 0x85 || c == 0xA0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
           c == 0x202F || c == 0x205F || c == 0x3000;
}

void text_add(struct text *text, const char *bytes, size_t size) {
    if (text->size + size > text->room) {
        size_t room = (text->size + size) * 2 + 32;
        text->byte = grow_buffer(text->byte, text->size, room);
        text->room = room;
    }
    __builtin_memcpy(text->byte + text->size, bytes, size);
    text->size += size;
}

void text_add_c(struct text *text, const char *c) {
    text_add(text, c, __builtin_strlen(c));
}

void text_add_char(struct text *text, uint32_t c) {
    char bytes[4];
    text_add(text, bytes, utf8_put(bytes, c));
}

void text_add_str(struct text *text, V s) {
    text_add(text, str(s)->byte, str(s)->head.size);
}

V text_take(struct text *text) {
    V s = str_new(text->byte, text->size);
    release_buffer(text->byte);
    *text = (struct text){0};
    return s;
}

struct span {
    uint32_t first, last;
};

static bool is_within(uint32_t c, const struct span *span, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (c >= span[i].first && c <= span[i].last) return true;
    }
    return false;
}

/* Python escapes what cannot be printed. A table of all that Unicode has assigned is not carried:
 * of what lies beyond these spans, nothing is said rather than something wrong. */
static bool is_printable(uint32_t c) {
    static const struct span shown[] = {
        {0x20, 0x7E},     {0xA1, 0xAC},     {0xAE, 0x377},      {0x384, 0x38A},    {0x38E, 0x3A1},
        {0x3A3, 0x52F},   {0x5D0, 0x5EA},   {0x620, 0x6DC},     {0x904, 0x939},    {0x1E00, 0x1F15},
        {0x2010, 0x2027}, {0x2030, 0x205E}, {0x20A0, 0x20C0},   {0x2100, 0x218B},  {0x2190, 0x2426},
        {0x2460, 0x2B73}, {0x3001, 0x303F}, {0x3041, 0x3096},   {0x3099, 0x30FF},  {0x4E00, 0x9FFF},
        {0xAC00, 0xD7A3}, {0xFF01, 0xFF9F}, {0x1F300, 0x1F6D7}, {0x1F900, 0x1F9FF}};
    static const struct span hidden[] = {{0, 0x1F},        {0x7F, 0xA0},     {0xAD, 0xAD},
                                         {0x2000, 0x200F}, {0x2028, 0x202F}, {0x205F, 0x206F},
                                         {0x3000, 0x3000}, {0xE000, 0xF8FF}, {0xFEFF, 0xFEFF}};
    if (is_within(c, shown, sizeof shown / sizeof *shown)) return true;
    if (!is_within(c, hidden, sizeof hidden / sizeof *hidden))
        unsupported("the repr() of this character");
    return false;
}

static void add_escape(struct text *out, uint32_t c) {
    static const char hex[] = "0123456789abcdef";
    int digits = c < 0x100 ? 2 : c < 0x10000 ? 4 : 8;
    text_add_c(out, c < 0x100 ? "\\x" : c < 0x10000 ? "\\u" : "\\U");
    for (int i = digits; i-- > 0;)
        text_add(out, &hex[c >> (4 * i) & 15], 1);
}

V str_repr(V v) {
    const struct str *s = str(v);
    struct text out = {0};
    bool single = __builtin_memchr(s->byte, '\'', s->head.size) != NULL;
    bool twice = __builtin_memchr(s->byte, '"', s->head.size) != NULL;
    char quote = single && !twice ? '"' : '\'';
    text_add(&out, &quote, 1);
    for (const char *at = s->byte, *end = at + s->head.size; at < end;) {
        uint32_t c = utf8_next(&at);
        if (c == (uint32_t)quote || c == '\\') {
            text_add_c(&out, "\\");
            text_add_char(&out, c);
        } else if (c == '\n' || c == '\r' || c == '\t') {
            text_add_c(&out, c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t");
        } else if (!is_printable(c)) {
            add_escape(&out, c);
        } else {
            text_add_char(&out, c);
        }
    }
    text_add(&out, &quote, 1);
    return text_take(&out);
}

EXPORT(rt_str_cat) V rt_str_cat(V a, V b) {
    return str_cat(a, b);
}

/* Several at once: f-strings. Takes them off a list of `count` values, each a str. */
EXPORT(rt_join_values) V rt_join_values(const V *part, int32_t count) {
    struct text out = {0};
    for (int32_t i = 0; i < count; i++)
        text_add_str(&out, part[i]);
    return text_take(&out);
}

/* ---- methods */

/* Code point or byte positions of an optional start and stop. */
static void bounds(const struct str *s, V start, V stop, uint32_t *from, uint32_t *to) {
    struct slice slice;
    *from = 0;
    *to = s->head.size;
    if (start == UNDEF && stop == UNDEF) return;
    if (!slice_of(start == UNDEF ? NONE : start, stop == UNDEF ? NONE : stop, NONE, s->chars,
                  &slice))
        return;
    *from = str_offset(s, (uint32_t)slice.start);
    *to = str_offset(s, (uint32_t)(slice.start + slice.count));
}

static bool wants_str(V v, const char *method) {
    if (is_a(v, STR)) return true;
    raisef(TYPE_ERROR, "must be str, not %s", type_name(v), method);
    return false;
}

enum find { FIND, RFIND, INDEX, RINDEX };
EXPORT(rt_str_find) V rt_str_find(V v, V part, V start, V stop, int32_t how) {
    const struct str *s = str(v);
    uint32_t from, to;
    if (!wants_str(part, "find")) return 0;
    bounds(s, start, stop, &from, &to);
    if (failed()) return 0;
    int64_t at = -1;
    bool beyond = start != UNDEF && start != NONE && small(start) > (int64_t)s->chars;
    if (beyond) {
        at = -1;
    } else if (how == FIND || how == INDEX) {
        at = find_bytes(s, str(part), from, to);
    } else {
        for (int64_t k = (int64_t)to - str(part)->head.size; k >= from && at < 0; k--) {
            if (__builtin_memcmp(s->byte + k, str(part)->byte, str(part)->head.size) == 0) at = k;
        }
    }
    if (at < 0 && (how == INDEX || how == RINDEX)) return raise(VALUE_ERROR, "substring not found");
    return box_int64(at < 0 ? -1 : (int64_t)utf8_length(s->byte, (size_t)at));
}

EXPORT(rt_str_count) V rt_str_count(V v, V part, V start, V stop) {
    const struct str *s = str(v);
    uint32_t from, to;
    int64_t count = 0;
    if (!wants_str(part, "count")) return 0;
    bounds(s, start, stop, &from, &to);
    if (failed()) return 0;
    if (str(part)->head.size == 0) return box_int64(utf8_length(s->byte + from, to - from) + 1);
    for (int64_t at = from; (at = find_bytes(s, str(part), (uint32_t)at, to)) >= 0;
         at += str(part)->head.size)
        count++;
    return box_int64(count);
}

static bool has_end(const struct str *s, V part, uint32_t from, uint32_t to, bool at_start) {
    const struct str *p = str(part);
    if (p->head.size > to - from) return false;
    return __builtin_memcmp(s->byte + (at_start ? from : to - p->head.size), p->byte,
                            p->head.size) == 0;
}

EXPORT(rt_str_ends) V rt_str_ends(V v, V part, V start, V stop, int32_t at_start) {
    uint32_t from, to;
    bounds(str(v), start, stop, &from, &to);
    if (failed()) return 0;
    if (is_a(part, TUPLE)) {
        for (uint32_t i = 0; i < object(part)->size; i++) {
            if (!wants_str(tuple(part)->item[i], "")) return 0;
            if (has_end(str(v), tuple(part)->item[i], from, to, at_start)) return TRUE;
        }
        return FALSE;
    }
    if (!is_a(part, STR)) {
        return raisef(TYPE_ERROR, "%s first arg must be str or a tuple of str, not %s",
                      at_start ? "startswith" : "endswith", type_name(part));
    }
    return of_bool(has_end(str(v), part, from, to, at_start));
}

static bool in_set(uint32_t c, const struct str *set) {
    if (set == NULL) return is_space(c);
    for (const char *at = set->byte, *end = at + set->head.size; at < end;) {
        if (utf8_next(&at) == c) return true;
    }
    return false;
}

/* 1: left, 2: right, 3: both. */
EXPORT(rt_str_strip) V rt_str_strip(V v, V chars, int32_t sides) {
    const struct str *s = str(v), *set = chars == UNDEF || chars == NONE ? NULL : str(chars);
    const char *from = s->byte, *to = from + s->head.size;
    if (set != NULL && !is_a(chars, STR)) return raise(TYPE_ERROR, "strip arg must be None or str");
    while (sides & 1 && from < to) {
        const char *next = from;
        if (!in_set(utf8_next(&next), set)) break;
        from = next;
    }
    while (sides & 2 && from < to) {
        const char *last = to - 1, *p;
        while ((*last & 0xC0) == 0x80)
            last--;
        p = last;
        if (!in_set(utf8_next(&p), set)) break;
        to = last;
    }
    return str_slice_bytes(v, (uint32_t)(from - s->byte), (uint32_t)(to - s->byte));
}

static int64_t limit_of(V most) {
    if (most == UNDEF) return -1;
    int64_t out = 0;
    I i = index_of(most, "integer");
    return failed() || !int64_of(i, &out) ? -1 : out;
}

static V split_spaces(V v, int64_t most) {
    const struct str *s = str(v);
    V out = list_new(8);
    const char *at = s->byte, *end = at + s->head.size;
    for (;;) {
        const char *from = at, *next;
        while (from < end && (next = from, is_space(utf8_next(&next))))
            from = next;
        if (from == end) return out;
        const char *to = from;
        if (most == 0) {
            to = end;
            for (const char *p = end; p > from; to = p) {
                p--;
                while ((*p & 0xC0) == 0x80)
                    p--;
                next = p;
                if (!is_space(utf8_next(&next))) break;
            }
        }
        while (to < end && (next = to, !is_space(utf8_next(&next))) && most != 0)
            to = next;
        list_push(out, str_slice_bytes(v, (uint32_t)(from - s->byte), (uint32_t)(to - s->byte)));
        if (most == 0) return out;
        most -= most > 0;
        at = to;
    }
}

EXPORT(rt_str_split) V rt_str_split(V v, V separator, V most_value) {
    const struct str *s = str(v);
    int64_t most = limit_of(most_value);
    if (failed()) return 0;
    if (separator == UNDEF || separator == NONE) return split_spaces(v, most);
    if (!wants_str(separator, "split")) return 0;
    const struct str *part = str(separator);
    if (part->head.size == 0) return raise(VALUE_ERROR, "empty separator");
    V out = list_new(8);
    uint32_t from = 0;
    for (int64_t at; most != 0 && (at = find_bytes(s, part, from, s->head.size)) >= 0;
         most -= most > 0) {
        list_push(out, str_slice_bytes(v, from, (uint32_t)at));
        from = (uint32_t)at + part->head.size;
    }
    list_push(out, str_slice_bytes(v, from, s->head.size));
    return out;
}

static void reverse(V l) {
    struct list *all = list(l);
    for (uint32_t i = 0; i < all->head.size / 2; i++) {
        V kept = all->item[i];
        all->item[i] = all->item[all->head.size - 1 - i];
        all->item[all->head.size - 1 - i] = kept;
    }
}

EXPORT(rt_str_rsplit) V rt_str_rsplit(V v, V separator, V most_value) {
    const struct str *s = str(v);
    int64_t most = limit_of(most_value);
    if (failed()) return 0;
    if (most < 0) return rt_str_split(v, separator, UNDEF);
    if (separator == UNDEF || separator == NONE) unsupported("str.rsplit() by spaces with a limit");
    if (!wants_str(separator, "rsplit")) return 0;
    const struct str *part = str(separator);
    if (part->head.size == 0) return raise(VALUE_ERROR, "empty separator");
    V out = list_new(8);
    uint32_t to = s->head.size;
    for (int64_t at = (int64_t)to - part->head.size; at >= 0 && most > 0; at--) {
        if (__builtin_memcmp(s->byte + at, part->byte, part->head.size) != 0) continue;
        list_push(out, str_slice_bytes(v, (uint32_t)at + part->head.size, to));
        to = (uint32_t)at;
        at -= part->head.size - 1;
        most--;
    }
    list_push(out, str_slice_bytes(v, 0, to));
    reverse(out);
    return out;
}

EXPORT(rt_str_splitlines) V rt_str_splitlines(V v) {
    const struct str *s = str(v);
    V out = list_new(8);
    uint32_t from = 0;
    for (const char *at = s->byte, *end = at + s->head.size; at < end;) {
        uint32_t here = (uint32_t)(at - s->byte), c = utf8_next(&at);
        if (!(c >= 10 && c <= 13) && !(c >= 0x1C && c <= 0x1E) && c != 0x85 && c != 0x2028 &&
            c != 0x2029)
            continue;
        if (c == '\r' && at < end && *at == '\n') at++;
        list_push(out, str_slice_bytes(v, from, here));
        from = (uint32_t)(at - s->byte);
    }
    if (from < s->head.size) list_push(out, str_slice_bytes(v, from, s->head.size));
    return out;
}

EXPORT(rt_str_partition) V rt_str_partition(V v, V separator, int32_t last) {
    const struct str *s = str(v);
    if (!wants_str(separator, "partition")) return 0;
    const struct str *part = str(separator);
    if (part->head.size == 0) return raise(VALUE_ERROR, "empty separator");
    V out = tuple_new(3);
    int64_t at = find_bytes(s, part, 0, s->head.size);
    for (int64_t next = at; last && next >= 0;
         next = find_bytes(s, part, (uint32_t)next + 1, s->head.size))
        at = next;
    V *item = tuple(out)->item;
    item[0] = item[1] = item[2] = str_new("", 0);
    if (at < 0) {
        item[last ? 2 : 0] = v;
        return out;
    }
    item[0] = str_slice_bytes(v, 0, (uint32_t)at);
    item[1] = separator;
    item[2] = str_slice_bytes(v, (uint32_t)at + part->head.size, s->head.size);
    return out;
}

EXPORT(rt_str_join) V rt_str_join(V separator, V parts) {
    struct text out = {0};
    V all = is_a(parts, LIST) ? parts : list_of(parts);
    if (failed()) return 0;
    char number[12];
    for (uint32_t i = 0; i < object(all)->size; i++) {
        V part = list(all)->item[i];
        if (!is_a(part, STR)) {
            V at = int_text((I)i * 2, 10, false);
            __builtin_memcpy(number, str(at)->byte, str(at)->head.size + 1);
            return raisef(TYPE_ERROR, "sequence item %s: expected str instance, %s found", number,
                          type_name(part));
        }
        if (i > 0) text_add_str(&out, separator);
        text_add_str(&out, part);
    }
    return text_take(&out);
}

EXPORT(rt_str_replace) V rt_str_replace(V v, V from, V to, V most_value) {
    const struct str *s = str(v);
    struct text out = {0};
    int64_t most = limit_of(most_value);
    if (failed() || !wants_str(from, "replace") || !wants_str(to, "replace")) return 0;
    uint32_t at = 0;
    if (str(from)->head.size == 0) {
        const char *p = s->byte, *end = p + s->head.size;
        for (;; most -= most > 0) {
            if (most != 0) text_add_str(&out, to);
            if (p == end) break;
            text_add_char(&out, utf8_next(&p));
        }
        return text_take(&out);
    }
    for (int64_t next; most != 0 && (next = find_bytes(s, str(from), at, s->head.size)) >= 0;
         most -= most > 0) {
        text_add(&out, s->byte + at, (size_t)next - at);
        text_add_str(&out, to);
        at = (uint32_t)next + str(from)->head.size;
    }
    text_add(&out, s->byte + at, s->head.size - at);
    return text_take(&out);
}

/* Of ASCII and Latin-1, Greek and Cyrillic; anything else with a case is refused, not guessed. */
static uint32_t change_case(uint32_t c, bool upper) {
    if (c < 128) {
        if (upper ? c >= 'a' && c <= 'z' : c >= 'A' && c <= 'Z') return c ^ 32;
        return c;
    }
    if (c < 0xC0) {
        if (c == 0xB5 && upper) return 0x39C;
        return c;
    }
    if (c == 0xDF && upper) unsupported("the case of this letter");
    if (c <= 0xFF) {
        if (c == 0xD7 || c == 0xF7) return c;
        if (c == 0xFF) return upper ? 0x178 : c;
        return upper ? (c >= 0xE0 ? c - 32 : c) : (c < 0xE0 && c != 0xDF ? c + 32 : c);
    }
    if (c >= 0x391 && c <= 0x3A9 && c != 0x3A2)
        return upper ? c : c == 0x3A3 ? (unsupported("the case of this letter"), c) : c + 32;
    if (c >= 0x3B1 && c <= 0x3C9 && c != 0x3C2) return upper ? c - 32 : c;
    if (c >= 0x410 && c <= 0x42F) return upper ? c : c + 32;
    if (c >= 0x430 && c <= 0x44F) return upper ? c - 32 : c;
    if (c == 0x401 || c == 0x451) return upper ? 0x401 : 0x451;
    /* Without case: CJK, kana, Hangul, arrows, mathematics, symbols, emoji. */
    if ((c >= 0x2010 && c <= 0x20FF) || (c >= 0x2190 && c <= 0x245F) ||
        (c >= 0x2500 && c <= 0x2BFF) || (c >= 0x3000 && c <= 0x9FFF) ||
        (c >= 0xAC00 && c <= 0xD7A3) || (c >= 0x1F000 && c <= 0x1FAFF) ||
        (c >= 0x5D0 && c <= 0x5EA) || (c >= 0x600 && c <= 0x6FF))
        return c;
    unsupported("the case of this letter");
}

static bool is_letter(uint32_t c) {
    if (c < 128) return (c | 32) >= 'a' && (c | 32) <= 'z';
    if (c == 0xAA || c == 0xB5 || c == 0xBA) return true;
    if (c < 0xC0 || c == 0xD7 || c == 0xF7) return false;
    if (c <= 0x24F || (c >= 0x391 && c <= 0x3C9 && c != 0x3A2) || (c >= 0x400 && c <= 0x481))
        return true;
    if ((c >= 0x3041 && c <= 0x3096) || (c >= 0x30A1 && c <= 0x30FA) ||
        (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0xAC00 && c <= 0xD7A3))
        return true;
    if ((c >= 0x2010 && c <= 0x20CF) || (c >= 0x2190 && c <= 0x245F) ||
        (c >= 0x2500 && c <= 0x2BFF) || (c >= 0x3000 && c <= 0x3004) ||
        (c >= 0x1F000 && c <= 0x1FAFF))
        return false;
    unsupported("what this character is");
}

enum change { UPPER, LOWER, CAPITALIZE, TITLE, SWAPCASE };
EXPORT(rt_str_case) V rt_str_case(V v, int32_t change) {
    struct text out = {0};
    bool inside = false; /* of a word */
    for (const char *at = str(v)->byte, *end = at + str(v)->head.size; at < end;) {
        uint32_t c = utf8_next(&at);
        bool upper = change == UPPER || (!inside && (change == CAPITALIZE || change == TITLE));
        if (change == SWAPCASE) upper = change_case(c, true) != c;
        text_add_char(&out, change_case(c, upper));
        inside = change == TITLE ? is_letter(c) : true;
    }
    return text_take(&out);
}

enum kind { DIGIT, ALPHA, ALNUM, SPACE, UPPER_ONLY, LOWER_ONLY, DECIMAL, NUMERIC };
EXPORT(rt_str_is) V rt_str_is(V v, int32_t kind) {
    const struct str *s = str(v);
    bool any = false;
    for (const char *at = s->byte, *end = at + s->head.size; at < end;) {
        uint32_t c = utf8_next(&at);
        bool digit = c >= '0' && c <= '9';
        if (c >= 128 && (kind == DIGIT || kind == ALNUM || kind == DECIMAL || kind == NUMERIC) &&
            !is_letter(c))
            unsupported("what this character is");
        bool good = true;
        switch (kind) {
        case DIGIT:
        case DECIMAL:
        case NUMERIC: good = digit; break;
        case ALPHA: good = is_letter(c); break;
        case ALNUM: good = digit || is_letter(c); break;
        case SPACE: good = is_space(c); break;
        default: {
            bool upper = change_case(c, false) != c, lower = change_case(c, true) != c;
            any |= kind == UPPER_ONLY ? upper : lower;
            if (kind == UPPER_ONLY ? lower : upper) return FALSE;
            break;
        }
        }
        if (!good) return FALSE;
    }
    return of_bool(kind == UPPER_ONLY || kind == LOWER_ONLY ? any : s->head.size > 0);
}

/* -1: text to the right, 0: in the middle, 1: to the left. */
EXPORT(rt_str_justify) V rt_str_justify(V v, V width_value, V fill, int32_t side) {
    int64_t width = 0;
    I i = index_of(width_value, "integer");
    if (failed()) return 0;
    (void)int64_of(i, &width);
    int64_t chars = str(v)->chars, left = width - chars;
    if (fill != UNDEF && (!is_a(fill, STR) || str(fill)->chars != 1)) {
        return raise(TYPE_ERROR, "The fill character must be exactly one character long");
    }
    if (left <= 0) return v;
    int64_t before = side < 0 ? left : side > 0 ? 0 : left / 2 + (left & width & 1);
    V one = fill == UNDEF ? str_c(" ") : fill;
    return str_cat(str_cat(str_repeat(one, before), v), str_repeat(one, left - before));
}

EXPORT(rt_str_zfill) V rt_str_zfill(V v, V width_value) {
    int64_t width = 0;
    I i = index_of(width_value, "integer");
    if (failed()) return 0;
    (void)int64_of(i, &width);
    const struct str *s = str(v);
    int64_t left = width - s->chars;
    if (left <= 0) return v;
    bool sign = s->head.size > 0 && (s->byte[0] == '+' || s->byte[0] == '-');
    V zeros = str_repeat(str_c("0"), left);
    if (!sign) return str_cat(zeros, v);
    return str_cat(str_cat(str_slice_bytes(v, 0, 1), zeros), str_slice_bytes(v, 1, s->head.size));
}

EXPORT(rt_str_remove) V rt_str_remove(V v, V part, int32_t prefix) {
    if (!wants_str(part, "")) return 0;
    const struct str *s = str(v);
    uint32_t size = str(part)->head.size;
    if (!has_end(s, part, 0, s->head.size, prefix)) return v;
    return prefix ? str_slice_bytes(v, size, s->head.size)
                  : str_slice_bytes(v, 0, s->head.size - size);
}

EXPORT(rt_chr) V rt_chr(V v) {
    char bytes[4];
    int64_t c = 0;
    I i = index_of(v, "integer");
    if (failed()) return 0;
    if (!int64_of(i, &c) || c < 0 || c > 0x10FFFF)
        return raise(VALUE_ERROR, "chr() arg not in range(0x110000)");
    if (c >= 0xD800 && c <= 0xDFFF) unsupported("surrogates");
    return str_new(bytes, utf8_put(bytes, (uint32_t)c));
}

EXPORT(rt_ord) V rt_ord(V v) {
    if (!is_a(v, STR))
        return raisef(TYPE_ERROR, "ord() expected string of length 1, but %s found", type_name(v),
                      "");
    if (str(v)->chars != 1) {
        V length = int_text((I)str(v)->chars * 2, 10, false);
        return raisef(TYPE_ERROR, "ord() expected a character, but string of length %s found",
                      str(length)->byte, "");
    }
    const char *at = str(v)->byte;
    return box_int64(utf8_next(&at));
}

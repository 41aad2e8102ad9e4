/* String literals: escapes, and the parts of f-strings (The Python Language Reference, 2.4). */
#include "compile/ast.h"

#include <string.h>

/* A literal that is being read. */
struct literal {
    struct unit *unit;
    const char *at, *end;
    uint32_t line, column;
    bool raw;
    char *out;
    uint32_t size;
};

static _Noreturn void refuse(const struct literal *l, const char *what) {
    refuse_at(l->unit, l->line, l->column, "%s", what);
}

static void put(struct literal *l, uint32_t c) {
    if (c < 0x80) {
        l->out[l->size++] = (char)c;
        return;
    }
    uint32_t more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    for (uint32_t i = more; i > 0; i--) {
        l->out[l->size + i] = (char)(0x80 | (c & 0x3F));
        c >>= 6;
    }
    l->out[l->size] = (char)((0xFF00U >> (more + 1) & 0xFF) | c);
    l->size += more + 1;
}

static uint32_t hexadecimal(struct literal *l, int digits) {
    uint32_t value = 0;
    for (int i = 0; i < digits; i++, l->at++) {
        char c = l->at < l->end ? *l->at : 0, lower = (char)(c | 32);
        if (c >= '0' && c <= '9') {
            value = value << 4 | (uint32_t)(c - '0');
        } else if (lower >= 'a' && lower <= 'f') {
            value = value << 4 | (uint32_t)(lower - 'a' + 10);
        } else {
            refuse(l, "truncated escape in a string");
        }
    }
    if (value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF))
        refuse(l, "this character is not supported in a string");
    return value;
}

/* Behind a backslash. */
static void escape(struct literal *l) {
    static const char simple[] = "\\\\''\"\"a\ab\bf\fn\nr\rt\tv\v";
    char c = l->at < l->end ? *l->at++ : 0;
    for (const char *s = simple; *s != 0; s += 2) {
        if (*s == c) {
            put(l, (unsigned char)s[1]);
            return;
        }
    }
    if (c == '\n') return;
    if (c == '\r') {
        if (l->at < l->end && *l->at == '\n') l->at++;
    } else if (c >= '0' && c <= '7') {
        uint32_t value = (uint32_t)(c - '0');
        for (int i = 0; i < 2 && l->at < l->end && *l->at >= '0' && *l->at <= '7'; i++)
            value = value * 8 + (uint32_t)(*l->at++ - '0');
        if (value > 255) refuse(l, "this escape is not supported");
        put(l, value);
    } else if (c == 'x') {
        put(l, hexadecimal(l, 2));
    } else if (c == 'u') {
        put(l, hexadecimal(l, 4));
    } else if (c == 'U') {
        put(l, hexadecimal(l, 8));
    } else if (c == 'N') {
        refuse(l, "\\N in a string is not supported");
    } else { /* unknown ones stay as they are */
        put(l, '\\');
        l->at--;
    }
}

static struct node *text_node(struct literal *l, uint32_t from) {
    struct node *node = ast_new(l->unit, N_STRING, l->line, l->column);
    node->text = l->out + from;
    node->size = l->size - from;
    return node;
}

/* The end of an expression in braces: at !, :, = or }. */
static const char *expression_end(const struct literal *l) {
    int depth = 0;
    for (const char *at = l->at; at < l->end; at++) {
        char c = *at;
        if (c == '\'' || c == '"') {
            const char *close = at + 1;
            while (close < l->end && *close != c)
                close++;
            at = close;
        } else if (c == '(' || c == '[' || c == '{') {
            depth++;
        } else if (depth > 0 && (c == ')' || c == ']' || c == '}')) {
            depth--;
        } else if (depth == 0 && c == '!' && at + 1 < l->end && at[1] == '=') {
            at++;
        } else if (depth == 0 && (c == '}' || c == ':' || c == '!')) {
            return at;
        } else if (depth == 0 && c == '=') {
            if (at + 1 < l->end && at[1] == '=') {
                at++;
            } else if (at > l->at && (at[-1] == '<' || at[-1] == '>')) {
                continue;
            } else {
                return at;
            }
        } else if (c == '\\' || c == '#') {
            refuse(l, "a backslash or comment in an f-string's expression is not supported");
        }
    }
    refuse(l, "f-string: expecting '}'");
}

static struct node *parts(struct literal *l, bool nested);

static struct node *field(struct literal *l) {
    struct node *node = ast_new(l->unit, N_FIELD, l->line, l->column);
    const char *end = expression_end(l);
    const char *from = l->at;
    while (from < end && (*from == ' ' || *from == '\t' || *from == '\n'))
        from++;
    if (from == end) refuse(l, "f-string: an expression is missing");
    node->a = parse_part(l->unit, l->at, (size_t)(end - l->at), l->line, l->column);
    l->at = end;
    if (*l->at == '=') refuse(l, "= in an f-string's field is not supported");
    if (*l->at == '!') {
        if (l->at + 2 >= l->end || strchr("sra", l->at[1]) == NULL)
            refuse(l, "f-string: invalid conversion character");
        node->op = (uint8_t)l->at[1];
        l->at += 2;
    }
    if (l->at < l->end && *l->at == ':') {
        l->at++;
        unit_enter(l->unit, l->line, l->column);
        node->b = parts(l, true);
        unit_leave(l->unit);
    }
    if (l->at >= l->end || *l->at != '}') refuse(l, "f-string: expecting '}'");
    l->at++;
    return node;
}

/* Of an f-string, or (nested) of a specification up to its brace. */
static struct node *parts(struct literal *l, bool nested) {
    struct node *joined = ast_new(l->unit, N_JOINED, l->line, l->column), **last = &joined->a;
    uint32_t from = l->size;
    while (l->at < l->end && !(nested && *l->at == '}')) {
        char c = *l->at++;
        bool twice = l->at < l->end && *l->at == c && !nested;
        if (c == '\\' && !l->raw) {
            escape(l);
        } else if ((c == '{' || c == '}') && twice) {
            l->at++;
            put(l, (unsigned char)c);
        } else if (c == '}') {
            refuse(l, "f-string: single '}' is not allowed");
        } else if (c == '{') {
            if (l->size > from) {
                *last = text_node(l, from);
                last = &(*last)->next;
            }
            *last = field(l);
            last = &(*last)->next;
            from = l->size;
        } else {
            l->out[l->size++] = c;
        }
    }
    if (l->size > from) *last = text_node(l, from);
    return joined;
}

struct node *parse_string(struct unit *u, const struct token *token) {
    struct literal l = {.unit = u,
                        .at = token->text,
                        .end = token->text + token->size,
                        .line = token->line,
                        .column = token->column};
    bool formatted = false;
    for (; *l.at != '\'' && *l.at != '"'; l.at++) {
        char prefix = (char)(*l.at | 32);
        if (prefix == 'b') refuse(&l, "bytes are not supported");
        l.raw |= prefix == 'r';
        formatted |= prefix == 'f';
    }
    uint32_t quotes = l.end - l.at >= 6 && l.at[1] == *l.at && l.at[2] == *l.at ? 3 : 1;
    l.at += quotes;
    l.end -= quotes;
    l.out = unit_allocate(u, (size_t)(l.end - l.at) + 1);
    if (formatted) {
        struct node *joined = parts(&l, false);
        if (joined->a == NULL) return text_node(&l, 0);
        if (joined->a->kind == N_STRING && joined->a->next == NULL) return joined->a;
        return joined;
    }
    while (l.at < l.end) {
        char c = *l.at++;
        if (c == '\\' && !l.raw) {
            escape(&l);
        } else if (c == '\r') {
            put(&l, '\n');
            if (l.at < l.end && *l.at == '\n') l.at++;
        } else {
            l.out[l.size++] = c;
        }
    }
    return text_node(&l, 0);
}

/* From tokens to nodes: expressions, and what may be assigned to (The Python Language Reference,
 * chapter 6). */
#include "compile/parse.h"

#include <stdlib.h>
#include <string.h>

static bool is_keyword(const struct token *token) {
    static const char *const words[] = {
        "False", "None",     "True",  "and",    "as",   "assert", "async",  "await",    "break",
        "class", "continue", "def",   "del",    "elif", "else",   "except", "finally",  "for",
        "from",  "global",   "if",    "import", "in",   "is",     "lambda", "nonlocal", "not",
        "or",    "pass",     "raise", "return", "try",  "while",  "with",   "yield"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (text_is(token->text, token->size, words[i])) return true;
    }
    return false;
}

struct node *parse_name(struct parser *p) {
    if (p->token.kind != NAME || is_keyword(&p->token))
        refuse(p, "invalid syntax: expected a name");
    struct node *node = make(p, N_NAME);
    node->text = p->token.text;
    node->size = p->token.size;
    next(p);
    return node;
}

/* ---- literals */

static struct node *integer(struct parser *p) {
    struct node *node = make(p, N_INT);
    char *digits = unit_allocate(p->unit, p->token.size + 1);
    uint32_t count = 0;
    for (uint32_t i = 0; i < p->token.size; i++) {
        if (p->token.text[i] != '_') digits[count++] = p->token.text[i];
    }
    char kind = (char)(count > 1 ? digits[1] | 32 : 0);
    int base = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 10;
    const char *at = digits + (base == 10 ? 0 : 2);
    uint64_t value = 0;
    for (const char *d = at; *d != 0; d++) {
        unsigned digit = *d <= '9' ? (unsigned)(*d - '0') : (unsigned)((*d | 32) - 'a' + 10);
        if (value > (((uint64_t)1 << 61) - digit) / (unsigned)base) {
            node->text = at; /* as text, for the runtime to read */
            node->size = (uint32_t)strlen(at);
            node->op = (uint8_t)base;
            if (node->size > 4000) refuse(p, "an integer literal of so many digits");
            break;
        }
        value = value * (unsigned)base + digit;
    }
    node->integer = node->text != NULL ? 0 : (int64_t)value;
    next(p);
    return node;
}

static struct node *real(struct parser *p) {
    struct node *node = make(p, N_FLOAT);
    char *text = unit_allocate(p->unit, p->token.size + 1);
    uint32_t count = 0;
    for (uint32_t i = 0; i < p->token.size; i++) {
        if (p->token.text[i] != '_') text[count++] = p->token.text[i];
    }
    node->real = strtod(text, NULL);
    next(p);
    return node;
}

static struct node *strings(struct parser *p) {
    struct node *first = parse_string(p->unit, &p->token);
    next(p);
    if (p->token.kind != STRING) return first;
    /* Beside each other, they are one: of parts, if any has them. */
    struct node *joined = make_at(p, N_JOINED, first), **last = &joined->a;
    bool plain = first->kind == N_STRING;
    size_t size = first->size;
    *last = plain ? first : first->a;
    while (p->token.kind == STRING) {
        struct node *more = parse_string(p->unit, &p->token);
        next(p);
        plain &= more->kind == N_STRING;
        size += more->size;
        while (*last != NULL)
            last = &(*last)->next;
        *last = more->kind == N_STRING ? more : more->a;
    }
    if (!plain) return joined;
    char *text = unit_allocate(p->unit, size + 1), *end = text;
    for (const struct node *part = joined->a; part != NULL; part = part->next) {
        memcpy(end, part->text, part->size);
        end += part->size;
    }
    joined->kind = N_STRING;
    joined->a = NULL;
    joined->text = text;
    joined->size = (uint32_t)size;
    return joined;
}

/* ---- expressions */

static struct node *disjunction(struct parser *p);

/* for TARGET in ITERABLE [if ...] ...: what comprehensions have behind their first expression. */
static struct node *clauses(struct parser *p) {
    struct node *first = NULL, **last = &first;
    while (is(p, "for") || is(p, "async")) {
        if (is(p, "async")) refuse(p, "async is not supported");
        struct node *clause = make(p, N_FOR_IN), **condition = &clause->c;
        enter(p);
        next(p);
        clause->a = parse_targets(p);
        expect(p, "in");
        clause->b = disjunction(p);
        while (take(p, "if")) {
            *condition = disjunction(p);
            condition = &(*condition)->next;
        }
        leave(p);
        *last = clause;
        last = &clause->next;
    }
    return first;
}

static struct node *comprehension(struct parser *p, enum node_kind kind, struct node *element) {
    struct node *node = make_at(p, kind, element);
    node->a = element;
    node->b = clauses(p);
    return node;
}

static struct node *star_or_expression(struct parser *p) {
    if (!is(p, "*")) return parse_expression(p);
    struct node *node = make(p, N_STAR);
    next(p);
    node->a = parse_expression(p);
    return node;
}

/* (...): a tuple, a generator, or what is in it. */
static struct node *parenthesized(struct parser *p) {
    struct node *tuple = make(p, N_TUPLE), **last = &tuple->a;
    next(p);
    if (take(p, ")")) return tuple;
    if (is(p, "yield")) refuse(p, "yield is not supported");
    struct node *first = star_or_expression(p);
    if (is(p, ":=")) refuse(p, "assignment expressions are not supported");
    if (is(p, "for")) {
        struct node *node = comprehension(p, N_GENERATOR, first);
        expect(p, ")");
        return node;
    }
    if (take(p, ")")) {
        if (first->kind == N_STAR) refuse(p, "invalid syntax: a starred expression alone");
        return first;
    }
    for (*last = first;;) {
        last = &(*last)->next;
        if (take(p, ")")) return tuple;
        expect(p, ",");
        if (take(p, ")")) return tuple;
        *last = star_or_expression(p);
    }
}

static struct node *bracketed(struct parser *p) {
    struct node *list = make(p, N_LIST), **last = &list->a;
    next(p);
    if (take(p, "]")) return list;
    struct node *first = star_or_expression(p);
    if (is(p, "for")) {
        struct node *node = comprehension(p, N_LIST_OF, first);
        expect(p, "]");
        return node;
    }
    for (*last = first;;) {
        last = &(*last)->next;
        if (take(p, "]")) return list;
        expect(p, ",");
        if (take(p, "]")) return list;
        *last = star_or_expression(p);
    }
}

static struct node *braced(struct parser *p) {
    struct node *dict = make(p, N_DICT), **last = &dict->a;
    next(p);
    if (take(p, "}")) return dict;
    do {
        if (is(p, "}")) break;
        if (is(p, "**")) refuse(p, "** in a dict is not supported");
        struct node *pair = make(p, N_PAIR);
        pair->a = star_or_expression(p);
        if (!is(p, ":")) refuse(p, "sets are not supported");
        next(p);
        pair->b = parse_expression(p);
        if (is(p, "for") && dict->a == NULL) {
            struct node *node = comprehension(p, N_DICT_OF, pair);
            expect(p, "}");
            return node;
        }
        *last = pair;
        last = &pair->next;
    } while (take(p, ","));
    expect(p, "}");
    return dict;
}

struct node *parse_constant(struct parser *p, enum node_kind kind) {
    struct node *node = make(p, kind);
    next(p);
    return node;
}

static struct node *atom(struct parser *p) {
    switch (p->token.kind) {
    case INTEGER: return integer(p);
    case REAL: return real(p);
    case STRING: return strings(p);
    case NAME:
        if (is(p, "None")) return parse_constant(p, N_NONE);
        if (is(p, "True")) return parse_constant(p, N_TRUE);
        if (is(p, "False")) return parse_constant(p, N_FALSE);
        if (is(p, "await") || is(p, "yield"))
            refuse(p, "generators and coroutines are not supported");
        return parse_name(p);
    case OPERATOR:
        if (is(p, "(")) return parenthesized(p);
        if (is(p, "[")) return bracketed(p);
        if (is(p, "{")) return braced(p);
        if (is(p, "...")) refuse(p, "... is not supported");
        refuse(p, "invalid syntax");
    default: refuse(p, "invalid syntax");
    }
}

static struct node *arguments(struct parser *p) {
    struct node *first = NULL, **last = &first;
    uint32_t named = 0;
    while (!is(p, ")")) {
        struct node *argument;
        if (is(p, "*") || is(p, "**")) refuse(p, "* and ** in calls are not supported");
        argument = parse_expression(p);
        if (is(p, ":=")) refuse(p, "assignment expressions are not supported");
        if (is(p, "=")) {
            if (argument->kind != N_NAME) refuse(p, "invalid syntax: a keyword must be a name");
            next(p);
            argument->kind = N_KEYWORD;
            argument->a = parse_expression(p);
            for (const struct node *other = first; other != NULL; other = other->next) {
                if (other->kind == N_KEYWORD && other->size == argument->size &&
                    memcmp(other->text, argument->text, other->size) == 0)
                    refuse(p, "a keyword argument is repeated");
            }
            if (++named >= MAX_OPERANDS) refuse(p, "so many keyword arguments are not supported");
        } else if (is(p, "for")) {
            argument = comprehension(p, N_GENERATOR, argument);
            if (first != NULL || !is(p, ")"))
                refuse(p, "a generator expression must be parenthesized");
        } else if (named > 0) {
            refuse(p, "a positional argument follows a keyword argument");
        }
        *last = argument;
        last = &argument->next;
        if (!take(p, ",")) break;
    }
    expect(p, ")");
    return first;
}

static struct node *subscript(struct parser *p) {
    struct node *slice = make(p, N_SLICE), *item;
    bool is_slice = false;
    if (!is(p, ":")) slice->a = star_or_expression(p);
    if (slice->a != NULL && slice->a->kind == N_STAR) refuse(p, "* in an index is not supported");
    if (take(p, ":")) {
        is_slice = true;
        if (!is(p, ":") && !is(p, "]") && !is(p, ",")) slice->b = parse_expression(p);
        if (take(p, ":") && !is(p, "]") && !is(p, ",")) slice->c = parse_expression(p);
    }
    if (is(p, ",")) { /* a tuple as the index */
        if (is_slice) refuse(p, "several slices at once are not supported");
        struct node *tuple = make_at(p, N_TUPLE, slice), **last = &slice->a->next;
        tuple->a = slice->a;
        while (take(p, ",") && !is(p, "]")) {
            *last = parse_expression(p);
            last = &(*last)->next;
        }
        item = tuple;
    } else {
        item = is_slice ? slice : slice->a;
    }
    expect(p, "]");
    return item;
}

struct node *parse_primary(struct parser *p) {
    struct node *node = atom(p);
    for (;;) {
        struct node *outer;
        if (is(p, "(")) {
            outer = make_at(p, N_CALL, node);
            next(p);
            outer->b = arguments(p);
        } else if (is(p, "[")) {
            outer = make_at(p, N_ITEM, node);
            next(p);
            outer->b = subscript(p);
        } else if (is(p, ".")) {
            outer = make_at(p, N_ATTRIBUTE, node);
            next(p);
            struct node *attribute = parse_name(p);
            outer->text = attribute->text;
            outer->size = attribute->size;
        } else {
            return node;
        }
        outer->a = node;
        node = outer;
    }
}

static struct node *unary(struct parser *p);

static struct node *power(struct parser *p) {
    struct node *base = parse_primary(p);
    if (!is(p, "**")) return base;
    struct node *node = make_at(p, N_BINARY, base);
    next(p);
    node->op = O_POW;
    node->a = base;
    enter(p);
    node->b = unary(p);
    leave(p);
    return node;
}

static struct node *unary(struct parser *p) {
    if (!is(p, "-") && !is(p, "+") && !is(p, "~")) return power(p);
    struct node *node = make(p, N_UNARY);
    node->op = is(p, "-") ? O_NEGATE : is(p, "+") ? O_PLUS : O_INVERT;
    next(p);
    enter(p);
    node->a = unary(p);
    leave(p);
    return node;
}

static const struct {
    const char *text;
    uint8_t operation, level;
} binaries[] = {{"|", O_OR, 0},      {"^", O_XOR, 1},       {"&", O_AND, 2}, {"<<", O_LSHIFT, 3},
                {">>", O_RSHIFT, 3}, {"+", O_ADD, 4},       {"-", O_SUB, 4}, {"*", O_MUL, 5},
                {"/", O_TRUEDIV, 5}, {"//", O_FLOORDIV, 5}, {"%", O_MOD, 5}};

/* Which operator it is that binds at least as tightly. */
static int binary_of(const struct parser *p, int level) {
    for (size_t i = 0; p->token.kind == OPERATOR && i < sizeof binaries / sizeof *binaries; i++) {
        if (binaries[i].level >= level && is(p, binaries[i].text)) return (int)i;
    }
    return -1;
}

/* Operands, and operators that bind at least as tightly as `level`: what binds more tightly than
 * the one before it belongs to that one's right side. */
static struct node *binary(struct parser *p, int level) {
    struct node *left = unary(p);
    for (int found; (found = binary_of(p, level)) >= 0;) {
        struct node *node = make_at(p, N_BINARY, left);
        node->op = binaries[found].operation;
        next(p);
        node->a = left;
        node->b = binary(p, binaries[found].level + 1);
        left = node;
    }
    if (is(p, "@")) refuse(p, "@ is not supported");
    return left;
}

static bool comparison_of(struct parser *p, uint8_t *op) {
    static const char *const signs[] = {"<", "<=", ">", ">=", "==", "!="};
    for (uint8_t i = 0; i < 6; i++) {
        if (take(p, signs[i])) {
            *op = i;
            return true;
        }
    }
    if (take(p, "in")) {
        *op = C_IN;
    } else if (take(p, "not")) {
        expect(p, "in");
        *op = C_NOT_IN;
    } else if (take(p, "is")) {
        *op = take(p, "not") ? C_IS_NOT : C_IS;
    } else {
        return false;
    }
    return true;
}

static struct node *comparison(struct parser *p) {
    struct node *first = binary(p, 0), *chain = NULL, **last = NULL;
    uint8_t op;
    for (struct token at = p->token; comparison_of(p, &op); at = p->token) {
        if (chain == NULL) {
            chain = make_at(p, N_COMPARE, first);
            chain->a = first;
            last = &chain->b;
        }
        struct node *compared = ast_new(p->unit, N_COMPARED, at.line, at.column);
        compared->op = op;
        compared->a = binary(p, 0);
        *last = compared;
        last = &compared->next;
    }
    return chain != NULL ? chain : first;
}

static struct node *inversion(struct parser *p) {
    if (!is(p, "not")) return comparison(p);
    struct node *node = make(p, N_NOT);
    next(p);
    enter(p);
    node->a = inversion(p);
    leave(p);
    return node;
}

static struct node *conjunction(struct parser *p) {
    struct node *left = inversion(p);
    while (is(p, "and")) {
        struct node *node = make_at(p, N_AND, left);
        next(p);
        node->a = left;
        node->b = inversion(p);
        left = node;
    }
    return left;
}

static struct node *disjunction(struct parser *p) {
    struct node *left = conjunction(p);
    while (is(p, "or")) {
        struct node *node = make_at(p, N_OR, left);
        next(p);
        node->a = left;
        node->b = conjunction(p);
        left = node;
    }
    return left;
}

struct function *parse_new_function(struct parser *p, const char *text, uint32_t size) {
    struct function *f = unit_allocate(p->unit, sizeof *f);
    if (p->unit->function_count >= MAX_FUNCTIONS) refuse(p, "so many functions are not supported");
    f->name = text;
    f->name_size = size;
    f->number = p->unit->function_count++;
    f->line = p->token.line;
    f->outer = p->function;
    if (p->unit->last_function != NULL) p->unit->last_function->next = f;
    if (p->unit->functions == NULL) p->unit->functions = f;
    p->unit->last_function = f;
    return f;
}

void parse_annotation(struct parser *p, bool is_evaluated) {
    struct node *node = parse_expression(p);
    if (!is_evaluated) return;
    node->next = p->unit->annotations;
    p->unit->annotations = node;
}

struct node *parse_parameters(struct parser *p, const char *end) {
    struct node *first = NULL, **last = &first;
    bool standard = false;
    uint32_t count = 0;
    while (!is(p, end)) {
        if (is(p, "*") || is(p, "**") || is(p, "/"))
            refuse(p, "* and / among parameters are not supported");
        if (++count >= MAX_OPERANDS) refuse(p, "so many parameters are not supported");
        struct node *parameter = parse_name(p);
        for (const struct node *other = first; other != NULL; other = other->next) {
            if (other->size == parameter->size &&
                memcmp(other->text, parameter->text, other->size) == 0)
                refuse(p, "a parameter's name is there twice");
        }
        if (*end == ')' && take(p, ":")) parse_annotation(p, true);
        if (take(p, "=")) {
            standard = true;
            parameter->a = parse_expression(p);
        } else if (standard) {
            refuse(p, "a parameter without a default follows one with a default");
        }
        *last = parameter;
        last = &parameter->next;
        if (!take(p, ",")) break;
    }
    expect(p, end);
    return first;
}

static struct node *lambda(struct parser *p) {
    struct node *node = make(p, N_LAMBDA);
    struct function *outer = p->function;
    next(p);
    node->b = parse_parameters(p, ":");
    node->function = parse_new_function(p, "<lambda>", 8);
    node->function->definition = node;
    p->function = node->function;
    node->a = parse_expression(p);
    p->function = outer;
    return node;
}

struct node *parse_expression(struct parser *p) {
    enter(p);
    if (is(p, "lambda")) {
        struct node *node = lambda(p);
        leave(p);
        return node;
    }
    struct node *value = disjunction(p);
    if (is(p, "if")) {
        struct node *node = make_at(p, N_IF_ELSE, value);
        next(p);
        node->b = value;
        node->a = disjunction(p);
        expect(p, "else");
        node->c = parse_expression(p);
        value = node;
    }
    leave(p);
    return value;
}

struct node *parse_expressions(struct parser *p) {
    struct node *first = star_or_expression(p);
    if (is(p, ":=")) refuse(p, "assignment expressions are not supported");
    if (!is(p, ",")) {
        if (first->kind == N_STAR) refuse(p, "invalid syntax: a starred expression alone");
        return first;
    }
    struct node *tuple = make_at(p, N_TUPLE, first), **last = &first->next;
    tuple->a = first;
    while (take(p, ",") && !ends_list(p)) {
        *last = star_or_expression(p);
        last = &(*last)->next;
    }
    return tuple;
}

struct node *parse_part(struct unit *u, const char *text, size_t size, uint32_t line,
                        uint32_t column) {
    struct parser p = {.unit = u, .function = u->last_function};
    lexer_init(&p.lexer, u, text, size, line);
    p.lexer.is_part = true;
    p.lexer.line_start = text - column + 1;
    next(&p);
    enter(&p);
    struct node *node = parse_expressions(&p);
    leave(&p);
    if (p.token.kind != END) refuse(&p, "invalid syntax in an f-string");
    return node;
}

void parse_check_target(struct parser *p, struct node *target, bool nested) {
    switch (target->kind) {
    case N_NAME:
    case N_ITEM: return;
    case N_STAR:
        if (!nested)
            refuse_at(p->unit, target->line, target->column,
                      "a starred target must be in a list or tuple");
        parse_check_target(p, target->a, true);
        return;
    case N_LIST:
    case N_TUPLE: {
        int stars = 0;
        for (struct node *item = target->a; item != NULL; item = item->next) {
            parse_check_target(p, item, true);
            stars += item->kind == N_STAR;
        }
        if (stars > 1)
            refuse_at(p->unit, target->line, target->column,
                      "several starred targets in an assignment");
        return;
    }
    case N_ATTRIBUTE:
        refuse_at(p->unit, target->line, target->column,
                  "assigning to an attribute is not supported");
    default: refuse_at(p->unit, target->line, target->column, "cannot assign to this expression");
    }
}

struct node *parse_targets(struct parser *p) {
    struct node *first = is(p, "*") ? star_or_expression(p) : parse_primary(p);
    if (is(p, ",")) {
        struct node *tuple = make_at(p, N_TUPLE, first), **last = &first->next;
        tuple->a = first;
        while (take(p, ",") && !is(p, "in")) {
            *last = is(p, "*") ? star_or_expression(p) : parse_primary(p);
            last = &(*last)->next;
        }
        first = tuple;
    }
    parse_check_target(p, first, false);
    return first;
}

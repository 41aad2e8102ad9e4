/* From tokens to nodes (The Python Language Reference, chapter 10), as far as we compile it; the
 * rest is refused by name. */
#include "compile/ast.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 150 };

struct parser {
    struct unit *unit;
    struct lexer lexer;
    struct token token; /* to be looked at */
    struct function *function;
    int loops;
};

static struct node *expression(struct parser *p);
static struct node *expression_list(struct parser *p);
static struct node *statements(struct parser *p);

struct node *ast_new(struct unit *u, enum node_kind kind, uint32_t line, uint32_t column) {
    struct node *node = unit_allocate(u, sizeof *node);
    node->kind = (uint8_t)kind;
    node->line = line;
    node->column = column;
    return node;
}

static struct node *make(struct parser *p, enum node_kind kind) {
    return ast_new(p->unit, kind, p->token.line, p->token.column);
}

static struct node *make_at(struct parser *p, enum node_kind kind, const struct node *at) {
    return ast_new(p->unit, kind, at->line, at->column);
}

static _Noreturn void refuse(struct parser *p, const char *what) {
    refuse_at(p->unit, p->token.line, p->token.column, "%s", what);
}

static void next(struct parser *p) {
    p->token = lexer_next(&p->lexer);
}

static bool is(const struct parser *p, const char *text) {
    return (p->token.kind == OPERATOR || p->token.kind == NAME) &&
           text_is(p->token.text, p->token.size, text);
}

static bool take(struct parser *p, const char *text) {
    if (!is(p, text)) return false;
    next(p);
    return true;
}

static void expect(struct parser *p, const char *text) {
    if (take(p, text)) return;
    refuse_at(p->unit, p->token.line, p->token.column, "invalid syntax: expected '%s'", text);
}

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

static void enter(struct parser *p) {
    if (++p->unit->depth > MAX_DEPTH) refuse(p, "it is nested too deeply");
}

static void leave(struct parser *p) {
    p->unit->depth--;
}

static struct node *name(struct parser *p) {
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
    while (p->token.kind == STRING) { /* beside each other, they are one */
        struct node *more = parse_string(p->unit, &p->token), *joined = make_at(p, N_JOINED, first);
        next(p);
        if (first->kind == N_STRING && more->kind == N_STRING) {
            char *both = unit_allocate(p->unit, first->size + more->size + 1);
            memcpy(both, first->text, first->size);
            memcpy(both + first->size, more->text, more->size);
            first->text = both;
            first->size += more->size;
            continue;
        }
        joined->a = first->kind == N_JOINED ? first->a : first;
        struct node **last = &joined->a;
        while (*last != NULL)
            last = &(*last)->next;
        *last = more->kind == N_JOINED ? more->a : more;
        first = joined;
    }
    return first;
}

/* ---- expressions */

static struct node *target_list(struct parser *p);

/* for TARGET in ITERABLE [if ...] ...: what comprehensions have behind their first expression. */
static struct node *clauses(struct parser *p) {
    struct node *first = NULL, **last = &first;
    while (is(p, "for") || is(p, "async")) {
        if (is(p, "async")) refuse(p, "async is not supported");
        struct node *clause = make(p, N_FOR_IN), **condition = &clause->c;
        next(p);
        clause->a = target_list(p);
        expect(p, "in");
        struct node *disjunction(struct parser *);
        clause->b = disjunction(p);
        while (take(p, "if")) {
            *condition = disjunction(p);
            condition = &(*condition)->next;
        }
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
    if (!is(p, "*")) return expression(p);
    struct node *node = make(p, N_STAR);
    next(p);
    node->a = expression(p);
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
        pair->b = expression(p);
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

static struct node *constant(struct parser *p, enum node_kind kind) {
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
        if (is(p, "None")) return constant(p, N_NONE);
        if (is(p, "True")) return constant(p, N_TRUE);
        if (is(p, "False")) return constant(p, N_FALSE);
        if (is(p, "await") || is(p, "yield"))
            refuse(p, "generators and coroutines are not supported");
        return name(p);
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
    bool named = false;
    while (!is(p, ")")) {
        struct node *argument;
        if (is(p, "*") || is(p, "**")) refuse(p, "* and ** in calls are not supported");
        argument = expression(p);
        if (is(p, ":=")) refuse(p, "assignment expressions are not supported");
        if (is(p, "=")) {
            if (argument->kind != N_NAME) refuse(p, "invalid syntax: a keyword must be a name");
            next(p);
            argument->kind = N_KEYWORD;
            argument->a = expression(p);
            for (const struct node *other = first; other != NULL; other = other->next) {
                if (other->kind == N_KEYWORD && other->size == argument->size &&
                    memcmp(other->text, argument->text, other->size) == 0)
                    refuse(p, "a keyword argument is repeated");
            }
            named = true;
        } else if (is(p, "for")) {
            argument = comprehension(p, N_GENERATOR, argument);
            if (first != NULL || !is(p, ")"))
                refuse(p, "a generator expression must be parenthesized");
        } else if (named) {
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
        if (!is(p, ":") && !is(p, "]") && !is(p, ",")) slice->b = expression(p);
        if (take(p, ":") && !is(p, "]") && !is(p, ",")) slice->c = expression(p);
    }
    if (is(p, ",")) { /* a tuple as the index */
        if (is_slice) refuse(p, "several slices at once are not supported");
        struct node *tuple = make_at(p, N_TUPLE, slice), **last = &slice->a->next;
        tuple->a = slice->a;
        while (take(p, ",") && !is(p, "]")) {
            *last = expression(p);
            last = &(*last)->next;
        }
        item = tuple;
    } else {
        item = is_slice ? slice : slice->a;
    }
    expect(p, "]");
    return item;
}

static struct node *primary(struct parser *p) {
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
            struct node *attribute = name(p);
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
    struct node *base = primary(p);
    if (!is(p, "**")) return base;
    struct node *node = make_at(p, N_BINARY, base);
    next(p);
    node->op = O_POW;
    node->a = base;
    node->b = unary(p);
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

static int binary_of(const struct parser *p, int level) {
    for (size_t i = 0; i < sizeof binaries / sizeof *binaries; i++) {
        if (binaries[i].level == level && is(p, binaries[i].text)) return (int)i;
    }
    return -1;
}

static struct node *binary(struct parser *p, int level) {
    if (level == 6) return unary(p);
    struct node *left = binary(p, level + 1);
    for (int found; (found = binary_of(p, level)) >= 0;) {
        struct node *node = make_at(p, N_BINARY, left);
        node->op = binaries[found].operation;
        next(p);
        node->a = left;
        node->b = binary(p, level + 1);
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

struct node *disjunction(struct parser *p);
struct node *disjunction(struct parser *p) {
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

static struct function *new_function(struct parser *p, const char *text, uint32_t size) {
    struct function *f = unit_allocate(p->unit, sizeof *f);
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

/* What the program evaluates must be nothing but a type: annotation.c. */
static void annotation(struct parser *p, bool is_evaluated) {
    struct node *node = expression(p);
    if (!is_evaluated) return;
    node->next = p->unit->annotations;
    p->unit->annotations = node;
}

/* Up to `end`. The names come as N_NAME nodes, each with its default in a. */
static struct node *parameters(struct parser *p, const char *end) {
    struct node *first = NULL, **last = &first;
    bool standard = false;
    while (!is(p, end)) {
        if (is(p, "*") || is(p, "**") || is(p, "/"))
            refuse(p, "* and / among parameters are not supported");
        struct node *parameter = name(p);
        for (const struct node *other = first; other != NULL; other = other->next) {
            if (other->size == parameter->size &&
                memcmp(other->text, parameter->text, other->size) == 0)
                refuse(p, "a parameter's name is there twice");
        }
        if (*end == ')' && take(p, ":")) annotation(p, true);
        if (take(p, "=")) {
            standard = true;
            parameter->a = expression(p);
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
    node->b = parameters(p, ":");
    node->function = new_function(p, "<lambda>", 8);
    node->function->definition = node;
    p->function = node->function;
    node->a = expression(p);
    p->function = outer;
    return node;
}

static struct node *expression(struct parser *p) {
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
        node->c = expression(p);
        value = node;
    }
    leave(p);
    return value;
}

static bool ends_list(const struct parser *p) {
    return p->token.kind == NEWLINE || p->token.kind == END || is(p, "=") || is(p, ";") ||
           is(p, ")") || is(p, "]") || is(p, "}") || is(p, ":");
}

static struct node *expression_list(struct parser *p) {
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
    struct node *node = expression_list(&p);
    leave(&p);
    if (p.token.kind != END) refuse(&p, "invalid syntax in an f-string");
    return node;
}

/* ---- statements */

/* What may be assigned to. */
static void check_target(struct parser *p, struct node *target, bool nested) {
    switch (target->kind) {
    case N_NAME:
    case N_ITEM: return;
    case N_STAR:
        if (!nested)
            refuse_at(p->unit, target->line, target->column,
                      "a starred target must be in a list or tuple");
        check_target(p, target->a, true);
        return;
    case N_LIST:
    case N_TUPLE: {
        int stars = 0;
        for (struct node *item = target->a; item != NULL; item = item->next) {
            check_target(p, item, true);
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

/* Of a for: names without operators, as `in` would be one. */
static struct node *target_list(struct parser *p) {
    struct node *first = is(p, "*") ? star_or_expression(p) : primary(p);
    if (is(p, ",")) {
        struct node *tuple = make_at(p, N_TUPLE, first), **last = &first->next;
        tuple->a = first;
        while (take(p, ",") && !is(p, "in")) {
            *last = is(p, "*") ? star_or_expression(p) : primary(p);
            last = &(*last)->next;
        }
        first = tuple;
    }
    check_target(p, first, false);
    return first;
}

static struct node *block(struct parser *p) {
    struct node *first = NULL, **last = &first;
    expect(p, ":");
    if (p->token.kind != NEWLINE) return statements(p);
    next(p);
    if (p->token.kind != INDENT) refuse(p, "expected an indented block");
    next(p);
    enter(p);
    while (p->token.kind != DEDENT && p->token.kind != END) {
        *last = statements(p);
        while (*last != NULL)
            last = &(*last)->next;
    }
    leave(p);
    if (p->token.kind == DEDENT) next(p);
    return first;
}

static struct node *if_statement(struct parser *p) {
    struct node *node = make(p, S_IF);
    next(p);
    node->a = expression(p);
    node->b = block(p);
    if (is(p, "elif")) {
        enter(p);
        node->c = if_statement(p);
        leave(p);
    } else if (take(p, "else")) {
        node->c = block(p);
    }
    return node;
}

static struct node *loop_body(struct parser *p) {
    p->loops++;
    struct node *body = block(p);
    p->loops--;
    return body;
}

static struct node *while_statement(struct parser *p) {
    struct node *node = make(p, S_WHILE);
    next(p);
    node->a = expression(p);
    node->b = loop_body(p);
    if (take(p, "else")) node->c = block(p);
    return node;
}

static struct node *for_statement(struct parser *p) {
    struct node *node = make(p, S_FOR);
    next(p);
    node->a = target_list(p);
    expect(p, "in");
    node->b = expression_list(p);
    node->c = loop_body(p);
    if (take(p, "else")) node->d = block(p);
    return node;
}

static struct node *def_statement(struct parser *p) {
    struct node *node = make(p, S_DEF);
    struct function *outer = p->function;
    int loops = p->loops;
    next(p);
    struct node *own = name(p);
    node->function = new_function(p, own->text, own->size);
    node->function->line = node->line;
    node->function->definition = node;
    expect(p, "(");
    node->b = parameters(p, ")");
    if (take(p, "->")) annotation(p, true);
    p->function = node->function;
    p->loops = 0;
    node->function->body = block(p);
    p->function = outer;
    p->loops = loops;
    return node;
}

static struct node *try_statement(struct parser *p) {
    struct node *node = make(p, S_TRY), **last = &node->b;
    bool all = false;
    p->unit->has_handlers = true;
    next(p);
    node->a = block(p);
    while (is(p, "except")) {
        struct node *handler = make(p, S_EXCEPT), **class = &handler->a;
        if (all) refuse(p, "default 'except:' must be last");
        next(p);
        if (is(p, "*")) refuse(p, "except* is not supported");
        if (is(p, ":")) {
            all = p->unit->catches_all = true;
        } else if (take(p, "(")) {
            do {
                if (is(p, ")")) break;
                *class = name(p);
                class = &(*class)->next;
            } while (take(p, ","));
            expect(p, ")");
        } else {
            *class = name(p);
        }
        if (take(p, "as")) {
            struct node *as = name(p);
            handler->text = as->text;
            handler->size = as->size;
        }
        handler->b = block(p);
        *last = handler;
        last = &handler->next;
    }
    if (take(p, "else")) {
        if (node->b == NULL) refuse(p, "invalid syntax: else without except");
        node->c = block(p);
    }
    if (take(p, "finally")) {
        p->unit->catches_all = true;
        node->d = block(p);
    }
    if (node->b == NULL && node->d == NULL) refuse(p, "expected 'except' or 'finally' block");
    return node;
}

static struct node *import_statement(struct parser *p) {
    struct node *node = make(p, S_IMPORT), **last = &node->a;
    bool from = is(p, "from");
    next(p);
    struct node *module = name(p);
    if (is(p, ".")) refuse(p, "only math and sys can be imported");
    node->text = module->text;
    node->size = module->size;
    if (!text_is(node->text, node->size, "math") && !text_is(node->text, node->size, "sys"))
        refuse_at(p->unit, module->line, module->column,
                  "importing %.*s is not supported: only math and sys can be imported",
                  (int)module->size, module->text);
    if (!from) {
        node->b = take(p, "as") ? name(p) : module;
        if (is(p, ",")) {
            struct token comma = p->token;
            node->next = import_statement(p); /* as if it said import once more */
            (void)comma;
        }
        return node;
    }
    expect(p, "import");
    if (is(p, "*")) refuse(p, "import * is not supported");
    bool parenthesis = take(p, "(");
    do {
        struct node *one = name(p);
        struct node *own = make_at(p, N_NAME, one);
        own->text = one->text;
        own->size = one->size;
        one->a = take(p, "as") ? name(p) : own;
        *last = one;
        last = &one->next;
    } while (take(p, ",") && !is(p, ")"));
    if (parenthesis) expect(p, ")");
    return node;
}

static struct node *assignment(struct parser *p) {
    static const char *const changes[] = {
        "+=", "-=", "*=", "/=", "//=", "%=", "**=", "<<=", ">>=", "&=", "|=", "^="};
    struct node *first = expression_list(p);
    for (uint8_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        if (!is(p, changes[i])) continue;
        struct node *node = make_at(p, S_CHANGE, first);
        next(p);
        if (first->kind != N_NAME && first->kind != N_ITEM)
            refuse_at(p->unit, first->line, first->column,
                      "illegal target of an augmented assignment");
        node->op = i;
        node->a = first;
        node->b = expression_list(p);
        return node;
    }
    if (is(p, ":")) {
        if (first->kind != N_NAME) refuse(p, "only names can have annotations");
        next(p);
        annotation(p, p->function == p->unit->functions);
        if (!is(p, "=")) {
            struct node *node = make_at(p, S_PASS, first);
            node->a = first;
            return node;
        }
    }
    if (!is(p, "=")) {
        struct node *node = make_at(p, S_EXPRESSION, first);
        node->a = first;
        return node;
    }
    struct node *node = make_at(p, S_ASSIGN, first), **last = &node->a;
    while (take(p, "=")) {
        check_target(p, first, false);
        *last = first;
        last = &first->next;
        first = expression_list(p);
    }
    node->b = first;
    return node;
}

static struct node *names(struct parser *p, enum node_kind kind) {
    struct node *node = make(p, kind), **last = &node->a;
    next(p);
    do {
        *last = name(p);
        last = &(*last)->next;
    } while (take(p, ","));
    return node;
}

static struct node *simple(struct parser *p) {
    struct node *node;
    if (is(p, "pass")) return constant(p, S_PASS);
    if (is(p, "break") || is(p, "continue")) {
        if (p->loops == 0) refuse(p, "break or continue outside a loop");
        return constant(p, is(p, "break") ? S_BREAK : S_CONTINUE);
    }
    if (is(p, "return")) {
        if (p->function == p->unit->functions) refuse(p, "'return' outside function");
        node = constant(p, S_RETURN);
        if (!ends_list(p)) node->a = expression_list(p);
        return node;
    }
    if (is(p, "global")) {
        return names(p, S_GLOBAL);
    }
    if (is(p, "assert")) {
        node = constant(p, S_ASSERT);
        node->a = expression(p);
        if (take(p, ",")) node->b = expression(p);
        return node;
    }
    if (is(p, "raise")) {
        node = constant(p, S_RAISE);
        if (!ends_list(p)) node->a = expression(p);
        if (is(p, "from")) refuse(p, "raise ... from is not supported");
        return node;
    }
    if (is(p, "del")) {
        node = constant(p, S_DELETE);
        struct node **last = &node->a;
        do {
            *last = primary(p);
            if ((*last)->kind != N_ITEM) refuse(p, "del is supported for items only");
            last = &(*last)->next;
        } while (take(p, ","));
        return node;
    }
    if (is(p, "import") || is(p, "from")) return import_statement(p);
    if (is(p, "nonlocal")) refuse(p, "nonlocal is not supported");
    return assignment(p);
}

/* One compound statement, or a line of simple ones. */
static struct node *statements(struct parser *p) {
    struct node *first = NULL, **last = &first;
    if (is(p, "if")) return if_statement(p);
    if (is(p, "while")) return while_statement(p);
    if (is(p, "for")) return for_statement(p);
    if (is(p, "def")) return def_statement(p);
    if (is(p, "try")) return try_statement(p);
    if (is(p, "class")) refuse(p, "classes are not supported");
    if (is(p, "with")) refuse(p, "with is not supported");
    if (is(p, "async")) refuse(p, "async is not supported");
    if (is(p, "@")) refuse(p, "decorators are not supported");
    if (p->token.kind == INDENT) refuse(p, "unexpected indent");
    for (;;) {
        *last = simple(p);
        while (*last != NULL)
            last = &(*last)->next;
        if (!take(p, ";")) break;
        if (p->token.kind == NEWLINE || p->token.kind == END) break;
    }
    if (p->token.kind != NEWLINE && p->token.kind != END) {
        if (is(p, "match") || first->kind == S_EXPRESSION)
            refuse(p, "invalid syntax, or a statement that is not supported");
        refuse(p, "invalid syntax");
    }
    if (p->token.kind == NEWLINE) next(p);
    return first;
}

void parse(struct unit *u) {
    struct parser p = {.unit = u};
    lexer_init(&p.lexer, u, u->source, u->size, 1);
    p.function = new_function(&p, u->name, (uint32_t)strlen(u->name));
    struct node **last = &u->body;
    next(&p);
    while (p.token.kind != END) {
        if (p.token.kind == NEWLINE) {
            next(&p);
            continue;
        }
        *last = statements(&p);
        while (*last != NULL)
            last = &(*last)->next;
    }
    u->functions->body = u->body;
}

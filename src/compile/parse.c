/* From tokens to nodes (The Python Language Reference, chapter 10), as far as we compile it; the
 * rest is refused by name. Here: statements. */
#include "compile/parse.h"

#include <string.h>

static struct node *statements(struct parser *p);
static struct node *simple_statements(struct parser *p);

struct node *ast_new(struct unit *u, enum node_kind kind, uint32_t line, uint32_t column) {
    struct node *node = unit_allocate(u, sizeof *node);
    node->kind = (uint8_t)kind;
    node->line = line;
    node->column = column;
    return node;
}

static struct node *block(struct parser *p) {
    struct node *first = NULL, **last = &first;
    expect(p, ":");
    if (p->token.kind != NEWLINE) return simple_statements(p);
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
    node->a = parse_expression(p);
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
    node->a = parse_expression(p);
    node->b = loop_body(p);
    if (take(p, "else")) node->c = block(p);
    return node;
}

static struct node *for_statement(struct parser *p) {
    struct node *node = make(p, S_FOR);
    next(p);
    node->a = parse_targets(p);
    expect(p, "in");
    node->b = parse_expressions(p);
    node->c = loop_body(p);
    if (take(p, "else")) node->d = block(p);
    return node;
}

static struct node *def_statement(struct parser *p) {
    struct node *node = make(p, S_DEF);
    struct function *outer = p->function;
    int loops = p->loops;
    next(p);
    struct node *own = parse_name(p);
    node->function = parse_new_function(p, own->text, own->size);
    node->function->line = node->line;
    node->function->definition = node;
    expect(p, "(");
    node->b = parse_parameters(p, ")");
    if (take(p, "->")) parse_annotation(p, true);
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
                *class = parse_name(p);
                class = &(*class)->next;
            } while (take(p, ","));
            expect(p, ")");
        } else {
            *class = parse_name(p);
        }
        if (take(p, "as")) {
            struct node *as = parse_name(p);
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

/* One module, behind `import`, `from` or a comma. */
static struct node *import_one(struct parser *p, bool from) {
    struct node *node = make(p, S_IMPORT), **last = &node->a;
    next(p);
    struct node *module = parse_name(p);
    if (is(p, ".")) refuse(p, "only math and sys can be imported");
    node->text = module->text;
    node->size = module->size;
    if (!text_is(node->text, node->size, "math") && !text_is(node->text, node->size, "sys"))
        refuse_at(p->unit, module->line, module->column,
                  "importing %.*s is not supported: only math and sys can be imported",
                  (int)module->size, module->text);
    if (!from) {
        node->b = take(p, "as") ? parse_name(p) : module;
        return node;
    }
    expect(p, "import");
    if (is(p, "*")) refuse(p, "import * is not supported");
    bool parenthesis = take(p, "(");
    do {
        struct node *one = parse_name(p);
        struct node *own = make_at(p, N_NAME, one);
        own->text = one->text;
        own->size = one->size;
        one->a = take(p, "as") ? parse_name(p) : own;
        *last = one;
        last = &one->next;
    } while (take(p, ",") && !is(p, ")"));
    if (parenthesis) expect(p, ")");
    return node;
}

static struct node *import_statement(struct parser *p) {
    bool from = is(p, "from");
    struct node *first = import_one(p, from), **last = &first->next;
    while (!from && is(p, ",")) { /* as if it said import once more */
        *last = import_one(p, false);
        last = &(*last)->next;
    }
    return first;
}

static struct node *assignment(struct parser *p) {
    static const char *const changes[] = {
        "+=", "-=", "*=", "/=", "//=", "%=", "**=", "<<=", ">>=", "&=", "|=", "^="};
    struct node *first = parse_expressions(p);
    for (uint8_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        if (!is(p, changes[i])) continue;
        struct node *node = make_at(p, S_CHANGE, first);
        next(p);
        if (first->kind != N_NAME && first->kind != N_ITEM)
            refuse_at(p->unit, first->line, first->column,
                      "illegal target of an augmented assignment");
        node->op = i;
        node->a = first;
        node->b = parse_expressions(p);
        return node;
    }
    if (is(p, ":")) {
        if (first->kind != N_NAME) refuse(p, "only names can have annotations");
        next(p);
        parse_annotation(p, p->function == p->unit->functions);
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
        parse_check_target(p, first, false);
        *last = first;
        last = &first->next;
        first = parse_expressions(p);
    }
    node->b = first;
    return node;
}

static struct node *names(struct parser *p, enum node_kind kind) {
    struct node *node = make(p, kind), **last = &node->a;
    next(p);
    do {
        *last = parse_name(p);
        last = &(*last)->next;
    } while (take(p, ","));
    return node;
}

static struct node *simple(struct parser *p) {
    struct node *node;
    if (is(p, "pass")) return parse_constant(p, S_PASS);
    if (is(p, "break") || is(p, "continue")) {
        if (p->loops == 0) refuse(p, "break or continue outside a loop");
        return parse_constant(p, is(p, "break") ? S_BREAK : S_CONTINUE);
    }
    if (is(p, "return")) {
        if (p->function == p->unit->functions) refuse(p, "'return' outside function");
        node = parse_constant(p, S_RETURN);
        if (!ends_list(p)) node->a = parse_expressions(p);
        return node;
    }
    if (is(p, "global")) {
        return names(p, S_GLOBAL);
    }
    if (is(p, "assert")) {
        node = parse_constant(p, S_ASSERT);
        node->a = parse_expression(p);
        if (take(p, ",")) node->b = parse_expression(p);
        return node;
    }
    if (is(p, "raise")) {
        node = parse_constant(p, S_RAISE);
        if (!ends_list(p)) node->a = parse_expression(p);
        if (is(p, "from")) refuse(p, "raise ... from is not supported");
        return node;
    }
    if (is(p, "del")) {
        node = parse_constant(p, S_DELETE);
        struct node **last = &node->a;
        do {
            *last = parse_primary(p);
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
    return simple_statements(p);
}

static struct node *simple_statements(struct parser *p) {
    struct node *first = NULL, **last = &first;
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
    p.function = parse_new_function(&p, u->name, (uint32_t)strlen(u->name));
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

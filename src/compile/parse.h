/* What both halves of the parser share: parse.c, the statements, and parse_expression.c. */
#ifndef PA_COMPILE_PARSE_H
#define PA_COMPILE_PARSE_H

#include "compile/ast.h"

struct parser {
    struct unit *unit;
    struct lexer lexer;
    struct token token; /* to be looked at */
    struct function *function;
    int loops;
};

/* A node whose place is the token's. */
static inline struct node *make(struct parser *p, enum node_kind kind) {
    return ast_new(p->unit, kind, p->token.line, p->token.column);
}

/* One whose place is that of `at`. */
static inline struct node *make_at(struct parser *p, enum node_kind kind, const struct node *at) {
    return ast_new(p->unit, kind, at->line, at->column);
}

/* Ends the compilation, at the token. */
_Noreturn static inline void refuse(struct parser *p, const char *what) {
    refuse_at(p->unit, p->token.line, p->token.column, "%s", what);
}

/* On to the next token. */
static inline void next(struct parser *p) {
    p->token = lexer_next(&p->lexer);
}

/* Whether the token is this operator or word. */
static inline bool is(const struct parser *p, const char *text) {
    return (p->token.kind == OPERATOR || p->token.kind == NAME) &&
           text_is(p->token.text, p->token.size, text);
}

/* If it is, on to the next one. */
static inline bool take(struct parser *p, const char *text) {
    if (!is(p, text)) return false;
    next(p);
    return true;
}

/* It must be. */
static inline void expect(struct parser *p, const char *text) {
    if (take(p, text)) return;
    refuse_at(p->unit, p->token.line, p->token.column, "invalid syntax: expected '%s'", text);
}

/* Around whatever may contain its like. */
static inline void enter(struct parser *p) {
    unit_enter(p->unit, p->token.line, p->token.column);
}

static inline void leave(struct parser *p) {
    unit_leave(p->unit);
}

/* Whether nothing of a list can follow. */
static inline bool ends_list(const struct parser *p) {
    return p->token.kind == NEWLINE || p->token.kind == END || is(p, "=") || is(p, ";") ||
           is(p, ")") || is(p, "]") || is(p, "}") || is(p, ":");
}

/* A keyword that is a node by itself. */
struct node *parse_constant(struct parser *p, enum node_kind kind);
struct node *parse_name(struct parser *p);
struct node *parse_expression(struct parser *p);
/* One, or several as a tuple. */
struct node *parse_expressions(struct parser *p);
/* An atom, and what is called, indexed or looked up of it. */
struct node *parse_primary(struct parser *p);
/* Of a for: names without operators, as `in` would be one. */
struct node *parse_targets(struct parser *p);
/* Refuses what cannot be assigned to. */
void parse_check_target(struct parser *p, struct node *target, bool nested);
/* What the program evaluates must be nothing but a type: annotation.c. */
void parse_annotation(struct parser *p, bool is_evaluated);
/* Up to `end`. The names come as N_NAME nodes, each with its default in a. */
struct node *parse_parameters(struct parser *p, const char *end);
/* The unit's next one, within the one that is being parsed. */
struct function *parse_new_function(struct parser *p, const char *text, uint32_t size);

#endif

/* Calculates what is constant, where the result is surely CPython's: small integers and floats. */
#include "compile/ast.h"

#include <stdlib.h>
#include <string.h>

#define LARGEST ((int64_t)1 << 60)

static bool is_small(const struct node *node) {
    return node->kind == N_INT && node->text == NULL;
}

static void become_int(struct node *node, int64_t value) {
    node->kind = N_INT;
    node->integer = value;
    node->text = NULL;
    node->a = node->b = NULL;
}

static void become_float(struct node *node, double value) {
    node->kind = N_FLOAT;
    node->real = value;
    node->a = node->b = NULL;
}

static void fold_integers(struct node *node, int64_t a, int64_t b) {
    int64_t result;
    switch (node->op) {
    case O_ADD: result = a + b; break;
    case O_SUB: result = a - b; break;
    case O_MUL:
        if (__builtin_mul_overflow(a, b, &result)) return;
        break;
    case O_FLOORDIV:
    case O_MOD: {
        if (b == 0) return;
        int64_t quotient = a / b, rest = a % b;
        if (rest != 0 && (rest < 0) != (b < 0)) {
            quotient--;
            rest += b;
        }
        result = node->op == O_MOD ? rest : quotient;
        break;
    }
    case O_TRUEDIV:
        if (b == 0 || llabs(a) > (int64_t)1 << 53 || llabs(b) > (int64_t)1 << 53) return;
        become_float(node, (double)a / (double)b);
        return;
    case O_POW:
        if (b < 0) return;
        result = 1;
        for (int64_t i = 0; i < b; i++) {
            if (i > 64 || __builtin_mul_overflow(result, a, &result)) return;
        }
        break;
    default: return;
    }
    if (result < LARGEST && result > -LARGEST) become_int(node, result);
}

static void fold_floats(struct node *node, double a, double b) {
    if (node->op == O_ADD) become_float(node, a + b);
    if (node->op == O_SUB) become_float(node, a - b);
    if (node->op == O_MUL) become_float(node, a * b);
    if (node->op == O_TRUEDIV && b != 0) become_float(node, a / b);
}

static double as_float(const struct node *node) {
    return node->kind == N_FLOAT ? node->real : (double)node->integer;
}

static bool is_exact(const struct node *node) {
    return node->kind == N_FLOAT || (is_small(node) && llabs(node->integer) <= (int64_t)1 << 53);
}

static void fold_binary(struct unit *u, struct node *node) {
    struct node *a = node->a, *b = node->b;
    if (is_small(a) && is_small(b)) {
        fold_integers(node, a->integer, b->integer);
    } else if (is_exact(a) && is_exact(b)) {
        fold_floats(node, as_float(a), as_float(b));
    } else if (node->op == O_ADD && a->kind == N_STRING && b->kind == N_STRING) {
        char *text = unit_allocate(u, a->size + b->size + 1);
        memcpy(text, a->text, a->size);
        memcpy(text + a->size, b->text, b->size);
        node->kind = N_STRING;
        node->text = text;
        node->size = a->size + b->size;
        node->a = node->b = NULL;
    }
}

/* int(), list() ... without arguments. */
static void fold_empty(struct node *node) {
    static const struct {
        const char *name;
        enum node_kind kind;
    } empties[] = {{"int", N_INT},     {"float", N_FLOAT}, {"str", N_STRING}, {"list", N_LIST},
                   {"tuple", N_TUPLE}, {"dict", N_DICT},   {"bool", N_FALSE}};
    if (node->b != NULL || node->a->kind != N_NAME || node->a->variable != NULL) return;
    for (size_t i = 0; i < sizeof empties / sizeof *empties; i++) {
        if (!text_is(node->a->text, node->a->size, empties[i].name)) continue;
        node->kind = (uint8_t)empties[i].kind;
        node->a = NULL;
        node->text = empties[i].kind == N_STRING ? "" : NULL;
        node->size = 0;
        return;
    }
}

static void fold(struct unit *u, struct node *node) {
    for (; node != NULL; node = node->next) {
        fold(u, node->a);
        fold(u, node->b);
        fold(u, node->c);
        fold(u, node->d);
        if (node->kind == S_DEF) {
            fold(u, node->function->body);
            for (struct parameter *p = node->function->parameters; p != NULL; p = p->next)
                fold(u, p->value);
        }
        if (node->kind == N_BINARY) fold_binary(u, node);
        if (node->kind == N_CALL) fold_empty(node);
        if (node->kind == N_UNARY && node->op == O_NEGATE && is_small(node->a))
            become_int(node, -node->a->integer);
        if (node->kind == N_UNARY && node->op == O_NEGATE && node->a->kind == N_FLOAT)
            become_float(node, -node->a->real);
        if (node->kind == N_NAME && node->variable == NULL &&
            text_is(node->text, node->size, "__name__")) {
            node->kind = N_STRING;
            node->text = "__main__";
            node->size = 8;
        }
    }
}

void fold_constants(struct unit *u) {
    fold(u, u->body);
}

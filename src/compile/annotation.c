/* Annotations that the program evaluates: they must be types that are there, or CPython would raise
 * an error, or do something. */
#include "compile/ast.h"

/* The first GENERIC can be subscripted. */
static const char *const classes[] = {"list",   "dict",  "tuple",   "set",     "frozenset", "type",
                                      "int",    "float", "complex", "bool",    "str",       "bytes",
                                      "object", "range", "any",     "callable"};
enum { GENERIC = 6, CLASSES = 14, ALL = sizeof classes / sizeof *classes };

/* The class that is meant, or `count`. */
static size_t class_of(const struct node *node, size_t count) {
    size_t i = 0;
    while (i < count && !(node->kind == N_NAME && text_is(node->text, node->size, classes[i])))
        i++;
    return i;
}

static bool is_class(const struct node *node, size_t count) {
    return class_of(node, count) < count;
}

/* Whether its value can be had without an error, and without anybody's notice. */
static bool is_type(const struct node *node) {
    switch (node->kind) {
    case N_NAME: return is_class(node, ALL);
    case N_NONE:
    case N_STRING: return true;
    case N_ITEM: return is_class(node->a, GENERIC) && is_type(node->b);
    case N_TUPLE:
    case N_LIST:
        for (const struct node *item = node->a; item != NULL; item = item->next) {
            if (!is_type(item)) return false;
        }
        return true;
    case N_BINARY: {
        const struct node *a = node->a, *b = node->b;
        bool left = is_class(a, CLASSES) || a->kind == N_ITEM || a->kind == N_BINARY;
        bool right = is_class(b, CLASSES) || b->kind == N_ITEM || b->kind == N_NONE;
        return node->op == O_OR && left && right && is_type(a) && is_type(b);
    }
    default: return false;
    }
}

/* Names of classes that the program gives another meaning, anywhere. */
static uint32_t redefined(struct unit *u) {
    uint32_t set = 0;
    for (size_t i = 0; i < ALL; i++) {
        for (const struct function *f = u->functions; f != NULL; f = f->next) {
            if (find_own(u, f, classes[i], (uint32_t)__builtin_strlen(classes[i])) != NULL)
                set |= UINT32_C(1) << i;
        }
    }
    return set;
}

static void check_names(struct unit *u, const struct node *node, uint32_t forbidden) {
    if (node == NULL) return;
    if (forbidden >> class_of(node, ALL) & 1)
        refuse_at(u, node->line, node->column,
                  "an annotation with a name of the program's own is not supported");
    check_names(u, node->b, forbidden);
    for (const struct node *part = node->a; part != NULL; part = part->next)
        check_names(u, part, forbidden);
}

void check_annotations(struct unit *u) {
    uint32_t forbidden = u->annotations != NULL ? redefined(u) : 0;
    for (const struct node *node = u->annotations; node != NULL; node = node->next) {
        if (!is_type(node))
            refuse_at(u, node->line, node->column, "this annotation is not supported");
        if (forbidden != 0) check_names(u, node, forbidden);
    }
}

/* How deep a program is. Everything behind the parser walks the nodes by calls of itself; the
 * parser bounds what it has to call itself for, but rows of operators, calls and items ("1 + 1 + 1
 * ...", "a[0][0] ...") it builds in a loop, each around the one before. This walk, which goes no
 * deeper than the limit either, looks at all of them before anything else does. */
#include "compile/ast.h"

static _Noreturn void refuse(struct unit *u, uint32_t line, uint32_t column) {
    refuse_at(u, line, column,
              "it is nested too deeply: more than %d expressions or blocks in each other, or "
              "operators, calls or items in a row, are not supported",
              MAX_DEPTH);
}

void unit_enter(struct unit *u, uint32_t line, uint32_t column) {
    if (++u->depth > MAX_DEPTH) refuse(u, line, column);
}

static bool is_comprehension(const struct node *node) {
    return node->kind == N_LIST_OF || node->kind == N_DICT_OF || node->kind == N_GENERATOR;
}

static void check(struct unit *u, const struct node *node, uint32_t depth) {
    for (; node != NULL; node = node->next) {
        uint32_t within = depth + 1; /* each clause's loop is in those before it */
        if (is_comprehension(node)) within += count_of(node->b);
        if (within > MAX_DEPTH + 1) refuse(u, node->line, node->column);
        check(u, node->a, within);
        check(u, node->b, within);
        check(u, node->c, within);
        check(u, node->d, within);
        if (node->function != NULL) check(u, node->function->body, within);
    }
}

void check_depth(struct unit *u) {
    check(u, u->body, 1);
    check(u, u->annotations, 1);
}

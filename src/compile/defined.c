/* Which variables may be read before they have a value: on each way through a function, which
 * surely have one. Of what functions read of the program's, each call in the program counts as a
 * read. */
#include "compile/ast.h"

#include <string.h>

/* Sets of small numbers. */
#define SET_WORDS(count) ((count) / 64 + 1)

static bool set_has(const uint64_t *set, uint32_t number) {
    return set[number / 64] >> number % 64 & 1;
}

static void set_add(uint64_t *set, uint32_t number) {
    set[number / 64] |= UINT64_C(1) << number % 64;
}

static void set_remove(uint64_t *set, uint32_t number) {
    set[number / 64] &= ~(UINT64_C(1) << number % 64);
}

static void add_all(uint64_t *into, const uint64_t *from, uint32_t count) {
    for (uint32_t i = 0; i < SET_WORDS(count); i++)
        into[i] |= from[i];
}

static uint64_t *set_new(struct unit *u, uint32_t count) {
    return unit_allocate(u, SET_WORDS(count) * sizeof(uint64_t));
}

/* What surely has a value here. Dead: nothing comes here, and so everything has. */
struct state {
    uint64_t *set;
    bool dead;
};

struct walk {
    struct unit *unit;
    struct variable **shared; /* of the program, by number */
    uint64_t *told;           /* those that are known to be read too early somewhere */
    struct function *values;  /* reads: what any function that is a value reads */
    struct function *function;
    struct state state;
    struct state *breaks; /* of the loop around */
};

static void visit_body(struct walk *w, struct node *body);
static void visit(struct walk *w, struct node *node);

static struct state copy(struct walk *w) {
    uint32_t count = w->function->variable_count;
    struct state out = {.set = set_new(w->unit, count), .dead = w->state.dead};
    add_all(out.set, w->state.set, count);
    return out;
}

static void meet(struct walk *w, struct state *into, const struct state *other) {
    if (other->dead) return;
    for (uint32_t i = 0; i < SET_WORDS(w->function->variable_count); i++)
        into->set[i] = other->set[i] & (into->dead ? ~UINT64_C(0) : into->set[i]);
    into->dead = false;
}

static bool has(const struct walk *w, const struct variable *v) {
    return w->state.dead || set_has(w->state.set, v->number);
}

static _Noreturn void refuse_undefined(struct walk *w, const struct variable *v,
                                       const struct node *at) {
    refuse_at(w->unit, at->line, at->column, "'%.*s' may be used before it is defined",
              (int)v->name_size, v->name);
}

static void require_reads(struct walk *w, const struct function *callee, const struct node *at) {
    if (w->state.dead) return;
    for (uint32_t i = 0; i < SET_WORDS(w->unit->functions->variable_count); i++) {
        uint64_t missing = callee->reads[i] & ~w->state.set[i] & ~w->told[i];
        w->told[i] |= missing;
        for (; missing != 0; missing &= missing - 1) {
            struct variable *v = w->shared[i * 64 + (uint32_t)__builtin_ctzll(missing)];
            if (v->constant != NULL || v->module != NULL) refuse_undefined(w, v, at);
            v->may_be_unset = true;
        }
    }
}

static void call(struct walk *w, const struct node *node) {
    if (w->function != w->unit->functions) return;
    const struct variable *v = node->a->kind == N_NAME ? node->a->variable : NULL;
    if (v != NULL && v->constant != NULL) {
        require_reads(w, v->constant, node);
        return;
    }
    if (node->a->kind == N_ATTRIBUTE || (node->a->kind == N_NAME && v == NULL)) return;
    require_reads(w, w->values, node);
}

static void read_name(struct walk *w, struct node *node) {
    struct variable *v = node->variable;
    if (v == NULL || v->owner != w->function || has(w, v)) return;
    if (v->constant != NULL || v->module != NULL) refuse_undefined(w, v, node);
    v->may_be_unset = true;
}

static void set(struct walk *w, const struct variable *v) {
    if (v != NULL && v->owner == w->function) set_add(w->state.set, v->number);
}

static void set_target(struct walk *w, struct node *target) {
    switch (target->kind) {
    case N_NAME: set(w, target->variable); break;
    case N_STAR: set_target(w, target->a); break;
    case N_LIST:
    case N_TUPLE:
        for (struct node *item = target->a; item != NULL; item = item->next)
            set_target(w, item);
        break;
    default: visit(w, target); break;
    }
}

static bool is_literal(const struct node *node) {
    return node->kind == N_INT || node->kind == N_FLOAT || node->kind == N_STRING ||
           node->kind == N_NONE || node->kind == N_TRUE || node->kind == N_FALSE;
}

static void visit_list(struct walk *w, struct node *node) {
    for (; node != NULL; node = node->next)
        visit(w, node);
}

static void visit(struct walk *w, struct node *node) {
    if (node == NULL) return;
    switch (node->kind) {
    case N_NAME: read_name(w, node); return;
    case N_LIST_OF:
    case N_DICT_OF:
    case N_GENERATOR:
        for (struct node *clause = node->b; clause != NULL; clause = clause->next) {
            visit(w, clause->b);
            set_target(w, clause->a);
            visit_list(w, clause->c);
        }
        visit(w, node->a);
        return;
    case N_LAMBDA:
        if (!node->is_inline) return;
        for (struct node *name = node->b; name != NULL; name = name->next)
            set(w, name->variable);
        visit(w, node->a);
        return;
    case N_KEYWORD:
        if (is_captured(node) && node->a->variable->owner == w->function &&
            !has(w, node->a->variable))
            refuse_at(w->unit, node->line, node->column,
                      "'%.*s' may have no value yet: such closures are not supported",
                      (int)node->a->size, node->a->text);
        visit(w, node->a);
        return;
    case N_CALL:
        visit(w, node->a);
        visit_list(w, node->b);
        call(w, node);
        return;
    default:
        visit_list(w, node->a);
        visit_list(w, node->b);
        visit_list(w, node->c);
        return;
    }
}

static bool is_always(const struct node *condition) {
    return condition->kind == N_TRUE || (condition->kind == N_INT && condition->integer != 0);
}

static void loop(struct walk *w, struct node *node) {
    bool is_for = node->kind == S_FOR;
    struct state *outer = w->breaks, breaks = copy(w), before;
    breaks.dead = true;
    visit(w, is_for ? node->b : node->a);
    before = copy(w);
    w->breaks = &breaks;
    if (is_for) set_target(w, node->a);
    visit_body(w, is_for ? node->c : node->b);
    w->breaks = outer;
    w->state = before;
    if (!is_for && is_always(node->a)) w->state.dead = true;
    visit_body(w, is_for ? node->d : node->c);
    meet(w, &w->state, &breaks);
}

static void try_statement(struct walk *w, struct node *node) {
    struct state before = copy(w), after;
    visit_body(w, node->a);
    visit_body(w, node->c);
    after = copy(w);
    for (struct node *handler = node->b; handler != NULL; handler = handler->next) {
        w->state = before;
        w->state = copy(w);
        set(w, handler->variable);
        visit_body(w, handler->b);
        if (handler->variable != NULL && handler->variable->owner == w->function)
            set_remove(w->state.set, handler->variable->number);
        meet(w, &after, &w->state);
    }
    if (node->d != NULL) {
        w->state = before;
        w->state = copy(w);
        visit_body(w, node->d);
        add_all(after.set, w->state.set, w->function->variable_count);
        after.dead |= w->state.dead;
    }
    w->state = after;
}

static void statement(struct walk *w, struct node *node) {
    switch (node->kind) {
    case S_ASSIGN:
        visit(w, node->b);
        for (struct node *target = node->a; target != NULL; target = target->next)
            set_target(w, target);
        break;
    case S_CHANGE:
        visit(w, node->a);
        visit(w, node->b);
        set_target(w, node->a);
        break;
    case S_IF: {
        visit(w, node->a);
        struct state before = copy(w), one;
        visit_body(w, node->b);
        one = w->state;
        w->state = before;
        visit_body(w, node->c);
        meet(w, &w->state, &one);
        break;
    }
    case S_WHILE:
    case S_FOR: loop(w, node); break;
    case S_DEF:
        for (struct parameter *p = node->function->parameters; p != NULL; p = p->next) {
            if (p->value != NULL) visit(w, p->value);
            if (p->standard != NULL && w->function == w->unit->functions) set(w, p->standard);
            /* It has one place, whichever call of the function around it made this one. */
            if (p->standard != NULL && w->function != w->unit->functions && !is_literal(p->value))
                refuse_at(w->unit, node->line, node->column,
                          "a default that is calculated, of a function within a function, is not "
                          "supported");
        }
        set(w, node->variable);
        break;
    case S_RETURN:
    case S_RAISE:
        visit(w, node->a);
        w->state.dead = true;
        break;
    case S_BREAK:
        meet(w, w->breaks, &w->state);
        w->state.dead = true;
        break;
    case S_CONTINUE: w->state.dead = true; break;
    case S_TRY: try_statement(w, node); break;
    case S_IMPORT:
        if (node->b != NULL) {
            struct variable *v = find_own(w->unit, w->function, node->b->text, node->b->size);
            if (v != NULL && v->module != NULL && v->member == NULL) set(w, v);
        }
        for (struct node *one = node->a; one != NULL; one = one->next) {
            struct variable *v = find_own(w->unit, w->function, one->a->text, one->a->size);
            if (v != NULL && v->member != NULL) set(w, v);
        }
        break;
    default:
        visit_list(w, node->a);
        visit_list(w, node->b);
        break;
    }
}

static void visit_body(struct walk *w, struct node *body) {
    for (; body != NULL; body = body->next)
        statement(w, body);
}

/* ---- what a function calls, and which of the program's variables it reads */

static void note(struct unit *u, struct function *f, struct node *node, bool called) {
    for (; node != NULL; node = node->next) {
        if (node->kind == N_LAMBDA && !node->is_inline) {
            note(u, node->function, node->a, false);
            continue;
        }
        if (node->kind == N_NAME && node->variable != NULL) {
            struct variable *v = node->variable;
            if (v->owner == u->functions) set_add(f->reads, v->number);
            if (v->constant != NULL) {
                set_add(f->calls, v->constant->number);
                for (const struct parameter *p = v->constant->parameters; p != NULL; p = p->next) {
                    if (p->standard != NULL) set_add(f->reads, p->standard->number);
                }
                if (!called) v->constant->is_value = true;
            }
        }
        if (node->kind == S_DEF) {
            note(u, node->function, node->function->body, false);
            for (struct parameter *p = node->function->parameters; p != NULL; p = p->next) {
                if (p->value != NULL) note(u, f, p->value, false);
            }
            continue;
        }
        if (node->kind == N_CALL && node->a->kind != N_ATTRIBUTE &&
            (node->a->kind != N_NAME ||
             (node->a->variable != NULL && node->a->variable->constant == NULL)))
            set_add(f->calls, u->function_count); /* of whatever is a value */
        note(u, f, node->a, node->kind == N_CALL && node->a->next == NULL);
        if (node->kind != N_LAMBDA) note(u, f, node->b, false);
        note(u, f, node->c, false);
        note(u, f, node->d, false);
    }
}

/* By way of each in turn (S. Warshall, "A Theorem on Boolean Matrices"). */
static void close_over(struct unit *u) {
    struct function *f;
    for (f = u->functions->next; f != NULL; f = f->next) {
        if (!set_has(f->calls, u->function_count)) continue;
        for (const struct function *g = u->functions->next; g != NULL; g = g->next) {
            if (g->is_value) set_add(f->calls, g->number);
        }
    }
    for (const struct function *by = u->functions->next; by != NULL; by = by->next) {
        for (f = u->functions->next; f != NULL; f = f->next) {
            if (f == by || !set_has(f->calls, by->number)) continue;
            add_all(f->calls, by->calls, u->function_count + 1);
            add_all(f->reads, by->reads, u->functions->variable_count);
        }
    }
}

void find_unset(struct unit *u) {
    for (struct function *f = u->functions; f != NULL; f = f->next) {
        f->calls = set_new(u, u->function_count + 1);
        f->reads = set_new(u, u->functions->variable_count);
    }
    note(u, u->functions, u->body, false);
    close_over(u);
    uint32_t count = u->functions->variable_count;
    struct variable **shared = unit_allocate(u, (count + 1) * sizeof(struct variable *));
    uint64_t *told = set_new(u, count);
    for (struct variable *v = u->functions->variables; v != NULL; v = v->next)
        shared[v->number] = v;
    struct function values = {.reads = set_new(u, count)};
    for (const struct function *f = u->functions; f != NULL; f = f->next) {
        if (f->is_value) add_all(values.reads, f->reads, count);
    }
    for (struct function *f = u->functions; f != NULL; f = f->next) {
        if (!f->is_reached) continue;
        struct walk w = {.unit = u,
                         .shared = shared,
                         .told = told,
                         .values = &values,
                         .function = f,
                         .state.set = set_new(u, f->variable_count)};
        for (const struct parameter *p = f->parameters; p != NULL; p = p->next)
            set_add(w.state.set, p->variable->number);
        visit_body(&w, f->body);
        if (f->definition != NULL && f->definition->kind == N_LAMBDA) visit(&w, f->definition->a);
    }
}

/* Which variable each name means (The Python Language Reference, 4.2). A function may use its own
 * variables, those of the program, and what closures.c can give it of those around it. */
#include "compile/ast.h"

#include <string.h>

/* Names that a comprehension or an inlined lambda adds for a while. */
struct binding {
    const char *name;
    uint32_t size;
    struct variable *variable;
    struct binding *outer;
};

struct resolver {
    struct unit *unit;
    struct function *function;
    struct binding *bindings;
    uint32_t binding_count;
};

enum { MAX_GLOBALS = 200 };
#define FACTOR UINT64_C(0x9E3779B97F4A7C15) /* an odd one, half of its bits set */

static void resolve(struct resolver *r, struct node *node);
static void resolve_list(struct resolver *r, struct node *node);

static bool same(const char *a, uint32_t a_size, const char *b, uint32_t b_size) {
    return a_size == b_size && memcmp(a, b, a_size) == 0;
}

/* Where the variable of that name of a function is, maybe after others. After FNV-1a (G. Fowler, L.
 * C. Noll, P. Vo), from a start that differs with each process, so that nobody can choose names
 * that are all in one place; of a long name, the ends will do. */
static struct variable **bucket(struct unit *u, const struct function *f, const char *name,
                                uint32_t size) {
    enum { BUCKETS = 4096, ENDS = 16 };
    uint64_t hash = (u->seed ^ f->number ^ (uint64_t)size << 16) * FACTOR;
    if (u->by_name == NULL) u->by_name = unit_allocate(u, BUCKETS * sizeof *u->by_name);
    for (uint32_t i = 0; i < size; i++) {
        if (i == ENDS && size > 2 * ENDS) i = size - ENDS;
        hash = (hash ^ (unsigned char)name[i]) * FACTOR;
    }
    return &u->by_name[hash >> 52];
}

struct variable *find_own(struct unit *u, const struct function *f, const char *name,
                          uint32_t size) {
    struct variable *v = *bucket(u, f, name, size);
    while (v != NULL && (v->owner != f || !same(v->name, v->name_size, name, size)))
        v = v->next_by_name;
    return v;
}

struct variable *new_variable(struct unit *u, struct function *f, const char *name, uint32_t size) {
    struct variable *v = unit_allocate(u, sizeof *v), **there = bucket(u, f, name, size);
    if (f->variable_count >= MAX_NAMES)
        refuse_at(u, 0, 0, "more than %d names are not supported", MAX_NAMES);
    v->name = name;
    v->name_size = size;
    v->owner = f;
    v->number = f->variable_count++;
    v->place = v->spill = -1;
    v->next_by_name = *there;
    *there = v;
    *(f->last_variable != NULL ? &f->last_variable->next : &f->variables) = v;
    f->last_variable = v;
    return v;
}

static bool is_global(const struct function *f, const char *name, uint32_t size) {
    for (const struct node *g = f->globals; g != NULL; g = g->next) {
        if (same(g->text, g->size, name, size)) return true;
    }
    return false;
}

/* ---- which names a function makes its own */

static struct variable *declare(struct resolver *r, const char *name, uint32_t size) {
    struct function *program = r->unit->functions, *f = r->function;
    if (f != program && is_global(f, name, size)) {
        f = program;
    }
    struct variable *v = find_own(r->unit, f, name, size);
    if (v == NULL) v = new_variable(r->unit, f, name, size);
    if (f != r->function) v->is_shared = true;
    return v;
}

static void declare_set(struct resolver *r, const struct node *at, const char *name,
                        uint32_t size) {
    struct variable *v = declare(r, name, size);
    if (v->constant != NULL || v->module != NULL)
        refuse_at(r->unit, at->line, at->column,
                  "'%.*s' is a function or module, and set to something else", (int)size, name);
    v->is_set = true;
}

static void declare_target(struct resolver *r, struct node *target) {
    if (target->kind == N_NAME) declare_set(r, target, target->text, target->size);
    if (target->kind == N_STAR) declare_target(r, target->a);
    if (target->kind == N_LIST || target->kind == N_TUPLE) {
        for (struct node *item = target->a; item != NULL; item = item->next)
            declare_target(r, item);
    }
}

static struct variable *declare_constant(struct resolver *r, const struct node *at,
                                         const struct node *name) {
    struct variable *v = declare(r, name->text, name->size);
    if (v->constant != NULL || v->module != NULL || v->is_set)
        refuse_at(r->unit, at->line, at->column, "'%.*s' is defined more than once",
                  (int)name->size, name->text);
    return v;
}

static void declare_import(struct resolver *r, struct node *node) {
    const char *module = text_is(node->text, node->size, "math") ? "math" : "sys";
    if (node->b != NULL) {
        struct variable *v = find_own(r->unit, r->function, node->b->text, node->b->size);
        if (v != NULL && v->module == module && v->member == NULL) return; /* once more */
        declare_constant(r, node, node->b)->module = module;
        return;
    }
    for (struct node *one = node->a; one != NULL; one = one->next) {
        struct variable *v = declare_constant(r, node, one->a);
        v->module = module;
        v->member = one->text;
        v->member_size = one->size;
    }
}

static void declare_globals(struct resolver *r, struct node *body);

static void each_body(struct resolver *r, struct node *statement,
                      void (*visit)(struct resolver *, struct node *)) {
    switch (statement->kind) {
    case S_IF:
    case S_WHILE:
        visit(r, statement->b);
        visit(r, statement->c);
        break;
    case S_FOR:
        visit(r, statement->c);
        visit(r, statement->d);
        break;
    case S_TRY:
        visit(r, statement->a);
        for (struct node *handler = statement->b; handler != NULL; handler = handler->next)
            visit(r, handler->b);
        visit(r, statement->c);
        visit(r, statement->d);
        break;
    default: break;
    }
}

static void declare_globals(struct resolver *r, struct node *body) {
    for (struct node *s = body; s != NULL; s = s->next) {
        if (s->kind == S_GLOBAL && r->function != r->unit->functions) {
            struct node **last = &r->function->globals;
            while (*last != NULL)
                last = &(*last)->next;
            *last = s->a;
            s->a = NULL;
            if (count_of(r->function->globals) > MAX_GLOBALS)
                refuse_at(r->unit, s->line, s->column,
                          "more than %d global names of a function are not supported", MAX_GLOBALS);
        }
        each_body(r, s, declare_globals);
    }
}

static void declare_all(struct resolver *r, struct node *body) {
    for (struct node *s = body; s != NULL; s = s->next) {
        switch (s->kind) {
        case S_ASSIGN:
            for (struct node *target = s->a; target != NULL; target = target->next)
                declare_target(r, target);
            break;
        case S_CHANGE:
        case S_FOR: declare_target(r, s->a); break;
        case S_DEF: {
            struct node own = {.text = s->function->name, .size = s->function->name_size};
            s->variable = declare_constant(r, s, &own);
            s->variable->constant = s->function;
            break;
        }
        case S_TRY:
            for (struct node *handler = s->b; handler != NULL; handler = handler->next) {
                if (handler->text != NULL) declare_set(r, handler, handler->text, handler->size);
            }
            break;
        case S_IMPORT: declare_import(r, s); break;
        case S_PASS:
            if (s->a != NULL) (void)declare(r, s->a->text, s->a->size);
            break;
        default: break;
        }
        each_body(r, s, declare_all);
    }
}

/* ---- uses */

static struct variable *look_up(struct resolver *r, const struct node *at) {
    for (struct binding *b = r->bindings; b != NULL; b = b->outer) {
        if (same(b->name, b->size, at->text, at->size)) return b->variable;
    }
    struct function *program = r->unit->functions;
    if (r->function != program && !is_global(r->function, at->text, at->size)) {
        struct variable *v = find_own(r->unit, r->function, at->text, at->size);
        if (v != NULL) return v;
        for (struct function *f = r->function->outer; f != NULL && f != program; f = f->outer) {
            v = find_own(r->unit, f, at->text, at->size);
            if (v == NULL) continue;
            return v->constant != NULL ? v : capture(r->unit, r->function, v, at);
        }
    }
    struct variable *v = find_own(r->unit, program, at->text, at->size);
    if (v != NULL && r->function != program) v->is_shared = true;
    return v; /* NULL: a built-in, if it is anything */
}

static void bind(struct resolver *r, struct node *target) {
    if (target->kind == N_NAME) {
        struct binding *b = unit_allocate(r->unit, sizeof *b);
        struct variable *v = new_variable(r->unit, r->function, "", 0);
        v->is_set = true;
        target->variable = v;
        if (++r->binding_count > MAX_BINDINGS)
            refuse_at(r->unit, target->line, target->column,
                      "more than %d names in a comprehension are not supported", MAX_BINDINGS);
        *b = (struct binding){target->text, target->size, v, r->bindings};
        r->bindings = b;
    } else if (target->kind == N_STAR) {
        bind(r, target->a);
    } else if (target->kind == N_LIST || target->kind == N_TUPLE) {
        for (struct node *item = target->a; item != NULL; item = item->next)
            bind(r, item);
    } else {
        refuse_at(r->unit, target->line, target->column,
                  "this target in a comprehension is not supported");
    }
}

static void resolve_comprehension(struct resolver *r, struct node *node) {
    struct binding *outer = r->bindings;
    uint32_t outer_count = r->binding_count;
    for (struct node *clause = node->b; clause != NULL; clause = clause->next) {
        resolve(r, clause->b);
        bind(r, clause->a);
        resolve_list(r, clause->c);
    }
    resolve(r, node->a);
    r->bindings = outer;
    r->binding_count = outer_count;
}

/* The lambda of sorted(..., key=lambda ...) and map(lambda ..., ...) is calculated where it stands.
 */
static void find_inline(struct node *call) {
    const struct node *callee = call->a;
    bool by_name = callee->kind == N_NAME && callee->variable == NULL;
    bool sorts = (by_name && (text_is(callee->text, callee->size, "sorted") ||
                              text_is(callee->text, callee->size, "min") ||
                              text_is(callee->text, callee->size, "max"))) ||
                 (callee->kind == N_ATTRIBUTE && text_is(callee->text, callee->size, "sort"));
    for (struct node *argument = call->b; argument != NULL; argument = argument->next) {
        if (sorts && argument->kind == N_KEYWORD &&
            text_is(argument->text, argument->size, "key") && argument->a->kind == N_LAMBDA)
            argument->a->is_inline = true;
    }
    if (by_name &&
        (text_is(callee->text, callee->size, "map") ||
         text_is(callee->text, callee->size, "filter")) &&
        call->b != NULL && call->b->kind == N_LAMBDA)
        call->b->is_inline = true;
}

static void add_parameters(struct resolver *r, struct function *f, struct node *names) {
    struct parameter **last = &f->parameters;
    for (struct node *name = names; name != NULL; name = name->next) {
        struct parameter *parameter = unit_allocate(r->unit, sizeof *parameter);
        parameter->variable = new_variable(r->unit, f, name->text, name->size);
        parameter->variable->is_parameter = parameter->variable->is_set = true;
        if (name->a != NULL) {
            parameter->value = name->a;
            parameter->standard = new_variable(r->unit, r->unit->functions, "", 0);
            parameter->standard->is_set = parameter->standard->is_shared = true;
            resolve(r, name->a);
        }
        *last = parameter;
        last = &parameter->next;
        f->parameter_count++;
    }
}

static void resolve_function(struct resolver *r, struct function *f, struct node *body,
                             struct node *value) {
    struct resolver inner = {.unit = r->unit, .function = f};
    f->outer = r->function;
    f->is_reached = true;
    declare_globals(&inner, body);
    for (const struct parameter *p = f->parameters; p != NULL; p = p->next) {
        if (is_global(f, p->variable->name, p->variable->name_size))
            refuse_at(r->unit, f->line, 1, "a parameter is declared global");
    }
    declare_all(&inner, body);
    resolve_list(&inner, body);
    if (value != NULL) resolve(&inner, value);
}

static void resolve_lambda(struct resolver *r, struct node *node) {
    struct binding *outer = r->bindings;
    uint32_t outer_count = r->binding_count;
    if (!node->is_inline) {
        if (r->bindings != NULL)
            refuse_at(r->unit, node->line, node->column,
                      "a lambda in a comprehension is not supported");
        node->function->outer = r->function;
        add_parameters(r, node->function, node->b);
        node->function->is_value = true;
        resolve_function(r, node->function, NULL, node->a);
        return;
    }
    for (struct node *name = node->b; name != NULL; name = name->next) {
        if (name->a != NULL)
            refuse_at(r->unit, name->line, name->column,
                      "a default of a lambda here is not supported");
        bind(r, name);
    }
    resolve(r, node->a);
    r->bindings = outer;
    r->binding_count = outer_count;
}

static void resolve_name(struct resolver *r, struct node *name, struct node *call) {
    name->variable = look_up(r, name);
    if (name->variable != NULL && name->variable->constant != NULL)
        note_use(r->unit, r->function, name, call);
}

static void resolve(struct resolver *r, struct node *node) {
    if (node == NULL) return;
    switch (node->kind) {
    case N_NAME: resolve_name(r, node, NULL); return;
    case N_LIST_OF:
    case N_DICT_OF:
    case N_GENERATOR: resolve_comprehension(r, node); return;
    case N_LAMBDA: resolve_lambda(r, node); return;
    case N_CALL:
        if (node->a->kind == N_NAME) {
            resolve_name(r, node->a, node);
        } else {
            resolve(r, node->a);
        }
        find_inline(node);
        resolve_list(r, node->b);
        return;
    case S_DEF:
        add_parameters(r, node->function, node->b);
        if (r->bindings != NULL)
            refuse_at(r->unit, node->line, node->column, "a function here is not supported");
        resolve_function(r, node->function, node->function->body, NULL);
        return;
    case S_IMPORT:
    case S_PASS:
    case S_GLOBAL: return;
    case S_EXCEPT:
        /* its classes are names of built-ins */
        if (node->text != NULL) {
            struct node own = {.kind = N_NAME,
                               .text = node->text,
                               .size = node->size,
                               .line = node->line,
                               .column = node->column};
            node->variable = look_up(r, &own);
        }
        resolve_list(r, node->b);
        return;
    default:
        resolve_list(r, node->a);
        resolve_list(r, node->b);
        resolve_list(r, node->c);
        resolve_list(r, node->d);
        return;
    }
}

static void resolve_list(struct resolver *r, struct node *node) {
    for (; node != NULL; node = node->next)
        resolve(r, node);
}

void resolve_names(struct unit *u) {
    struct resolver r = {.unit = u, .function = u->functions};
    u->functions->is_reached = true;
    declare_globals(&r, u->body);
    declare_all(&r, u->body);
    resolve_list(&r, u->body);
    check_annotations(u);
    pass_captured(u);
}

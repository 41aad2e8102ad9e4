/* Closures without cells: a function that is only ever called by its name gets the variables of the
 * functions around it that it reads as further parameters. As nothing but the function around it
 * can set them (nonlocal is refused), their values at the call are those that the reads would find.
 */
#include "compile/ast.h"

#include <string.h>

/* Of one function; of all calls together. */
enum { MAX_CAPTURED = 24, MAX_PASSED = 20000 };

/* Of a function by its name. */
struct use {
    struct function *user;
    struct node *name;
    struct node *call; /* NULL: as a value */
    struct use *next;
};

static _Noreturn void refuse(struct unit *u, const struct node *at, const struct variable *v) {
    refuse_at(u, at->line, at->column,
              "'%.*s' belongs to the function around this one: closures are not supported here",
              (int)v->name_size, v->name);
}

struct variable *capture(struct unit *u, struct function *f, struct variable *v,
                         const struct node *at) {
    struct parameter **last = &f->parameters;
    unsigned count = 0;
    for (; *last != NULL; last = &(*last)->next) {
        if ((*last)->variable->captured == v) return (*last)->variable;
        count += (*last)->variable->captured != NULL;
    }
    if (count >= MAX_CAPTURED || f->parameter_count + 1 >= MAX_OPERANDS)
        refuse_at(u, at->line, at->column,
                  "a function that reads so many variables of those around it is not supported");
    if (f->definition->kind != S_DEF || v->module != NULL) refuse(u, at, v);
    struct parameter *parameter = *last = unit_allocate(u, sizeof *parameter);
    parameter->variable = new_variable(u, f, v->name, v->name_size);
    parameter->variable->is_parameter = parameter->variable->is_set = true;
    parameter->variable->captured = v;
    f->parameter_count++;
    return parameter->variable;
}

void note_use(struct unit *u, struct function *user, struct node *name, struct node *call) {
    struct function *used = name->variable->constant;
    struct use *use = unit_allocate(u, sizeof *use);
    *use = (struct use){.user = user, .name = name, .call = call, .next = used->uses};
    used->uses = use;
}

/* What the variable is where the function is called: its owner's, or captured there as well. */
static struct variable *there(struct unit *u, const struct use *use, struct variable *captured) {
    return captured->owner == use->user ? captured : capture(u, use->user, captured, use->name);
}

/* Who calls one that captures it captures it as well. */
static void spread(struct unit *u, struct function *first, struct variable *captured) {
    struct function *waiting = first;
    first->next_waiting = NULL;
    while (waiting != NULL) {
        const struct function *f = waiting;
        waiting = f->next_waiting;
        for (const struct use *use = f->uses; use != NULL; use = use->next) {
            uint32_t before = use->user->parameter_count;
            (void)there(u, use, captured);
            if (use->user->parameter_count == before) continue;
            use->user->next_waiting = waiting;
            waiting = use->user;
        }
    }
}

static void add_argument(struct unit *u, const struct use *use, const struct variable *parameter) {
    struct node **last = &use->call->b;
    while (*last != NULL)
        last = &(*last)->next;
    struct node *value = ast_new(u, N_NAME, use->call->line, use->call->column);
    value->text = parameter->name + 1;
    value->size = parameter->name_size - 1;
    value->variable = there(u, use, parameter->captured);
    *last = ast_new(u, N_KEYWORD, use->call->line, use->call->column);
    (*last)->text = parameter->name;
    (*last)->size = parameter->name_size;
    (*last)->a = value;
}

/* A name that no program can write. */
static void hide(struct unit *u, struct variable *v) {
    char *name = unit_allocate(u, v->name_size + 1);
    name[0] = '=';
    memcpy(name + 1, v->name, v->name_size++);
    v->name = name;
}

void pass_captured(struct unit *u) {
    const struct parameter *p;
    const struct use *use;
    unsigned passed = 0;
    for (struct function *f = u->functions; f != NULL; f = f->next) {
        for (p = f->parameters; p != NULL; p = p->next) {
            if (p->variable->captured != NULL) spread(u, f, p->variable->captured);
        }
    }
    for (const struct function *f = u->functions; f != NULL; f = f->next) {
        for (p = f->parameters; p != NULL; p = p->next) {
            if (p->variable->captured == NULL) continue;
            for (use = f->uses; use != NULL; use = use->next) {
                if (use->call == NULL) refuse(u, use->name, p->variable);
                if (++passed > MAX_PASSED)
                    refuse_at(u, use->call->line, use->call->column,
                              "so many calls of closures are not supported");
            }
            hide(u, p->variable);
            for (use = f->uses; use != NULL; use = use->next)
                add_argument(u, use, p->variable);
        }
    }
}

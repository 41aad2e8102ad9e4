/* Loops over iterables: of for statements, of comprehensions, and of what calls a function for each
 * item. */
#include "compile/code.h"

/* Where a loop is: what follows an item, and what follows the last. */
struct frame_of_loop {
    int exit, again;
};

static struct frame_of_loop begin(struct gen *g, struct loop *loop) {
    struct frame_of_loop at;
    op_block(g, BLOCK, T_NONE);
    at.exit = g->depth;
    op_block(g, LOOP, T_NONE);
    at.again = g->depth;
    loop->outer = g->loop;
    loop->guards = g->guards;
    if (loop->break_depth == 0)
        loop->break_depth = at.exit; /* unless an else is to be left out, too */
    return at;
}

/* The body within a block of its own, whose end is where continue goes. */
static void body_of(struct gen *g, struct loop *loop, void (*body)(struct gen *g, void *context),
                    void *context) {
    struct loop *outer = g->loop;
    op_block(g, BLOCK, T_NONE);
    loop->continue_depth = g->depth;
    g->loop = loop;
    body(g, context);
    g->loop = outer;
    op_end(g);
}

static void finish(struct gen *g, struct frame_of_loop at, const struct loop *loop) {
    if (!loop->is_quiet) safepoint(g);
    op_branch(g, BR, at.again);
    op_end(g);
    op_end(g);
}

/* Integers are counted in locals: no object is made. */
static void each_of_range(struct gen *g, struct node *target, struct node *call,
                          void (*body)(struct gen *g, void *context), void *context,
                          struct loop *loop) {
    struct node zero = {.kind = N_INT, .type = K_INT},
                one = {.kind = N_INT, .type = K_INT, .integer = 1};
    struct node *start = &zero, *stop = call->b, *step = &one;
    if (stop->next != NULL) {
        start = stop;
        stop = start->next;
        if (stop->next != NULL) step = stop->next;
    }
    uint32_t at = local_new(g, T_I64), end = local_new(g, T_I64), by = local_new(g, T_I64);
    struct node *nodes[] = {start, stop, step};
    const enum form forms[] = {FORM_I, FORM_I, FORM_I};
    gen_operands(g, nodes, forms, 3);
    op_local(g, LOCAL_SET, by);
    op_local(g, LOCAL_SET, end);
    op_local(g, LOCAL_SET, at);
    bool constant = step->kind == N_INT && step->text == NULL && step->integer != 0;
    if (!constant || bits_of(start) > 60 ||
        bits_of(stop) > 60) { /* larger ones, and a step of 0, are the runtime's to refuse */
        const uint32_t all[] = {at, end, by};
        for (int i = 0; i < 3; i++) {
            op_local(g, LOCAL_GET, all[i]);
            op_i64(g, (int64_t)1 << 61);
            op(g, I64_ADD);
            op_i64(g, 62);
            op(g, I64_SHR_U);
            op_local(g, LOCAL_GET, all[i]);
            op_i64(g, 1);
            op(g, I64_AND);
            op(g, I64_OR);
            if (i > 0) op(g, I64_OR);
        }
        op_local(g, LOCAL_GET, by);
        op(g, I64_EQZ);
        op(g, I64_EXTEND_U);
        op(g, I64_OR);
        op_i64(g, 0);
        op(g, I64_NE);
        op_block(g, IF, T_NONE);
        for (int i = 0; i < 3; i++) {
            op_local(g, LOCAL_GET, all[i]);
            call_safe(g, "rt_box_int");
        }
        call_runtime(g, "rt_check_range");
        op_end(g);
    }
    if (loop->line > 0) set_line(g, loop->line); /* of all that it does: set once */
    struct frame_of_loop place = begin(g, loop);
    op_local(g, LOCAL_GET, at);
    op_local(g, LOCAL_GET, end);
    if (constant) {
        op(g, step->integer > 0 ? I64_GE_S : I64_LE_S);
    } else {
        op(g, I64_GE_S);
        op_local(g, LOCAL_GET, at);
        op_local(g, LOCAL_GET, end);
        op(g, I64_LE_S);
        op_local(g, LOCAL_GET, by);
        op_i64(g, 0);
        op(g, I64_GT_S);
        op(g, SELECT);
    }
    op_branch(g, BR_IF, place.exit);
    op_local(g, LOCAL_GET, at);
    gen_assign(g, target, FORM_I);
    g->line_is_set = loop->line > 0;
    body_of(g, loop, body, context);
    g->line_is_set = false;
    op_local(g, LOCAL_GET, at);
    op_local(g, LOCAL_GET, by);
    op(g, I64_ADD);
    op_local(g, LOCAL_SET, at);
    finish(g, place, loop);
    local_free(g, T_I64, at);
    local_free(g, T_I64, end);
    local_free(g, T_I64, by);
}

/* A list may change meanwhile: its length is looked at each time. */
static void each_of_list(struct gen *g, struct node *target, uint32_t list,
                         void (*body)(struct gen *g, void *context), void *context,
                         struct loop *loop) {
    uint32_t at = local_new(g, T_I32), item = slot_new(g, 1);
    op_i32(g, 0);
    op_local(g, LOCAL_SET, at);
    struct frame_of_loop place = begin(g, loop);
    op_local(g, LOCAL_GET, at);
    load_slot(g, list);
    op(g, I32_WRAP);
    op_memory(g, I32_LOAD, 4);
    op(g, I32_GE_U);
    op_branch(g, BR_IF, place.exit);
    load_slot(g, list);
    op(g, I32_WRAP);
    op_memory(g, I32_LOAD, 12);
    op_local(g, LOCAL_GET, at);
    op_i32(g, 3);
    op(g, I32_SHL);
    op(g, I32_ADD);
    op_memory(g, I64_LOAD, 0);
    store_slot(g, item);
    op_local(g, LOCAL_GET, at);
    op_i32(g, 1);
    op(g, I32_ADD);
    op_local(g, LOCAL_SET, at);
    load_slot(g, item);
    gen_assign(g, target, FORM_V);
    body_of(g, loop, body, context);
    finish(g, place, loop);
    slot_free(g, item, 1);
    local_free(g, T_I32, at);
}

static void each_of_any(struct gen *g, struct node *target, uint32_t iterator, struct node *apply,
                        bool filter, void (*body)(struct gen *g, void *context), void *context,
                        struct loop *loop) {
    uint32_t item = local_new(g, T_I64), kept = slot_new(g, 1);
    struct frame_of_loop place = begin(g, loop);
    load_slot(g, iterator);
    call_runtime(g, "rt_next");
    op_local(g, LOCAL_TEE, item);
    op_i64(g, V_UNDEF);
    op(g, I64_EQ);
    op_branch(g, BR_IF, place.exit);
    op_local(g, LOCAL_GET, item);
    if (apply != NULL) { /* map() and filter(), one at a time */
        store_slot(g, kept);
        load_slot(g, kept);
        gen_apply(g, apply);
        if (filter) {
            call_safe(g, "rt_truth");
            op(g, I32_EQZ);
            op_branch(g, BR_IF, place.again);
            load_slot(g, kept);
        }
    }
    gen_assign(g, target, FORM_V);
    body_of(g, loop, body, context);
    loop->is_quiet = false; /* the next item may be a new object */
    finish(g, place, loop);
    local_free(g, T_I64, item);
    slot_free(g, kept, 1);
}

void gen_each(struct gen *g, struct node *target, struct node *iterable,
              void (*body)(struct gen *g, void *context), void *context, struct loop *loop) {
    bool call = iterable->kind == N_CALL && iterable->b != NULL;
    if (call && is_named(iterable->a, "range") && target->kind == N_NAME) {
        bool integers = true;
        int count = 0;
        for (struct node *argument = iterable->b; argument != NULL;
             argument = argument->next, count++)
            integers &= argument->type == K_INT;
        if (integers && count <= 3) {
            each_of_range(g, target, iterable, body, context, loop);
            return;
        }
    }
    bool filter = call && is_named(iterable->a, "filter"),
         lazy = call && (filter || is_named(iterable->a, "map")) && iterable->b->next != NULL &&
                iterable->b->next->next == NULL;
    struct node *source = lazy ? iterable->b->next : iterable, *apply = lazy ? iterable->b : NULL;
    uint32_t slot = slot_new(g, 1);
    if (source->kind == N_GENERATOR)
        refuse_node(g, source, "a loop over a generator expression is not supported");
    gen_as(g, source, FORM_V);
    if (source->type == K_LIST && apply == NULL) {
        store_slot(g, slot);
        each_of_list(g, target, slot, body, context, loop);
    } else {
        call_runtime(g, "rt_iter");
        store_slot(g, slot);
        each_of_any(g, target, slot, apply, filter, body, context, loop);
    }
    slot_free(g, slot, 1);
}

/* ---- comprehensions */

struct comprehension {
    struct node *node, *clause;
    uint32_t slot;  /* of what is made */
    uint32_t found; /* any() and all(): the local of their answer */
    bool all;
    int done;
};

static void use_element(struct gen *g, struct comprehension *c) {
    struct node *element = c->node->a;
    if (c->node->kind == N_GENERATOR) { /* any() and all() */
        gen_condition(g, element);
        if (c->all) op(g, I32_EQZ);
        op_block(g, IF, T_NONE);
        op_i32(g, !c->all);
        op_local(g, LOCAL_SET, c->found);
        op_branch(g, BR, c->done);
        op_end(g);
        return;
    }
    if (c->node->kind == N_DICT_OF) {
        gen_pair(g, element, c->slot);
        return;
    }
    gen_as(g, element, FORM_V);
    gen_push(g, c->slot);
}

static void each_clause(struct gen *g, void *context);

static void within(struct gen *g, void *context) {
    struct comprehension *c = context;
    struct node *clause = c->clause;
    for (struct node *condition = clause->c; condition != NULL; condition = condition->next) {
        gen_condition(g, condition);
        op(g, I32_EQZ);
        op_branch(g, BR_IF, g->loop->continue_depth);
    }
    c->clause = clause->next;
    each_clause(g, c);
    c->clause = clause;
}

static void each_clause(struct gen *g, void *context) {
    struct comprehension *c = context;
    struct loop loop = {0};
    if (c->clause == NULL) {
        use_element(g, c);
        return;
    }
    gen_each(g, c->clause->a, c->clause->b, within, c, &loop);
}

enum form gen_comprehension(struct gen *g, struct node *node) {
    struct comprehension c = {.node = node, .clause = node->b, .slot = slot_new(g, 1)};
    if (node->kind == N_DICT_OF) {
        call_safe(g, "rt_dict_new");
    } else {
        op_i32(g, 0);
        call_safe(g, "rt_list_new");
    }
    store_slot(g, c.slot);
    each_clause(g, &c);
    load_slot(g, c.slot);
    slot_free(g, c.slot, 1);
    return FORM_V;
}

void gen_any(struct gen *g, struct node *generator, bool all) {
    struct comprehension c = {
        .node = generator, .clause = generator->b, .found = local_new(g, T_I32), .all = all};
    op_i32(g, all);
    op_local(g, LOCAL_SET, c.found);
    op_block(g, BLOCK, T_NONE);
    c.done = g->depth;
    each_clause(g, &c);
    op_end(g);
    op_local(g, LOCAL_GET, c.found);
    local_free(g, T_I32, c.found);
}

/* ---- functions for each item */

void gen_apply(struct gen *g, struct node *function) {
    if (function->kind == N_LAMBDA) {
        if (!function->is_inline || function->b == NULL || function->b->next != NULL)
            refuse_node(g, function, "this lambda is not supported here");
        gen_assign(g, function->b, FORM_V);
        gen_as(g, function->a, FORM_V);
        return;
    }
    /* As if it were a call of a variable. */
    uint32_t slot = slot_new(g, 1);
    store_slot(g, slot);
    struct variable place = {.place = (int32_t)slot, .type = K_ANY, .owner = g->function};
    struct node argument = {.kind = N_NAME,
                            .variable = &place,
                            .type = K_ANY,
                            .integer = 2,
                            .line = function->line,
                            .column = function->column};
    struct node call = {.kind = N_CALL,
                        .a = function,
                        .b = &argument,
                        .line = function->line,
                        .column = function->column};
    enum kind result = K_ANY;
    if (function->kind == N_NAME && function->variable == NULL) {
        const struct entry *entry = library_function(function->text, function->size);
        result = entry != NULL                ? (enum kind)entry->type
                 : is_named(function, "str")  ? K_STR
                 : is_named(function, "bool") ? K_BOOL
                                              : K_ANY;
    }
    call.type = (uint8_t)result;
    convert(g, gen_call(g, &call), FORM_V);
    slot_free(g, slot, 1);
}

struct mapping {
    struct node *function;
    uint32_t item, out;
    bool filter;
};

static void map_one(struct gen *g, void *context) {
    const struct mapping *m = context;
    load_slot(g, m->item);
    if (m->function->kind == N_NONE) {
        if (!m->filter) refuse_node(g, m->function, "None as a function");
    } else {
        gen_apply(g, m->function);
    }
    if (m->filter) {
        call_safe(g, "rt_truth");
        op(g, I32_EQZ);
        op_branch(g, BR_IF, g->loop->continue_depth);
        load_slot(g, m->item);
    }
    gen_push(g, m->out);
}

void gen_mapped(struct gen *g, struct node *function, uint32_t list, bool filter) {
    struct mapping m = {
        .function = function, .item = slot_new(g, 1), .out = slot_new(g, 1), .filter = filter};
    struct variable place = {.place = (int32_t)m.item, .type = K_ANY, .owner = g->function};
    struct node target = {.kind = N_NAME, .variable = &place, .type = K_ANY};
    struct loop loop = {0};
    op_i32(g, 0);
    call_safe(g, "rt_list_new");
    store_slot(g, m.out);
    each_of_list(g, &target, list, map_one, &m, &loop);
    load_slot(g, m.out);
    slot_free(g, m.out, 1);
    slot_free(g, m.item, 1);
}

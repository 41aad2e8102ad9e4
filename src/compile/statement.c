/* Statements. */
#include "compile/code.h"

static void statement(struct gen *g, struct node *node);

/* What cannot go wrong needs no line. */
static bool is_pure(const struct node *node) {
    if (node == NULL) return true;
    switch (node->kind) {
    case N_INT:
    case N_FLOAT:
    case N_STRING:
    case N_NONE:
    case N_TRUE:
    case N_FALSE: return true;
    case N_NAME: return node->variable != NULL && !node->variable->may_be_unset;
    case N_BINARY: {
        bool integers = node->a->type == K_INT && node->b->type == K_INT,
             floats = node->a->type == K_FLOAT && node->b->type == K_FLOAT;
        return (integers || floats) && node->op <= O_MUL && is_pure(node->a) && is_pure(node->b);
    }
    case N_NOT: return is_pure(node->a);
    case N_COMPARE: {
        const struct node *other = node->b->a;
        bool numbers = (node->a->type == K_INT && other->type == K_INT) ||
                       (node->a->type == K_FLOAT && other->type == K_FLOAT);
        return numbers && node->b->next == NULL && is_pure(node->a) && is_pure(other);
    }
    case N_AND:
    case N_OR: return is_pure(node->a) && is_pure(node->b);
    default: return false;
    }
}

void set_line(struct gen *g, uint32_t line) {
    g->line = line;
    if (g->line_is_set) return;
    op_local(g, LOCAL_GET, g->frame);
    op_i32(g, (int32_t)line);
    op_memory(g, I32_STORE, 4);
}

static void line_unless_pure(struct gen *g, const struct node *at, const struct node *value) {
    if (!is_pure(value)) set_line(g, at->line);
    g->line = at->line;
}

/* ---- assignments */

/* `a, b = b, a`: all values first, each in its own form. */
static bool assign_pairs(struct gen *g, struct node *target, struct node *value) {
    struct node *t = target->a, *v = value->a;
    uint32_t count = 0, places[MAX_OPERANDS], first_slot = g->slots;
    if ((target->kind != N_TUPLE && target->kind != N_LIST) || value->kind != N_TUPLE) return false;
    for (; t != NULL && v != NULL; t = t->next, v = v->next, count++) {
        if (t->kind == N_STAR || v->kind == N_STAR) return false;
    }
    if (t != NULL || v != NULL || count >= MAX_OPERANDS) return false;
    bool collects = false;
    for (v = value->a; v != NULL; v = v->next)
        collects |= may_collect(v);
    uint32_t at = 0;
    for (v = value->a; v != NULL; v = v->next, at++) {
        enum form form = gen_value(g, v);
        if (form == FORM_V) {
            places[at] = slot_new(g, 1);
            store_slot(g, places[at]);
            continue;
        }
        places[at] = local_new(g, type_of_form(form));
        op_local(g, LOCAL_SET, places[at]);
        if (form == FORM_I && collects && bits_of(v) == 64) {
            uint32_t kept = slot_new(g, 1);
            keep_integer(g, LOCAL_GET, places[at], kept);
        }
    }
    at = 0;
    for (t = target->a, v = value->a; t != NULL; t = t->next, v = v->next, at++) {
        enum form form = form_of((enum kind)v->type);
        if (form == FORM_V) {
            load_slot(g, places[at]);
        } else {
            op_local(g, LOCAL_GET, places[at]);
        }
        gen_assign(g, t, form);
        if (form != FORM_V) local_free(g, type_of_form(form), places[at]);
    }
    g->slots = first_slot;
    return true;
}

static void assign(struct gen *g, struct node *node) {
    struct node *target = node->a;
    bool plain = target->kind == N_NAME && target->next == NULL;
    line_unless_pure(g, node, plain ? node->b : NULL);
    if (!plain) set_line(g, node->line);
    if (target->next == NULL && assign_pairs(g, target, node->b)) return;
    if (target->next == NULL) {
        gen_assign(g, target, gen_value(g, node->b));
        return;
    }
    uint32_t slot = slot_new(g, 1);
    gen_as(g, node->b, FORM_V);
    store_slot(g, slot);
    for (; target != NULL; target = target->next) {
        load_slot(g, slot);
        /* Back to what it is: a variable's form may be another than any value's. */
        enum form form = form_of((enum kind)node->b->type);
        convert(g, FORM_V, form);
        gen_assign(g, target, form);
    }
    slot_free(g, slot, 1);
}

static void change(struct gen *g, struct node *node) {
    struct node *target = node->a, sum = {.kind = N_BINARY,
                                          .op = node->op,
                                          .b = node->b,
                                          .line = node->line,
                                          .column = node->column,
                                          .is_inline = true};
    uint32_t first_slot = g->slots;
    if (target->kind == N_NAME) {
        sum.a = target;
        sum.type = (uint8_t)infer_binary(node->op, (enum kind)target->type,
                                         (enum kind)node->b->type, node->b);
        line_unless_pure(g, node, &sum);
        gen_binary(g, &sum);
        gen_store(g, target->variable, form_of((enum kind)sum.type));
        return;
    }
    set_line(g, node->line);
    if (target->b->kind == N_SLICE)
        refuse_node(g, node, "changing a slice in place is not supported");
    /* Container and index are calculated once. */
    bool integer = target->b->type == K_INT;
    struct node *both[] = {target->a, target->b};
    const enum form forms[] = {FORM_V, integer ? FORM_I : FORM_V};
    struct variable container = {.type = target->a->type == K_LIST ? K_LIST : K_ANY,
                                 .owner = g->function,
                                 .spill = -1,
                                 .place = (int32_t)slot_new(g, 1)};
    struct variable index = {.type = integer ? K_INT : K_ANY, .owner = g->function, .spill = -1};
    index.place = integer ? (int32_t)local_new(g, T_I64) : (int32_t)slot_new(g, 1);
    uint32_t kept = slot_new(g, 1);
    gen_operands(g, both, forms, 2);
    gen_store(g, &index, forms[1]);
    gen_store(g, &container, FORM_V);
    if (integer && bits_of(target->b) == 64 && may_collect(node->b)) {
        keep_integer(g, LOCAL_GET, (uint32_t)index.place, kept);
    }
    struct node a = {.kind = N_NAME, .variable = &container, .type = container.type, .integer = 2};
    struct node b = {.kind = N_NAME, .variable = &index, .type = index.type, .integer = 2};
    struct node item = {.kind = N_ITEM,
                        .a = &a,
                        .b = &b,
                        .type = target->type,
                        .integer = 2,
                        .line = node->line,
                        .column = node->column};
    sum.a = &item;
    sum.type =
        (uint8_t)infer_binary(node->op, (enum kind)target->type, (enum kind)node->b->type, node->b);
    gen_binary(g, &sum);
    gen_assign(g, &item, form_of((enum kind)sum.type));
    if (integer) local_free(g, T_I64, (uint32_t)index.place);
    g->slots = first_slot;
}

/* ---- loops */

/* Whether it may make an object: a big integer, too. */
static bool may_allocate(const struct node *node) {
    if (node == NULL) return false;
    switch (node->kind) {
    case N_INT: return node->text != NULL;
    case N_FLOAT:
    case N_STRING:
    case N_NONE:
    case N_TRUE:
    case N_FALSE: return false;
    case N_NAME:
        return node->variable == NULL || node->variable->constant != NULL ||
               node->variable->may_be_unset;
    case N_BINARY: {
        bool floats = node->a->type == K_FLOAT && node->b->type == K_FLOAT && node->op <= O_TRUEDIV;
        return !(floats || (node->type == K_INT && bits_of(node) <= 61)) || may_allocate(node->a) ||
               may_allocate(node->b);
    }
    case N_NOT: return may_allocate(node->a);
    case N_AND:
    case N_OR: return may_allocate(node->a) || may_allocate(node->b);
    case N_COMPARE:
        return node->b->next != NULL || node->b->op >= C_IN || may_allocate(node->a) ||
               may_allocate(node->b->a);
    case N_ITEM:
        return node->a->type != K_LIST || node->b->type != K_INT || may_allocate(node->a) ||
               may_allocate(node->b);
    default: return true;
    }
}

static bool body_allocates(const struct node *body) {
    for (; body != NULL; body = body->next) {
        bool more = true;
        if (body->kind == S_PASS || body->kind == S_BREAK || body->kind == S_CONTINUE) more = false;
        if (body->kind == S_ASSIGN)
            more = body->a->next != NULL || (body->a->kind != N_NAME && body->a->kind != N_ITEM) ||
                   may_allocate(body->b) || (body->a->kind == N_ITEM && may_allocate(body->a));
        if (body->kind == S_IF)
            more = may_allocate(body->a) || body_allocates(body->b) || body_allocates(body->c);
        if (more) return true;
    }
    return false;
}

static void while_statement(struct gen *g, struct node *node) {
    struct loop loop = {.outer = g->loop, .guards = g->guards};
    op_block(g, BLOCK, T_NONE);
    loop.break_depth = g->depth;
    op_block(g, BLOCK, T_NONE);
    int over = g->depth;
    op_block(g, LOOP, T_NONE);
    int again = g->depth;
    line_unless_pure(g, node, node->a);
    gen_condition(g, node->a);
    op(g, I32_EQZ);
    op_branch(g, BR_IF, over);
    op_block(g, BLOCK, T_NONE);
    loop.continue_depth = g->depth;
    g->loop = &loop;
    gen_body(g, node->b);
    g->loop = loop.outer;
    op_end(g);
    if (may_allocate(node->a) || body_allocates(node->b)) safepoint(g);
    op_branch(g, BR, again);
    op_end(g);
    op_end(g);
    gen_body(g, node->c);
    op_end(g);
}

static void for_body(struct gen *g, void *context) {
    gen_body(g, ((struct node *)context)->c);
}

static void for_statement(struct gen *g, struct node *node) {
    struct loop loop = {0};
    set_line(g, node->line);
    op_block(g, BLOCK, T_NONE);
    if (node->d != NULL) loop.break_depth = g->depth;
    /* A statement that calls none of the program's own code leaves the line as it is. */
    const struct node *only = node->c;
    if (only->next == NULL && (only->kind == S_ASSIGN || only->kind == S_CHANGE) &&
        !may_collect(only->a) && !may_collect(only->b))
        loop.line = only->line;
    loop.is_quiet = node->a->kind == N_NAME && !body_allocates(node->c);
    gen_each(g, node->a, node->b, for_body, node, &loop);
    gen_body(g, node->d);
    op_end(g);
}

static void leave_loop(struct gen *g, const struct node *node) {
    if (g->loop == NULL || g->guards != g->loop->guards)
        refuse_node(g, node, "leaving a try with a finally by break or continue is not supported");
    op_branch(g, BR, node->kind == S_BREAK ? g->loop->break_depth : g->loop->continue_depth);
}

/* ---- errors */

static bool never_raised(const struct node *class) {
    static const char *const names[] = {"OSError",
                                        "IOError",
                                        "FileNotFoundError",
                                        "PermissionError",
                                        "ImportError",
                                        "ModuleNotFoundError",
                                        "KeyboardInterrupt",
                                        "SystemExit",
                                        "ConnectionError",
                                        "TimeoutError",
                                        "UnicodeDecodeError",
                                        "UnicodeEncodeError",
                                        "SyntaxError",
                                        "GeneratorExit"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (text_is(class->text, class->size, names[i])) return true;
    }
    return false;
}

/* Does one of the classes fit the error? */
static void push_matches(struct gen *g, const struct node *class) {
    op_i32(g, class == NULL);
    for (; class != NULL; class = class->next) {
        int number = library_error(class->text, class->size);
        if (text_is(class->text, class->size, "BaseException")) {
            op_i32(g, 1);
        } else if (number > 0) {
            op_i32(g, number);
            call_safe(g, "rt_matches");
        } else if (never_raised(class)) {
            continue;
        } else {
            refuse_node(g, class, "this class of errors is not supported");
        }
        op(g, I32_OR);
    }
}

static void handler(struct gen *g, struct node *node, int after) {
    uint32_t slot = slot_new(g, 1), outer_slot = g->caught_slot;
    bool was_caught = g->is_caught;
    push_matches(g, node->a);
    op_block(g, IF, T_NONE);
    call_safe(g, "rt_caught");
    store_slot(g, slot);
    if (node->variable != NULL) {
        load_slot(g, slot);
        gen_store(g, node->variable, FORM_V);
    }
    g->is_caught = true;
    g->caught_slot = slot;
    gen_body(g, node->b);
    g->is_caught = was_caught;
    g->caught_slot = outer_slot;
    if (node->variable != NULL) {
        op_i64(g, V_UNDEF);
        gen_store(g, node->variable, FORM_V);
    }
    op_branch(g, BR, after);
    op_end(g);
    slot_free(g, slot, 1);
}

static void try_except(struct gen *g, struct node *node) {
    int outer = g->failure_depth;
    if (node->b == NULL) {
        gen_body(g, node->a);
        return;
    }
    op_block(g, BLOCK, T_NONE);
    int after = g->depth;
    op_block(g, BLOCK, T_NONE);
    g->failure_depth = g->depth;
    gen_body(g, node->a);
    g->failure_depth = outer;
    gen_body(g, node->c);
    op_branch(g, BR, after);
    op_end(g);
    for (struct node *one = node->b; one != NULL; one = one->next)
        handler(g, one, after);
    op_branch(g, BR, outer);
    op_end(g);
}

static void try_statement(struct gen *g, struct node *node) {
    int outer = g->failure_depth;
    if (node->d == NULL) {
        try_except(g, node);
        return;
    }
    uint32_t slot = slot_new(g, 1);
    op_block(g, BLOCK, T_NONE);
    int done = g->depth;
    op_block(g, BLOCK, T_NONE);
    g->failure_depth = g->depth;
    g->guards++;
    try_except(g, node);
    g->guards--;
    g->failure_depth = outer;
    gen_body(g, node->d);
    op_branch(g, BR, done);
    op_end(g);
    call_safe(g, "rt_caught");
    store_slot(g, slot);
    gen_body(g, node->d);
    load_slot(g, slot);
    call_safe(g, "rt_reraise");
    op_branch(g, BR, outer);
    op_end(g);
    slot_free(g, slot, 1);
}

static void raise_statement(struct gen *g, struct node *node) {
    struct node *value = node->a;
    set_line(g, node->line);
    if (value == NULL) {
        if (!g->is_caught)
            refuse_node(g, node, "raise without an error is supported within except only");
        load_slot(g, g->caught_slot);
        call_safe(g, "rt_reraise");
        op_branch(g, BR, g->failure_depth);
        return;
    }
    const struct node *class = value->kind == N_CALL ? value->a : value;
    int number = class->kind == N_NAME && class->variable == NULL
                     ? library_error(class->text, class->size)
                     : 0;
    if (number > 0) {
        struct node *argument = value->kind == N_CALL ? value->b : NULL;
        uint32_t message = local_new(g, T_I64);
        if (argument != NULL &&
            (argument->next != NULL || argument->kind == N_KEYWORD || argument->kind == N_STAR))
            refuse_node(g, node, "an error of several arguments is not supported");
        if (argument != NULL) {
            gen_as(g, argument, FORM_V);
        } else {
            op_i64(g, V_UNDEF);
        }
        op_local(g, LOCAL_SET, message);
        op_i32(g, number);
        op_local(g, LOCAL_GET, message);
        call_safe(g, "rt_raise");
        local_free(g, T_I64, message);
    } else if (value->kind == N_NAME && value->variable != NULL &&
               value->variable->constant == NULL && value->variable->module == NULL) {
        gen_as(g, value, FORM_V);
        call_safe(g, "rt_reraise");
    } else {
        refuse_node(g, node, "this class of errors is not supported");
    }
    op_branch(g, BR, g->failure_depth);
}

static void assert_statement(struct gen *g, struct node *node) {
    uint32_t message = local_new(g, T_I64);
    set_line(g, node->line);
    gen_condition(g, node->a);
    op(g, I32_EQZ);
    op_block(g, IF, T_NONE);
    if (node->b != NULL) {
        gen_as(g, node->b, FORM_V);
    } else {
        op_i64(g, V_UNDEF);
    }
    op_local(g, LOCAL_SET, message);
    op_i32(g, library_error("AssertionError", 14));
    op_local(g, LOCAL_GET, message);
    call_safe(g, "rt_raise");
    op_branch(g, BR, g->failure_depth);
    op_end(g);
    local_free(g, T_I64, message);
}

/* ---- functions */

static void return_statement(struct gen *g, struct node *node) {
    enum form form = form_of((enum kind)g->function->result);
    if (g->guards > 0)
        refuse_node(g, node, "leaving a try with a finally by return is not supported");
    line_unless_pure(g, node, node->a);
    if (node->a != NULL) {
        gen_as(g, node->a, form);
    } else {
        op_i64(g, V_NONE);
    }
    gen_leave_frame(g);
    op(g, RETURN);
}

static void def_statement(struct gen *g, struct node *node) {
    for (const struct parameter *p = node->function->parameters; p != NULL; p = p->next) {
        if (p->value == NULL) continue;
        set_line(g, node->line);
        gen_store(g, p->standard, gen_value(g, p->value));
    }
}

static void delete_statement(struct gen *g, struct node *node) {
    for (struct node *target = node->a; target != NULL; target = target->next) {
        struct node *bounds = target->b;
        set_line(g, node->line);
        if (bounds->kind == N_SLICE) {
            gen_slice(g, target->a, bounds);
            op_i64(g, V_UNDEF);
            call_runtime(g, "rt_set_slice");
            continue;
        }
        struct node *both[] = {target->a, target->b};
        const enum form forms[] = {FORM_V, FORM_V};
        gen_operands(g, both, forms, 2);
        call_runtime(g, "rt_delete_item");
    }
}

static void statement(struct gen *g, struct node *node) {
    switch (node->kind) {
    case S_EXPRESSION:
        if (node->a->kind == N_STRING) return; /* a remark */
        line_unless_pure(g, node, node->a);
        (void)gen_value(g, node->a);
        op(g, DROP);
        break;
    case S_ASSIGN: assign(g, node); break;
    case S_CHANGE: change(g, node); break;
    case S_IF:
        line_unless_pure(g, node, node->a);
        gen_condition(g, node->a);
        op_block(g, IF, T_NONE);
        gen_body(g, node->b);
        if (node->c != NULL) {
            op(g, ELSE);
            gen_body(g, node->c);
        }
        op_end(g);
        break;
    case S_WHILE: while_statement(g, node); break;
    case S_FOR: for_statement(g, node); break;
    case S_DEF: def_statement(g, node); break;
    case S_RETURN: return_statement(g, node); break;
    case S_BREAK:
    case S_CONTINUE: leave_loop(g, node); break;
    case S_ASSERT: assert_statement(g, node); break;
    case S_RAISE: raise_statement(g, node); break;
    case S_TRY: try_statement(g, node); break;
    case S_DELETE: delete_statement(g, node); break;
    default: break; /* pass, global, import */
    }
}

void gen_body(struct gen *g, struct node *body) {
    for (; body != NULL; body = body->next)
        statement(g, body);
}

/* Calls: of the program's functions, of built-in ones, of methods. */
#include "compile/code.h"

#include <string.h>

static struct node *keyword(struct node *arguments, const char *name) {
    for (; arguments != NULL; arguments = arguments->next) {
        if (arguments->kind == N_KEYWORD && text_is(arguments->text, arguments->size, name))
            return arguments->a;
    }
    return NULL;
}

/* Keywords other than these are refused. */
static void only_keywords(struct gen *g, struct node *arguments, const char *a, const char *b,
                          const char *c) {
    for (; arguments != NULL; arguments = arguments->next) {
        if (arguments->kind != N_KEYWORD) continue;
        const char *const names[] = {a, b, c};
        bool known = false;
        for (int i = 0; i < 3; i++)
            known |= names[i] != NULL && text_is(arguments->text, arguments->size, names[i]);
        if (!known) refuse_node(g, arguments, "this keyword argument is not supported");
    }
}

/* ---- functions of the program */

/* parameter -> argument, or NULL: its default. */
static void match(struct gen *g, const struct node *call, const struct function *f,
                  struct node **given) {
    const struct parameter *p = f->parameters;
    uint32_t at = 0;
    for (struct node *argument = call->b; argument != NULL; argument = argument->next) {
        if (argument->kind == N_GENERATOR)
            refuse_node(g, argument, "a generator that is not used up at once is not supported");
        if (argument->kind == N_KEYWORD) {
            uint32_t i = 0;
            for (p = f->parameters; p != NULL; p = p->next, i++) {
                if (p->variable->name_size == argument->size &&
                    memcmp(p->variable->name, argument->text, argument->size) == 0)
                    break;
            }
            if (p == NULL || given[i] != NULL)
                refuse_node(g, argument,
                            "the function has no such parameter, or it is given twice");
            given[i] = argument->a;
            continue;
        }
        if (p == NULL || p->variable->captured != NULL)
            refuse_node(g, call, "the function takes fewer arguments");
        given[at++] = argument;
        p = p->next;
    }
    at = 0;
    for (p = f->parameters; p != NULL; p = p->next, at++) {
        if (given[at] == NULL && p->standard == NULL)
            refuse_node(g, call, "the function takes more arguments");
    }
}

static void push_arguments(struct gen *g, struct node *call, const struct function *f) {
    /* Not on the stack: calls stand in each other. */
    struct node **given = unit_allocate(g->unit, MAX_OPERANDS * sizeof(struct node *)),
                **nodes = unit_allocate(g->unit, MAX_OPERANDS * sizeof(struct node *));
    enum form *forms = unit_allocate(g->unit, MAX_OPERANDS * sizeof *forms);
    uint32_t count = 0, first_slot = g->slots, slots;
    if (f->parameter_count >= MAX_OPERANDS || count_of(call->b) >= MAX_OPERANDS)
        refuse_node(g, call, "so many arguments are not supported");
    match(g, call, f, given);
    bool named = false;
    for (const struct node *argument = call->b; argument != NULL; argument = argument->next)
        named |= argument->kind == N_KEYWORD && !is_captured(argument);
    for (const struct parameter *p = f->parameters; p != NULL; p = p->next, count++) {
        nodes[count] = given[count];
        forms[count] = form_of((enum kind)p->variable->type);
        if (given[count] == NULL) {
            nodes[count] = ast_new(g->unit, N_NAME, call->line, call->column);
            nodes[count]->variable = p->standard;
            nodes[count]->type = p->standard->type;
            nodes[count]->integer = 2;
        }
    }
    if (!named) {
        gen_operands(g, nodes, forms, count);
        return;
    }
    /* In the order of the text, into places; then in the order of the parameters. */
    slots = slot_new(g, count);
    for (struct node *argument = call->b; argument != NULL; argument = argument->next) {
        struct node *value = argument->kind == N_KEYWORD ? argument->a : argument;
        for (uint32_t i = 0; i < count; i++) {
            if (given[i] != value) continue;
            gen_as(g, value, FORM_V);
            store_slot(g, slots + i * SLOT);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        if (given[i] == NULL) {
            gen_as(g, nodes[i], forms[i]);
        } else {
            load_slot(g, slots + i * SLOT);
            if (forms[i] == FORM_F && given[i]->type != K_FLOAT) {
                convert(g, FORM_V, FORM_I);
                convert(g, FORM_I, FORM_F);
            } else {
                convert(g, FORM_V, forms[i]);
            }
        }
    }
    g->slots = first_slot;
}

static enum form call_function(struct gen *g, struct node *node, const struct function *f) {
    push_arguments(g, node, f);
    spill_integers(g);
    call_target(g, OF_PROGRAM, f->number);
    check_failure(g);
    return form_of((enum kind)f->result);
}

/* Of a value: the arguments first go to places, as who is called is calculated before them. */
static enum form call_value(struct gen *g, struct node *node) {
    uint32_t count = count_of(node->b), callee = slot_new(g, 1), first, index = local_new(g, T_I32);
    if (count >= MAX_OPERANDS) refuse_node(g, node, "so many arguments are not supported");
    only_keywords(g, node->b, NULL, NULL, NULL);
    gen_as(g, node->a, FORM_V);
    store_slot(g, callee);
    first = gen_slots(g, node->b, &count);
    g->unit->calls_values = true;
    load_slot(g, callee);
    op_i32(g, (int32_t)count);
    call_runtime(g, "rt_callee");
    op_local(g, LOCAL_SET, index);
    spill_integers(g);
    for (uint32_t i = 0; i < count; i++)
        load_slot(g, first + i * SLOT);
    op_local(g, LOCAL_GET, index);
    op(g, CALL_INDIRECT);
    /* Types of values' functions come first in the module: by their number of parameters. */
    bytes_leb(&g->code->bytes, count);
    bytes_put(&g->code->bytes, 0);
    check_failure(g);
    local_free(g, T_I32, index);
    slot_free(g, first, count);
    slot_free(g, callee, 1);
    if (count > 8)
        refuse_node(g, node, "so many arguments of a function in a variable are not supported");
    return FORM_V;
}

/* ---- library */

static bool takes_iterable(const char *name) {
    static const char *const names[] = {"list",   "tuple",  "dict", "sum",
                                        "extend", "update", "join", "enumerate"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i], name) == 0) return true;
    }
    return false;
}

static void as_list(struct node *argument) {
    if (argument != NULL && argument->kind == N_GENERATOR) {
        argument->kind = N_LIST_OF;
        argument->type = K_LIST;
    }
}

static enum form call_entry(struct gen *g, struct node *node, const struct entry *entry,
                            struct node *receiver) {
    struct node *nodes[MAX_ARGUMENTS + 1];
    enum form forms[MAX_ARGUMENTS + 1];
    size_t count = 0, given = 0;
    if (strcmp(entry->runtime, "rt_exit") == 0 && g->unit->catches_all)
        refuse_node(g, node, "exit() together with a bare except or finally is not supported");
    if (receiver != NULL) nodes[count++] = receiver;
    for (struct node *argument = node->b; argument != NULL; argument = argument->next) {
        struct node *value = argument;
        if (argument->kind == N_KEYWORD) {
            if (entry->keywords == NULL ||
                !text_is(argument->text, argument->size, entry->keywords + 2) ||
                (size_t)(entry->keywords[0] - '0') != given)
                refuse_node(g, argument, "this keyword argument is not supported");
            value = argument->a;
        }
        if (takes_iterable(entry->name)) as_list(value);
        if (++given > entry->most) refuse_node(g, node, "too many arguments");
        nodes[count++] = value;
    }
    if (given < entry->least) refuse_node(g, node, "too few arguments");
    for (size_t i = 0; i < count; i++)
        forms[i] = FORM_V;
    gen_operands(g, nodes, forms, count);
    for (; given < entry->most; given++)
        op_i64(g, V_UNDEF);
    if (entry->extra != NO_EXTRA) op_i32(g, entry->extra);
    call_runtime(g, entry->runtime);
    switch (entry->result) {
    case 'I': return FORM_I;
    case 'F': return FORM_F;
    case 'B': return FORM_B;
    case 'N': op_i64(g, V_NONE); return FORM_V;
    default:
        convert(g, FORM_V, form_of((enum kind)node->type));
        return form_of((enum kind)node->type);
    }
}

/* ---- built-in functions with ways of their own */

static void push_optional(struct gen *g, struct node *node) {
    if (node != NULL) {
        gen_as(g, node, FORM_V);
    } else {
        op_i64(g, V_UNDEF);
    }
}

static enum form call_print(struct gen *g, struct node *node) {
    struct node *separator = keyword(node->b, "sep"), *end = keyword(node->b, "end"),
                *flush = keyword(node->b, "flush");
    uint32_t count = 0, slots = g->slots;
    only_keywords(g, node->b, "sep", "end", "flush");
    if (flush != NULL && flush->kind != N_TRUE && flush->kind != N_FALSE)
        refuse_node(g, node, "flush is supported as True or False only");
    for (struct node *argument = node->b; argument != NULL && argument->kind != N_KEYWORD;
         argument = argument->next) {
        if (argument->kind == N_STAR) refuse_node(g, argument, "* in a call is not supported");
        count++;
    }
    uint32_t first = slot_new(g, count + 2), at = first;
    for (struct node *argument = node->b; argument != NULL && argument->kind != N_KEYWORD;
         argument = argument->next, at += SLOT) {
        gen_as(g, argument, FORM_V);
        store_slot(g, at);
    }
    push_optional(g, separator);
    store_slot(g, first + count * SLOT);
    push_optional(g, end);
    store_slot(g, first + (count + 1) * SLOT);
    slot_address(g, first);
    op_i32(g, (int32_t)count);
    load_slot(g, first + count * SLOT);
    load_slot(g, first + (count + 1) * SLOT);
    call_runtime(g, "rt_print");
    if (flush != NULL && flush->kind == N_TRUE) call_safe(g, "rt_flush");
    g->slots = slots;
    op_i64(g, V_NONE);
    return FORM_V;
}

static enum form call_range(struct gen *g, struct node *node) {
    uint32_t count = count_of(node->b);
    struct node zero = {.kind = N_INT, .type = K_INT}, *nodes[3] = {node->b};
    const enum form forms[] = {FORM_V, FORM_V, FORM_V};
    if (count < 1 || count > 3) refuse_node(g, node, "range() takes 1 to 3 arguments");
    only_keywords(g, node->b, NULL, NULL, NULL);
    if (count == 1) {
        nodes[0] = &zero;
        nodes[1] = node->b;
    } else {
        nodes[1] = node->b->next;
        nodes[2] = node->b->next->next;
    }
    gen_operands(g, nodes, forms, count == 1 ? 2 : count);
    if (count < 3) op_i64(g, V_UNDEF);
    call_runtime(g, "rt_range");
    return FORM_V;
}

static void list_into(struct gen *g, struct node *iterable, uint32_t slot) {
    as_list(iterable);
    gen_as(g, iterable, FORM_V);
    call_runtime(g, "rt_list_of");
    store_slot(g, slot);
}

static bool is_true(struct gen *g, struct node *reverse) {
    if (reverse == NULL || reverse->kind == N_FALSE) return false;
    if (reverse->kind == N_TRUE) return true;
    refuse_node(g, reverse, "reverse is supported as True or False only");
}

/* What the list is sorted or compared by: the key of each item, or UNDEF. */
static void keys_into(struct gen *g, struct node *key, uint32_t list, uint32_t keys) {
    if (key != NULL && key->kind != N_NONE) {
        gen_mapped(g, key, list, false);
    } else {
        op_i64(g, V_UNDEF);
    }
    store_slot(g, keys);
}

static enum form call_sorted(struct gen *g, struct node *node) {
    struct node *key = keyword(node->b, "key"), *iterable = node->b;
    uint32_t list = slot_new(g, 1), keys = slot_new(g, 1);
    only_keywords(g, node->b, "key", "reverse", NULL);
    if (iterable == NULL || iterable->kind == N_KEYWORD ||
        (iterable->next != NULL && iterable->next->kind != N_KEYWORD))
        refuse_node(g, node, "sorted() takes one iterable");
    bool reverse = is_true(g, keyword(node->b, "reverse"));
    list_into(g, iterable, list);
    keys_into(g, key, list, keys);
    load_slot(g, list);
    load_slot(g, keys);
    op_i32(g, reverse);
    call_runtime(g, "rt_sorted");
    slot_free(g, keys, 1);
    slot_free(g, list, 1);
    return FORM_V;
}

/* Of several values of one type: compared where they are. */
static enum form best_of_numbers(struct gen *g, struct node *node, bool most) {
    enum form form = form_of((enum kind)node->type);
    enum value_type type = type_of_form(form);
    uint32_t best = local_new(g, type), next = local_new(g, type), slot = slot_new(g, 1);
    bool collects = false;
    for (struct node *argument = node->b; argument != NULL; argument = argument->next)
        collects |= may_collect(argument);
    gen_as(g, node->b, form);
    op_local(g, LOCAL_SET, best);
    for (struct node *argument = node->b->next; argument != NULL; argument = argument->next) {
        if (form == FORM_I && collects) {
            keep_integer(g, LOCAL_GET, best, slot);
        }
        gen_as(g, argument, form);
        op_local(g, LOCAL_TEE, next);
        op_local(g, LOCAL_GET, best);
        gen_order(g, most ? C_GREATER : C_LESS, form, false);
        op_block(g, IF, T_NONE);
        op_local(g, LOCAL_GET, next);
        op_local(g, LOCAL_SET, best);
        op_end(g);
    }
    op_local(g, LOCAL_GET, best);
    local_free(g, type, best);
    local_free(g, type, next);
    slot_free(g, slot, 1);
    return form;
}

static enum form call_best(struct gen *g, struct node *node, bool most) {
    struct node *key = keyword(node->b, "key"), *standard = keyword(node->b, "default");
    uint32_t count = 0;
    only_keywords(g, node->b, "key", "default", NULL);
    for (struct node *argument = node->b; argument != NULL && argument->kind != N_KEYWORD;
         argument = argument->next)
        count++;
    if (count == 0) refuse_node(g, node, "min() and max() need values");
    if (count > 1 && key == NULL && standard == NULL &&
        (node->type == K_INT || node->type == K_FLOAT))
        return best_of_numbers(g, node, most);
    uint32_t list = slot_new(g, 1), keys = slot_new(g, 1), other = slot_new(g, 1);
    if (count == 1) {
        list_into(g, node->b, list);
    } else {
        if (standard != NULL) refuse_node(g, node, "default together with several values");
        uint32_t first = gen_slots(g, node->b, &count);
        slot_address(g, first);
        op_i32(g, (int32_t)count);
        call_safe(g, "rt_list_of_items");
        store_slot(g, list);
        slot_free(g, first, count);
    }
    push_optional(g, standard);
    store_slot(g, other);
    keys_into(g, key, list, keys);
    load_slot(g, list);
    load_slot(g, keys);
    load_slot(g, other);
    op_i32(g, most);
    call_runtime(g, "rt_best");
    slot_free(g, other, 1);
    slot_free(g, keys, 1);
    slot_free(g, list, 1);
    convert(g, FORM_V, form_of((enum kind)node->type));
    return form_of((enum kind)node->type);
}

static enum form call_map(struct gen *g, struct node *node, bool filter) {
    uint32_t list = slot_new(g, 1);
    only_keywords(g, node->b, NULL, NULL, NULL);
    if (count_of(node->b) != 2)
        refuse_node(g, node, "map() and filter() are supported with one iterable");
    if (node->b->kind == N_LAMBDA && !node->b->is_inline)
        refuse_node(g, node, "this lambda is not supported here");
    list_into(g, node->b->next, list);
    gen_mapped(g, node->b, list, filter);
    call_runtime(g, "rt_iter");
    slot_free(g, list, 1);
    return FORM_V;
}

static enum form call_isinstance(struct gen *g, struct node *node) {
    uint32_t slot = slot_new(g, 1);
    if (count_of(node->b) != 2) refuse_node(g, node, "isinstance() takes two arguments");
    struct node *classes = node->b->next;
    gen_as(g, node->b, FORM_V);
    store_slot(g, slot);
    op_i32(g, 0);
    for (struct node *class = classes->kind == N_TUPLE ? classes->a : classes; class != NULL;
         class = class->next) {
        int number = class->kind == N_NAME && class->variable == NULL
                         ? library_class(class->text, class->size)
                         : -1;
        if (number < 0) refuse_node(g, class, "this class is not supported in isinstance()");
        load_slot(g, slot);
        op_i32(g, number);
        call_safe(g, "rt_is_instance");
        op(g, I32_OR);
        if (classes->kind != N_TUPLE) break;
    }
    slot_free(g, slot, 1);
    return FORM_B;
}

static enum form call_zip(struct gen *g, struct node *node) {
    uint32_t count = 0;
    only_keywords(g, node->b, NULL, NULL, NULL);
    for (struct node *argument = node->b; argument != NULL; argument = argument->next) {
        if (argument->kind == N_STAR) refuse_node(g, argument, "* in a call is not supported");
        as_list(argument);
    }
    uint32_t first = gen_slots(g, node->b, &count);
    slot_address(g, first);
    op_i32(g, (int32_t)count);
    call_runtime(g, "rt_zip");
    slot_free(g, first, count);
    return FORM_V;
}

static enum form call_pow(struct gen *g, struct node *node) {
    uint32_t count = count_of(node->b);
    only_keywords(g, node->b, NULL, NULL, NULL);
    if (count == 2) {
        struct node power = {.kind = N_BINARY,
                             .op = O_POW,
                             .type = node->type,
                             .a = node->b,
                             .b = node->b->next,
                             .line = node->line,
                             .column = node->column};
        gen_binary(g, &power);
        return form_of((enum kind)node->type);
    }
    if (count != 3) refuse_node(g, node, "pow() takes 2 or 3 arguments");
    struct node *nodes[] = {node->b, node->b->next, node->b->next->next};
    const enum form forms[] = {FORM_V, FORM_V, FORM_V};
    gen_operands(g, nodes, forms, 3);
    call_runtime(g, "rt_pow_modulo");
    convert(g, FORM_V, FORM_I);
    return FORM_I;
}

static enum form call_builtin(struct gen *g, struct node *node) {
    const struct node *name = node->a;
    struct node *first = node->b;
    bool alone = first != NULL && first->next == NULL && first->kind != N_KEYWORD;
    if (is_named(name, "print")) return call_print(g, node);
    if (is_named(name, "range")) return call_range(g, node);
    if (is_named(name, "sorted")) return call_sorted(g, node);
    if (is_named(name, "min") || is_named(name, "max"))
        return call_best(g, node, is_named(name, "max"));
    if (is_named(name, "map") || is_named(name, "filter"))
        return call_map(g, node, is_named(name, "filter"));
    if (is_named(name, "isinstance")) return call_isinstance(g, node);
    if (is_named(name, "zip")) return call_zip(g, node);
    if (is_named(name, "pow")) return call_pow(g, node);
    if (is_named(name, "bool") && alone) {
        gen_condition(g, first);
        return FORM_B;
    }
    if (is_named(name, "str") && alone) {
        gen_as(g, first, FORM_V);
        call_runtime(g, "rt_str");
        return FORM_V;
    }
    if ((is_named(name, "any") || is_named(name, "all")) && alone && first->kind == N_GENERATOR) {
        gen_any(g, first, is_named(name, "all"));
        return FORM_B;
    }
    const struct entry *entry = library_function(name->text, name->size);
    if (entry != NULL) return call_entry(g, node, entry, NULL);
    refuse_at(g->unit, name->line, name->column, "'%.*s' is not known, or not supported",
              (int)name->size, name->text);
}

static enum form call_math(struct gen *g, struct node *node, const char *name, uint32_t size) {
    const struct entry *entry = library_math(name, size);
    if (entry == NULL)
        refuse_at(g->unit, node->line, node->column, "math.%.*s is not supported", (int)size, name);
    if (strcmp(entry->name, "log") == 0 && count_of(node->b) == 2) entry++;
    return call_entry(g, node, entry, NULL);
}

static enum form call_sys(struct gen *g, struct node *node, const char *name, uint32_t size) {
    if (text_is(name, size, "exit")) return call_entry(g, node, library_function("exit", 4), NULL);
    refuse_at(g->unit, node->line, node->column, "sys.%.*s is not supported", (int)size, name);
}

/* Checks that it is what has the method. */
static void push_receiver(struct gen *g, struct node *object, enum kind kind, const char *name,
                          uint32_t size) {
    static const uint8_t numbers[] = {[K_STR] = 3, [K_LIST] = 4, [K_TUPLE] = 5, [K_DICT] = 6};
    gen_as(g, object, FORM_V);
    if ((enum kind)object->type == kind || kind == K_ANY) return;
    op_i32(g, numbers[kind]);
    op_string(g, name, size);
    call_runtime(g, "rt_want");
}

static enum form call_sort(struct gen *g, struct node *node) {
    struct node *key = keyword(node->b, "key");
    uint32_t list = slot_new(g, 1), keys = slot_new(g, 1);
    only_keywords(g, node->b, "key", "reverse", NULL);
    if (node->b != NULL && node->b->kind != N_KEYWORD)
        refuse_node(g, node, "sort() takes keywords only");
    bool reverse = is_true(g, keyword(node->b, "reverse"));
    push_receiver(g, node->a->a, K_LIST, "sort", 4);
    store_slot(g, list);
    keys_into(g, key, list, keys);
    load_slot(g, list);
    load_slot(g, keys);
    op_i32(g, reverse);
    call_runtime(g, "rt_list_sort");
    slot_free(g, keys, 1);
    slot_free(g, list, 1);
    op_i64(g, V_NONE);
    return FORM_V;
}

static enum form call_format(struct gen *g, struct node *node) {
    uint32_t count = 0, text = slot_new(g, 1);
    only_keywords(g, node->b, NULL, NULL, NULL);
    push_receiver(g, node->a->a, K_STR, "format", 6);
    store_slot(g, text);
    uint32_t first = gen_slots(g, node->b, &count);
    load_slot(g, text);
    slot_address(g, first);
    op_i32(g, (int32_t)count);
    call_runtime(g, "rt_str_format");
    slot_free(g, first, count);
    slot_free(g, text, 1);
    return FORM_V;
}

static enum form call_method(struct gen *g, struct node *node) {
    struct node *callee = node->a, *object = callee->a;
    const struct variable *v = object->kind == N_NAME ? object->variable : NULL;
    if (v != NULL && v->module != NULL && v->member == NULL) {
        return strcmp(v->module, "math") == 0 ? call_math(g, node, callee->text, callee->size)
                                              : call_sys(g, node, callee->text, callee->size);
    }
    if (object->kind == N_ATTRIBUTE || (object->kind == N_NAME && v == NULL))
        refuse_node(g, callee, "this method is not supported");
    if (text_is(callee->text, callee->size, "sort")) return call_sort(g, node);
    if (text_is(callee->text, callee->size, "format")) return call_format(g, node);
    const struct entry *entry = library_method(callee->text, callee->size);
    if (entry == NULL)
        refuse_at(g->unit, callee->line, callee->column, "the method %.*s() is not supported",
                  (int)callee->size, callee->text);
    if (entry->receiver == K_INT && object->type != K_INT)
        refuse_node(g, callee, "this method is supported for what is surely an integer only");
    if (entry->receiver == K_ANY || entry->receiver == object->type || entry->receiver == K_INT)
        return call_entry(g, node, entry, object);
    uint32_t slot = slot_new(g, 1);
    push_receiver(g, object, (enum kind)entry->receiver, callee->text, callee->size);
    store_slot(g, slot);
    struct variable place = {.place = (int32_t)slot, .type = K_ANY, .owner = g->function};
    struct node again = {.kind = N_NAME, .variable = &place, .type = K_ANY, .integer = 2};
    enum form form = call_entry(g, node, entry, &again);
    slot_free(g, slot, 1);
    return form;
}

enum form gen_call(struct gen *g, struct node *node) {
    struct node *callee = node->a;
    for (struct node *argument = node->b; argument != NULL; argument = argument->next) {
        if (argument->kind == N_STAR) refuse_node(g, argument, "* in a call is not supported");
    }
    if (callee->kind == N_ATTRIBUTE) return call_method(g, node);
    if (callee->kind != N_NAME) return call_value(g, node);
    const struct variable *v = callee->variable;
    if (v == NULL) return call_builtin(g, node);
    if (v->constant != NULL) return call_function(g, node, v->constant);
    if (v->module == NULL) return call_value(g, node);
    if (v->member == NULL) refuse_node(g, node, "a module cannot be called");
    return strcmp(v->module, "math") == 0 ? call_math(g, node, v->member, v->member_size)
                                          : call_sys(g, node, v->member, v->member_size);
}

/* Expressions. */
#include "compile/code.h"

#include <stdlib.h>

bool is_named(const struct node *node, const char *name) {
    return node->kind == N_NAME && node->variable == NULL && text_is(node->text, node->size, name);
}

static bool any_may_collect(struct node *node) {
    for (; node != NULL; node = node->next) {
        if (may_collect(node)) return true;
    }
    return false;
}

static bool calls_code(const struct node *node) {
    if (node->kind == N_LIST_OF || node->kind == N_DICT_OF || node->kind == N_GENERATOR)
        return true;
    if (node->kind == N_LAMBDA && node->is_inline) return true;
    if (node->kind != N_CALL) return false;
    if (is_named(node->a, "map") || is_named(node->a, "filter")) return true;
    for (const struct node *argument = node->b; argument != NULL; argument = argument->next) {
        if (argument->kind == N_KEYWORD && text_is(argument->text, argument->size, "key"))
            return true;
    }
    return node->a->kind != N_ATTRIBUTE &&
           !(node->a->kind == N_NAME &&
             (node->a->variable == NULL || node->a->variable->module != NULL));
}

/* Found once: 1 is yes, 2 is no, in `integer`, which is N_INT's alone otherwise. */
bool may_collect(struct node *node) {
    if (node->integer != 0 && node->kind != N_INT) return node->integer == 1;
    bool found = calls_code(node) || (node->a != NULL && any_may_collect(node->a)) ||
                 (node->b != NULL && any_may_collect(node->b)) ||
                 (node->c != NULL && any_may_collect(node->c));
    if (node->kind != N_INT) node->integer = found ? 1 : 2;
    return found;
}

void gen_operands(struct gen *g, struct node **nodes, const enum form *forms, size_t count) {
    uint32_t places[MAX_OPERANDS], first_slot = g->slots; /* locals, or slots of any values */
    size_t kept = 0; /* all up to the last that another collects behind wait in locals and slots */
    for (size_t i = 1; i < count; i++) {
        if (may_collect(nodes[i])) kept = i;
    }
    for (size_t i = 0; i < count; i++) {
        gen_as(g, nodes[i], forms[i]);
        if (i >= kept) continue;
        enum value_type type = type_of_form(forms[i]);
        if (forms[i] == FORM_V) {
            places[i] = slot_new(g, 1);
            store_slot(g, places[i]);
            continue;
        }
        places[i] = local_new(g, type);
        op_local(g, LOCAL_SET, places[i]);
        if (forms[i] == FORM_I && bits_of(nodes[i]) == 64)
            keep_integer(g, LOCAL_GET, places[i], slot_new(g, 1));
    }
    if (kept == 0) return;
    /* Those from `kept` on are on the stack: under them belong the others. */
    for (size_t i = count; i-- > kept;) {
        places[i] = local_new(g, type_of_form(forms[i]));
        op_local(g, LOCAL_SET, places[i]);
    }
    for (size_t i = 0; i < count; i++) {
        if (i < kept && forms[i] == FORM_V) {
            load_slot(g, places[i]);
        } else {
            op_local(g, LOCAL_GET, places[i]);
            local_free(g, type_of_form(forms[i]), places[i]);
        }
    }
    g->slots = first_slot;
}

/* ---- variables */

static uint32_t main_slot(const struct variable *v) {
    return frames_start() + (uint32_t)v->place;
}

void gen_load(struct gen *g, const struct variable *v) {
    enum form form = form_of((enum kind)v->type);
    if (v->is_shared && form != FORM_V) {
        op_global(g, GLOBAL_GET, (uint32_t)v->place);
    } else if (v->is_shared) {
        op_i32(g, 0);
        op_memory(g, I64_LOAD, main_slot(v));
    } else if (form != FORM_V) {
        op_local(g, LOCAL_GET, (uint32_t)v->place);
    } else {
        load_slot(g, (uint32_t)v->place);
    }
    if (!v->may_be_unset) return;
    uint32_t value = local_new(g, T_I64);
    op_local(g, LOCAL_TEE, value);
    op_i64(g, V_UNDEF);
    op(g, I64_EQ);
    op_block(g, IF, T_NONE);
    op_string(g, v->name, v->name_size);
    op_i32(g, v->owner != g->unit->functions);
    call_runtime(g, "rt_raise_name");
    op_end(g);
    op_local(g, LOCAL_GET, value);
    local_free(g, T_I64, value);
}

void gen_store(struct gen *g, const struct variable *v, enum form from) {
    enum form form = form_of((enum kind)v->type);
    convert(g, from, form);
    if (v->is_shared && form != FORM_V) {
        op_global(g, GLOBAL_SET, (uint32_t)v->place);
    } else if (v->is_shared) {
        uint32_t value = local_new(g, T_I64);
        op_local(g, LOCAL_SET, value);
        op_i32(g, 0);
        op_local(g, LOCAL_GET, value);
        op_memory(g, I64_STORE, main_slot(v));
        local_free(g, T_I64, value);
    } else if (form != FORM_V) {
        op_local(g, LOCAL_SET, (uint32_t)v->place);
    } else {
        store_slot(g, (uint32_t)v->place);
    }
}

static enum form name_value(struct gen *g, struct node *node) {
    const struct variable *v = node->variable;
    double constant;
    if (v == NULL) {
        if (library_function(node->text, node->size) != NULL ||
            library_is_special(node->text, node->size) ||
            library_error(node->text, node->size) != 0)
            refuse_node(g, node, "a built-in as a value is not supported here");
        refuse_at(g->unit, node->line, node->column, "'%.*s' is not known, or not supported",
                  (int)node->size, node->text);
    }
    if (v->constant != NULL) {
        op_i32(g, (int32_t)v->constant->table_index);
        op_i32(g, (int32_t)v->constant->parameter_count);
        op_string(g, v->constant->name, v->constant->name_size);
        call_safe(g, "rt_function");
        return FORM_V;
    }
    if (v->member != NULL && text_is(v->module, 4, "math") &&
        library_constant(v->member, v->member_size, &constant)) {
        op_f64(g, constant);
        return FORM_F;
    }
    if (v->member != NULL && text_is(v->module, 3, "sys") &&
        text_is(v->member, v->member_size, "argv")) {
        refuse_node(g, node, "from sys import argv is not supported: import sys");
    }
    if (v->module != NULL)
        refuse_node(g, node, "a module or a function of one as a value is not supported");
    gen_load(g, v);
    return form_of((enum kind)v->type);
}

static enum form attribute(struct gen *g, struct node *node) {
    const struct node *object = node->a;
    const struct variable *v = object->kind == N_NAME ? object->variable : NULL;
    double constant;
    if (v != NULL && v->module != NULL && v->member == NULL) {
        if (text_is(v->module, 4, "math") && library_constant(node->text, node->size, &constant)) {
            op_f64(g, constant);
            return FORM_F;
        }
        if (text_is(v->module, 3, "sys") && text_is(node->text, node->size, "argv")) {
            call_safe(g, "rt_argv");
            return FORM_V;
        }
    }
    bool of_type = object->kind == N_CALL && is_named(object->a, "type") && object->b != NULL &&
                   object->b->next == NULL;
    if (of_type && text_is(node->text, node->size, "__name__")) {
        gen_as(g, object->b, FORM_V);
        call_safe(g, "rt_type_name");
        return FORM_V;
    }
    refuse_node(g, node, "this attribute is not supported");
}

/* ---- displays */

uint32_t gen_slots(struct gen *g, struct node *items, uint32_t *count) {
    *count = 0;
    for (const struct node *one = items; one != NULL && one->kind != N_KEYWORD; one = one->next)
        ++*count;
    uint32_t first = slot_new(g, *count), at = first;
    for (struct node *one = items; at < first + *count * SLOT; one = one->next, at += SLOT) {
        gen_as(g, one, FORM_V);
        store_slot(g, at);
    }
    return first;
}

static bool has_star(const struct node *items) {
    for (; items != NULL; items = items->next) {
        if (items->kind == N_STAR) return true;
    }
    return false;
}

/* What is in the slot, under the value on the stack. */
static void push_under(struct gen *g, uint32_t slot) {
    uint32_t value = local_new(g, T_I64);
    op_local(g, LOCAL_SET, value);
    load_slot(g, slot);
    op_local(g, LOCAL_GET, value);
    local_free(g, T_I64, value);
}

void gen_push(struct gen *g, uint32_t list_slot) {
    push_under(g, list_slot);
    call_safe(g, "rt_list_push");
}

static enum form display(struct gen *g, struct node *node) {
    uint32_t count = 0;
    if (has_star(node->a) || (node->kind == N_LIST && node->a == NULL)) {
        uint32_t slot = slot_new(g, 1);
        op_i32(g, 0);
        call_safe(g, "rt_list_new");
        store_slot(g, slot);
        for (struct node *one = node->a; one != NULL; one = one->next) {
            gen_as(g, one->kind == N_STAR ? one->a : one, FORM_V);
            if (one->kind != N_STAR) {
                gen_push(g, slot);
                continue;
            }
            push_under(g, slot);
            call_runtime(g, "rt_list_extend");
        }
        load_slot(g, slot);
        slot_free(g, slot, 1);
        if (node->kind == N_TUPLE) call_runtime(g, "rt_to_tuple");
        return FORM_V;
    }
    uint32_t first = gen_slots(g, node->a, &count);
    slot_address(g, first);
    op_i32(g, (int32_t)count);
    call_safe(g, node->kind == N_LIST ? "rt_list_of_items" : "rt_tuple_of");
    slot_free(g, first, count);
    return FORM_V;
}

void gen_pair(struct gen *g, struct node *pair, uint32_t dict_slot) {
    struct node *both[] = {pair->a, pair->b};
    const enum form forms[] = {FORM_V, FORM_V};
    uint32_t key = local_new(g, T_I64), value = local_new(g, T_I64);
    gen_operands(g, both, forms, 2);
    op_local(g, LOCAL_SET, value);
    op_local(g, LOCAL_SET, key);
    load_slot(g, dict_slot);
    op_local(g, LOCAL_GET, key);
    op_local(g, LOCAL_GET, value);
    call_runtime(g, "rt_dict_set");
    local_free(g, T_I64, key);
    local_free(g, T_I64, value);
}

static enum form dict_display(struct gen *g, struct node *node) {
    uint32_t slot = slot_new(g, 1);
    call_safe(g, "rt_dict_new");
    store_slot(g, slot);
    for (struct node *pair = node->a; pair != NULL; pair = pair->next)
        gen_pair(g, pair, slot);
    load_slot(g, slot);
    slot_free(g, slot, 1);
    return FORM_V;
}

static enum form joined(struct gen *g, struct node *node) {
    uint32_t count = 0;
    for (const struct node *part = node->a; part != NULL; part = part->next)
        count++;
    uint32_t first = slot_new(g, count), at = first;
    for (struct node *part = node->a; part != NULL; part = part->next, at += SLOT) {
        if (part->kind == N_STRING) {
            gen_as(g, part, FORM_V);
        } else {
            gen_as(g, part->a, FORM_V);
            if (part->op != 0)
                call_runtime(g, part->op == 'r'   ? "rt_repr"
                                : part->op == 's' ? "rt_str"
                                                  : "rt_ascii");
            if (part->b != NULL) {
                store_slot(g, at);
                uint32_t spec = local_new(g, T_I64);
                gen_as(g, part->b, FORM_V);
                op_local(g, LOCAL_SET, spec);
                load_slot(g, at);
                op_local(g, LOCAL_GET, spec);
                call_runtime(g, "rt_format");
                local_free(g, T_I64, spec);
            } else if (part->op == 0) {
                call_runtime(g, "rt_str");
            }
        }
        store_slot(g, at);
    }
    slot_address(g, first);
    op_i32(g, (int32_t)count);
    call_safe(g, "rt_join_values");
    slot_free(g, first, count);
    return FORM_V;
}

/* ---- conditions */

static void truth_of(struct gen *g, enum kind kind) { /* of what is on the stack */
    switch (kind) {
    case K_BOOL: break;
    case K_INT:
        op_i64(g, 0);
        op(g, I64_NE);
        break;
    case K_FLOAT:
        op_f64(g, 0);
        op(g, F64_NE);
        break;
    case K_STR:
    case K_LIST:
    case K_TUPLE:
    case K_DICT:
        op(g, I32_WRAP);
        op_memory(g, I32_LOAD, 4);
        op_i32(g, 0);
        op(g, I32_NE);
        break;
    default: call_safe(g, "rt_truth"); break;
    }
}

void gen_condition(struct gen *g, struct node *node) {
    switch (node->kind) {
    case N_NOT:
        gen_condition(g, node->a);
        op(g, I32_EQZ);
        return;
    case N_AND:
    case N_OR:
        gen_condition(g, node->a);
        op_block(g, IF, T_I32);
        if (node->kind == N_AND) gen_condition(g, node->b);
        if (node->kind == N_OR) op_i32(g, 1);
        op(g, ELSE);
        if (node->kind == N_AND) op_i32(g, 0);
        if (node->kind == N_OR) gen_condition(g, node->b);
        op_end(g);
        return;
    case N_COMPARE: gen_compare(g, node); return;
    default:
        (void)gen_value(g, node);
        truth_of(g, (enum kind)node->type);
        return;
    }
}

/* `a and b`: a, if it is false, else b. */
static enum form either(struct gen *g, struct node *node) {
    enum form form = form_of((enum kind)node->type);
    if (form == FORM_B) {
        gen_condition(g, node);
        return form;
    }
    enum form left_form = gen_value(g, node->a);
    enum value_type type = type_of_form(left_form);
    uint32_t left = local_new(g, type);
    op_local(g, LOCAL_TEE, left);
    truth_of(g, (enum kind)node->a->type);
    if (node->kind == N_OR) op(g, I32_EQZ);
    op_block(g, IF, type_of_form(form));
    gen_as(g, node->b, form);
    op(g, ELSE);
    op_local(g, LOCAL_GET, left);
    convert(g, left_form, form);
    op_end(g);
    local_free(g, type, left);
    return form;
}

static enum form if_else(struct gen *g, struct node *node) {
    enum form form = form_of((enum kind)node->type);
    gen_condition(g, node->a);
    op_block(g, IF, type_of_form(form));
    gen_as(g, node->b, form);
    op(g, ELSE);
    gen_as(g, node->c, form);
    op_end(g);
    return form;
}

static enum form constant(struct gen *g, struct node *node) {
    switch (node->kind) {
    case N_INT:
        if (node->text == NULL) {
            op_i64(g, node->integer * 2);
            return FORM_I;
        }
        op_string(g, node->text, node->size);
        op_i64(g, FIRST_TAG | node->op);
        call_safe(g, "rt_int");
        convert(g, FORM_V, FORM_I);
        return FORM_I;
    case N_FLOAT: op_f64(g, node->real); return FORM_F;
    case N_STRING: op_string(g, node->text, node->size); return FORM_V;
    case N_NONE: op_i64(g, V_NONE); return FORM_V;
    default: op_i32(g, node->kind == N_TRUE); return FORM_B;
    }
}

enum form gen_value(struct gen *g, struct node *node) {
    switch (node->kind) {
    case N_INT:
    case N_FLOAT:
    case N_STRING:
    case N_NONE:
    case N_TRUE:
    case N_FALSE: return constant(g, node);
    case N_JOINED: return joined(g, node);
    case N_NAME: return name_value(g, node);
    case N_BINARY: gen_binary(g, node); return form_of((enum kind)node->type);
    case N_UNARY: gen_unary(g, node); return form_of((enum kind)node->type);
    case N_NOT:
    case N_COMPARE: gen_condition(g, node); return FORM_B;
    case N_AND:
    case N_OR: return either(g, node);
    case N_IF_ELSE: return if_else(g, node);
    case N_CALL: return gen_call(g, node);
    case N_ATTRIBUTE: return attribute(g, node);
    case N_ITEM: return gen_item(g, node);
    case N_LIST:
    case N_TUPLE: return display(g, node);
    case N_DICT: return dict_display(g, node);
    case N_LIST_OF:
    case N_DICT_OF: return gen_comprehension(g, node);
    case N_GENERATOR:
        refuse_node(g, node, "a generator that is not used up at once is not supported");
    case N_LAMBDA:
        op_i32(g, (int32_t)node->function->table_index);
        op_i32(g, (int32_t)node->function->parameter_count);
        op_string(g, "<lambda>", 8);
        call_safe(g, "rt_function");
        return FORM_V;
    case N_STAR: refuse_node(g, node, "a starred expression here is not supported");
    default: refuse_node(g, node, "this expression is not supported here");
    }
}

void gen_as(struct gen *g, struct node *node, enum form form) {
    if (node->kind == N_INT && node->text == NULL && form == FORM_V &&
        llabs(node->integer) < (int64_t)1 << 46) {
        op_i64(g, FIRST_TAG | (node->integer & 0xFFFFFFFFFFFF));
        return;
    }
    if (node->kind == N_INT && node->text == NULL && form == FORM_F &&
        llabs(node->integer) < (int64_t)1 << 53) {
        op_f64(g, (double)node->integer);
        return;
    }
    convert(g, gen_value(g, node), form);
}

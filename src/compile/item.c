/* Items and slices, and what is assigned: to names, to items, to several at once. */
#include "compile/code.h"

void gen_slice(struct gen *g, struct node *container, struct node *bounds) {
    struct node none = {.kind = N_NONE, .type = K_NONE};
    struct node *all[] = {container, bounds->a != NULL ? bounds->a : &none,
                          bounds->b != NULL ? bounds->b : &none,
                          bounds->c != NULL ? bounds->c : &none};
    const enum form forms[] = {FORM_V, FORM_V, FORM_V, FORM_V};
    gen_operands(g, all, forms, 4);
}

static bool may_be_list(const struct node *node) {
    return node->type == K_LIST || node->type == K_ANY;
}

/* Leaves whether it is a list that has an item there, by a small integer. */
static void find_item(struct gen *g, uint32_t list, uint32_t at, bool is_list) {
    if (!is_list) {
        op_local(g, LOCAL_GET, list);
        op_i64(g, 48);
        op(g, I64_SHR_U);
        op_i64(g, 0xFFFC);
        op(g, I64_EQ);
        op_block(g, IF, T_I32);
        op_local(g, LOCAL_GET, list);
        op(g, I32_WRAP);
        op_memory(g, I32_LOAD, 0);
        op_i32(g, 0xFF);
        op(g, I32_AND);
        op_i32(g, 4); /* LIST */
        op(g, I32_EQ);
        op(g, ELSE);
        op_i32(g, 0);
        op_end(g);
        op_block(g, IF, T_I32);
    }
    op_local(g, LOCAL_GET, at);
    op_i64(g, 1);
    op(g, I64_AND);
    op(g, I32_WRAP);
    op_local(g, LOCAL_GET, at);
    op_i64(g, 1);
    op(g, I64_SHR_S);
    op_local(g, LOCAL_GET, list);
    op(g, I32_WRAP);
    op_memory(g, I32_LOAD, 4); /* how many there are */
    op(g, I64_EXTEND_U);
    op(g, I64_GE_U); /* negative ones, too, are above */
    op(g, I32_OR);
    op(g, I32_EQZ);
    if (!is_list) {
        op(g, ELSE);
        op_i32(g, 0);
        op_end(g);
    }
}

static void item_address(struct gen *g, uint32_t list, uint32_t at) {
    op_local(g, LOCAL_GET, list);
    op(g, I32_WRAP);
    op_memory(g, I32_LOAD, 12); /* struct list: item */
    op_local(g, LOCAL_GET, at);
    op(g, I32_WRAP);
    op_i32(g, 2);
    op(g, I32_SHL); /* twice the index, times four */
    op(g, I32_ADD);
}

enum form gen_item(struct gen *g, struct node *node) {
    struct node *both[] = {node->a, node->b};
    if (node->b->kind == N_SLICE) {
        gen_slice(g, node->a, node->b);
        call_runtime(g, "rt_slice");
        return FORM_V;
    }
    bool quick = may_be_list(node->a) && node->b->type == K_INT;
    const enum form forms[] = {FORM_V, quick ? FORM_I : FORM_V};
    gen_operands(g, both, forms, 2);
    if (!quick) {
        call_runtime(g, "rt_item");
        return FORM_V;
    }
    uint32_t list = local_new(g, T_I64), at = local_new(g, T_I64);
    op_local(g, LOCAL_SET, at);
    op_local(g, LOCAL_SET, list);
    find_item(g, list, at, node->a->type == K_LIST);
    op_block(g, IF, T_I64);
    item_address(g, list, at);
    op_memory(g, I64_LOAD, 0);
    op(g, ELSE);
    op_local(g, LOCAL_GET, list);
    op_local(g, LOCAL_GET, at);
    call_safe(g, "rt_box_int");
    call_runtime(g, "rt_item");
    op_end(g);
    local_free(g, T_I64, list);
    local_free(g, T_I64, at);
    return FORM_V;
}

/* ---- assignments */

static void assign_item(struct gen *g, struct node *target, enum form from) {
    /* The value waits: in a place, if what comes may collect. */
    bool in_slot = may_collect(target);
    uint32_t kept = in_slot ? slot_new(g, 1) : local_new(g, T_I64);
    convert(g, from, FORM_V);
    if (in_slot) store_slot(g, kept);
    if (!in_slot) op_local(g, LOCAL_SET, kept);
    struct node *both[] = {target->a, target->b};
    bool quick = target->b->kind != N_SLICE && may_be_list(target->a) && target->b->type == K_INT;
    const enum form forms[] = {FORM_V, quick ? FORM_I : FORM_V};
    if (target->b->kind == N_SLICE) {
        gen_slice(g, target->a, target->b);
    } else {
        gen_operands(g, both, forms, 2);
    }
    uint32_t list = local_new(g, T_I64), at = local_new(g, T_I64);
    if (quick) {
        op_local(g, LOCAL_SET, at);
        op_local(g, LOCAL_SET, list);
        find_item(g, list, at, target->a->type == K_LIST);
        op_block(g, IF, T_NONE);
        item_address(g, list, at);
        if (in_slot) load_slot(g, kept);
        if (!in_slot) op_local(g, LOCAL_GET, kept);
        op_memory(g, I64_STORE, 0);
        op(g, ELSE);
        op_local(g, LOCAL_GET, list);
        op_local(g, LOCAL_GET, at);
        call_safe(g, "rt_box_int");
    }
    if (in_slot) load_slot(g, kept);
    if (!in_slot) op_local(g, LOCAL_GET, kept);
    call_runtime(g, target->b->kind == N_SLICE ? "rt_set_slice" : "rt_set_item");
    if (quick) op_end(g);
    local_free(g, T_I64, list);
    local_free(g, T_I64, at);
    if (in_slot) slot_free(g, kept, 1);
    if (!in_slot) local_free(g, T_I64, kept);
}

static void unpack(struct gen *g, struct node *target, enum form from) {
    int before = 0, after = -1, at = 0;
    for (const struct node *one = target->a; one != NULL; one = one->next) {
        if (one->kind == N_STAR) {
            after = 0;
        } else if (after >= 0) {
            after++;
        } else {
            before++;
        }
    }
    uint32_t slot = slot_new(g, 1);
    convert(g, from, FORM_V);
    op_i32(g, before);
    op_i32(g, after);
    call_runtime(g, "rt_unpack");
    store_slot(g, slot);
    for (struct node *one = target->a; one != NULL; one = one->next, at++) {
        load_slot(g, slot);
        op(g, I32_WRAP);
        op_memory(g, I32_LOAD, 12);
        op_memory(g, I64_LOAD, (uint32_t)at * SLOT);
        gen_assign(g, one->kind == N_STAR ? one->a : one, FORM_V);
    }
    slot_free(g, slot, 1);
}

void gen_assign(struct gen *g, struct node *target, enum form form) {
    switch (target->kind) {
    case N_NAME: gen_store(g, target->variable, form); break;
    case N_ITEM: assign_item(g, target, form); break;
    default: unpack(g, target, form); break;
    }
}

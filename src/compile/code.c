/* The parts that all code is made of. */
#include "compile/code.h"

#include <stdio.h>
#include <string.h>

void op(struct gen *g, enum opcode opcode) {
    bytes_put(&g->code->bytes, (uint8_t)opcode);
}

void op_local(struct gen *g, enum opcode opcode, uint32_t local) {
    op(g, opcode);
    bytes_leb(&g->code->bytes, local);
}

void op_global(struct gen *g, enum opcode opcode, uint32_t global) {
    op(g, opcode);
    bytes_leb(&g->code->bytes, global);
}

void op_block(struct gen *g, enum opcode opcode, enum value_type type) {
    op(g, opcode);
    bytes_put(&g->code->bytes, (uint8_t)type);
    g->depth++;
}

void op_end(struct gen *g) {
    op(g, END_OP);
    g->depth--;
}

void op_branch(struct gen *g, enum opcode opcode, int depth) {
    op(g, opcode);
    bytes_leb(&g->code->bytes, (uint64_t)(g->depth - depth));
}

void op_memory(struct gen *g, enum opcode opcode, uint32_t offset) {
    bool wide = opcode == I64_LOAD || opcode == I64_STORE || opcode == F64_LOAD;
    op(g, opcode);
    bytes_put(&g->code->bytes, wide ? 3 : 2);
    bytes_leb(&g->code->bytes, offset);
}

void op_i32(struct gen *g, int32_t value) {
    op(g, I32_CONST);
    bytes_signed(&g->code->bytes, value);
}

void op_i64(struct gen *g, int64_t value) {
    op(g, I64_CONST);
    bytes_signed(&g->code->bytes, value);
}

void op_f64(struct gen *g, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    op(g, F64_CONST);
    bytes_u64(&g->code->bytes, bits);
}

void call_target(struct gen *g, enum target_kind kind, uint32_t number) {
    struct code *code = g->code;
    op(g, CALL);
    if (code->target_count == code->target_room) {
        uint32_t room = code->target_room * 2 + 16;
        struct target *more = unit_allocate(g->unit, room * sizeof *more);
        if (code->target_count > 0) memcpy(more, code->targets, code->target_count * sizeof *more);
        code->targets = more;
        code->target_room = room;
    }
    code->targets[code->target_count++] =
        (struct target){(uint32_t)code->bytes.size, (uint8_t)kind, number};
}

void call_safe(struct gen *g, const char *name) {
    uint32_t number = runtime_number(name);
    if (number == UINT32_MAX)
        refuse_at(g->unit, g->line, 1, "a mistake in the compiler: no %s", name);
    g->module->uses_runtime[number] = true;
    call_target(g, OF_RUNTIME, number);
}

void check_failure(struct gen *g) {
    if (!g->unit->has_handlers) return; /* then an error has ended the program */
    op_i32(g, (int32_t)runtime_failure());
    op_memory(g, I32_LOAD, 0);
    op_branch(g, BR_IF, g->failure_depth);
}

void call_runtime(struct gen *g, const char *name) {
    call_safe(g, name);
    check_failure(g);
}

static int type_index(enum value_type type) {
    return type == T_I32 ? 0 : type == T_I64 ? 1 : 2;
}

uint32_t local_new(struct gen *g, enum value_type type) {
    int t = type_index(type);
    if (g->free_count[t] > 0) return g->free_locals[t][--g->free_count[t]];
    bytes_put(g->locals, (uint8_t)type);
    return g->parameter_count + g->local_count++;
}

void local_free(struct gen *g, enum value_type type, uint32_t local) {
    int t = type_index(type);
    if (g->free_count[t] < sizeof g->free_locals[t] / sizeof *g->free_locals[t])
        g->free_locals[t][g->free_count[t]++] = local;
}

uint32_t slot_new(struct gen *g, uint32_t count) {
    uint32_t slot = g->slots;
    g->slots += count * SLOT;
    if (g->slots > g->most_slots) g->most_slots = g->slots;
    return slot;
}

void slot_free(struct gen *g, uint32_t slot, uint32_t count) {
    if (slot + count * SLOT == g->slots) g->slots = slot;
}

void load_slot(struct gen *g, uint32_t slot) {
    op_local(g, LOCAL_GET, g->frame);
    op_memory(g, I64_LOAD, slot);
}

void store_slot(struct gen *g, uint32_t slot) {
    uint32_t value = local_new(g, T_I64);
    op_local(g, LOCAL_SET, value);
    op_local(g, LOCAL_GET, g->frame);
    op_local(g, LOCAL_GET, value);
    op_memory(g, I64_STORE, slot);
    local_free(g, T_I64, value);
}

void slot_address(struct gen *g, uint32_t slot) {
    op_local(g, LOCAL_GET, g->frame);
    op_i32(g, (int32_t)slot);
    op(g, I32_ADD);
}

void keep_integer(struct gen *g, enum opcode get, uint32_t place, uint32_t slot) {
    op_local(g, get, place);
    op(g, I32_WRAP);
    op_i32(g, 1);
    op(g, I32_AND);
    op_block(g, IF, T_NONE);
    op_local(g, LOCAL_GET, g->frame);
    op_local(g, get, place);
    op_i64(g, 1);
    op(g, I64_SHR_U);
    op_i64(g, V_OBJECT);
    op(g, I64_OR);
    op_memory(g, I64_STORE, slot);
    op_end(g);
}

void spill_integers(struct gen *g) {
    for (const struct variable *v = g->spilled; v != NULL; v = v->next_spilled)
        keep_integer(g, LOCAL_GET, (uint32_t)v->place, (uint32_t)v->spill);
}

void safepoint(struct gen *g) {
    op_i32(g, (int32_t)runtime_budget());
    op_memory(g, I32_LOAD, 0);
    op_i32(g, 0);
    op(g, I32_LT_S);
    op_block(g, IF, T_NONE);
    spill_integers(g);
    call_target(g, OF_STUB, STUB_COLLECT);
    op_end(g);
}

static uint32_t utf8_count(const char *text, uint32_t size) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < size; i++)
        count += (text[i] & 0xC0) != 0x80;
    return count;
}

/* The address of a str in the data. */
static uint32_t string_data(struct module *m, const char *text, uint32_t size) {
    static const uint8_t zeros[16];
    bytes_add(&m->data, zeros, (16 - m->data.size % 16) % 16);
    uint32_t address = m->data_start + (uint32_t)m->data.size;
    const uint8_t head[] = {3 /* STR */, 1 /* marked for ever */, 0, 0};
    bytes_add(&m->data, head, sizeof head);
    bytes_u32(&m->data, size);
    bytes_u32(&m->data, utf8_count(text, size));
    bytes_u32(&m->data, 0);
    bytes_add(&m->data, text, size);
    bytes_put(&m->data, 0);
    return address;
}

void op_string(struct gen *g, const char *text, uint32_t size) {
    op_i64(g, V_OBJECT | string_data(g->module, text, size));
}

void refuse_node(struct gen *g, const struct node *node, const char *what) {
    refuse_at(g->unit, node->line, node->column, "%s", what);
}

void convert(struct gen *g, enum form from, enum form to) {
    if (from == to) return;
    switch (from << 4 | to) {
    case FORM_I << 4 | FORM_V: call_safe(g, "rt_box_int"); break;
    case FORM_F << 4 | FORM_V: op(g, I64_REINTERPRET); break;
    case FORM_B << 4 | FORM_V:
        op(g, I64_EXTEND_U);
        op_i64(g, V_FALSE);
        op(g, I64_ADD);
        break;
    case FORM_V << 4 | FORM_I: call_safe(g, "rt_unbox_int"); break;
    case FORM_V << 4 | FORM_F: op(g, F64_REINTERPRET); break;
    case FORM_V << 4 | FORM_B:
        op_i64(g, V_TRUE);
        op(g, I64_EQ);
        break;
    case FORM_B << 4 | FORM_I:
        op(g, I64_EXTEND_U);
        op_i64(g, 1);
        op(g, I64_SHL);
        break;
    case FORM_I << 4 | FORM_F: call_runtime(g, "rt_int_to_float"); break;
    case FORM_B << 4 | FORM_F:
        op(g, I64_EXTEND_U);
        op(g, F64_CONVERT_I64_S);
        break;
    default: refuse_at(g->unit, g->line, 1, "a mistake in the compiler: form %d to %d", from, to);
    }
}

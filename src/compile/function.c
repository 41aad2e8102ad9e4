/* Functions as a whole: where their variables are, how they begin and end. */
#include "compile/code.h"

#include <string.h>

void gen_leave_frame(struct gen *g) {
    op_local(g, LOCAL_GET, g->frame);
    op_global(g, GLOBAL_SET, GLOBAL_FRAME);
}

/* Where each variable is. Shared ones are the program's: globals, or places in its frame. */
static void place_variables(struct gen *g) {
    struct function *f = g->function;
    uint32_t at = 0;
    for (struct parameter *p = f->parameters; p != NULL; p = p->next)
        p->variable->place = (int32_t)at++;
    for (struct variable *v = f->variables; v != NULL; v = v->next) {
        enum form form = form_of((enum kind)v->type);
        if (v->constant != NULL || v->module != NULL) continue;
        if (form == FORM_V) {
            v->place = (int32_t)slot_new(g, 1);
        } else if (v->is_shared) {
            v->place = (int32_t)(FIRST_GLOBAL + g->module->global_types.size);
            bytes_put(&g->module->global_types, (uint8_t)type_of_form(form));
        } else if (!v->is_parameter) {
            v->place = (int32_t)local_new(g, type_of_form(form));
        }
        if (form != FORM_I || v->is_counted) continue;
        v->spill = (int32_t)slot_new(g, 1);
        if (v->is_shared) continue;
        v->next_spilled = g->spilled;
        g->spilled = v;
    }
}

static void clear_slots(struct gen *g, uint32_t frame_bytes) {
    uint32_t count = (frame_bytes - FRAME_HEADER) / SLOT;
    if (count <= 6) {
        for (uint32_t i = 0; i < count; i++) {
            op_local(g, LOCAL_GET, g->frame);
            op_i64(g, 0);
            op_memory(g, I64_STORE, FRAME_HEADER + i * SLOT);
        }
        return;
    }
    op_local(g, LOCAL_GET, g->frame);
    op_i32(g, FRAME_HEADER);
    op(g, I32_ADD);
    op_i32(g, 0);
    op_i32(g, (int32_t)(frame_bytes - FRAME_HEADER));
    bytes_put(&g->code->bytes, 0xFC); /* memory.fill */
    bytes_put(&g->code->bytes, 0x0B);
    bytes_put(&g->code->bytes, 0x00);
}

static void push_nothing(struct gen *g) {
    enum form form = form_of((enum kind)g->function->result);
    if (form == FORM_F) op_f64(g, 0);
    if (form == FORM_B) op_i32(g, 0);
    if (form == FORM_V || form == FORM_I) op_i64(g, 0);
}

/* The program's frame comes first; behind it are those of calls, each as large as the largest, so
 * that where one is tells how deep it is. */
static void prologue(struct gen *g, uint32_t frame_bytes) {
    struct function *f = g->function;
    bool is_program = f == g->unit->functions;
    uint32_t first = frames_start() + g->module->frame_bytes[0];
    if (is_program) {
        op_i32(g, (int32_t)frames_start());
        op_local(g, LOCAL_SET, g->frame);
        op_i32(g, (int32_t)first);
    } else {
        op_global(g, GLOBAL_GET, GLOBAL_FRAME);
        op_local(g, LOCAL_TEE, g->frame);
        op_i32(g, (int32_t)(first + (MAX_CALLS - 1) * g->module->stride));
        op(g, I32_GE_U);
        op_block(g, IF, T_NONE);
        call_safe(g, "rt_raise_depth");
        push_nothing(g);
        op(g, RETURN);
        op_end(g);
        op_local(g, LOCAL_GET, g->frame);
        op_i32(g, (int32_t)g->module->stride);
        op(g, I32_ADD);
    }
    op_global(g, GLOBAL_SET, GLOBAL_FRAME);
    op_local(g, LOCAL_GET, g->frame);
    op_i64(g, (int64_t)f->line << 32 | f->number);
    op_memory(g, I64_STORE, 0);
    if (!is_program) clear_slots(g, frame_bytes);
    for (const struct variable *v = f->variables; v != NULL; v = v->next) {
        bool in_frame =
            v->constant == NULL && v->module == NULL && form_of((enum kind)v->type) == FORM_V;
        if (!in_frame || !v->may_be_unset) continue;
        op_local(g, LOCAL_GET, g->frame);
        op_i64(g, V_UNDEF);
        op_memory(g, I64_STORE, (uint32_t)v->place);
    }
    uint32_t at = 0;
    for (const struct parameter *p = f->parameters; p != NULL; p = p->next, at++) {
        if (form_of((enum kind)p->variable->type) != FORM_V) continue;
        op_local(g, LOCAL_GET, g->frame);
        op_local(g, LOCAL_GET, at);
        op_memory(g, I64_STORE, (uint32_t)p->variable->place);
    }
}

static void begin_body(struct gen *g) {
    bool is_program = g->function == g->unit->functions;
    op_block(g, BLOCK, T_NONE);
    g->failure_depth = g->depth;
    if (is_program) {
        if (g->unit->has_handlers) call_safe(g, "rt_use_handlers");
        return;
    }
    safepoint(g);
}

static void end_body(struct gen *g) {
    struct function *f = g->function;
    if (f == g->unit->functions) {
        call_safe(g, "rt_flush");
        op(g, RETURN);
        op_end(g);
        call_safe(g, "rt_uncaught");
        return;
    }
    enum form form = form_of((enum kind)f->result);
    if (f->definition->kind == N_LAMBDA) {
        gen_as(g, f->definition->a, form);
        gen_leave_frame(g);
        op(g, RETURN);
    } else if (form == FORM_V) { /* the others never come here */
        op_i64(g, V_NONE);
        gen_leave_frame(g);
        op(g, RETURN);
    } else {
        op(g, UNREACHABLE);
    }
    op_end(g);
    gen_leave_frame(g);
    push_nothing(g);
}

void gen_function(struct module *m, struct function *f) {
    struct gen *g = unit_allocate(m->unit, sizeof *g);
    *g = (struct gen){.module = m,
                      .unit = m->unit,
                      .function = f,
                      .code = &m->codes[f->number],
                      .locals = &m->locals[f->number],
                      .parameter_count = f->parameter_count,
                      .slots = FRAME_HEADER,
                      .most_slots = FRAME_HEADER,
                      .line = f->line};
    m->gens[f->number] = g;
    g->frame = local_new(g, T_I32);
    place_variables(g);
    begin_body(g);
    gen_body(g, f->body);
    end_body(g);
    uint32_t bytes = (g->most_slots + 15) / 16 * 16;
    m->frame_bytes[f->number] = bytes;
    if (f != m->unit->functions && bytes > m->stride) m->stride = bytes;
}

void gen_prologue(struct module *m, struct function *f) {
    struct code body = m->codes[f->number], *whole = &m->codes[f->number];
    struct gen *g = m->gens[f->number];
    *whole = (struct code){.bytes.unit = m->unit};
    g->depth = 0;
    prologue(g, m->frame_bytes[f->number]);
    uint32_t before = (uint32_t)whole->bytes.size, targets = whole->target_count;
    bytes_add(&whole->bytes, body.bytes.data, body.bytes.size);
    struct target *all = unit_allocate(m->unit, (targets + body.target_count + 1) * sizeof *all);
    if (targets > 0) memcpy(all, whole->targets, targets * sizeof *all);
    for (uint32_t i = 0; i < body.target_count; i++) {
        all[targets + i] = body.targets[i];
        all[targets + i].at += before;
    }
    whole->targets = all;
    whole->target_count = targets + body.target_count;
}

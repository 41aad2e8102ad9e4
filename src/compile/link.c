/* Puts the module together: the program's functions, what they reach of the runtime, and its data.
 */
#include "compile/code.h"

#include <stdlib.h>
#include <string.h>

struct runtime_type {
    const char *parameters;
    uint8_t count, result;
};
struct runtime_function {
    const char *module; /* of an import, whose name is `name` */
    const char *name;   /* NULL: only the runtime calls it */
    uint32_t type, code, size, first_call, calls;
};
struct runtime_call {
    uint32_t at, target; /* five bytes in the code that hold the number */
};
struct runtime_data {
    uint32_t address, offset, size;
};
#include "runtime_image.h"

enum { PAGE = 65536, FRAMES_BYTES = 2 << 20, MOST_INDIRECT = 9 };
/* What engines take (WebAssembly JavaScript Interface, "Limits": 50,000 and 7,654,321), less what
 * is added to a body. */
enum { MAX_LOCALS = 49900, MAX_BODY_BYTES = 7 << 20 };

uint32_t frames_start(void) {
    return (RUNTIME_END + 15) / 16 * 16;
}
uint32_t data_start(void) {
    return frames_start() + FRAMES_BYTES;
}
uint32_t runtime_budget(void) {
    return RUNTIME_BUDGET;
}
uint32_t runtime_failure(void) {
    return RUNTIME_FAILURE;
}

static int by_name(const void *name, const void *number) {
    return strcmp(name, runtime_functions[*(const uint32_t *)number].name);
}

uint32_t runtime_number(const char *name) {
    const uint32_t *found =
        bsearch(name, runtime_by_name, sizeof runtime_by_name / sizeof *runtime_by_name,
                sizeof *runtime_by_name, by_name);
    return found != NULL ? *found : UINT32_MAX;
}

struct linker {
    struct module *module;
    struct unit *unit;
    struct bytes out;
    struct bytes types;
    uint32_t type_count;
    uint32_t runtime_index[RUNTIME_FUNCTIONS], stub_index[STUBS], *program_index;
    uint32_t function_infos; /* their address */
    uint32_t end_of_data;
};

static const char *const stub_names[] = {"frames_start", "frames_end", "frame_stride",
                                         "function_infos", "collect"};

/* ---- what is reached */

static bool is_import(uint32_t number) {
    return number < RUNTIME_IMPORTS && strcmp(runtime_functions[number].module, "env") != 0;
}

static void reach(struct module *m, uint32_t number, bool *used) {
    if (used[number]) return;
    used[number] = true;
    const struct runtime_function *f = &runtime_functions[number];
    for (uint32_t i = 0; i < f->calls; i++)
        reach(m, runtime_calls[f->first_call + i].target, used);
}

/* ---- sections */

static void section(struct linker *l, uint8_t id, const struct bytes *content) {
    bytes_put(&l->out, id);
    bytes_leb(&l->out, content->size);
    bytes_add(&l->out, content->data, content->size);
}

static void add_name(struct bytes *b, const char *name) {
    bytes_leb(b, strlen(name));
    bytes_add(b, name, strlen(name));
}

/* The number of a function type; each is there once. */
static uint32_t type_number(struct linker *l, const uint8_t *parameters, uint32_t count,
                            uint8_t result) {
    struct bytes one = {.unit = l->unit};
    bytes_put(&one, 0x60);
    bytes_leb(&one, count);
    bytes_add(&one, parameters, count);
    bytes_put(&one, result != 0);
    if (result != 0) bytes_put(&one, result);
    size_t at = 0;
    for (uint32_t i = 0; i < l->type_count; i++) {
        size_t size = 2 + l->types.data[at + 1] + 1 + l->types.data[at + 2 + l->types.data[at + 1]];
        if (size == one.size && memcmp(l->types.data + at, one.data, size) == 0) return i;
        at += size;
    }
    bytes_add(&l->types, one.data, one.size);
    return l->type_count++;
}

static uint32_t program_type(struct linker *l, const struct function *f) {
    uint8_t parameters[MAX_OPERANDS] = {0};
    uint32_t count = 0;
    if (f == l->unit->functions) return type_number(l, parameters, 0, 0);
    for (const struct parameter *p = f->parameters; p != NULL; p = p->next)
        parameters[count++] = (uint8_t)type_of_form(form_of((enum kind)p->variable->type));
    return type_number(l, parameters, count, (uint8_t)type_of_form(form_of((enum kind)f->result)));
}

static uint32_t runtime_type_number(struct linker *l, uint32_t number) {
    const struct runtime_type *type = &runtime_types[runtime_functions[number].type];
    return type_number(l, (const uint8_t *)type->parameters, type->count, type->result);
}

static uint32_t index_of_target(const struct linker *l, const struct target *target) {
    if (target->kind == OF_PROGRAM) return l->program_index[target->number];
    return target->kind == OF_STUB ? l->stub_index[target->number]
                                   : l->runtime_index[target->number];
}

static void add_body(struct bytes *out, const struct bytes *body) {
    bytes_leb(out, body->size);
    bytes_add(out, body->data, body->size);
}

static void add_program_body(struct linker *l, struct bytes *out, const struct bytes *locals,
                             const struct code *code) {
    struct bytes body = {.unit = l->unit};
    uint32_t runs = 0;
    if (locals->size > MAX_LOCALS || code->bytes.size > MAX_BODY_BYTES)
        refuse_at(l->unit, 0, 0, "a function is too large when compiled");
    for (size_t i = 0; i < locals->size; i++)
        runs += i == 0 || locals->data[i] != locals->data[i - 1];
    bytes_leb(&body, runs);
    for (size_t i = 0; i < locals->size;) {
        size_t from = i;
        while (i < locals->size && locals->data[i] == locals->data[from])
            i++;
        bytes_leb(&body, i - from);
        bytes_put(&body, locals->data[from]);
    }
    size_t at = 0;
    for (uint32_t i = 0; i < code->target_count; i++) {
        bytes_add(&body, code->bytes.data + at, code->targets[i].at - at);
        bytes_leb(&body, index_of_target(l, &code->targets[i]));
        at = code->targets[i].at;
    }
    bytes_add(&body, code->bytes.data + at, code->bytes.size - at);
    bytes_put(&body, END_OP);
    add_body(out, &body);
}

static void add_runtime_body(struct linker *l, struct bytes *out, uint32_t number) {
    const struct runtime_function *f = &runtime_functions[number];
    struct bytes body = {.unit = l->unit};
    const uint8_t *code = runtime_code + f->code;
    uint32_t at = 0;
    for (uint32_t i = 0; i < f->calls; i++) {
        const struct runtime_call *call = &runtime_calls[f->first_call + i];
        bytes_add(&body, code + at, call->at - at);
        bytes_leb(&body, l->runtime_index[call->target]);
        at = call->at + 5;
    }
    bytes_add(&body, code + at, f->size - at);
    add_body(out, &body);
}

static void add_stub(struct linker *l, struct bytes *out, enum stub stub) {
    struct code code = {.bytes.unit = l->unit};
    struct bytes locals = {.unit = l->unit};
    struct gen g = {.module = l->module, .unit = l->unit, .code = &code, .locals = &locals};
    switch (stub) {
    case STUB_FRAMES_START: op_i32(&g, (int32_t)frames_start()); break;
    case STUB_FRAMES_END: op_global(&g, GLOBAL_GET, GLOBAL_FRAME); break;
    case STUB_FRAME_STRIDE: op_i32(&g, (int32_t)l->module->stride); break;
    case STUB_FUNCTION_INFOS: op_i32(&g, (int32_t)l->function_infos); break;
    default: /* globals that may hold big integers go to their places first */
        g.frame = local_new(&g, T_I32);
        op_i32(&g, (int32_t)frames_start());
        op_local(&g, LOCAL_SET, g.frame);
        for (const struct variable *v = l->unit->functions->variables; v != NULL; v = v->next) {
            if (v->is_shared && v->spill >= 0)
                keep_integer(&g, GLOBAL_GET, (uint32_t)v->place, (uint32_t)v->spill);
        }
        call_target(&g, OF_RUNTIME, runtime_number("rt_collect"));
        break;
    }
    add_program_body(l, out, &locals, &code);
}

/* Names and frame sizes, for tracebacks. */
static void add_infos(struct linker *l) {
    struct module *m = l->module;
    uint32_t count = l->unit->function_count,
             *names = unit_allocate(l->unit, count * sizeof *names);
    for (const struct function *f = l->unit->functions; f != NULL; f = f->next) {
        names[f->number] = m->data_start + (uint32_t)m->data.size;
        bytes_add(&m->data, f->name, f->name_size);
    }
    while (m->data.size % 4 != 0)
        bytes_put(&m->data, 0);
    l->function_infos = m->data_start + (uint32_t)m->data.size;
    for (const struct function *f = l->unit->functions; f != NULL; f = f->next) {
        bytes_u32(&m->data, names[f->number]);
        bytes_u32(&m->data, f->name_size);
        bytes_u32(&m->data, m->frame_bytes[f->number]);
    }
}

static void add_data(struct linker *l) {
    struct bytes all = {.unit = l->unit};
    const struct module *m = l->module;
    uint32_t count = 1;
    for (const struct runtime_data *d = runtime_datas; d->size > 0; d++)
        count++;
    bytes_leb(&all, count);
    for (const struct runtime_data *d = runtime_datas; d->size > 0; d++) {
        bytes_put(&all, 0);
        bytes_put(&all, I32_CONST);
        bytes_signed(&all, d->address);
        bytes_put(&all, END_OP);
        bytes_leb(&all, d->size);
        bytes_add(&all, runtime_data_bytes + d->offset, d->size);
    }
    bytes_put(&all, 0);
    bytes_put(&all, I32_CONST);
    bytes_signed(&all, m->data_start);
    bytes_put(&all, END_OP);
    bytes_leb(&all, m->data.size);
    bytes_add(&all, m->data.data, m->data.size);
    section(l, 11, &all);
}

static void add_globals(struct linker *l) {
    struct bytes all = {.unit = l->unit};
    const int32_t first[FIRST_GLOBAL] = {RUNTIME_STACK, 0};
    const struct bytes *types = &l->module->global_types;
    bytes_leb(&all, FIRST_GLOBAL + types->size);
    for (size_t i = 0; i < FIRST_GLOBAL; i++) {
        bytes_put(&all, T_I32);
        bytes_put(&all, 1);
        bytes_put(&all, I32_CONST);
        bytes_signed(&all, first[i]);
        bytes_put(&all, END_OP);
    }
    for (size_t i = 0; i < types->size; i++) {
        static const uint8_t zero[8];
        bytes_put(&all, types->data[i]);
        bytes_put(&all, 1);
        bytes_put(&all, types->data[i] == T_F64   ? F64_CONST
                        : types->data[i] == T_I64 ? I64_CONST
                                                  : I32_CONST);
        bytes_add(&all, zero, types->data[i] == T_F64 ? 8 : 1);
        bytes_put(&all, END_OP);
    }
    section(l, 6, &all);
}

static void add_exports(struct linker *l) {
    struct bytes all = {.unit = l->unit};
    bytes_leb(&all, 2);
    add_name(&all, "memory");
    bytes_put(&all, 2);
    bytes_put(&all, 0);
    add_name(&all, "_start");
    bytes_put(&all, 0);
    bytes_leb(&all, l->program_index[0]);
    section(l, 7, &all);
}

static bool has_table(const struct unit *u) {
    return u->value_count > 0 || u->calls_values;
}

static void add_table(struct linker *l, bool elements) {
    struct bytes all = {.unit = l->unit};
    uint32_t count = l->unit->value_count;
    if (!elements) {
        const uint8_t head[] = {1, 0x70, 0};
        bytes_add(&all, head, sizeof head);
        bytes_leb(&all, count);
        section(l, 4, &all);
        return;
    }
    const uint8_t head[] = {1, 0, I32_CONST, 0, END_OP};
    bytes_add(&all, head, sizeof head);
    bytes_leb(&all, count);
    for (const struct function *f = l->unit->functions; f != NULL; f = f->next) {
        if (f->is_value && f->is_reached) bytes_leb(&all, l->program_index[f->number]);
    }
    section(l, 9, &all);
}

static void check_frames(struct linker *l) {
    if (l->module->frame_bytes[0] + (MAX_CALLS + 1) * (uint64_t)l->module->stride > FRAMES_BYTES)
        refuse_at(l->unit, 0, 0, "a function has too many variables");
}

void link_module(struct module *m, uint8_t **wasm, size_t *size) {
    struct linker l = {.module = m, .unit = m->unit, .out.unit = m->unit, .types.unit = m->unit};
    struct bytes imports = {.unit = m->unit}, functions = {.unit = m->unit},
                 bodies = {.unit = m->unit};
    bool *used = unit_allocate(m->unit, RUNTIME_FUNCTIONS);
    uint32_t index = 0, import_count = 0, body_count = 0;
    l.program_index = unit_allocate(m->unit, m->unit->function_count * sizeof *l.program_index);
    check_frames(&l);
    add_infos(&l);
    reach(m, runtime_number("rt_collect"), used);
    for (uint32_t i = RUNTIME_IMPORTS; i < RUNTIME_FUNCTIONS; i++) {
        if (m->uses_runtime[i]) reach(m, i, used);
    }
    /* Numbers first: imports, stubs, the program, the runtime. */
    for (uint32_t count = 0; has_table(m->unit) && count < MOST_INDIRECT; count++) {
        static const uint8_t values[MOST_INDIRECT] = {T_I64, T_I64, T_I64, T_I64, T_I64,
                                                      T_I64, T_I64, T_I64, T_I64};
        (void)type_number(&l, values, count, T_I64);
    }
    for (uint32_t i = 0; i < RUNTIME_IMPORTS; i++) {
        if (!used[i] || !is_import(i)) continue;
        add_name(&imports, runtime_functions[i].module);
        add_name(&imports, runtime_functions[i].name);
        bytes_put(&imports, 0);
        bytes_leb(&imports, runtime_type_number(&l, i));
        l.runtime_index[i] = index++;
        import_count++;
    }
    for (int stub = 0; stub < STUBS; stub++) {
        l.stub_index[stub] = index++;
        bytes_leb(&functions, type_number(&l, NULL, 0, stub == STUB_COLLECT ? 0 : T_I32));
        for (uint32_t i = 0; i < RUNTIME_IMPORTS; i++) {
            if (strcmp(runtime_functions[i].name, stub_names[stub]) == 0 && !is_import(i))
                l.runtime_index[i] = l.stub_index[stub];
        }
        body_count++;
    }
    for (const struct function *f = m->unit->functions; f != NULL; f = f->next) {
        if (!f->is_reached) continue;
        l.program_index[f->number] = index++;
        bytes_leb(&functions, program_type(&l, f));
        body_count++;
    }
    for (uint32_t i = RUNTIME_IMPORTS; i < RUNTIME_FUNCTIONS; i++) {
        if (!used[i]) continue;
        l.runtime_index[i] = index++;
        bytes_leb(&functions, runtime_type_number(&l, i));
        body_count++;
    }
    for (int stub = 0; stub < STUBS; stub++)
        add_stub(&l, &bodies, (enum stub)stub);
    for (const struct function *f = m->unit->functions; f != NULL; f = f->next) {
        if (f->is_reached)
            add_program_body(&l, &bodies, &m->locals[f->number], &m->codes[f->number]);
    }
    for (uint32_t i = RUNTIME_IMPORTS; i < RUNTIME_FUNCTIONS; i++) {
        if (used[i]) add_runtime_body(&l, &bodies, i);
    }
    bytes_add(&l.out, "\0asm\1\0\0\0", 8);
    struct bytes part = {.unit = m->unit};
    bytes_leb(&part, l.type_count);
    bytes_add(&part, l.types.data, l.types.size);
    section(&l, 1, &part);
    part = (struct bytes){.unit = m->unit};
    bytes_leb(&part, import_count);
    bytes_add(&part, imports.data, imports.size);
    section(&l, 2, &part);
    part = (struct bytes){.unit = m->unit};
    bytes_leb(&part, body_count);
    bytes_add(&part, functions.data, functions.size);
    section(&l, 3, &part);
    if (has_table(m->unit)) add_table(&l, false);
    part = (struct bytes){.unit = m->unit};
    bytes_put(&part, 1);
    bytes_put(&part, 0);
    bytes_leb(&part, (m->data_start + m->data.size + PAGE - 1) / PAGE);
    section(&l, 5, &part);
    add_globals(&l);
    add_exports(&l);
    if (has_table(m->unit)) add_table(&l, true);
    part = (struct bytes){.unit = m->unit};
    bytes_leb(&part, body_count);
    bytes_add(&part, bodies.data, bodies.size);
    section(&l, 10, &part);
    add_data(&l);
    *wasm = malloc(l.out.size);
    if (*wasm == NULL) refuse_memory(m->unit);
    memcpy(*wasm, l.out.data, l.out.size);
    *size = l.out.size;
}

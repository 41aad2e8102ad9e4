/* From nodes to WebAssembly, function by function. */
#ifndef PA_COMPILE_CODE_H
#define PA_COMPILE_CODE_H

#include "compile/library.h"
#include "compile/wasm.h"

/* How a value is held in a local or on the stack: as any value, as an integer (twice its value, or
 * a big one's address), as a float, as a condition. */
enum form { FORM_V, FORM_I, FORM_F, FORM_B };

#define V_NONE ((int64_t)(0xFFFAULL << 48))
#define V_UNDEF (V_NONE + 1)
#define V_FALSE (V_NONE + 2)
#define V_TRUE (V_NONE + 3)
#define V_OBJECT ((int64_t)(0xFFFCULL << 48))
#define FIRST_TAG ((int64_t)(0xFFF9ULL << 48)) /* what is below is a float */

enum stub {
    STUB_FRAMES_START,
    STUB_FRAMES_END,
    STUB_FRAME_STRIDE,
    STUB_FUNCTION_INFOS,
    STUB_COLLECT,
    STUBS
};
enum global { GLOBAL_STACK, GLOBAL_FRAME, FIRST_GLOBAL };
enum { FRAME_HEADER = 8, SLOT = 8, MAX_CALLS = 1000 };

/* The module that is being made. */
struct module {
    struct unit *unit;
    struct bytes data; /* behind the runtime's, at data_start */
    uint32_t data_start;
    struct code *codes;            /* of each function */
    struct bytes *locals;          /* their types, one byte each, without parameters */
    uint32_t *frame_bytes, stride; /* stride: of a call's frame to that of a call within it */
    struct gen **gens;             /* between the body of a function and its prologue */
    struct bytes global_types;     /* of shared variables, from FIRST_GLOBAL on */
    bool *uses_runtime;            /* by number */
};

struct loop {
    struct loop *outer;
    int break_depth, continue_depth, guards;
    uint32_t line; /* of the one statement within, if it needs no other: set before the loop */
    bool is_quiet; /* nothing in it allocates: there is nothing to collect */
};

/* A function that is being made. */
struct gen {
    struct module *module;
    struct unit *unit;
    struct function *function;
    struct code *code;
    struct bytes *locals;
    uint32_t parameter_count, local_count;
    uint32_t free_locals[3][32], free_count[3]; /* by type: i32, i64, f64 */
    uint32_t frame;                             /* the local that holds where it is */
    uint32_t slots, most_slots;                 /* in bytes from its start */
    struct variable *spilled;                   /* locals that have a place there besides */
    int depth;                                  /* of blocks */
    int failure_depth;                          /* where an error goes */
    int guards;                                 /* finally clauses around */
    struct loop *loop;
    uint32_t caught_slot; /* within except: where the error is */
    bool is_caught;
    uint32_t line;
    bool line_is_set; /* by the loop around the statement */
};

/* ---- operators (code.c) */
void op(struct gen *g, enum opcode opcode);
void op_local(struct gen *g, enum opcode opcode, uint32_t local);
void op_block(struct gen *g, enum opcode opcode, enum value_type type);
void op_end(struct gen *g);
void op_branch(struct gen *g, enum opcode opcode, int depth); /* to the block begun at that depth */
void op_memory(struct gen *g, enum opcode opcode, uint32_t offset);
void op_i32(struct gen *g, int32_t value);
void op_i64(struct gen *g, int64_t value);
void op_f64(struct gen *g, double value);
void op_global(struct gen *g, enum opcode opcode, uint32_t global);
void call_target(struct gen *g, enum target_kind kind, uint32_t number);
/* Of the runtime; the second looks at what may have gone wrong. */
void call_safe(struct gen *g, const char *name);
void call_runtime(struct gen *g, const char *name);
void check_failure(struct gen *g);
uint32_t local_new(struct gen *g, enum value_type type);
void local_free(struct gen *g, enum value_type type, uint32_t local);
/* A place in the frame, which the collector sees. */
uint32_t slot_new(struct gen *g, uint32_t count);
void slot_free(struct gen *g, uint32_t slot, uint32_t count);
void load_slot(struct gen *g, uint32_t slot);
/* The value on the stack goes there. */
void store_slot(struct gen *g, uint32_t slot);
void slot_address(struct gen *g, uint32_t slot);
/* Integers in locals that may be big go to their places, before what may collect. */
void spill_integers(struct gen *g);
/* The same for one in a local or global, as `get` reads it. */
void keep_integer(struct gen *g, enum opcode get, uint32_t place, uint32_t slot);
void safepoint(struct gen *g);
void op_string(struct gen *g, const char *text, uint32_t size);
_Noreturn void refuse_node(struct gen *g, const struct node *node, const char *what);

static inline enum form form_of(enum kind kind) {
    return kind == K_INT ? FORM_I : kind == K_FLOAT ? FORM_F : kind == K_BOOL ? FORM_B : FORM_V;
}
static inline enum value_type type_of_form(enum form form) {
    return form == FORM_F ? T_F64 : form == FORM_B ? T_I32 : T_I64;
}
void convert(struct gen *g, enum form from, enum form to);

/* ---- expressions (value.c, arithmetic.c, call.c, comprehension.c) */
/* Leaves the value on the stack in the form of its type; or in a form that is wished for. */
enum form gen_value(struct gen *g, struct node *node);
void gen_as(struct gen *g, struct node *node, enum form form);
void gen_condition(struct gen *g, struct node *node);
/* Several, one after the other; those that wait are safe from the collector. */
void gen_operands(struct gen *g, struct node **nodes, const enum form *forms, size_t count);
void gen_binary(struct gen *g, struct node *node);
void gen_compare(struct gen *g, struct node *node);
void gen_unary(struct gen *g, struct node *node);
/* Of two values on the stack, both in that form; `small`: no integer of them is big. */
void gen_order(struct gen *g, enum comparison operation, enum form form, bool small);
enum form gen_call(struct gen *g, struct node *node);
enum form gen_comprehension(struct gen *g, struct node *node);
/* any() or all() of a generator. */
void gen_any(struct gen *g, struct node *generator, bool all);
/* A list of what a function, or an inlined lambda, makes of each item of the list in the slot. */
void gen_mapped(struct gen *g, struct node *function, uint32_t list_slot, bool filter);
/* Puts what `function` makes of the value on the stack there. */
void gen_apply(struct gen *g, struct node *function);
/* The value on the stack goes into the list in the slot; a pair into the dict there. */
void gen_push(struct gen *g, uint32_t list_slot);
void gen_pair(struct gen *g, struct node *pair, uint32_t dict_slot);
/* Items, or arguments up to the first keyword, in slots in a row. */
uint32_t gen_slots(struct gen *g, struct node *items, uint32_t *count);
/* For each item of an iterable, assigned to the target: `body` makes what is done with it. `loop`
 * is filled, for break and continue. */
void gen_each(struct gen *g, struct node *target, struct node *iterable,
              void (*body)(struct gen *g, void *context), void *context, struct loop *loop);
void gen_load(struct gen *g, const struct variable *v);
void gen_store(struct gen *g, const struct variable *v, enum form form);
bool is_named(const struct node *node, const char *name);
bool may_collect(struct node *node);
/* No integer outside of so many bits comes of it; 64: any may. */
int bits_of(const struct node *node);
/* ---- items and assignments (item.c) */
enum form gen_item(struct gen *g, struct node *node);
/* The container and the three bounds, as any values. */
void gen_slice(struct gen *g, struct node *container, struct node *bounds);
void gen_assign(struct gen *g, struct node *target, enum form form); /* the value is on the stack */

/* ---- statements (statement.c) */
void set_line(struct gen *g, uint32_t line);
void gen_body(struct gen *g, struct node *body);
/* ---- functions (function.c) */
/* The caller's frame is the current one again. */
void gen_leave_frame(struct gen *g);
void gen_function(struct module *m, struct function *f);
/* Once the frames of all functions are known. */
void gen_prologue(struct module *m, struct function *f);
/* constant.c: true, and a module: the program only prints constants. */
bool compile_constant(struct unit *u, uint8_t **wasm, size_t *size);
/* link.c */
void link_module(struct module *m, uint8_t **wasm, size_t *size);
uint32_t runtime_number(const char *name); /* of a function; UINT32_MAX: there is none */
uint32_t frames_start(void); /* the address of the frames, and of the data behind them */
uint32_t data_start(void);
uint32_t runtime_budget(void);
uint32_t runtime_failure(void);

#endif

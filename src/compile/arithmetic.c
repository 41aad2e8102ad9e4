/* Operators. Integers that fit in 63 bits, and floats, are calculated with at once; the rest is the
 * runtime's. */
#include "compile/code.h"

int bits_of(const struct node *node) {
    switch (node->kind) {
    case N_INT:
        return node->text != NULL ? 64
               : node->integer == 0
                   ? 1
                   : 65 - __builtin_clzll(
                              (uint64_t)(node->integer < 0 ? -node->integer : node->integer));
    case N_TRUE:
    case N_FALSE: return 1;
    case N_NAME:
        return node->variable != NULL && node->variable->is_counted ? 60
               : node->type == K_BOOL                               ? 1
                                                                    : 64;
    case N_CALL: return is_named(node->a, "len") ? 32 : node->type == K_BOOL ? 1 : 64;
    case N_COMPARE:
    case N_NOT: return 1;
    case N_BINARY: {
        if (node->type != K_INT) return 64;
        int a = bits_of(node->a), b = bits_of(node->b), most = a > b ? a : b;
        bool constant = node->b->kind == N_INT && node->b->text == NULL && node->b->integer > 0;
        if (node->op == O_MOD && constant) return b;
        if (node->op == O_AND && constant) return b;
        if (a == 64 || b == 64) return 64;
        if (node->op == O_ADD || node->op == O_SUB) return most + 1 > 61 ? 64 : most + 1;
        if (node->op == O_MUL) return a + b > 61 ? 64 : a + b;
        if (node->op == O_FLOORDIV && constant) return a;
        return 64;
    }
    default: return 64;
    }
}

/* In 64 bits: 1 if either is big, else 0. */
static void push_big_bit(struct gen *g, uint32_t a, uint32_t b) {
    op_local(g, LOCAL_GET, a);
    op_local(g, LOCAL_GET, b);
    op(g, I64_OR);
    op_i64(g, 1);
    op(g, I64_AND);
}

/* ((a ^ r) & (b ^ r)) < 0, for a sum; for a difference b is ^ a. And either of a, b is big. On the
 * stack: a condition. */
static void push_is_slow(struct gen *g, uint32_t a, uint32_t b, uint32_t r, bool difference) {
    op_local(g, LOCAL_GET, a);
    op_local(g, LOCAL_GET, r);
    op(g, I64_XOR);
    op_local(g, LOCAL_GET, b);
    op_local(g, LOCAL_GET, difference ? a : r);
    op(g, I64_XOR);
    op(g, I64_AND);
    op_i64(g, 63);
    op(g, I64_SHR_U);
    push_big_bit(g, a, b);
    op(g, I64_OR);
    op(g, I32_WRAP);
}

static void push_any_big(struct gen *g, uint32_t a, uint32_t b) {
    push_big_bit(g, a, b);
    op(g, I32_WRAP);
}

static void slow(struct gen *g, uint32_t a, uint32_t b, const char *function) {
    op_local(g, LOCAL_GET, a);
    op_local(g, LOCAL_GET, b);
    call_runtime(g, function);
}

static void add_or_subtract(struct gen *g, uint32_t a, uint32_t b, bool difference) {
    uint32_t r = local_new(g, T_I64);
    op_local(g, LOCAL_GET, a);
    op_local(g, LOCAL_GET, b);
    op(g, difference ? I64_SUB : I64_ADD);
    op_local(g, LOCAL_SET, r);
    push_is_slow(g, a, b, r, difference);
    op_block(g, IF, T_NONE);
    slow(g, a, b, difference ? "rt_int_sub" : "rt_int_add");
    op_local(g, LOCAL_SET, r);
    op_end(g);
    op_local(g, LOCAL_GET, r);
    local_free(g, T_I64, r);
}

static void multiply(struct gen *g, uint32_t a, uint32_t b) {
    const uint32_t both[] = {a, b};
    for (int i = 0; i < 2; i++) { /* within 32 bits, signed? */
        op_local(g, LOCAL_GET, both[i]);
        op_i64(g, (int64_t)1 << 31);
        op(g, I64_ADD);
    }
    op(g, I64_OR);
    op_i64(g, 32);
    op(g, I64_SHR_U);
    push_big_bit(g, a, b);
    op(g, I64_OR);
    op(g, I64_EQZ);
    op_block(g, IF, T_I64);
    op_local(g, LOCAL_GET, a);
    op_i64(g, 1);
    op(g, I64_SHR_S);
    op_local(g, LOCAL_GET, b);
    op(g, I64_MUL);
    op(g, ELSE);
    slow(g, a, b, "rt_int_mul");
    op_end(g);
}

/* For b > 0: rounded down, and so with a rest that is not negative. */
static void divide(struct gen *g, uint32_t a, uint32_t b, bool rest) {
    uint32_t r = local_new(g, T_I64);
    push_any_big(g, a, b);
    op_local(g, LOCAL_GET, b);
    op_i64(g, 0);
    op(g, I64_LE_S);
    op(g, I32_OR);
    op_block(g, IF, T_I64);
    slow(g, a, b, rest ? "rt_int_mod" : "rt_int_floordiv");
    op(g, ELSE);
    op_local(g, LOCAL_GET, a);
    op_local(g, LOCAL_GET, b);
    op(g, I64_REM_S);
    if (rest) {
        op_local(g, LOCAL_TEE, r);
        op_local(g, LOCAL_GET, r);
    }
    op_i64(g, 63); /* -1 if the rest is negative */
    op(g, I64_SHR_S);
    op_local(g, LOCAL_GET, rest ? b : a);
    if (rest) {
        op(g, I64_AND);
        op(g, I64_ADD);
    } else {
        op_local(g, LOCAL_GET, b);
        op(g, I64_DIV_S);
        op(g, I64_ADD);
        op_i64(g, 1);
        op(g, I64_SHL);
    }
    op_end(g);
    local_free(g, T_I64, r);
}

static void bits(struct gen *g, uint32_t a, uint32_t b, uint8_t operation) {
    push_any_big(g, a, b);
    op_block(g, IF, T_I64);
    op_local(g, LOCAL_GET, a);
    op_local(g, LOCAL_GET, b);
    op_i32(g, operation - O_AND);
    call_safe(g, "rt_int_bits");
    op(g, ELSE);
    op_local(g, LOCAL_GET, a);
    op_local(g, LOCAL_GET, b);
    op(g, operation == O_AND ? I64_AND : operation == O_OR ? I64_OR : I64_XOR);
    op_end(g);
}

/* Both are on the stack as integers. */
static void integers(struct gen *g, uint8_t operation, bool is_safe) {
    uint32_t a = local_new(g, T_I64), b = local_new(g, T_I64);
    op_local(g, LOCAL_SET, b);
    op_local(g, LOCAL_SET, a);
    if (is_safe && (operation == O_ADD || operation == O_SUB)) {
        op_local(g, LOCAL_GET, a);
        op_local(g, LOCAL_GET, b);
        op(g, operation == O_ADD ? I64_ADD : I64_SUB);
    } else {
        switch (operation) {
        case O_ADD:
        case O_SUB: add_or_subtract(g, a, b, operation == O_SUB); break;
        case O_MUL: multiply(g, a, b); break;
        case O_FLOORDIV:
        case O_MOD: divide(g, a, b, operation == O_MOD); break;
        case O_TRUEDIV: slow(g, a, b, "rt_int_truediv"); break;
        case O_POW: slow(g, a, b, "rt_int_pow"); break;
        case O_LSHIFT: slow(g, a, b, "rt_int_lshift"); break;
        case O_RSHIFT: slow(g, a, b, "rt_int_rshift"); break;
        default: bits(g, a, b, operation); break;
        }
    }
    local_free(g, T_I64, a);
    local_free(g, T_I64, b);
}

static void divide_floats(struct gen *g) {
    uint32_t b = local_new(g, T_F64);
    op_local(g, LOCAL_TEE, b);
    op_f64(g, 0);
    op(g, F64_EQ);
    op_block(g, IF, T_NONE);
    op_f64(g, 1);
    op_f64(g, 0);
    call_runtime(g, "rt_float_div");
    op(g, DROP);
    op_end(g);
    op_local(g, LOCAL_GET, b);
    op(g, F64_DIV);
    local_free(g, T_F64, b);
}

static void floats(struct gen *g, uint8_t operation) {
    switch (operation) {
    case O_ADD: op(g, F64_ADD); break;
    case O_SUB: op(g, F64_SUB); break;
    case O_MUL: op(g, F64_MUL); break;
    case O_TRUEDIV: divide_floats(g); break;
    case O_FLOORDIV: call_runtime(g, "rt_float_floordiv"); break;
    case O_MOD: call_runtime(g, "rt_float_mod"); break;
    default: call_runtime(g, "rt_float_pow"); break;
    }
}

/* One is a float, the other any value: a float comes of it, unless it is an error. */
static void float_and_any(struct gen *g, uint8_t operation, bool float_first) {
    uint32_t f = local_new(g, T_F64), v = local_new(g, T_I64);
    op_local(g, LOCAL_SET, float_first ? v : f);
    op_local(g, LOCAL_SET, float_first ? f : v);
    op_local(g, LOCAL_GET, v);
    op_i64(g, FIRST_TAG);
    op(g, I64_LT_U);
    op_block(g, IF, T_F64);
    for (int i = 0; i < 2; i++) {
        if ((i == 0) == float_first) {
            op_local(g, LOCAL_GET, f);
        } else {
            op_local(g, LOCAL_GET, v);
            op(g, F64_REINTERPRET);
        }
    }
    floats(g, operation);
    op(g, ELSE);
    for (int i = 0; i < 2; i++) {
        op_local(g, LOCAL_GET, (i == 0) == float_first ? f : v);
        if ((i == 0) == float_first) op(g, I64_REINTERPRET);
    }
    op_i32(g, operation);
    call_runtime(g, "rt_binary");
    op(g, F64_REINTERPRET);
    op_end(g);
    local_free(g, T_F64, f);
    local_free(g, T_I64, v);
}

/* Two floats, as they mostly are when not known to be, at once. */
static void any_floats(struct gen *g, uint8_t operation, bool in_place) {
    uint32_t a = local_new(g, T_I64), b = local_new(g, T_I64);
    op_local(g, LOCAL_SET, b);
    op_local(g, LOCAL_TEE, a);
    op_i64(g, FIRST_TAG);
    op(g, I64_LT_U);
    op_local(g, LOCAL_GET, b);
    op_i64(g, FIRST_TAG);
    op(g, I64_LT_U);
    op(g, I32_AND);
    op_block(g, IF, T_I64);
    op_local(g, LOCAL_GET, a);
    op(g, F64_REINTERPRET);
    op_local(g, LOCAL_GET, b);
    op(g, F64_REINTERPRET);
    floats(g, operation);
    op(g, I64_REINTERPRET);
    op(g, ELSE);
    op_local(g, LOCAL_GET, a);
    op_local(g, LOCAL_GET, b);
    if (in_place) {
        op_i32(g, operation);
        call_runtime(g, "rt_in_place");
    } else {
        call_runtime(g, operation == O_ADD ? "rt_add" : operation == O_SUB ? "rt_sub" : "rt_mul");
    }
    op_end(g);
    local_free(g, T_I64, a);
    local_free(g, T_I64, b);
}

static bool is_int(enum kind kind) {
    return kind == K_INT || kind == K_BOOL;
}

static bool is_number(enum kind kind) {
    return is_int(kind) || kind == K_FLOAT;
}

/* In which form the operands are wished for, and what is done with them then. */
enum way { WAY_INT, WAY_FLOAT, WAY_FLOAT_ANY, WAY_ANY_FLOAT, WAY_ANY };

static enum way way_of(uint8_t operation, enum kind a, enum kind b, enum kind result) {
    if (a == K_BOOL && b == K_BOOL && operation >= O_AND) return WAY_ANY;
    if (is_int(a) && is_int(b)) return WAY_INT;
    if (is_number(a) && is_number(b) && operation <= O_POW) return WAY_FLOAT;
    if (result == K_FLOAT && a == K_FLOAT) return WAY_FLOAT_ANY;
    if (result == K_FLOAT && b == K_FLOAT) return WAY_ANY_FLOAT;
    return WAY_ANY;
}

static enum form left_form(enum way way) {
    return way == WAY_INT ? FORM_I : way == WAY_FLOAT || way == WAY_FLOAT_ANY ? FORM_F : FORM_V;
}

static enum form right_form(enum way way) {
    return way == WAY_INT ? FORM_I : way == WAY_FLOAT || way == WAY_ANY_FLOAT ? FORM_F : FORM_V;
}

static void calculate(struct gen *g, uint8_t operation, enum way way, enum kind a, enum kind b,
                      enum kind result, bool is_safe, bool in_place) {
    switch (way) {
    case WAY_INT:
        integers(g, operation, is_safe);
        if (operation == O_POW) convert(g, FORM_V, form_of(result));
        return;
    case WAY_FLOAT: floats(g, operation); return;
    case WAY_FLOAT_ANY:
    case WAY_ANY_FLOAT: float_and_any(g, operation, way == WAY_FLOAT_ANY); return;
    case WAY_ANY: break;
    }
    if (a == K_ANY && b == K_ANY &&
        (operation == O_ADD || operation == O_SUB || operation == O_MUL)) {
        any_floats(g, operation, in_place);
    } else if (in_place) {
        op_i32(g, operation);
        call_runtime(g, "rt_in_place");
    } else if (a == K_STR && b == K_STR && operation == O_ADD) {
        call_runtime(g, "rt_str_cat");
    } else if (operation == O_ADD || operation == O_SUB || operation == O_MUL) {
        call_runtime(g, operation == O_ADD ? "rt_add" : operation == O_SUB ? "rt_sub" : "rt_mul");
    } else {
        op_i32(g, operation);
        call_runtime(g, "rt_binary");
    }
    convert(g, FORM_V, form_of(result));
}

void gen_binary(struct gen *g, struct node *node) {
    struct node *both[] = {node->a, node->b};
    enum kind a = (enum kind)node->a->type, b = (enum kind)node->b->type;
    enum way way = way_of(node->op, a, b, (enum kind)node->type);
    const enum form forms[] = {left_form(way), right_form(way)};
    gen_operands(g, both, forms, 2);
    calculate(g, node->op, way, a, b, (enum kind)node->type, bits_of(node) <= 61, node->is_inline);
}

void gen_unary(struct gen *g, struct node *node) {
    enum kind kind = (enum kind)node->a->type;
    if (kind == K_FLOAT && node->op != O_INVERT) {
        gen_as(g, node->a, FORM_F);
        if (node->op == O_NEGATE) op(g, F64_NEG);
    } else if (is_int(kind) && node->op == O_PLUS) {
        gen_as(g, node->a, FORM_I);
    } else if (is_int(kind)) { /* -x is 0 - x; ~x is -1 - x */
        op_i64(g, node->op == O_NEGATE ? 0 : -2);
        gen_as(g, node->a, FORM_I);
        integers(g, O_SUB, false);
    } else {
        gen_as(g, node->a, FORM_V);
        op_i32(g, node->op);
        call_runtime(g, "rt_unary");
        convert(g, FORM_V, form_of((enum kind)node->type));
    }
}

/* ---- comparisons */

static void compare_integers(struct gen *g, uint8_t operation, bool small) {
    static const enum opcode of_64[] = {I64_LT_S, I64_LE_S, I64_GT_S, I64_GE_S, I64_EQ, I64_NE};
    static const enum opcode of_32[] = {I32_LT_S, I32_LE_S, I32_GT_S, I32_GE_S, I32_EQ, I32_NE};
    if (small) {
        op(g, of_64[operation]);
        return;
    }
    uint32_t a = local_new(g, T_I64), b = local_new(g, T_I64);
    op_local(g, LOCAL_SET, b);
    op_local(g, LOCAL_SET, a);
    push_any_big(g, a, b);
    op_block(g, IF, T_I32);
    op_local(g, LOCAL_GET, a);
    op_local(g, LOCAL_GET, b);
    call_safe(g, "rt_int_compare");
    op_i32(g, 0);
    op(g, of_32[operation]);
    op(g, ELSE);
    op_local(g, LOCAL_GET, a);
    op_local(g, LOCAL_GET, b);
    op(g, of_64[operation]);
    op_end(g);
    local_free(g, T_I64, a);
    local_free(g, T_I64, b);
}

static enum form compared_form(uint8_t operation, enum kind a, enum kind b) {
    if (operation > C_NOT_EQUAL) return FORM_V;
    if (is_int(a) && is_int(b)) return FORM_I;
    return a == K_FLOAT && b == K_FLOAT ? FORM_F : FORM_V;
}

static bool is_constant(const struct node *node) {
    return node->kind == N_NONE || node->kind == N_TRUE || node->kind == N_FALSE;
}

/* Both are on the stack in that form. */
static void compare(struct gen *g, uint8_t operation, enum form form, bool small,
                    const struct node *at) {
    static const enum opcode of_floats[] = {F64_LT, F64_LE, F64_GT, F64_GE, F64_EQ, F64_NE};
    if (form == FORM_I) {
        compare_integers(g, operation, small);
        return;
    }
    if (form == FORM_F) {
        op(g, of_floats[operation]);
        return;
    }
    switch (operation) {
    case C_EQUAL: call_safe(g, "rt_equal"); break;
    case C_NOT_EQUAL:
        call_safe(g, "rt_equal");
        op(g, I32_EQZ);
        break;
    case C_IS:
    case C_IS_NOT:
        if (!is_constant(at->a))
            refuse_node(g, at, "'is' is supported with None, True and False only");
        op(g, operation == C_IS ? I64_EQ : I64_NE);
        break;
    case C_IN:
    case C_NOT_IN:
        call_runtime(g, "rt_contains");
        if (operation == C_NOT_IN) op(g, I32_EQZ);
        break;
    default:
        op_i32(g, operation);
        call_runtime(g, "rt_order");
        break;
    }
}

/* a < b < c: each is calculated once, and none after the first that is false. */
static void chain(struct gen *g, struct node *node) {
    uint32_t slot = slot_new(g, 1);
    op_block(g, BLOCK, T_I32);
    int done = g->depth;
    gen_as(g, node->a, FORM_V);
    store_slot(g, slot);
    for (struct node *compared = node->b; compared != NULL; compared = compared->next) {
        uint32_t right = local_new(g, T_I64);
        gen_as(g, compared->a, FORM_V);
        op_local(g, LOCAL_SET, right);
        load_slot(g, slot);
        op_local(g, LOCAL_GET, right);
        compare(g, compared->op, FORM_V, false, compared);
        op_local(g, LOCAL_GET, g->frame);
        op_local(g, LOCAL_GET, right);
        op_memory(g, I64_STORE, slot);
        local_free(g, T_I64, right);
        if (compared->next == NULL) break;
        op(g, I32_EQZ);
        op_block(g, IF, T_NONE);
        op_i32(g, 0);
        op_branch(g, BR, done);
        op_end(g);
    }
    op_end(g);
    slot_free(g, slot, 1);
}

void gen_compare(struct gen *g, struct node *node) {
    struct node *compared = node->b;
    if (compared->next != NULL) {
        chain(g, node);
        return;
    }
    if (compared->op == C_IS || compared->op == C_IS_NOT) {
        if (is_constant(node->a) && !is_constant(compared->a)) { /* None is x */
            struct node *kept = node->a;
            node->a = compared->a;
            compared->a = kept;
        }
    }
    struct node *both[] = {node->a, compared->a};
    enum form form =
        compared_form(compared->op, (enum kind)node->a->type, (enum kind)compared->a->type);
    const enum form forms[] = {form, form};
    gen_operands(g, both, forms, 2);
    compare(g, compared->op, form, bits_of(node->a) < 62 && bits_of(compared->a) < 62, compared);
}

void gen_order(struct gen *g, enum comparison operation, enum form form, bool small) {
    compare(g, (uint8_t)operation, form, small, NULL);
}

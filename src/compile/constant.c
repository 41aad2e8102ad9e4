/* Programs that only print what is known beforehand: one text, one loop that writes it, and no
 * runtime. */
#include "compile/code.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool add_constant(struct bytes *text, const struct node *node) {
    char number[32];
    switch (node->kind) {
    case N_STRING: bytes_add(text, node->text, node->size); return true;
    case N_INT:
        if (node->text != NULL) return false;
        (void)snprintf(number, sizeof number, "%" PRId64, node->integer);
        bytes_add(text, number, strlen(number));
        return true;
    case N_TRUE: bytes_add(text, "True", 4); return true;
    case N_FALSE: bytes_add(text, "False", 5); return true;
    case N_NONE: bytes_add(text, "None", 4); return true;
    default: return false;
    }
}

static bool add_print(struct bytes *text, const struct node *node) {
    if (node->kind != N_CALL || !is_named(node->a, "print"))
        return node->kind == N_STRING; /* a remark */
    for (const struct node *argument = node->b; argument != NULL; argument = argument->next) {
        if (!add_constant(text, argument)) return false;
        if (argument->next != NULL) bytes_put(text, ' ');
    }
    bytes_put(text, '\n');
    return true;
}

bool compile_constant(struct unit *u, uint8_t **wasm, size_t *size) {
    enum { TEXT_AT = 12 }; /* behind the vector of one text, and what is said to be written */
    static const uint8_t head[] = {
        0,     'a',   's',   'm',   1, 0,     0,    0, 1,     16, 3,    0x60, 4,
        T_I32, T_I32, T_I32, T_I32, 1, T_I32, 0x60, 1, T_I32, 0,  0x60, 0,    0, /* types */
    };
    static const uint8_t code[] = {0,         LOOP,      T_NONE,    I32_CONST, 1,         I32_CONST,
                                   0,         I32_CONST, 1,         I32_CONST, 8,         CALL,
                                   0, /* fd_write(1, vector, 1, &done) */
                                   IF,        T_NONE,    I32_CONST, 0xF8,      0,         CALL,
                                   1,         END_OP, /* proc_exit(120), as CPython */
                                   I32_CONST, 0,         I32_CONST, 0,         I32_LOAD,  2,
                                   0,         I32_CONST, 8,         I32_LOAD,  2,         0,
                                   I32_ADD,   I32_STORE, 2,         0,         I32_CONST, 4,
                                   I32_CONST, 4,         I32_LOAD,  2,         0,         I32_CONST,
                                   8,         I32_LOAD,  2,         0,         I32_SUB,   I32_STORE,
                                   2,         0,         I32_CONST, 4,         I32_LOAD,  2,
                                   0,         BR_IF,     0,         END_OP,    END_OP};
    struct bytes text = {.unit = u}, out = {.unit = u}, part = {.unit = u};
    for (const struct node *s = u->body; s != NULL; s = s->next) {
        if (s->kind != S_PASS && (s->kind != S_EXPRESSION || !add_print(&text, s->a))) return false;
    }
    if (text.size == 0 || text.size > 1 << 20) return false;
    bytes_add(&out, head, sizeof head);
    static const char module[] = "wasi_snapshot_preview1";
    bytes_put(&part, 2);
    for (int i = 0; i < 2; i++) {
        const char *name = i == 0 ? "fd_write" : "proc_exit";
        bytes_leb(&part, strlen(module));
        bytes_add(&part, module, strlen(module));
        bytes_leb(&part, strlen(name));
        bytes_add(&part, name, strlen(name));
        bytes_put(&part, 0);
        bytes_put(&part, (uint8_t)i);
    }
    bytes_put(&out, 2);
    bytes_leb(&out, part.size);
    bytes_add(&out, part.data, part.size);
    const uint8_t function[] = {3, 2, 1, 2, 5, 3, 1, 0};
    bytes_add(&out, function, sizeof function);
    bytes_leb(&out, (TEXT_AT + text.size + 65535) / 65536);
    const uint8_t exports[] = {7, 19, 2,   6,   'm', 'e', 'm', 'o', 'r', 'y', 2,
                               0, 6,  '_', 's', 't', 'a', 'r', 't', 0,   2};
    bytes_add(&out, exports, sizeof exports);
    bytes_put(&out, 10);
    bytes_leb(&out, sizeof code + 2);
    bytes_put(&out, 1);
    bytes_leb(&out, sizeof code);
    bytes_add(&out, code, sizeof code);
    part = (struct bytes){.unit = u};
    const uint8_t data[] = {1, 0, I32_CONST, 0, END_OP};
    bytes_add(&part, data, sizeof data);
    bytes_leb(&part, TEXT_AT + text.size);
    bytes_u32(&part, TEXT_AT);
    bytes_u32(&part, (uint32_t)text.size);
    bytes_u32(&part, 0);
    bytes_add(&part, text.data, text.size);
    bytes_put(&out, 11);
    bytes_leb(&out, part.size);
    bytes_add(&out, part.data, part.size);
    *wasm = malloc(out.size);
    if (*wasm == NULL) refuse_memory(u);
    memcpy(*wasm, out.data, out.size);
    *size = out.size;
    return true;
}

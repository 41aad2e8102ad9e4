/* Writing WebAssembly (core specification 1.0, chapter 5, "Binary Format"): bytes, numbers,
 * operators. */
#ifndef PA_COMPILE_WASM_H
#define PA_COMPILE_WASM_H

#include "compile/ast.h"

enum value_type { T_NONE = 0x40, T_I32 = 0x7F, T_I64 = 0x7E, T_F64 = 0x7C };

enum opcode {
    UNREACHABLE = 0x00,
    BLOCK = 0x02,
    LOOP = 0x03,
    IF = 0x04,
    ELSE = 0x05,
    END_OP = 0x0B,
    BR = 0x0C,
    BR_IF = 0x0D,
    RETURN = 0x0F,
    CALL = 0x10,
    CALL_INDIRECT = 0x11,
    DROP = 0x1A,
    SELECT = 0x1B,
    LOCAL_GET = 0x20,
    LOCAL_SET = 0x21,
    LOCAL_TEE = 0x22,
    GLOBAL_GET = 0x23,
    GLOBAL_SET = 0x24,
    I32_LOAD = 0x28,
    I64_LOAD = 0x29,
    F64_LOAD = 0x2B,
    I32_STORE = 0x36,
    I64_STORE = 0x37,
    I32_CONST = 0x41,
    I64_CONST = 0x42,
    F64_CONST = 0x44,
    I32_EQZ = 0x45,
    I32_EQ = 0x46,
    I32_NE = 0x47,
    I32_LT_S = 0x48,
    I32_GT_S = 0x4A,
    I32_LE_S = 0x4C,
    I32_GE_S = 0x4E,
    I32_GE_U = 0x4F,
    I64_EQZ = 0x50,
    I64_EQ = 0x51,
    I64_NE = 0x52,
    I64_LT_S = 0x53,
    I64_LT_U = 0x54,
    I64_GT_S = 0x55,
    I64_LE_S = 0x57,
    I64_GE_S = 0x59,
    I64_GE_U = 0x5A,
    F64_EQ = 0x61,
    F64_NE = 0x62,
    F64_LT = 0x63,
    F64_GT = 0x64,
    F64_LE = 0x65,
    F64_GE = 0x66,
    I32_ADD = 0x6A,
    I32_SUB = 0x6B,
    I32_AND = 0x71,
    I32_OR = 0x72,
    I32_SHL = 0x74,
    I64_ADD = 0x7C,
    I64_SUB = 0x7D,
    I64_MUL = 0x7E,
    I64_DIV_S = 0x7F,
    I64_REM_S = 0x81,
    I64_AND = 0x83,
    I64_OR = 0x84,
    I64_XOR = 0x85,
    I64_SHL = 0x86,
    I64_SHR_S = 0x87,
    I64_SHR_U = 0x88,
    F64_NEG = 0x9A,
    F64_ADD = 0xA0,
    F64_SUB = 0xA1,
    F64_MUL = 0xA2,
    F64_DIV = 0xA3,
    I32_WRAP = 0xA7,
    I64_EXTEND_S = 0xAC,
    I64_EXTEND_U = 0xAD,
    F64_CONVERT_I64_S = 0xB9,
    I64_REINTERPRET = 0xBD,
    F64_REINTERPRET = 0xBF
};

/* Bytes that grow within the unit's memory. */
struct bytes {
    struct unit *unit;
    uint8_t *data;
    size_t size, room;
};
void bytes_add(struct bytes *b, const void *data, size_t size);
void bytes_put(struct bytes *b, uint8_t byte);
void bytes_leb(struct bytes *b, uint64_t value);
void bytes_signed(struct bytes *b, int64_t value);
void bytes_u32(struct bytes *b, uint32_t value);
void bytes_u64(struct bytes *b, uint64_t value);

/* What a call in a body calls; its number is written when the module is put together. */
enum target_kind { OF_RUNTIME, OF_PROGRAM, OF_STUB };
struct target {
    uint32_t at; /* in the code, where the number belongs */
    uint8_t kind;
    uint32_t number;
};

/* A function's code, without its locals. */
struct code {
    struct bytes bytes;
    struct target *targets;
    uint32_t target_count, target_room;
};

#endif

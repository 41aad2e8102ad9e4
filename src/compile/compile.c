#include "compile/compile.h"

#include "compile/code.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

/* A program whose code, or whose compilation, is larger than goes with its text is refused: each
 * call in a function of many integers has to keep all of them, each finally is there twice. */
enum { BLOCK_BYTES = 256 << 10, MEMORY_BYTES = 32 << 20, MEMORY_PER_BYTE = 512 };

void *unit_allocate(struct unit *u, size_t bytes) {
    bytes = (bytes + 15) / 16 * 16;
    u->allocated += bytes;
    if (u->allocated > u->most) refuse_at(u, 0, 0, "the program is too large when compiled");
    struct block *block = u->blocks;
    if (block == NULL || block->size - block->used < bytes) {
        size_t size = bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES;
        block = calloc(1, sizeof *block + size);
        if (block == NULL) refuse_memory(u);
        block->size = size;
        block->next = u->blocks;
        u->blocks = block;
    }
    void *out = block->bytes + block->used;
    block->used += bytes;
    return out;
}

void refuse_at(struct unit *u, uint32_t line, uint32_t column, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(u->error->text, sizeof u->error->text, format, arguments);
    va_end(arguments);
    u->error->line = line;
    u->error->column = column;
    longjmp(u->refused, 1);
}

void refuse_memory(struct unit *u) {
    u->error->no_memory = true;
    refuse_at(u, 0, 0, "out of memory");
}

/* The lexer works on bytes: they are to be what they should once and for all. */
static void check_text(struct unit *u) {
    const unsigned char *s = (const unsigned char *)u->source;
    uint32_t line = 1;
    for (size_t i = 0; i < u->size;) {
        size_t more = s[i] < 0x80                   ? 0
                      : s[i] >= 0xC2 && s[i] < 0xE0 ? 1
                      : (s[i] & 0xF0) == 0xE0       ? 2
                      : s[i] >= 0xF0 && s[i] < 0xF5 ? 3
                                                    : 9;
        if (more == 9 || i + more >= u->size + (more == 0) || s[i] == 0)
            refuse_at(u, line, 1, "the program is no UTF-8 text");
        for (size_t k = 1; k <= more; k++) {
            if ((s[i + k] & 0xC0) != 0x80) refuse_at(u, line, 1, "the program is no UTF-8 text");
        }
        if (s[i] == '\n') line++;
        if (s[i] == '\r' && (i + 1 >= u->size || s[i + 1] != '\n'))
            refuse_at(u, line, 1, "a carriage return without a line feed");
        i += more + 1;
    }
    if (u->size >= 3 && memcmp(s, "\xEF\xBB\xBF", 3) == 0) {
        u->source += 3;
        u->size -= 3;
    }
}

/* Long lists of names would make a stranger's program slow to compile. */
static void check_size(struct unit *u) {
    uint32_t count = 0;
    for (const struct function *f = u->functions; f != NULL; f = f->next)
        count += f->variable_count + 1;
    if (count > MAX_NAMES) refuse_at(u, 0, 0, "more than %d names are not supported", MAX_NAMES);
}

static void number_values(struct unit *u) {
    for (struct function *f = u->functions; f != NULL; f = f->next) {
        if (f->is_value && f->is_reached) f->table_index = u->value_count++;
    }
}

/* What an interpreter would tell as the result. */
static bool ends_in_value(const struct unit *u) {
    const struct node *last = u->body;
    while (last != NULL && last->next != NULL)
        last = last->next;
    if (last == NULL || last->kind != S_EXPRESSION) return false;
    return !(last->a->kind == N_CALL && is_named(last->a->a, "print"));
}

static void compile(struct unit *u, struct compiled *out) {
    check_text(u);
    parse(u);
    check_depth(u);
    resolve_names(u);
    check_size(u);
    fold_constants(u);
    out->ends_in_value = ends_in_value(u);
    if (compile_constant(u, &out->wasm, &out->size)) return;
    find_unset(u);
    infer_types(u);
    number_values(u);
    struct module m = {
        .unit = u, .data.unit = u, .data_start = data_start(), .global_types.unit = u};
    m.codes = unit_allocate(u, u->function_count * sizeof *m.codes);
    m.locals = unit_allocate(u, u->function_count * sizeof *m.locals);
    m.frame_bytes = unit_allocate(u, u->function_count * sizeof *m.frame_bytes);
    m.gens = unit_allocate(u, u->function_count * sizeof(struct gen *));
    m.uses_runtime = unit_allocate(u, 4096);
    for (struct function *f = u->functions; f != NULL; f = f->next) {
        m.codes[f->number].bytes.unit = m.locals[f->number].unit = u;
        if (f->is_reached) gen_function(&m, f);
    }
    for (struct function *f = u->functions; f != NULL; f = f->next) {
        if (f->is_reached) gen_prologue(&m, f);
    }
    link_module(&m, &out->wasm, &out->size);
}

int compile_python(const char *source, size_t size, const char *name, struct compiled *out,
                   struct compile_error *error) {
    struct unit u = {.source = source,
                     .size = size,
                     .name = name,
                     .error = error,
                     .most = MEMORY_BYTES + size * MEMORY_PER_BYTE};
    int result = 0;
    memcpy(&u.seed, (const void *)getauxval(AT_RANDOM), sizeof u.seed);
    *error = (struct compile_error){0};
    *out = (struct compiled){0};
    if (size > COMPILE_MAX_SOURCE_BYTES) {
        (void)snprintf(error->text, sizeof error->text, "the program is larger than %d bytes",
                       COMPILE_MAX_SOURCE_BYTES);
        return -1;
    }
    if (setjmp(u.refused) != 0) {
        result = -1;
    } else {
        compile(&u, out);
    }
    for (struct block *block = u.blocks, *next; block != NULL; block = next) {
        next = block->next;
        free(block);
    }
    return result;
}

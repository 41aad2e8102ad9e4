/* The program between its text and its code: tokens, nodes, names. All of it lives in one arena,
 * which ends with the compilation; a refusal leaves by longjmp() from wherever it is found. */
#ifndef PA_COMPILE_AST_H
#define PA_COMPILE_AST_H

#include "compile/compile.h"

#include <setjmp.h>

struct block {
    struct block *next;
    size_t used, size;
    _Alignas(16) char bytes[];
};

/* MAX_DEPTH: of whatever is in its like: expressions, blocks, functions, and the operands of a row
 * of operators, each of which has those before it as its left one. So deep do the compiler's own
 * calls go, on a stack of 256 KiB. MAX_OPERANDS: of what is called with all of its values at hand.
 */
enum {
    MAX_NAMES = 4000,
    MAX_FUNCTIONS = 1000,
    MAX_BINDINGS = 200,
    MAX_DEPTH = 150,
    MAX_OPERANDS = 32
};

/* What is being compiled. */
struct unit {
    const char *source, *name;
    size_t size;
    struct block *blocks;
    struct compile_error *error;
    jmp_buf refused;
    struct node *body;
    struct function *functions, *last_function; /* the program itself is the first */
    uint32_t function_count, value_count;       /* value_count: those in the table */
    struct variable *shared;        /* variables of the program that functions use, too */
    bool calls_values;              /* functions that variables hold */
    bool has_handlers, catches_all; /* catches_all: with a bare except, or a finally */
    struct node *annotations;       /* that are evaluated */
    struct variable **by_name;      /* names.c: a hash table */
    uint64_t seed;                  /* of it */
    int depth;                      /* of what is being parsed */
    size_t allocated, most;         /* bytes; most: refused above it */
};

/* Zeroed; it lasts as long as the unit. */
void *unit_allocate(struct unit *u, size_t bytes);
/* Around whatever is parsed within its like. */
void unit_enter(struct unit *u, uint32_t line, uint32_t column);
static inline void unit_leave(struct unit *u) {
    u->depth--;
}
_Noreturn void refuse_at(struct unit *u, uint32_t line, uint32_t column, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
_Noreturn void refuse_memory(struct unit *u);

/* ---- tokens (lexer.c) */
enum token_kind {
    END,
    NEWLINE,
    INDENT,
    DEDENT,
    NAME,
    INTEGER,
    REAL,
    STRING, /* and f-strings: their text as it is written */
    OPERATOR
};
struct token {
    enum token_kind kind;
    const char *text;
    uint32_t size, line, column;
};
struct lexer {
    struct unit *unit;
    const char *at, *end, *line_start;
    uint32_t line;
    int parentheses;
    uint32_t indents[100];
    int indent_count, dedents;
    bool at_line_start, is_part; /* is_part: an expression within an f-string */
};
void lexer_init(struct lexer *lexer, struct unit *unit, const char *text, size_t size,
                uint32_t line);
struct token lexer_next(struct lexer *lexer);

/* ---- nodes */
enum node_kind {
    /* expressions */
    N_INT, /* text: its decimal digits if it has more than 62 bits */
    N_FLOAT,
    N_STRING,
    N_JOINED, /* an f-string: a: its parts, each an N_STRING or N_FIELD */
    N_FIELD,  /* a: value, b: specification (N_JOINED) or NULL, op: conversion */
    N_NAME,
    N_NONE,
    N_TRUE,
    N_FALSE,
    N_BINARY,    /* a op b */
    N_UNARY,     /* op a */
    N_NOT,       /* a */
    N_AND,       /* a b */
    N_OR,        /* a b */
    N_COMPARE,   /* a: first operand; b: list of N_COMPARED */
    N_COMPARED,  /* op a */
    N_IF_ELSE,   /* a if b else c */
    N_CALL,      /* a: callee; b: arguments */
    N_KEYWORD,   /* an argument: text = a */
    N_STAR,      /* *a */
    N_ATTRIBUTE, /* a.text */
    N_ITEM,      /* a[b] */
    N_SLICE,     /* within N_ITEM: a : b : c, each may be NULL */
    N_LIST,      /* a: items */
    N_TUPLE,
    N_DICT,    /* a: N_PAIR items */
    N_PAIR,    /* a: b */
    N_LIST_OF, /* a for ... : b: N_FOR_IN clauses */
    N_DICT_OF, /* a: N_PAIR */
    N_GENERATOR,
    N_FOR_IN, /* a: target, b: iterable, c: conditions */
    N_LAMBDA, /* a: body; function: what it is as a function; b: its parameters (N_NAME) */
    /* statements */
    S_EXPRESSION, /* a */
    S_ASSIGN,     /* a: targets; b: value */
    S_CHANGE,     /* a op= b */
    S_IF,         /* if a: b else: c */
    S_WHILE,      /* while a: b else: c */
    S_FOR,        /* for a in b: c else: d */
    S_DEF,        /* function */
    S_RETURN,     /* a or NULL */
    S_BREAK,
    S_CONTINUE,
    S_PASS,   /* a: NULL, or a name that has an annotation only */
    S_GLOBAL, /* a: names */
    S_ASSERT, /* a, b or NULL */
    S_RAISE,  /* a or NULL */
    S_TRY,    /* a: body; b: S_EXCEPT list; c: else; d: finally */
    S_EXCEPT, /* a: classes (N_NAME list) or NULL; b: body; text: its name */
    S_DELETE, /* a: targets */
    S_IMPORT  /* text: module; a: names (N_NAME), or NULL; its own name: b */
};

enum operation {
    O_ADD,
    O_SUB,
    O_MUL,
    O_TRUEDIV,
    O_FLOORDIV,
    O_MOD,
    O_POW,
    O_LSHIFT,
    O_RSHIFT,
    O_AND,
    O_OR,
    O_XOR
};
enum unary { O_NEGATE, O_PLUS, O_INVERT };
enum comparison {
    C_LESS,
    C_LESS_EQUAL,
    C_GREATER,
    C_GREATER_EQUAL,
    C_EQUAL,
    C_NOT_EQUAL,
    C_IN,
    C_NOT_IN,
    C_IS,
    C_IS_NOT
};

/* What a value is known to be. */
enum kind { K_NOTHING, K_INT, K_FLOAT, K_BOOL, K_NONE, K_STR, K_LIST, K_TUPLE, K_DICT, K_ANY };

struct node {
    uint8_t kind, op;
    uint8_t type;     /* enum kind, found by infer.c */
    bool may_collect; /* calls what may collect garbage: values must be in their places meanwhile */
    uint32_t line, column;
    struct node *a, *b, *c, *d, *next;
    const char *text;
    uint32_t size;
    int64_t integer;
    double real;
    struct variable *variable;
    struct function *function;
    bool is_inline; /* N_LAMBDA: a part of the expression around it, not a function; N_BINARY: in
                       place */
};

struct variable {
    const char *name;
    uint32_t name_size;
    struct function *owner; /* the program itself for what functions share */
    uint8_t type;
    bool is_shared;    /* of the program, and used in functions */
    bool may_be_unset; /* somewhere it is read before it surely has a value */
    bool is_counted;   /* only ever set by a loop over a range: it is no big integer */
    bool is_parameter;
    struct variable *captured; /* a parameter that no program has written: this one's value */
    bool is_set;               /* by other than its definition */
    struct function *constant; /* the function that a def makes it, for good */
    const char *module; /* "math" or "sys", if an import makes it that, or something of it: */
    const char *member; /* its name there; NULL: the module itself */
    uint32_t member_size;
    uint32_t number; /* for analyses: within its owner */
    int32_t place;   /* a local, a global, or an offset in the frame: code.c */
    int32_t spill;   /* an offset in the frame, for integers that may be big; -1: none */
    struct variable *next, *next_shared, *next_by_name, *next_spilled;
};

struct parameter {
    struct variable *variable;
    struct variable *standard; /* hidden, of the program: its default; NULL: none */
    struct node *value;        /* of its default */
    struct parameter *next;
};

struct function {
    const char *name;
    uint32_t name_size, number, line;
    struct function *outer, *next;
    struct node *body;
    struct parameter *parameters;
    uint32_t parameter_count;
    struct variable *variables, *last_variable;
    uint32_t variable_count;
    struct node *globals; /* names that are declared so */
    uint8_t result;       /* enum kind */
    bool is_value;        /* used other than by calling it */
    uint32_t table_index;
    bool is_reached;
    uint64_t *calls; /* of other functions: a set of their numbers (defined.c) */
    uint64_t *reads; /* of shared variables, likewise */
    struct node *definition;
    struct use *uses;              /* of its name */
    struct function *next_waiting; /* closures.c */
};

/* parse.c: the body of u->source. */
void parse(struct unit *u);
/* depth.c: refuses what is deeper than MAX_DEPTH, however it was built. */
void check_depth(struct unit *u);
struct node *ast_new(struct unit *u, enum node_kind kind, uint32_t line, uint32_t column);
/* parse_string.c: what a literal of adjacent strings stands for. */
struct node *parse_string(struct unit *u, const struct token *token);
struct node *parse_part(struct unit *u, const char *text, size_t size, uint32_t line,
                        uint32_t column);
/* names.c: which variable each name is. */
void resolve_names(struct unit *u);
struct variable *new_variable(struct unit *u, struct function *f, const char *name, uint32_t size);
/* NULL: the function has none of that name. */
struct variable *find_own(struct unit *u, const struct function *f, const char *name,
                          uint32_t size);
/* annotation.c */
void check_annotations(struct unit *u);
/* closures.c: what a function gets with each call, of the variables of those around it. */
struct variable *capture(struct unit *u, struct function *f, struct variable *v,
                         const struct node *at);
void note_use(struct unit *u, struct function *user, struct node *name, struct node *call);
void pass_captured(struct unit *u);
/* defined.c: which may be read before they have a value. */
void find_unset(struct unit *u);
/* infer.c: the type of each variable, result and expression. */
void infer_types(struct unit *u);
enum kind infer_binary(uint8_t operation, enum kind a, enum kind b, const struct node *exponent);
/* fold.c: constants. */
void fold_constants(struct unit *u);

static inline uint32_t count_of(const struct node *list) {
    uint32_t count = 0;
    for (; list != NULL; list = list->next)
        count++;
    return count;
}

/* An argument that no program has written: the value of a captured variable. */
static inline bool is_captured(const struct node *argument) {
    return argument->kind == N_KEYWORD && argument->text[0] == '=';
}

static inline bool text_is(const char *text, uint32_t size, const char *word) {
    size_t length = __builtin_strlen(word);
    return length == size && __builtin_memcmp(text, word, size) == 0;
}

#endif

/* The runtime of compiled Python programs: what their code calls. It is compiled to WebAssembly
 * when polyagent is built, and of it each program gets the functions that it reaches (../link.c).
 *
 * A value (V) is 64 bits: a double as it is, or, in what would be NaNs that no operation makes, a
 * small integer, a constant, or the address of an object. An integer in a variable that is known to
 * hold nothing else (I) is twice its value, or the address of a big one times two plus one.
 *
 * Functions that fail raise(): the caller looks at failed() and returns whatever it likes. */
#ifndef PA_COMPILE_RUNTIME_H
#define PA_COMPILE_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t V;
typedef int64_t I;

#define EXPORT(name) __attribute__((export_name(#name)))
#define IMPORT(module, name) __attribute__((import_module(#module), import_name(#name)))

enum { TAG_INT = 0xFFF9, TAG_CONST = 0xFFFA, TAG_OBJECT = 0xFFFC };
#define BOX(tag, payload) ((V)(tag) << 48 | ((V)(payload)&0xFFFFFFFFFFFF))
#define NONE BOX(TAG_CONST, 0)
#define UNDEF BOX(TAG_CONST, 1) /* a variable without a value; the end of an iteration */
#define FALSE BOX(TAG_CONST, 2)
#define TRUE BOX(TAG_CONST, 3)

enum type {
    FREE,
    BUFFER, /* what a list or a dict holds its items in */
    BIG,
    STR,
    LIST,
    TUPLE,
    DICT,
    RANGE,
    ITERATOR,
    VIEW,
    FUNCTION,
    CAUGHT, /* an error, as `as NAME` has it: a tuple of its value, its text, and its traceback;
               flag: which */
    /* Of values that are no objects: */
    INT,
    FLOAT,
    BOOL,
    NONETYPE
};

struct object {
    uint8_t type, mark;
    uint16_t flag; /* BIG: it is negative */
    uint32_t size; /* what it counts: digits, bytes, items */
};

struct big {
    struct object head;
    uint32_t digit[]; /* the lowest first, and the last not 0 */
};
struct str {
    struct object head;
    uint32_t chars, hash; /* code points; 0: not known yet */
    char byte[];          /* UTF-8 */
};
struct list {
    struct object head;
    uint32_t room;
    V *item;
};
struct tuple {
    struct object head;
    V item[];
};
struct entry {
    V key, value; /* UNDEF: deleted */
    uint32_t hash, pad;
};
struct dict {
    struct object head; /* size: of the entries that are there */
    uint32_t used, room;
    struct entry *entry; /* in the order of insertion */
    uint32_t slots;      /* of the index, a power of two */
    int32_t *index;      /* -1: empty; entries that were deleted stay until it grows */
};
struct range {
    struct object head;
    int64_t start, stop, step, count;
};
struct function {
    struct object head; /* size: its number in the table */
    struct str *name;
};

enum iterator_kind {
    OVER_LIST,
    OVER_TUPLE,
    OVER_STR,
    OVER_RANGE,
    OVER_DICT,
    OVER_ENUMERATE,
    OVER_ZIP,
    OVER_REVERSED
};
struct iterator {
    struct object head; /* flag: its kind */
    V source;           /* ENUMERATE: an iterator; ZIP: a tuple of them */
    int64_t at;
    uint32_t seen; /* DICT: its size at the start */
};
enum view_kind { KEYS, VALUES, ITEMS };
struct view {
    struct object head; /* flag: its kind */
    V dict;
};

/* ---- values */
static inline uint32_t tag(V v) {
    return (uint32_t)(v >> 48);
}
static inline bool is_float(V v) {
    return v < (V)TAG_INT << 48;
}
static inline bool is_object(V v) {
    return tag(v) == TAG_OBJECT;
}
static inline struct object *object(V v) {
    return (struct object *)(uintptr_t)(uint32_t)v;
}
static inline V of(const void *o) {
    return BOX(TAG_OBJECT, (uintptr_t)o);
}
static inline double as_float(V v) {
    union {
        V v;
        double d;
    } u = {v};
    return u.d;
}
static inline V of_float(double d) {
    union {
        double d;
        V v;
    } u = {d};
    return u.v;
}
static inline V of_bool(bool b) {
    return b ? TRUE : FALSE;
}
static inline int64_t small(V v) { /* of a TAG_INT */
    return (int64_t)(v << 16) >> 16;
}
enum type type_of(V v);
static inline bool is_a(V v, enum type type) {
    return is_object(v) && object(v)->type == type;
}
static inline struct str *str(V v) {
    return (struct str *)object(v);
}
static inline struct list *list(V v) {
    return (struct list *)object(v);
}
static inline struct tuple *tuple(V v) {
    return (struct tuple *)object(v);
}
static inline struct dict *dict(V v) {
    return (struct dict *)object(v);
}
/* Its name as type(v).__name__. */
const char *type_name(V v);

/* ---- memory (memory.c) */
/* Never NULL: without memory the program ends as CPython's does, by a MemoryError. All zero. */
void *allocate(enum type type, size_t bytes);
void *allocate_buffer(size_t bytes); /* behind its header; owned by one object */
void release_buffer(void *buffer);
/* The same for what is bytes long already; its items may move. */
void *grow_buffer(void *buffer, size_t used_bytes, size_t bytes);

/* ---- frames, made by the compiler: the program's, and behind it those of calls, each `stride`
 * from the next. In them is what the collector must see, and where each call is. */
struct place {
    uint32_t function, line; /* at the start of each frame */
};
struct function_info { /* of the program first: its name is the file's */
    uint32_t name, name_bytes, frame_bytes;
};
IMPORT(env, frames_start) extern char *frames_start(void);
IMPORT(env, frames_end) extern char *frames_end(void);
IMPORT(env, frame_stride) extern size_t frame_stride(void);
IMPORT(env, function_infos) extern const struct function_info *function_infos(void);

/* ---- errors (error.c) */
enum error {
    NO_ERROR,
    EXCEPTION,
    ARITHMETIC_ERROR,
    ZERO_DIVISION_ERROR,
    OVERFLOW_ERROR,
    LOOKUP_ERROR,
    INDEX_ERROR,
    KEY_ERROR,
    VALUE_ERROR,
    UNICODE_ERROR,
    TYPE_ERROR,
    NAME_ERROR,
    UNBOUND_LOCAL_ERROR,
    ASSERTION_ERROR,
    RUNTIME_ERROR,
    RECURSION_ERROR,
    NOT_IMPLEMENTED_ERROR,
    EOF_ERROR,
    ATTRIBUTE_ERROR,
    MEMORY_ERROR,
    STOP_ITERATION,
    ERRORS
};
extern struct failure {
    int32_t error; /* NO_ERROR: nothing is being raised */
    V value;       /* what it was made with; UNDEF: nothing */
} failure;
static inline bool failed(void) {
    return failure.error != NO_ERROR;
}
/* "... %s ..." with a text or a type's name; 0, for the caller to return. */
V raise(enum error error, const char *text);
V raisef(enum error error, const char *format, const char *a, const char *b);
V raise_value(enum error error, V value);
const char *error_name(int32_t error);
/* Ends the program: what it wants is Python, but not what we compile. */
_Noreturn void unsupported(const char *what);

/* ---- integers (integer.c) */
I of_int64(int64_t n);  /* as I */
V box_int64(int64_t n); /* as V */
V box_int(I i);         /* of an I */
I int_of(V v);          /* of a V that is an int or a bool */
bool is_int(V v);       /* bool too */
bool int64_of(I i, int64_t *out);
double float_of_int(I i);             /* rounded to even; raises OverflowError */
I int_of_float(double d);             /* towards zero; raises for inf and nan */
int compare_int_float(I i, double d); /* -1, 0, 1; d is no nan */
int sign_of_int(I i);
I int_parse(const char *text, size_t bytes, int base, V source);
V int_text(I i, int base, bool upper);
uint32_t hash_int(I i);
I rt_int_add(I a, I b);
I rt_int_sub(I a, I b);
I rt_int_mul(I a, I b);
I rt_int_floordiv(I a, I b);
I rt_int_mod(I a, I b);
V rt_int_pow(I a, I b);
I rt_int_neg(I a);
int32_t rt_int_compare(I a, I b);
I int_power(I a, uint64_t exponent);
I int_shift_left(I a, uint64_t bits);
I int_shift_right(I a, uint64_t bits);
int int_bit_length(I a);
double int_true_divide(I a, I b);

/* ---- floats (float.c) */
enum { DIGITS_ROOM = 800 };
/* The shortest digits that read back as d > 0, with the place of the point: 0.DIGITS * 10^point. */
int float_shortest(double d, char *digits, int *point);
/* d >= 0 correctly rounded to so many digits behind the point (or, `significant`, in all). */
int float_digits(double d, int count, bool significant, char *digits, int *point);
V float_repr(double d);
/* False: it is no number. */
bool float_parse(const char *text, size_t bytes, double *out);
double rt_float_mod(double a, double b);
double rt_float_floordiv(double a, double b);
double rt_float_pow(double a, double b);
uint32_t hash_float(double d);
double float_round(double d, int digits);

/* ---- strings (string.c, text.c) */
V str_new(const char *bytes, size_t size); /* valid UTF-8 */
V str_c(const char *text);
V str_cat(V a, V b);
V str_slice_bytes(V s, uint32_t from, uint32_t to);
uint32_t str_offset(const struct str *s, uint32_t at); /* of a code point, in bytes */
uint32_t utf8_length(const char *bytes, size_t size);
uint32_t utf8_next(const char **at); /* the code point there; moves on */
size_t utf8_put(char *out, uint32_t c);
bool str_equal(const struct str *a, const struct str *b);
int str_compare(const struct str *a, const struct str *b);
uint32_t hash_str(struct str *s);
bool str_contains(const struct str *s, const struct str *part);
V str_repeat(V s, int64_t times);
V str_repr(V s);
bool is_space(uint32_t c);

/* Text that is being put together. */
struct text {
    char *byte;
    size_t size, room;
};
void text_add(struct text *text, const char *bytes, size_t size);
void text_add_c(struct text *text, const char *c);
void text_add_char(struct text *text, uint32_t c);
void text_add_str(struct text *text, V s);
V text_take(struct text *text); /* as a str; empties it */

/* ---- containers (list.c, dict.c, iterate.c) */
V list_new(uint32_t room);
void list_push(V v, V item);
V tuple_new(uint32_t size);
V tuple_of(V list);
V dict_new(void);
void dict_set(V d, V key, V value);
V dict_get(V d, V key); /* UNDEF: not there */
bool dict_remove(V d, V key);
uint32_t hash(V v); /* raises TypeError */
V range_new(int64_t start, int64_t stop, int64_t step);
V rt_iter(V v);
V rt_next(V iterator); /* UNDEF at the end */
V list_of(V iterable);
void sort_items(V *item, V *key, uint32_t count, bool reverse);
/* A slice's bounds, as they apply to `length`. */
struct slice {
    int64_t start, step, count;
};
bool slice_of(V start, V stop, V step, int64_t length, struct slice *out);

/* ---- any values (value.c, show.c) */
int32_t rt_truth(V v);
int32_t rt_equal(V a, V b);
bool same_item(V a, V b);
enum order { LESS, LESS_EQUAL, GREATER, GREATER_EQUAL };
int32_t rt_order(V a, V b, int32_t order);
V rt_str(V v);
V rt_repr(V v);
void show(struct text *out, V v, bool repr);
V rt_format(V v, V spec);
I index_of(V v, const char *message); /* an integer, or TypeError */
int64_t rt_length(V v);

/* ---- the outside (io.c) */
void io_write(int fd, const char *bytes, size_t size);
void io_flush(void);
_Noreturn void io_exit(int code);

#endif

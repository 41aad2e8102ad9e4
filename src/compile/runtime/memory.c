/* Memory of a compiled program: cells of a few sizes in chunks of 64 KiB, larger objects in as many
 * chunks as they need, and a collector that marks what the variables reach and gives back the rest.
 * It runs only where compiled code asks it to (rt_collect): between statements, when all that is in
 * use is in a variable's place. Nothing ever moves. */
#include "rt.h"

enum { CHUNK = 65536, MAX_CHUNKS = 32768, LARGEST_CELL = 16384, SIZES = 40 };
enum { FIRST_BUDGET = 8 << 20 };
enum chunk_kind { NOT_OURS, FRESH, UNUSED, CELLS, LARGE, LARGE_REST }; /* FRESH: all zero yet */

/* At the start of a chunk of cells. */
struct chunk {
    uint32_t cell_bytes, size_class;
};
struct free_cell {
    struct object head;
    struct free_cell *next;
};

static uint8_t kinds[MAX_CHUNKS];
static uint32_t first_chunk, chunk_count; /* of memory, ours from first_chunk on */
static struct free_cell *free_cells[SIZES];
static struct object **marks; /* to be looked at */
static uint32_t mark_count, mark_room;
/* What compiled code looks at: below 0, it is time to collect. */
int32_t budget = FIRST_BUDGET;

extern char __heap_base;

static uint32_t class_of(uint32_t bytes) {
    if (bytes <= 128) return (bytes + 15) / 16 - 1; /* 0..7 */
    uint32_t top = 31 - (uint32_t)__builtin_clz(bytes - 1), quarter = (bytes - 1) >> (top - 2) & 3;
    return 8 + (top - 7) * 4 + quarter;
}

static uint32_t class_bytes(uint32_t size_class) {
    if (size_class < 8) return (size_class + 1) * 16;
    uint32_t top = 7 + (size_class - 8) / 4, quarter = (size_class - 8) % 4;
    return (1U << top) + ((quarter + 1) << (top - 2));
}

static char *address(uint32_t chunk) {
    return (char *)(uintptr_t)(chunk * CHUNK);
}

/* `count` chunks in a row: of those that are there, or new ones. */
static uint32_t take_chunks(uint32_t count, enum chunk_kind kind) {
    uint32_t run = 0;
    if (first_chunk == 0) {
        first_chunk = chunk_count = (uint32_t)__builtin_wasm_memory_size(0);
    }
    for (uint32_t i = first_chunk; i < chunk_count; i++) {
        run = kinds[i] == UNUSED || kinds[i] == FRESH ? run + 1 : 0;
        if (run < count) continue;
        uint32_t first = i + 1 - count;
        for (uint32_t k = 0; k < count; k++) {
            if (kinds[first + k] == UNUSED) __builtin_memset(address(first + k), 0, CHUNK);
            kinds[first + k] = (uint8_t)(kind == LARGE && k > 0 ? LARGE_REST : kind);
        }
        return first;
    }
    uint32_t more = count > 16 ? count : 16;
    if (chunk_count + more > MAX_CHUNKS || __builtin_wasm_memory_grow(0, more) == (size_t)-1) {
        more = count;
        if (chunk_count + more > MAX_CHUNKS || __builtin_wasm_memory_grow(0, more) == (size_t)-1) {
            raise(MEMORY_ERROR, "");
            io_write(2, "MemoryError\n", 12);
            io_exit(1);
        }
    }
    for (uint32_t k = 0; k < more; k++)
        kinds[chunk_count + k] = FRESH;
    chunk_count += more;
    return take_chunks(count, kind);
}

static void new_cells(uint32_t size_class) {
    uint32_t bytes = class_bytes(size_class);
    char *start = address(take_chunks(1, CELLS));
    *(struct chunk *)start = (struct chunk){bytes, size_class};
    struct free_cell *list = free_cells[size_class];
    for (uint32_t at = (CHUNK - 16) / bytes * bytes + 16; at >= 16 + bytes; at -= bytes) {
        struct free_cell *cell = (struct free_cell *)(start + at - bytes);
        cell->next = list;
        list = cell;
    }
    free_cells[size_class] = list;
}

void *allocate(enum type type, size_t bytes) {
    struct object *o;
    if (bytes > (size_t)1 << 30) {
        io_write(2, "MemoryError\n", 12);
        io_exit(1);
    }
    budget -= (int32_t)(bytes < 16 ? 16 : bytes);
    if (bytes <= LARGEST_CELL) {
        uint32_t size_class = class_of((uint32_t)(bytes < 16 ? 16 : bytes));
        if (free_cells[size_class] == NULL) new_cells(size_class);
        struct free_cell *cell = free_cells[size_class];
        free_cells[size_class] = cell->next;
        uint32_t size = class_bytes(size_class);
        cell->next = NULL;
        if (cell->head.mark == 2) __builtin_memset(cell, 0, size); /* was used before */
        o = &cell->head;
    } else {
        o = (struct object *)address(take_chunks((uint32_t)((bytes + CHUNK - 1) / CHUNK), LARGE));
    }
    o->type = (uint8_t)type;
    o->mark = 0;
    return o;
}

static struct object *head_of(void *buffer) {
    return (struct object *)((char *)buffer - sizeof(struct object));
}

void *allocate_buffer(size_t bytes) {
    struct object *o = allocate(BUFFER, sizeof *o + bytes);
    o->mark = 3; /* ends with its owner, not by the sweep */
    return o + 1;
}

static uint32_t chunk_of(const void *at) {
    return (uint32_t)(uintptr_t)at / CHUNK;
}

static uint32_t large_chunks(uint32_t first) {
    uint32_t count = 1;
    while (first + count < chunk_count && kinds[first + count] == LARGE_REST)
        count++;
    return count;
}

static size_t bytes_at(const struct object *o) {
    uint32_t chunk = chunk_of(o);
    if (kinds[chunk] == CELLS) return ((struct chunk *)address(chunk))->cell_bytes;
    return (size_t)large_chunks(chunk) * CHUNK;
}

static void give_back(struct object *o) {
    uint32_t chunk = chunk_of(o);
    o->type = FREE;
    if (kinds[chunk] == CELLS) {
        uint32_t size_class = ((struct chunk *)address(chunk))->size_class;
        struct free_cell *cell = (struct free_cell *)o;
        o->mark = 2;
        cell->next = free_cells[size_class];
        free_cells[size_class] = cell;
        return;
    }
    for (uint32_t count = large_chunks(chunk); count > 0; count--)
        kinds[chunk + count - 1] = UNUSED;
}

void release_buffer(void *buffer) {
    if (buffer == NULL) return;
    budget += (int32_t)bytes_at(head_of(buffer));
    give_back(head_of(buffer));
}

void *grow_buffer(void *buffer, size_t used_bytes, size_t bytes) {
    void *larger = allocate_buffer(bytes);
    if (used_bytes > 0) __builtin_memcpy(larger, buffer, used_bytes);
    release_buffer(buffer);
    return larger;
}

static void mark(V v) {
    if (!is_object(v)) return;
    struct object *o = object(v);
    if (o->mark != 0) return;
    o->mark = 1;
    if (o->type == STR || o->type == BIG || o->type == RANGE || o->type == FUNCTION) return;
    if (mark_count == mark_room) {
        uint32_t room = mark_room == 0 ? 4000 : mark_room * 2;
        marks = grow_buffer(marks, mark_count * sizeof *marks, room * sizeof *marks);
        mark_room = room;
    }
    marks[mark_count++] = o;
}

static void mark_all(const V *item, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        mark(item[i]);
}

static void mark_items(const struct object *o) {
    switch (o->type) {
    case LIST: mark_all(((const struct list *)o)->item, o->size); break;
    case CAUGHT:
    case TUPLE: mark_all(((const struct tuple *)o)->item, o->size); break;
    case DICT: {
        const struct dict *d = (const struct dict *)o;
        for (uint32_t i = 0; i < d->used; i++) {
            mark(d->entry[i].key);
            mark(d->entry[i].value);
        }
        break;
    }
    case ITERATOR: mark(((const struct iterator *)o)->source); break;
    case VIEW: mark(((const struct view *)o)->dict); break;
    default: break;
    }
}

static void end(struct object *o) {
    if (o->type == LIST) release_buffer(((struct list *)o)->item);
    if (o->type == DICT) {
        release_buffer(((struct dict *)o)->entry);
        release_buffer(((struct dict *)o)->index);
    }
    give_back(o);
}

static bool is_garbage(struct object *o) {
    if (o->type == FREE || o->mark == 3) return false;
    bool garbage = o->mark == 0;
    o->mark = 0;
    return garbage;
}

/* Bytes that live on. */
static size_t sweep(void) {
    size_t live = 0;
    for (uint32_t chunk = first_chunk; chunk < chunk_count; chunk++) {
        if (kinds[chunk] == LARGE) {
            struct object *o = (struct object *)address(chunk);
            uint32_t count = large_chunks(chunk);
            if (is_garbage(o)) {
                end(o);
            } else {
                live += (size_t)count * CHUNK;
            }
            chunk += count - 1;
        } else if (kinds[chunk] == CELLS) {
            uint32_t bytes = ((struct chunk *)address(chunk))->cell_bytes;
            for (uint32_t at = 16; at + bytes <= CHUNK; at += bytes) {
                struct object *o = (struct object *)(address(chunk) + at);
                if (is_garbage(o)) {
                    end(o);
                } else if (o->type != FREE) {
                    live += bytes;
                }
            }
        }
    }
    return live;
}

EXPORT(rt_collect) void rt_collect(void) {
    const struct function_info *infos = function_infos();
    const char *end_of_frames = frames_end();
    size_t stride = frame_stride();
    for (const char *frame = frames_start(); frame < end_of_frames;) {
        const struct function_info *info = &infos[((const struct place *)frame)->function];
        for (uint32_t at = sizeof(struct place); at < info->frame_bytes; at += sizeof(V))
            mark(*(const V *)(frame + at));
        frame += info == infos ? info->frame_bytes : stride;
    }
    mark(failure.value);
    while (mark_count > 0)
        mark_items(marks[--mark_count]);
    size_t live = sweep();
    budget = (int32_t)(live < FIRST_BUDGET ? FIRST_BUDGET : live > (1U << 30) ? 1U << 30 : live);
}

EXPORT(rt_budget) int32_t *rt_budget(void) {
    return &budget;
}

/* Whoever calls the constructors (there are none) has the linker leave exports as they are;
 * otherwise each would get a wrapper that ends a command. */
extern void __wasm_call_ctors(void);
EXPORT(_initialize) void _initialize(void) {
    __wasm_call_ctors();
}

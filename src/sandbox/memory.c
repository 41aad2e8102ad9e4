/* Linear memory: one reservation that never moves, with guard pages on both sides, opened up as the
 * guest grows it. The limit is enforced here and not by the store's limiter, because here a growth
 * that was refused leaves a trace: a guest that fails for it ends as MEMORY_LIMIT, not as a mere
 * error. */
#include "sandbox/engine.h"

#include "base/huge.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

/* What grows by so much at once will be used. */
enum { HUGE_GROWTH_BYTES = 4 << 20 };

struct linear_memory {
    struct guest_memory guest; /* first: the WASI host reads it */
    struct engine *engine;
    uint8_t *mapping;
    size_t mapping_bytes;
    size_t reserved_bytes;
};

static uint8_t *get_memory(void *env, size_t *size, size_t *capacity) {
    const struct linear_memory *memory = env;
    *size = (size_t)memory->guest.size_bytes;
    *capacity = memory->reserved_bytes;
    return memory->guest.base;
}

static wasmtime_error_t *grow_memory(void *env, size_t new_size) {
    struct linear_memory *memory = env;
    struct engine *engine = memory->engine;
    if (new_size > engine->memory_limit_bytes) {
        engine->memory_refused = true;
        return wasmtime_error_new("memory limit exceeded");
    }
    if (new_size > memory->reserved_bytes) return wasmtime_error_new("beyond the reservation");
    size_t old_size = (size_t)memory->guest.size_bytes;
    if (new_size > old_size &&
        mprotect(memory->guest.base + old_size, new_size - old_size, PROT_READ | PROT_WRITE) != 0) {
        engine->memory_refused = true; /* RLIMIT_DATA, or the host has no more */
        return wasmtime_error_new("the host refuses more memory");
    }
    if (old_size > 0 && new_size - old_size >= HUGE_GROWTH_BYTES)
        huge_pages_to_come(memory->guest.base + old_size, new_size - old_size);
    memory->guest.size_bytes = new_size;
    if (new_size > *engine->peak_memory_bytes) *engine->peak_memory_bytes = new_size;
    return NULL;
}

static void free_memory(void *env) {
    struct linear_memory *memory = env;
    if (memory->engine->memory == &memory->guest) memory->engine->memory = NULL;
    (void)munmap(memory->mapping, memory->mapping_bytes);
    free(memory);
}

wasmtime_error_t *linear_memory_new(void *env, const wasm_memorytype_t *type, size_t minimum,
                                    size_t maximum, size_t reserved_bytes, size_t guard_bytes,
                                    wasmtime_linear_memory_t *out) {
    struct linear_memory *memory = calloc(1, sizeof *memory);
    (void)type;
    (void)maximum; /* the engine keeps to it */
    if (memory == NULL) return wasmtime_error_new("out of memory");
    if (reserved_bytes < minimum) reserved_bytes = minimum;
    memory->engine = env;
    memory->reserved_bytes = reserved_bytes;
    memory->mapping_bytes = guard_bytes + reserved_bytes + guard_bytes;
    memory->mapping = mmap(NULL, memory->mapping_bytes, PROT_NONE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory->mapping == MAP_FAILED) {
        free(memory);
        return wasmtime_error_new("cannot reserve address space: is RLIMIT_AS set?");
    }
    memory->guest.base = memory->mapping + guard_bytes;
    wasmtime_error_t *error = grow_memory(memory, minimum);
    if (error != NULL) {
        free_memory(memory);
        return error;
    }
    memory->engine->memory = &memory->guest;
    wasi_set_memory(memory->engine->wasi, &memory->guest);
    *out = (wasmtime_linear_memory_t){.env = memory,
                                      .get_memory = get_memory,
                                      .grow_memory = grow_memory,
                                      .finalizer = free_memory};
    return NULL;
}

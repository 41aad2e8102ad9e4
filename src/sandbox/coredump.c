#include "sandbox/coredump.h"

#include "base/buffer.h"

#include <errno.h>

enum { SECTION_CUSTOM = 0, SECTION_MEMORY = 5, SECTION_DATA = 11, PAGE_BYTES = 65536 };

static int put_byte(struct buffer *out, uint8_t byte) {
    return buffer_append(out, &byte, 1);
}

static int put_leb(struct buffer *out, uint64_t value) {
    do {
        uint8_t byte = value & 0x7f;
        value >>= 7;
        if (put_byte(out, byte | (value != 0 ? 0x80 : 0)) != 0) return -1;
    } while (value != 0);
    return 0;
}

static int put_name(struct buffer *out, const char *name) {
    return put_leb(out, strlen(name)) != 0 ? -1 : buffer_append(out, name, strlen(name));
}

static int write_section(int fd, uint8_t id, const struct buffer *body, uint64_t more_bytes) {
    struct buffer head = {0};
    int result =
        put_byte(&head, id) != 0 || put_leb(&head, body->size + more_bytes) != 0 ? -ENOMEM : 0;
    if (result == 0) result = fd_write_all(fd, head.data, head.size);
    if (result == 0) result = fd_write_all(fd, body->data, body->size);
    buffer_fini(&head);
    return result;
}

static int write_custom(int fd, struct buffer *body, int result) {
    if (result == 0) result = write_section(fd, SECTION_CUSTOM, body, 0);
    buffer_fini(body);
    return result;
}

static int write_stack(int fd, const wasm_frame_vec_t *frames) {
    struct buffer body = {0};
    int failed = put_name(&body, "corestack") | put_byte(&body, 0) | put_name(&body, "main") |
                 put_leb(&body, frames->size);
    for (size_t i = 0; i < frames->size; i++) {
        failed |= put_byte(&body, 0) | put_leb(&body, 0) | /* instance 0 */
                  put_leb(&body, wasm_frame_func_index(frames->data[i])) |
                  put_leb(&body, wasm_frame_func_offset(frames->data[i])) | put_leb(&body, 0) |
                  put_leb(&body, 0); /* locals and stack are not known */
    }
    return write_custom(fd, &body, failed ? -ENOMEM : 0);
}

static int write_memory(int fd, const struct guest_memory *memory) {
    struct buffer type = {0}, data = {0};
    int failed =
        put_leb(&type, 1) | put_byte(&type, 0) | put_leb(&type, memory->size_bytes / PAGE_BYTES);
    /* One active segment: memory 0, i32.const 0, end, and the bytes. */
    failed |= put_leb(&data, 1) | put_byte(&data, 0) | put_byte(&data, 0x41) | put_byte(&data, 0) |
              put_byte(&data, 0x0b) | put_leb(&data, memory->size_bytes);
    int result = failed ? -ENOMEM : write_section(fd, SECTION_MEMORY, &type, 0);
    if (result == 0) result = write_section(fd, SECTION_DATA, &data, memory->size_bytes);
    if (result == 0) result = fd_write_all(fd, memory->base, memory->size_bytes);
    buffer_fini(&type);
    buffer_fini(&data);
    return result;
}

int coredump_write(int fd, const char *name, const wasm_frame_vec_t *frames,
                   const struct guest_memory *memory) {
    static const uint8_t header[] = {0, 'a', 's', 'm', 1, 0, 0, 0};
    struct buffer core = {0}, modules = {0}, instances = {0};
    int result = fd_write_all(fd, header, sizeof header);
    if (result != 0) return result;
    int failed = put_name(&core, "core") | put_byte(&core, 0) | put_name(&core, name);
    result = write_custom(fd, &core, failed ? -ENOMEM : 0);
    failed = put_name(&modules, "coremodules") | put_leb(&modules, 1) | put_byte(&modules, 0) |
             put_name(&modules, name);
    result = write_custom(fd, &modules, result != 0 ? result : failed ? -ENOMEM : 0);
    failed = put_name(&instances, "coreinstances") | put_leb(&instances, 1) |
             put_byte(&instances, 0) | put_leb(&instances, 0) | put_leb(&instances, memory != NULL);
    if (memory != NULL) failed |= put_leb(&instances, 0);
    failed |= put_leb(&instances, 0); /* no globals */
    result = write_custom(fd, &instances, result != 0 ? result : failed ? -ENOMEM : 0);
    if (result == 0 && memory != NULL) result = write_memory(fd, memory);
    return result == 0 ? write_stack(fd, frames) : result;
}

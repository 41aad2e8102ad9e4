#include "base/buffer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void buffer_fini(struct buffer *buffer) {
    free(buffer->data);
    *buffer = (struct buffer){0};
}

static int reserve(struct buffer *buffer, size_t extra) {
    size_t needed;
    if (__builtin_add_overflow(buffer->size, extra, &needed) || needed == SIZE_MAX) return -1;
    if (needed + 1 <= buffer->capacity) return 0;
    size_t capacity = buffer->capacity ? buffer->capacity : 256;
    while (capacity < needed + 1) {
        if (__builtin_mul_overflow(capacity, 2, &capacity)) capacity = needed + 1;
    }
    uint8_t *data = realloc(buffer->data, capacity);
    if (data == NULL) return -1;
    buffer->data = data;
    buffer->capacity = capacity;
    return 0;
}

int buffer_reserve(struct buffer *buffer, size_t bytes) {
    if (bytes < buffer->capacity) return 0;
    uint8_t *data = bytes < SIZE_MAX ? realloc(buffer->data, bytes + 1) : NULL;
    if (data == NULL) return -1;
    buffer->data = data;
    buffer->capacity = bytes + 1;
    buffer->data[buffer->size] = 0;
    return 0;
}

int buffer_append(struct buffer *buffer, const void *data, size_t size) {
    if (reserve(buffer, size) != 0) return -1;
    if (size > 0) memcpy(buffer->data + buffer->size, data, size);
    buffer->size += size;
    buffer->data[buffer->size] = 0;
    return 0;
}

int buffer_read_fd(struct buffer *buffer, int fd, size_t limit_bytes) {
    for (;;) {
        size_t room = limit_bytes - buffer->size;
        size_t chunk = room < 65536 ? room + 1 : 65536; /* one byte over tells "too much" apart */
        if (reserve(buffer, chunk) != 0) return -ENOMEM;
        ssize_t got = read(fd, buffer->data + buffer->size, chunk);
        if (got < 0) {
            if (errno == EINTR) continue;
            return -errno;
        }
        if (got == 0) break;
        if ((size_t)got > room) return -EFBIG;
        buffer->size += (size_t)got;
    }
    buffer->data[buffer->size] = 0;
    return 0;
}

int fd_write_all(int fd, const void *data, size_t size) {
    const uint8_t *at = data;
    while (size > 0) {
        ssize_t put = write(fd, at, size);
        if (put < 0) {
            if (errno == EINTR) continue;
            return -errno;
        }
        at += put;
        size -= (size_t)put;
    }
    return 0;
}

/* A growable byte buffer. Zero-initialise it; buffer_fini() releases it. Not thread-safe. */
#ifndef PA_BASE_BUFFER_H
#define PA_BASE_BUFFER_H

#include <stddef.h>
#include <stdint.h>

struct buffer {
    uint8_t *data; /* NULL while empty; else followed by a NUL that `size` does not count */
    size_t size;
    size_t capacity;
};

void buffer_fini(struct buffer *buffer);

/* Room for so many bytes in all, at once. Returns 0, or -1 when memory runs out. */
int buffer_reserve(struct buffer *buffer, size_t bytes);

/* Adds `size` bytes. Returns 0, or -1 when memory runs out (the buffer is unchanged). */
int buffer_append(struct buffer *buffer, const void *data, size_t size);

/* Reads `fd` to its end, at most `limit_bytes`. Returns 0, -ENOMEM, -EFBIG when there is more than
 * the limit, or the negative errno of read(). */
int buffer_read_fd(struct buffer *buffer, int fd, size_t limit_bytes);

/* Writes all of it, whatever the number of short writes. Returns 0 or a negative errno. */
int fd_write_all(int fd, const void *data, size_t size);

#endif

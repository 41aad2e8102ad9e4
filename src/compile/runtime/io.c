/* Streams, by WASI preview1: standard output is written when there is enough of it, and at the end.
 */
#include "rt.h"

enum { OUT_BYTES = 8192, IN_BYTES = 4096, EAGAIN_WASI = 6 };

struct vector {
    const void *at;
    size_t size;
};
IMPORT(wasi_snapshot_preview1, fd_write)
int fd_write(int fd, const struct vector *v, size_t count, size_t *done);
IMPORT(wasi_snapshot_preview1, fd_read)
int fd_read(int fd, struct vector *v, size_t count, size_t *done);
IMPORT(wasi_snapshot_preview1, proc_exit) _Noreturn void proc_exit(int code);
IMPORT(wasi_snapshot_preview1, args_sizes_get) int args_sizes_get(size_t *count, size_t *bytes);
IMPORT(wasi_snapshot_preview1, args_get) int args_get(char **argv, char *bytes);

static char out[OUT_BYTES];
static size_t out_bytes;
static char in[IN_BYTES];
static size_t in_at, in_end;

static void write_all(int fd, const char *bytes, size_t size) {
    while (size > 0) {
        size_t done = 0;
        const struct vector v = {bytes, size};
        int result = fd_write(fd, &v, 1, &done);
        if (result == EAGAIN_WASI) continue;
        if (result != 0)
            proc_exit(120); /* as CPython when standard output cannot be written at the end */
        bytes += done;
        size -= done;
    }
}

void io_flush(void) {
    size_t size = out_bytes;
    out_bytes = 0;
    write_all(1, out, size);
}

EXPORT(rt_flush) void rt_flush(void) {
    io_flush();
}

void io_write(int fd, const char *bytes, size_t size) {
    if (fd != 1) {
        write_all(fd, bytes, size);
        return;
    }
    if (size > OUT_BYTES - out_bytes) io_flush();
    if (size > OUT_BYTES) {
        write_all(1, bytes, size);
        return;
    }
    __builtin_memcpy(out + out_bytes, bytes, size);
    out_bytes += size;
}

_Noreturn void io_exit(int code) {
    io_flush();
    proc_exit(code);
}

/* A line without its end; -1: there is none any more. */
static bool read_line(struct text *line) {
    bool any = false;
    for (;;) {
        if (in_at == in_end) {
            size_t done = 0;
            struct vector v = {in, IN_BYTES};
            int result = fd_read(0, &v, 1, &done);
            if (result == EAGAIN_WASI) continue;
            if (result != 0 || done == 0) return any;
            in_at = 0;
            in_end = done;
        }
        any = true;
        char c = in[in_at++];
        if (c == '\n') return true;
        text_add(line, &c, 1);
    }
}

static bool is_utf8(const char *bytes, size_t size) {
    const unsigned char *s = (const unsigned char *)bytes;
    for (size_t i = 0; i < size;) {
        int more = s[i] < 0x80                   ? 0
                   : s[i] >= 0xC2 && s[i] < 0xE0 ? 1
                   : (s[i] & 0xF0) == 0xE0       ? 2
                   : s[i] >= 0xF0 && s[i] < 0xF5 ? 3
                                                 : -1;
        if (more < 0 || i + (size_t)more >= size + (more == 0)) return false;
        for (int k = 1; k <= more; k++) {
            if ((s[i + (size_t)k] & 0xC0) != 0x80) return false;
        }
        i += (size_t)more + 1;
    }
    return true;
}

EXPORT(rt_input) V rt_input(V prompt) {
    struct text line = {0};
    if (prompt != UNDEF) {
        V text = rt_str(prompt);
        if (failed()) return 0;
        io_write(1, str(text)->byte, str(text)->head.size);
    }
    io_flush();
    if (!read_line(&line)) return raise(EOF_ERROR, "EOF when reading a line");
    if (line.size > 0 && line.byte[line.size - 1] == '\r') line.size--;
    if (!is_utf8(line.byte, line.size)) unsupported("input that is no UTF-8");
    return text_take(&line);
}

/* sys.argv */
EXPORT(rt_argv) V rt_argv(void) {
    size_t count = 0, bytes = 0;
    V out_list = list_new(4);
    if (args_sizes_get(&count, &bytes) != 0) return out_list;
    char **argv = allocate_buffer((count + 1) * sizeof *argv), *text = allocate_buffer(bytes + 1);
    if (args_get(argv, text) == 0) {
        for (size_t i = 0; i < count; i++) {
            if (!is_utf8(argv[i], __builtin_strlen(argv[i])))
                unsupported("arguments that are no UTF-8");
            list_push(out_list, str_c(argv[i]));
        }
    }
    release_buffer(argv);
    release_buffer(text);
    return out_list;
}

/* sys.exit(value) */
EXPORT(rt_exit) void rt_exit(V value) {
    int64_t code = 0;
    if (value == UNDEF || value == NONE) io_exit(0);
    if (is_int(value)) {
        if (!int64_of(int_of(value), &code)) code = -1;
        io_exit((int)(code & 0xFF));
    }
    V text = rt_str(value);
    io_flush();
    write_all(2, str(text)->byte, str(text)->head.size);
    write_all(2, "\n", 1);
    io_exit(1);
}

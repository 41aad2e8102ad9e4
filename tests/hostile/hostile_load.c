/* The hole that compiled code gets through as it is loaded: code that has "@load:DEED" in it does
 * the deed, natively, and what came of it is why it cannot be loaded. Built for tests only
 * (--wrap=wasmtime_module_deserialize_file). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wasmtime.h>

wasmtime_error_t *__wrap_wasmtime_module_deserialize_file(wasm_engine_t *engine, const char *path,
                                                          wasmtime_module_t **module);
wasmtime_error_t *__real_wasmtime_module_deserialize_file(wasm_engine_t *engine, const char *path,
                                                          wasmtime_module_t **module);

/* What is in the code after "@load:"; empty: no deed. */
static void find_deed(const char *path, char deed[16]) {
    static const char mark[] = "@load:";
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    deed[0] = 0;
    if (fd < 0 || fstat(fd, &st) != 0) return;
    size_t size = (size_t)st.st_size;
    const char *code = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    (void)close(fd);
    if (code == MAP_FAILED) return;
    const char *at = memmem(code, size, mark, strlen(mark));
    if (at != NULL) (void)snprintf(deed, 16, "%.15s", at + strlen(mark));
    (void)munmap((void *)(uintptr_t)code, size);
}

wasmtime_error_t *__wrap_wasmtime_module_deserialize_file(wasm_engine_t *engine, const char *path,
                                                          wasmtime_module_t **module) {
    char deed[16], text[64];
    int result = -1;
    find_deed(path, deed);
    if (deed[0] == 0) return __real_wasmtime_module_deserialize_file(engine, path, module);
    errno = ENOSYS;
    if (strcmp(deed, "passwd") == 0) result = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    if (strcmp(deed, "status") == 0) result = open("self/status", O_RDONLY | O_CLOEXEC); /* /proc */
    if (strcmp(deed, "write") == 0) result = open("self/comm", O_WRONLY | O_CLOEXEC);
    if (strcmp(deed, "socket") == 0) result = socket(AF_INET, SOCK_STREAM, 0);
    (void)snprintf(text, sizeof text, "%s: %s", deed, result < 0 ? strerrorname_np(errno) : "done");
    return wasmtime_error_new(text);
}

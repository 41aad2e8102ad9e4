/* Promise: whatever a configuration file holds, it is taken or refused with a line that says why;
 * what was taken can be printed, and what is printed is taken again. */
#include "fuzz.h"

#include "config/config.h"

#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct config config;
    struct error err = {0};
    char path[64];
    int fd = memfd_create("config", MFD_CLOEXEC);
    PROMISE(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (config_load(&config, path, &err) == 0) {
        char *text = NULL;
        size_t length = 0;
        FILE *out = open_memstream(&text, &length);
        PROMISE(config_print(&config, out) == 0 && fclose(out) == 0 && length > 0);
        config_fini(&config);
        PROMISE(ftruncate(fd, 0) == 0 && pwrite(fd, text, length, 0) == (ssize_t)length);
        PROMISE(config_load(&config, path, &err) == 0);
        config_fini(&config);
        free(text);
    } else {
        PROMISE(err.text[0] != 0);
    }
    (void)close(fd);
    return 0;
}

/* Promise: no bytes that the cache did not put there itself are ever loaded, under any name; what
 * it put there is, unless a bit of it has changed. */
#include "fuzz.h"

#include "sandbox/cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static struct cache cache;

static void start(void) {
    static char dir[] = "/tmp/polyagent-fuzz-XXXXXX";
    struct error err = {0};
    if (cache.dir_fd > 0) return;
    PROMISE(mkdtemp(dir) != NULL && setenv("POLYAGENT_STATE_DIR", dir, 1) == 0);
    PROMISE(cache_open(&cache, dir, &err) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char name[CACHE_NAME_BYTES], temp[CACHE_NAME_BYTES];
    const uint8_t digest[32] = {1};
    struct error err = {0};
    start();
    cache_entry_name(&cache, digest, "fuzz", name);
    /* As they are. */
    int fd = openat(cache.dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
    PROMISE(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    (void)close(fd);
    PROMISE(cache_load(&cache, name) < 0);
    PROMISE(faccessat(cache.dir_fd, name, F_OK, 0) != 0); /* gone, not tried again */
    if (size < 3) return 0;
    /* A proper entry, and one with a change that the input chooses. */
    fd = cache_begin(&cache, temp);
    PROMISE(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    PROMISE(cache_commit(&cache, fd, temp, name, CACHE_MODULE, &err) == 0);
    (void)close(fd);
    fd = cache_load(&cache, name);
    PROMISE(fd >= 0);
    struct stat st;
    PROMISE(fstat(fd, &st) == 0 && (size_t)st.st_size > size);
    (void)close(fd);
    PROMISE(fchmodat(cache.dir_fd, name, 0644, 0) == 0);
    fd = openat(cache.dir_fd, name, O_RDWR | O_CLOEXEC);
    uint8_t byte;
    off_t at =
        (off_t)((data[0] | data[1] << 8) % (st.st_size - 16)); /* the last ones are reserved */
    PROMISE(pread(fd, &byte, 1, at) == 1);
    byte ^= data[2] != 0 ? data[2] : 1;
    PROMISE(pwrite(fd, &byte, 1, at) == 1 && fchmod(fd, 0444) == 0);
    (void)close(fd);
    PROMISE(cache_load(&cache, name) < 0);
    return 0;
}

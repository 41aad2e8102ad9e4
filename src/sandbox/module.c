#include "sandbox/module.h"

#include "base/buffer.h"
#include "base/cleanup.h"

#include <fcntl.h>
#include <gcrypt.h>
#include <stdio.h>
#include <sys/mman.h>

static int check_size(uint64_t size, uint64_t max_bytes, struct error *err) {
    if (size > max_bytes) {
        return error_set(
            err, PA_MODULE_TOO_LARGE,
            "WASM module too large: %llu bytes, allowed are %llu; raise max_module_bytes",
            (unsigned long long)size, (unsigned long long)max_bytes);
    }
    if (size == 0) return error_set(err, PA_INVALID_MODULE, "Invalid WASM module: it is empty");
    return 0;
}

/* By libgcrypt, which libsystemd brings along: with the processor's SHA instructions it takes 12 ms
 * for 20 MB, libsodium 60. */
static int hash_image(int fd, size_t size, uint8_t digest[32], struct error *err) {
    if (gcry_control(GCRYCTL_INITIALIZATION_FINISHED_P) == 0) {
        if (gcry_check_version(NULL) == NULL)
            return error_set(err, PA_INTERNAL, "libgcrypt does not start");
        (void)gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
    }
    void *data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) return error_set_errno(err, PA_INTERNAL, errno, "map the module");
    gcry_md_hash_buffer(GCRY_MD_SHA256, digest, data, size);
    (void)munmap(data, size);
    return 0;
}

/* Seals `fd`, a memfd of `size` bytes, and hashes what is in it from now on. */
static int seal_image(int fd, size_t size, uint8_t digest[32], struct error *err) {
    if (fcntl(fd, F_ADD_SEALS, MODULE_SEALS) != 0) {
        return error_set_errno(err, PA_INTERNAL, errno, "seal the module");
    }
    return hash_image(fd, size, digest, err);
}

static int new_image(struct error *err) {
    int fd = memfd_create("module", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) error_set_errno(err, PA_INTERNAL, errno, "copy the module");
    return fd;
}

/* Copies the first `size` bytes of a file; it may be shrinking meanwhile. */
static int copy_file(int from, int to, size_t size, struct error *err) {
    static const size_t chunk_bytes = 1 << 20;
    _cleanup_(freep) uint8_t *chunk = malloc(chunk_bytes);
    if (chunk == NULL) return error_set(err, PA_INTERNAL, "copy the module: out of memory");
    for (size_t done = 0; done < size;) {
        size_t part = size - done < chunk_bytes ? size - done : chunk_bytes;
        ssize_t got = pread(from, chunk, part, (off_t)done);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return error_set_errno(err, PA_DENIED, errno, "read the module");
        if (got == 0) return error_set(err, PA_INVALID_MODULE, "Invalid WASM module: it shrank");
        int result = fd_write_all(to, chunk, (size_t)got);
        if (result != 0) return error_set_errno(err, PA_INTERNAL, -result, "copy the module");
        done += (size_t)got;
    }
    return 0;
}

/* Replaces the module's file by an image of it. */
static int take_image(struct pa_module *module, size_t size, uint8_t digest[32],
                      struct error *err) {
    _cleanup_(fd_closep) int fd = new_image(err);
    if (fd < 0 || copy_file(module->fd, fd, size, err) != 0 ||
        seal_image(fd, size, digest, err) != 0) {
        return -1;
    }
    (void)close(module->fd);
    module->fd = steal_fd(&fd);
    module->is_image = true;
    return 0;
}

int module_open_fd(struct pa_module *module, struct cache *cache, int fd, uint64_t max_bytes,
                   struct error *err) {
    struct stat st;
    *module = (struct pa_module){.fd = -1};
    if (fstat(fd, &st) != 0) return error_set_errno(err, PA_DENIED, errno, "look at the module");
    if (!S_ISREG(st.st_mode)) return error_set(err, PA_INVALID_ARGUMENT, "not a regular file");
    if (check_size((uint64_t)st.st_size, max_bytes, err) != 0) return -1;
    module->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (module->fd < 0) return error_set_errno(err, PA_INTERNAL, errno, "keep the module");
    int seals = fcntl(fd, F_GET_SEALS); /* -1: it is no memfd */
    if (seals >= 0 && (seals & MODULE_SEALS) == MODULE_SEALS) {
        module->is_image = true;
        if (hash_image(module->fd, (size_t)st.st_size, module->digest, err) == 0) return 0;
        module_fini(module);
        return -1;
    }
    if (cache_find_digest(cache, &st, module->digest)) return 0;
    if (take_image(module, (size_t)st.st_size, module->digest, err) == 0) {
        cache_remember_digest(cache, &st, module->digest);
        return 0;
    }
    module_fini(module);
    return -1;
}

int module_open_file(struct pa_module *module, struct cache *cache, const char *path,
                     uint64_t max_bytes, struct error *err) {
    _cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        enum pa_status status = errno == ENOENT || errno == ENOTDIR ? PA_NOT_FOUND : PA_DENIED;
        return error_set_errno(err, status, errno, "cannot read %s", path);
    }
    if (module_open_fd(module, cache, fd, max_bytes, err) == 0) return 0;
    if (err->code == PA_INVALID_ARGUMENT || err->code == PA_DENIED) {
        return error_prefix(err, "cannot read %s", path);
    }
    return err->code == PA_MODULE_TOO_LARGE ? error_prefix(err, "%s", path) : -1;
}

int module_copy(struct pa_module *module, const void *data, size_t size, uint64_t max_bytes,
                struct error *err) {
    *module = (struct pa_module){.fd = -1};
    if (check_size(size, max_bytes, err) != 0) return -1;
    _cleanup_(fd_closep) int fd = new_image(err);
    if (fd < 0) return -1;
    int result = fd_write_all(fd, data, size);
    if (result != 0) return error_set_errno(err, PA_INTERNAL, -result, "copy the module");
    if (seal_image(fd, size, module->digest, err) != 0) return -1;
    module->fd = steal_fd(&fd);
    module->is_image = true;
    return 0;
}

void module_fini(struct pa_module *module) {
    for (int i = 0; i < ENGINE_VARIANTS; i++) {
        if (module->code[i] != NULL) wasmtime_module_delete(module->code[i]);
    }
    fd_closep(&module->fd);
    *module = (struct pa_module){.fd = -1};
}

int module_image(struct pa_module *module, struct error *err) {
    struct stat st;
    uint8_t digest[32];
    if (module->is_image) return module->fd;
    if (fstat(module->fd, &st) != 0 || st.st_size <= 0) {
        error_set(err, PA_INVALID_MODULE, "Invalid WASM module: the file is gone");
        return -1;
    }
    if (take_image(module, (size_t)st.st_size, digest, err) != 0) return -1;
    if (memcmp(digest, module->digest, sizeof digest) == 0) return module->fd;
    error_set(err, PA_INVALID_MODULE, "Invalid WASM module: the file changed; try again");
    return -1;
}

void module_code_name(const struct cache *cache, const uint8_t digest[32], unsigned variant,
                      char name[CACHE_NAME_BYTES]) {
    char settings[256];
    engine_describe(variant, settings, sizeof settings);
    cache_entry_name(cache, digest, settings, name);
}

/* Compiles into the cache, or (`cached` false) into a memfd. A descriptor of the code. */
static int compile_to(bool cached, struct pa_module *module, unsigned variant, struct cache *cache,
                      const char *helper, const struct compiler_bounds *bounds, const char *name,
                      struct error *err) {
    char temp[CACHE_NAME_BYTES];
    int image = module_image(module, err);
    if (image < 0) return -1;
    _cleanup_(fd_closep) int fd =
        cached ? cache_begin(cache, temp) : memfd_create("code", MFD_CLOEXEC);
    if (fd < 0) {
        error_set_errno(err, PA_INTERNAL, errno, "make a file for compiled code in %s",
                        cached ? cache->path : "memory");
        return -1;
    }
    if (compiler_run(helper, image, variant, fd, bounds, err) != 0) {
        if (cached) cache_abort(cache, temp);
        return -1;
    }
    if (cached && cache_commit(cache, fd, temp, name, CACHE_MODULE, err) != 0) return -1;
    return steal_fd(&fd);
}

/* One process at a time; a cache that has no room, or may not be written to, costs speed only. */
static int compile(struct pa_module *module, unsigned variant, struct cache *cache,
                   const char *helper, const struct compiler_bounds *bounds, const char *name,
                   struct error *err) {
    bool cached = cache->dir_fd >= 0;
    (void)cache_lock(cache, name, true);
    int fd = cache_load(cache, name); /* another one may have been at it */
    if (fd < 0) fd = compile_to(cached, module, variant, cache, helper, bounds, name, err);
    if (fd < 0 && cached && err->code == PA_INTERNAL) {
        *err = (struct error){0};
        fd = compile_to(false, module, variant, cache, helper, bounds, name, err);
    }
    cache_unlock(cache, name);
    return fd;
}

const wasmtime_module_t *module_code(struct pa_module *module, struct engine *engine,
                                     struct cache *cache, const char *helper,
                                     const struct compiler_bounds *bounds, bool *hit,
                                     struct error *err) {
    wasmtime_module_t **code = &module->code[engine->variant];
    char name[CACHE_NAME_BYTES], path[32];
    *hit = true;
    if (*code != NULL) return *code;
    module_code_name(cache, module->digest, engine->variant, name);
    _cleanup_(fd_closep) int fd = cache_load(cache, name);
    *hit = fd >= 0;
    if (fd < 0) fd = compile(module, engine->variant, cache, helper, bounds, name, err);
    if (fd < 0) return NULL;
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    *code = module_load(engine, path, err);
    return *code;
}

/* Interpreters that clients hand over: a file each, by its digest, for as long as a session needs
 * it. */
#include "server/sessions_internal.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "tools/base64.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FOLDER SESSION_INTERPRETERS
enum { DIGEST_TEXT = 2 * crypto_hash_sha256_BYTES };

static void module_path(const char *digest, char out[SESSION_PATH_BYTES]) {
    (void)snprintf(out, SESSION_PATH_BYTES, FOLDER "/%s", digest);
}

static struct module *find(struct sessions *all, const char *digest) {
    struct module *module;
    TAILQ_FOREACH(module, &all->modules, link) {
        if (strcmp(module->digest, digest) == 0) return module;
    }
    return NULL;
}

/* Beside, and moved in: whoever finds it finds it whole. */
static int write_file(const struct sessions *all, const struct buffer *bytes, const char *digest,
                      struct error *err) {
    char path[SESSION_PATH_BYTES], partial[SESSION_PATH_BYTES + 40], suffix[17];
    uint8_t random[8];
    module_path(digest, path);
    if (faccessat(all->dir_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0) return 0;
    randombytes_buf(random, sizeof random);
    (void)sodium_bin2hex(suffix, sizeof suffix, random, sizeof random);
    (void)snprintf(partial, sizeof partial, "%s.%s", path, suffix);
    _cleanup_(fd_closep) int fd =
        openat(all->dir_fd, partial, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int result = fd < 0 ? -errno : fd_write_all(fd, bytes->data, bytes->size);
    if (result == 0 && !all->is_temporary && fsync(fd) != 0) result = -errno;
    if (result == 0 && renameat(all->dir_fd, partial, all->dir_fd, path) != 0) result = -errno;
    if (result == 0) return 0;
    if (fd >= 0) (void)unlinkat(all->dir_fd, partial, 0);
    return error_set_errno(err, PA_INTERNAL, -result, "store the interpreter");
}

int module_store(const struct sessions *all, const char *encoded, struct module *out,
                 struct error *err) {
    size_t length = strlen(encoded), wrong;
    uint8_t digest[crypto_hash_sha256_BYTES];
    struct buffer bytes = {.data = malloc(length / 4 * 3 + 3), .capacity = length / 4 * 3 + 3};
    if (bytes.data == NULL) return error_set(err, PA_INTERNAL, "an interpreter: out of memory");
    ptrdiff_t size = base64_decode(encoded, length, bytes.data, &wrong);
    int result = 0;
    if (size < 0) {
        result = error_set(err, PA_INVALID_ARGUMENT,
                           "interpreter_wasm_base64: not base64, at character %zu", wrong);
    } else {
        bytes.size = (size_t)size;
        (void)crypto_hash_sha256(digest, bytes.data, bytes.size);
        *out = (struct module){.bytes = bytes.size};
        (void)sodium_bin2hex(out->digest, sizeof out->digest, digest, sizeof digest);
        result = write_file(all, &bytes, out->digest, err);
    }
    buffer_fini(&bytes);
    return result;
}

struct module *module_ref(struct sessions *all, const struct module *stored) {
    struct module *module = find(all, stored->digest);
    if (module == NULL) {
        module = calloc(1, sizeof *module);
        if (module == NULL) return NULL;
        *module = *stored;
        module->references = 0;
        TAILQ_INSERT_TAIL(&all->modules, module, link);
    }
    module->references++;
    return module;
}

struct module *module_restore(struct sessions *all, const char *digest) {
    struct module stored = {.bytes = 0};
    char path[SESSION_PATH_BYTES];
    struct stat st;
    if (digest == NULL || strlen(digest) != DIGEST_TEXT ||
        strspn(digest, "0123456789abcdef") != DIGEST_TEXT)
        return NULL;
    module_path(digest, path);
    if (fstatat(all->dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
        return NULL;
    memcpy(stored.digest, digest, DIGEST_TEXT);
    stored.bytes = (uint64_t)st.st_size;
    return module_ref(all, &stored);
}

void module_unref(struct sessions *all, struct module *module) {
    char path[SESSION_PATH_BYTES];
    if (module == NULL || --module->references > 0) return;
    module_path(module->digest, path);
    sessions_discard(all, path, "");
    TAILQ_REMOVE(&all->modules, module, link);
    free(module);
}

int module_open(const struct sessions *all, const struct module *module) {
    char path[SESSION_PATH_BYTES];
    module_path(module->digest, path);
    return openat(all->dir_fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
}

void modules_tidy(struct sessions *all) {
    char path[SESSION_PATH_BYTES];
    struct dirent **entries = NULL;
    (void)mkdirat(all->dir_fd, FOLDER, 0700); /* what is not there is told when it is needed */
    int count = scandirat(all->dir_fd, FOLDER, &entries, NULL, NULL);
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        (void)snprintf(path, sizeof path, FOLDER "/%.200s", name);
        if (name[0] != '.' && find(all, name) == NULL) (void)unlinkat(all->dir_fd, path, 0);
        free(entries[i]);
    }
    free(entries);
}

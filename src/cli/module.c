/* `polyagent module`: the registry of named modules. */
#include "cli/cli.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "config/config.h"
#include "sandbox/engine.h"
#include "sandbox/module.h"
#include "tools/registry.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

static const char help[] =
    "usage: polyagent module list\n"
    "       polyagent module push NAME@VERSION FILE\n"
    "       polyagent module pull NAME[@VERSION] FILE\n"
    "       polyagent module inspect NAME[@VERSION]\n"
    "       polyagent module remove NAME@VERSION\n\n"
    "Modules that tools call by name. A version never changes; a name alone is its highest "
    "version.\n"
    "The registry is modules.registry of the configuration, else modules in "
    "$POLYAGENT_STATE_DIR.\n\n"
    "  list      names, sizes, digests\n"
    "  push      puts a .wasm or .wat file there, if it is a module that can run\n"
    "  pull      copies one to a file (- for stdout)\n"
    "  inspect   imports that it needs, and exports\n\n"
    "Examples:\n"
    "  polyagent module push hello@1.0 docs/assets/hello-wasi.wat\n"
    "  polyagent tool code_executor '{\"module\": \"hello\"}'\n";

/* The whole file. 0, or an exit code after an error message. */
static int read_all(int fd, struct buffer *bytes, const char *name) {
    int result = buffer_read_fd(bytes, fd, SIZE_MAX / 2);
    return result == 0 ? 0 : cli_fail("module: read %s: %s", name, strerror(-result));
}

static void show(void *context, const char *name, int fd) {
    struct buffer bytes = {0};
    unsigned char digest[crypto_hash_sha256_BYTES];
    char hex[2 * sizeof digest + 1];
    (void)context;
    if (read_all(fd, &bytes, name) == 0) {
        (void)crypto_hash_sha256(digest, bytes.data, bytes.size);
        (void)sodium_bin2hex(hex, sizeof hex, digest, sizeof digest);
        (void)printf("%-32s %10.1f KiB  sha256:%s\n", name, (double)bytes.size / 1024, hex);
    }
    buffer_fini(&bytes);
}

static const char *kind_name(const wasm_externtype_t *type) {
    static const char *const names[] = {"function", "global", "table", "memory"};
    unsigned kind = wasm_externtype_kind(type);
    return kind < sizeof names / sizeof *names ? names[kind] : "other";
}

/* A module's code, compiled ahead by the way that runs take: in a cage, into the cache. */
struct loaded {
    struct cache cache;
    struct engine *engine;
    struct pa_module module;
    const wasmtime_module_t *code;
};

static void unload(struct loaded *l) {
    if (l->module.fd >= 0) module_fini(&l->module);
    engine_free(l->engine);
    cache_close(&l->cache);
}

/* 0, or an exit code after an error message; unload() follows either. */
static int load(struct loaded *l, const char *what, int fd) {
    struct config config;
    struct error err = {0};
    char helper[PATH_MAX];
    bool hit;
    *l = (struct loaded){.cache = {.dir_fd = -1}, .module = {.fd = -1}};
    if (config_load(&config, NULL, &err) != 0) return cli_fail("%s", err.text);
    uint64_t most = config.limits.max_module_bytes;
    const struct compiler_bounds bounds = {0};
    config_fini(&config);
    if (supervisor_find_helper(NULL, helper, sizeof helper, &err) == 0 &&
        cache_open(&l->cache, NULL, &err) == 0 &&
        (l->engine = engine_new(ENGINE_PLAIN, &err)) != NULL) {
        int opened = module_open_fd(&l->module, &l->cache, fd, most, &err);
        if (opened != 0)
            l->module.fd = -1;
        else
            l->code = module_code(&l->module, l->engine, &l->cache, helper, &bounds, &hit, &err);
    }
    if (l->code != NULL) return 0;
    (void)cli_fail("module %s: %s", what, err.text);
    bool refused = err.code == PA_INVALID_MODULE || err.code == PA_MODULE_TOO_LARGE;
    return refused ? CLI_EXIT_REFUSED : CLI_EXIT_FAILURE;
}

/* A name of the module's, in a new line that begins with `what` and `kind`. */
static void print_names(const char *what, const char *kind, const wasm_name_t *from,
                        const wasm_name_t *name) {
    char *first = from != NULL ? text_shown(from->data, from->size, TEXT_ONE_LINE) : NULL;
    char *second = text_shown(name->data, name->size, TEXT_ONE_LINE);
    (void)printf("%s %s %s%s%s\n", what, kind, first != NULL ? first : "", from != NULL ? "." : "",
                 second != NULL ? second : "");
    free(first);
    free(second);
}

static int inspect(const char *name, int fd) {
    struct loaded loaded;
    wasm_importtype_vec_t imports;
    wasm_exporttype_vec_t exports;
    int code = load(&loaded, name, fd);
    if (code == 0) {
        wasmtime_module_imports(loaded.code, &imports);
        wasmtime_module_exports(loaded.code, &exports);
        (void)printf("%s\n", name);
        for (size_t i = 0; i < imports.size; i++) {
            const wasm_name_t *from = wasm_importtype_module(imports.data[i]);
            const wasm_name_t *what = wasm_importtype_name(imports.data[i]);
            print_names("import", kind_name(wasm_importtype_type(imports.data[i])), from, what);
        }
        for (size_t i = 0; i < exports.size; i++) {
            const wasm_name_t *what = wasm_exporttype_name(exports.data[i]);
            print_names("export", kind_name(wasm_exporttype_type(exports.data[i])), NULL, what);
        }
        wasm_importtype_vec_delete(&imports);
        wasm_exporttype_vec_delete(&exports);
    }
    unload(&loaded);
    return code;
}

static int pull(int fd, const char *file) {
    struct buffer bytes = {0};
    _cleanup_(fd_closep) int out = strcmp(file, "-") == 0
                                       ? fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3)
                                       : open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    int result = out >= 0 ? buffer_read_fd(&bytes, fd, SIZE_MAX / 2) : -errno;
    if (result == 0) result = fd_write_all(out, bytes.data, bytes.size);
    buffer_fini(&bytes);
    return result == 0 ? 0 : cli_fail("module: write %s: %s", file, strerror(-result));
}

static int push(const char *dir, const char *name, const char *file) {
    struct loaded loaded;
    struct error err = {0};
    _cleanup_(fd_closep) int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return cli_fail("module: %s: %s", file, strerror(errno));
    int code = load(&loaded, file, fd);
    unload(&loaded);
    if (code != 0) return code;
    if (lseek(fd, 0, SEEK_SET) != 0) return cli_fail("module: %s: %s", file, strerror(errno));
    return registry_push(dir, name, fd, &err) == 0 ? 0 : cli_fail("%s", err.text);
}

/* A verb with a name that is there already. */
static int use(const char *verb, const char *dir, const char *name, const char *file) {
    struct error err = {0};
    char found[REGISTRY_NAME_BYTES];
    if (strcmp(verb, "remove") == 0) {
        return registry_remove(dir, name, &err) == 0 ? 0 : cli_fail("%s", err.text);
    }
    _cleanup_(fd_closep) int fd = registry_open(dir, name, found, &err);
    if (fd < 0) return cli_fail("%s", err.text);
    return strcmp(verb, "pull") == 0 ? pull(fd, file) : inspect(found, fd);
}

int cli_module_main(int argc, char **argv) {
    static const struct {
        const char *name;
        int words;
    } verbs[] = {{"list", 2}, {"push", 4}, {"pull", 4}, {"inspect", 3}, {"remove", 3}};
    struct config config;
    struct error err = {0};
    char dir[PATH_MAX];
    const char *verb = argc > 1 ? argv[1] : "";
    bool known = false;
    if (strcmp(verb, "--help") == 0 || strcmp(verb, "-h") == 0) {
        (void)fputs(help, stdout);
        return 0;
    }
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        known = known || (strcmp(verbs[i].name, verb) == 0 && verbs[i].words == argc);
    if (!known) return cli_fail("module: what is wanted? see polyagent module --help");
    if (config_load(&config, NULL, &err) != 0) return cli_fail("module: %s", err.text);
    int result = registry_path(config.registry, dir, sizeof dir, &err);
    config_fini(&config);
    if (result != 0) return cli_fail("%s", err.text);
    if (strcmp(verb, "list") == 0)
        return registry_walk(dir, show, NULL, &err) == 0 ? 0 : cli_fail("%s", err.text);
    if (strcmp(verb, "push") == 0) return push(dir, argv[2], argv[3]);
    return use(verb, dir, argv[2], argc > 3 ? argv[3] : "");
}

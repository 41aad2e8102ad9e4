#include "tools/module_file.h"

#include "base/cleanup.h"
#include "base/opener.h"
#include "tools/registry.h"
#include "tools/tools.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* A file of the directory `root`. -1 with errno; EISDIR for what is no regular file, EACCES where
 * there is no such directory. */
static int open_in(const char *root, const char *path) {
    const struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
                                 .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    struct stat st;
    _cleanup_(fd_closep) int dir = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) {
        errno = EACCES;
        return -1;
    }
    _cleanup_(fd_closep) int fd = (int)syscall(SYS_openat2, dir, path, &how, sizeof how);
    if (fd < 0 || fstat(fd, &st) != 0) return -1;
    if (S_ISREG(st.st_mode)) return steal_fd(&fd);
    errno = EISDIR;
    return -1;
}

int module_file_open(const struct tool_rules *rules, const char *path, struct error *err) {
    if (opener_is_set()) return opener_ask(OPENER_MODULE, path, err);
    for (const char *const *root = rules->module_paths; *root != NULL; root++) {
        size_t length = strlen(*root);
        if (strncmp(path, *root, length) != 0 || path[length] != '/') continue;
        int fd = open_in(*root, path + length + strspn(path + length, "/"));
        if (fd >= 0) return fd;
        if (errno == ENOENT || errno == ENOTDIR)
            return error_set(err, PA_NOT_FOUND, "%.200s does not exist", path);
        if (errno != EACCES) break; /* a link out of it, or a folder */
    }
    return error_set(err, PA_DENIED, "%.200s is not beneath a directory for modules", path);
}

int module_file_interpreter(const struct tool_rules *rules, const char *name, struct error *err) {
    char file[128];
    if (opener_is_set()) return opener_ask(OPENER_INTERPRETER, name, err);
    if (strchr(name, '/') != NULL || strlen(name) > sizeof file - 8)
        return error_set(err, PA_INVALID_ARGUMENT,
                         "interpreter: '%.100s' is no name; give a file as interpreter_wasm_path",
                         name);
    (void)snprintf(file, sizeof file, "%s.wasm", name);
    for (const char *const *root = rules->module_paths; root != NULL && *root != NULL; root++) {
        int fd = open_in(*root, file);
        if (fd >= 0) return fd;
    }
    int fd = registry_open(rules->registry, name, NULL, err);
    if (fd >= 0) return fd;
    return error_set(err, PA_NOT_FOUND, "interpreter: there is none of the name %.100s", name);
}

int module_file_named(const struct tool_rules *rules, const char *name, struct error *err) {
    if (opener_is_set()) return opener_ask(OPENER_REGISTRY, name, err);
    return registry_open(rules->registry, name, NULL, err);
}

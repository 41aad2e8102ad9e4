#include "supervisor/supervisor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A program of ours: $`variable`, beside this one, or installed. */
static int find(const char *variable, const char *name, const char *installed, char *out,
                size_t size, struct error *err) {
    const char *found = getenv(variable);
    size_t name_bytes = strlen(name) + 1;
    if (found == NULL) {
        ssize_t length = readlink("/proc/self/exe", out, size - name_bytes);
        out[length > 0 ? length : 0] = 0;
        char *slash = strrchr(out, '/');
        if (slash != NULL) {
            memcpy(slash + 1, name, name_bytes);
            if (access(out, X_OK) == 0) return 0;
        }
        found = installed;
    }
    size_t length = strlen(found);
    if (length == 0 || length >= size) {
        return error_set(err, PA_INVALID_ARGUMENT, "%s: its name is empty or too long", name);
    }
    memcpy(out, found, length + 1);
    return 0;
}

int supervisor_find_helper(const char *given, char *out, size_t size, struct error *err) {
    if (given == NULL) {
        return find("POLYAGENT_HELPER", "polyagent-worker", PA_INSTALLED_HELPER, out, size, err);
    }
    int length = snprintf(out, size, "%s", given);
    if (length > 0 && (size_t)length < size) return 0;
    return error_set(err, PA_INVALID_ARGUMENT, "helper: its name is empty or too long");
}

int supervisor_find_net(char *out, size_t size, struct error *err) {
    return find("POLYAGENT_NET", "polyagent-net", PA_INSTALLED_NET, out, size, err);
}

int supervisor_find_repl(char *out, size_t size, struct error *err) {
    return find("POLYAGENT_REPL", "polyagent-repl", PA_INSTALLED_REPL, out, size, err);
}

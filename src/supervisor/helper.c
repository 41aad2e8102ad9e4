#include "supervisor/supervisor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME "polyagent-worker"

int supervisor_find_helper(const char *given, char *out, size_t size, struct error *err) {
    const char *helper = given != NULL ? given : getenv("POLYAGENT_HELPER");
    if (helper == NULL) { /* beside the program, or installed */
        ssize_t length = readlink("/proc/self/exe", out, size - sizeof NAME);
        out[length > 0 ? length : 0] = 0;
        char *slash = strrchr(out, '/');
        if (slash != NULL) {
            (void)strcpy(slash + 1, NAME);
            if (access(out, X_OK) == 0) return 0;
        }
        helper = PA_INSTALLED_HELPER;
    }
    size_t length = strlen(helper);
    if (length == 0 || length >= size) {
        return error_set(err, PA_INVALID_ARGUMENT, "helper: its name is empty or too long");
    }
    memcpy(out, helper, length + 1);
    return 0;
}

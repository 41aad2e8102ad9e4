#include "config/state.h"

#include <stdio.h>
#include <stdlib.h>

int state_path(const char *given, const char *name, const char *cure, char *out, size_t size,
               struct error *err) {
    const char *own = getenv("POLYAGENT_STATE_DIR"), *state = getenv("XDG_STATE_HOME"),
               *home = getenv("HOME");
    int length = -1;
    if (given != NULL && given[0] != 0) {
        length = snprintf(out, size, "%s", given);
    } else if (own != NULL) {
        length = snprintf(out, size, "%s/%s", own, name);
    } else if (state != NULL && state[0] == '/') {
        length = snprintf(out, size, "%s/polyagent/%s", state, name);
    } else if (home != NULL) {
        length = snprintf(out, size, "%s/.local/state/polyagent/%s", home, name);
    }
    if (length > 0 && (size_t)length < size) return 0;
    return error_set(err, PA_INVALID_ARGUMENT, "no place for %s: set %s", name, cure);
}

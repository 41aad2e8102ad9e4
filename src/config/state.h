/* Where what lasts is kept: modules, sessions, interpreters of the user's own. */
#ifndef PA_CONFIG_STATE_H
#define PA_CONFIG_STATE_H

#include "base/error.h"

#include <stddef.h>

/* `given` (NULL or "": nothing), or `name` in $POLYAGENT_STATE_DIR, or in the user's state
 * directory (XDG Base Directory Specification). -1 with `err` if there is no place; `cure` says
 * what to set. */
int state_path(const char *given, const char *name, const char *cure, char *out, size_t size,
               struct error *err);

#endif

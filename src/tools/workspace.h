/* A run's own folder, which it sees as /workspace: with the files of a request in it, gone after
 * the run. */
#ifndef PA_TOOLS_WORKSPACE_H
#define PA_TOOLS_WORKSPACE_H

#include "base/error.h"

#include <jansson.h>

#define WORKSPACE_GUEST_PATH "/workspace"

/* Makes it, in $TMPDIR or /tmp, with `files`: {PATH: TEXT or {"base64": TEXT}}, paths beneath
 * /workspace. The path is the caller's, for workspace_remove(). NULL with `err`: nothing is left.
 */
char *workspace_make(const json_t *files, struct error *err);

/* Removes it with all that is in it, and frees the path. NULL is fine. */
void workspace_remove(char *path);

#endif

/* Named modules: a directory of files NAME@VERSION.wasm. */
#ifndef PA_TOOLS_REGISTRY_H
#define PA_TOOLS_REGISTRY_H

#include "base/error.h"

#include <stddef.h>

enum { REGISTRY_NAME_BYTES = 128 };

/* `given`, or where that is empty $POLYAGENT_STATE_DIR/modules, or the user's own place. -1 with
 * `err` if there is none. */
int registry_path(const char *given, char *out, size_t size, struct error *err);

/* Opens NAME@VERSION, or of NAME the highest version (as strverscmp(3) sorts), and tells which
 * (`found`, may be NULL). -1 with `err`: PA_NOT_FOUND, PA_INVALID_ARGUMENT for what is no name. */
int registry_open(const char *dir, const char *name, char found[REGISTRY_NAME_BYTES],
                  struct error *err);

/* Puts a copy of `fd` there, in one step; a version that is there already is not replaced
 * (PA_INVALID_ARGUMENT). Makes the directory. */
int registry_push(const char *dir, const char *name, int fd, struct error *err);
int registry_remove(const char *dir, const char *name, struct error *err);

/* Calls `visit` for each NAME@VERSION in order. A directory that is not there is empty. */
int registry_walk(const char *dir, void (*visit)(void *context, const char *name, int fd),
                  void *context, struct error *err);

#endif

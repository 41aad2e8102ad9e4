/* Places to listen at, as the configuration names them. */
#ifndef PA_CLI_LISTEN_H
#define PA_CLI_LISTEN_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

/* A listening socket at ADDR:PORT or [ADDR]:PORT (0: any free one; `actual` tells). Other addresses
 * than loopback only if `remote`. -1 with `err`, whose text begins with `key`. */
int listen_at(const char *key, const char *text, bool remote, char *actual, size_t size,
              struct error *err);

#endif

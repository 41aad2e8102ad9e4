/* Files that requests may name as modules: beneath wasi.module_paths, or in the registry. In a
 * process that may open none itself, whoever opens files for it does so by the same rules. */
#ifndef PA_TOOLS_MODULE_FILE_H
#define PA_TOOLS_MODULE_FILE_H

#include "base/error.h"

struct tool_rules;

/* Each: a descriptor of a regular file, or -1 with `err`: PA_NOT_FOUND, PA_DENIED for a place that
 * is not allowed (whether there is a file is not told then), PA_INVALID_ARGUMENT. */

/* By its path. */
int module_file_open(const struct tool_rules *rules, const char *path, struct error *err);
/* By an interpreter's name: NAME.wasm in a directory for modules, or one of the registry. */
int module_file_interpreter(const struct tool_rules *rules, const char *name, struct error *err);
/* By its name in the registry. */
int module_file_named(const struct tool_rules *rules, const char *name, struct error *err);

#endif

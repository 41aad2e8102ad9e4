/* Compiling a module that nobody trusts: in a process of its own, with limits, that can be killed.
 */
#ifndef PA_SANDBOX_COMPILER_H
#define PA_SANDBOX_COMPILER_H

#include "base/error.h"

#include <stdint.h>

#define COMPILER_ROLE "--role=compiler"

/* Runs `helper` (the polyagent program) as a compiler on `data` (wasm or wat), for an engine
 * variant; the native code is written to `out_fd`. Errors: PA_INVALID_MODULE with the engine's
 * reason. */
int compiler_run(const char *helper, const void *data, size_t size, unsigned variant, int out_fd,
                 uint64_t timeout_ms, struct error *err);

/* main() of that process. */
int compiler_main(int argc, char **argv);

#endif

/* Compiling a module that nobody trusts: in a process of its own, with limits, that can be killed.
 */
#ifndef PA_SANDBOX_COMPILER_H
#define PA_SANDBOX_COMPILER_H

#include "base/error.h"

#include <stdint.h>
#include <sys/types.h>

#define COMPILER_ROLE "--role=compiler"

enum { COMPILER_REPORT_BYTES = 900 };

/* A compiler at work. An event loop watches report_fd for reading and calls compiler_listen(). */
struct compiler {
    pid_t pid;
    int report_fd; /* owned; at its end, the compiler has ended */
    char text[COMPILER_REPORT_BYTES];
    size_t used;
    int is_innocent; /* after compiler_finish(): it could not begin, or somebody killed it */
};

/* Runs `helper` (polyagent-worker) on the module in `module_fd` (wasm or wat) for an engine
 * variant; native code is written to `out_fd`. Both stay the caller's, who may close them. */
int compiler_start(struct compiler *compiler, const char *helper, int module_fd, unsigned variant,
                   int out_fd, struct error *err);
/* Takes what it says. 1: there may be more; 0: it has ended. */
int compiler_listen(struct compiler *compiler);
/* Reaps it, killing it first if `late`. 0, or -1 with PA_INVALID_MODULE and the engine's reason. */
int compiler_finish(struct compiler *compiler, int late, uint64_t timeout_ms, struct error *err);

/* All of that, waiting for the end. */
int compiler_run(const char *helper, int module_fd, unsigned variant, int out_fd,
                 uint64_t timeout_ms, struct error *err);

/* main() of that process. `seal` cuts it off from all but its descriptors before it looks at the
 * module: 0 or a negative errno. */
int compiler_main(int argc, char **argv, int (*seal)(void));

#endif

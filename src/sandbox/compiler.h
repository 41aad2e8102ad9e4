/* Compiling a module that nobody trusts: in a process of its own, with limits, that can be killed.
 */
#ifndef PA_SANDBOX_COMPILER_H
#define PA_SANDBOX_COMPILER_H

#include "base/error.h"
#include "sandbox/engine.h"

#include <stdint.h>
#include <sys/types.h>

#define COMPILER_ROLE "--role=compiler"

enum { COMPILER_REPORT_BYTES = 900 };

/* How far compiling may go; 0: what a module of its size may take. Only the clock of the processor
 * tells a module that takes too much from a host that has no time for it. */
struct compiler_bounds {
    uint64_t cpu_ms; /* of all its threads together */
    uint64_t memory_bytes;
    uint64_t wall_ms; /* for hosts that never get to it */
};
/* Puts a number in the place of each 0. */
void compiler_bounds_for(struct compiler_bounds *bounds, uint64_t module_bytes);

/* What to make of a failure. */
enum compiler_fault {
    COMPILER_MODULE,   /* it is invalid */
    COMPILER_BOUND,    /* it needs more than it may have */
    COMPILER_HOST,     /* the host lacks something; later it may have it */
    COMPILER_INNOCENT, /* it could not begin, or somebody killed it: it may begin again at once */
};

/* A compiler at work. An event loop watches report_fd for reading and calls compiler_listen(). */
struct compiler {
    pid_t pid;
    int report_fd; /* owned; at its end, the compiler has ended */
    char text[COMPILER_REPORT_BYTES];
    size_t used;
    struct compiler_bounds bounds;
    uint64_t module_bytes;
    enum compiler_fault fault; /* after compiler_finish() failed */
    uint64_t cpu_ns;           /* after compiler_finish(): that it used */
};

/* In the place of an engine's variant: no native code is wanted, but the module that comes of a
 * program, and its text: a struct compiler_module, then both. */
enum { COMPILER_TO_MODULE = ENGINE_VARIANTS, COMPILER_MODULE_BYTES = 4 << 20 };
struct compiler_module {
    uint64_t wasm_bytes, text_bytes;
};

/* Runs `helper` (polyagent-worker) on the module in `module_fd` (wasm, wat, or Python by
 * compile/source.h) for an engine variant; native code is written to `out_fd`. Both stay the
 * caller's, who may close them. */
int compiler_start(struct compiler *compiler, const char *helper, int module_fd, unsigned variant,
                   int out_fd, const struct compiler_bounds *bounds, struct error *err);
/* Takes what it says. 1: there may be more; 0: it has ended. */
int compiler_listen(struct compiler *compiler);
/* Reaps it, killing it first if `late`: its wall time is over. 0, or -1 with what its fault makes
 * of it: PA_INVALID_MODULE and the engine's reason, or the bound; PA_INVALID_ARGUMENT: Python that
 * cannot be compiled, and where; PA_OVERLOADED, PA_INTERNAL. */
int compiler_finish(struct compiler *compiler, int late, struct error *err);

/* All of that, waiting for the end. */
int compiler_run(const char *helper, int module_fd, unsigned variant, int out_fd,
                 const struct compiler_bounds *bounds, struct error *err);

/* What only the process needs to have with it: Python's compiler. */
struct compiler_python {
    /* source_translate() */
    int (*translate)(const uint8_t *bytes, size_t size, uint8_t **wasm, size_t *wasm_size,
                     char *why, size_t why_bytes);
    /* compile_text() */
    char *(*text)(const uint8_t *wasm, size_t size);
};

/* main() of that process. `seal` cuts it off from all but its descriptors before it looks at the
 * module: 0 or a negative errno. */
int compiler_main(int argc, char **argv, int (*seal)(void), const struct compiler_python *python);

#endif

/* polyagent-worker: the program of the processes that a guest's module is compiled in, and run in.
 * Linked statically, apart from polyagent, so that forks copy a quarter of the mappings, nothing is
 * looked up in a worker, and no library that a worker does not need is in reach of a guest. */
#include "compile/compile.h"
#include "compile/source.h"
#include "sandbox/compiler.h"
#include "worker/seal.h"
#include "worker/zygote.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
/* It has no environment to say so; traps arrive as signals, which are the engine's. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) {
    return "handle_segv=0:handle_sigill=0:handle_sigfpe=0:allocator_may_return_null=1:"
           "detect_leaks=0";
}
#endif

#if !defined(__SANITIZE_ADDRESS__)
/* The C library's would send itself a signal, which the filters of workers forbid. */
_Noreturn void abort(void) {
    __builtin_trap();
}
#endif

/* Of the linker: where the program's code begins and ends. */
extern const char __executable_start, etext;

int main(int argc, char **argv) {
    if (argc >= 2 && strcmp(argv[1], COMPILER_ROLE) == 0) {
        static const struct compiler_python python = {source_translate, compile_text};
        return compiler_main(argc, argv, seal_compiler, &python);
    }
    if (argc >= 2 && strcmp(argv[1], ZYGOTE_ROLE) == 0) {
        return zygote_main(&__executable_start, &etext);
    }
    (void)fputs("polyagent-worker: started by polyagent, not by hand; see polyagent --help\n",
                stderr);
    return 125;
}

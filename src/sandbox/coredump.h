/* A trapped guest's linear memory and call stack as a WebAssembly core dump ("wasm coredump", tool
 * conventions of the WebAssembly project), for wasmgdb and the like. */
#ifndef PA_SANDBOX_COREDUMP_H
#define PA_SANDBOX_COREDUMP_H

#include "wasi/guest_memory.h"

#include <wasm.h>

/* `name` is the program's; `memory` may be NULL. 0 or a negative errno. */
int coredump_write(int fd, const char *name, const wasm_frame_vec_t *frames,
                   const struct guest_memory *memory);

#endif

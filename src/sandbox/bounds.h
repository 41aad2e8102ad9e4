/* What a module may have of anything, whatever its size: each function costs the engine's compiler
 * some kilobytes and microseconds, though it be empty, so that 4 MB of them would take 5 GB. */
#ifndef PA_SANDBOX_BOUNDS_H
#define PA_SANDBOX_BOUNDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Python with scipy and 50 more packages has 89,060 functions. */
enum { BOUNDS_MOST = 150000 };

/* False, and the reason in `why`: a section has more in it. Of bytes that are no module, only what
 * can be read is looked at: the engine tells what is wrong with them. */
bool bounds_check(const uint8_t *wasm, size_t size, char *why, size_t why_bytes);

#endif

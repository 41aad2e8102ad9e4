/* What programs say, on a terminal made fit for it (base/text.h). */
#ifndef PA_REPL_SAY_H
#define PA_REPL_SAY_H

#include <stdbool.h>
#include <stddef.h>

/* From now on as it is. */
void say_raw(void);

/* On stdout (stream 0) or stderr (1). `last`: this was all, for now; `size` may be 0. */
void say(int stream, const void *data, size_t size, bool last);

#endif

/* A tool call that is run by the supervisor, at its unix socket, while an event loop goes on. */
#ifndef PA_SERVER_REMOTE_H
#define PA_SERVER_REMOTE_H

#include "tools/tools.h"

#include <systemd/sd-event.h>

struct remote_run; /* one under way */

/* Called once from the loop, unless the run was cancelled. The result is an object as in spec
 * section 3, output included, which the callee takes over; NULL when memory is out. */
typedef void (*remote_done)(void *context, enum pa_status status, json_t *result);

/* Sends the call (which may be released afterwards) to the supervisor at `socket_path`. NULL with
 * `err`: PA_OVERLOADED when it has no time now. */
struct remote_run *remote_start(sd_event *event, const char *socket_path,
                                const struct tool_call *call, remote_done done, void *context,
                                struct error *err);

/* Hangs up: the supervisor ends the run. */
void remote_cancel(struct remote_run *run);

#endif

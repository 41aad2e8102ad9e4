/* A run's result as JSON: the names of the contract (spec section 3), the same in every interface.
 */
#ifndef PA_TOOLS_RESULT_H
#define PA_TOOLS_RESULT_H

#include "supervisor/socket.h"

#include <jansson.h>

/* Without its output; a new object, or NULL when memory runs out. */
json_t *result_json(const struct pa_result *result);

/* Adds what is in the files, stdout and stderr: as text, and where it is no UTF-8, with replacement
 * characters and once more in base64. -1 when memory runs out, or a file cannot be read. */
int result_add_outputs(json_t *result, const int fds[2]);

/* A supervisor's reply in the form of a result; it points into the reply, whose texts are ended. */
struct pa_result result_of_reply(struct socket_reply *reply);

#endif

/* A request's body as JSON, bounded in the number of its values, and quick with large texts: a
 * module of 20 MB is a text of 27 MB, which jansson reads character by character in 400 ms. */
#ifndef PA_SERVER_JSON_BODY_H
#define PA_SERVER_JSON_BODY_H

#include "base/buffer.h"
#include "base/error.h"

#include <jansson.h>

/* NULL with `err`. The body is emptied. */
json_t *json_body_parse(struct buffer *body, struct error *err);

#endif

/* An HTTP client in an sd-event loop (libcurl's multi interface): POSTs of JSON. */
#ifndef PA_SERVER_HTTP_CLIENT_H
#define PA_SERVER_HTTP_CLIENT_H

#include "base/error.h"

#include <jansson.h>
#include <stdint.h>
#include <systemd/sd-event.h>

struct http_client;
struct http_post; /* one under way */

struct http_client *http_client_new(sd_event *event, struct error *err);
void http_client_free(struct http_client *client);

/* Called once from the loop, unless cancelled: the status and the body as JSON (valid during the
 * call), or `failure` in words. */
typedef void (*http_post_done)(void *context, long status, json_t *body, const char *failure);

/* All is copied. `headers` ends with a NULL. NULL with `err`. */
struct http_post *http_client_post(struct http_client *client, const char *url,
                                   const char *const *headers, const json_t *body,
                                   uint64_t timeout_ms, http_post_done done, void *context,
                                   struct error *err);
void http_client_cancel(struct http_post *post);

#endif

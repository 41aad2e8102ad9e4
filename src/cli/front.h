/* The process in front of a supervisor: polyagent-net, with the listening sockets of HTTP and gRPC.
 * It is started again when it dies; the sockets stay open meanwhile. */
#ifndef PA_CLI_FRONT_H
#define PA_CLI_FRONT_H

#include "config/config.h"
#include "supervisor/supervisor.h"

struct front;

/* Listens as the configuration says, or at the sockets that systemd gives (named "http", "grpc"),
 * and starts the process. NULL with `err`. `supervisor` outlives it. */
struct front *front_start(sd_event *event, const struct config *config, const char *config_path,
                          const char *socket_path, const struct supervisor *supervisor,
                          struct error *err);
/* "ADDR:PORT"; "" if it is not served. */
const char *front_http(const struct front *front);
const char *front_grpc(const struct front *front);
/* Whether it has said that it serves. */
bool front_is_ready(const struct front *front);
void front_reload(struct front *front);
/* Asks it to drain and end; it is over when front_is_over(). */
void front_stop(struct front *front);
bool front_is_over(const struct front *front);
void front_free(struct front *front);

#endif

/* A supervisor with its unix socket, in this process, and Python warm: what polyagent serve is
 * beneath, and what polyagent mcp has of its own where no server is running. */
#ifndef PA_CLI_HOST_H
#define PA_CLI_HOST_H

#include "config/config.h"
#include "supervisor/socket.h"

struct host {
    struct cache cache;
    struct supervisor *supervisor;
    struct socket_server *server;
    sd_event *event; /* owned reference; the caller turns it */
    char helper[4096];
    bool warmed;
    char failure[512];
};

/* -1 with `err`: nothing to release. `config` outlives it. */
int host_start(struct host *host, const struct config *config, const char *socket_path,
               struct error *err);
/* Compiles all interpreters that are installed and are not compiled yet, while the loop goes on.
 * What cannot be is logged. */
void host_compile_ahead(struct host *host);

/* A server of this user that is running, at `path`; or where there is none, or it is to be `local`,
 * a host in this process (`own`), with its socket in `folder` (a template for mkdtemp(3)). */
int host_find(struct host *host, const struct config *config, bool local, char *folder,
              char path[SOCKET_PATH_BYTES], bool *own, struct error *err);
/* Stops one that host_find() made, and removes its folder. */
void host_leave(struct host *host, const char *folder);
/* Cancels what runs; each client is told. */
void host_stop(struct host *host);

#endif

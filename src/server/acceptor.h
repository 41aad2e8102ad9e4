/* Accepts connections for the libraries, which must not do so themselves: out of descriptors, they
 * would stop listening for good. */
#ifndef PA_SERVER_ACCEPTOR_H
#define PA_SERVER_ACCEPTOR_H

#include "base/error.h"

#include <sys/socket.h>
#include <systemd/sd-event.h>

struct acceptor {
    const char *component; /* for the log */
    int most_fd;           /* connections with higher numbers are too many */
    /* Takes over an accepted connection: close-on-exec, not blocking. */
    void (*take)(void *context, int fd, const struct sockaddr *address, socklen_t size);
    void *context;
    int listen_fd; /* owned; -1 */
    sd_event_source *io, *pause;
};

/* The first four fields are filled in. Takes over `listen_fd`, on errors too. */
int acceptor_start(struct acceptor *acceptor, sd_event *event, int listen_fd, struct error *err);
/* Listens no longer. For one that never started, it need only be zeroed, with listen_fd -1. */
void acceptor_stop(struct acceptor *acceptor);

#endif

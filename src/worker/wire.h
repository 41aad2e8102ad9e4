/* Messages between our processes: AF_UNIX SOCK_SEQPACKET, so that one send is one receive, and
 * descriptors that travel along. */
#ifndef PA_WORKER_WIRE_H
#define PA_WORKER_WIRE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

enum { WIRE_MAX_FDS = 96, WIRE_MAX_BYTES = 64 << 10 };

/* Sends the parts as one message. 0 or a negative errno; -EAGAIN when the other side does not read
 * and `wait` is 0. Never a SIGPIPE. */
int wire_send(int socket, const struct iovec *parts, size_t count, const int *fds, size_t fd_count,
              int wait);

/* Receives one message into `parts`; its descriptors, close-on-exec, go to `fds` (WIRE_MAX_FDS of
 * them fit) and are the caller's. The number of bytes; 0 at the end; -EMSGSIZE for a message that
 * does not fit, whose descriptors are closed; another negative errno. */
ssize_t wire_receive(int socket, const struct iovec *parts, size_t count, int *fds,
                     size_t *fd_count, int wait);

void wire_close_fds(int *fds, size_t count);

/* A connected pair, close-on-exec. 0 or a negative errno. */
int wire_pair(int pair[2]);

#endif

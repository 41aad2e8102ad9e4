/* Who opens files for the front. The front parses what strangers send, and is sealed: it opens
 * nothing of the host. The broker is a process that it forks before that: of the supervisor's user,
 * it opens what the configuration that it has read itself allows, and nothing a front asks for
 * changes what that is:
 *
 *   a file or folder    that the configuration or a manifest names, by just that path
 *   a module            beneath wasi.module_paths; an interpreter there, or of the registry; by
 * name the supervisor      a connection to its socket the configuration   read again, as at SIGHUP
 *
 * A request has a fixed size, an answer too; a descriptor comes along with it. The broker ends with
 * the front, whose folder for runs it removes. */
#ifndef PA_NET_BROKER_H
#define PA_NET_BROKER_H

#include "config/config.h"

#include <sys/types.h>

struct broker_job {
    const char *config_path; /* NULL: none */
    const char *socket_path; /* of the supervisor */
    const char *runs;        /* removed at the end */
};

/* Forks the broker, with these of a server's isolation layers, and has base/opener.h ask it. The
 * process has one thread. Its socket, which ends with the broker, or -1 with `err`; `pid` is to be
 * waited for at the end. */
int broker_start(const struct broker_job *job, uint32_t layers, pid_t *pid, struct error *err);

/* What the broker does, at its end of the socket, until the other one is closed. */
void broker_serve(const struct broker_job *job, int socket);

#endif

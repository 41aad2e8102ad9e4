/* A supervisor at a unix socket, and how to call it. SOCK_SEQPACKET: the client sends a packet with
 * the module, its own stdout and stderr and all else that the job needs as descriptors, and gets
 * one reply. Hanging up cancels the job. Both sides deal only with processes of their own user, or
 * root's. */
#ifndef PA_SUPERVISOR_SOCKET_H
#define PA_SUPERVISOR_SOCKET_H

#include "supervisor/supervisor.h"

struct socket_reply {
    struct run_report report; /* whose texts need not have an end: result_of_reply() sees to that */
    uint32_t layers;
    bool cache_hit;
    uint64_t submitted_ns;
    uint64_t dispatched_ns;
    uint64_t node; /* of supervisor_result */
    uint8_t module_sha256[32];
};

enum { SOCKET_PATH_BYTES = 104 };

/* Where the server of this user listens: $POLYAGENT_SOCKET, or in $XDG_RUNTIME_DIR, or for root in
 * /run/polyagent. -1 if there is no such place. */
int socket_default_path(char out[SOCKET_PATH_BYTES], struct error *err);

struct socket_server;

/* Listens at `path`; removes a socket that a dead server left there. `cache` outlives it. */
struct socket_server *socket_server_new(sd_event *event, struct supervisor *supervisor,
                                        struct cache *cache, const char *path, struct error *err);
/* Takes no new clients, and removes the socket: whoever comes now finds no server. */
void socket_server_stop_listening(struct socket_server *server);
/* Hangs up on all clients, whose jobs are cancelled. */
void socket_server_free(struct socket_server *server);

/* A connection to the server at `path`; with `wait` false, it does not block. -1 with `err`:
 * PA_OVERLOADED when the server does not come to take it. */
int socket_connect(const char *path, bool wait, struct error *err);

/* A module to send: its file, or a memfd with its bytes where `path` is NULL. -1 with errno. */
int socket_module_fd(const char *path, const void *bytes, size_t size);

/* How many of job->argv to send to a server that keeps interpreters: `warm_argc`, where there is
 * one and the job can do with an interpreter that has started before it. */
size_t socket_job_argc(const struct pa_job *job, size_t warm_argc);

/* Sends the packet (which stays the caller's) to the server at `path` and waits for its reply. 0; 1
 * if there is no server; -1 with `err`. */
int socket_call(const char *path, const struct packet *packet, struct socket_reply *reply,
                struct error *err);

#endif

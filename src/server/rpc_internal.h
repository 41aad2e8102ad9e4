/* What the files of the gRPC interface share: a call, from its request to its status.
 *
 *     AWAITED -> ANSWERING -> (its status is out, and the library has said that it is closed)
 *     no request yet          handled; messages are sent one after the other, then the status
 */
#ifndef PA_SERVER_RPC_INTERNAL_H
#define PA_SERVER_RPC_INTERNAL_H

#include "server/acceptor.h"
#include "server/rpc.h"
#include "server/tls.h"

#include "messages.h" /* generated from proto/ */

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

struct rpc_call;

/* Something that the library will report: success or not. */
struct rpc_event {
    void (*handle)(struct rpc_call *call, bool success);
    struct rpc_call *call;
};

struct rpc_report {
    struct rpc_event *event;
    bool success;
};

struct rpc_method {
    const char *path; /* "/package.Service/Method" */
    /* The first message has come (empty, if there was none). Answers now or later. */
    void (*begin)(struct rpc_call *call, const uint8_t *data, size_t size);
    bool streams_in; /* further messages go to `next`; data NULL: there are no more */
    void (*next)(struct rpc_call *call, const uint8_t *data, size_t size);
    bool lasts;       /* until its client leaves: nothing to wait for at the end */
    bool open;        /* without a credential */
    unsigned awaited; /* calls that can arrive before we look */
};

/* One that was given to the library, by the number of the descriptor that the library has. */
struct rpc_connection {
    int number;
    uint32_t generation; /* of the number */
    uint64_t cookie;     /* which socket was accepted there last; 0: none, or it was hung up on */
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } address;                         /* of the client */
    char certificate[AUTH_NAME_BYTES]; /* the name in it; "": none */
    struct tls_count *count;           /* owned; of a client with TLS */
    /* rpc_intake.c */
    uint64_t delivered_bytes; /* of messages that came whole */
    uint32_t reading;         /* calls that wait for one */
    struct intake_claim claim;
};

enum { RPC_PUMPS = 12 };

struct rpc_server {
    struct service *service;
    struct tasks *tasks;
    grpc_server *server;
    grpc_completion_queue *queue;
    pthread_t pumps[RPC_PUMPS]; /* read the queue */
    unsigned pump_count;
    pthread_t giver;     /* of accepted connections to the library */
    int accepted_fds[2]; /* owned; a pipe of their descriptors */
    bool has_giver, stopping;
    pthread_mutex_t lock;               /* of the reports */
    struct rpc_report *reports, *taken; /* owned; swapped */
    size_t report_count, report_room, taken_room;
    int wake_fd; /* eventfd: there are reports */
    struct acceptor acceptor;
    struct tls *tls; /* owned; NULL: there is none */
    sd_event_source *wake;
    uint32_t busy, reported;               /* reported: events that are still to come */
    TAILQ_HEAD(rpc_calls, rpc_call) calls; /* that have come and are not over */
    uint32_t call_count;
    int next_fd;
    struct rpc_connection *connections;    /* owned; by descriptor */
    uint64_t connection_count, counted_ns; /* no less than there are; when they were counted */
    uint8_t crowd[16];                     /* the peer that had too many then; else zeros */
    sd_event_source *look;
    bool is_looking;
    struct rpc_event stopped;
};

struct rpc_message {
    grpc_byte_buffer *bytes;
    size_t size;
    STAILQ_ENTRY(rpc_message) link;
};

struct rpc_call {
    struct rpc_server *server;
    const struct rpc_method *method; /* NULL: of no method that we have */
    void *registered;
    grpc_call *call;
    gpr_timespec deadline;
    grpc_metadata_array metadata; /* of the client */
    grpc_call_details details;    /* unregistered only */
    grpc_byte_buffer *payload;    /* the first, or the next message */
    struct intake_claim claim;    /* owned; of the message, then of the answer */
    struct rpc_event requested, closed, sent, read;
    int cancelled; /* the library's word at its close */
    bool is_closed, is_sending, is_reading, has_status, status_sent, metadata_sent, is_busy;
    struct rpc_connection *connection; /* NULL: it has not come yet, or nobody knows */
    uint32_t generation;               /* of the connection: another one is not its own any more */
    bool is_listed;                    /* among the server's calls */
    uint64_t read_began_ns, received_before, delivered_before;
    TAILQ_ENTRY(rpc_call) link;
    STAILQ_HEAD(rpc_messages, rpc_message) pending;
    size_t pending_bytes;
    grpc_status_code status;
    grpc_slice details_text;
    grpc_metadata trailing[2];
    char pushback[16];
    struct service_caller caller;
    /* What is under way, and how to end it early; NULL: nothing. */
    void (*cancel)(void *operation);
    void (*pause)(void *operation,
                  bool paused); /* the client is behind, or no longer; may be NULL */
    void *operation;
    bool paused;
    char tool[64]; /* its name */
    uint64_t began_ns;
};

/* rpc_bounds.c: what a connection may have. */
enum { RPC_MAX_STREAMS = 256, RPC_MAX_METADATA_BYTES = 8192 };
/* A call has come: false if that is too much; then its connection is closed. And it is over. */
bool rpc_call_came(struct rpc_call *call);
void rpc_call_left(struct rpc_call *call);

/* rpc_connections.c: an accepted connection, which is given to the library, under a number that no
 * other had for long, as late calls have nothing else to tell by whose they are. */
void rpc_connection_take(void *server, int fd, const struct sockaddr *address, socklen_t size);
void rpc_connection_take_secure(void *server, const struct tls_client *client);
/* Of a thread that gives them to the library. */
void *rpc_connections_give(void *server);
void rpc_connections_free(struct rpc_server *server);
/* The connection of a call; NULL: nobody knows. */
struct rpc_connection *rpc_connection_of(const struct rpc_server *server, grpc_call *call);
/* Which socket a descriptor is, for as long as the system runs; 0: none. */
uint64_t rpc_socket_of(int fd);

/* rpc_intake.c: a call waits for its message; and it has come, of `bytes` (0: none), and is done
 * with. */
void rpc_intake_begin(struct rpc_call *call);
void rpc_intake_end(struct rpc_call *call, size_t bytes);

/* Packs a message for the client (rpc_send), and the status after the last one (rpc_finish): with
 * `message` "" where it is OK. */
void rpc_send(struct rpc_call *call, const ProtobufCMessage *message);
void rpc_finish(struct rpc_call *call, grpc_status_code status, const char *message);
/* The same, packed already; the slice is taken over. */
grpc_slice rpc_pack(const ProtobufCMessage *message);
void rpc_send_packed(struct rpc_call *call, grpc_slice packed);
/* For whoever has set `cancel` to NULL outside of the library's reports. */
void rpc_release_if_over(struct rpc_call *call);
/* The status for a refusal. */
void rpc_refuse(struct rpc_call *call, const struct error *err);
/* Asks for the client's next message. */
void rpc_read(struct rpc_call *call);
/* The id that the message gives the request; "": it stays as it is. */
void rpc_name(struct rpc_call *call, const char *request_id);
/* The value of the client's metadata, or NULL; the caller's, from malloc(). */
char *rpc_metadata(const struct rpc_call *call, const char *key);

/* rpc_large.c: a tool's or a task's request, and its answer. */
struct rpc_request {
    Polyagent__Agent__ToolCallRequest *tool;    /* owned; NULL: a task's */
    Polyagent__Agent__ExecuteTaskRequest *task; /* owned; NULL: a tool's */
    json_t *parameters; /* owned; of the tool, with the session; or the task's context */
};
/* 0; -1 with `err`, where what is there all the same is released by the caller, too. */
typedef int rpc_take(struct rpc_request *request, const uint8_t *data, size_t size,
                     struct error *err);
rpc_take rpc_take_tool, rpc_take_task;
/* Takes it apart, in a thread where it is large; then calls `begin`, or refuses it. `begin` may
 * keep nothing of it. */
void rpc_receive(struct rpc_call *call, const uint8_t *data, size_t size, rpc_take *take,
                 void (*begin)(struct rpc_call *call, const struct rpc_request *request,
                               void *context),
                 void *context);

struct rpc_answer {
    /* -1: out of memory. */
    int (*pack)(const struct rpc_answer *answer, grpc_slice *packed);
    json_t *result; /* owned */
    Polyagent__Agent__StatusCode status;
    int64_t took_ms;
    bool streams; /* it is a stream's last update */
    char tool[64], request_id[REQUEST_ID_BYTES];
};
/* The answer, and the status after it; it is packed in a thread where it is large. Takes over its
 * result. */
void rpc_answer(struct rpc_call *call, const struct rpc_answer *answer);

grpc_status_code rpc_status_of(enum pa_status status);

/* Ended by a method without a path. */
extern const struct rpc_method rpc_agent_methods[];    /* rpc_agent.c */
extern const struct rpc_method rpc_standard_methods[]; /* rpc_standard.c */

#endif

/* What the files of the HTTP interface share: a request and the ways to answer it.
 *
 *     READING -> answered at once, or -> RUNNING -> DONE -> answered
 *                                     -> STREAMING -> (its last event is out)
 */
#ifndef PA_SERVER_HTTP_INTERNAL_H
#define PA_SERVER_HTTP_INTERNAL_H

#include "server/acceptor.h"
#include "server/http.h"

#include "server/mcp.h"
#include "server/tls.h"

#include <microhttpd.h>
#include <sys/queue.h>

struct http_server {
    struct service *service;
    struct tasks *tasks;
    struct mcp *mcp;
    struct MHD_Daemon *daemon;
    struct acceptor acceptor;
    struct tls *tls; /* owned; NULL: there is none */
    sd_event_source *io, *timer, *look;
    unsigned most_connections;
    struct { /* while the library is given a connection */
        struct peer *peer;
        const char *certificate;
    } arriving;
    TAILQ_HEAD(connection_list, http_connection) waiting; /* for a head; the oldest first */
    TAILQ_HEAD(request_list, request) busy;
    TAILQ_HEAD(body_list, request) reading;
    uint32_t busy_count;
};

/* What we know of a connection of the library. */
struct http_connection {
    struct http_server *server;
    struct MHD_Connection *connection;
    struct peer *peer;                 /* counts it */
    char certificate[AUTH_NAME_BYTES]; /* the name in it; "": none */
    bool is_waiting;                   /* for a head */
    uint64_t since_ns;
    TAILQ_ENTRY(http_connection) link;
};

enum request_state { REQUEST_READING, REQUEST_RUNNING, REQUEST_DONE, REQUEST_STREAMING };

struct request {
    struct http_server *server;
    struct MHD_Connection *connection;
    enum request_state state;
    bool path_is_cut; /* the target has a %00 */
    bool is_known;    /* by a credential, not only as "anonymous" */
    /* Decided when the head is there: how it is answered, or why not. */
    const struct http_path *route;
    unsigned refused;  /* status; 0: it is not. What comes of its body is dropped */
    json_t *refusal;   /* owned */
    bool closes;       /* the connection, after the answer */
    uint64_t retry_ms; /* of an answer 429; 0: in a second */
    bool has_body;
    struct buffer body;        /* owned */
    struct intake_claim claim; /* owned; of the body, then of the answer */
    size_t dropped_bytes;
    uint64_t body_began_ns;
    bool is_reading; /* among those whose bodies come */
    TAILQ_ENTRY(request) body_link;
    bool is_parsed; /* in a thread; the body is in `parsed`, or `parse_error` says why not */
    json_t *parsed; /* owned */
    struct error parse_error;
    struct service_caller caller;
    char mcp_session[33]; /* of a handshake; "" */
    /* RUNNING and STREAMING: what is under way, and how to end it early. */
    void (*cancel)(void *operation);
    void (*resume)(void *operation); /* the client has caught up; may be NULL */
    void *operation;
    sd_event_source *hangup;
    TAILQ_ENTRY(request) link;
    /* DONE */
    unsigned status;
    json_t *answer; /* owned; NULL with status 0: the connection is closed */
    char *text;     /* owned; the same, written; NULL: it is not */
    int file_fd;    /* owned; the answer is what is in there; -1 */
    /* STREAMING */
    struct buffer pending; /* owned; events on their way */
    size_t sent;           /* of pending */
    bool ended, sleeping, paused;
    bool is_written;       /* in a thread: the answer, or the last event */
    bool ends_later;       /* when that is done */
    bool lossy;            /* an event could not be sent: the result says so */
    struct buffer held[2]; /* owned; beginnings of characters */
};

/* Answers at once; each takes over what it sends. */
enum MHD_Result http_send_json(struct request *r, unsigned status, json_t *value);
enum MHD_Result http_send_text(struct request *r, unsigned status, const char *type, char *text);
enum MHD_Result http_send_empty(struct request *r, unsigned status);
enum MHD_Result http_send_not_allowed(struct request *r, const char *methods);
/* A refusal in the form of a result. */
enum MHD_Result http_refuse(struct request *r, const struct error *err);

/* The answer comes later, by http_finish() (which takes over `answer`), unless `cancel` is called
 * before: the client has hung up, or the server ends. */
enum MHD_Result http_wait(struct request *r, void (*cancel)(void *), void *operation);
void http_finish(struct request *r, unsigned status, json_t *answer);
/* The same with a file's bytes; the descriptor is taken over. */
void http_finish_file(struct request *r, int fd);

/* The answer is a stream of events (text/event-stream, WHATWG HTML section 9.2). */
enum MHD_Result http_stream(struct request *r, void (*cancel)(void *), void *operation);
/* Takes over `data`; NULL is one for which there was no memory. An event "result" always comes:
 * where another was lost, it says that memory ran out. `r->paused` becomes true when the client has
 * fallen behind, and false when it has caught up: then `r->resume` (may be NULL) is called. */
void http_stream_event(struct request *r, const char *event, json_t *data);
void http_stream_end(struct request *r);

/* http_large.c. Whether the body is parsed in a thread: then the request is routed again
 * (http_go_on()), and else it is answered now, where `result` says so. */
bool http_parse_later(struct request *r, enum MHD_Result *result);
void http_go_on(struct request *r);
/* The body as JSON. NULL with `err`. */
json_t *http_body_json(struct request *r, struct error *err);
/* Whether `value` (taken over then) is made text in a thread: then it is http_written(), as the
 * answer or an event. */
bool http_write_later(struct request *r, const char *event, json_t *value);
/* Takes over the text; NULL: out of memory. */
void http_written(struct request *r, const char *event, char *text);

unsigned http_status_of(enum pa_status status);
bool http_accepts_events(const struct request *r);

/* Refuses it when its body has come. */
void http_refuse_later(struct request *r, unsigned status, const struct error *err);

/* http_routes.c: decides about a request whose head has come, and answers a complete one. */
enum MHD_Result http_admit(struct request *r, const char *method, const char *path);
enum MHD_Result http_route(struct request *r, const char *method, const char *path);
/* http_bounds.c */
int http_bounds_start(struct http_server *server);
struct http_connection *http_connection_of(const struct request *r);
void http_on_connection(void *context, struct MHD_Connection *library, void **slot,
                        enum MHD_ConnectionNotificationCode code);
bool http_connection_fits(const struct http_server *server, const struct peer *peer);
void http_head_came(struct request *r);
void http_head_awaited(struct request *r);
/* Room for so many bytes of its body. -1 with `err`. */
int http_body_grow(struct request *r, size_t bytes, struct error *err);
/* So much of a body that is refused is read all the same. */
size_t http_body_dropped(const struct http_server *server);
void http_body_awaited(struct request *r);
void http_body_take(struct request *r, const char *data, size_t size);
void http_body_release(struct request *r);
bool http_is_for_us(const struct request *r);
bool http_is_foreign_page(const struct request *r);
/* Starts and callbacks of runs, for those whose answer is a run's result. */
const struct service_callbacks *http_run_callbacks(bool streams);
enum MHD_Result http_wait_for_run(struct request *r, struct service_run *run, bool streams);
/* http_playground.c: the page and its parts */
enum MHD_Result http_get_page(struct request *r);
enum MHD_Result http_get_style(struct request *r);
enum MHD_Result http_get_script(struct request *r);
/* http_sessions.c */
void http_session_methods(const char *path, char *out, size_t size);
enum MHD_Result http_session(struct request *r, const char *method, const char *path);
/* http_mcp.c */
enum MHD_Result http_post_mcp(struct request *r);
enum MHD_Result http_get_mcp(struct request *r);
enum MHD_Result http_delete_mcp(struct request *r);

#endif

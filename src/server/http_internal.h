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

#include <microhttpd.h>
#include <sys/queue.h>

struct http_server {
    struct service *service;
    struct tasks *tasks;
    struct mcp *mcp;
    struct MHD_Daemon *daemon;
    struct acceptor acceptor;
    char *certificate, *key, *client_ca; /* owned texts, which the library keeps using */
    sd_event_source *io, *timer;
    TAILQ_HEAD(request_list, request) busy;
    uint32_t busy_count;
    size_t body_bytes; /* of all requests */
};

enum request_state { REQUEST_READING, REQUEST_RUNNING, REQUEST_DONE, REQUEST_STREAMING };

struct request {
    struct http_server *server;
    struct MHD_Connection *connection;
    enum request_state state;
    bool path_is_cut;         /* the target has a %00 */
    struct buffer body;       /* owned */
    size_t counted;           /* of it, in the server's body_bytes */
    bool too_large, too_many; /* the rest of the body is read and dropped */
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
    bool is_file;   /* the answer is in `pending` */
    /* STREAMING */
    struct buffer pending; /* owned; events on their way */
    size_t sent;           /* of pending */
    bool ended, sleeping, paused;
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
/* The same with a file's bytes, which are taken over. */
void http_finish_bytes(struct request *r, struct buffer *bytes);

/* The answer is a stream of events (text/event-stream, WHATWG HTML section 9.2). */
enum MHD_Result http_stream(struct request *r, void (*cancel)(void *), void *operation);
/* Takes over `data`; NULL is one for which there was no memory. An event "result" always comes:
 * where another was lost, it says that memory ran out. `r->paused` becomes true when the client has
 * fallen behind, and false when it has caught up: then `r->resume` (may be NULL) is called. */
void http_stream_event(struct request *r, const char *event, json_t *data);
void http_stream_end(struct request *r);

unsigned http_status_of(enum pa_status status);
bool http_accepts_events(const struct request *r);

/* http_routes.c: answers a complete request. */
enum MHD_Result http_route(struct request *r, const char *method, const char *path);
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

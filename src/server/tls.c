#include "server/tls.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "server/service.h"
#include "server/tls_name.h"

#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <sys/socket.h>

/* A handshake has 10 s; of more than that many at once the oldest is given up. */
enum { HANDSHAKE_US = 10000000, MAX_HANDSHAKES = 1024, MAX_PEER_HANDSHAKES = 256 };
enum { BLOCK_BYTES = 16 << 10, PASS_MOST = 16, LINGER_US = 2000000 };

/* Bytes on their way in one direction. */
struct flow {
    uint8_t *bytes; /* owned; NULL: none wait */
    size_t begin, end;
    bool over; /* no more will come */
};

/*     HANDSHAKING -> OPEN ----------------> LINGERING -> gone
 *     `inner` -1     both directions flow   the receiver has hung up; what the client still sends
 * is dropped, as closing would take its last answer away
 */
struct link {
    struct tls *tls;
    struct tls_client client; /* fd: the receiver's, until it is given away */
    uint8_t peer[16];
    int outer, inner; /* owned */
    gnutls_session_t session;
    struct flow in, out;
    sd_event_source *outer_io, *inner_io, *deadline;
    bool is_open, lingers;
    TAILQ_ENTRY(link) entry;
};
TAILQ_HEAD(link_list, link);

struct tls {
    struct tls_options options;
    gnutls_certificate_credentials_t credentials;
    gnutls_priority_t priorities;
    bool wants_certificates;
    pthread_t thread;
    bool has_thread;
    sd_event *loop; /* of the thread */
    /* Between the thread and the receiver's loop. */
    pthread_mutex_t lock;
    struct link_list arrived, done; /* to the thread, and to the receiver */
    int arrived_fd, done_fd;        /* owned; eventfds */
    bool ending;
    sd_event_source *done_source;
    /* The thread's. */
    struct link_list handshakes, open; /* the oldest first */
    unsigned handshake_count;
    _Atomic uint64_t count; /* of all links */
};

void tls_count_release(struct tls_count *count) {
    if (count != NULL && atomic_fetch_sub(&count->owners, 1) == 1) free(count);
}

static void wake(int fd) {
    const uint64_t one = 1;
    if (write(fd, &one, sizeof one) < 0) abort(); /* it cannot be full */
}

static void quieten(int fd) {
    uint64_t count;
    if (read(fd, &count, sizeof count) < 0) return; /* EAGAIN: none */
}

/* Not in any list. */
static void link_free(struct link *link) {
    sd_event_source_disable_unref(link->outer_io);
    sd_event_source_disable_unref(link->inner_io);
    sd_event_source_disable_unref(link->deadline);
    if (link->session != NULL) gnutls_deinit(link->session);
    fd_closep(&link->outer);
    fd_closep(&link->inner);
    fd_closep(&link->client.fd);
    free(link->in.bytes);
    free(link->out.bytes);
    tls_count_release(link->client.count);
    (void)atomic_fetch_sub(&link->tls->count, 1);
    free(link);
}

static void drop(struct link *link) {
    struct tls *tls = link->tls;
    TAILQ_REMOVE(link->is_open ? &tls->open : &tls->handshakes, link, entry);
    if (!link->is_open) tls->handshake_count--;
    link_free(link);
}

static int on_deadline(sd_event_source *source, uint64_t now_us, void *context) {
    (void)source;
    (void)now_us;
    drop(context);
    return 0;
}

static bool is_empty(const struct flow *flow) {
    return flow->begin == flow->end;
}

/* Room for what comes next. False: memory is out. */
static bool prepare(struct flow *flow) {
    if (flow->bytes == NULL) flow->bytes = malloc(BLOCK_BYTES);
    flow->begin = flow->end = 0;
    return flow->bytes != NULL;
}

/* Moves what it can: 1, if something moved; 0; -1 if the link is at its end. */
static int pass_in(struct link *link) {
    struct flow *flow = &link->in;
    if (is_empty(flow) && !flow->over) {
        if (!prepare(flow)) return -1;
        ssize_t got = gnutls_record_recv(link->session, flow->bytes, BLOCK_BYTES);
        if (got == 0) {
            flow->over = true;
            (void)shutdown(link->inner, SHUT_WR);
        } else if (got > 0) {
            flow->end = (size_t)got;
            (void)atomic_fetch_add_explicit(&link->client.count->bytes, (uint64_t)got,
                                            memory_order_relaxed);
        } else if (gnutls_error_is_fatal((int)got) != 0 || got == GNUTLS_E_REHANDSHAKE) {
            return -1;
        }
    }
    if (is_empty(flow)) return 0;
    ssize_t sent = send(link->inner, flow->bytes + flow->begin, flow->end - flow->begin,
                        MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno == EPIPE) { /* the receiver takes no more; it may still have an answer */
        flow->over = true;
        flow->begin = flow->end;
        return 0;
    }
    if (sent < 0) return errno == EAGAIN || errno == EINTR ? 0 : -1;
    flow->begin += (size_t)sent;
    return 1;
}

static int pass_out(struct link *link) {
    struct flow *flow = &link->out;
    if (is_empty(flow)) {
        if (!prepare(flow)) return -1;
        ssize_t got = recv(link->inner, flow->bytes, BLOCK_BYTES, MSG_DONTWAIT);
        if (got < 0) return errno == EAGAIN || errno == EINTR ? 0 : -1;
        flow->over = got == 0;
        flow->end = (size_t)got;
    }
    if (is_empty(flow)) return 0;
    /* Until it has been sent, the library wants the same bytes again. */
    ssize_t sent =
        gnutls_record_send(link->session, flow->bytes + flow->begin, flow->end - flow->begin);
    if (sent == GNUTLS_E_AGAIN || sent == GNUTLS_E_INTERRUPTED) return 0;
    if (sent < 0) return -1;
    flow->begin += (size_t)sent;
    return 1;
}

/* A source without events would still tell, again and again, that the other side is gone. */
static int set_events(sd_event_source *source, uint32_t events) {
    int result = events != 0 ? sd_event_source_set_io_events(source, events) : 0;
    return result < 0
               ? result
               : sd_event_source_set_enabled(source, events != 0 ? SD_EVENT_ON : SD_EVENT_OFF);
}

/* What has come is passed on before more of it is read. */
static int watch(struct link *link) {
    bool in = !is_empty(&link->in), out = !is_empty(&link->out);
    int result =
        set_events(link->outer_io, (in || link->in.over ? 0 : EPOLLIN) | (out ? EPOLLOUT : 0));
    return result < 0 ? result
                      : set_events(link->inner_io, (out ? 0 : EPOLLIN) | (in ? EPOLLOUT : 0));
}

static void call_again(struct link *link, uint64_t after_us) {
    (void)sd_event_source_set_time_relative(link->deadline, after_us);
    (void)sd_event_source_set_enabled(link->deadline, SD_EVENT_ONESHOT);
}

static void linger(struct link *link) {
    (void)gnutls_bye(link->session, GNUTLS_SHUT_WR);
    (void)shutdown(link->outer, SHUT_WR);
    link->inner_io = sd_event_source_disable_unref(link->inner_io);
    fd_closep(&link->inner);
    link->lingers = true;
    call_again(link, LINGER_US);
    if (set_events(link->outer_io, EPOLLIN) < 0) drop(link);
}

static void flow_on(struct link *link) {
    int in = 1, out = 1;
    for (int i = 0; i < PASS_MOST && (in > 0 || out > 0); i++) { /* others wait, too */
        in = pass_in(link);
        out = in < 0 ? -1 : pass_out(link);
        if (out < 0) {
            drop(link);
            return;
        }
    }
    if (is_empty(&link->in)) free(steal_ptr(link->in.bytes));
    if (is_empty(&link->out)) free(steal_ptr(link->out.bytes));
    if (link->out.over)
        linger(link);
    else if (watch(link) < 0)
        drop(link);
    else if (is_empty(&link->in) && !link->in.over &&
             (in > 0 || gnutls_record_check_pending(link->session) > 0))
        call_again(link, 0); /* what the library has read ahead makes no event */
}

static int on_outer(sd_event_source *source, int fd, uint32_t events, void *context) {
    struct link *link = context;
    char rest[4096];
    (void)source;
    if (events & (EPOLLERR | EPOLLHUP))
        drop(link);
    else if (!link->lingers)
        flow_on(link);
    else if (recv(fd, rest, sizeof rest, MSG_DONTWAIT) <= 0)
        drop(link);
    return 0;
}

static int on_inner(sd_event_source *source, int fd, uint32_t events, void *context) {
    (void)source;
    (void)fd;
    (void)events;
    flow_on(context);
    return 0;
}

static int on_again(sd_event_source *source, uint64_t now_us, void *context) {
    struct link *link = context;
    (void)source;
    (void)now_us;
    if (link->lingers)
        drop(link);
    else
        flow_on(link);
    return 0;
}

/* The handshake is done: a pair of sockets, whose other end goes to the receiver. */
static int open_link(struct link *link) {
    struct tls *tls = link->tls;
    int ends[2];
    if (tls->wants_certificates && !tls_client_name(link->session, link->client.certificate,
                                                    sizeof link->client.certificate)) {
        (void)gnutls_alert_send(link->session, GNUTLS_AL_FATAL, GNUTLS_A_BAD_CERTIFICATE);
        return -1;
    }
    link->client.count = calloc(1, sizeof *link->client.count);
    if (link->client.count == NULL ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
        return -1;
    link->client.count->owners = 1;
    link->inner = ends[0];
    link->client.fd = ends[1];
    link->deadline = sd_event_source_disable_unref(link->deadline);
    link->outer_io = sd_event_source_disable_unref(link->outer_io);
    if (sd_event_add_io(tls->loop, &link->outer_io, link->outer, EPOLLIN, on_outer, link) < 0 ||
        sd_event_add_io(tls->loop, &link->inner_io, link->inner, EPOLLIN, on_inner, link) < 0 ||
        sd_event_add_time_relative(tls->loop, &link->deadline, CLOCK_MONOTONIC, 0, 1, on_again,
                                   link) < 0)
        return -1;
    TAILQ_REMOVE(&tls->handshakes, link, entry);
    tls->handshake_count--;
    link->is_open = true;
    TAILQ_INSERT_TAIL(&tls->open, link, entry);
    return 0;
}

/* A copy of what the receiver is to know, with its end of the pair. */
static int hand_over(struct link *link) {
    struct tls *tls = link->tls;
    struct link *message = calloc(1, sizeof *message);
    if (message == NULL) return -1;
    link->client.count->owners = 2;
    message->client = link->client;
    link->client.fd = -1;
    (void)pthread_mutex_lock(&tls->lock);
    TAILQ_INSERT_TAIL(&tls->done, message, entry);
    (void)pthread_mutex_unlock(&tls->lock);
    wake(tls->done_fd);
    return 0;
}

static int on_handshake(sd_event_source *source, int fd, uint32_t events, void *context) {
    struct link *link = context;
    (void)fd;
    int result =
        events & (EPOLLERR | EPOLLHUP) ? GNUTLS_E_PUSH_ERROR : gnutls_handshake(link->session);
    if (result == 0) {
        if (open_link(link) != 0 || hand_over(link) != 0) drop(link);
    } else if (gnutls_error_is_fatal(result) != 0) {
        (void)gnutls_alert_send_appropriate(link->session, result);
        drop(link);
    } else {
        bool writes = gnutls_record_get_direction(link->session) == 1;
        (void)sd_event_source_set_io_events(source, writes ? EPOLLOUT : EPOLLIN);
    }
    return 0;
}

/* The oldest handshake of a peer that has too many, or of all. */
static void make_room(struct tls *tls, const uint8_t peer[16]) {
    struct link *link, *of_peer = NULL;
    unsigned count = 0;
    TAILQ_FOREACH(link, &tls->handshakes, entry) {
        if (memcmp(link->peer, peer, sizeof link->peer) != 0) continue;
        if (of_peer == NULL) of_peer = link;
        count++;
    }
    if (count >= MAX_PEER_HANDSHAKES)
        drop(of_peer);
    else if (tls->handshake_count >= MAX_HANDSHAKES)
        drop(TAILQ_FIRST(&tls->handshakes));
}

static int start_link(struct tls *tls, struct link *link) {
    const gnutls_datum_t protocol = {(unsigned char *)(uintptr_t)tls->options.protocol,
                                     (unsigned)strlen(tls->options.protocol)};
    if (gnutls_init(&link->session,
                    GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL | GNUTLS_NO_TICKETS) != 0)
        return -1;
    gnutls_transport_set_int(link->session, link->outer);
    if (gnutls_priority_set(link->session, tls->priorities) != 0 ||
        gnutls_credentials_set(link->session, GNUTLS_CRD_CERTIFICATE, tls->credentials) != 0 ||
        gnutls_alpn_set_protocols(link->session, &protocol, 1, 0) != 0)
        return -1;
    gnutls_certificate_server_set_request(
        link->session, tls->wants_certificates ? GNUTLS_CERT_REQUIRE : GNUTLS_CERT_IGNORE);
    return sd_event_add_io(tls->loop, &link->outer_io, link->outer, EPOLLIN, on_handshake, link) <
                       0 ||
                   sd_event_add_time_relative(tls->loop, &link->deadline, CLOCK_MONOTONIC,
                                              HANDSHAKE_US, 1, on_deadline, link) < 0
               ? -1
               : 0;
}

static int on_arrived(sd_event_source *source, int fd, uint32_t events, void *context) {
    struct tls *tls = context;
    struct link_list arrived = TAILQ_HEAD_INITIALIZER(arrived);
    struct link *link;
    (void)source;
    (void)events;
    quieten(fd);
    (void)pthread_mutex_lock(&tls->lock);
    TAILQ_CONCAT(&arrived, &tls->arrived, entry);
    bool ending = tls->ending;
    (void)pthread_mutex_unlock(&tls->lock);
    while ((link = TAILQ_FIRST(&arrived)) != NULL) {
        TAILQ_REMOVE(&arrived, link, entry);
        make_room(tls, link->peer);
        if (ending || start_link(tls, link) != 0) {
            link_free(link);
            continue;
        }
        TAILQ_INSERT_TAIL(&tls->handshakes, link, entry);
        tls->handshake_count++;
    }
    return ending ? sd_event_exit(tls->loop, 0) : 0;
}

static void *run(void *context) {
    struct tls *tls = context;
    struct link *link;
    sd_event_source *source = NULL;
    if (sd_event_add_io(tls->loop, &source, tls->arrived_fd, EPOLLIN, on_arrived, tls) < 0 ||
        sd_event_loop(tls->loop) < 0)
        log_event(LOG_ERROR, "tls", "the event loop has ended", {0});
    while ((link = TAILQ_FIRST(&tls->handshakes)) != NULL)
        drop(link);
    while ((link = TAILQ_FIRST(&tls->open)) != NULL)
        drop(link);
    sd_event_source_disable_unref(source);
    return NULL;
}

static int on_done(sd_event_source *source, int fd, uint32_t events, void *context) {
    struct tls *tls = context;
    struct link_list done = TAILQ_HEAD_INITIALIZER(done);
    struct link *message;
    (void)source;
    (void)events;
    quieten(fd);
    (void)pthread_mutex_lock(&tls->lock);
    TAILQ_CONCAT(&done, &tls->done, entry);
    (void)pthread_mutex_unlock(&tls->lock);
    while ((message = TAILQ_FIRST(&done)) != NULL) {
        TAILQ_REMOVE(&done, message, entry);
        tls->options.take(tls->options.context, &message->client);
        free(message);
    }
    return 0;
}

void tls_begin(struct tls *tls, int fd, const struct sockaddr *address) {
    struct link *link =
        atomic_load(&tls->count) < tls->options.max_connections ? calloc(1, sizeof *link) : NULL;
    if (link == NULL) {
        (void)close(fd);
        return;
    }
    *link = (struct link){.tls = tls, .outer = fd, .inner = -1, .client.fd = -1};
    memcpy(&link->client.address, address,
           address->sa_family == AF_INET6 ? sizeof link->client.address.in6
                                          : sizeof link->client.address.in);
    peer_key(address, link->peer);
    (void)atomic_fetch_add(&tls->count, 1);
    (void)pthread_mutex_lock(&tls->lock);
    TAILQ_INSERT_TAIL(&tls->arrived, link, entry);
    (void)pthread_mutex_unlock(&tls->lock);
    wake(tls->arrived_fd);
}

static int load(struct tls *tls, const struct config *config, struct error *err) {
    _cleanup_(freep) char *certificate = NULL;
    _cleanup_(freep) char *key = NULL;
    _cleanup_(freep) char *ca = NULL;
    if (service_read_pem(config->certificate, &certificate, err) != 0 ||
        service_read_pem(config->key, &key, err) != 0 ||
        service_read_pem(config->client_ca, &ca, err) != 0)
        return -1;
    if (gnutls_certificate_allocate_credentials(&tls->credentials) != 0 ||
        gnutls_priority_init(&tls->priorities, "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2",
                             NULL) != 0)
        return error_set(err, PA_INTERNAL, "server.tls: out of memory");
    const gnutls_datum_t pair[] = {
        {(unsigned char *)certificate, (unsigned)strlen(certificate)},
        {(unsigned char *)(key != NULL ? key : ""), key != NULL ? (unsigned)strlen(key) : 0}};
    int result = gnutls_certificate_set_x509_key_mem(tls->credentials, &pair[0], &pair[1],
                                                     GNUTLS_X509_FMT_PEM);
    if (key != NULL) sodium_memzero(key, strlen(key));
    if (result != 0)
        return error_set(err, PA_INVALID_ARGUMENT,
                         "server.tls: %s: are .certificate and .key a pair?",
                         gnutls_strerror(result));
    if (ca == NULL) return 0;
    const gnutls_datum_t authority = {(unsigned char *)ca, (unsigned)strlen(ca)};
    tls->wants_certificates = true;
    return gnutls_certificate_set_x509_trust_mem(tls->credentials, &authority,
                                                 GNUTLS_X509_FMT_PEM) > 0
               ? 0
               : error_set(err, PA_INVALID_ARGUMENT,
                           "server.tls.client_ca: has no certificate (PEM)");
}

static int start(struct tls *tls, sd_event *event, struct error *err) {
    tls->arrived_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    tls->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int result = tls->arrived_fd < 0 || tls->done_fd < 0 ? -errno : sd_event_new(&tls->loop);
    if (result >= 0)
        result = sd_event_add_io(event, &tls->done_source, tls->done_fd, EPOLLIN, on_done, tls);
    if (result >= 0) result = -pthread_create(&tls->thread, NULL, run, tls);
    tls->has_thread = result == 0;
    return result >= 0 ? 0 : error_set_errno(err, PA_INTERNAL, -result, "server.tls: a thread");
}

struct tls *tls_new(sd_event *event, const struct config *config, const struct tls_options *options,
                    struct error *err) {
    struct tls *tls = calloc(1, sizeof *tls);
    if (tls == NULL) {
        error_set(err, PA_INTERNAL, "server.tls: out of memory");
        return NULL;
    }
    *tls = (struct tls){.options = *options, .arrived_fd = -1, .done_fd = -1};
    TAILQ_INIT(&tls->arrived);
    TAILQ_INIT(&tls->done);
    TAILQ_INIT(&tls->handshakes);
    TAILQ_INIT(&tls->open);
    (void)pthread_mutex_init(&tls->lock, NULL);
    if (load(tls, config, err) == 0 && start(tls, event, err) == 0) return tls;
    tls_free(tls);
    return NULL;
}

void tls_free(struct tls *tls) {
    struct link *link;
    if (tls == NULL) return;
    if (tls->has_thread) {
        (void)pthread_mutex_lock(&tls->lock);
        tls->ending = true;
        (void)pthread_mutex_unlock(&tls->lock);
        wake(tls->arrived_fd);
        (void)pthread_join(tls->thread, NULL);
    }
    while ((link = TAILQ_FIRST(&tls->arrived)) != NULL) {
        TAILQ_REMOVE(&tls->arrived, link, entry);
        link_free(link);
    }
    while ((link = TAILQ_FIRST(&tls->done)) != NULL) {
        TAILQ_REMOVE(&tls->done, link, entry);
        fd_closep(&link->client.fd);
        tls_count_release(link->client.count);
        free(link);
    }
    sd_event_source_disable_unref(tls->done_source);
    sd_event_unref(tls->loop);
    fd_closep(&tls->arrived_fd);
    fd_closep(&tls->done_fd);
    if (tls->credentials != NULL) gnutls_certificate_free_credentials(tls->credentials);
    if (tls->priorities != NULL) gnutls_priority_deinit(tls->priorities);
    (void)pthread_mutex_destroy(&tls->lock);
    free(tls);
}

/* TLS 1.2 and 1.3 for both interfaces (GnuTLS), in a thread of its own: handshakes and ciphers cost
 * the event loop nothing, and the libraries behind see connections whose clients have shown what
 * they are. A connection that was accepted goes in; when its handshake is done, a socket comes out
 * at which the other side's plain bytes are. Handshakes are bounded in number and in time. */
#ifndef PA_SERVER_TLS_H
#define PA_SERVER_TLS_H

#include "config/config.h"
#include "server/auth.h"

#include <netinet/in.h>
#include <stdatomic.h>
#include <systemd/sd-event.h>

struct tls;

/* How many plain bytes have come from a client: of both sides of a connection. */
struct tls_count {
    _Atomic uint64_t bytes;
    _Atomic uint32_t owners;
};
void tls_count_release(struct tls_count *count);

/* A connection whose handshake is done. */
struct tls_client {
    int fd;                  /* the receiver's */
    struct tls_count *count; /* the receiver's to release */
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } address;
    char certificate[AUTH_NAME_BYTES]; /* the name in the client's; "": none was asked for */
};

struct tls_options {
    const char *protocol; /* of ALPN: "h2", "http/1.1" */
    /* In the loop of `event`. */
    void (*take)(void *context, const struct tls_client *client);
    void *context;
    uint64_t max_connections;
};

/* With the certificate, key and client_ca of the configuration. NULL with `err`. */
struct tls *tls_new(sd_event *event, const struct config *config, const struct tls_options *options,
                    struct error *err);
/* Takes over an accepted connection, which is closed where there are too many. */
void tls_begin(struct tls *tls, int fd, const struct sockaddr *address);
/* Ends all connections. */
void tls_free(struct tls *tls);

#endif

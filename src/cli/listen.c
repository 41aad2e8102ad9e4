#include "cli/listen.h"

#include "base/cleanup.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { BACKLOG = 1024 };

static bool is_loopback(const struct sockaddr *address) {
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;
        return ntohl(in->sin_addr.s_addr) >> 24 == 127;
    }
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)address;
    return address->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
}

static int bind_to(const struct addrinfo *address) {
    const int on = 1, off = 0;
    _cleanup_(fd_closep) int fd =
        socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -errno;
    /* A port that is in TIME_WAIT only is free. */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) return -errno;
    if (address->ai_family == AF_INET6 &&
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) != 0) {
        return -errno;
    }
    if (bind(fd, address->ai_addr, address->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0)
        return -errno;
    return steal_fd(&fd);
}

/* As text, with the port that it got. */
static int describe(int fd, char *out, size_t size) {
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    char host[NI_MAXHOST], port[NI_MAXSERV];
    if (getsockname(fd, (struct sockaddr *)&address, &length) != 0) return -errno;
    if (getnameinfo((struct sockaddr *)&address, length, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return -EINVAL;
    }
    bool six = address.ss_family == AF_INET6;
    (void)snprintf(out, size, "%s%s%s:%s", six ? "[" : "", host, six ? "]" : "", port);
    return 0;
}

int listen_at(const char *key, const char *text, bool remote, char *actual, size_t size,
              struct error *err) {
    const struct addrinfo hints = {.ai_family = AF_UNSPEC,
                                   .ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE};
    struct addrinfo *found = NULL;
    char host[64];
    const char *colon = strrchr(text, ':');
    size_t length = colon != NULL ? (size_t)(colon - text) : 0;
    bool six = length > 2 && text[0] == '[' && text[length - 1] == ']';
    (void)snprintf(host, sizeof host, "%.*s", (int)(six ? length - 2 : length), text + six);
    if (length == 0 || length >= sizeof host || colon[1] == 0 || strlen(colon + 1) > 5 ||
        strspn(colon + 1, "0123456789") != strlen(colon + 1) || atoi(colon + 1) > 65535 ||
        getaddrinfo(host, colon + 1, &hints, &found) != 0) {
        return error_set(err, PA_INVALID_ARGUMENT,
                         "%s: '%.100s' is not ADDR:PORT, such as 127.0.0.1:8000", key, text);
    }
    int fd = -1;
    if (!remote && !is_loopback(found->ai_addr)) {
        error_set(err, PA_INVALID_ARGUMENT,
                  "%s: %s is not on loopback, and nobody would be asked for a credential; set "
                  "server.auth.tokens_file, server.tls.client_ca or "
                  "server.allow_remote_without_auth",
                  key, text);
    } else {
        fd = bind_to(found);
        int result = fd < 0 ? fd : describe(fd, actual, size);
        if (result != 0) {
            fd_closep(&fd);
            error_set_errno(err, PA_INTERNAL, -result, "%s: listen at %s", key, text);
        }
    }
    freeaddrinfo(found);
    return fd;
}

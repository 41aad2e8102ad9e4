#include "worker/wire.h"

#include "base/cleanup.h"

#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

union control { /* aligned as the kernel wants it */
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int) * WIRE_MAX_FDS)];
};

int wire_send(int socket, const struct iovec *parts, size_t count, const int *fds, size_t fd_count,
              int wait) {
    union control control;
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)parts, .msg_iovlen = count};
    if (fd_count > WIRE_MAX_FDS) return -EMSGSIZE;
    if (fd_count > 0) {
        message.msg_control = control.space;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        *header = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
                                   .cmsg_type = SCM_RIGHTS,
                                   .cmsg_len = CMSG_LEN(sizeof(int) * fd_count)};
        memcpy(CMSG_DATA(header), fds, sizeof(int) * fd_count);
    }
    for (;;) {
        if (sendmsg(socket, &message, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT)) >= 0) return 0;
        if (errno != EINTR) return -errno;
    }
}

void wire_close_fds(int *fds, size_t count) {
    for (size_t i = 0; i < count; i++)
        fd_closep(&fds[i]);
}

/* Takes the descriptors out of the message, whatever it holds else. */
static size_t take_fds(struct msghdr *message, int *fds) {
    size_t taken = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (taken < WIRE_MAX_FDS) {
                fds[taken++] = fd;
            } else {
                (void)close(fd);
            }
        }
    }
    return taken;
}

ssize_t wire_receive(int socket, const struct iovec *parts, size_t count, int *fds,
                     size_t *fd_count, int wait) {
    union control control;
    ssize_t got;
    *fd_count = 0;
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)parts,
                             .msg_iovlen = count,
                             .msg_control = control.space,
                             .msg_controllen = sizeof control.space};
    do {
        got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
    } while (got < 0 && errno == EINTR);
    if (got < 0) return -errno;
    *fd_count = take_fds(&message, fds);
    bool cut = message.msg_flags & (MSG_TRUNC | MSG_CTRUNC);
    if (cut || got == 0) { /* a message without a byte can carry descriptors, too */
        wire_close_fds(fds, *fd_count);
        *fd_count = 0;
    }
    return cut ? -EMSGSIZE : got;
}

int wire_pair(int pair[2]) {
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0 ? 0 : -errno;
}

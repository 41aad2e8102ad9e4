#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/opener.h"
#include "supervisor/socket.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

int socket_default_path(char out[SOCKET_PATH_BYTES], struct error *err) {
    const char *own = getenv("POLYAGENT_SOCKET"), *runtime = getenv("XDG_RUNTIME_DIR");
    int length = -1;
    if (own != NULL) {
        length = snprintf(out, SOCKET_PATH_BYTES, "%s", own);
    } else if (runtime != NULL && runtime[0] == '/') {
        length = snprintf(out, SOCKET_PATH_BYTES, "%s/polyagent.sock", runtime);
    } else if (geteuid() == 0) {
        length = snprintf(out, SOCKET_PATH_BYTES, "/run/polyagent/polyagent.sock");
    }
    if (length > 0 && length < SOCKET_PATH_BYTES) return 0;
    return error_set(err, PA_INVALID_ARGUMENT,
                     "no place for the server's socket: set POLYAGENT_SOCKET to a path of less "
                     "than %d bytes",
                     SOCKET_PATH_BYTES);
}

/* Our descriptors go to nobody but ourselves and root. */
static bool is_ours(int fd) {
    struct ucred peer;
    socklen_t size = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
           (peer.uid == geteuid() || peer.uid == 0);
}

int socket_connect(const char *path, bool wait, struct error *err) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (opener_is_set()) return opener_ask(OPENER_SOCKET, "", err);
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    _cleanup_(fd_closep) int fd =
        socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | (wait ? 0 : SOCK_NONBLOCK), 0);
    if (fd < 0) return error_set_errno(err, PA_INTERNAL, errno, "socket");
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        return errno == EAGAIN
                   ? error_set(err, PA_OVERLOADED,
                               "the supervisor has no time for more; retry in 10 ms")
                   : error_set_errno(err, PA_INTERNAL, errno, "no supervisor at %s", path);
    }
    if (!is_ours(fd)) {
        return error_set(err, PA_INTERNAL, "the socket %s belongs to somebody else", path);
    }
    return steal_fd(&fd);
}

int socket_module_fd(const char *path, const void *bytes, size_t size) {
    if (path != NULL) return opener_keep(path);
    _cleanup_(fd_closep) int fd = memfd_create("module", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int result = fd < 0 ? -errno : fd_write_all(fd, bytes, size);
    if (result == 0 && fcntl(fd, F_ADD_SEALS, MODULE_SEALS) != 0) result = -errno;
    if (result == 0) return steal_fd(&fd);
    errno = -result;
    return -1;
}

size_t socket_job_argc(const struct pa_job *job, size_t warm_argc) {
    /* A deterministic one is as without a server. */
    return warm_argc > 0 && !job->deterministic ? warm_argc : job->argc;
}

int socket_call(const char *path, const struct packet *packet, struct socket_reply *reply,
                struct error *err) {
    ssize_t got;
    _cleanup_(fd_closep) int fd = socket_connect(path, true, err);
    if (fd < 0) return 1;
    int result = packet_send(packet, fd, 1);
    if (result != 0) return error_set_errno(err, PA_INTERNAL, -result, "send the job to %s", path);
    do {
        got = recv(fd, reply, sizeof *reply, 0);
    } while (got < 0 && errno == EINTR);
    if (got != sizeof *reply) {
        return error_set(err, PA_INTERNAL, "the server at %s hung up before the run's result",
                         path);
    }
    return 0;
}

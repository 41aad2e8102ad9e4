/* Ending the run, yielding, and the socket calls of a world without sockets. */
#include "wasi/internal.h"

#include <sched.h>

/* proc_exit(code) */
WASI_FN(proc_exit) {
    w->stop = WASI_STOP_EXIT;
    w->exit_code = (uint32_t)a[0];
    return WASI_SUCCESS;
}

/* proc_raise(signal): the default action of the POSIX signal, as a run has no handlers. WASI
 * numbers its signals as Linux does on x86. A deadly one ends the run with 128 + signal, as shells
 * show it. */
WASI_FN(proc_raise) {
    enum {
        NONE = 0,
        CHLD = 16,
        CONT = 17,
        STOP = 18,
        TSTP = 19,
        TTIN = 20,
        TTOU = 21,
        URG = 22,
        WINCH = 27
    };
    switch ((uint32_t)a[0]) {
    case NONE:
    case CHLD:
    case CONT:
    case URG:
    case WINCH: return WASI_SUCCESS;
    case STOP:
    case TSTP:
    case TTIN:
    case TTOU: return WASI_ENOTSUP; /* nobody could resume it */
    default: break;
    }
    if ((uint32_t)a[0] > WASI_SIGNAL_MAX) return WASI_EINVAL;
    w->stop = WASI_STOP_EXIT;
    w->exit_code = 128 + (uint32_t)a[0];
    return WASI_SUCCESS;
}

/* sched_yield() */
WASI_FN(sched_yield) {
    (void)w;
    (void)a;
    (void)sched_yield(); /* always succeeds on Linux */
    return WASI_SUCCESS;
}

/* A run is never given a socket, so each open descriptor is something else. */
static wasi_errno not_a_socket(struct wasi *w, uint64_t fd) {
    struct wasi_fd *entry;
    wasi_errno e = wasi_fd_get(w, (uint32_t)fd, &entry);
    return e != WASI_SUCCESS ? e : WASI_ENOTSOCK;
}

/* sock_accept(fd, flags, *fd) */
WASI_FN(sock_accept) {
    return not_a_socket(w, a[0]);
}
/* sock_recv(fd, *iovs, iovs_len, ri_flags, *ro_datalen, *ro_flags) */
WASI_FN(sock_recv) {
    return not_a_socket(w, a[0]);
}
/* sock_send(fd, *iovs, iovs_len, si_flags, *so_datalen) */
WASI_FN(sock_send) {
    return not_a_socket(w, a[0]);
}
/* sock_shutdown(fd, how) */
WASI_FN(sock_shutdown) {
    return not_a_socket(w, a[0]);
}

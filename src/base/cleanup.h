/* Ownership on the stack: `_cleanup_(fd_closep) int fd = -1;` releases when the scope ends, and
 * steal_fd()/steal_ptr() hand the thing on. No path out of a function can forget to release. */
#ifndef PA_BASE_CLEANUP_H
#define PA_BASE_CLEANUP_H

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(function) __attribute__((cleanup(function)))

/* Closes *fd if it is open (>= 0); keeps errno. */
static inline void fd_closep(int *fd) {
    if (*fd >= 0) {
        int saved = errno;
        (void)close(*fd); /* the descriptor is gone whatever close() says */
        errno = saved;
        *fd = -1;
    }
}

static inline void freep(void *pointer) {
    free(*(void **)pointer);
}

/* Takes the descriptor out of *fd, which no longer owns it. */
static inline int steal_fd(int *fd) {
    int taken = *fd;
    *fd = -1;
    return taken;
}

/* Takes the pointer out of variable `p`, which no longer owns it. */
#define steal_ptr(p) \
    ({ \
        __auto_type taken_ = (p); \
        (p) = NULL; \
        taken_; \
    })

#endif

/* Landlock: no file but beneath the mounts, no TCP, no signals or abstract sockets to the outside,
 * to the ABI that the kernel has (Documentation/userspace-api/landlock.rst). */
#ifndef PA_WORKER_LANDLOCK_H
#define PA_WORKER_LANDLOCK_H

#include "wasi/wasi.h"

/* 0: the kernel has none, or it is off. */
int landlock_abi(void);

/* For this process and its children, for ever. What lies beneath the directory `scope_fd` (-1:
 * none) is allowed, too, and to read the file `code_fd` (likewise). Needs no_new_privs. 0 or a
 * negative errno. */
int landlock_restrict(const struct wasi_mount_config *mounts, size_t count, int scope_fd,
                      int code_fd);

/* What a process that serves may reach. */
struct landlock_service {
    const int *folders; /* open directories, to read and write beneath; `folder_count` */
    size_t folder_count;
    const char *const *readable; /* paths, to read at and beneath; ended by a NULL; may be NULL */
    const uint16_t
        *connect; /* TCP ports to connect to (ABI 4); `connect_count`. None to listen at. */
    size_t connect_count;
};
/* The same for such a one. 0 or a negative errno. */
int landlock_restrict_service(const struct landlock_service *service);

#endif

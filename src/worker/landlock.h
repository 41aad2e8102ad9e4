/* Landlock: no file but beneath the mounts, no TCP, no signals or abstract sockets to the outside,
 * to the ABI that the kernel has (Documentation/userspace-api/landlock.rst). */
#ifndef PA_WORKER_LANDLOCK_H
#define PA_WORKER_LANDLOCK_H

#include "wasi/wasi.h"

/* 0: the kernel has none, or it is off. */
int landlock_abi(void);

/* For this process and its children, for ever. What lies beneath the directory `scope_fd` (-1:
 * none) is allowed, too. Needs no_new_privs. 0 or a negative errno. */
int landlock_restrict(const struct wasi_mount_config *mounts, size_t count, int scope_fd);

#endif

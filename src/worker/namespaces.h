/* Namespaces, entered once by a zygote and inherited by its workers, and an empty root. */
#ifndef PA_WORKER_NAMESPACES_H
#define PA_WORKER_NAMESPACES_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

/* Ids of the host that a privileged zygote's user namespace maps: 0 of the zygote, 1 + slot of the
 * workers. Nobody else should own files under these. */
enum { NAMESPACE_FIRST_UID = 1879048192, NAMESPACE_UIDS = 65536 };

/* Leaves the host's namespaces as far as the kernel allows and `enabled` layers ask; `in_force`
 * gets the layers that came of it. In a namespace of users the caller is its root and nobody
 * outside. `many_ids` tells whether workers can have ids of their own. -1 only if the process is
 * left in a state that must not be used. */
int namespaces_enter(uint32_t enabled, uint32_t *in_force, bool *many_ids, struct error *err);

/* Puts an empty, read-only directory in the place of the root; needs the mount namespace. 0 or a
 * negative errno: then the root may be what it was. */
int namespaces_empty_root(void);

#endif

/* Sealing polyagent-net's front: it parses what strangers send, and has no privileges while it does
 * (docs/security.md). All of it is on before the first connection is accepted. */
#ifndef PA_NET_SEAL_H
#define PA_NET_SEAL_H

#include "config/config.h"
#include "worker/layers.h"
#include "worker/namespaces.h"

#include <sys/types.h>

/* Its user and group where the server is root: behind those of the workers. No entry in
 * /etc/passwd, no file but the sessions' and the runs'. */
enum { FRONT_UID = NAMESPACE_FIRST_UID + NAMESPACE_UIDS };

/* Whether this process can become FRONT_UID: it is root, with the rights for it, and the id is one
 * of its user namespace. Forks, so there must be one thread. */
bool seal_can_change_user(void);

struct front_seal {
    uint32_t enabled;   /* layers to try */
    bool own_user;      /* it becomes FRONT_UID, whose its folders are */
    const int *folders; /* open; beneath them it reads and writes; `folder_count` */
    size_t folder_count;
    const struct config *config; /* its bound of memory; where there is a model to be reached */
};

/* For ever. One thread, as threads do not take all of it over from each other. `in_force` gets the
 * layers that came of it. -1 with `err`: it must end. */
int seal_front(const struct front_seal *seal, uint32_t *in_force, struct error *err);

/* For the broker: it keeps the user, and of root's powers those over files; it can do nothing but
 * open them. */
int seal_broker(uint32_t enabled, struct error *err);

/* The TCP ports that an endpoint of a model may be at, with its proxies; the count, at most `most`.
 */
size_t seal_ports(const struct config *config, uint16_t *ports, size_t most);

#endif

/* The layers around a run, as bits: which may be used, which must be, and which are in force. */
#ifndef PA_WORKER_LAYERS_H
#define PA_WORKER_LAYERS_H

#include "base/error.h"

#include <stdint.h>

enum layer {
    LAYER_WASM = 1 << 0,
    LAYER_PROCESS = 1 << 1,
    LAYER_USER_NS = 1 << 2,
    LAYER_MOUNT_NS = 1 << 3, /* an empty root */
    LAYER_PID_NS = 1 << 4,
    LAYER_NET_NS = 1 << 5, /* no interfaces */
    LAYER_IPC_NS = 1 << 6,
    LAYER_UTS_NS = 1 << 7,
    LAYER_CGROUP_NS = 1 << 8,
    LAYER_CGROUP = 1 << 9, /* memory and pids of all workers together */
    LAYER_RLIMITS = 1 << 10,
    LAYER_NO_NEW_PRIVS = 1 << 11,
    LAYER_NOT_DUMPABLE = 1 << 12,
    LAYER_NO_CAPABILITIES = 1 << 13,
    LAYER_UID = 1 << 14, /* of the worker's slot */
    LAYER_LANDLOCK = 1 << 15,
    LAYER_SECCOMP = 1 << 16,
    LAYER_COUNT = 17
};
#define LAYERS_ALL ((UINT32_C(1) << LAYER_COUNT) - 1)

/* Those that there are for a process that serves, and is no worker: polyagent-net. A sanitizer
 * reads files of its own at any moment, so a service that is built with one has neither of the last
 * two. */
#ifdef __SANITIZE_ADDRESS__
#define LAYERS_OF_FILTERS 0
#else
#define LAYERS_OF_FILTERS (LAYER_LANDLOCK | LAYER_SECCOMP)
#endif
#define LAYERS_OF_SERVICES \
    ((uint32_t)(LAYER_PROCESS | LAYER_RLIMITS | LAYER_NO_NEW_PRIVS | LAYER_NOT_DUMPABLE | \
                LAYER_NO_CAPABILITIES | LAYER_UID | LAYERS_OF_FILTERS))

struct layer_policy {
    uint32_t enabled;  /* tried; the others are left out, as tests do */
    uint32_t required; /* without all of these nothing runs */
};

/* "seccomp" ...; NULL for a number out of range. */
const char *layer_name(unsigned number);

/* Comma-separated names, or "all" or "none", into a mask. -1 names the unknown one. */
int layers_parse(const char *text, uint32_t *mask, struct error *err);

/* Names of a mask, comma-separated, in order. */
void layers_format(uint32_t mask, char *out, size_t size);

/* All layers enabled; seccomp, no_new_privs, rlimits, and Landlock where the kernel has it,
 * required; then POLYAGENT_WASI_ISOLATION_LAYERS and POLYAGENT_WASI_ISOLATION_REQUIRED. */
int layer_policy_default(struct layer_policy *policy, struct error *err);

#endif

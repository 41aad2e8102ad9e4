/* A job on its way between processes: numbers in a header, text and data in a body (a sealed memfd
 * when it is large), and descriptors. The same form goes from a client to the supervisor and from
 * there to a worker. Whoever receives one trusts nothing in it. */
#ifndef PA_WORKER_PACKET_H
#define PA_WORKER_PACKET_H

#include "wasi/wasi.h"
#include "worker/layers.h"

enum {
    PACKET_MAX_MOUNTS = 64,
    PACKET_INLINE_BYTES = 32 << 10,
    PACKET_MAX_BODY_BYTES = 512 << 20,
    PACKET_MAX_STRINGS = 16384,
    PACKET_TENANT_BYTES = 64
};

/* Descriptors besides the mounts. */
enum packet_fd {
    PACKET_STDIN,
    PACKET_STDOUT,
    PACKET_STDERR,
    PACKET_TRACE,
    PACKET_PROFILE,
    PACKET_COREDUMP,
    PACKET_ANSWER,
    PACKET_SCOPE,  /* a directory that holds the workspaces of a session and its branches */
    PACKET_MODULE, /* from a client: the module; to a worker: its native code */
    PACKET_FDS
};

enum packet_flag {
    PACKET_WARM = 1 << 0, /* may be run by an interpreter that has already started */
    PACKET_DENY_CLOCK = 1 << 1,
    PACKET_DENY_RANDOM = 1 << 2,
    PACKET_DETERMINISTIC = 1 << 3,
    PACKET_TRUNCATE = 1 << 4,
    PACKET_INVOKE = 1 << 5, /* the first string is the function's name */
    PACKET_STDIN_DATA = 1 << 6,
    PACKET_BODY_MEMFD = 1 << 7,
    PACKET_LASTS = 1 << 8, /* to a zygote: it will serve many jobs */
    PACKET_STAYS = 1 << 9, /* the interpreter is kept when the job has ended, as a node */
    PACKET_DROP = 1 << 10, /* no job: node `node` is not needed any more; there is no reply */
    PACKET_HOLD = 1 << 11, /* no job: nodes of `holder` are dropped when this connection ends */
    PACKET_SAME_MOUNTS = 1 << 12, /* as the node has them; none come along */
    PACKET_CANCEL = 1 << 13,      /* no job: the one under way ends, and its reply comes */
    PACKET_EXCEPTIONS = 1 << 14,
    PACKET_STUBS = 1 << 15,
    PACKET_MOVED = 1 << 16,     /* the files are others than when the node came to rest */
    PACKET_PATIENT = 1 << 17,   /* it waits for its interpreter to be compiled, however long */
    PACKET_TO_MODULE = 1 << 18, /* Python (compile/source.h) is to become a module in PACKET_STDOUT,
                                   a file (struct compiler_module); nothing runs */
    PACKET_ALL_FLAGS = (1 << 19) - 1
};

struct packet_header {
    uint32_t magic;
    uint32_t flags;
    uint32_t fds;     /* bit n: there is a descriptor for enum packet_fd n; they come in its order,
                         after     the body's memfd and before those of the mounts */
    uint32_t variant; /* of the engine */
    uint32_t argc;
    uint32_t env_count;
    uint32_t mount_count;
    uint32_t slot;            /* of the worker */
    uint32_t mask;            /* umask(2) of whoever sends the job */
    uint64_t writable_mounts; /* bit n: mount n */
    uint64_t fixed_mounts;    /* likewise */
    uint64_t body_bytes;
    uint64_t job_bytes;       /* the body begins with these, */
    uint64_t stdin_bytes;     /* then come these, */
    uint64_t rehearsal_bytes; /* then these, then the strings, each with its NUL */
    uint64_t seed;
    uint64_t deadline_ns; /* monotonic; the clock is the same in all processes */
    uint64_t node;        /* the job goes on from there; 0: from the interpreter's start */
    uint64_t holder;      /* whose the node is that it leaves */
    struct layer_policy policy;
    struct pa_limits limits;
    char tenant[PACKET_TENANT_BYTES];
};

struct packet {
    struct packet_header header;
    uint8_t *body;                    /* owned; NULL when it is in `body_fd` */
    int body_fd;                      /* owned; -1 */
    int fds[PACKET_FDS];              /* owned; -1 */
    int mount_fds[PACKET_MAX_MOUNTS]; /* owned; -1 */
};

/* No descriptors, nothing to release. */
void packet_init(struct packet *packet);
void packet_fini(struct packet *packet);

/* Fills an empty packet from a job: copies its data, duplicates its descriptors, opens its mounts'
 * host directories. -1 with `err`: nothing to release. */
int packet_pack(struct packet *packet, const struct pa_job *job, struct error *err);

struct cache;
/* -1 with `err` if a writable mount overlaps the cache of compiled modules. */
int packet_check_mounts(const struct packet *packet, const struct cache *cache, struct error *err);

/* 0 or a negative errno; -EAGAIN only if not `wait`. The packet stays the caller's. */
int packet_send(const struct packet *packet, int socket, int wait);

/* 1 with a packet, 0 at the end of the connection, or -errno; -EPROTO for a malformed one. */
int packet_receive(struct packet *packet, int socket, int wait);

/* A packet as a job again. The view points into the packet, which must outlive it. */
struct packet_view {
    struct pa_job job;
    struct wasi_mount_config mounts[PACKET_MAX_MOUNTS];
    const char **strings; /* owned */
    void *mapping;        /* owned, of the body's memfd */
    size_t mapping_bytes;
};

/* Checks everything: -1 with `err` for whatever is inconsistent. Nothing to release then. */
int packet_open(const struct packet *packet, struct packet_view *view, struct error *err);
void packet_view_fini(struct packet_view *view);

#endif

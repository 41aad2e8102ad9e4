/* Sealing a worker, in two steps: what does not depend on the job while it waits for one, the rest
 * between the job's arrival and the guest's first instruction. The order matters (seal.c). */
#ifndef PA_WORKER_SEAL_H
#define PA_WORKER_SEAL_H

#include "worker/layers.h"
#include "worker/seccomp.h"
#include "wasi/wasi.h"

#include <stdbool.h>

/* What a zygote knows, and its workers inherit. */
struct seal {
    struct seccomp_filters filters;
    uint32_t enabled;     /* layers to try */
    uint32_t in_force;    /* those inherited from the zygote */
    bool many_ids;        /* a worker can take the id of its slot */
    uint64_t data_bytes;  /* that count for RLIMIT_DATA in the zygote, linear memory excluded */
    uint64_t space_bytes; /* of addresses, that its workers begin with; 0: not known */
    int first_fd;         /* from here on descriptors belong to no worker */
};

/* The zygote itself, before it runs anything: namespaces, capabilities, limits, no_new_privs. */
int seal_zygote(struct seal *seal, struct error *err);

/* A worker before it has a job; it owns descriptors below seal->first_fd and nothing else. Adds to
 * `in_force`. -1: it must end. */
struct seal_place {
    uint32_t slot;
    bool stays;
    bool has_pid_ns;        /* it was made in a pid namespace of its own */
    uint32_t max_processes; /* of its user id, for one that stays; 0: not bounded */
};
int seal_worker(const struct seal *seal, const struct seal_place *place, uint32_t *in_force,
                struct error *err);

/* A process that only waits for its end: it takes the id of the slot, and drops all capabilities. 0
 * or a negative errno. */
int seal_keeper(const struct seal *seal, uint32_t slot);

/* In the place of seal_worker(), for the copy of a worker that was sealed for a job of its own:
 * what is not inherited. */
int seal_inherit(struct error *err);

/* A descriptor to measure this process by, the caller's, or a negative errno; `proc_fd` is /proc.
 */
int seal_open_measure(int proc_fd);
/* What this process has of addresses and of data; 0 where it cannot be told. */
void seal_measure(int measure_fd, uint64_t *space_bytes, uint64_t *data_bytes);

/* The first filter, before code of strangers is loaded: it lets through what it takes to load it,
 * to make workers and to seal them. Without no_new_privs there is none. */
int seal_loading(struct seal *seal, struct error *err);

/* Landlock around a worker with these mounts and this scope (struct seal_needs); `code_fd` (-1:
 * none) is what it may still load. Adds to `in_force`. */
void seal_files(const struct seal *seal, const struct wasi_mount_config *mounts, size_t count,
                int scope_fd, int code_fd, uint32_t *in_force);

struct seal_needs {
    bool stays;           /* it makes copies of itself later */
    int scope_fd;         /* a directory that the mounts of later jobs lie beneath; -1: none */
    bool cpu_only;        /* all else is inherited */
    bool files_sealed;    /* seal_files() was called */
    uint64_t space_bytes; /* of addresses, now; 0: not known, and not bounded */
};
/* The rest, for a job with these limits and mounts. */
int seal_job(const struct seal *seal, const struct pa_job *job,
             const struct wasi_mount_config *mounts, const struct seal_needs *needs,
             uint32_t *in_force, struct error *err);

/* The compiler, which keeps its open descriptors, its memory and its threads, and nothing else. It
 * has limits and no_new_privs of its own already. 0 or a negative errno. */
int seal_compiler(void);

#endif

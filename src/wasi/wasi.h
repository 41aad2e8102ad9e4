/* The WASI preview1 host: 46 functions over a table of descriptors, without any knowledge of the
 * engine. A `struct wasi` is the world of one run: its arguments, its streams, its mounts, its
 * clock and random numbers. The sandbox calls functions by their table entry; unit tests do the
 * same.
 *
 * Nothing here is thread-safe: one run, one thread. */
#ifndef PA_WASI_WASI_H
#define PA_WASI_WASI_H

#include "base/buffer.h"
#include "base/error.h"
#include "wasi/abi.h"
#include "wasi/guest_memory.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Why the guest must not go on after a call. */
enum wasi_stop {
    WASI_RUNNING = 0,
    WASI_STOP_EXIT,         /* proc_exit or a deadly proc_raise; wasi_exit_code() tells */
    WASI_STOP_DEADLINE,     /* a blocking call reached the deadline */
    WASI_STOP_OUTPUT_LIMIT, /* stdout or stderr passed its cap */
};

struct wasi_mount_config {
    const char *guest_path;
    int dir_fd; /* an open directory; duplicated, stays the caller's */
    bool writable;
    bool fixed; /* the same for all jobs: wasi_rebind() leaves it as it is */
};

/* Where one of the guest's output streams goes: `capture` if not NULL, else `fd`. */
struct wasi_sink_config {
    int fd; /* stays the caller's */
    struct buffer *capture;
};

enum { WASI_TAIL_BYTES = 1024 };

struct wasi_output_counts {
    uint64_t bytes;    /* as the guest wrote them, dropped ones included */
    uint8_t truncated; /* no bool: it stands in a report that a stranger may have written */
    uint16_t held;     /* bytes in its tail, not written yet */
};

/* The last piece of a line of stdout or stderr, until the line is complete or WASI_TAIL_BYTES long,
 * or the host calls wasi_flush(). Where a parent process can read it, nothing is lost by a kill. */
struct wasi_tails {
    uint8_t bytes[2][WASI_TAIL_BYTES];
};

/* What the writable mounts have grown by since the job began, files without a name left out. In a
 * report that a stranger may have written. */
struct wasi_growth {
    int64_t bytes; /* in whole blocks: wasi_disk_bytes() */
    int64_t names;
};

/* What a file takes of a quota of bytes, as both the guest's host and whoever counts from outside
 * reckon it. */
uint64_t wasi_disk_bytes(mode_t mode, uint64_t size);

enum { WASI_MAX_ANSWER_BYTES = 32 << 20 }; /* that a guest may write to descriptor 0 in a job */

struct wasi_config {
    const char *const *argv;
    size_t argc;
    const char *const *env;
    size_t env_count;
    int stdin_fd;           /* -1: none; stays the caller's */
    const void *stdin_data; /* used instead of stdin_fd when not NULL */
    size_t stdin_bytes;
    const void *job_data; /* read at descriptor 0 before stdin when not NULL */
    size_t job_bytes;
    int answer_fd; /* > 0: what is written to descriptor 0 goes there; stays the caller's */
    struct wasi_sink_config stdout_sink;
    struct wasi_sink_config stderr_sink;
    uint64_t output_limit_bytes; /* of each stream; 0 = none */
    bool output_truncate;
    const struct wasi_mount_config *mounts;
    size_t mount_count;
    uint32_t max_open_files;
    uint64_t workspace_bytes; /* how much the writable mounts may grow */
    uint64_t workspace_inodes;
    struct wasi_growth *growth; /* kept up to date like `counts`; NULL: not wanted */
    mode_t mask;                /* permissions that new files and directories do not get */
    bool deny_clock;
    bool deny_random; /* an interpreter's own start has them all the same */
    bool deterministic;
    uint64_t seed;
    uint64_t deadline_ns; /* monotonic; CLOCK_NEVER = none */
    int trace_fd;         /* > 0: one line a call */
    /* Kept up to date for stdout and stderr while the run goes on, so that a parent process can
     * read them after a kill; must outlive the struct wasi. */
    struct wasi_output_counts *counts;
    struct wasi_tails *tails; /* likewise; NULL: all is written at once */
    /* Called when something begins to be held in a tail, which is to be written soon. */
    void (*held)(void);
    /* Called once if not NULL, before the guest's first read of descriptor 0 returns anything: the
     * checkpoint of a warm interpreter. It may call wasi_rebind(). */
    void (*before_input)(void *context);
    void *before_input_context;
    /* `before_input` is called once more, when the guest has written to descriptor 0 and reads from
     * it again: the end of a session's turn. */
    bool stays;
    bool same_mounts; /* for wasi_rebind(): they stay, whatever stands in `mounts` */
    bool moved;       /* for wasi_rebind(): the files are others than when the last turn ended */
};

struct wasi;

/* Copies what it needs of `config`, but for the data pointers, which must outlive it. NULL on
 * error. */
struct wasi *wasi_new(const struct wasi_config *config, struct error *err);
void wasi_free(struct wasi *wasi);

/* Writes what is held. */
void wasi_flush(struct wasi *wasi);
/* The same in a signal's handler, on the thread of the one world of this process that has tails. */
void wasi_flush_in_signal(void);

/* A job of an interpreter that stays has ended: lets go of all that was the job's and is not the
 * guest's. Next comes wasi_rebind(), perhaps in a copy of this process. */
void wasi_rest(struct wasi *wasi);

/* Gives the world of a warm interpreter to a job: streams, mounts, limits, clocks and random
 * numbers are those of `config` from now on. Arguments and environment stay, as the guest has read
 * them; the mounts must be as many and under the same names as at the start. -1 with `err` if they
 * are not.
 * What is open in a mount that is not fixed is the same file, at the same offset, as at the last
 * wasi_rest(); where the files `moved`, it is opened again by its path. What is not there any more
 * is lost: its descriptor stays taken, and answers EIO. wasi_lost() tells how many are.
 * Nothing of the former job is left, whatever numbers the guest has moved its descriptors to. */
int wasi_rebind(struct wasi *wasi, const struct wasi_config *config, struct error *err);

uint32_t wasi_lost(const struct wasi *wasi);

/* Tells which memory the guest's pointers mean; `memory` must outlive the calls. */
void wasi_set_memory(struct wasi *wasi, const struct guest_memory *memory);

enum wasi_stop wasi_stopped(const struct wasi *wasi);
uint32_t wasi_exit_code(const struct wasi *wasi);

/* One host function. `params` has a letter a parameter: 'i' = i32, 'I' = i64. The result is an
 * errno as i32, but for proc_exit, which has none. */
struct wasi_function {
    const char *name;
    const char *params;
    bool returns_errno;
    wasi_errno (*call)(struct wasi *wasi, const uint64_t *args);
};

/* All functions of wasi_snapshot_preview1. */
extern const struct wasi_function wasi_functions[];
extern const size_t wasi_function_count;

/* Calls and, if asked for, traces it. After each call look at wasi_stopped(). */
wasi_errno wasi_call(struct wasi *wasi, const struct wasi_function *function, const uint64_t *args);

#endif

/* What the files of src/wasi share: the world of one run and its descriptors. */
#ifndef PA_WASI_INTERNAL_H
#define PA_WASI_INTERNAL_H

#include "base/clock.h"
#include "wasi/wasi.h"

#include <limits.h>
#include <sys/stat.h>
#include <sys/uio.h>

enum {
    WASI_MAX_IOVECS = 1024,           /* Linux's own IOV_MAX */
    WASI_MAX_CALL_BYTES = 16 << 20,   /* one read or write moves at most this much */
    WASI_MAX_SUBSCRIPTIONS = 4096,    /* of one poll_oneoff */
    WASI_MAX_STRINGS_BYTES = 1 << 20, /* argv, and env */
    WASI_FIRST_PREOPEN = 3            /* where libc looks for them */
};

/* LOST: taken, but what it led to is not there any more (reopen.c). */
enum wasi_kind { WASI_CLOSED = 0, WASI_FILE, WASI_DIRECTORY, WASI_INPUT, WASI_OUTPUT, WASI_LOST };

struct wasi_origin;  /* how to open it again (reopen.c) */
struct wasi_listing; /* a directory's entries as read at cookie 0 (directory.c) */

struct wasi_bytes { /* the caller's memory, being read */
    const uint8_t *data;
    uint64_t left;
};

/* One of stdout and stderr. */
struct wasi_stream {
    int fd; /* the caller's; -1 when captured */
    struct buffer *capture;
    struct wasi_output_counts *counts; /* the caller's */
    uint8_t *tail;                     /* likewise; NULL: all is written at once */
};

struct wasi_fd {
    enum wasi_kind kind;
    int host_fd; /* of FILE and DIRECTORY: owned, unless preopened; wasi_host_fd() for all kinds */
    uint64_t rights_base;
    uint64_t rights_inheriting;
    uint16_t flags;
    bool writable_mount;
    bool held;                    /* FILE: without a name, and charged as long as it is open */
    bool preopened;               /* it is the mount itself, whose descriptor is the mount's */
    uint32_t mount;               /* FILE and DIRECTORY: in which of wasi.mounts it lies */
    struct wasi_listing *listing; /* owned */
    struct wasi_origin *origin;   /* owned; NULL: not known */
    struct wasi_stream *stream;   /* OUTPUT: one of wasi.streams */
};

struct wasi_mount {
    char *guest_path; /* owned */
    int fd;           /* owned; a directory */
    int former_fd;    /* likewise, while it is exchanged; -1 */
    bool writable;
    bool fixed;
};

/* What a job brings to be read. It stands here and not in a descriptor, which the guest may move to
 * another number: with the job's end nothing of it is left anywhere. */
struct wasi_input {
    struct wasi_bytes job;   /* these first, */
    struct wasi_bytes stdin; /* then these if there are any, */
    int fd;                  /* else this; the caller's; -1: none */
};

struct wasi_inodes {               /* inode.c */
    struct wasi_inode_slot *slots; /* owned; a hash table of `capacity`, a power of 2 */
    size_t count, capacity;
    uint64_t last; /* that was given */
};

struct wasi_strings { /* argv or env, as the guest wants them: NUL-terminated, one after another */
    char *data;
    uint32_t bytes;
    uint32_t count;
};

struct wasi {
    const struct guest_memory *memory;
    struct wasi_fd *fds;
    uint32_t fd_capacity;
    uint32_t fd_top; /* no number from here on was ever open */
    struct wasi_input input;
    struct wasi_stream streams[2];
    void (*held)(void);
    struct wasi_strings argv;
    struct wasi_strings env;
    uint64_t output_limit_bytes;
    bool output_truncate;
    bool deny_clock;
    bool deny_random;
    bool deterministic;
    mode_t mask;
    uint64_t deadline_ns;
    uint64_t start_ns;
    uint64_t virtual_ns; /* deterministic mode: nanoseconds since the run's start */
    uint8_t random_key[32];
    uint64_t random_block;
    int64_t quota_bytes; /* still free; below 0: more is held than there is room for */
    int64_t quota_names;
    int64_t held_bytes;         /* of files without a name that are open */
    struct wasi_growth *growth; /* the caller's; NULL: nobody wants to know */
    struct wasi_inodes inodes;
    uint32_t lost; /* descriptors, with the job that began last */
    enum wasi_stop stop;
    uint32_t exit_code;
    int trace_fd;
    void (*before_input)(void *context); /* NULL: none */
    void *before_input_context;
    bool reached_input; /* it was called already ... */
    bool stays;         /* ... but is again, after an answer */
    int answer_fd;      /* the caller's; <= 0: none */
    uint64_t answer_bytes;
    struct wasi_mount *mounts;
    uint32_t mount_count;
};

/* job.c: what a job brings, at the start and when it is exchanged */
void wasi_job_begin(struct wasi *w, const struct wasi_config *config);
int wasi_mounts_open(struct wasi *w, const struct wasi_config *config, struct error *err);
void wasi_mounts_close(struct wasi *w);

/* descriptor.c: the table */
wasi_errno wasi_fd_get(struct wasi *w, uint32_t fd, struct wasi_fd **out);
/* The same, and the descriptor must be of `kind` (else `wrong_kind`) and have all `rights`. */
wasi_errno wasi_fd_require(struct wasi *w, uint32_t fd, enum wasi_kind kind, wasi_errno wrong_kind,
                           uint64_t rights, struct wasi_fd **out);
/* The lowest free number; EMFILE when all are taken. */
wasi_errno wasi_fd_reserve(struct wasi *w, uint32_t *fd);
void wasi_fd_release(struct wasi *w, struct wasi_fd *entry);
/* The host's descriptor behind it, for looking at; -1: there is none. */
int wasi_host_fd(const struct wasi *w, const struct wasi_fd *entry);
/* Whether a file without a name is charged, as one of its descriptors is open. */
bool wasi_fd_is_held(const struct wasi *w, const struct stat *st);
/* A file has lost its last name: its descriptors hold it. False if there are none. */
bool wasi_fd_hold(struct wasi *w, const struct stat *st);

/* reopen.c */
/* Notes how what `entry` has open, by a path in `dir`, can be opened again. */
void wasi_origin_note(struct wasi *w, struct wasi_fd *entry, const struct wasi_fd *dir,
                      const char *path, uint64_t flags);
/* A name has moved. */
void wasi_origins_move(struct wasi *w, const struct wasi_fd *from_dir, const char *from,
                       const struct wasi_fd *to_dir, const char *to);
/* At the end of a turn, and at the beginning of the next; `moved`: in other files than before. */
void wasi_origins_rest(struct wasi *w);
void wasi_origins_begin(struct wasi *w, bool moved);

/* inode.c */
/* The number that the guest knows the file by. */
uint64_t wasi_inode(struct wasi *w, dev_t dev, ino_t ino);
/* In deterministic mode: when it was read and changed last, as the guest has set it or by the clock
 * that it sees; the run's start where neither was. */
void wasi_inode_times(struct wasi *w, const struct stat *st, uint64_t out[2]);
void wasi_inode_set_times(struct wasi *w, const struct stat *st, const struct timespec times[2]);
void wasi_inode_written(struct wasi *w, const struct stat *st);
/* `now` has the place of `former`, and its number. False when memory runs out. */
bool wasi_inode_keep(struct wasi *w, const struct stat *former, const struct stat *now);
/* The file is no more. */
void wasi_inode_forget(struct wasi *w, const struct stat *st);
void wasi_inodes_fini(struct wasi_inodes *inodes);

/* errno.c */
wasi_errno wasi_from_errno(int number);

/* path.c: resolution that cannot leave the directory */
struct wasi_path {
    char text[PATH_MAX]; /* without trailing slashes */
    bool must_be_directory;
};
wasi_errno wasi_path_copy(struct wasi *w, uint32_t ptr, uint32_t len, struct wasi_path *path);
/* The flags of open(2) for those of a descriptor. */
uint64_t wasi_host_fdflags(uint16_t fdflags);
/* openat2 beneath `dir_fd`; a descriptor >= 0 or a negative WASI errno. */
int wasi_path_resolve(int dir_fd, const char *path, uint64_t flags, uint64_t mode);

/* file.c */
wasi_errno wasi_write_filestat(struct wasi *w, const struct stat *st, uint32_t ptr);
uint8_t wasi_filetype(mode_t mode);
wasi_errno wasi_times(struct wasi *w, uint64_t atim, uint64_t mtim, uint16_t fstflags,
                      struct timespec out[2]);
/* By an open descriptor. */
wasi_errno wasi_set_times(struct wasi *w, int fd, const struct timespec times[2]);
/* At most `most` bytes of them. */
wasi_errno wasi_iovecs(struct wasi *w, uint32_t ptr, uint32_t count, uint64_t most,
                       struct iovec *out, int *used);

/* directory.c */
void wasi_listing_free(struct wasi_listing *listing);

/* stream.c */
void wasi_reach_input(struct wasi *w); /* the checkpoint, if there is one ahead */
wasi_errno wasi_stream_read(struct wasi *w, const struct wasi_fd *in, const struct iovec *iov,
                            int count, size_t *done);
/* Nothing is held any more, nor told of. */
void wasi_streams_begin(void);
/* To descriptor 0. */
wasi_errno wasi_stream_answer(struct wasi *w, const struct iovec *iov, int count, size_t *done);
wasi_errno wasi_stream_write(struct wasi *w, struct wasi_fd *out, const struct iovec *iov,
                             int count, size_t *done);

/* clock.c */
uint64_t wasi_clock_now_ns(struct wasi *w, uint32_t clock);

/* quota.c: growth of the writable mounts. A charge that does not fit returns EDQUOT, takes nothing.
 */
/* A job's quotas, less what files without a name hold that are open from a former turn. */
void wasi_quota_begin(struct wasi *w, uint64_t bytes, uint64_t names, struct wasi_growth *growth);
/* A new name for an empty file (S_IFREG), which a second one of a file counts as, or of another
 * kind. */
wasi_errno wasi_quota_take_name(struct wasi *w, mode_t mode);
void wasi_quota_give_name(struct wasi *w, mode_t mode);
/* An open regular file is made larger or smaller; the latter never fails. */
wasi_errno wasi_quota_resize(struct wasi *w, const struct stat *st, uint64_t from, uint64_t to);
/* A name of what `st` told of before is gone. */
void wasi_quota_unlinked(struct wasi *w, const struct stat *st);
/* The last descriptor of a file that was held is closed. */
void wasi_quota_released(struct wasi *w, const struct stat *st);

/* The functions themselves, each in the file of its concern. */
#define WASI_FN(name) wasi_errno wasi_##name(struct wasi *w, const uint64_t *a)
WASI_FN(args_get);
WASI_FN(args_sizes_get);
WASI_FN(environ_get);
WASI_FN(environ_sizes_get);
WASI_FN(clock_res_get);
WASI_FN(clock_time_get);
WASI_FN(fd_advise);
WASI_FN(fd_allocate);
WASI_FN(fd_close);
WASI_FN(fd_datasync);
WASI_FN(fd_fdstat_get);
WASI_FN(fd_fdstat_set_flags);
WASI_FN(fd_fdstat_set_rights);
WASI_FN(fd_filestat_get);
WASI_FN(fd_filestat_set_size);
WASI_FN(fd_filestat_set_times);
WASI_FN(fd_pread);
WASI_FN(fd_prestat_get);
WASI_FN(fd_prestat_dir_name);
WASI_FN(fd_pwrite);
WASI_FN(fd_read);
WASI_FN(fd_readdir);
WASI_FN(fd_renumber);
WASI_FN(fd_seek);
WASI_FN(fd_sync);
WASI_FN(fd_tell);
WASI_FN(fd_write);
WASI_FN(path_create_directory);
WASI_FN(path_filestat_get);
WASI_FN(path_filestat_set_times);
WASI_FN(path_link);
WASI_FN(path_open);
WASI_FN(path_readlink);
WASI_FN(path_remove_directory);
WASI_FN(path_rename);
WASI_FN(path_symlink);
WASI_FN(path_unlink_file);
WASI_FN(poll_oneoff);
WASI_FN(proc_exit);
WASI_FN(proc_raise);
WASI_FN(random_get);
WASI_FN(sched_yield);
WASI_FN(sock_accept);
WASI_FN(sock_recv);
WASI_FN(sock_send);
WASI_FN(sock_shutdown);

#endif

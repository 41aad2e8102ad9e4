/* What can be done with an open file: reading, writing, positions, sizes, times, status. */
#include "wasi/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

wasi_errno wasi_iovecs(struct wasi *w, uint32_t ptr, uint32_t count, uint64_t most,
                       struct iovec *out, int *used) {
    uint8_t *array;
    uint64_t total = 0;
    *used = 0;
    if (count > WASI_MAX_IOVECS) return WASI_EINVAL;
    if (!guest_span(w->memory, ptr, (uint64_t)count * WASI_IOVEC_BYTES, &array)) return WASI_EFAULT;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t pair[2];
        uint8_t *data;
        memcpy(pair, array + (size_t)i * WASI_IOVEC_BYTES, sizeof pair);
        if (!guest_span(w->memory, pair[0], pair[1], &data)) return WASI_EFAULT;
        uint64_t room = most - total;
        size_t part = pair[1] < room ? pair[1] : (size_t)room;
        if (part > 0) {
            out[*used] = (struct iovec){.iov_base = data, .iov_len = part};
            (*used)++;
            total += part;
        }
        if (part < pair[1]) break; /* a short read or write: the guest comes back for the rest */
    }
    return WASI_SUCCESS;
}

static size_t iovecs_bytes(const struct iovec *iov, int count) {
    size_t total = 0;
    for (int i = 0; i < count; i++)
        total += iov[i].iov_len;
    return total;
}

/* A file for data operations: a directory or a stream is no such thing. */
static wasi_errno file_get(struct wasi *w, uint64_t fd, uint64_t rights, struct wasi_fd **out) {
    wasi_errno e = wasi_fd_get(w, (uint32_t)fd, out);
    if (e != WASI_SUCCESS) return e;
    if ((*out)->kind == WASI_DIRECTORY) return WASI_EBADF;
    if ((*out)->kind != WASI_FILE) return WASI_ESPIPE;
    return ((*out)->rights_base & rights) == rights ? WASI_SUCCESS : WASI_ENOTCAPABLE;
}

static wasi_errno put_count(struct wasi *w, uint64_t ptr, size_t count) {
    return guest_put_u32(w->memory, (uint32_t)ptr, (uint32_t)count) ? WASI_SUCCESS : WASI_EFAULT;
}

static wasi_errno transfer_get(struct wasi *w, uint64_t fd, uint64_t right, struct wasi_fd **out) {
    wasi_errno e = wasi_fd_get(w, (uint32_t)fd, out);
    if (e != WASI_SUCCESS) return e;
    if ((*out)->kind == WASI_DIRECTORY) return WASI_EBADF;
    return (*out)->rights_base & right ? WASI_SUCCESS : WASI_ENOTCAPABLE;
}

/* fd_read(fd, *iovs, iovs_len, *nread) */
WASI_FN(fd_read) {
    struct iovec iov[WASI_MAX_IOVECS];
    struct wasi_fd *entry;
    int count;
    size_t done = 0;
    wasi_errno e = transfer_get(w, a[0], WASI_RIGHT_FD_READ, &entry);
    if (e == WASI_SUCCESS)
        e = wasi_iovecs(w, (uint32_t)a[1], (uint32_t)a[2], WASI_MAX_CALL_BYTES, iov, &count);
    if (e != WASI_SUCCESS) return e;
    if (count > 0 && entry->kind == WASI_INPUT) {
        e = wasi_stream_read(w, entry, iov, count, &done);
        if (e != WASI_SUCCESS) return e;
    } else if (count > 0) {
        ssize_t got = readv(entry->host_fd, iov, count);
        if (got < 0) return wasi_from_errno(errno);
        done = (size_t)got;
    }
    return put_count(w, a[3], done);
}

/* Where a write is going to end, and the file's status before it. */
static wasi_errno end_of_write(const struct wasi_fd *entry, off_t offset, size_t total,
                               struct stat *st, uint64_t *end) {
    off_t at = offset;
    if (fstat(entry->host_fd, st) != 0) return wasi_from_errno(errno);
    if (entry->flags & WASI_FDFLAG_APPEND) {
        at = st->st_size;
    } else if (offset < 0) {
        at = lseek(entry->host_fd, 0, SEEK_CUR);
    }
    if (at < 0) return wasi_from_errno(errno);
    return __builtin_add_overflow((uint64_t)at, total, end) ? WASI_EFBIG : WASI_SUCCESS;
}

/* Writes at the file's position (`offset` < 0) or at `offset`, within the quota. */
static wasi_errno file_write(struct wasi *w, struct wasi_fd *entry, const struct iovec *iov,
                             int count, off_t offset, size_t *done) {
    struct stat st = {0};
    uint64_t end = 0;
    size_t total = iovecs_bytes(iov, count);
    if (entry->writable_mount) {
        wasi_errno e = end_of_write(entry, offset, total, &st, &end);
        if (e == WASI_SUCCESS && end > (uint64_t)st.st_size)
            e = wasi_quota_resize(w, &st, (uint64_t)st.st_size, end);
        if (e != WASI_SUCCESS) return e;
    }
    ssize_t put = offset < 0 ? writev(entry->host_fd, iov, count)
                             : pwritev(entry->host_fd, iov, count, offset);
    int number = errno;
    size_t written = put < 0 ? 0 : (size_t)put;
    if (written < total && end > (uint64_t)st.st_size) { /* growth that did not happen */
        uint64_t reached = end - (total - written);
        if (written == 0 || reached < (uint64_t)st.st_size) reached = (uint64_t)st.st_size;
        (void)wasi_quota_resize(w, &st, end, reached);
    }
    if (put < 0) return wasi_from_errno(number);
    if (entry->writable_mount) wasi_inode_written(w, &st);
    *done = written;
    return WASI_SUCCESS;
}

/* fd_write(fd, *iovs, iovs_len, *nwritten) */
WASI_FN(fd_write) {
    struct iovec iov[WASI_MAX_IOVECS];
    struct wasi_fd *entry;
    int count;
    size_t done = 0;
    wasi_errno e = transfer_get(w, a[0], WASI_RIGHT_FD_WRITE, &entry);
    if (e != WASI_SUCCESS) return e;
    /* Streams take all that there is: an interpreter without a buffer does not come back for it. */
    uint64_t most = entry->kind == WASI_OUTPUT ? UINT32_MAX : WASI_MAX_CALL_BYTES;
    e = wasi_iovecs(w, (uint32_t)a[1], (uint32_t)a[2], most, iov, &count);
    if (e != WASI_SUCCESS) return e;
    if (count > 0) {
        e = entry->kind == WASI_OUTPUT  ? wasi_stream_write(w, entry, iov, count, &done)
            : entry->kind == WASI_INPUT ? wasi_stream_answer(w, iov, count, &done)
                                        : file_write(w, entry, iov, count, -1, &done);
        if (e != WASI_SUCCESS) return e;
    }
    return put_count(w, a[3], done);
}

/* fd_pread(fd, *iovs, iovs_len, offset, *nread) */
WASI_FN(fd_pread) {
    struct iovec iov[WASI_MAX_IOVECS];
    struct wasi_fd *entry;
    int count;
    ssize_t got = 0;
    wasi_errno e = file_get(w, a[0], WASI_RIGHT_FD_READ | WASI_RIGHT_FD_SEEK, &entry);
    if (e == WASI_SUCCESS)
        e = wasi_iovecs(w, (uint32_t)a[1], (uint32_t)a[2], WASI_MAX_CALL_BYTES, iov, &count);
    if (e != WASI_SUCCESS) return e;
    if (a[3] > INT64_MAX) return WASI_EINVAL;
    if (count > 0) got = preadv(entry->host_fd, iov, count, (off_t)a[3]);
    return got < 0 ? wasi_from_errno(errno) : put_count(w, a[4], (size_t)got);
}

/* fd_pwrite(fd, *iovs, iovs_len, offset, *nwritten) */
WASI_FN(fd_pwrite) {
    struct iovec iov[WASI_MAX_IOVECS];
    struct wasi_fd *entry;
    int count;
    size_t done = 0;
    wasi_errno e = file_get(w, a[0], WASI_RIGHT_FD_WRITE | WASI_RIGHT_FD_SEEK, &entry);
    if (e == WASI_SUCCESS)
        e = wasi_iovecs(w, (uint32_t)a[1], (uint32_t)a[2], WASI_MAX_CALL_BYTES, iov, &count);
    if (e != WASI_SUCCESS) return e;
    if (a[3] > INT64_MAX) return WASI_EINVAL;
    if (count > 0) e = file_write(w, entry, iov, count, (off_t)a[3], &done);
    return e != WASI_SUCCESS ? e : put_count(w, a[4], done);
}

/* fd_seek(fd, offset, whence, *newoffset). Asking for the position needs FD_TELL only. */
WASI_FN(fd_seek) {
    static const int whences[] = {SEEK_SET, SEEK_CUR, SEEK_END};
    struct wasi_fd *entry;
    if ((uint32_t)a[2] > WASI_WHENCE_END) return WASI_EINVAL;
    bool tells = a[1] == 0 && a[2] == WASI_WHENCE_CUR;
    wasi_errno e = file_get(w, a[0], tells ? WASI_RIGHT_FD_TELL : WASI_RIGHT_FD_SEEK, &entry);
    if (e != WASI_SUCCESS) return e;
    off_t at = lseek(entry->host_fd, (off_t)a[1], whences[(uint32_t)a[2]]);
    if (at < 0) return wasi_from_errno(errno);
    return guest_put_u64(w->memory, (uint32_t)a[3], (uint64_t)at) ? WASI_SUCCESS : WASI_EFAULT;
}

/* fd_tell(fd, *offset) */
WASI_FN(fd_tell) {
    const uint64_t seek[] = {a[0], 0, WASI_WHENCE_CUR, a[1]};
    return wasi_fd_seek(w, seek);
}

static wasi_errno flush_to_disk(struct wasi *w, uint64_t fd, uint64_t right, int (*sync)(int)) {
    struct wasi_fd *entry;
    wasi_errno e = wasi_fd_get(w, (uint32_t)fd, &entry);
    if (e != WASI_SUCCESS) return e;
    if (entry->kind == WASI_INPUT || entry->kind == WASI_OUTPUT) return WASI_EINVAL;
    if (!(entry->rights_base & right)) return WASI_ENOTCAPABLE;
    return sync(entry->host_fd) == 0 ? WASI_SUCCESS : wasi_from_errno(errno);
}

/* fd_sync(fd) */
WASI_FN(fd_sync) {
    return flush_to_disk(w, a[0], WASI_RIGHT_FD_SYNC, fsync);
}
/* fd_datasync(fd) */
WASI_FN(fd_datasync) {
    return flush_to_disk(w, a[0], WASI_RIGHT_FD_DATASYNC, fdatasync);
}

/* fd_advise(fd, offset, len, advice) */
WASI_FN(fd_advise) {
    static const int advices[] = {POSIX_FADV_NORMAL,   POSIX_FADV_SEQUENTIAL, POSIX_FADV_RANDOM,
                                  POSIX_FADV_WILLNEED, POSIX_FADV_DONTNEED,   POSIX_FADV_NOREUSE};
    struct wasi_fd *entry;
    uint64_t end;
    if ((uint32_t)a[3] >= sizeof advices / sizeof *advices) return WASI_EINVAL;
    wasi_errno e = file_get(w, a[0], WASI_RIGHT_FD_ADVISE, &entry);
    if (e != WASI_SUCCESS) return e;
    if (__builtin_add_overflow(a[1], a[2], &end) || end > INT64_MAX) return WASI_EINVAL;
    int error = posix_fadvise(entry->host_fd, (off_t)a[1], (off_t)a[2], advices[(uint32_t)a[3]]);
    return wasi_from_errno(error);
}

/* fd_allocate(fd, offset, len) */
WASI_FN(fd_allocate) {
    struct wasi_fd *entry;
    struct stat st;
    uint64_t end;
    wasi_errno e = file_get(w, a[0], WASI_RIGHT_FD_ALLOCATE, &entry);
    if (e != WASI_SUCCESS) return e;
    if (a[2] == 0 || __builtin_add_overflow(a[1], a[2], &end) || end > INT64_MAX) {
        return WASI_EINVAL;
    }
    if (fstat(entry->host_fd, &st) != 0) return wasi_from_errno(errno);
    uint64_t size = (uint64_t)st.st_size;
    if (end > size) e = wasi_quota_resize(w, &st, size, end);
    if (e != WASI_SUCCESS) return e;
    int result;
    do {
        result = fallocate(entry->host_fd, 0, (off_t)a[1], (off_t)a[2]);
    } while (result != 0 && errno == EINTR);
    if (result == 0) return WASI_SUCCESS;
    e = wasi_from_errno(errno);
    if (end > size) (void)wasi_quota_resize(w, &st, end, size);
    return e;
}

/* fd_filestat_set_size(fd, size) */
WASI_FN(fd_filestat_set_size) {
    struct wasi_fd *entry;
    struct stat st;
    wasi_errno e = file_get(w, a[0], WASI_RIGHT_FD_FILESTAT_SET_SIZE, &entry);
    if (e != WASI_SUCCESS) return e;
    if (a[1] > INT64_MAX) return WASI_EINVAL;
    if (fstat(entry->host_fd, &st) != 0) return wasi_from_errno(errno);
    uint64_t size = (uint64_t)st.st_size;
    bool grows = a[1] > size;
    if (grows) e = wasi_quota_resize(w, &st, size, a[1]);
    if (e != WASI_SUCCESS) return e;
    bool done = ftruncate(entry->host_fd, (off_t)a[1]) == 0;
    if (!done) e = wasi_from_errno(errno);
    if (done) wasi_inode_written(w, &st);
    if (done != grows) (void)wasi_quota_resize(w, &st, grows ? a[1] : size, grows ? size : a[1]);
    return e;
}

uint8_t wasi_filetype(mode_t mode) {
    switch (mode & S_IFMT) {
    case S_IFREG: return WASI_FILETYPE_REGULAR;
    case S_IFDIR: return WASI_FILETYPE_DIRECTORY;
    case S_IFLNK: return WASI_FILETYPE_SYMLINK;
    case S_IFCHR: return WASI_FILETYPE_CHARACTER;
    case S_IFBLK: return WASI_FILETYPE_BLOCK;
    case S_IFSOCK: return WASI_FILETYPE_SOCKET_STREAM;
    default: return WASI_FILETYPE_UNKNOWN;
    }
}

/* Times before 1970 have no place in an unsigned count: they read as 0. */
static uint64_t timestamp(struct timespec t) {
    uint64_t ns;
    if (t.tv_sec < 0) return 0;
    if (__builtin_mul_overflow((uint64_t)t.tv_sec, NS_PER_SECOND, &ns) ||
        __builtin_add_overflow(ns, (uint64_t)t.tv_nsec, &ns)) {
        return UINT64_MAX;
    }
    return ns;
}

wasi_errno wasi_write_filestat(struct wasi *w, const struct stat *st, uint32_t ptr) {
    uint8_t out[WASI_FILESTAT_BYTES] = {0}; /* padding must not carry host bytes */
    uint64_t fields[8] = {st->st_dev,
                          wasi_inode(w, st->st_dev, st->st_ino),
                          0, /* the file type, a byte */
                          st->st_nlink,
                          (uint64_t)st->st_size,
                          timestamp(st->st_atim),
                          timestamp(st->st_mtim),
                          timestamp(st->st_ctim)};
    if (w->deterministic) {
        uint64_t epoch_ns = wasi_clock_now_ns(w, WASI_CLOCK_REALTIME) - w->virtual_ns;
        fields[0] = 1;
        wasi_inode_times(w, st, fields + 5);
        fields[7] = epoch_ns;
        if (S_ISDIR(st->st_mode)) fields[4] = 4096; /* file systems differ */
    }
    memcpy(out, fields, sizeof fields);
    out[16] = wasi_filetype(st->st_mode);
    return guest_put(w->memory, ptr, out, sizeof out) ? WASI_SUCCESS : WASI_EFAULT;
}

/* fd_filestat_get(fd, *filestat) */
WASI_FN(fd_filestat_get) {
    struct wasi_fd *entry;
    struct stat st = {0};
    wasi_errno e = wasi_fd_get(w, (uint32_t)a[0], &entry);
    if (e != WASI_SUCCESS) return e;
    if (!(entry->rights_base & WASI_RIGHT_FD_FILESTAT_GET)) return WASI_ENOTCAPABLE;
    int fd = wasi_host_fd(w, entry);
    if (fd >= 0 && fstat(fd, &st) != 0) return wasi_from_errno(errno);
    if (entry->kind == WASI_INPUT || entry->kind == WASI_OUTPUT) {
        /* Where the host's streams lead to is not shown, only what kind of thing they are. */
        st = (struct stat){.st_mode = st.st_mode, .st_nlink = 1};
    }
    return wasi_write_filestat(w, &st, (uint32_t)a[1]);
}

wasi_errno wasi_times(struct wasi *w, uint64_t atim, uint64_t mtim, uint16_t fstflags,
                      struct timespec out[2]) {
    const uint64_t given[] = {atim, mtim};
    for (int i = 0; i < 2; i++) {
        bool set = fstflags & (WASI_FSTFLAG_ATIM << (2 * i));
        bool now = fstflags & (WASI_FSTFLAG_ATIM_NOW << (2 * i));
        if (set && now) return WASI_EINVAL;
        out[i] = (struct timespec){.tv_nsec = now ? UTIME_NOW : UTIME_OMIT};
        if (set) out[i] = clock_timespec(given[i]);
        if (now && w->deterministic) {
            out[i] = clock_timespec(wasi_clock_now_ns(w, WASI_CLOCK_REALTIME));
        }
    }
    return fstflags & ~WASI_FSTFLAGS_ALL ? WASI_EINVAL : WASI_SUCCESS;
}

wasi_errno wasi_set_times(struct wasi *w, int fd, const struct timespec times[2]) {
    struct stat st;
    if (futimens(fd, times) != 0) return wasi_from_errno(errno);
    if (w->deterministic && fstat(fd, &st) == 0) wasi_inode_set_times(w, &st, times);
    return WASI_SUCCESS;
}

/* fd_filestat_set_times(fd, atim, mtim, fst_flags) */
WASI_FN(fd_filestat_set_times) {
    struct timespec times[2];
    struct wasi_fd *entry;
    wasi_errno e = wasi_fd_get(w, (uint32_t)a[0], &entry);
    if (e == WASI_SUCCESS) e = wasi_times(w, a[1], a[2], (uint16_t)a[3], times);
    if (e != WASI_SUCCESS) return e;
    if (!(entry->rights_base & WASI_RIGHT_FD_FILESTAT_SET_TIMES)) return WASI_ENOTCAPABLE;
    return wasi_set_times(w, entry->host_fd, times);
}

/* fd_readdir. A listing is read whole when the guest asks for cookie 0, sorted by bytes with "."
 * and
 * ".." first, and kept until it asks again: cookies are positions in it, so that removing entries
 * on the way neither skips nor repeats any, and the order is the same on every machine. */
#include "wasi/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum { MAX_LISTING_BYTES = 64 << 20 }; /* a directory of about a million entries */

struct entry {
    uint64_t inode;
    uint8_t type;
    char *name; /* owned */
};

struct wasi_listing {
    struct entry *entries;
    size_t count;
    size_t capacity;
    size_t bytes;
};

void wasi_listing_free(struct wasi_listing *listing) {
    if (listing == NULL) return;
    for (size_t i = 0; i < listing->count; i++)
        free(listing->entries[i].name);
    free(listing->entries);
    free(listing);
}

static uint8_t type_of(unsigned char d_type) {
    return d_type == DT_UNKNOWN ? WASI_FILETYPE_UNKNOWN : wasi_filetype((mode_t)DTTOIF(d_type));
}

static wasi_errno add(struct wasi_listing *listing, const struct dirent *d) {
    listing->bytes += sizeof(struct entry) + strlen(d->d_name) + 1;
    if (listing->bytes > MAX_LISTING_BYTES) return WASI_ENOMEM;
    if (listing->count == listing->capacity) {
        size_t capacity = listing->capacity ? 2 * listing->capacity : 64;
        struct entry *grown = reallocarray(listing->entries, capacity, sizeof *grown);
        if (grown == NULL) return WASI_ENOMEM;
        listing->entries = grown;
        listing->capacity = capacity;
    }
    char *name = strdup(d->d_name);
    if (name == NULL) return WASI_ENOMEM;
    listing->entries[listing->count++] =
        (struct entry){.inode = d->d_ino, .type = type_of(d->d_type), .name = name};
    return WASI_SUCCESS;
}

static int rank(const char *name) {
    return strcmp(name, ".") == 0 ? 0 : strcmp(name, "..") == 0 ? 1 : 2;
}

static int by_name(const void *left, const void *right) {
    const char *l = ((const struct entry *)left)->name, *r = ((const struct entry *)right)->name;
    return rank(l) != rank(r) ? rank(l) - rank(r) : strcmp(l, r);
}

static wasi_errno read_listing(struct wasi *w, int dir_fd, struct wasi_listing **out) {
    /* A descriptor of its own: the position of the guest's stays untouched. */
    int fd = wasi_path_resolve(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0) return (wasi_errno)-fd;
    struct stat st;
    DIR *dir = fstat(fd, &st) == 0 ? fdopendir(fd) : NULL;
    struct wasi_listing *listing = calloc(1, sizeof *listing);
    wasi_errno e = dir == NULL || listing == NULL ? WASI_ENOMEM : WASI_SUCCESS;
    while (e == WASI_SUCCESS) {
        errno = 0;
        const struct dirent *d = readdir(dir);
        if (d == NULL) {
            e = wasi_from_errno(errno);
            break;
        }
        e = add(listing, d);
        if (clock_now_ns() >= w->deadline_ns) {
            w->stop = WASI_STOP_DEADLINE;
            e = WASI_EINTR;
        }
    }
    if (dir != NULL) {
        (void)closedir(dir);
    } else {
        (void)close(fd);
    }
    if (e != WASI_SUCCESS) {
        wasi_listing_free(listing);
        return e;
    }
    qsort(listing->entries, listing->count, sizeof *listing->entries, by_name);
    for (size_t i = 0; i < listing->count; i++)
        listing->entries[i].inode = wasi_inode(w, st.st_dev, listing->entries[i].inode);
    *out = listing;
    return WASI_SUCCESS;
}

/* fd_readdir(fd, *buf, buf_len, cookie, *bufused). The last entry may be cut; a full buffer tells
 * the guest to come back with the cookie of the last whole one. */
WASI_FN(fd_readdir) {
    struct wasi_fd *entry;
    uint8_t *buf;
    wasi_errno e = wasi_fd_require(w, (uint32_t)a[0], WASI_DIRECTORY, WASI_ENOTDIR,
                                   WASI_RIGHT_FD_READDIR, &entry);
    if (e != WASI_SUCCESS) return e;
    uint32_t room = (uint32_t)a[2], used = 0;
    if (!guest_span(w->memory, (uint32_t)a[1], room, &buf)) return WASI_EFAULT;
    if (a[3] == 0 || entry->listing == NULL) {
        wasi_listing_free(entry->listing);
        entry->listing = NULL;
        e = read_listing(w, entry->host_fd, &entry->listing);
        if (e != WASI_SUCCESS) return e;
    }
    for (uint64_t i = a[3]; i < entry->listing->count && used < room; i++) {
        const struct entry *item = &entry->listing->entries[i];
        uint8_t head[WASI_DIRENT_BYTES] = {0}; /* padding must not carry host bytes */
        uint64_t next = i + 1;
        uint32_t length = (uint32_t)strlen(item->name);
        memcpy(head, &next, 8);
        memcpy(head + 8, &item->inode, 8);
        memcpy(head + 16, &length, 4);
        head[20] = item->type;
        uint32_t part = room - used < sizeof head ? room - used : (uint32_t)sizeof head;
        memcpy(buf + used, head, part);
        used += part;
        part = room - used < length ? room - used : length;
        memcpy(buf + used, item->name, part);
        used += part;
    }
    return guest_put_u32(w->memory, (uint32_t)a[4], used) ? WASI_SUCCESS : WASI_EFAULT;
}

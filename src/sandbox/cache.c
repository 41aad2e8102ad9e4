#include "sandbox/cache.h"

#include "base/buffer.h"
#include "base/cleanup.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#define MAGIC "PAcache1"
#define MAX_ENTRY_BYTES (UINT64_C(2) << 30)
/* Workers, who have ids of their own, open entries anew by a descriptor that they are given; the
 * directory keeps everybody else out. */
enum { ENTRY_MODE = 0444 };
/* How much is left when room was made, in eighths; how many entries come before all are counted
 * again, as other processes add to them, too; how exactly the last use is known. */
enum { KEPT_EIGHTHS = 7, COUNT_AFTER = 64, USED_SECONDS = 60, KEY_ID_BYTES = 8 };
enum { STALE_TEMP_SECONDS = 3600, REMEMBERED_FILE_BYTES = 1 << 20, SETTLED_SECONDS = 2 };

/* At the end of each file, behind what the engine wrote. */
struct trailer {
    char magic[8];
    uint64_t payload_bytes;
    uint8_t nonce[16];
    uint8_t tag[crypto_onetimeauth_BYTES];
    uint8_t class; /* enum cache_class */
    uint8_t reserved[15];
};

static int make_dirs(char *path, struct error *err) {
    for (char *slash = strchr(path + 1, '/');; slash = strchr(slash + 1, '/')) {
        if (slash != NULL) *slash = 0;
        int result = mkdir(path, 0700);
        if (result != 0 && errno != EEXIST) {
            return error_set_errno(err, PA_INTERNAL, errno, "make directory %s", path);
        }
        if (slash == NULL) return 0;
        *slash = '/';
    }
}

static bool is_entry(const char *name) {
    size_t length = strlen(name);
    return length == 70 && strcmp(name + 64, ".cwasm") == 0;
}

/* What a cache's directory has in it: of any key, and of writers under way. */
static bool is_ours(const char *name) {
    return is_entry(name) || strncmp(name, "digest-", 7) == 0 || strncmp(name, "tmp-", 4) == 0 ||
           strcmp(name, "locks") == 0;
}

/* NULL with errno on failure; to be closed by closedir(). */
static DIR *open_listing(int dir_fd) {
    _cleanup_(fd_closep) int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir != NULL) (void)steal_fd(&fd); /* the stream owns it now */
    return dir;
}

static bool is_ours_alone(int dir_fd) {
    static const char *const others[] = {".", "..", "lost+found"};
    DIR *dir = open_listing(dir_fd);
    bool alone = dir != NULL;
    for (const struct dirent *d; alone && (d = readdir(dir)) != NULL;) {
        alone = is_ours(d->d_name);
        for (size_t i = 0; i < sizeof others / sizeof *others; i++)
            alone = alone || strcmp(d->d_name, others[i]) == 0;
    }
    if (dir != NULL) (void)closedir(dir);
    return alone;
}

/* A directory that others can write to would let them plant native code. */
static int open_private_dir(const char *path, struct error *err) {
    struct stat st;
    _cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        return error_set_errno(err, PA_INTERNAL, errno, "open directory %s", path);
    }
    if (st.st_uid != geteuid() || st.st_mode & 022) {
        return error_set(err, PA_DENIED,
                         "%s: belongs to somebody else or others can write to it; "
                         "run: chmod 700, or name another one by POLYAGENT_CACHE_DIR",
                         path);
    }
    return steal_fd(&fd);
}

/* Entries can be read by all who get at them, and are code of tenants: the directory is closed to
 * others. One that holds more than a cache is not ours to close. */
static int open_cache_dir(const char *path, struct error *err) {
    struct stat st;
    _cleanup_(fd_closep) int fd = open_private_dir(path, err);
    if (fd < 0) return -1;
    bool is_open = fstat(fd, &st) != 0 || (st.st_mode & 077) != 0;
    if (is_open && (!is_ours_alone(fd) || fchmod(fd, 0700) != 0)) {
        return error_set(err, PA_DENIED,
                         "%s: others can read it, and so the code of all modules; "
                         "run: chmod 700, or name another one by POLYAGENT_CACHE_DIR",
                         path);
    }
    return steal_fd(&fd);
}

static int user_dir(char *out, size_t size, const char *own, const char *xdg, const char *below,
                    struct error *err) {
    const char *base = getenv(xdg), *home = getenv("HOME");
    int length;
    if (getenv(own) != NULL) {
        length = snprintf(out, size, "%s", getenv(own));
    } else if (base != NULL && base[0] == '/') {
        length = snprintf(out, size, "%s/polyagent", base);
    } else {
        if (home == NULL || home[0] != '/')
            return error_set(err, PA_INTERNAL, "no home directory: set %s", own);
        length = snprintf(out, size, "%s/%s/polyagent", home, below);
    }
    if (length <= 0 || (size_t)length >= size) {
        return error_set(err, PA_INVALID_ARGUMENT, "%s: empty or too long", own);
    }
    return 0;
}

static int read_key(int dir_fd, uint8_t key[CACHE_KEY_BYTES]) {
    struct stat st;
    _cleanup_(fd_closep) int fd = openat(dir_fd, "cache.key", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return -errno;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() || st.st_mode & 077 ||
        st.st_size != CACHE_KEY_BYTES) {
        return -EPERM;
    }
    return read(fd, key, CACHE_KEY_BYTES) == CACHE_KEY_BYTES ? 0 : -EIO;
}

static int write_key(int dir_fd) {
    uint8_t key[CACHE_KEY_BYTES];
    char temp[48];
    randombytes_buf(key, sizeof key);
    (void)snprintf(temp, sizeof temp, "key-%08x%08x", randombytes_random(), randombytes_random());
    _cleanup_(fd_closep) int fd =
        openat(dir_fd, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return -errno;
    int result = fd_write_all(fd, key, sizeof key);
    /* linkat does not replace: whoever comes first wins, and all read the same key. */
    if (result == 0 && linkat(dir_fd, temp, dir_fd, "cache.key", 0) != 0 && errno != EEXIST) {
        result = -errno;
    }
    (void)unlinkat(dir_fd, temp, 0);
    return result;
}

static int load_key(struct cache *cache, struct error *err) {
    char path[PATH_MAX];
    if (user_dir(path, sizeof path, "POLYAGENT_STATE_DIR", "XDG_STATE_HOME", ".local/state", err) !=
            0 ||
        make_dirs(path, err) != 0) {
        return -1;
    }
    _cleanup_(fd_closep) int dir_fd = open_private_dir(path, err);
    if (dir_fd < 0) return -1;
    int result = read_key(dir_fd, cache->key);
    if (result == -ENOENT) {
        result = write_key(dir_fd);
        if (result == 0) result = read_key(dir_fd, cache->key);
    }
    if (result != 0) {
        return error_set_errno(err, PA_INTERNAL, -result,
                               "the cache's key %s/cache.key (remove it to get a new one)", path);
    }
    return 0;
}

int cache_open(struct cache *cache, const char *dir, struct error *err) {
    cache->dir_fd = cache->locks_fd = -1;
    cache->added_bytes = cache->added = 0;
    if (sodium_init() < 0) return error_set(err, PA_INTERNAL, "libsodium does not start");
    if (dir != NULL) {
        if (snprintf(cache->path, sizeof cache->path, "%s", dir) >= (int)sizeof cache->path) {
            return error_set(err, PA_INVALID_ARGUMENT, "cache directory: name too long");
        }
    } else if (user_dir(cache->path, sizeof cache->path, "POLYAGENT_CACHE_DIR", "XDG_CACHE_HOME",
                        ".cache", err) != 0) {
        return -1;
    }
    int made = make_dirs(cache->path, err);
    bool full = errno == ENOSPC || errno == EDQUOT || errno == EROFS;
    if (made != 0 && !full) return -1;
    *err = (struct error){0};
    if (load_key(cache, err) != 0) return -1;
    if (made != 0) return 0; /* it costs speed, not service */
    cache->dir_fd = open_cache_dir(cache->path, err);
    return cache->dir_fd < 0 ? -1 : 0;
}

void cache_close(struct cache *cache) {
    if (cache->dir_fd >= 0) fd_closep(&cache->locks_fd);
    fd_closep(&cache->dir_fd);
    sodium_memzero(cache->key, sizeof cache->key);
}

/* What names of entries begin with: whose they are, without a word about the key itself. */
static void key_id(const struct cache *cache, uint8_t id[crypto_generichash_BYTES_MIN]) {
    static const char what[] = "whose entries these are";
    (void)crypto_generichash(id, crypto_generichash_BYTES_MIN, (const uint8_t *)what, sizeof what,
                             cache->key, sizeof cache->key);
}

void cache_entry_name(const struct cache *cache, const uint8_t digest[32], const char *settings,
                      char out[CACHE_NAME_BYTES]) {
    uint8_t hash[32], id[crypto_generichash_BYTES_MIN];
    (void)crypto_generichash(hash, sizeof hash, (const uint8_t *)settings, strlen(settings), digest,
                             32);
    key_id(cache, id);
    memcpy(hash, id, KEY_ID_BYTES);
    (void)sodium_bin2hex(out, CACHE_NAME_BYTES, hash, sizeof hash);
    strcpy(out + 64, ".cwasm");
}

/* Poly1305 with a key of its own for each file: HMAC-SHA256 would take ten times as long. */
static void payload_tag(const struct cache *cache, const struct trailer *t, const char *name,
                        const uint8_t *payload, uint8_t tag[crypto_onetimeauth_BYTES]) {
    uint8_t key[crypto_onetimeauth_KEYBYTES];
    crypto_generichash_state state;
    (void)crypto_generichash_init(&state, cache->key, sizeof cache->key, sizeof key);
    (void)crypto_generichash_update(&state, t->nonce, sizeof t->nonce);
    (void)crypto_generichash_update(&state, (const uint8_t *)&t->payload_bytes, 8);
    (void)crypto_generichash_update(&state, (const uint8_t *)name, strlen(name));
    (void)crypto_generichash_final(&state, key, sizeof key);
    (void)crypto_onetimeauth(tag, payload, t->payload_bytes, key);
}

static bool is_sound(const struct cache *cache, int fd, const char *name) {
    struct stat st;
    struct trailer t;
    uint8_t tag[crypto_onetimeauth_BYTES];
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
        (st.st_mode & 07777) != ENTRY_MODE || st.st_nlink != 1 || st.st_size <= (off_t)sizeof t ||
        (uint64_t)st.st_size > MAX_ENTRY_BYTES) {
        return false;
    }
    size_t size = (size_t)st.st_size;
    uint8_t *data = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (data == MAP_FAILED) return false;
    memcpy(&t, data + size - sizeof t, sizeof t);
    bool sound = memcmp(t.magic, MAGIC, sizeof t.magic) == 0 && t.payload_bytes == size - sizeof t;
    if (sound) {
        payload_tag(cache, &t, name, data, tag);
        sound = sodium_memcmp(tag, t.tag, sizeof tag) == 0;
    }
    (void)munmap(data, size);
    return sound;
}

/* For whoever makes room: to the minute, so that runs in a row write nothing. */
static void mark_used(int fd) {
    static const struct timespec now[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_NOW}};
    struct stat st;
    if (fstat(fd, &st) == 0 && time(NULL) - st.st_mtime >= USED_SECONDS) (void)futimens(fd, now);
}

int cache_load(struct cache *cache, const char *name) {
    if (cache->dir_fd < 0) return -1;
    _cleanup_(fd_closep) int fd =
        openat(cache->dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0 && is_sound(cache, fd, name)) {
        mark_used(fd);
        return steal_fd(&fd);
    }
    if (fd >= 0 || errno == ELOOP) (void)unlinkat(cache->dir_fd, name, 0);
    return -1;
}

static bool is_leftover(int dir_fd, const char *name) {
    struct stat st;
    return strncmp(name, "tmp-", 4) == 0 && fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           time(NULL) - st.st_mtime > STALE_TEMP_SECONDS;
}

/* Those of another key are somebody else's. */
static bool is_own(const struct cache *cache, const char *name) {
    uint8_t id[crypto_generichash_BYTES_MIN];
    char text[2 * KEY_ID_BYTES + 1];
    key_id(cache, id);
    (void)sodium_bin2hex(text, sizeof text, id, KEY_ID_BYTES);
    return is_entry(name) && strncmp(name, text, sizeof text - 1) == 0;
}

struct candidate {
    char name[CACHE_NAME_BYTES];
    uint64_t bytes;
    time_t used;
    uint8_t class;
};

static int goes_before(const void *a, const void *b) {
    const struct candidate *x = a, *y = b;
    if (x->class != y->class) return x->class < y->class ? -1 : 1;
    return x->used < y->used ? -1 : x->used > y->used;
}

static uint8_t class_of(const struct cache *cache, const char *name, off_t size) {
    struct trailer t;
    _cleanup_(fd_closep) int fd =
        openat(cache->dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    bool read = fd >= 0 && pread(fd, &t, sizeof t, size - (off_t)sizeof t) == (ssize_t)sizeof t;
    return read ? t.class : CACHE_MODULE;
}

/* All entries, and how large they are together; what writers that were killed have left behind
 * goes. NULL: memory is out, or there is none. */
static struct candidate *list_entries(struct cache *cache, size_t *count, uint64_t *total) {
    struct candidate *all = NULL;
    size_t room = 0;
    DIR *dir = open_listing(cache->dir_fd);
    *count = 0;
    *total = 0;
    if (dir == NULL) return NULL; /* the next writer tries again */
    for (const struct dirent *d; (d = readdir(dir)) != NULL;) {
        struct stat st;
        if (is_leftover(cache->dir_fd, d->d_name)) (void)unlinkat(cache->dir_fd, d->d_name, 0);
        if (!is_own(cache, d->d_name) ||
            fstatat(cache->dir_fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        if (*count == room) {
            room = room * 2 + 64;
            struct candidate *more = reallocarray(all, room, sizeof *all);
            if (more == NULL) break;
            all = more;
        }
        all[*count] = (struct candidate){.bytes = (uint64_t)st.st_size,
                                         .used = st.st_mtime,
                                         .class = class_of(cache, d->d_name, st.st_size)};
        (void)strcpy(all[*count].name, d->d_name);
        *total += (uint64_t)st.st_size;
        ++*count;
    }
    (void)closedir(dir);
    return all;
}

/* Once so much has been added that there may be too much: counts, and drops what was used least,
 * but not `kept`. Whoever has an entry open keeps it. */
static void make_room(struct cache *cache, const char *kept) {
    uint64_t most = cache->max_bytes > 0 ? cache->max_bytes : CACHE_MAX_BYTES, total;
    size_t count;
    if (cache->added > 0 && cache->added < COUNT_AFTER && cache->added_bytes <= most / 8) return;
    struct candidate *all = list_entries(cache, &count, &total);
    cache->added = 1;
    cache->added_bytes = 0;
    if (total > most) {
        qsort(all, count, sizeof *all, goes_before);
        for (size_t i = 0; i < count && total > most / 8 * KEPT_EIGHTHS; i++) {
            if (strcmp(all[i].name, kept) == 0 || unlinkat(cache->dir_fd, all[i].name, 0) != 0)
                continue;
            total -= all[i].bytes;
        }
    }
    free(all);
}

int cache_lock(struct cache *cache, const char *name, bool wait) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
    uint64_t place;
    if (cache->dir_fd < 0) return 0;
    if (cache->locks_fd < 0)
        cache->locks_fd = openat(cache->dir_fd, "locks",
                                 O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    if (cache->locks_fd < 0) return 0;
    (void)crypto_generichash((uint8_t *)&place, sizeof place, (const uint8_t *)name, strlen(name),
                             NULL, 0);
    lock.l_start = (off_t)(place >> 2);
    while (fcntl(cache->locks_fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &lock) != 0) {
        if (errno == EAGAIN || errno == EACCES) return -EAGAIN;
        if (errno != EINTR) return 0;
    }
    return 0;
}

void cache_unlock(struct cache *cache, const char *name) {
    struct flock lock = {.l_type = F_UNLCK, .l_whence = SEEK_SET, .l_len = 1};
    uint64_t place;
    (void)crypto_generichash((uint8_t *)&place, sizeof place, (const uint8_t *)name, strlen(name),
                             NULL, 0);
    lock.l_start = (off_t)(place >> 2);
    if (cache->dir_fd >= 0 && cache->locks_fd >= 0)
        (void)fcntl(cache->locks_fd, F_OFD_SETLK, &lock);
}

int cache_begin(struct cache *cache, char temp[CACHE_NAME_BYTES]) {
    (void)snprintf(temp, CACHE_NAME_BYTES, "tmp-%08x%08x", randombytes_random(),
                   randombytes_random());
    return openat(cache->dir_fd, temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
}

void cache_abort(struct cache *cache, const char *temp) {
    (void)unlinkat(cache->dir_fd, temp, 0);
}

int cache_commit(struct cache *cache, int fd, const char *temp, const char *name,
                 enum cache_class class, struct error *err) {
    struct stat st;
    struct trailer t = {.magic = MAGIC, .class = (uint8_t) class};
    int result = fstat(fd, &st) == 0 ? 0 : -errno;
    uint8_t *data = MAP_FAILED;
    if (result == 0) {
        t.payload_bytes = (uint64_t)st.st_size;
        data = mmap(NULL, t.payload_bytes, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
        if (data == MAP_FAILED) result = -errno;
    }
    if (result == 0) {
        randombytes_buf(t.nonce, sizeof t.nonce);
        payload_tag(cache, &t, name, data, t.tag);
        (void)munmap(data, t.payload_bytes);
        if (lseek(fd, 0, SEEK_END) < 0) result = -errno;
    }
    if (result == 0) result = fd_write_all(fd, &t, sizeof t);
    if (result == 0 && fchmod(fd, ENTRY_MODE) != 0) result = -errno;
    /* No fsync: what a power cut leaves half written has no fitting MAC. */
    if (result == 0 && renameat(cache->dir_fd, temp, cache->dir_fd, name) != 0) result = -errno;
    if (result == 0) {
        cache->added_bytes += t.payload_bytes;
        make_room(cache, name);
        cache->added++;
        return 0;
    }
    cache_abort(cache, temp);
    return error_set_errno(err, PA_INTERNAL, -result, "store %s/%s", cache->path, name);
}

int cache_walk(struct cache *cache, bool check, cache_visitor visit, void *context,
               struct error *err) {
    DIR *dir = open_listing(cache->dir_fd);
    if (dir == NULL) return error_set_errno(err, PA_INTERNAL, errno, "list %s", cache->path);
    for (const struct dirent *d; (d = readdir(dir)) != NULL;) {
        struct stat st;
        if (!is_own(cache, d->d_name)) continue;
        _cleanup_(fd_closep) int fd =
            openat(cache->dir_fd, d->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) != 0) st.st_size = 0;
        bool sound = fd >= 0 && (!check || is_sound(cache, fd, d->d_name));
        visit(context, d->d_name, (uint64_t)st.st_size, sound);
    }
    (void)closedir(dir);
    return 0;
}

int cache_clear(struct cache *cache, struct error *err) {
    DIR *dir = open_listing(cache->dir_fd);
    int removed = 0;
    if (dir == NULL) return error_set_errno(err, PA_INTERNAL, errno, "list %s", cache->path);
    for (const struct dirent *d; (d = readdir(dir)) != NULL;) {
        bool ours = is_entry(d->d_name) || strncmp(d->d_name, "digest-", 7) == 0 ||
                    is_leftover(cache->dir_fd, d->d_name);
        if (ours && unlinkat(cache->dir_fd, d->d_name, 0) == 0 && is_entry(d->d_name)) removed++;
    }
    (void)closedir(dir);
    return removed;
}

int cache_overlaps(const struct cache *cache, int fd) {
    char real[PATH_MAX], own[PATH_MAX], link[32];
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (cache->dir_fd < 0) return 0;
    if (realpath(link, real) == NULL || realpath(cache->path, own) == NULL) return -1;
    size_t r = strlen(real), c = strlen(own);
    bool above = strncmp(own, real, r) == 0 && (own[r] == '/' || own[r] == 0 || r == 1);
    bool below = strncmp(real, own, c) == 0 && real[c] == '/';
    return above || below;
}

/* What a digest is remembered by; the MAC covers all of it. */
struct memo {
    uint64_t dev, ino, size, mtime_ns, ctime_ns;
    uint8_t digest[32];
    uint8_t mac[32];
};

static uint64_t nanoseconds(struct timespec t) {
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

static void memo_mac(const struct cache *cache, const struct memo *memo, uint8_t mac[32]) {
    (void)crypto_generichash(mac, 32, (const uint8_t *)memo, offsetof(struct memo, mac), cache->key,
                             sizeof cache->key);
}

static void memo_write(struct cache *cache, struct memo *memo, const char *name) {
    char temp[CACHE_NAME_BYTES];
    memo_mac(cache, memo, memo->mac);
    _cleanup_(fd_closep) int fd = cache_begin(cache, temp);
    if (fd < 0) return; /* only a help: without it the file is hashed again */
    if (fd_write_all(fd, memo, sizeof *memo) != 0 ||
        renameat(cache->dir_fd, temp, cache->dir_fd, name) != 0) {
        cache_abort(cache, temp);
    }
}

/* The parts of a memo that tell a file; false for files that are not worth it. */
static bool memo_for(const struct cache *cache, const struct stat *st, struct memo *memo,
                     char name[CACHE_NAME_BYTES]) {
    *memo = (struct memo){.dev = st->st_dev,
                          .ino = st->st_ino,
                          .size = (uint64_t)st->st_size,
                          .mtime_ns = nanoseconds(st->st_mtim),
                          .ctime_ns = nanoseconds(st->st_ctim)};
    (void)snprintf(name, CACHE_NAME_BYTES, "digest-%llx-%llx", (unsigned long long)memo->dev,
                   (unsigned long long)memo->ino);
    return cache->dir_fd >= 0 && st->st_size >= REMEMBERED_FILE_BYTES;
}

bool cache_find_digest(struct cache *cache, const struct stat *st, uint8_t digest[32]) {
    struct memo memo, found;
    char name[CACHE_NAME_BYTES];
    uint8_t mac[32];
    if (!memo_for(cache, st, &memo, name)) return false;
    _cleanup_(fd_closep) int fd =
        openat(cache->dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || read(fd, &found, sizeof found) != (ssize_t)sizeof found) return false;
    memo_mac(cache, &found, mac);
    if (sodium_memcmp(mac, found.mac, sizeof mac) != 0 ||
        memcmp(&memo, &found, offsetof(struct memo, digest)) != 0) {
        return false;
    }
    memcpy(digest, found.digest, 32);
    return true;
}

void cache_remember_digest(struct cache *cache, const struct stat *st, const uint8_t digest[32]) {
    struct memo memo;
    char name[CACHE_NAME_BYTES];
    if (!memo_for(cache, st, &memo, name)) return;
    if (time(NULL) - st->st_ctime <= SETTLED_SECONDS) return;
    memcpy(memo.digest, digest, 32);
    memo_write(cache, &memo, name);
}

/* Compiled modules on disk. To load one is to run its bytes as native code, so an entry counts only
 * if it is a regular file of our own, private, and its MAC fits; anything else is a miss and
 * removed. The key lies outside the cache directory, and is told by the names of its entries: those
 * of another key are left alone. What was used least makes room, interpreters last. Not
 * thread-safe; safe between processes. */
#ifndef PA_SANDBOX_CACHE_H
#define PA_SANDBOX_CACHE_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

enum { CACHE_KEY_BYTES = 32, CACHE_NAME_BYTES = 72 };
#define CACHE_MAX_BYTES (UINT64_C(4) << 30) /* where nothing else is said */

/* Of an entry: a stranger's goes before one of an interpreter that is installed. */
enum cache_class { CACHE_MODULE, CACHE_INTERPRETER };

struct cache {
    int dir_fd;         /* owned; -1: no cache */
    int locks_fd;       /* owned; -1: not opened yet */
    uint64_t max_bytes; /* of all entries of the key; 0: CACHE_MAX_BYTES. It may be changed */
    uint64_t added_bytes, added; /* since they were counted */
    uint8_t key[CACHE_KEY_BYTES];
    char path[4096];
};

/* Opens, and makes where missing, `dir` (NULL: the user's own) and the key. Others cannot read it
 * from then on; one that they can write to, or that they can read and that holds more than a cache,
 * is refused (PA_DENIED). Where there is no room
 * for the directory, or none may be made, there is no cache. */
int cache_open(struct cache *cache, const char *dir, struct error *err);
void cache_close(struct cache *cache);

/* The name of the entry for a module's digest under settings as engine_describe() tells them, and
 * the cache's key. */
void cache_entry_name(const struct cache *cache, const uint8_t digest[32], const char *settings,
                      char out[CACHE_NAME_BYTES]);

/* A descriptor of a checked entry, positioned anywhere, which counts as used now; -1 on a miss. */
int cache_load(struct cache *cache, const char *name);

/* A new temporary file to fill; its name goes to `temp`. -1 with errno on failure. */
int cache_begin(struct cache *cache, char temp[CACHE_NAME_BYTES]);
/* Seals what is in `fd` and gives it its name in one step; on failure it is removed. Entries that
 * were not used for longest make room for it. */
int cache_commit(struct cache *cache, int fd, const char *temp, const char *name,
                 enum cache_class class, struct error *err);
void cache_abort(struct cache *cache, const char *temp);

/* Who makes an entry has its lock meanwhile, so that no two processes compile the same. `wait`:
 * until another one is done. 0, or a negative errno: -EAGAIN: another one has it. Where the lock
 * cannot be made (a full disk), it is had. */
int cache_lock(struct cache *cache, const char *name, bool wait);
void cache_unlock(struct cache *cache, const char *name);

/* Calls `visit` for each entry of the key with its size, and whether it is sound if `check`. */
typedef void (*cache_visitor)(void *context, const char *name, uint64_t bytes, bool sound);
int cache_walk(struct cache *cache, bool check, cache_visitor visit, void *context,
               struct error *err);
/* Removes all entries, of every key, and leftovers. The number removed, or -1. */
int cache_clear(struct cache *cache, struct error *err);

/* Whether the directory `fd` is, holds, or lies within the cache: a guest that can write there
 * could plant native code. -1 with errno if that cannot be found out. */
int cache_overlaps(const struct cache *cache, int fd);

/* SHA-256 of large files, remembered by their identity and change time: hashing 26 MB takes longer
 * than running Python. A file that changed within the last 2 seconds is not remembered, as a change
 * within the same tick of the clock would not show. */
bool cache_find_digest(struct cache *cache, const struct stat *st, uint8_t digest[32]);
void cache_remember_digest(struct cache *cache, const struct stat *st, const uint8_t digest[32]);

#endif

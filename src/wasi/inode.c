/* The numbers that the guest knows files by. In deterministic mode they count the files in the
 * order in which the guest meets them. Else they are the host's, but for files that a session has
 * open while it goes on in a copy of its workspace: programs compare them (sqlite does), so those
 * keep the numbers that they had. */
#include "wasi/internal.h"

#include <stdlib.h>

struct wasi_inode_slot {
    dev_t dev;
    ino_t ino;
    uint64_t number;   /* 0: the slot is free, or the file is no more */
    uint64_t times[2]; /* when it was read and changed last, in deterministic mode */
    bool used;
};

enum { FIRST_CAPACITY = 64 };
#define NOT_THE_HOSTS (UINT64_C(1) << 62)

static size_t hash(dev_t dev, ino_t ino) {
    uint64_t value = ((uint64_t)ino ^ (uint64_t)dev << 32) * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(value >> 20);
}

/* Where it stands, or belongs. The table is never full. */
static struct wasi_inode_slot *find(const struct wasi_inodes *table, dev_t dev, ino_t ino) {
    size_t mask = table->capacity - 1;
    for (size_t i = hash(dev, ino) & mask;; i = (i + 1) & mask) {
        struct wasi_inode_slot *slot = &table->slots[i];
        if (!slot->used || (slot->dev == dev && slot->ino == ino)) return slot;
    }
}

static bool make_room(struct wasi_inodes *table) {
    if (4 * (table->count + 1) <= 3 * table->capacity) return true;
    struct wasi_inodes grown = *table;
    grown.capacity = table->capacity > 0 ? 2 * table->capacity : FIRST_CAPACITY;
    grown.slots = calloc(grown.capacity, sizeof *grown.slots);
    if (grown.slots == NULL) return false;
    for (size_t i = 0; i < table->capacity; i++) {
        const struct wasi_inode_slot *slot = &table->slots[i];
        if (slot->used) *find(&grown, slot->dev, slot->ino) = *slot;
    }
    free(table->slots);
    *table = grown;
    return true;
}

static bool set(struct wasi_inodes *table, dev_t dev, ino_t ino, uint64_t number) {
    if (!make_room(table)) return false;
    struct wasi_inode_slot *slot = find(table, dev, ino);
    table->count += slot->used ? 0 : 1;
    *slot = (struct wasi_inode_slot){.dev = dev, .ino = ino, .number = number, .used = true};
    return true;
}

static bool is_given(const struct wasi_inodes *table, uint64_t number) {
    for (size_t i = 0; i < table->capacity; i++)
        if (table->slots[i].number == number) return true;
    return false;
}

uint64_t wasi_inode(struct wasi *w, dev_t dev, ino_t ino) {
    struct wasi_inodes *table = &w->inodes;
    const struct wasi_inode_slot *slot = table->count > 0 ? find(table, dev, ino) : NULL;
    if (slot != NULL && slot->number != 0) return slot->number;
    if (w->deterministic) return set(table, dev, ino, table->last + 1) ? ++table->last : 0;
    return table->count > 0 && is_given(table, ino) ? ino | NOT_THE_HOSTS : ino;
}

static struct wasi_inode_slot *known(struct wasi *w, const struct stat *st) {
    return wasi_inode(w, st->st_dev, st->st_ino) != 0 ? find(&w->inodes, st->st_dev, st->st_ino)
                                                      : NULL;
}

void wasi_inode_times(struct wasi *w, const struct stat *st, uint64_t out[2]) {
    const struct wasi_inode_slot *slot = known(w, st);
    for (int i = 0; i < 2; i++) {
        out[i] = slot != NULL ? slot->times[i] : 0;
        if (out[i] == 0) out[i] = wasi_clock_now_ns(w, WASI_CLOCK_REALTIME) - w->virtual_ns;
    }
}

void wasi_inode_set_times(struct wasi *w, const struct stat *st, const struct timespec times[2]) {
    struct wasi_inode_slot *slot = known(w, st);
    for (int i = 0; i < 2 && slot != NULL; i++) {
        if (times[i].tv_nsec == UTIME_OMIT) continue;
        slot->times[i] = (uint64_t)times[i].tv_sec * NS_PER_SECOND + (uint64_t)times[i].tv_nsec;
    }
}

void wasi_inode_written(struct wasi *w, const struct stat *st) {
    struct wasi_inode_slot *slot = w->deterministic ? known(w, st) : NULL;
    if (slot != NULL) slot->times[1] = wasi_clock_now_ns(w, WASI_CLOCK_REALTIME);
}

bool wasi_inode_keep(struct wasi *w, const struct stat *former, const struct stat *now) {
    uint64_t number = wasi_inode(w, former->st_dev, former->st_ino);
    if (former->st_dev == now->st_dev && former->st_ino == now->st_ino) return true;
    wasi_inode_forget(w, former);
    return set(&w->inodes, now->st_dev, now->st_ino, number);
}

void wasi_inode_forget(struct wasi *w, const struct stat *st) {
    if (w->inodes.count > 0) find(&w->inodes, st->st_dev, st->st_ino)->number = 0;
}

void wasi_inodes_fini(struct wasi_inodes *table) {
    free(table->slots);
}

#include "base/opener.h"

#include "base/cleanup.h"
#include "base/clock.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>

/* Of interpreters' modules, which each run names: asking each time would take 30 us. */
enum { KEPT = 16 };
#define KEPT_NS NS_PER_SECOND

static struct {
    opener_ask_fn *ask;
    void *context;
} through;

struct kept {
    char *path;  /* owned; NULL: none */
    int fd;      /* owned; -1: it could not be had, ... */
    int problem; /* ... for this errno */
    uint64_t until_ns;
};
static struct kept kept[KEPT];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of `kept` */

void opener_set(opener_ask_fn *ask, void *context) {
    through.ask = ask;
    through.context = context;
}

bool opener_is_set(void) {
    return through.ask != NULL;
}

int opener_ask(enum opener_kind kind, const char *name, struct error *err) {
    return through.ask(through.context, kind, name, err);
}

int opener_open(const char *path, int flags) {
    struct error ignored = {0};
    int fd = open(path, flags | O_RDONLY | O_CLOEXEC);
    if (fd >= 0 || errno != EACCES || !opener_is_set()) return fd;
    return opener_ask(flags & O_DIRECTORY ? OPENER_FOLDER : OPENER_FILE, path, &ignored);
}

static void forget(struct kept *k) {
    free(k->path);
    fd_closep(&k->fd);
    *k = (struct kept){.fd = -1};
}

/* The place of the path, or the one that has waited longest. */
static struct kept *place_of(const char *path) {
    struct kept *oldest = kept;
    for (struct kept *k = kept; k < kept + KEPT; k++) {
        if (k->path != NULL && strcmp(k->path, path) == 0) return k;
        if (k->until_ns < oldest->until_ns) oldest = k;
    }
    if (oldest->path != NULL) forget(oldest);
    return oldest;
}

/* An answer, be it a refusal; NULL when memory runs out. */
static const struct kept *look_up(const char *path) {
    struct kept *k = place_of(path);
    uint64_t now_ns = clock_now_ns();
    if (k->path != NULL && now_ns < k->until_ns) return k;
    if (k->path != NULL) forget(k);
    char *copy = strdup(path);
    if (copy == NULL) return NULL;
    int fd = opener_open(path, O_NONBLOCK);
    *k = (struct kept){
        .path = copy, .fd = fd, .problem = fd < 0 ? errno : 0, .until_ns = now_ns + KEPT_NS};
    return k;
}

int opener_keep(const char *path) {
    if (!opener_is_set()) return open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    (void)pthread_mutex_lock(&lock);
    const struct kept *k = look_up(path);
    int problem = k == NULL ? ENOMEM : k->problem;
    int fd = problem == 0 ? fcntl(k->fd, F_DUPFD_CLOEXEC, 3) : -1;
    if (problem == 0 && fd < 0) problem = errno;
    (void)pthread_mutex_unlock(&lock);
    errno = problem;
    return fd;
}

bool opener_can_read(const char *path) {
    if (!opener_is_set()) return access(path, R_OK) == 0;
    (void)pthread_mutex_lock(&lock);
    const struct kept *k = look_up(path);
    bool can = k != NULL && k->problem == 0;
    (void)pthread_mutex_unlock(&lock);
    return can;
}

#include "cli/progress.h"

#include "base/clock.h"
#include "sandbox/module.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LARGE_BYTES = 1 << 20, BAR_WIDTH = 30, MAX_NAME = 40 };
enum { FIRST_LOOK_MS = 100, LOOK_MS = 10, LOOKS_A_DRAWING = 10 };

/* True when the run is over. */
static bool pause_is_over(struct progress *p, uint64_t ms) {
    const uint64_t until_ns = clock_read_ns(CLOCK_REALTIME) + ms * NS_PER_MS;
    const struct timespec until = clock_timespec(until_ns);
    int result = 0;
    (void)pthread_mutex_lock(&p->lock);
    while (!p->done && result == 0)
        result = pthread_cond_timedwait(&p->changed, &p->lock, &until);
    bool done = p->done;
    (void)pthread_mutex_unlock(&p->lock);
    return done;
}

/* The engine does not say how far it is: the bar shows the time that has passed, against what a
 * module of this size took elsewhere. */
static void draw(const char *name, double passed_s, double expected_s) {
    double part = passed_s / expected_s;
    int filled = (int)((part < 0.97 ? part : 0.97) * BAR_WIDTH);
    (void)fprintf(stderr, "\rcompiling %.*s [%.*s%*s] %.0f s", MAX_NAME, name, filled,
                  "##############################", BAR_WIDTH - filled, "", passed_s);
}

static void watch(struct progress *p, const struct cache *cache, const char *entry, double size) {
    const char *slash = strrchr(p->path, '/'), *name = slash != NULL ? slash + 1 : p->path;
    uint64_t start_ns = clock_now_ns();
    for (unsigned look = 0; faccessat(cache->dir_fd, entry, F_OK, 0) != 0; look++) {
        double passed_s = (double)(clock_now_ns() - start_ns) / (double)NS_PER_SECOND;
        if (look % LOOKS_A_DRAWING == 0) draw(name, passed_s, 1 + size / 2e6);
        if (pause_is_over(p, LOOK_MS)) break;
    }
    (void)fputs("\r\033[K", stderr);
}

static void *show(void *context) {
    struct progress *p = context;
    struct cache cache = {.dir_fd = -1};
    struct pa_module module;
    struct error err = {0};
    struct stat st;
    char entry[CACHE_NAME_BYTES];
    if (pause_is_over(p, FIRST_LOOK_MS) || stat(p->path, &st) != 0 || st.st_size < LARGE_BYTES)
        return NULL;
    /* What is wrong here, the run itself tells. */
    if (cache_open(&cache, NULL, &err) != 0) return NULL;
    if (module_open_file(&module, &cache, p->path, UINT64_MAX, &err) == 0) {
        module_code_name(&cache, module.digest, p->variant, entry);
        module_fini(&module);
        if (faccessat(cache.dir_fd, entry, F_OK, 0) != 0)
            watch(p, &cache, entry, (double)st.st_size);
    }
    cache_close(&cache);
    return NULL;
}

void progress_begin(struct progress *progress, const char *path, const struct pa_job *job) {
    *progress = (struct progress){
        .path = path,
        .variant = engine_variant(job->limits.max_fuel > 0, job->profile_fd > 0,
                                  job->wasm_exceptions, job->deterministic),
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .changed = PTHREAD_COND_INITIALIZER,
    };
    if (path == NULL || isatty(STDERR_FILENO) == 0) return;
    progress->shows = pthread_create(&progress->thread, NULL, show, progress) == 0;
}

void progress_end(struct progress *progress) {
    if (!progress->shows) return;
    (void)pthread_mutex_lock(&progress->lock);
    progress->done = true;
    (void)pthread_cond_signal(&progress->changed);
    (void)pthread_mutex_unlock(&progress->lock);
    (void)pthread_join(progress->thread, NULL);
}

/* A bar on a terminal while a large module is compiled, which takes a second or a minute. */
#ifndef PA_CLI_PROGRESS_H
#define PA_CLI_PROGRESS_H

#include <polyagent.h>
#include <pthread.h>
#include <stdbool.h>

struct progress {
    const char *path;
    unsigned variant;
    bool shows, done;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

/* Before a job is run of the module at `path` (kept until the end; NULL: of no file). Nothing is
 * shown unless stderr is a terminal, the module large, and its code missing in the user's cache for
 * a moment; and no longer than until it is there, before the program can write anything. */
void progress_begin(struct progress *progress, const char *path, const struct pa_job *job);
void progress_end(struct progress *progress);

#endif

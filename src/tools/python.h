/* The Python that comes with polyagent: where it is, how it is started, and the form of its jobs.
 */
#ifndef PA_TOOLS_PYTHON_H
#define PA_TOOLS_PYTHON_H

#include "base/buffer.h"
#include "base/error.h"

#include <stdbool.h>

/* The Python that is at hand: `given` (may be NULL), by PYTHON_WASI_WASM_PATH, beside the program,
 * or installed. False if there is none. */
bool python_find(const char *given, char *out, size_t size);

/* How it is started: PYTHON_ARGC of them. One more where it stays warm, which names what most
 * programs import, to be imported once. */
enum { PYTHON_ARGC = 7, PYTHON_WARM_ARGC = 8 };
extern const char *const python_argv[PYTHON_WARM_ARGC];

/* A program, and what it finds in sys.argv and os.environ. All is the caller's. */
struct python_program {
    const char *name; /* in tracebacks */
    const void *source;
    size_t source_bytes;
    const char *argv0;
    const char *const *rest; /* of sys.argv; `rest_count` */
    size_t rest_count;
    const char *const *env; /* NAME=VALUE; `env_count` */
    size_t env_count;
};

/* Appends a job as interpreters/python/bootstrap.py reads it, to an empty buffer. -1 with `err`
 * when memory runs out. */
int python_job(struct buffer *job, const struct python_program *program, struct error *err);

/* A job for practice: what every program does. */
int python_rehearsal(struct buffer *job, struct error *err);

#endif

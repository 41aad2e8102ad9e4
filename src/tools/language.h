/* Languages whose source is run in an interpreter: where that is, how it is started, and the form
 * of its jobs. */
#ifndef PA_TOOLS_LANGUAGE_H
#define PA_TOOLS_LANGUAGE_H

#include "base/buffer.h"
#include "base/error.h"

#include <stdbool.h>

/* Where a Python's bootstrap finds wheels to import from. */
#define LANGUAGE_WHEELS "/usr/local/lib/wheels"

/* A program, and what it finds as arguments and environment. All is the caller's. */
struct program {
    const char *name; /* in tracebacks */
    const void *source;
    size_t source_bytes;
    const char *argv0;
    const char *const *rest; /* of its arguments; `rest_count` */
    size_t rest_count;
    const char *const *env; /* NAME=VALUE; `env_count` */
    size_t env_count;
    bool answers;       /* somebody wants to know what its last expression comes to */
    bool session;       /* the interpreter stays for another program */
    bool deterministic; /* random numbers are the host's business alone */
};

struct language {
    const char *name;        /* as in `polyagent NAME` */
    const char *title;       /* in manifests, and for people */
    const char *bootstrap;   /* that its interpreters run first */
    const char *file;        /* its interpreter */
    const char *variable;    /* of the environment, that names another; NULL: none */
    const char *const *argv; /* NULL: only its manifest knows; else `argc` of them; `warm_argc`
                                where the interpreter stays */
    size_t argc, warm_argc;
    bool answers;          /* its bootstrap does, when asked */
    const char *rehearsal; /* what every program does, and no more */
    /* Appends a job as the language's bootstrap reads it, to an empty buffer. -1 with `err`. */
    int (*job)(struct buffer *job, const struct program *program, struct error *err);
};
extern const struct language language_python, language_javascript, language_ruby;

/* The folders that interpreters are in: beside the program, installed, /opt/wasm-interpreters.
 * False after the last one. */
bool language_folder(size_t number, char *out, size_t size);

/* The interpreter that is at hand: `given` (may be NULL), by the variable, beside the program, or
 * installed. False if there is none. */
bool language_find(const struct language *language, const char *given, char *out, size_t size);

/* A job for practice. */
int language_rehearsal(const struct language *language, struct buffer *job, struct error *err);

#endif

/* Files of the host for a process that may open none itself. polyagent-net, which parses what
 * strangers send, is sealed off from the file system: what it needs it asks another process for,
 * which opens what the configuration allows and hands back a descriptor (net/broker.h). Any other
 * process opens them itself, with the same calls. */
#ifndef PA_BASE_OPENER_H
#define PA_BASE_OPENER_H

#include "base/error.h"

#include <stdbool.h>

enum opener_kind {
    OPENER_FILE,        /* a file that the configuration names, by its path */
    OPENER_FOLDER,      /* a folder that it names */
    OPENER_MODULE,      /* a file beneath wasi.module_paths, by its path */
    OPENER_INTERPRETER, /* an interpreter by a name that is in no manifest */
    OPENER_REGISTRY,    /* a module of the registry, by its name */
    OPENER_MANIFESTS,   /* what there is of interpreters: a file with JSON */
    OPENER_SOCKET,      /* a connection to the supervisor */
    OPENER_RELOAD,      /* no descriptor, but /dev/null: the configuration is read again */
    OPENER_KINDS
};

/* A descriptor, which is the caller's; or -1 with `err` and errno. Thread-safe. */
typedef int opener_ask_fn(void *context, enum opener_kind kind, const char *name,
                          struct error *err);

/* From now on files are asked for; `context` outlives the process's use of them. NULL: as at the
 * start. The one global state here, set while there is one thread. */
void opener_set(opener_ask_fn *ask, void *context);
bool opener_is_set(void);

/* Asks; only where opener_is_set(). */
int opener_ask(enum opener_kind kind, const char *name, struct error *err);

/* open(2) of an existing file or, with O_DIRECTORY, folder, for reading, close-on-exec; where that
 * is denied, and somebody can be asked, by asking. -1 with errno. */
int opener_open(const char *path, int flags);

/* The same for a file that is read by offset or mapped, never by read(2): the descriptor may be a
 * copy of an earlier one, which is kept for a second. */
int opener_keep(const char *path);

/* Whether opener_keep() would give it. */
bool opener_can_read(const char *path);

#endif

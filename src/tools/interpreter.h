/* The interpreters at hand: manifests (interpreters/manifest.yaml) say what there is, how it is
 * started, and which packages it has. */
#ifndef PA_TOOLS_INTERPRETER_H
#define PA_TOOLS_INTERPRETER_H

#include "tools/language.h"

#include <polyagent.h>
#include <jansson.h>

enum { INTERPRETER_NAME_BYTES = 64, INTERPRETER_PATH_BYTES = 1024 };

struct interpreter {
    char name[INTERPRETER_NAME_BYTES];
    const struct language *language;
    const json_t *entry;                 /* of its manifest */
    char folder[INTERPRETER_PATH_BYTES]; /* that its files' names are relative to */
    char module[INTERPRETER_PATH_BYTES]; /* the WebAssembly file, which need not be there */
    bool own;                            /* added by the user */
};

struct interpreters {
    struct interpreter *list; /* owned; `count`, in the order of the manifests */
    size_t count;
    json_t *manifests; /* owned */
};

/* Reads the manifests of the folders for interpreters: the user's own first
 * (interpreters_own_folder()), then the one beside the program, the installed one, and
 * /opt/wasm-interpreters. Of two of the same name the first counts. -1 with `err` that names file
 * and key: nothing to release. */
int interpreters_load(struct interpreters *all, struct error *err);
/* The manifests themselves, for a process that cannot read them (base/opener.h): [{"folder",
 * "path", "own", "manifest"}]. NULL with `err`. */
json_t *interpreters_gather(struct error *err);
/* One manifest alone. */
int interpreters_load_file(struct interpreters *all, const char *path, struct error *err);
void interpreters_fini(struct interpreters *all);

/* The user's own folder: $POLYAGENT_INTERPRETERS_DIR, or interpreters in $POLYAGENT_STATE_DIR, or
 * in the user's state directory. -1 with `err` if there is no place for it. */
int interpreters_own_folder(char *out, size_t size, struct error *err);

/* By name; one whose module is not there counts, too. NULL: there is none. */
const struct interpreter *interpreters_find(const struct interpreters *all, const char *name);

/* Adds the names in a text such as "numpy,pandas" to an array; what is no UTF-8 names nothing. */
void interpreter_add_names(json_t *list, const char *text);

/* The first of a language that has all `packages` (an array of names as in pip, or as imported;
 * NULL: none are asked for) and whose module is there. NULL with `err`. */
const struct interpreter *interpreters_choose(const struct interpreters *all,
                                              const struct language *language,
                                              const json_t *packages, struct error *err);

bool interpreter_is_here(const struct interpreter *interpreter);

/* How many sets of modules it can have imported ahead. */
size_t interpreter_profiles(const struct interpreter *interpreter);
/* The smallest one with those of `packages` that are in any. */
size_t interpreter_profile(const struct interpreter *interpreter, const json_t *packages);

/* What a job needs of its interpreter; all owned. */
struct interpreter_start {
    const char **argv; /* `argc`, or where it stays, `warm_argc` */
    size_t argc, warm_argc;
    char *preloads, *practise; /* in argv */
    char **env;                /* NAME=VALUE; `env_count` */
    size_t env_count;
    struct pa_mount *mounts; /* `mount_count` */
    char **mount_paths;
    size_t mount_count;
    char *entry; /* pa_job.invoke; NULL: _start */
    bool wasm_exceptions, stub_imports;
    uint64_t memory_limit_bytes, max_module_bytes; /* 0: as for all */
};
/* -1 with `err`: nothing to release. */
int interpreter_start_init(struct interpreter_start *start, const struct interpreter *interpreter,
                           size_t profile, struct error *err);
void interpreter_start_fini(struct interpreter_start *start);
/* Puts it into a job, which refers to it; mounts are left to the caller. A limit of the job that is
 * smaller is raised, unless it `keeps` its memory limit. */
void interpreter_start_apply(const struct interpreter_start *start, struct pa_job *job,
                             bool keeps_memory_limit);

#endif

/* The tools that agents call, in one table: every interface lists them from here, checks parameters
 * by their JSON schema, and turns a call into a job for the sandbox. What runs the job, and where,
 * is the caller's business. */
#ifndef PA_TOOLS_TOOLS_H
#define PA_TOOLS_TOOLS_H

#include "base/buffer.h"
#include "base/error.h"
#include "config/config.h"
#include "tools/interpreter.h"
#include "tools/workspace.h"

#include <jansson.h>

struct tool_call;
struct tool_rules;

struct tool {
    const char *name;
    const char *title;
    const char *description;
    const char *input_schema;        /* JSON */
    const struct language *language; /* of its programs; NULL: it runs modules */
    /* NULL: it is about sessions, and answered by whoever keeps them. */
    int (*prepare)(struct tool_call *call, const json_t *parameters, struct error *err);
};

/* In the order to list them; ends with a tool without a name. */
enum { TOOL_COUNT = 16 };
extern const struct tool tools[TOOL_COUNT + 1];

/* What all of them are, for those who search. */
enum { TOOL_TAGS = 3 };
extern const char tool_category[];
extern const char *const tool_tags[TOOL_TAGS];

/* NULL: there is none of that name. */
const struct tool *tool_find(const char *name);

/* What a caller may do, and what holds for every run: a view of a configuration. */
struct tool_rules {
    struct pa_limits limits;          /* where the parameters say nothing */
    const struct pa_limits *ceilings; /* how far parameters may raise them; NULL: no bounds */
    /* Directories (ended by a NULL) beneath which files may be named as modules; NULL: any file
     * that the caller itself can read. */
    const char *const *module_paths;
    struct interpreters interpreters;        /* owned */
    char own_interpreters[TOOL_COUNT][1024]; /* of each tool with a language: what the configuration
                                                says, or a variable; "": nothing */
    char registry[4096];                     /* directory of named modules */
    const char *const *env;                  /* NAME=VALUE, ended by a NULL */
    const struct config *config;             /* the rest */
    struct pa_mount *mounts;                 /* owned; `mount_count` */
    size_t mount_count;
    json_t *schemas[TOOL_COUNT]; /* owned; parsed, by the tool's number */
};

/* The rules of a configuration, which outlives them. -1 with `err`: nothing to release. */
int tool_rules_init(struct tool_rules *rules, const struct config *config, struct error *err);
void tool_rules_fini(struct tool_rules *rules);

/* A session's turn: where its folders are, and what its program is called in tracebacks. */
struct tool_turn {
    const char *workspace, *output; /* host folders */
    const char *name;
    int module_fd; /* an interpreter that a client handed over; -1: what the parameters say */
    bool fresh;    /* the interpreter's first */
};

/* A call on its way to a sandbox. */
struct tool_call {
    const struct tool *tool; /* in the table */
    const struct tool_rules *rules;
    struct pa_job
        job;          /* refers to what follows, and to the parameters; no output, no descriptors */
    bool answers;     /* its interpreter's bootstrap says something in the end */
    bool merged;      /* stderr goes where stdout goes */
    bool on_trial;    /* compiled, in mode auto: it may give up (tools/compile.h) */
    bool to_module;   /* nothing runs: stdout gets the module that comes of a program (likewise) */
    size_t warm_argc; /* of job.argv, where interpreters stay; 0: as job.argc */
    const char *module_path; /* NULL: the module is in `module`, or behind `module_fd` */
    char found_path[INTERPRETER_PATH_BYTES];
    int module_fd;                  /* owned; -1 */
    struct buffer module;           /* owned */
    struct buffer program;          /* owned; an interpreter's job */
    struct buffer rehearsal;        /* owned */
    const char **argv;              /* owned */
    struct interpreter_start start; /* owned */
    const struct tool_turn *turn;   /* NULL: it is no session's */
    struct workspace
        workspace;           /* owned; goes with the run, if that outlives the call: then taken */
    struct pa_mount *mounts; /* owned */
    char **env;              /* owned, each */
    size_t env_count;
};

/* Checks `parameters` (which stay the caller's, and must live as long as the call, as must `rules`)
 * and prepares the job. -1 with `err`, nothing to release: PA_NOT_FOUND for a tool or an
 * interpreter that is not there, PA_DENIED for a file outside, PA_INVALID_ARGUMENT that names the
 * parameter, PA_MODULE_TOO_LARGE. */
int tool_call_init(struct tool_call *call, const char *name, const json_t *parameters,
                   const struct tool_rules *rules, struct error *err);
/* The same for a turn of a session, which lives as long as the call. */
int tool_call_init_turn(struct tool_call *call, const char *name, const json_t *parameters,
                        const struct tool_rules *rules, const struct tool_turn *turn,
                        struct error *err);
/* Puts a module's bytes where they can be handed on at once: behind `module_fd`. -1 with `err`. */
int tool_call_settle(struct tool_call *call, struct error *err);
void tool_call_fini(struct tool_call *call);

/* The schema of a tool's parameters as it holds under these rules: with their ceilings and
 * defaults. A new object; NULL when memory runs out. */
json_t *tool_schema(const struct tool_rules *rules, const struct tool *tool);

/* {"tools": [{"name", "description", "input_schema"}]}; NULL when memory runs out. */
json_t *tools_list(const struct tool_rules *rules);

#endif

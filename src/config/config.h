/* The settings: config/polyagent.yaml (spec section 2), overridden by POLYAGENT_... variables. All
 * of them stand in one table (config.c), which says what a file may hold, what the defaults are and
 * what --print-config shows. */
#ifndef PA_CONFIG_CONFIG_H
#define PA_CONFIG_CONFIG_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* What one tenant may have, where it is not what all have; 0: as all. */
struct config_tenant {
    char *name; /* of its credential; "anonymous" without one */
    uint64_t running, queued, interpreters;
    uint64_t sessions, stored_bytes;
};

/* Read-only once loaded. Texts are never NULL; lists end with a NULL. */
struct config {
    struct pa_limits limits;   /* wasi.: where a request says nothing */
    struct pa_limits ceilings; /* wasi.ceilings.: how far a request may raise them; 0: not at all
                                  beyond the setting itself, but for fuel, where 0 is no bound */
    char **allowed_paths;      /* mounted for every run, under their own names */
    char **env_vars;           /* NAME=VALUE, for every run */
    char **module_paths;       /* beneath which requests may name files as modules */
    char *javascript;          /* quickjs.wasm; likewise */
    char *interpreter;         /* python.wasm; "": the one that comes with the program */
    uint64_t cache_bytes;      /* of compiled modules */
    bool compile_ahead;        /* all that are installed, when a server starts */
    char *registry;            /* directory of named modules; "": none */
    bool allow_network, allow_subprocess; /* must be false */
    bool fs_readonly;                     /* of allowed_paths */
    bool allow_clock, allow_random, deterministic;

    char *http, *grpc; /* ADDR:PORT; "": not served */
    bool allow_remote; /* other addresses than loopback without authentication */
    char **hosts;      /* further names in Host where nobody is asked for a credential; "*": all */
    uint64_t body_seconds; /* that a body or message may take, beside a second for 32 KiB of it */
    char *socket;          /* of local commands; "": the user's own place */
    uint64_t drain_seconds;
    uint64_t max_connections;    /* of each of http, grpc */
    uint64_t front_memory_bytes; /* of polyagent-net; 0: no bound */
    char *certificate, *key;     /* PEM files; "": no TLS */
    char *client_ca;             /* PEM file: clients must show a certificate of it */
    char *tokens_file;  /* NAME:SHA256 of a bearer token, a line each; "": none are asked */
    char *sessions_dir; /* where their files are; "": the user's own place */
    uint64_t sessions_max, sessions_idle_seconds;
    uint64_t sessions_max_tenant; /* 0: a quarter, or all where there is one tenant */
    uint64_t sessions_bytes, sessions_tenant_bytes; /* stored; likewise */
    uint64_t max_running, max_queued, spare_workers, memory_bytes;
    uint64_t max_tenant_running, max_tenant_queued; /* 0: three quarters of all */
    struct config_tenant *tenants;                  /* those with shares of their own */
    size_t tenant_count;

    char *llm_base_url, *llm_model, *llm_key_variable;
    char *llm_key_file; /* "": the variable has the key */
    uint64_t llm_rounds, llm_tokens, llm_timeout_ms;

    char *log_level, *log_format;
};

/* Defaults, then the file (NULL: none), then the environment. -1 with `err` (file, line, key and
 * what it wants); nothing to release then. */
int config_load(struct config *config, const char *path, struct error *err);
void config_fini(struct config *config);

/* Its shares; NULL: it has those of all. */
const struct config_tenant *config_find_tenant(const struct config *config, const char *name);

/* The key of a setting by its number; NULL behind the last. */
const char *config_key(size_t number);

/* What sets it in the environment: POLYAGENT_SERVER_HTTP for server.http. */
enum { CONFIG_VARIABLE_BYTES = 96 };
void config_variable(const char *key, char out[CONFIG_VARIABLE_BYTES]);

/* Tells of each variable that looks like a setting and is none, with the name that was meant, or
 * NULL. */
void config_check_variables(void (*tell)(const char *name, const char *nearest));

/* All effective settings, as a file that config_load() takes. 0 or a negative errno. */
int config_print(const struct config *config, FILE *out);

/* Sets the log's filter and format. */
int config_apply_log(const struct config *config, struct error *err);

#endif

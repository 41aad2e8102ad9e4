#include "config/config.h"

#include "base/nearest.h"

#include <ctype.h>
#include <string.h>
#include <unistd.h>

#define PREFIX "POLYAGENT_"

/* Those that are no settings of the table. */
static const char *const others[] = {PREFIX "CA",
                                     PREFIX "CACHE_DIR",
                                     PREFIX "HELPER",
                                     PREFIX "INTERPRETERS_DIR",
                                     PREFIX "LLM_API_KEY",
                                     PREFIX "LOG",
                                     PREFIX "NET",
                                     PREFIX "REPL",
                                     PREFIX "SERVER",
                                     PREFIX "REPL_HISTORY",
                                     PREFIX "SOCKET",
                                     PREFIX "STATE_DIR",
                                     PREFIX "TOKEN",
                                     PREFIX "WASI_ISOLATION_LAYERS",
                                     PREFIX "WASI_ISOLATION_REQUIRED"};
enum { OTHERS = sizeof others / sizeof *others };

void config_variable(const char *key, char out[CONFIG_VARIABLE_BYTES]) {
    size_t length = strlen(PREFIX);
    memcpy(out, PREFIX, length);
    for (const char *at = key; *at != 0 && length < CONFIG_VARIABLE_BYTES - 1; at++)
        out[length++] = *at == '.' ? '_' : (char)toupper((unsigned char)*at);
    out[length] = 0;
}

/* What an orchestrator sets for a service of that name. */
static bool is_foreign(const char *name) {
    return strstr(name, "_SERVICE_HOST") != NULL || strstr(name, "_SERVICE_PORT") != NULL ||
           strstr(name, "_PORT_") != NULL || strcmp(name, PREFIX "PORT") == 0;
}

static bool begins_like(const char *name, const char *variable, const char *key) {
    size_t length = strlen(PREFIX) + strcspn(key, ".") + 1; /* the section */
    return strncmp(name, variable, length) == 0;
}

/* True: it is known, or none of our business. Else `nearest` may have a name. */
static bool is_in_order(const char *name, char best[CONFIG_VARIABLE_BYTES]) {
    char variable[CONFIG_VARIABLE_BYTES];
    const char *key;
    bool ours = false;
    struct nearest nearest = {.wrong = name};
    size_t edits = SIZE_MAX;
    best[0] = 0;
    for (size_t i = 0; (key = i < OTHERS ? "" : config_key(i - OTHERS)) != NULL; i++) {
        if (i < OTHERS)
            memcpy(variable, others[i], strlen(others[i]) + 1);
        else
            config_variable(key, variable);
        if (strcmp(name, variable) == 0) return true;
        if (i >= OTHERS && begins_like(name, variable, key)) ours = true;
        nearest.best = NULL;
        nearest_consider(&nearest, variable);
        if (nearest.edits >= edits) continue;
        edits = nearest.edits;
        if (nearest_hint(&nearest) != NULL) memcpy(best, variable, sizeof variable);
    }
    return is_foreign(name) || (!ours && edits > 2);
}

void config_check_variables(void (*tell)(const char *name, const char *nearest)) {
    for (char **at = environ; at != NULL && *at != NULL; at++) {
        char name[CONFIG_VARIABLE_BYTES], best[CONFIG_VARIABLE_BYTES];
        size_t length = strcspn(*at, "=");
        if (strncmp(*at, PREFIX, strlen(PREFIX)) != 0 || length >= sizeof name) continue;
        memcpy(name, *at, length);
        name[length] = 0;
        if (!is_in_order(name, best)) tell(name, best[0] != 0 ? best : NULL);
    }
}

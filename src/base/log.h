/* Logs are events: a constant message plus fields, one line each on stderr. Text on a terminal,
 * JSON otherwise. Which are written is set by component, as in POLYAGENT_LOG=info,http=debug; the
 * level is the one global state of the program. A line is one write(), so that processes can share
 * a log. Guest content never goes here above the level debug. */
#ifndef PA_BASE_LOG_H
#define PA_BASE_LOG_H

#include "base/error.h"

#include <stdbool.h>

enum log_level { LOG_LEVEL_OFF, LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_TRACE };

/* Text, or a number where the text is NULL. Fields whose text is "" are left out. */
struct log_field {
    const char *name;
    const char *text;
    double number;
};

/* "LEVEL" and "COMPONENT=LEVEL", comma-separated. -1 with `err`: nothing has changed. One thread at
 * a time; others may log. */
int log_set_filter(const char *filter, struct error *err);

/* What RUST_LOG says of us, as such a filter: "polyagent_agent_core" is everything, "wasi_sandbox"
 * the component wasi, a target alone its trace; what is about other programs is left out. Returns
 * the bytes of the text in `out`, whose `room` cuts between two parts; 0: nothing. */
size_t log_filter_of_rust(const char *filter, char *out, size_t room);

enum log_format { LOG_FORMAT_AUTO, LOG_FORMAT_TEXT, LOG_FORMAT_JSON };
/* AUTO looks at stderr now. */
void log_set_format(enum log_format format);

/* Thread-safe. */
bool log_enabled(enum log_level level, const char *component);
void log_write(enum log_level level, const char *component, const char *message,
               const struct log_field *fields);

/* log_event(LOG_INFO, "http", "run ended", {"tool", name}, {"wall_ms", NULL, 0.7}) */
#define log_event(level, component, message, ...) \
    log_write(level, component, message, (const struct log_field[]){__VA_ARGS__, {NULL, NULL, 0}})

#endif

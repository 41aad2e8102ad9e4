#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MAX_RULES = 16, COMPONENT_BYTES = 24, LINE_BYTES = 4096 };

static const char *const level_names[] = {"off", "error", "warn", "info", "debug", "trace"};

/* The one global state: what to log. */
static struct {
    enum log_level level;
    struct {
        char component[COMPONENT_BYTES];
        enum log_level level;
    } rules[MAX_RULES];
    unsigned count;
    enum log_format format;
} config = {.level = LOG_INFO, .format = LOG_FORMAT_TEXT};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of it */

static int level_of(const char *name, size_t length) {
    for (int i = 0; i <= LOG_TRACE; i++) {
        if (strlen(level_names[i]) == length && strncmp(level_names[i], name, length) == 0)
            return i;
    }
    return -1;
}

/* The names of the Rust program that the settings may have been made for. */
static const char *component_of(const char *name, size_t length) {
    static const struct {
        const char *old, *now;
    } names[] = {{"polyagent_agent_core", ""}, {"wasi_sandbox", "wasi"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strlen(names[i].old) == length && strncmp(name, names[i].old, length) == 0)
            return names[i].now;
    }
    return NULL;
}

int log_set_filter(const char *filter, struct error *err) {
    __auto_type next = config;
    next.count = 0;
    next.level = LOG_INFO;
    for (const char *at = filter;; at++) {
        size_t length = strcspn(at, ",");
        const char *equals = memchr(at, '=', length);
        const char *name = equals != NULL ? equals + 1 : at;
        size_t component = equals != NULL ? (size_t)(equals - at) : 0;
        int level = level_of(name, length - (size_t)(name - at));
        if (level < 0 || component >= COMPONENT_BYTES || next.count == MAX_RULES) {
            return error_set(err, PA_INVALID_ARGUMENT,
                             "log level '%.*s': is not LEVEL or COMPONENT=LEVEL, with a level of "
                             "off, error, warn, info, debug, trace",
                             (int)(length < 100 ? length : 100), at);
        }
        const char *known = component_of(at, component);
        if (equals == NULL || (known != NULL && known[0] == 0)) {
            next.level = (enum log_level)level;
        } else {
            (void)snprintf(next.rules[next.count].component, COMPONENT_BYTES, "%.*s",
                           (int)(known != NULL ? strlen(known) : component),
                           known != NULL ? known : at);
            next.rules[next.count++].level = (enum log_level)level;
        }
        at += length;
        if (*at == 0) break;
    }
    (void)pthread_mutex_lock(&lock);
    config = next;
    (void)pthread_mutex_unlock(&lock);
    return 0;
}

void log_set_format(enum log_format format) {
    if (format == LOG_FORMAT_AUTO)
        format = isatty(STDERR_FILENO) == 0 ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT;
    (void)pthread_mutex_lock(&lock);
    config.format = format;
    (void)pthread_mutex_unlock(&lock);
}

bool log_enabled(enum log_level level, const char *component) {
    (void)pthread_mutex_lock(&lock);
    enum log_level most = config.level;
    for (unsigned i = 0; i < config.count; i++) {
        if (strcmp(config.rules[i].component, component) == 0) most = config.rules[i].level;
    }
    (void)pthread_mutex_unlock(&lock);
    return level <= most;
}

/* Room is always left for the end of a line that was cut. */
struct line {
    char text[LINE_BYTES];
    size_t size;
};
enum { TAIL_BYTES = 8 };

static void put(struct line *line, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void put(struct line *line, const char *format, ...) {
    size_t room = LINE_BYTES - TAIL_BYTES - line->size;
    va_list args;
    va_start(args, format);
    int length = vsnprintf(line->text + line->size, room, format, args);
    va_end(args);
    if (length > 0 && (size_t)length < room) line->size += (size_t)length;
}

/* As in JSON (RFC 8259, section 7); so no text can make a line of its own. */
static void put_quoted(struct line *line, const char *text) {
    put(line, "\"");
    for (const char *at = text; *at != 0; at++) {
        uint8_t byte = (uint8_t)*at;
        if (byte == '"' || byte == '\\')
            put(line, "\\%c", byte);
        else if (byte < 0x20 || byte == 0x7f)
            put(line, "\\u%04x", byte);
        else
            put(line, "%c", byte);
    }
    put(line, "\"");
}

static bool is_plain(const char *text) {
    return text[0] != 0 && text[strcspn(text, " \"=\\\t\r\n")] == 0;
}

void log_write(enum log_level level, const char *component, const char *message,
               const struct log_field *fields) {
    struct line line = {.size = 0};
    struct timespec now;
    struct tm utc;
    char when[32];
    if (!log_enabled(level, component)) return;
    (void)pthread_mutex_lock(&lock);
    bool json = config.format == LOG_FORMAT_JSON;
    (void)pthread_mutex_unlock(&lock);
    if (clock_gettime(CLOCK_REALTIME, &now) != 0 || gmtime_r(&now.tv_sec, &utc) == NULL) return;
    (void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &utc);
    put(&line,
        json ? "{\"time\":\"%s.%03ldZ\",\"level\":\"%s\",\"component\":\"%s\",\"message\":\"%s\""
             : "%s.%03ldZ %s %s: %s",
        when, now.tv_nsec / 1000000, level_names[level], component, message);
    for (const struct log_field *f = fields; f->name != NULL; f++) {
        if (f->text != NULL && f->text[0] == 0) continue;
        put(&line, json ? ",\"%s\":" : " %s=", f->name);
        if (f->text == NULL)
            put(&line, "%.10g", f->number);
        else if (!json && is_plain(f->text))
            put(&line, "%s", f->text);
        else
            put_quoted(&line, f->text);
    }
    size_t size = line.size;
    if (json) line.text[size++] = '}';
    line.text[size++] = '\n';
    ssize_t written = write(STDERR_FILENO, line.text, size);
    (void)written; /* there is no place to say that the log is full */
}

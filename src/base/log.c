#include "base/log.h"

#include "base/nearest.h"
#include "base/text.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
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
static atomic_int most_told = LOG_INFO; /* of all components: most questions end here */

static const char *const components[] = {"engine", "cache",  "compiler", "worker", "supervisor",
                                         "wasi",   "http",   "grpc",     "mcp",    "sessions",
                                         "task",   "server", "tools",    "repl",   "cli"};
enum { COMPONENTS = sizeof components / sizeof *components };

/* A part of a filter: "LEVEL", "COMPONENT=LEVEL", or of Rust, "TARGET". */
struct rule {
    const char *name; /* of the component */
    size_t length;    /* 0: all of them */
    int level;        /* -1: none */
};

static int level_of(const char *name, size_t length) {
    for (int i = 0; i <= LOG_TRACE; i++) {
        if (strlen(level_names[i]) == length && strncasecmp(level_names[i], name, length) == 0)
            return i;
    }
    return -1;
}

static bool is_word(const char *text, size_t length, const char *word) {
    return strlen(word) == length && strncmp(text, word, length) == 0;
}

static bool is_component(const char *name, size_t length) {
    for (size_t i = 0; i < COMPONENTS; i++) {
        if (is_word(name, length, components[i])) return true;
    }
    return false;
}

static struct rule parse_rule(const char *at, size_t length) {
    const char *equals = memchr(at, '=', length);
    if (equals == NULL) return (struct rule){.name = at, .level = level_of(at, length)};
    size_t before = (size_t)(equals - at);
    return (struct rule){
        .name = at, .length = before, .level = level_of(equals + 1, length - before - 1)};
}

static int refuse_rule(const char *at, size_t length, const struct rule *rule, struct error *err) {
    char name[COMPONENT_BYTES];
    struct nearest nearest = {.wrong = name};
    if (length > 100) length = 100;
    if (rule->level < 0) {
        return error_set(err, PA_INVALID_ARGUMENT,
                         "log level '%.*s': is not LEVEL or COMPONENT=LEVEL, with a level of "
                         "off, error, warn, info, debug, trace",
                         (int)length, at);
    }
    (void)snprintf(name, sizeof name, "%.*s", (int)rule->length, rule->name);
    for (size_t i = 0; i < COMPONENTS; i++)
        nearest_consider(&nearest, components[i]);
    const char *hint = nearest_hint(&nearest);
    return error_set(err, PA_INVALID_ARGUMENT,
                     "log level '%.*s': there is no such component%s%s%s; there are engine, cache, "
                     "compiler, worker, supervisor, wasi, http, grpc, mcp, sessions and others",
                     (int)length, at, hint != NULL ? "; did you mean " : "",
                     hint != NULL ? hint : "", hint != NULL ? "?" : "");
}

int log_set_filter(const char *filter, struct error *err) {
    __auto_type next = config;
    next.count = 0;
    next.level = LOG_INFO;
    for (const char *at = filter;; at++) {
        size_t length = strcspn(at, ",");
        const struct rule rule = parse_rule(at, length);
        bool known = rule.length == 0 || is_component(rule.name, rule.length);
        if (rule.level < 0 || !known || next.count == MAX_RULES)
            return refuse_rule(at, length, &rule, err);
        if (rule.length == 0) {
            next.level = (enum log_level)rule.level;
        } else {
            (void)snprintf(next.rules[next.count].component, COMPONENT_BYTES, "%.*s",
                           (int)rule.length, rule.name);
            next.rules[next.count++].level = (enum log_level)rule.level;
        }
        at += length;
        if (*at == 0) break;
    }
    int most = (int)next.level;
    for (unsigned i = 0; i < next.count; i++)
        most = (int)next.rules[i].level > most ? (int)next.rules[i].level : most;
    (void)pthread_mutex_lock(&lock);
    config = next;
    atomic_store_explicit(&most_told, most, memory_order_relaxed);
    (void)pthread_mutex_unlock(&lock);
    return 0;
}

/* What we call a target of the Rust program; "" is all of it, NULL is nothing of ours. */
static const char *component_of_target(const char *name, size_t length) {
    for (size_t i = length; i > 0; i--) { /* the last part of a path */
        if (name[i - 1] != ':') continue;
        name += i;
        length -= i;
        break;
    }
    if (is_word(name, length, "polyagent_agent_core") || is_word(name, length, "polyagent"))
        return "";
    if (is_word(name, length, "wasi_sandbox")) return "wasi";
    for (size_t i = 0; i < COMPONENTS; i++) {
        if (is_word(name, length, components[i])) return components[i];
    }
    return NULL;
}

size_t log_filter_of_rust(const char *filter, char *out, size_t room) {
    size_t used = 0, end = strcspn(filter, "/"); /* a pattern follows */
    out[0] = 0;
    for (size_t at = 0; at < end; at++) {
        size_t length = strcspn(filter + at, ",/");
        struct rule rule = parse_rule(filter + at, length);
        const char *component = "";
        if (rule.level < 0 && length > 0 && memchr(filter + at, '=', length) == NULL) {
            rule = (struct rule){.name = filter + at, .length = length, .level = LOG_TRACE};
        }
        if (rule.length > 0) component = component_of_target(rule.name, rule.length);
        at += length;
        if (rule.level < 0 || component == NULL) continue;
        int more = snprintf(out + used, room - used, "%s%s%s%s", used > 0 ? "," : "", component,
                            component[0] != 0 ? "=" : "", level_names[rule.level]);
        if (more < 0 || (size_t)more >= room - used) break;
        used += (size_t)more;
    }
    out[used] = 0;
    return used;
}

void log_set_format(enum log_format format) {
    if (format == LOG_FORMAT_AUTO)
        format = isatty(STDERR_FILENO) == 0 ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT;
    (void)pthread_mutex_lock(&lock);
    config.format = format;
    (void)pthread_mutex_unlock(&lock);
}

bool log_enabled(enum log_level level, const char *component) {
    if ((int)level > atomic_load_explicit(&most_told, memory_order_relaxed)) return false;
    (void)pthread_mutex_lock(&lock);
    enum log_level most = config.level;
    for (unsigned i = 0; i < config.count; i++) {
        if (strcmp(config.rules[i].component, component) == 0) most = config.rules[i].level;
    }
    (void)pthread_mutex_unlock(&lock);
    return level <= most;
}

/* Room is always left for the end of a text, and of a line, that was cut. */
struct line {
    char text[LINE_BYTES];
    size_t size;
};
enum { TAIL_BYTES = 8 };

/* All of it, or nothing. */
static bool put_bytes(struct line *line, const void *bytes, size_t size) {
    if (size >= LINE_BYTES - TAIL_BYTES - line->size) return false;
    memcpy(line->text + line->size, bytes, size);
    line->size += size;
    return true;
}

static bool put(struct line *line, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool put(struct line *line, const char *format, ...) {
    char text[256];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return length > 0 && (size_t)length < sizeof text && put_bytes(line, text, (size_t)length);
}

/* As in JSON (RFC 8259, section 7), and always UTF-8; so no text can make a line of its own. */
static void put_quoted(struct line *line, const char *text) {
    const uint8_t *at = (const uint8_t *)text;
    size_t left = strlen(text);
    bool fits = true;
    line->text[line->size++] = '"';
    while (left > 0 && fits) {
        size_t length = text_character(at, left);
        unsigned code;
        if (length == 0)
            fits = put(line, "\xef\xbf\xbd");
        else if (*at == '"' || *at == '\\')
            fits = put(line, "\\%c", *at);
        else if (text_controls(at, length, &code))
            fits = put(line, "\\u%04x", code);
        else
            fits = put_bytes(line, at, length);
        at += length > 0 ? length : 1;
        left -= length > 0 ? length : 1;
    }
    line->text[line->size++] = '"';
}

static bool is_plain(const char *text) {
    const uint8_t *at = (const uint8_t *)text;
    for (size_t left = strlen(text); left > 0;) {
        size_t length = text_character(at, left);
        unsigned code;
        if (length == 0 || strchr(" \"=\\", *at) != NULL || text_controls(at, length, &code))
            return false;
        at += length;
        left -= length;
    }
    return text[0] != 0;
}

static void put_field(struct line *line, const struct log_field *field, bool json) {
    if (field->text != NULL && field->text[0] == 0) return;
    if (line->size + strlen(field->name) + 32 > LINE_BYTES - TAIL_BYTES) return; /* it is full */
    (void)put(line, json ? ",\"%s\":" : " %s=", field->name);
    if (field->text == NULL)
        (void)put(line, "%.10g", field->number);
    else if (json || !is_plain(field->text) || !put_bytes(line, field->text, strlen(field->text)))
        put_quoted(line, field->text);
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
    (void)put(
        &line,
        json ? "{\"time\":\"%s.%03ldZ\",\"level\":\"%s\",\"component\":\"%s\",\"message\":\"%s\""
             : "%s.%03ldZ %s %s: %s",
        when, now.tv_nsec / 1000000, level_names[level], component, message);
    for (const struct log_field *f = fields; f->name != NULL; f++)
        put_field(&line, f, json);
    size_t size = line.size;
    if (json) line.text[size++] = '}';
    line.text[size++] = '\n';
    ssize_t written = write(STDERR_FILENO, line.text, size);
    (void)written; /* there is no place to say that the log is full */
}

#include "config/internal.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "base/nearest.h"
#include "base/opener.h"

#include <ctype.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define GIB (UINT64_C(1) << 30)

enum kind { NUMBER, NUMBER32, SWITCH, TEXT, LIST, MAP, TENANTS };

struct setting {
    const char *key;
    enum kind kind;
    size_t offset;
    uint64_t low, high, preset; /* of numbers and switches */
    const char *text;           /* preset of texts and lists; comma-separated */
};

#define AT(field) offsetof(struct config, field)
#define NO_NUMBER 0, 0, 0
#define FLAG 0, 1

static const struct setting settings[] = {
    {"wasi.memory_limit_bytes", NUMBER, AT(limits.memory_limit_bytes), 65536, 4 * GIB, 256 << 20,
     NULL},
    {"wasi.max_fuel", NUMBER, AT(limits.max_fuel), 0, INT64_MAX, 0, NULL},
    {"wasi.execution_timeout_ms", NUMBER, AT(limits.execution_timeout_ms), 0, 86400000, 30000,
     NULL},
    {"wasi.cpu_time_ms", NUMBER, AT(limits.cpu_time_ms), 0, 86400000, 0, NULL},
    {"wasi.max_module_bytes", NUMBER, AT(limits.max_module_bytes), 1, GIB, 50 << 20, NULL},
    {"wasi.output_limit_bytes", NUMBER, AT(limits.output_limit_bytes), 0, GIB, 1 << 20, NULL},
    {"wasi.max_open_files", NUMBER32, AT(limits.max_open_files), 3, 65536, 256, NULL},
    {"wasi.workspace_bytes", NUMBER, AT(limits.workspace_bytes), 0, INT64_MAX, 256 << 20, NULL},
    {"wasi.workspace_inodes", NUMBER, AT(limits.workspace_inodes), 0, INT64_MAX, 10000, NULL},
    {"wasi.table_elements", NUMBER32, AT(limits.table_elements), 1, 10000000, 1000000, NULL},
    {"wasi.allowed_paths", LIST, AT(allowed_paths), NO_NUMBER, ""},
    {"wasi.env_vars", MAP, AT(env_vars), NO_NUMBER, ""},
    {"wasi.module_paths", LIST, AT(module_paths), NO_NUMBER, "/opt/wasm-interpreters"},
    {"wasi.ceilings.memory_limit_bytes", NUMBER, AT(ceilings.memory_limit_bytes), 0, 4 * GIB, GIB,
     NULL},
    {"wasi.ceilings.max_fuel", NUMBER, AT(ceilings.max_fuel), 0, INT64_MAX, 0, NULL},
    {"wasi.ceilings.execution_timeout_ms", NUMBER, AT(ceilings.execution_timeout_ms), 0, 86400000,
     300000, NULL},
    {"wasi.ceilings.cpu_time_ms", NUMBER, AT(ceilings.cpu_time_ms), 0, 86400000, 300000, NULL},
    {"wasi.ceilings.output_limit_bytes", NUMBER, AT(ceilings.output_limit_bytes), 0, GIB, 16 << 20,
     NULL},
    {"wasi.security.allow_network", SWITCH, AT(allow_network), FLAG, 0, NULL},
    {"wasi.security.fs_readonly", SWITCH, AT(fs_readonly), FLAG, 1, NULL},
    {"wasi.security.allow_subprocess", SWITCH, AT(allow_subprocess), FLAG, 0, NULL},
    {"wasi.security.allow_clock", SWITCH, AT(allow_clock), FLAG, 1, NULL},
    {"wasi.security.allow_random", SWITCH, AT(allow_random), FLAG, 1, NULL},
    {"wasi.security.deterministic", SWITCH, AT(deterministic), FLAG, 0, NULL},
    {"interpreters.python", TEXT, AT(interpreter), NO_NUMBER, ""},
    {"interpreters.javascript", TEXT, AT(javascript), NO_NUMBER, ""},
    {"interpreters.compile_ahead", SWITCH, AT(compile_ahead), FLAG, 1, NULL},
    {"cache.max_bytes", NUMBER, AT(cache_bytes), 1, INT64_MAX, 4 * GIB, NULL},
    {"modules.registry", TEXT, AT(registry), NO_NUMBER, ""},
    {"server.http", TEXT, AT(http), NO_NUMBER, "127.0.0.1:8000"},
    {"server.grpc", TEXT, AT(grpc), NO_NUMBER, "127.0.0.1:50051"},
    {"server.allow_remote_without_auth", SWITCH, AT(allow_remote), FLAG, 0, NULL},
    {"server.hosts", LIST, AT(hosts), NO_NUMBER, ""},
    {"server.body_seconds", NUMBER, AT(body_seconds), 1, 3600, 30, NULL},
    {"server.socket", TEXT, AT(socket), NO_NUMBER, ""},
    {"server.drain_seconds", NUMBER, AT(drain_seconds), 0, 86400, 30, NULL},
    {"server.memory_bytes", NUMBER, AT(front_memory_bytes), 0, INT64_MAX, 512 << 20, NULL},
    {"server.max_connections", NUMBER, AT(max_connections), 1, 1000000, 12000, NULL},
    {"server.tls.certificate", TEXT, AT(certificate), NO_NUMBER, ""},
    {"server.tls.key", TEXT, AT(key), NO_NUMBER, ""},
    {"server.tls.client_ca", TEXT, AT(client_ca), NO_NUMBER, ""},
    {"server.auth.tokens_file", TEXT, AT(tokens_file), NO_NUMBER, ""},
    {"queue.max_running", NUMBER, AT(max_running), 1, 100000, 64, NULL},
    {"queue.max_queued", NUMBER, AT(max_queued), 1, 1000000, 1024, NULL},
    {"queue.max_tenant_running", NUMBER, AT(max_tenant_running), 0, 100000, 0, NULL},
    {"queue.max_tenant_queued", NUMBER, AT(max_tenant_queued), 0, 1000000, 0, NULL},
    {"queue.spare_workers", NUMBER, AT(spare_workers), 0, 1000, 2, NULL},
    {"queue.memory_bytes", NUMBER, AT(memory_bytes), 0, INT64_MAX, 0, NULL},
    {"sessions.dir", TEXT, AT(sessions_dir), NO_NUMBER, ""},
    {"sessions.max", NUMBER, AT(sessions_max), 1, 100000, 1000, NULL},
    {"sessions.max_tenant", NUMBER, AT(sessions_max_tenant), 0, 100000, 0, NULL},
    {"sessions.max_bytes", NUMBER, AT(sessions_bytes), 1, INT64_MAX, 64 * GIB, NULL},
    {"sessions.tenant_bytes", NUMBER, AT(sessions_tenant_bytes), 0, INT64_MAX, 0, NULL},
    {"sessions.idle_seconds", NUMBER, AT(sessions_idle_seconds), 1, 31536000, 3600, NULL},
    {"tenants", TENANTS, AT(tenants), NO_NUMBER, NULL},
    {"llm.base_url", TEXT, AT(llm_base_url), NO_NUMBER, ""},
    {"llm.model", TEXT, AT(llm_model), NO_NUMBER, ""},
    {"llm.api_key_env", TEXT, AT(llm_key_variable), NO_NUMBER, "POLYAGENT_LLM_API_KEY"},
    {"llm.api_key_file", TEXT, AT(llm_key_file), NO_NUMBER, ""},
    {"llm.max_rounds", NUMBER, AT(llm_rounds), 1, 100, 8, NULL},
    {"llm.max_tokens", NUMBER, AT(llm_tokens), 1, 10000000, 32768, NULL},
    {"llm.timeout_ms", NUMBER, AT(llm_timeout_ms), 1, 86400000, 120000, NULL},
    {"log.level", TEXT, AT(log_level), NO_NUMBER, "info"},
    {"log.format", TEXT, AT(log_format), NO_NUMBER, "auto"},
};
enum { SETTINGS = sizeof settings / sizeof *settings };

static void *field(struct config *config, const struct setting *s) {
    return (char *)config + s->offset;
}

static void free_list(char **list) {
    for (char **at = list; at != NULL && *at != NULL; at++)
        free(*at);
    free(list);
}

void config_fini(struct config *config) { /* of zeros, too */
    for (const struct setting *s = settings; s < settings + SETTINGS; s++) {
        if (s->kind == TEXT) free(*(char **)field(config, s));
        if (s->kind == LIST || s->kind == MAP) free_list(*(char ***)field(config, s));
    }
    config_free_tenants(config);
    *config = (struct config){.limits = {0}};
}

int config_out_of_memory(struct error *err) {
    return error_set(err, PA_INTERNAL, "the settings: out of memory");
}

static int set_number(struct config *config, const struct setting *s, uint64_t value) {
    if (s->kind == NUMBER32)
        *(uint32_t *)field(config, s) = (uint32_t)value;
    else if (s->kind == SWITCH)
        *(bool *)field(config, s) = value != 0;
    else
        *(uint64_t *)field(config, s) = value;
    return 0;
}

static int set_text(struct config *config, const struct setting *s, const char *text,
                    struct error *err) {
    char *copy = strdup(text), **at = field(config, s);
    if (copy == NULL) return config_out_of_memory(err);
    free(*at);
    *at = copy;
    return 0;
}

/* Takes over the list. */
static void set_list(struct config *config, const struct setting *s, char **list) {
    char ***at = field(config, s);
    free_list(*at);
    *at = list;
}

int config_number(const char *text, uint64_t low, uint64_t high, uint64_t *out, struct error *err) {
    char *end;
    errno = 0;
    uint64_t value = strtoumax(text, &end, 10);
    if (!isdigit((unsigned char)text[0]) || *end != 0 || errno != 0 || value < low ||
        value > high) {
        return error_set(err, PA_INVALID_ARGUMENT,
                         "must be a number of %" PRIu64 " to %" PRIu64 ", not '%.60s'", low, high,
                         text);
    }
    *out = value;
    return 0;
}

/* A scalar as text, from a file or a variable; the message has no context yet. */
static int set_scalar(struct config *config, const struct setting *s, const char *text,
                      struct error *err) {
    if (s->kind == TEXT) return set_text(config, s, text, err);
    if (s->kind == SWITCH) {
        bool on = strcmp(text, "true") == 0;
        if (!on && strcmp(text, "false") != 0) {
            return error_set(err, PA_INVALID_ARGUMENT, "must be true or false, not '%.60s'", text);
        }
        return set_number(config, s, on);
    }
    uint64_t value;
    return config_number(text, s->low, s->high, &value, err) == 0 ? set_number(config, s, value)
                                                                  : -1;
}

/* Comma-separated, from a preset or a variable. */
static int set_separated(struct config *config, const struct setting *s, const char *text,
                         struct error *err) {
    size_t count = 0;
    char **list = calloc(strlen(text) + 2, sizeof *list);
    if (list == NULL) return config_out_of_memory(err);
    for (const char *at = text; *at != 0;) {
        size_t length = strcspn(at, ",");
        list[count] = strndup(at, length);
        if (list[count] == NULL) {
            free_list(list);
            return config_out_of_memory(err);
        }
        if (s->kind == MAP && strchr(list[count], '=') == NULL) {
            error_set(err, PA_INVALID_ARGUMENT, "must be NAME=VALUE, not '%.60s'", list[count]);
            free_list(list);
            return -1;
        }
        count++;
        at += length + (at[length] == ',');
    }
    set_list(config, s, list);
    return 0;
}

const char *config_key(size_t number) {
    return number < SETTINGS ? settings[number].key : NULL;
}

static int set_presets(struct config *config, struct error *err) {
    for (const struct setting *s = settings; s < settings + SETTINGS; s++) {
        if (s->kind == TENANTS) continue; /* none */
        int result = s->kind == TEXT                     ? set_text(config, s, s->text, err)
                     : s->kind == LIST || s->kind == MAP ? set_separated(config, s, s->text, err)
                                                         : set_number(config, s, s->preset);
        if (result != 0) return -1;
    }
    return 0;
}

static int set_from_environment(struct config *config, struct error *err) {
    for (const struct setting *s = settings; s < settings + SETTINGS; s++) {
        char name[CONFIG_VARIABLE_BYTES];
        config_variable(s->key, name);
        const char *text = getenv(name);
        if (text == NULL || s->kind == TENANTS) continue;
        int result = s->kind == LIST || s->kind == MAP ? set_separated(config, s, text, err)
                                                       : set_scalar(config, s, text, err);
        if (result != 0) return error_prefix(err, "%s", name);
    }
    /* The seed's own names. */
    const char *python = getenv("PYTHON_WASI_WASM_PATH"), *level = getenv("POLYAGENT_LOG");
    static const struct setting interpreter = {.key = "", .kind = TEXT, .offset = AT(interpreter)};
    static const struct setting log_level = {.key = "", .kind = TEXT, .offset = AT(log_level)};
    const char *rust = getenv("RUST_LOG");
    char ours[256];
    if (level == NULL && rust != NULL && log_filter_of_rust(rust, ours, sizeof ours) > 0)
        level = ours;
    if (python != NULL && set_text(config, &interpreter, python, err) != 0) return -1;
    return level != NULL ? set_text(config, &log_level, level, err) : 0;
}

static size_t line_of(const yaml_node_t *node) {
    return node->start_mark.line + 1;
}

int config_refuse(const struct source *source, const yaml_node_t *node, const char *key,
                  const char *why, struct error *err) {
    return error_set(err, PA_INVALID_ARGUMENT, "%s:%zu: %s: %s", source->path, line_of(node),
                     key[0] != 0 ? key : "the file", why);
}

int config_at(const struct source *source, const yaml_node_t *node, const char *key,
              struct error *err) {
    return error_prefix(err, "%s:%zu: %s", source->path, line_of(node), key);
}

const char *config_scalar(const yaml_node_t *node) {
    return node != NULL && node->type == YAML_SCALAR_NODE &&
                   strlen((const char *)node->data.scalar.value) == node->data.scalar.length
               ? (const char *)node->data.scalar.value
               : NULL;
}

static int take_list(struct source *source, const struct setting *s, yaml_node_t *node,
                     struct error *err) {
    if (node->type != YAML_SEQUENCE_NODE) {
        return config_refuse(source, node, s->key, "must be a list", err);
    }
    size_t count = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
    char **list = calloc(count + 1, sizeof *list);
    if (list == NULL) return config_out_of_memory(err);
    for (size_t i = 0; i < count; i++) {
        const char *text = config_scalar(
            yaml_document_get_node(&source->document, node->data.sequence.items.start[i]));
        list[i] = text != NULL ? strdup(text) : NULL;
        if (list[i] != NULL) continue;
        free_list(list);
        return text == NULL ? config_refuse(source, node, s->key, "must be a list of texts", err)
                            : config_out_of_memory(err);
    }
    set_list(source->config, s, list);
    return 0;
}

static int take_map(struct source *source, const struct setting *s, yaml_node_t *node,
                    struct error *err) {
    if (node->type != YAML_MAPPING_NODE) {
        return config_refuse(source, node, s->key, "must be a mapping of names to texts", err);
    }
    const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
    size_t count = (size_t)(node->data.mapping.pairs.top - pair);
    char **list = calloc(count + 1, sizeof *list);
    if (list == NULL) return config_out_of_memory(err);
    for (size_t i = 0; i < count; i++, pair++) {
        const char *name = config_scalar(yaml_document_get_node(&source->document, pair->key));
        const char *value = config_scalar(yaml_document_get_node(&source->document, pair->value));
        bool good = name != NULL && value != NULL && name[0] != 0 && strchr(name, '=') == NULL;
        if (good && asprintf(&list[i], "%s=%s", name, value) >= 0) continue;
        list[i] = NULL;
        free_list(list);
        return good ? config_out_of_memory(err)
                    : config_refuse(source, node, s->key, "must be a mapping of names to texts",
                                    err);
    }
    set_list(source->config, s, list);
    return 0;
}

static int take_value(struct source *source, const struct setting *s, yaml_node_t *node,
                      struct error *err) {
    if (s->kind == LIST) return take_list(source, s, node, err);
    if (s->kind == MAP) return take_map(source, s, node, err);
    if (s->kind == TENANTS) return config_take_tenants(source, node, err);
    const char *text = config_scalar(node);
    if (text == NULL) return config_refuse(source, node, s->key, "must be a single value", err);
    if (set_scalar(source->config, s, text, err) == 0) return 0;
    return config_at(source, node, s->key, err);
}

static int refuse_key(const struct source *source, const yaml_node_t *node, const char *key,
                      struct error *err) {
    struct nearest nearest = {.wrong = key};
    char why[KEY_BYTES + 64];
    for (const struct setting *s = settings; s < settings + SETTINGS; s++)
        nearest_consider(&nearest, s->key);
    const char *hint = nearest_hint(&nearest);
    (void)snprintf(why, sizeof why, "no such setting%s%s%s", hint != NULL ? "; did you mean " : "",
                   hint != NULL ? hint : "", hint != NULL ? "?" : "");
    return config_refuse(source, node, key, why, err);
}

static bool is_section(const char *key) {
    size_t length = strlen(key);
    for (const struct setting *s = settings; s < settings + SETTINGS; s++) {
        if (strncmp(s->key, key, length) == 0 && s->key[length] == '.') return true;
    }
    return false;
}

static const struct setting *find(const char *key) {
    for (const struct setting *s = settings; s < settings + SETTINGS; s++) {
        if (strcmp(s->key, key) == 0) return s;
    }
    return NULL;
}

/* The table's keys have at most three parts, so the recursion ends. */
static int take_section(struct source *source, const char *prefix, yaml_node_t *node,
                        struct error *err) {
    const char *empty = config_scalar(node);
    if (empty != NULL && empty[0] == 0) return 0; /* all of it commented out */
    if (node->type != YAML_MAPPING_NODE) {
        return config_refuse(source, node, prefix, "must be a mapping", err);
    }
    const yaml_node_pair_t *pairs = node->data.mapping.pairs.start;
    for (const yaml_node_pair_t *pair = pairs; pair < node->data.mapping.pairs.top; pair++) {
        yaml_node_t *name_node = yaml_document_get_node(&source->document, pair->key);
        yaml_node_t *value = yaml_document_get_node(&source->document, pair->value);
        const char *name = config_scalar(name_node);
        char key[KEY_BYTES];
        if (name == NULL) return config_refuse(source, node, prefix, "its keys must be names", err);
        (void)snprintf(key, sizeof key, "%s%s%s", prefix, prefix[0] != 0 ? "." : "", name);
        for (const yaml_node_pair_t *other = pairs; other < pair; other++) {
            const char *earlier =
                config_scalar(yaml_document_get_node(&source->document, other->key));
            if (earlier != NULL && strcmp(earlier, name) == 0)
                return config_refuse(source, name_node, key, "stands there twice", err);
        }
        const struct setting *setting = find(key);
        int result = setting != NULL   ? take_value(source, setting, value, err)
                     : is_section(key) ? take_section(source, key, value, err)
                                       : refuse_key(source, name_node, key, err);
        if (result != 0) return -1;
    }
    return 0;
}

static int set_from_file(struct config *config, const char *path, struct error *err) {
    struct source source = {.path = path, .config = config};
    yaml_parser_t parser;
    int fd = opener_open(path, 0);
    FILE *file = fd >= 0 ? fdopen(fd, "r") : NULL;
    if (file == NULL) {
        error_set_errno(err, PA_INVALID_ARGUMENT, errno, "%s", path);
        fd_closep(&fd);
        return -1;
    }
    if (yaml_parser_initialize(&parser) == 0) {
        (void)fclose(file);
        return config_out_of_memory(err);
    }
    yaml_parser_set_input_file(&parser, file);
    int result = 0;
    if (yaml_parser_load(&parser, &source.document) == 0) {
        result = error_set(err, PA_INVALID_ARGUMENT, "%s:%zu: no YAML: %s", path,
                           parser.problem_mark.line + 1,
                           parser.problem != NULL ? parser.problem : "cannot be read");
    } else {
        yaml_node_t *root = yaml_document_get_root_node(&source.document);
        if (root != NULL) result = take_section(&source, "", root, err);
        yaml_document_delete(&source.document);
    }
    yaml_parser_delete(&parser);
    (void)fclose(file);
    return result;
}

/* What no single setting shows. */
static int check(const struct config *c, struct error *err) {
    if (c->allow_network || c->allow_subprocess) {
        return error_set(err, PA_INVALID_ARGUMENT,
                         "wasi.security.%s: cannot be true: there is nothing to allow",
                         c->allow_network ? "allow_network" : "allow_subprocess");
    }
    if ((c->certificate[0] != 0) != (c->key[0] != 0)) {
        return error_set(err, PA_INVALID_ARGUMENT,
                         "server.tls: certificate and key go together; one of them is missing");
    }
    if (c->client_ca[0] != 0 && c->certificate[0] == 0) {
        return error_set(err, PA_INVALID_ARGUMENT,
                         "server.tls.client_ca: needs server.tls.certificate and .key");
    }
    if ((c->llm_base_url[0] != 0) != (c->llm_model[0] != 0)) {
        return error_set(err, PA_INVALID_ARGUMENT,
                         "llm: base_url and model go together; one of them is missing");
    }
    if (strcmp(c->log_format, "auto") != 0 && strcmp(c->log_format, "text") != 0 &&
        strcmp(c->log_format, "json") != 0) {
        return error_set(err, PA_INVALID_ARGUMENT, "log.format: must be auto, text or json");
    }
    for (char **path = c->allowed_paths; *path != NULL; path++) {
        if ((*path)[0] != '/') {
            return error_set(err, PA_INVALID_ARGUMENT,
                             "wasi.allowed_paths: '%s' is not an absolute path", *path);
        }
    }
    return 0;
}

int config_load(struct config *config, const char *path, struct error *err) {
    *config = (struct config){.limits = {0}};
    if (set_presets(config, err) == 0 && (path == NULL || set_from_file(config, path, err) == 0) &&
        set_from_environment(config, err) == 0 && check(config, err) == 0) {
        return 0;
    }
    config_fini(config);
    return -1;
}

static int print_quoted(FILE *out, const char *text) {
    int result = fputc('"', out);
    for (const char *at = text; *at != 0 && result >= 0; at++) {
        if (*at == '"' || *at == '\\') (void)fputc('\\', out);
        result = (unsigned char)*at < 0x20 ? fprintf(out, "\\x%02x", *at) : fputc(*at, out);
    }
    return result < 0 ? result : fputc('"', out);
}

static void print_value(FILE *out, const struct config *config, const struct setting *s,
                        int indent) {
    const void *at = (const char *)config + s->offset;
    char *const *list = s->kind == LIST || s->kind == MAP ? *(char **const *)at : NULL;
    switch (s->kind) {
    case NUMBER: (void)fprintf(out, " %" PRIu64, *(const uint64_t *)at); break;
    case NUMBER32: (void)fprintf(out, " %" PRIu32, *(const uint32_t *)at); break;
    case SWITCH: (void)fprintf(out, " %s", *(const bool *)at ? "true" : "false"); break;
    case TEXT:
        (void)fputc(' ', out);
        (void)print_quoted(out, *(char *const *)at);
        break;
    case TENANTS: config_print_tenants(config, out); return;
    case LIST:
    case MAP:
        if (*list == NULL) (void)fputs(s->kind == LIST ? " []" : " {}", out);
        for (; *list != NULL; list++) {
            const char *text = *list, *equals = s->kind == MAP ? strchr(text, '=') : NULL;
            (void)fprintf(out, "\n%*s", indent + 2, "");
            if (s->kind == LIST) (void)fputs("- ", out);
            if (equals != NULL) {
                (void)fprintf(out, "%.*s: ", (int)(equals - text), text);
                text = equals + 1;
            }
            (void)print_quoted(out, text);
        }
    }
    (void)fputc('\n', out);
}

int config_print(const struct config *config, FILE *out) {
    const char *last = "";
    for (const struct setting *s = settings; s < settings + SETTINGS; s++) {
        size_t same = 0;
        int indent = 0;
        for (size_t i = 0; s->key[i] != 0 && s->key[i] == last[i]; i++) {
            if (s->key[i] != '.') continue;
            same = i + 1;
            indent += 2;
        }
        const char *at = s->key + same;
        for (const char *dot; (dot = strchr(at, '.')) != NULL; at = dot + 1, indent += 2)
            (void)fprintf(out, "%*s%.*s:\n", indent, "", (int)(dot - at), at);
        (void)fprintf(out, "%*s%s:", indent, "", at);
        print_value(out, config, s, indent);
        last = s->key;
    }
    return fflush(out) == 0 && ferror(out) == 0 ? 0 : -EIO;
}

int config_apply_log(const struct config *config, struct error *err) {
    if (log_set_filter(config->log_level, err) != 0) return -1;
    log_set_format(config->log_format[0] == 'j'   ? LOG_FORMAT_JSON
                   : config->log_format[0] == 't' ? LOG_FORMAT_TEXT
                                                  : LOG_FORMAT_AUTO);
    return 0;
}

/* The section `tenants`: what single tenants may have, by the names of their credentials. */
#include "config/internal.h"

#include "base/nearest.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TENANTS = 1000, NAME_BYTES = 48 /* as of a credential */ };

/* What may stand beneath a name. */
static const struct share {
    const char *key;
    size_t offset;
    uint64_t high;
} shares[] = {
    {"running", offsetof(struct config_tenant, running), 100000},
    {"queued", offsetof(struct config_tenant, queued), 1000000},
    {"interpreters", offsetof(struct config_tenant, interpreters), 1000},
    {"sessions", offsetof(struct config_tenant, sessions), 100000},
    {"stored_bytes", offsetof(struct config_tenant, stored_bytes), INT64_MAX},
};
enum { SHARES = sizeof shares / sizeof *shares };

static uint64_t *number(struct config_tenant *tenant, const struct share *share) {
    return (uint64_t *)((char *)tenant + share->offset);
}

const struct config_tenant *config_find_tenant(const struct config *config, const char *name) {
    for (size_t i = 0; i < config->tenant_count; i++) {
        if (strcmp(config->tenants[i].name, name) == 0) return &config->tenants[i];
    }
    return NULL;
}

void config_free_tenants(struct config *config) {
    for (size_t i = 0; i < config->tenant_count; i++)
        free(config->tenants[i].name);
    free(config->tenants);
    config->tenants = NULL;
    config->tenant_count = 0;
}

static int refuse_share(const struct source *source, const yaml_node_t *node, const char *path,
                        const char *key, struct error *err) {
    struct nearest nearest = {.wrong = key};
    char why[KEY_BYTES];
    for (const struct share *s = shares; s < shares + SHARES; s++)
        nearest_consider(&nearest, s->key);
    const char *hint = nearest_hint(&nearest);
    (void)snprintf(why, sizeof why, "no such setting%s%s%s", hint != NULL ? "; did you mean " : "",
                   hint != NULL ? hint : "", hint != NULL ? "?" : "");
    return config_refuse(source, node, path, why, err);
}

static int take_shares(struct source *source, struct config_tenant *tenant, yaml_node_t *node,
                       struct error *err) {
    char path[KEY_BYTES];
    (void)snprintf(path, sizeof path, "tenants.%s", tenant->name);
    if (node->type != YAML_MAPPING_NODE)
        return config_refuse(source, node, path, "must be a mapping of settings to numbers", err);
    const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
    for (; pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = yaml_document_get_node(&source->document, pair->key);
        const yaml_node_t *value = yaml_document_get_node(&source->document, pair->value);
        const char *name = config_scalar(key), *text = config_scalar(value);
        const struct share *s = shares;
        if (name == NULL) return config_refuse(source, node, path, "its keys must be names", err);
        (void)snprintf(path, sizeof path, "tenants.%s.%.30s", tenant->name, name);
        while (s < shares + SHARES && strcmp(s->key, name) != 0)
            s++;
        if (s == shares + SHARES) return refuse_share(source, key, path, name, err);
        if (*number(tenant, s) != 0)
            return config_refuse(source, key, path, "stands there twice", err);
        if (text == NULL) return config_refuse(source, value, path, "must be a single value", err);
        if (config_number(text, 1, s->high, number(tenant, s), err) != 0)
            return config_at(source, value, path, err);
    }
    return 0;
}

int config_take_tenants(struct source *source, yaml_node_t *node, struct error *err) {
    struct config *config = source->config;
    const char *empty = config_scalar(node);
    if (empty != NULL && empty[0] == 0) return 0; /* all of it commented out */
    if (node->type != YAML_MAPPING_NODE)
        return config_refuse(source, node, "tenants", "must be a mapping of names to shares", err);
    const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
    size_t count = (size_t)(node->data.mapping.pairs.top - pair);
    if (count > MAX_TENANTS)
        return config_refuse(source, node, "tenants", "more than 1000 of them", err);
    config->tenants = calloc(count + 1, sizeof *config->tenants);
    if (config->tenants == NULL) return config_out_of_memory(err);
    for (; count > 0; count--, pair++) {
        const yaml_node_t *key = yaml_document_get_node(&source->document, pair->key);
        const char *name = config_scalar(key);
        if (name == NULL || name[0] == 0 || strlen(name) >= NAME_BYTES ||
            strpbrk(name, ":\"\\\n") != NULL)
            return config_refuse(source, key, "tenants",
                                 "its keys must be names of credentials, of 47 bytes at most", err);
        if (config_find_tenant(config, name) != NULL)
            return config_refuse(source, key, name, "stands there twice", err);
        struct config_tenant *tenant = &config->tenants[config->tenant_count];
        tenant->name = strdup(name);
        if (tenant->name == NULL) return config_out_of_memory(err);
        config->tenant_count++;
        yaml_node_t *value = yaml_document_get_node(&source->document, pair->value);
        if (take_shares(source, tenant, value, err) != 0) return -1;
    }
    return 0;
}

void config_print_tenants(const struct config *config, FILE *out) {
    if (config->tenant_count == 0) (void)fputs(" {}", out);
    for (size_t i = 0; i < config->tenant_count; i++) {
        const char *separator = "";
        (void)fprintf(out, "\n  \"%s\": {", config->tenants[i].name);
        for (const struct share *s = shares; s < shares + SHARES; s++) {
            uint64_t value = *number(&config->tenants[i], s);
            if (value == 0) continue;
            (void)fprintf(out, "%s%s: %" PRIu64, separator, s->key, value);
            separator = ", ";
        }
        (void)fputc('}', out);
    }
    (void)fputc('\n', out);
}

/* What the files of src/config share: a file being read, and what is said of it. */
#ifndef PA_CONFIG_INTERNAL_H
#define PA_CONFIG_INTERNAL_H

#include "config/config.h"

#include <stddef.h>
#include <yaml.h>

enum { KEY_BYTES = 96 };

/* A file being read. */
struct source {
    const char *path;
    yaml_document_t document;
    struct config *config;
};

/* Each gives -1 with `err`: of a node, as FILE:LINE: KEY: WHY. */
int config_refuse(const struct source *source, const yaml_node_t *node, const char *key,
                  const char *why, struct error *err);
/* The same for an error that says why already. */
int config_at(const struct source *source, const yaml_node_t *node, const char *key,
              struct error *err);
int config_out_of_memory(struct error *err);

/* A node's text without a NUL; NULL: it is none (NULL, too), or has one. */
const char *config_scalar(const yaml_node_t *node);
/* A whole number from `low` to `high`. 0, or -1 with `err`. */
int config_number(const char *text, uint64_t low, uint64_t high, uint64_t *out, struct error *err);

/* tenants.c: the section `tenants`, a mapping of names to numbers each. */
int config_take_tenants(struct source *source, yaml_node_t *node, struct error *err);
void config_print_tenants(const struct config *config, FILE *out);
void config_free_tenants(struct config *config);

#endif

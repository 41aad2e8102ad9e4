/* YAML files that are data: as JSON. */
#ifndef PA_CONFIG_YAML_JSON_H
#define PA_CONFIG_YAML_JSON_H

#include "base/error.h"

#include <jansson.h>

/* The file's only document: mappings, sequences, texts, and where they are plain, true, false, null
 * and integers. No aliases, no tags, at most 1 MiB, 16 deep. NULL with `err`, which names file and
 * line: PA_NOT_FOUND, PA_INVALID_ARGUMENT. */
json_t *yaml_json_load(const char *path, struct error *err);

#endif

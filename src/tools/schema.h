/* Checks parameters against a tool's JSON schema. The keywords that our own schemas use are known:
 * type, properties, required, additionalProperties, items, minLength, minimum, maximum, maxItems
 * (JSON Schema 2020-12, validation vocabulary); a unit test sees to it that they use no others. */
#ifndef PA_TOOLS_SCHEMA_H
#define PA_TOOLS_SCHEMA_H

#include "base/error.h"

#include <jansson.h>

/* -1 with PA_INVALID_ARGUMENT that names the parameter and says what it wants; for one that is not
 * known, the nearest that is. `path` is its name, "" at the top. */
int schema_check(const json_t *schema, const json_t *value, const char *path, struct error *err);

#endif

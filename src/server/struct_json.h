/* google.protobuf.Struct and Value as JSON, and back (the mapping of protobuf's struct.proto). */
#ifndef PA_SERVER_STRUCT_JSON_H
#define PA_SERVER_STRUCT_JSON_H

#include "base/error.h"

#include "messages.h" /* generated from proto/ */

#include <jansson.h>

/* How a message's bytes are nested, where it may hold a Struct. */
enum struct_kind {
    IN_TOOL_REQUEST,
    IN_TASK_REQUEST,
    IN_SESSION_CONTEXT,
    IN_STRUCT,
    IN_ENTRY,
    IN_VALUE,
    IN_LIST
};

/* Looks at a message before it is unpacked: Structs that are too deep would use up the stack, and
 * too many values the memory. -1 with PA_INVALID_ARGUMENT. What is malformed otherwise, the
 * unpacking tells. */
int struct_check(enum struct_kind kind, const uint8_t *data, size_t size, struct error *err);

/* NULL with `err`: a text that is no UTF-8, or memory is out. NULL is an empty Struct. */
json_t *struct_to_json(const Google__Protobuf__Struct *value, struct error *err);

/* NULL when memory runs out. Freed with the message that they become part of, or by
 * google__protobuf__value__free_unpacked(). */
Google__Protobuf__Value *json_to_value(const json_t *json);
Google__Protobuf__Struct *json_to_struct(const json_t *json);

#endif

/* Files that a program leaves, as they stand in its result: {"name", "mime", "bytes_base64"}. Where
 * the program's own bootstrap says so, it is a stranger's word. */
#ifndef PA_TOOLS_ARTIFACT_H
#define PA_TOOLS_ARTIFACT_H

#include <jansson.h>
#include <stdbool.h>

enum { ARTIFACT_MAX_FILES = 100, ARTIFACT_MAX_BYTES = 32 << 20, ARTIFACT_NAME_BYTES = 255 };

/* Whether a name can be shown and stored anywhere: without control characters, and no part of it
 * empty, "." or "..". `folders`: it may lie in some. */
bool artifact_is_name(const char *name, bool folders);

/* Whether it is a file's entry: these three texts, a plain name, a type and a subtype (RFC 6838,
 * section 4.2), base64. */
bool artifact_is_sound(const json_t *entry);

#endif

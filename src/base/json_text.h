/* A JSON value as text. */
#ifndef PA_BASE_JSON_TEXT_H
#define PA_BASE_JSON_TEXT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* As json_dumps(), whose flags these are: for the caller to free(); NULL: out of memory, or `value`
 * is NULL or cannot be written. But whole or not at all: json_dumps() of jansson 2.14 leaves an
 * object's key out when memory ends just there, and goes on. */
char *json_text(const json_t *value, size_t flags);

/* A string, even of what is no UTF-8 (base/text.h); NULL: out of memory. */
json_t *json_of_text(const char *text);

/* Prints it on stdout, with an end of line; on a terminal with escapes for the characters that
 * control one (JSON itself has them for those of ASCII). 0 or a negative errno. */
int json_print(const json_t *value, size_t flags);

/* Whether its text is longer than about so many bytes; it is looked at no longer than that takes.
 */
bool json_is_larger(const json_t *value, size_t bytes);

/* About how many bytes of memory it takes. */
size_t json_memory(const json_t *value);

#endif

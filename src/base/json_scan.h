/* A look at JSON text before it is parsed: in one pass, without memory, whatever stands in it. */
#ifndef PA_BASE_JSON_SCAN_H
#define PA_BASE_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>

/* The closing quote of the text that begins at `at` (after its opening quote), or `end`. `plain`:
 * no escape is in it. */
const char *json_scan_text(const char *at, const char *end, bool *plain);

/* Whether a parse of the text makes at most `most_values` values and goes at most `most_depth`
 * arrays and objects deep. What is no JSON is counted as far as it looks like it. */
bool json_scan_is_within(const char *text, size_t size, size_t most_values, size_t most_depth);

#endif

/* The form of a task that needs no model: "Use TOOL to execute: CODE", or "to run", in any case;
 * CODE may be a fenced block (CommonMark, section 4.5). */
#ifndef PA_SERVER_TASK_TEXT_H
#define PA_SERVER_TASK_TEXT_H

#include <jansson.h>
#include <stdbool.h>

/* False if the text has another form. `call` is {"tool": NAME, PARAMETER: CODE}, owned by the
 * caller; NULL when memory runs out. */
bool task_text_parse(const char *text, json_t **call);

#endif

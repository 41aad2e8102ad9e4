#include "server/task_text.h"

#include "tools/tools.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

static const char *skip_space(const char *at) {
    while (isspace((unsigned char)*at))
        at++;
    return at;
}

/* Past the word, if it stands there. */
static const char *take_word(const char *at, const char *word) {
    size_t length = strlen(word);
    if (at == NULL) return NULL;
    at = skip_space(at);
    return strncasecmp(at, word, length) == 0 ? at + length : NULL;
}

/* What stands in a fence, if there is one. */
static void unfence(const char **text, size_t *size) {
    const char *start = *text, *end = start + *size;
    if (*size < 6 || strncmp(start, "```", 3) != 0) return;
    const char *line = memchr(start, '\n', *size);
    while (end > start && isspace((unsigned char)end[-1]))
        end--;
    if (line == NULL || end - line < 4 || strncmp(end - 3, "```", 3) != 0) return;
    *text = line + 1;
    *size = (size_t)(end - 3 - *text);
}

/* What the tool calls its program. */
static const char *parameter_of(const char *tool, const char *code) {
    if (strcmp(tool, "code_executor") != 0) return "code";
    return code[0] == '/' ? "wasm_path" : "wasm_base64";
}

bool task_text_parse(const char *text, json_t **call) {
    char tool[64];
    const char *at = take_word(text, "use ");
    if (at == NULL) return false;
    at = skip_space(at);
    size_t length = strcspn(at, " \t\r\n");
    if (length == 0 || length >= sizeof tool) return false;
    memcpy(tool, at, length);
    tool[length] = 0;
    at = take_word(at + length, "to ");
    const char *verb = take_word(at, "execute");
    if (verb == NULL) verb = take_word(at, "run");
    at = take_word(verb, ":");
    if (at == NULL) return false;
    at = skip_space(at);
    size_t size = strlen(at);
    unfence(&at, &size);
    *call = json_pack("{s:s, s:s%}", "tool", tool, parameter_of(tool, at), at, size);
    return true;
}

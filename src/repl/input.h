/* Lines from the terminal, or whatever stdin is; and when enough of them are there. */
#ifndef PA_REPL_INPUT_H
#define PA_REPL_INPUT_H

#include <stdbool.h>

/* Signals that end the conversation: blocked but for input_line(). */
#define INPUT_END_SIGNALS SIGTERM, SIGHUP

/* Before all else: characters are those of the user's locale, or of UTF-8. */
void input_init(void);

/* The next line without its end, the caller's to free; NULL at the end. With line editing, history
 * and completion on a terminal; Ctrl-C there drops the line and gives an empty one. SIGTERM and
 * SIGHUP end it and set `left`. */
char *input_line(const char *prompt, bool *left);

/* After an empty line in a block: whether what has come already goes on with it, as in a paste. */
bool input_goes_on(void);

/* Whether the lines so far are a whole input: no bracket, text or block is open. */
bool input_is_complete(const char *text, bool is_python);

int input_start_history(const char *path, int lines);
void input_end_history(const char *path);

#endif

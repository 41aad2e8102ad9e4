/* What has come from the terminal, or whatever stdin is, and was not used yet: the one place that
 * reads it. Nothing of it is ever lost: the prompt takes it character by character, a program that
 * asks for input line by line, and gives back what it did not read. */
#ifndef PA_REPL_AHEAD_H
#define PA_REPL_AHEAD_H

#include "base/buffer.h"

#include <signal.h>
#include <stdbool.h>

/* Reads what is there. Waits for something if there is nothing, with the signals of `during`
 * blocked and no others; NULL: does not wait. 1; 0 at the end; -EINTR after a signal, -EAGAIN. */
int ahead_fill(const sigset_t *during);

bool ahead_is_empty(void);

/* The next character; -1: there is no whole one (`final`: nor will one be; then it is U+FFFD). A
 * tab in a paste has ^V before it: it is no question for names. */
int ahead_character(bool final);

/* The next line with its end (any of \n, \r, \r\n; it is \n here) is added to `out`. False: none is
 * whole. */
bool ahead_line(struct buffer *out);

/* The same of what has no end. False: there is nothing. */
bool ahead_rest(struct buffer *out);

/* Whether the next line that is not blank is indented. False while that is not there. */
bool ahead_is_indented(void);

/* Puts it before all else. -1 when memory runs out. */
int ahead_put_back(const void *data, size_t size);

/* Drops all, and returns how many lines that were. */
unsigned ahead_drop(void);

/* The beginning of a paste is there, but not its end (bracketed paste). */
bool ahead_in_paste(void);

#endif

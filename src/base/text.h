/* Text of guests and strangers, made fit to be shown: valid UTF-8, cut between characters, and with
 * nothing in it that moves a terminal's cursor, ends a line of a log, or turns the direction of
 * writing. Such characters are made visible: as \n, \x1b, \u202e. */
#ifndef PA_BASE_TEXT_H
#define PA_BASE_TEXT_H

#include "base/buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TEXT_TIDY_BYTES = 8192 };

/* Bytes of the character in UTF-8 at `at` (`left` of them are there); 0 if there is none. A NUL is
 * none: not all interfaces can carry one. */
size_t text_character(const uint8_t *at, size_t left);

/* How many bytes at the end of a text begin a character that more bytes could complete. */
size_t text_cut_off(const uint8_t *text, size_t size);

/* Whether the character of `length` bytes at `at` is one of those that are made visible, a line end
 * among them; `code` gets its number then. */
bool text_controls(const uint8_t *at, size_t length, unsigned *code);

enum text_lines {
    TEXT_ONE_LINE, /* line ends are made visible, too */
    TEXT_LINES
};

/* Writes the text of `size` bytes to `out`, at most `room` - 1 bytes of whole characters, and a
 * NUL: what is no UTF-8 as U+FFFD, characters that control as above. Returns the bytes before the
 * NUL. `room` > 0. */
size_t text_show(char *out, size_t room, const void *data, size_t size, enum text_lines lines);

/* The same, whole, in new memory, for the caller to free(); NULL when memory runs out. */
char *text_shown(const void *data, size_t size, enum text_lines lines);

/* The same in place, for a text that ends with a NUL in an array of `room` bytes, at most
 * TEXT_TIDY_BYTES. */
void text_tidy(char *text, size_t room, enum text_lines lines);

/* What a terminal is shown of a program's output. Colours (CSI ... m), line ends, tabs and
 * backspaces pass; every other sequence and character that controls, and what is no UTF-8, is made
 * visible. Zero-initialise it; one for each terminal. */
struct text_screen {
    uint8_t held[32]; /* the beginning of a character or sequence that is not complete */
    size_t used;
    bool coloured; /* what comes next is not in the terminal's own colours */
};

/* Adds to `out` what is to be shown of the next `size` bytes. `last`: nothing follows; what waits
 * comes, and colours are as before. -1 when memory runs out. */
int text_screen_write(struct text_screen *screen, const void *data, size_t size, bool last,
                      struct buffer *out);

#endif

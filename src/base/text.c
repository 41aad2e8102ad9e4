#include "base/text.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char replacement[] = "\xef\xbf\xbd";

size_t text_character(const uint8_t *at, size_t left) { /* Unicode 15, table 3-7 */
    uint8_t first = left > 0 ? at[0] : 0, least = 0x80, most = 0xbf;
    size_t length = first == 0     ? 0
                    : first < 0x80 ? 1
                    : first < 0xc2 ? 0
                    : first < 0xe0 ? 2
                    : first < 0xf0 ? 3
                    : first < 0xf5 ? 4
                                   : 0;
    if (first == 0xe0) least = 0xa0; /* no longer form than needed, */
    if (first == 0xf0) least = 0x90;
    if (first == 0xed) most = 0x9f; /* no surrogates, */
    if (first == 0xf4) most = 0x8f; /* nothing above U+10FFFF */
    if (length == 0 || length > left) return 0;
    for (size_t i = 1; i < length; i++) {
        if (at[i] < least || at[i] > most) return 0;
        least = 0x80;
        most = 0xbf;
    }
    return length;
}

/* The number of a character of up to three bytes, among which are all that control. */
static unsigned code_of(const uint8_t *at, size_t length) {
    return length == 1   ? at[0]
           : length == 2 ? (at[0] & 0x1fU) << 6 | (at[1] & 0x3fU)
           : length == 3 ? (at[0] & 0x0fU) << 12 | (at[1] & 0x3fU) << 6 | (at[2] & 0x3fU)
                         : 0x10000;
}

static bool is_control(unsigned code) {
    return code < 0x20 || (code >= 0x7f && code < 0xa0);
}

/* Line and paragraph separator, and what turns the direction of writing (Unicode annex 9, 2.). */
static bool misleads(unsigned code) {
    return code == 0x2028 || code == 0x2029 || code == 0x61c || code == 0x200e || code == 0x200f ||
           (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
}

bool text_controls(const uint8_t *at, size_t length, unsigned *code) {
    *code = code_of(at, length);
    return is_control(*code) || misleads(*code);
}

enum { VISIBLE_BYTES = 8 };

/* Its name in C and Python. Returns the length. */
static size_t make_visible(char out[VISIBLE_BYTES], unsigned code) {
    static const char named[] = "\aa\bb\tt\nn\vv\ff\rr";
    int length = 0;
    for (const char *at = named; *at != 0 && length == 0; at += 2) {
        if ((unsigned)*at == code) length = snprintf(out, VISIBLE_BYTES, "\\%c", at[1]);
    }
    if (length == 0)
        length = snprintf(out, VISIBLE_BYTES, code < 0x100 ? "\\x%02x" : "\\u%04x", code);
    return (size_t)length;
}

/* What is shown of the character at `at`, of `length` bytes (0: it is none). */
static const char *shown(const uint8_t *at, size_t length, enum text_lines lines,
                         char visible[VISIBLE_BYTES], size_t *size) {
    unsigned code;
    *size = length;
    if (length == 0) {
        *size = sizeof replacement - 1;
        return replacement;
    }
    if (!text_controls(at, length, &code) || code == '\t' || (code == '\n' && lines == TEXT_LINES))
        return (const char *)at;
    *size = make_visible(visible, code);
    return visible;
}

size_t text_show(char *out, size_t room, const void *data, size_t size, enum text_lines lines) {
    const uint8_t *bytes = data;
    size_t used = 0;
    for (size_t at = 0; at < size;) {
        char visible[VISIBLE_BYTES];
        size_t length = text_character(bytes + at, size - at), more;
        const char *text = shown(bytes + at, length, lines, visible, &more);
        if (more >= room - used) break;
        memcpy(out + used, text, more);
        used += more;
        at += length > 0 ? length : 1;
    }
    out[used] = 0;
    return used;
}

char *text_shown(const void *data, size_t size, enum text_lines lines) {
    enum { MOST = 4 }; /* bytes of each: \x1b */
    size_t room;
    if (__builtin_mul_overflow(size, MOST, &room) || __builtin_add_overflow(room, 1, &room))
        return NULL;
    char *out = malloc(room);
    if (out != NULL) (void)text_show(out, room, data, size, lines);
    return out;
}

size_t text_cut_off(const uint8_t *text, size_t size) {
    for (size_t back = 1; back <= 3 && back <= size; back++) {
        uint8_t byte = text[size - back];
        size_t length = byte < 0xc2 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : byte < 0xf5 ? 4 : 1;
        if ((byte & 0xc0) != 0x80) return length > back ? back : 0;
    }
    return 0;
}

void text_tidy(char *text, size_t room, enum text_lines lines) {
    char copy[TEXT_TIDY_BYTES];
    size_t size = strnlen(text, room - 1), at = 0;
    assert(room > 0 && room <= sizeof copy); /* else `copy` would be overrun */
    size -= text_cut_off((const uint8_t *)text, size);
    text[size] = 0;
    while (at < size && text[at] >= ' ' && text[at] < 0x7f) /* of ASCII, nearly always */
        at++;
    if (at == size) return;
    memcpy(copy, text, size);
    (void)text_show(text, room, copy, size, lines);
}

/* ---- Of a terminal. */

static bool is_parameter(uint8_t byte) {
    return (byte >= '0' && byte <= '9') || byte == ';' || byte == ':';
}

static int show_code(struct buffer *out, unsigned code) {
    char visible[VISIBLE_BYTES];
    return buffer_append(out, visible, make_visible(visible, code));
}

/* The sequence that is held has come to nothing: its first byte is made visible (or each, of what
 * is no character); what remains is plain. */
static int give_up(struct text_screen *screen, struct buffer *out) {
    size_t used = screen->used;
    int result = 0;
    screen->used = 0;
    if (used > 0 && screen->held[0] == 0x1b) {
        result = show_code(out, 0x1b);
        return result == 0 ? buffer_append(out, screen->held + 1, used - 1) : -1;
    }
    for (size_t i = 0; i < used && result == 0; i++)
        result = show_code(out, screen->held[i]);
    return result;
}

static int finish_colour(struct text_screen *screen, struct buffer *out) {
    size_t used = screen->used;
    screen->coloured = !(used == 3 || (used == 4 && screen->held[2] == '0'));
    screen->used = 0;
    return buffer_append(out, screen->held, used);
}

/* The next byte of a sequence: 1 it belongs there, 0 it does not, -1 out of memory. */
static int go_on(struct text_screen *screen, uint8_t byte, struct buffer *out) {
    uint8_t *held = screen->held;
    bool belongs;
    if (held[0] == 0x1b)
        belongs = screen->used == 1 ? byte == '[' : is_parameter(byte) || byte == 'm';
    else
        belongs = (byte & 0xc0) == 0x80;
    if (!belongs || screen->used == sizeof screen->held) return 0;
    held[screen->used++] = byte;
    if (held[0] == 0x1b) {
        if (byte == 'm' && finish_colour(screen, out) != 0) return -1;
        return 1;
    }
    size_t length = text_character(held, screen->used);
    if (length == 0) return screen->used < 4 || give_up(screen, out) == 0 ? 1 : -1;
    screen->used = 0;
    unsigned code = code_of(held, length);
    return (is_control(code) ? show_code(out, code) : buffer_append(out, held, length)) == 0 ? 1
                                                                                             : -1;
}

int text_screen_write(struct text_screen *screen, const void *data, size_t size, bool last,
                      struct buffer *out) {
    const uint8_t *bytes = data;
    for (size_t at = 0; at < size; at++) {
        uint8_t byte = bytes[at];
        if (screen->used > 0) {
            int taken = go_on(screen, byte, out);
            if (taken == 0) taken = give_up(screen, out) == 0 ? 0 : -1;
            if (taken < 0) return -1;
            if (taken > 0) continue;
        }
        if (byte == 0x1b || byte >= 0x80) {
            screen->held[screen->used++] = byte;
            continue;
        }
        bool passes = byte == '\n' || byte == '\t' || byte == '\r' || byte == '\b';
        size_t plain = at; /* a stretch of what passes, in one piece */
        while (plain < size &&
               ((bytes[plain] >= ' ' && bytes[plain] < 0x7f) || bytes[plain] == '\n'))
            plain++;
        if (plain > at) {
            if (buffer_append(out, bytes + at, plain - at) != 0) return -1;
            at = plain - 1;
        } else if ((passes ? buffer_append(out, &byte, 1) : show_code(out, byte)) != 0) {
            return -1;
        }
    }
    if (!last) return 0;
    if (give_up(screen, out) != 0) return -1;
    bool coloured = screen->coloured;
    screen->coloured = false;
    return coloured ? buffer_append(out, "\x1b[0m", 4) : 0;
}

/* Promise: whatever the bytes are, and in whatever pieces they come, what is shown of them is UTF-8
 * and controls nothing; on a terminal, line ends and colours are all that is left of control. */
#include "fuzz.h"

#include "base/buffer.h"
#include "base/text.h"

static void check_shown(const char *text, size_t size, enum text_lines lines) {
    for (size_t at = 0; at < size;) {
        unsigned code;
        size_t length = text_character((const uint8_t *)text + at, size - at);
        PROMISE(length > 0);
        PROMISE(!text_controls((const uint8_t *)text + at, length, &code) || code == '\t' ||
                (code == '\n' && lines == TEXT_LINES));
        at += length;
    }
}

static void show(const uint8_t *data, size_t size, size_t room, enum text_lines lines) {
    char *out = malloc(room), *whole = text_shown(data, size, lines);
    PROMISE(out != NULL && whole != NULL);
    size_t used = text_show(out, room, data, size, lines);
    PROMISE(used < room && strlen(out) == used && strncmp(out, whole, used) == 0);
    check_shown(out, used, lines);
    if (room <= TEXT_TIDY_BYTES) {
        size_t part = size < room - 1 ? size : room - 1;
        memcpy(out, data, part);
        out[part] = 0;
        text_tidy(out, room, lines);
        check_shown(out, strlen(out), lines);
    }
    free(out);
    free(whole);
}

/* In pieces of `piece` bytes. */
static void screen(const uint8_t *data, size_t size, size_t piece, struct buffer *out) {
    struct text_screen state = {.used = 0};
    for (size_t at = 0; at < size; at += piece)
        PROMISE(text_screen_write(&state, data + at, size - at < piece ? size - at : piece, false,
                                  out) == 0);
    PROMISE(text_screen_write(&state, NULL, 0, true, out) == 0);
}

static void check_screen(const struct buffer *out) {
    for (size_t at = 0; at < out->size;) {
        unsigned code;
        size_t length = text_character(out->data + at, out->size - at);
        PROMISE(length > 0);
        if (out->data[at] == 0x1b) {
            PROMISE(at + 1 < out->size && out->data[at + 1] == '[');
            size_t digits = strspn((const char *)out->data + at + 2, "0123456789;:");
            PROMISE(out->data[at + 2 + digits] == 'm');
            at += digits + 3;
            continue;
        }
        bool controls = text_controls(out->data + at, length, &code) && code < 0xa0;
        PROMISE(!controls || code == '\n' || code == '\t' || code == '\r' || code == '\b');
        at += length;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct buffer whole = {0}, pieces = {0};
    if (size < 2) return 0;
    size_t room = (size_t)data[0] * 8 + 1, piece = data[1] % 16 + 1;
    show(data + 2, size - 2, room, TEXT_ONE_LINE);
    show(data + 2, size - 2, room, TEXT_LINES);
    screen(data + 2, size - 2, size, &whole);
    screen(data + 2, size - 2, piece, &pieces);
    check_screen(&whole);
    PROMISE(whole.size == pieces.size && memcmp(whole.data ? whole.data : data,
                                                pieces.data ? pieces.data : data, whole.size) == 0);
    buffer_fini(&whole);
    buffer_fini(&pieces);
    return 0;
}

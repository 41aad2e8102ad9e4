#include "repl/ahead.h"

#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

/* How terminals mark what is pasted (xterm's "bracketed paste"). */
#define PASTE_BEGINS "\x1b[200~"
#define PASTE_ENDS "\x1b[201~"
enum { MARK_BYTES = 6, QUOTE = 'V' - '@' };

static struct {
    struct buffer text;
    size_t used;      /* of it */
    size_t pasted_to; /* so far it comes from a paste */
    bool in_paste;
    bool quoted;       /* the tab that is next has its ^V */
    bool after_return; /* a line has ended by \r: a \n would belong to it */
} ahead;

static const char *rest(size_t *size) {
    *size = ahead.text.size - ahead.used;
    return *size > 0 ? (const char *)ahead.text.data + ahead.used : "";
}

static void use(size_t size) {
    ahead.used += size;
    if (ahead.used < ahead.text.size) return;
    ahead.used = ahead.text.size = ahead.pasted_to = 0;
}

/* Takes the marks out of what came at `from`, and notes what stands between them. A mark that is
 * not whole yet stays until the rest of it comes. */
static void take_marks(size_t from) {
    char *text = (char *)ahead.text.data;
    size_t at = from > MARK_BYTES ? from - MARK_BYTES : 0;
    if (at < ahead.used) at = ahead.used;
    while (at + MARK_BYTES <= ahead.text.size) {
        const char *found = memchr(text + at, 0x1b, ahead.text.size - at);
        if (found == NULL) break;
        at = (size_t)(found - text);
        if (at + MARK_BYTES > ahead.text.size) break;
        bool begins = memcmp(found, PASTE_BEGINS, MARK_BYTES) == 0;
        if (!begins && memcmp(found, PASTE_ENDS, MARK_BYTES) != 0) {
            at++;
            continue;
        }
        memmove(text + at, text + at + MARK_BYTES, ahead.text.size - at - MARK_BYTES);
        ahead.text.size -= MARK_BYTES;
        ahead.in_paste = begins;
        if (!begins) ahead.pasted_to = at;
    }
    if (ahead.in_paste) ahead.pasted_to = ahead.text.size;
}

int ahead_fill(const sigset_t *during) {
    char chunk[4096];
    struct pollfd pfd = {.fd = STDIN_FILENO, .events = POLLIN};
    int ready = during != NULL ? ppoll(&pfd, 1, NULL, during) : poll(&pfd, 1, 0);
    if (ready < 0) return -errno;
    if (ready == 0) return -EAGAIN;
    ssize_t got = read(STDIN_FILENO, chunk, sizeof chunk);
    if (got <= 0) return got == 0 ? 0 : errno == EIO ? 0 : -errno;
    size_t before = ahead.text.size;
    if (buffer_append(&ahead.text, chunk, (size_t)got) != 0) return -ENOMEM;
    take_marks(before);
    return 1;
}

bool ahead_is_empty(void) {
    return ahead.used == ahead.text.size;
}

bool ahead_in_paste(void) {
    return ahead.in_paste;
}

int ahead_character(bool final) {
    size_t size;
    const uint8_t *at = (const uint8_t *)rest(&size);
    if (size > 0 && *at == '\n' && ahead.after_return) {
        use(1);
        at = (const uint8_t *)rest(&size);
    }
    ahead.after_return = size > 0 && *at == '\r';
    if (size == 0) return -1;
    if (*at == '\t' && ahead.used < ahead.pasted_to && !ahead.quoted) {
        ahead.quoted = true;
        return QUOTE;
    }
    ahead.quoted = false;
    size_t length = *at == 0 ? 1 : text_character(at, size);
    if (length == 0 && !final && size < 4 && text_cut_off(at, size) == size) return -1;
    int code = length == 0   ? 0xfffd
               : length == 1 ? at[0]
               : length == 2 ? (at[0] & 0x1f) << 6 | (at[1] & 0x3f)
               : length == 3 ? (at[0] & 0x0f) << 12 | (at[1] & 0x3f) << 6 | (at[2] & 0x3f)
                             : (at[0] & 0x07) << 18 | (at[1] & 0x3f) << 12 | (at[2] & 0x3f) << 6 |
                                   (at[3] & 0x3f);
    use(length > 0 ? length : 1);
    return code;
}

bool ahead_line(struct buffer *out) {
    size_t size;
    const char *text = rest(&size);
    size_t length = 0;
    while (length < size && text[length] != '\n' && text[length] != '\r')
        length++;
    if (length == size) return false;
    bool both = text[length] == '\r' && length + 1 < size && text[length + 1] == '\n';
    if (buffer_append(out, text, length) != 0 || buffer_append(out, "\n", 1) != 0) return false;
    use(length + (both ? 2 : 1));
    return true;
}

bool ahead_rest(struct buffer *out) {
    size_t size;
    const char *text = rest(&size);
    if (size == 0 || buffer_append(out, text, size) != 0) return false;
    use(size);
    return true;
}

bool ahead_is_indented(void) {
    size_t size;
    const char *text = rest(&size);
    for (size_t at = 0, line = 0; at < size; at++) {
        if (text[at] == '\n' || text[at] == '\r') {
            line = at + 1;
        } else if (text[at] != ' ' && text[at] != '\t') {
            return at > line;
        }
    }
    return false;
}

int ahead_put_back(const void *data, size_t size) {
    struct buffer all = {0};
    size_t left, pasted = ahead.pasted_to > ahead.used ? ahead.pasted_to - ahead.used : 0;
    const char *text = rest(&left);
    if (size == 0) return 0;
    if (buffer_append(&all, data, size) != 0 || buffer_append(&all, text, left) != 0) {
        buffer_fini(&all);
        return -1;
    }
    buffer_fini(&ahead.text);
    ahead.text = all;
    ahead.used = 0;
    ahead.pasted_to = pasted > 0 ? pasted + size : 0;
    return 0;
}

unsigned ahead_drop(void) {
    struct buffer line = {0};
    unsigned count = 0;
    while (ahead_line(&line))
        count++;
    if (!ahead_is_empty()) count++;
    use(ahead.text.size - ahead.used);
    buffer_fini(&line);
    return count;
}

#include "repl/say.h"

#include "base/text.h"

#include <unistd.h>

static struct text_screen screens[2];
static bool is_raw;

void say_raw(void) {
    is_raw = true;
}

void say(int stream, const void *data, size_t size, bool last) {
    int fd = stream == 0 ? STDOUT_FILENO : STDERR_FILENO;
    struct buffer out = {0};
    bool plain = is_raw || isatty(fd) == 0;
    if (plain)
        (void)fd_write_all(fd, data, size);
    else if (text_screen_write(&screens[stream], data, size, last, &out) == 0)
        (void)fd_write_all(fd, out.data, out.size);
    buffer_fini(&out);
}

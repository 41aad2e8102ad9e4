#include "cli/screen.h"

#include "base/cleanup.h"
#include "base/text.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <termios.h>

enum { CHUNK_BYTES = 16 << 10, NAME_BYTES = 64 };

struct screen_relay {
    int terminal; /* not owned */
    int ours;     /* owned; what the program writes comes out here */
    int given;    /* owned; what it writes to */
    int ended;    /* owned; readable: nothing more will come */
    pthread_t thread;
    struct text_screen text;
};

/* 0; or -1: the terminal is gone. */
static int show(struct screen_relay *relay, const void *data, size_t size, bool last) {
    struct buffer out = {0};
    int result = text_screen_write(&relay->text, data, size, last, &out);
    if (result == 0 && out.size > 0 && fd_write_all(relay->terminal, out.data, out.size) != 0)
        result = -1;
    buffer_fini(&out);
    return result;
}

/* All that is there. */
static int pass_on(struct screen_relay *relay) {
    char chunk[CHUNK_BYTES];
    ssize_t got;
    do { /* a read takes what is on its way, too */
        got = read(relay->ours, chunk, sizeof chunk);
        if (got > 0 && show(relay, chunk, (size_t)got, false) != 0) return -1;
    } while (got > 0 || (got < 0 && errno == EINTR));
    return got < 0 && errno == EAGAIN ? 0 : -1;
}

static void *relay_all(void *context) {
    struct screen_relay *relay = context;
    struct pollfd fds[] = {{.fd = relay->ours, .events = POLLIN},
                           {.fd = relay->ended, .events = POLLIN}};
    int result = 0;
    while (result == 0 && (fds[1].revents & POLLIN) == 0) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR) break;
        result = pass_on(relay);
    }
    (void)show(relay, NULL, 0, true);
    fd_closep(&relay->ours); /* whoever writes on gets an error */
    return NULL;
}

/* A pseudo terminal that changes nothing of what is written to it. */
static int open_terminal(struct screen_relay *relay) {
    char name[NAME_BYTES];
    struct termios mode;
    relay->ours = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (relay->ours < 0 || grantpt(relay->ours) != 0 || unlockpt(relay->ours) != 0 ||
        ptsname_r(relay->ours, name, sizeof name) != 0)
        return -1;
    relay->given = open(name, O_WRONLY | O_NOCTTY | O_CLOEXEC);
    if (relay->given < 0 || tcgetattr(relay->given, &mode) != 0) return -1;
    cfmakeraw(&mode);
    return tcsetattr(relay->given, TCSANOW, &mode);
}

/* Where there are no pseudo terminals: the program finds none. */
static int open_pipe(struct screen_relay *relay) {
    int ends[2];
    fd_closep(&relay->ours);
    fd_closep(&relay->given);
    if (pipe2(ends, O_CLOEXEC) != 0) return -1;
    relay->ours = ends[0];
    relay->given = ends[1];
    return fcntl(relay->ours, F_SETFL, O_NONBLOCK);
}

static void release(struct screen_relay *relay) {
    fd_closep(&relay->ours);
    fd_closep(&relay->given);
    fd_closep(&relay->ended);
    free(relay);
}

static struct screen_relay *relay_new(int terminal, struct error *err) {
    sigset_t all, former;
    struct screen_relay *relay = malloc(sizeof *relay);
    if (relay == NULL) {
        error_set(err, PA_INTERNAL, "the terminal: out of memory");
        return NULL;
    }
    *relay = (struct screen_relay){.terminal = terminal, .ours = -1, .given = -1};
    relay->ended = eventfd(0, EFD_CLOEXEC);
    int number =
        relay->ended < 0 || (open_terminal(relay) != 0 && open_pipe(relay) != 0) ? errno : 0;
    if (number == 0) {
        (void)sigfillset(&all); /* signals are for the thread that was there before */
        (void)pthread_sigmask(SIG_BLOCK, &all, &former);
        number = pthread_create(&relay->thread, NULL, relay_all, relay);
        (void)pthread_sigmask(SIG_SETMASK, &former, NULL);
    }
    if (number == 0) return relay;
    error_set_errno(err, PA_INTERNAL, number, "a way to the terminal (--raw does without)");
    release(relay);
    return NULL;
}

static bool are_one(int a, int b) {
    struct stat st[2];
    return fstat(a, &st[0]) == 0 && fstat(b, &st[1]) == 0 && st[0].st_rdev == st[1].st_rdev;
}

int screen_start(struct screen *screen, int fds[2], struct error *err) {
    const int given[2] = {fds[0], fds[1]};
    *screen = (struct screen){.relays = {NULL, NULL}};
    for (int i = 0; i < 2; i++) {
        if (isatty(given[i]) == 0) continue;
        if (i == 1 && screen->relays[0] != NULL && are_one(given[0], given[1])) {
            fds[1] = fds[0]; /* what goes to one terminal stays in order */
            continue;
        }
        screen->relays[i] = relay_new(given[i], err);
        if (screen->relays[i] == NULL) {
            screen_end(screen);
            fds[0] = given[0];
            return -1;
        }
        fds[i] = screen->relays[i]->given;
    }
    return 0;
}

void screen_end(struct screen *screen) {
    for (int i = 0; i < 2; i++) {
        struct screen_relay *relay = screen->relays[i];
        if (relay == NULL) continue;
        (void)eventfd_write(relay->ended, 1);
        (void)pthread_join(relay->thread, NULL);
        release(relay);
        screen->relays[i] = NULL;
    }
}

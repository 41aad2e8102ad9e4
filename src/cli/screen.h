/* What a program writes to a terminal, made fit to be shown (base/text.h) on its way there. The
 * program gets a pseudo terminal in the place of ours, so that it still finds one. */
#ifndef PA_CLI_SCREEN_H
#define PA_CLI_SCREEN_H

#include "base/error.h"

struct screen_relay; /* to one terminal */
struct screen {
    struct screen_relay *relays[2]; /* owned; of stdout and stderr, NULL where it is no terminal, or
                                       the other's */
};

/* Puts other descriptors in the place of those of `fds` (stdout, stderr) that are terminals; they
 * are the screen's. -1 with `err`: nothing has changed. */
int screen_start(struct screen *screen, int fds[2], struct error *err);

/* The program has ended: all that it wrote is shown when this returns. */
void screen_end(struct screen *screen);

#endif

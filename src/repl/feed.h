/* While a turn runs, its program may ask for input: it gets what was typed, line by line, the next
 * one when it has read the one before. What it did not read is the prompt's again. */
#ifndef PA_REPL_FEED_H
#define PA_REPL_FEED_H

#include "server/sessions.h"

#include <systemd/sd-event.h>

struct feed {
    struct sessions *sessions;
    const char *owner, *session; /* whose turn; NULL: none runs */
    sd_event_source *terminal, *timer;
    int unread; /* owned; what lies in the program's stdin; -1 */
};

/* `terminal`: stdin is one. 0 or a negative errno; feed_close() follows either. */
int feed_open(struct feed *feed, sd_event *event, struct sessions *sessions, bool terminal);
void feed_close(struct feed *feed);

/* Around a turn; the texts live as long. */
void feed_start(struct feed *feed, const char *owner, const char *session);
void feed_stop(struct feed *feed);

#endif

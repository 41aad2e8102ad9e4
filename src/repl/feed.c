#include "repl/feed.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "repl/ahead.h"

#include <sys/epoll.h>
#include <sys/ioctl.h>

enum { LOOK_US = 5000 }; /* how often it is looked whether a line was read, while another waits */

/* The program has read what it was given. */
static bool is_read(const struct feed *feed) {
    int left = 0;
    return ioctl(feed->unread, FIONREAD, &left) == 0 && left == 0;
}

/* Bytes that the turn took of the text; `size` 0 is the end. -1: there is no turn that takes any.
 */
static void on_later(void *context, json_t *answer, struct error *err) {
    (void)context; /* input is taken at once */
    (void)err;
    json_decref(answer);
}

/* Bytes that the turn took of the text; `size` 0 is the end. -1: there is no turn that takes any.
 */
static ssize_t send_input(const struct feed *feed, const struct buffer *text) {
    struct error err = {0};
    struct session_op *op = NULL;
    for (size_t at = 0; at < text->size;) { /* JSON carries UTF-8 only */
        size_t length = text_character(text->data + at, text->size - at);
        if (length == 0) text->data[at] = '?';
        at += length > 0 ? length : 1;
    }
    json_t *parameters = json_pack("{s:s, s:s%, s:b}", "session_id", feed->session, "data",
                                   text->size > 0 ? (const char *)text->data : "", text->size,
                                   "eof", text->size == 0);
    json_t *answer = parameters != NULL
                         ? sessions_call(feed->sessions, feed->owner, tool_find("session_input"),
                                         parameters, on_later, NULL, &op, &err)
                         : NULL;
    ssize_t taken = answer != NULL
                        ? (ssize_t)json_integer_value(json_object_get(answer, "accepted_bytes"))
                        : -1;
    json_decref(parameters);
    json_decref(answer);
    return taken;
}

static void look_again(struct feed *feed, uint64_t us) {
    (void)sd_event_source_set_time_relative(feed->timer, us);
    (void)sd_event_source_set_enabled(feed->timer, SD_EVENT_ONESHOT);
}

static int on_time(sd_event_source *source, uint64_t now, void *context) {
    struct feed *feed = context;
    struct buffer line = {0};
    (void)source;
    (void)now;
    if (feed->session == NULL) return 0;
    if (feed->unread < 0)
        feed->unread = sessions_unread_input(feed->sessions, feed->owner, feed->session);
    if (feed->unread >= 0 && is_read(feed) && ahead_line(&line)) {
        ssize_t taken = send_input(feed, &line);
        size_t from = taken > 0 ? (size_t)taken : 0; /* a long line comes in parts */
        (void)ahead_put_back(line.data + from, line.size - from);
    }
    buffer_fini(&line);
    if (!ahead_is_empty() && feed->unread >= 0) look_again(feed, LOOK_US);
    return 0;
}

static int on_terminal(sd_event_source *source, int fd, uint32_t events, void *context) {
    struct feed *feed = context;
    (void)fd;
    (void)events;
    int result = ahead_fill(NULL);
    if (result == 0) { /* Ctrl-D */
        const struct buffer none = {.data = NULL};
        (void)send_input(feed, &none);
        (void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
    } else if (result > 0) {
        look_again(feed, 0);
    }
    return 0;
}

int feed_open(struct feed *feed, sd_event *event, struct sessions *sessions, bool terminal) {
    *feed = (struct feed){.sessions = sessions, .unread = -1};
    if (!terminal) return 0;
    int result = sd_event_add_io(event, &feed->terminal, STDIN_FILENO, EPOLLIN, on_terminal, feed);
    if (result >= 0) result = sd_event_source_set_enabled(feed->terminal, SD_EVENT_OFF);
    if (result >= 0)
        result = sd_event_add_time(event, &feed->timer, CLOCK_MONOTONIC, 0, 1, on_time, feed);
    if (result >= 0) result = sd_event_source_set_enabled(feed->timer, SD_EVENT_OFF);
    return result;
}

void feed_close(struct feed *feed) {
    sd_event_source_disable_unref(feed->terminal);
    sd_event_source_disable_unref(feed->timer);
    fd_closep(&feed->unread);
}

void feed_start(struct feed *feed, const char *owner, const char *session) {
    if (feed->terminal == NULL) return;
    feed->owner = owner;
    feed->session = session;
    (void)sd_event_source_set_enabled(feed->terminal, SD_EVENT_ON);
    look_again(feed, 0); /* when the turn has begun */
}

void feed_stop(struct feed *feed) {
    struct buffer back = {0};
    if (feed->terminal == NULL) return;
    (void)sd_event_source_set_enabled(feed->terminal, SD_EVENT_OFF);
    (void)sd_event_source_set_enabled(feed->timer, SD_EVENT_OFF);
    feed->session = NULL;
    if (feed->unread >= 0) (void)buffer_read_fd(&back, feed->unread, SIZE_MAX / 2);
    (void)ahead_put_back(back.data, back.size);
    buffer_fini(&back);
    fd_closep(&feed->unread);
}

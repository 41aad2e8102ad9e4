#include "server/acceptor.h"

#include "base/cleanup.h"
#include "base/log.h"

#include <string.h>
#include <time.h>

enum { PAUSE_US = 100000 };

static int on_pause_over(sd_event_source *source, uint64_t now_us, void *context) {
    struct acceptor *acceptor = context;
    (void)source;
    (void)now_us;
    acceptor->pause = sd_event_source_disable_unref(acceptor->pause);
    if (acceptor->io != NULL) (void)sd_event_source_set_enabled(acceptor->io, SD_EVENT_ON);
    return 0;
}

static int on_connection(sd_event_source *source, int fd, uint32_t events, void *context) {
    struct acceptor *acceptor = context;
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    (void)events;
    int client = accept4(fd, (struct sockaddr *)&address, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (client < 0) {
        if (errno != EMFILE && errno != ENFILE && errno != ENOMEM && errno != ENOBUFS) return 0;
        log_event(LOG_WARN, acceptor->component, "cannot accept connections",
                  {"error", strerror(errno), 0});
        if (sd_event_add_time_relative(sd_event_source_get_event(source), &acceptor->pause,
                                       CLOCK_MONOTONIC, PAUSE_US, 1, on_pause_over,
                                       acceptor) >= 0) {
            (void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
        }
        return 0;
    }
    if (client > acceptor->most_fd) { /* the rest is for runs, and for the other interface */
        log_event(LOG_WARN, acceptor->component, "too many connections",
                  {"most", NULL, acceptor->most_fd});
        (void)close(client);
        return 0;
    }
    acceptor->take(acceptor->context, client, (struct sockaddr *)&address, size);
    return 0;
}

int acceptor_start(struct acceptor *acceptor, sd_event *event, int listen_fd, struct error *err) {
    acceptor->listen_fd = listen_fd;
    int result = sd_event_add_io(event, &acceptor->io, listen_fd, EPOLLIN, on_connection, acceptor);
    if (result >= 0) return 0;
    acceptor_stop(acceptor);
    return error_set_errno(err, PA_INTERNAL, -result, "%s: watch the connections",
                           acceptor->component);
}

void acceptor_stop(struct acceptor *acceptor) {
    acceptor->io = sd_event_source_disable_unref(acceptor->io);
    acceptor->pause = sd_event_source_disable_unref(acceptor->pause);
    fd_closep(&acceptor->listen_fd);
}

/* `polyagent mcp`: an MCP server on stdin and stdout, a message a line (MCP, transport "stdio"). */
#include "cli/cli.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/json_text.h"
#include "cli/host.h"
#include "server/json_body.h"
#include "server/mcp.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static const char help[] =
    "usage: polyagent mcp [OPTION]...\n\n"
    "Serves the tools to an MCP host on stdin and stdout. Runs go to a running polyagent serve, or "
    "else\n"
    "it keeps interpreters of its own.\n\n"
    "  --config FILE        settings; see config/polyagent.yaml\n"
    "  --local              do not use a running polyagent serve\n\n"
    "Examples:\n"
    "  claude mcp add polyagent -- polyagent mcp\n"
    "  {\"mcpServers\": {\"polyagent\": {\"command\": \"polyagent\", \"args\": [\"mcp\"]}}}\n";

enum { LINE_EXTRA_BYTES = 4 << 20, READ_BYTES = 256 << 10 };

struct stdio {
    struct service service;
    struct mcp *mcp;
    struct service_caller caller;
    struct buffer line; /* owned; what has come of it */
    size_t looked_at;   /* bytes of it, without an end */
    size_t most;        /* bytes of a line */
    bool skipping;      /* the rest of a line that is too long */
    bool ended;         /* no more will come */
    bool ending;        /* by a signal, or because nobody reads */
    unsigned running;
    sd_event_source *input;
};

/* Takes over `message`. */
static void send_message(struct stdio *s, json_t *message) {
    static const char no_memory[] = "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32603,"
                                    "\"message\":\"out of memory\"}}\n";
    if (message == NULL) return;
    char *text = json_text(message, JSON_COMPACT | JSON_REAL_PRECISION(6));
    json_decref(message);
    if (text == NULL) {
        if (fd_write_all(STDOUT_FILENO, no_memory, sizeof no_memory - 1) != 0) s->ending = true;
        return;
    }
    size_t length = strlen(text);
    text[length] = '\n'; /* in the place of the NUL */
    if (fd_write_all(STDOUT_FILENO, text, length + 1) != 0) s->ending = true;
    free(text);
}

static void on_notification(void *context, json_t *notification) {
    send_message(context, notification);
}

static void on_done(void *context, json_t *response) {
    struct stdio *s = context;
    s->running--;
    send_message(s, response);
}

static const struct mcp_callbacks callbacks = {.notify = on_notification, .done = on_done};

static void take_line(struct stdio *s, const char *text, size_t size) {
    struct buffer line = {0};
    struct error err = {0};
    json_t *answer = NULL, *message = NULL;
    if (size == 0) return;
    if (buffer_append(&line, text, size) == 0)
        message = json_body_parse(&line, &err);
    else
        error_set(&err, PA_INTERNAL, "out of memory");
    if (message == NULL) {
        answer = mcp_error(NULL, MCP_PARSE_ERROR, err.text, NULL);
    } else {
        service_caller_init(&s->caller, "mcp", "local", NULL, NULL);
        s->running++; /* first: it may be over at once */
        if (mcp_handle(s->mcp, &s->caller, "", message, &callbacks, s, &answer) == NULL)
            s->running--;
    }
    json_decref(message);
    send_message(s, answer);
}

/* All complete lines of what has come. */
static void take_lines(struct stdio *s) {
    const char *data = (const char *)s->line.data, *newline;
    size_t at = 0, from = s->looked_at;
    while (s->line.size > from &&
           (newline = memchr(data + from, '\n', s->line.size - from)) != NULL) {
        size_t size = (size_t)(newline - data) - at;
        if (!s->skipping) take_line(s, data + at, size);
        s->skipping = false;
        at += size + 1;
        from = at;
    }
    if (at > 0) {
        memmove(s->line.data, s->line.data + at, s->line.size - at);
        s->line.size -= at;
    }
    if (s->line.size > s->most) {
        if (!s->skipping)
            send_message(s, mcp_error(NULL, MCP_INVALID_REQUEST, "the message is too long", NULL));
        s->skipping = true;
    }
    if (s->skipping) s->line.size = 0;
    s->looked_at = s->line.size;
}

static void read_input(struct stdio *s) {
    static char chunk[READ_BYTES];
    ssize_t got = read(STDIN_FILENO, chunk, sizeof chunk);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (got <= 0 || buffer_append(&s->line, chunk, (size_t)got) != 0) {
        s->ended = true;
        (void)sd_event_source_set_enabled(s->input, SD_EVENT_OFF);
        if (got == 0 && !s->skipping) /* the last line need not be ended */
            take_line(s, (const char *)s->line.data, s->line.size);
        return;
    }
    take_lines(s);
}

static int on_input(sd_event_source *source, int fd, uint32_t events, void *context) {
    (void)source;
    (void)fd;
    (void)events;
    read_input(context);
    return 0;
}

/* For a stdin that is a file, which can always be read, and not be waited for. */
static int on_file(sd_event_source *source, void *context) {
    (void)source;
    read_input(context);
    return 0;
}

static int on_end(sd_event_source *source, const struct signalfd_siginfo *info, void *context) {
    struct stdio *s = context;
    (void)source;
    (void)info;
    s->ending = true;
    return 0;
}

static int serve(struct stdio *s) {
    sd_event *event = s->service.event;
    int result = sd_event_add_signal(event, NULL, SIGTERM, on_end, s);
    if (result >= 0) result = sd_event_add_signal(event, NULL, SIGINT, on_end, s);
    if (result >= 0) {
        result = sd_event_add_io(event, &s->input, STDIN_FILENO, EPOLLIN, on_input, s);
        if (result == -EPERM) {
            result = sd_event_add_defer(event, &s->input, on_file, s);
            if (result >= 0) result = sd_event_source_set_enabled(s->input, SD_EVENT_ON);
        }
    }
    while (result >= 0 && !s->ending && !(s->ended && s->running == 0)) {
        result = sd_event_run(event, UINT64_MAX);
        if (result == -EINTR) result = 0;
    }
    return result;
}

static int run(const char *config_path, bool local) {
    static struct stdio s; /* the buffers in it are large */
    struct host host;
    struct config config;
    struct error err = {0};
    char path[SOCKET_PATH_BYTES], folder[] = "/tmp/polyagent-XXXXXX";
    bool own = false;
    if (config_load(&config, config_path, &err) != 0) return cli_fail("mcp: %s", err.text);
    cli_leave_signals_to_loop();
    if (host_find(&host, &config, local, folder, path, &own, &err) != 0) {
        config_fini(&config);
        return cli_fail("mcp: %s", err.text);
    }
    int result = service_init(&s.service, own ? host.event : NULL, &config, path, -1, NULL, &err);
    if (result == 0) {
        s.service.rules.ceilings = NULL; /* it is the user's own machine */
        s.service.rules.module_paths = NULL;
        s.most = s.service.rules.limits.max_module_bytes / 3 * 4 + LINE_EXTRA_BYTES;
        s.mcp = mcp_new(&s.service);
        result = s.mcp != NULL ? serve(&s) : error_set(&err, PA_INTERNAL, "out of memory");
        if (result < 0 && err.code == PA_OK)
            error_set_errno(&err, PA_INTERNAL, -result, "the loop");
        mcp_free(s.mcp);
        sd_event_source_disable_unref(s.input);
        buffer_fini(&s.line);
        service_fini(&s.service);
    }
    if (own) host_leave(&host, folder);
    return result < 0 ? cli_fail("mcp: %s", err.text) : 0;
}

int cli_mcp_main(int argc, char **argv) {
    static const struct option table[] = {{"config", required_argument, NULL, 'c'},
                                          {"local", no_argument, NULL, 'L'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    const char *config_path = NULL;
    bool local = false;
    int option;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "+h", table, NULL)) != -1) {
        switch (option) {
        case 'h': (void)fputs(help, stdout); return 0;
        case 'c': config_path = optarg; break;
        case 'L': local = true; break;
        default: return cli_bad_option(argv, "polyagent mcp", table);
        }
    }
    if (optind < argc) return cli_fail("mcp: what is '%s'?", argv[optind]);
    return run(config_path, local);
}

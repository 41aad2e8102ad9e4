/* polyagent-repl: an interactive session, with line editing. A program of its own, as only it needs
 * libedit. */
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/json_text.h"
#include "cli/host.h"
#include "config/state.h"
#include "repl/ahead.h"
#include "repl/feed.h"
#include "repl/input.h"
#include "repl/say.h"
#include "server/service.h"
#include "tools/base64.h"
#include "tools/interpreter.h"

#include <editline/readline.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char help[] =
    "usage: polyagent repl [OPTION]...\n\n"
    "An interactive session in the sandbox: variables, imports and files in /workspace last until "
    "it\n"
    "ends. Ctrl-C ends what runs, and leaves variables as they were before it; Ctrl-D ends the "
    "session.\n\n"
    "  --language NAME      python (the default), javascript or ruby\n"
    "  --packages A,B       an interpreter that has these, such as numpy\n"
    "  --timeout SECONDS    of each input, default 300\n"
    "  --local              do not use a running polyagent serve\n"
    "  --raw                the terminal gets all control sequences, not only colours\n\n"
    "From a pipe or a file, the exit code is that of the last input: 1 after an exception.\n"
    "Lines that begin with a colon are for polyagent itself; :help lists them.\n\n"
    "Examples:\n"
    "  polyagent repl\n"
    "  polyagent repl --packages pandas,matplotlib\n";

static const char commands[] = "  :checkpoint        remember this state, variables and files\n"
                               "  :rollback ID       back to a checkpoint\n"
                               "  :branch            go on in a copy; :switch ID comes back\n"
                               "  :sessions          this session and its branches\n"
                               "  :switch ID         go on in another one\n"
                               "  :files             what is in /workspace\n"
                               "  :get PATH [FILE]   copy a file of it here\n"
                               "  :put FILE [PATH]   copy a file there\n"
                               "  :help, :quit\n";

enum { HISTORY_LINES = 2000, FAILURE = 125, MAX_FILE_BYTES = 32 << 20 };

struct repl {
    struct service service;
    struct service_caller caller;
    const struct tool *runner;
    char session[SESSION_ID_BYTES];
    uint64_t timeout_ms;
    json_t *result; /* owned; of the call that has ended */
    bool done;
    bool left;        /* a signal ends it */
    bool interrupted; /* Ctrl-C, in the turn under way */
    int code;         /* of the last turn */
    struct feed feed;
};
static struct repl repl; /* libedit's callbacks have no context */

static int fail(const char *what, const char *why) {
    (void)fprintf(stderr, "polyagent: repl: %s: %s\n", what, why);
    return FAILURE;
}

/* ---- Calls, one at a time: the loop turns until the answer is there. */

static void on_output(void *context, int stream, const void *data, size_t size) {
    (void)context;
    say(stream, data, size, false);
}

static void on_done(void *context, enum pa_status status, json_t *result) {
    (void)context;
    (void)status;
    repl.result = result;
    repl.done = true;
}

/* The answer, owned; after an error message NULL. Takes over `parameters`. */
static json_t *call(const char *tool, json_t *parameters, bool shows) {
    static const struct service_callbacks shown = {.output = on_output, .done = on_done},
                                          kept = {.done = on_done};
    struct error err = {0};
    repl.done = false;
    repl.result = NULL;
    struct service_run *run = service_start(&repl.service, &repl.caller, tool, parameters,
                                            shows ? &shown : &kept, NULL, &err);
    json_decref(parameters);
    if (run == NULL) {
        (void)fprintf(stderr, "%s\n", err.text);
        return NULL;
    }
    while (!repl.done) {
        int result = sd_event_run(repl.service.event, UINT64_MAX);
        if (result < 0 && result != -EINTR) {
            service_cancel(run);
            (void)fprintf(stderr, "the event loop failed: %s\n", strerror(-result));
            return NULL;
        }
    }
    return repl.result;
}

static json_t *for_session(void) {
    return json_pack("{s:s}", "session_id", repl.session);
}

struct asked {
    json_t *answer; /* owned */
    struct error err;
    bool done;
};

static void on_answer(void *context, json_t *answer, struct error *err) {
    struct asked *asked = context;
    *asked = (struct asked){.answer = answer, .err = *err, .done = true};
}

/* An affair of the session; the loop runs meanwhile where it takes long. NULL after an error
 * message. */
static json_t *ask(const char *tool, json_t *parameters) {
    static struct asked asked; /* told even after the loop has failed */
    struct session_op *op;
    struct error err = {0};
    json_t *answer = sessions_call(repl.service.sessions, repl.caller.name, tool_find(tool),
                                   parameters, on_answer, &asked, &op, &err);
    json_decref(parameters);
    if (op != NULL) {
        int result = 0;
        asked.done = false;
        while (!asked.done && (result >= 0 || result == -EINTR))
            result = sd_event_run(repl.service.event, UINT64_MAX);
        if (!asked.done)
            error_set_errno(&err, PA_INTERNAL, -result, "the event loop");
        else
            err = asked.err;
        answer = asked.done ? asked.answer : NULL;
    }
    if (answer == NULL) (void)fprintf(stderr, "%s\n", err.text);
    return answer;
}

/* ---- While a turn runs: Ctrl-C, and what is typed is the program's input. */

static int on_interrupt(sd_event_source *source, const struct signalfd_siginfo *info,
                        void *context) {
    (void)source;
    (void)info;
    (void)context;
    repl.interrupted = true;
    json_decref(ask("session_interrupt", for_session()));
    return 0;
}

/* Nothing is to be left behind, neither the session nor a server of its own. */
static int on_end_signal(sd_event_source *source, const struct signalfd_siginfo *info,
                         void *context) {
    repl.left = true;
    return on_interrupt(source, info, context);
}

static void show_artifact(const json_t *artifact) {
    const char *name = json_string_value(json_object_get(artifact, "name"));
    const char *mime = json_string_value(json_object_get(artifact, "mime"));
    if (strcmp(mime, "text/html") == 0) return; /* the text is there already */
    /* It is in the workspace from now on, where :get finds it. */
    json_t *files =
        json_pack("{s:{s:O}}", name, "base64", json_object_get(artifact, "bytes_base64"));
    json_t *parameters = for_session();
    (void)json_object_set_new(parameters, "files", files);
    json_decref(ask("session_put_files", parameters));
    (void)printf("[%s in /workspace; :get %s copies it here]\n", mime, name);
}

static void show(const json_t *result) {
    const char *text = json_string_value(json_object_get(result, "result"));
    const char *note = json_string_value(json_object_get(result, "session_note"));
    const json_t *error = json_object_get(result, "error");
    const json_t *list = json_object_get(result, "artifacts");
    size_t index;
    json_t *artifact;
    if (text != NULL) say(0, text, strlen(text), false);
    if (text != NULL) say(0, "\n", 1, true);
    json_array_foreach((json_t *)(uintptr_t)list, index, artifact) show_artifact(artifact);
    (void)fflush(stdout);
    if (json_is_true(json_object_get(result, "interrupted")))
        (void)fprintf(stderr, "\ninterrupted: variables are as before\n");
    else if (json_is_object(error))
        (void)fprintf(stderr, "%s\n", json_string_value(json_object_get(error, "message")));
    else if (note != NULL)
        (void)fprintf(stderr, "%s\n", note);
}

static void run_turn(const char *code) {
    json_t *parameters =
        json_pack("{s:s, s:s, s:b, s:I}", "session_id", repl.session, "code", code, "stdin_stream",
                  1, "execution_timeout_ms", (json_int_t)repl.timeout_ms);
    if (parameters == NULL) {
        (void)fprintf(stderr, "the input is no UTF-8\n");
        return;
    }
    repl.interrupted = false;
    feed_start(&repl.feed, repl.caller.name, repl.session);
    json_t *result = call(repl.runner->name, parameters, true);
    feed_stop(&repl.feed);
    for (int i = 0; i < 2; i++)
        say(i, NULL, 0, true);
    repl.code = (int)json_integer_value(json_object_get(result, "exit_code"));
    if (result == NULL || json_is_object(json_object_get(result, "error"))) repl.code = FAILURE;
    if (result != NULL) show(result);
    json_decref(result);
    unsigned lines = repl.interrupted ? ahead_drop() : 0;
    if (lines > 0)
        (void)fprintf(stderr, "typed ahead and dropped: %u line%s\n", lines, lines > 1 ? "s" : "");
}

/* ---- Completion of names: the session itself is asked. */

static json_t *completions_of(const char *text) {
    static const char python[] =
        "(lambda t: (lambda m, h: sorted({h + n for n in m if n.startswith(t[len(h):])}))"
        "(*((dir(eval(t.rpartition('.')[0], globals())), t.rpartition('.')[0] + '.') if '.' in t "
        "else ([*globals(), *dir(__builtins__), *__import__('keyword').kwlist], ''))))(%s)";
    static const char javascript[] =
        "((t) => { const at = t.lastIndexOf('.'), h = at < 0 ? '' : t.slice(0, at + 1); const o = "
        "at < 0 ? globalThis : (0, eval)(t.slice(0, at)); const n = new Set(); for (let p = o; p "
        "!= "
        "null; p = Object.getPrototypeOf(p)) Object.getOwnPropertyNames(p).forEach((k) => "
        "n.add(k)); "
        "return JSON.stringify([...n].filter((k) => k.startsWith(t.slice(h.length))).map((k) => h "
        "+ "
        "k).sort()) })(%s)";
    bool is_python = repl.runner->language == &language_python;
    if (repl.runner->language == &language_ruby) return NULL; /* it has no such question */
    char *quoted = NULL, *code = NULL;
    json_t *string = json_string(text), *names = NULL;
    if (string != NULL) quoted = json_text(string, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
    json_decref(string);
    int length = quoted == NULL ? -1
                 : is_python
                     ? asprintf(&code, "__import__('json').dumps(%.*s)", (int)sizeof python, python)
                     : asprintf(&code, "%s", javascript);
    char *whole = NULL;
    if (length >= 0 && asprintf(&whole, code, quoted) >= 0) {
        json_t *result = call(repl.runner->name,
                              json_pack("{s:s, s:s, s:i}", "session_id", repl.session, "code",
                                        whole, "execution_timeout_ms", 1000),
                              false);
        /* repr() of a text in JSON: between quotes, and nothing in it needs more. */
        const char *found = json_string_value(json_object_get(result, "result"));
        if (found != NULL && strlen(found) > 2)
            names = is_python ? json_loadb(found + 1, strlen(found) - 2, 0, NULL) : NULL;
        if (found != NULL && !is_python) {
            json_t *inner = json_loads(found, JSON_DECODE_ANY, NULL);
            names = json_loads(json_is_string(inner) ? json_string_value(inner) : "", 0, NULL);
            json_decref(inner);
        }
        json_decref(result);
    }
    free(whole);
    free(code);
    free(quoted);
    return names;
}

static json_t *names; /* owned; between two calls of next_name() */
static char *next_name(const char *text, int state) {
    static size_t at;
    if (state == 0) {
        json_decref(names);
        names = completions_of(text);
        at = 0;
    }
    const char *name = json_string_value(json_array_get(names, at++));
    return name != NULL ? strdup(name) : NULL;
}

static char **complete(const char *text, int start, int end) {
    (void)start;
    (void)end;
    rl_attempted_completion_over = 1; /* never a file's name */
    return text[0] != 0 ? rl_completion_matches(text, next_name) : NULL;
}

/* ---- Lines for polyagent itself. */

static void show_sessions(void) {
    json_t *answer = ask("session_list", json_object()), *info;
    size_t index;
    json_array_foreach(json_object_get(answer, "sessions"), index, info) {
        const char *id = json_string_value(json_object_get(info, "session_id"));
        const char *parent = json_string_value(json_object_get(info, "parent"));
        json_t *point;
        size_t at;
        (void)printf("%s %s  %lld turns%s%s", strcmp(id, repl.session) == 0 ? "*" : " ", id,
                     (long long)json_integer_value(json_object_get(info, "turns")),
                     parent != NULL ? ", of " : "", parent != NULL ? parent : "");
        json_array_foreach(json_object_get(info, "checkpoints"), at, point)(void)
            printf(", %s", json_string_value(json_object_get(point, "checkpoint_id")));
        (void)printf("\n");
    }
    json_decref(answer);
}

static void show_files(void) {
    json_t *answer = ask("session_get_file", for_session()), *file;
    size_t index;
    json_array_foreach(json_object_get(answer, "files"), index, file) {
        (void)printf("%10lld  %s\n", (long long)json_integer_value(json_object_get(file, "bytes")),
                     json_string_value(json_object_get(file, "path")));
    }
    json_decref(answer);
}

static void get_file(const char *path, const char *to) {
    json_t *parameters = for_session();
    struct error err = {0};
    struct buffer bytes = {0};
    (void)json_object_set_new(parameters, "path", json_string(path));
    json_t *answer = ask("session_get_file", parameters);
    if (answer == NULL) return;
    const char *slash = strrchr(path, '/');
    if (to[0] == 0) to = slash != NULL ? slash + 1 : path;
    json_t *encoded = json_object_get(answer, "text_base64");
    json_t *value = encoded != NULL ? json_pack("{s:O}", "base64", encoded)
                                    : json_incref(json_object_get(answer, "text"));
    _cleanup_(fd_closep) int fd = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    int result = fd < 0 ? -errno
                 : folder_bytes(path, value, &bytes, &err) == 0
                     ? fd_write_all(fd, bytes.data, bytes.size)
                     : -EIO;
    if (result == 0)
        (void)printf("%s: %zu bytes\n", to, bytes.size);
    else
        (void)fprintf(stderr, "%s: %s\n", to, strerror(-result));
    buffer_fini(&bytes);
    json_decref(value);
    json_decref(answer);
}

static void put_file(const char *from, const char *path) {
    struct buffer bytes = {0};
    const char *slash = strrchr(from, '/');
    if (path[0] == 0) path = slash != NULL ? slash + 1 : from;
    _cleanup_(fd_closep) int fd = open(from, O_RDONLY | O_CLOEXEC);
    int result = fd < 0 ? -errno : buffer_read_fd(&bytes, fd, MAX_FILE_BYTES);
    if (result != 0) {
        (void)fprintf(stderr, "%s: %s\n", from, strerror(-result));
    } else {
        char *encoded = base64_encode(bytes.data, bytes.size);
        json_t *parameters = for_session();
        (void)json_object_set_new(
            parameters, "files",
            json_pack("{s:{s:s}}", path, "base64", encoded != NULL ? encoded : ""));
        json_decref(ask("session_put_files", parameters));
        free(encoded);
    }
    buffer_fini(&bytes);
}

static void move_to(const json_t *info) {
    const char *id = json_string_value(json_object_get(info, "session_id"));
    if (id == NULL) return;
    (void)snprintf(repl.session, sizeof repl.session, "%s", id);
    (void)printf("in session %s\n", id);
}

static void go_back(const char *checkpoint) {
    json_t *parameters = for_session();
    (void)json_object_set_new(parameters, "checkpoint_id", json_string(checkpoint));
    json_t *answer = ask("session_rollback", parameters);
    if (answer != NULL)
        (void)printf("as it was after turn %lld\n",
                     (long long)json_integer_value(json_object_get(answer, "turns")));
    json_decref(answer);
}

/* False: it is time to leave. */
static bool take_command(char *line) {
    char *save = NULL;
    const char *verb = strtok_r(line, " \t", &save), *first = strtok_r(NULL, " \t", &save);
    const char *second = strtok_r(NULL, " \t", &save);
    if (verb == NULL || strcmp(verb, ":help") == 0) {
        (void)fputs(commands, stdout);
    } else if (strcmp(verb, ":quit") == 0) {
        return false;
    } else if (strcmp(verb, ":sessions") == 0) {
        show_sessions();
    } else if (strcmp(verb, ":files") == 0) {
        show_files();
    } else if (strcmp(verb, ":checkpoint") == 0) {
        json_t *answer = ask("session_checkpoint", for_session());
        const char *id = json_string_value(json_object_get(answer, "checkpoint_id"));
        if (id != NULL) (void)printf(":rollback %s comes back here\n", id);
        json_decref(answer);
    } else if (strcmp(verb, ":branch") == 0) {
        json_t *answer = ask("session_fork", for_session());
        move_to(json_array_get(json_object_get(answer, "sessions"), 0));
        json_decref(answer);
    } else if (first == NULL) {
        (void)fprintf(stderr, "%s: no such command, or it wants more; :help lists them\n", verb);
    } else if (strcmp(verb, ":rollback") == 0) {
        go_back(first);
    } else if (strcmp(verb, ":switch") == 0) {
        json_t *answer = ask("session_info", json_pack("{s:s}", "session_id", first));
        move_to(answer);
        json_decref(answer);
    } else if (strcmp(verb, ":get") == 0) {
        get_file(first, second != NULL ? second : "");
    } else if (strcmp(verb, ":put") == 0) {
        put_file(first, second != NULL ? second : "");
    } else {
        (void)fprintf(stderr, "%s: no such command; :help lists them\n", verb);
    }
    return true;
}

/* ---- Reading. */

static void history_path(char *out, size_t size) {
    struct error err = {0};
    char folder[2048];
    const char *own = getenv("POLYAGENT_REPL_HISTORY");
    (void)snprintf(out, size, "%s", own != NULL ? own : "");
    if (own != NULL || state_path(NULL, "", "", folder, sizeof folder, &err) != 0) return;
    (void)mkdir(folder, 0700); /* where that fails, there is no history */
    (void)snprintf(out, size, "%s/repl_history", folder);
}

/* One input, of as many lines as it takes; NULL at the end. */
static char *read_input(void) {
    bool is_python = repl.runner->language == &language_python;
    struct buffer text = {0};
    const char *prompt = is_python ? ">>> " : "> ";
    for (;;) {
        char *line = input_line(prompt, &repl.left);
        if (line == NULL && (text.size == 0 || repl.left)) {
            buffer_fini(&text);
            return NULL;
        }
        bool empty = line != NULL && text.size > 0 && line[strspn(line, " \t")] == 0;
        bool ended = line == NULL || (empty && !input_goes_on());
        if (line != NULL &&
            (buffer_append(&text, line, strlen(line)) != 0 || buffer_append(&text, "\n", 1) != 0))
            ended = true;
        free(line);
        if (buffer_append(&text, "", 1) != 0) return NULL;
        text.size--; /* the NUL is no part of it */
        if (ended || input_is_complete((const char *)text.data, is_python))
            return (char *)text.data;
        prompt = is_python ? "... " : "  ";
    }
}

static void talk(void) {
    char path[4096], *input;
    bool interactive = isatty(STDIN_FILENO);
    history_path(path, sizeof path);
    rl_attempted_completion_function = complete;
    if (interactive) {
        (void)input_start_history(path, HISTORY_LINES);
        (void)printf("%s in a sandbox; :help, Ctrl-D ends it\n",
                     repl.runner->language == &language_python ? "Python"
                     : repl.runner->language == &language_ruby ? "Ruby"
                                                               : "JavaScript");
    }
    for (bool goes_on = true; goes_on && !repl.left && (input = read_input()) != NULL;) {
        size_t blank = strspn(input, " \t\n");
        if (input[blank] == ':') {
            input[strcspn(input, "\n")] = 0;
            goes_on = take_command(input + blank);
        } else if (input[blank] != 0) {
            run_turn(input);
        }
        (void)fflush(stdout);
        free(input);
    }
    if (interactive) {
        (void)printf("\n");
        input_end_history(path);
    }
}

/* ---- Starting. */

static int open_session(const char *language, const char *packages) {
    json_t *parameters = json_pack("{s:s}", "language", language), *list = json_array();
    interpreter_add_names(list, packages);
    if (json_array_size(list) > 0) (void)json_object_set(parameters, "packages", list);
    json_decref(list);
    json_t *answer = ask("session_open", parameters);
    const char *id = json_string_value(json_object_get(answer, "session_id"));
    const char *name = json_string_value(json_object_get(answer, "language"));
    if (id == NULL) return FAILURE;
    (void)snprintf(repl.session, sizeof repl.session, "%s", id);
    for (const struct tool *tool = tools; tool->name != NULL; tool++)
        if (tool->language != NULL && strcmp(tool->language->title, name) == 0) repl.runner = tool;
    json_decref(answer);
    return 0;
}

static int prepare_loop(void) {
    static const int ends[] = {INPUT_END_SIGNALS};
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        (void)sigaddset(&set, ends[i]);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    sd_event *event = repl.service.event;
    int result = feed_open(&repl.feed, event, repl.service.sessions, isatty(STDIN_FILENO));
    if (result >= 0) result = sd_event_add_signal(event, NULL, SIGINT, on_interrupt, NULL);
    for (size_t i = 0; i < sizeof ends / sizeof *ends && result >= 0; i++)
        result = sd_event_add_signal(event, NULL, ends[i], on_end_signal, NULL);
    return result;
}

static int run(const char *language, const char *packages, bool local) {
    struct host host;
    struct config config;
    struct error err = {0};
    char path[SOCKET_PATH_BYTES], folder[] = "/tmp/polyagent-XXXXXX";
    bool own = false;
    if (config_load(&config, NULL, &err) != 0) return fail("settings", err.text);
    /* What goes on in the machine room is nothing for a conversation, unless it is asked for. */
    if (getenv("POLYAGENT_LOG") == NULL && config.log_level != NULL) {
        free(config.log_level);
        config.log_level = strdup("off");
    }
    if (config.log_level == NULL) return fail("settings", "out of memory");
    if (host_find(&host, &config, local, folder, path, &own, &err) != 0) {
        config_fini(&config);
        return fail("cannot start", err.text);
    }
    int code = FAILURE;
    if (service_init(&repl.service, own ? host.event : NULL, &config, path, -1, NULL, &err) != 0) {
        (void)fail("cannot start", err.text);
    } else {
        repl.service.rules.ceilings = NULL; /* it is the user's own machine */
        repl.service.rules.module_paths = NULL;
        service_caller_init(&repl.caller, "repl", "local", NULL, NULL);
        code = prepare_loop() >= 0 ? open_session(language, packages)
                                   : fail("cannot start", "the event loop");
        if (code == 0) talk();
        if (code == 0 && isatty(STDIN_FILENO) == 0) code = repl.code;
        json_decref(names);
        feed_close(&repl.feed);
        service_fini(&repl.service);
    }
    if (own) host_leave(&host, folder);
    return code;
}

int main(int argc, char **argv) {
    static const struct option table[] = {{"language", required_argument, NULL, 'l'},
                                          {"packages", required_argument, NULL, 'p'},
                                          {"timeout", required_argument, NULL, 't'},
                                          {"local", no_argument, NULL, 'L'},
                                          {"raw", no_argument, NULL, 'W'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    const char *language = "python", *packages = "";
    bool local = false;
    double seconds = 300;
    char *end;
    int option;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "h", table, NULL)) != -1) {
        switch (option) {
        case 'h': (void)fputs(help, stdout); return 0;
        case 'l': language = optarg; break;
        case 'p': packages = optarg; break;
        case 'L': local = true; break;
        case 'W': say_raw(); break;
        case 't':
            seconds = strtod(optarg, &end);
            if (*end != 0 || !(seconds >= 0.001 && seconds <= 86400))
                return fail("--timeout", "must be seconds, up to 86400");
            break;
        default: return fail("unknown option", "see polyagent repl --help");
        }
    }
    if (optind < argc) return fail(argv[optind], "not expected; see polyagent repl --help");
    repl.timeout_ms = (uint64_t)(seconds * 1000);
    input_init();
    (void)signal(SIGPIPE, SIG_IGN); /* a turn may end before it has read what was typed */
    return run(language, packages, local);
}

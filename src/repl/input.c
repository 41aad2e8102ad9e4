#include "repl/input.h"

#include "repl/ahead.h"

#include <ctype.h>
#include <editline/readline.h>
#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of the line that is being read: signals come only while it is waited for more. */
static struct {
    volatile sig_atomic_t arrived; /* a signal's number */
    sigset_t during;               /* blocked then */
    bool ended;                    /* nothing more will come */
} reading;

static void on_signal(int number) {
    reading.arrived = number;
}

/* False: nothing more will come, or a signal did. */
static bool wait_for_more(void) {
    while (!reading.ended) {
        int result = ahead_fill(&reading.during);
        if (result > 0) return true;
        if (result == -EINTR && reading.arrived == 0) continue;
        if (result == -EINTR) return false;
        reading.ended = true;
    }
    return false;
}

/* For libedit, which takes wide characters. */
static int next_character(FILE *file) {
    int code;
    (void)file;
    while ((code = ahead_character(reading.ended)) < 0) {
        if (!wait_for_more() && (reading.arrived != 0 || ahead_is_empty())) return -1;
    }
    return code;
}

static char *plain_line(void) {
    struct buffer line = {0};
    while (!ahead_line(&line)) {
        if (wait_for_more()) continue;
        if (reading.arrived != 0 || !ahead_rest(&line)) return NULL;
        break;
    }
    if (line.data[line.size - 1] == '\n') line.data[line.size - 1] = 0;
    return (char *)line.data;
}

/* Pastes come with marks around them, while the prompt is there. */
static void mark_pastes(bool on) {
    const char *kind = getenv("TERM");
    if (kind == NULL || strcmp(kind, "dumb") == 0 || !isatty(STDOUT_FILENO)) return;
    (void)printf("\x1b[?2004%c", on ? 'h' : 'l');
    (void)fflush(stdout);
}

static char *edited_line(const char *prompt) {
    mark_pastes(true);
    char *line = readline(prompt);
    mark_pastes(false);
    return line;
}

void input_init(void) {
    (void)setlocale(LC_CTYPE, "");
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0) (void)setlocale(LC_CTYPE, "C.UTF-8");
    rl_getc_function = next_character;
}

char *input_line(const char *prompt, bool *left) {
    static const int numbers[] = {SIGINT, INPUT_END_SIGNALS};
    enum { COUNT = sizeof numbers / sizeof *numbers };
    const struct sigaction action = {.sa_handler = on_signal};
    struct sigaction former[COUNT];
    const bool terminal = isatty(STDIN_FILENO);
    reading.arrived = 0;
    (void)sigprocmask(SIG_BLOCK, NULL, &reading.during); /* the loop's are blocked */
    for (int i = 0; i < COUNT; i++) {
        (void)sigaction(numbers[i], &action, &former[i]);
        if (terminal || numbers[i] != SIGINT) (void)sigdelset(&reading.during, numbers[i]);
    }
    char *line = terminal ? edited_line(prompt) : plain_line();
    for (int i = 0; i < COUNT; i++)
        (void)sigaction(numbers[i], &former[i], NULL);
    *left = reading.arrived != 0 && reading.arrived != SIGINT;
    if (reading.arrived == SIGINT) {
        (void)printf("\n");
        (void)ahead_drop(); /* the terminal has dropped what it had, too */
        free(line);
        line = strdup("");
    }
    if (terminal && line != NULL && line[strspn(line, " \t")] != 0) (void)add_history(line);
    return line;
}

bool input_goes_on(void) {
    while (ahead_in_paste() && wait_for_more()) {
    }
    while (ahead_fill(NULL) > 0) {
    }
    return ahead_is_indented();
}

/* The end of a text in quotes that begins at `at`; NULL: it goes on. */
static const char *skip_text(const char *at, bool is_python) {
    char quote = at[0];
    bool is_long = (is_python && at[1] == quote && at[2] == quote) || quote == '`';
    size_t width = is_long && quote != '`' ? 3 : 1;
    for (at += width; *at != 0; at++) {
        if (*at == '\\' && at[1] != 0) {
            at++;
        } else if (*at == '\n' && !is_long) {
            return at; /* a mistake, which the interpreter tells */
        } else if (strncmp(at, "\"\"\"", width) == 0 && quote == '"') {
            return at + width;
        } else if (strncmp(at, "'''", width) == 0 && quote == '\'') {
            return at + width;
        } else if (*at == '`' && quote == '`') {
            return at + 1;
        }
    }
    return NULL;
}

bool input_is_complete(const char *text, bool is_python) {
    int open = 0;
    char last = 0, before = 0; /* characters that count, of all and of the line */
    bool indented = false;
    for (const char *at = text; *at != 0;) {
        bool comment = is_python ? *at == '#' : at[0] == '/' && at[1] == '/';
        if (comment) {
            at += strcspn(at, "\n");
        } else if (*at == '"' || *at == '\'' || *at == '`') {
            if (is_python && *at == '`') return true;
            at = skip_text(at, is_python);
            if (at == NULL) return false;
            last = '"';
        } else {
            if (strchr("([{", *at) != NULL) open++;
            if (strchr(")]}", *at) != NULL) open--;
            if (*at == '\n') {
                indented = at[1] == ' ' || at[1] == '\t' || indented;
                before = last;
            }
            if (!isspace((unsigned char)*at)) last = *at;
            at++;
        }
    }
    if (open > 0) return false;
    if (!is_python) return true;
    size_t length = strlen(text);
    if (length >= 2 && text[length - 2] == '\\') return false;
    /* A block ends with an empty line, which the caller sees. */
    return before != ':' && last != ':' && !indented && text[strspn(text, " \t")] != '@';
}

int input_start_history(const char *path, int lines) {
    using_history();
    stifle_history(lines);
    return path[0] != 0 ? read_history(path) : 0;
}

void input_end_history(const char *path) {
    if (path[0] != 0) (void)write_history(path); /* without a place, there is none next time */
}

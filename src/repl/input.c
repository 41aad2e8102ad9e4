#include "repl/input.h"

#include <ctype.h>
#include <editline/readline.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static sigjmp_buf back;

static void on_signal(int number) {
    siglongjmp(back, number);
}

static char *from_file(void) {
    char *line = NULL;
    size_t room = 0;
    ssize_t length = getline(&line, &room, stdin);
    if (length < 0) {
        free(line);
        return NULL;
    }
    if (length > 0 && line[length - 1] == '\n') line[length - 1] = 0;
    return line;
}

char *input_line(const char *prompt, bool *left) {
    static const int numbers[] = {SIGINT, INPUT_END_SIGNALS};
    enum { COUNT = sizeof numbers / sizeof *numbers };
    const struct sigaction action = {.sa_handler = on_signal};
    struct sigaction former[COUNT];
    sigset_t set;
    const bool terminal = isatty(STDIN_FILENO);
    char *volatile line = NULL;
    (void)sigemptyset(&set);
    for (int i = 0; i < COUNT; i++) {
        (void)sigaction(numbers[i], &action, &former[i]);
        if (terminal || numbers[i] != SIGINT) (void)sigaddset(&set, numbers[i]);
    }
    int number = sigsetjmp(back, 1);
    if (number == 0) {
        (void)sigprocmask(SIG_UNBLOCK, &set, NULL);
        line = terminal ? readline(prompt) : from_file();
    }
    (void)sigprocmask(SIG_BLOCK, &set, NULL); /* the loop's, while a turn runs */
    for (int i = 0; i < COUNT; i++)
        (void)sigaction(numbers[i], &former[i], NULL);
    *left = number != 0 && number != SIGINT;
    if (number == SIGINT) {
        (void)printf("\n");
        line = strdup("");
    }
    if (terminal && line != NULL && line[strspn(line, " \t")] != 0) (void)add_history(line);
    return line;
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

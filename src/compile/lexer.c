/* Python's tokens (The Python Language Reference, chapter 2). */
#include "compile/ast.h"

#include <string.h>

enum { TAB = 8 };

void lexer_init(struct lexer *lexer, struct unit *unit, const char *text, size_t size,
                uint32_t line) {
    *lexer = (struct lexer){.unit = unit,
                            .at = text,
                            .end = text + size,
                            .line_start = text,
                            .line = line,
                            .at_line_start = true,
                            .indent_count = 1};
}

static uint32_t column(const struct lexer *lexer) {
    return (uint32_t)(lexer->at - lexer->line_start) + 1;
}

static _Noreturn void refuse(struct lexer *lexer, const char *what) {
    refuse_at(lexer->unit, lexer->line, column(lexer), "%s", what);
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool begins_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static char peek(const struct lexer *lexer, size_t ahead) {
    return lexer->at + ahead < lexer->end ? lexer->at[ahead] : 0;
}

static void new_line(struct lexer *lexer) {
    if (peek(lexer, 0) == '\r') lexer->at++;
    if (peek(lexer, 0) == '\n') lexer->at++;
    lexer->line++;
    lexer->line_start = lexer->at;
}

static bool at_line_end(const struct lexer *lexer) {
    return peek(lexer, 0) == '\n' || (peek(lexer, 0) == '\r' && peek(lexer, 1) == '\n');
}

/* Spaces, comments and joined lines. */
static void skip_space(struct lexer *lexer) {
    for (;;) {
        char c = peek(lexer, 0);
        if (c == ' ' || c == '\t' || c == '\f') {
            lexer->at++;
        } else if (c == '#' && !lexer->is_part) {
            while (lexer->at < lexer->end && !at_line_end(lexer))
                lexer->at++;
        } else if (c == '\\' &&
                   (peek(lexer, 1) == '\n' || (peek(lexer, 1) == '\r' && peek(lexer, 2) == '\n'))) {
            lexer->at++;
            new_line(lexer);
        } else if (at_line_end(lexer) && (lexer->parentheses > 0 || lexer->is_part)) {
            new_line(lexer);
        } else {
            return;
        }
    }
}

/* Blank lines count for nothing. True: a line begins, and so wide is what is before it. */
static bool find_line(struct lexer *lexer, uint32_t *width) {
    for (;;) {
        uint32_t wide = 0, other = 0; /* with tabs of eight, and of one */
        for (char c; (c = peek(lexer, 0)) == ' ' || c == '\t' || c == '\f'; lexer->at++) {
            wide = c == '\t' ? (wide / TAB + 1) * TAB : c == '\f' ? 0 : wide + 1;
            other = c == '\f' ? 0 : other + 1;
        }
        if (wide != other && lexer->indent_count > 1) refuse(lexer, "tabs in the indentation");
        if (lexer->at == lexer->end) return false;
        if (peek(lexer, 0) == '#') {
            while (lexer->at < lexer->end && !at_line_end(lexer))
                lexer->at++;
        }
        if (!at_line_end(lexer)) {
            *width = wide;
            return lexer->at < lexer->end;
        }
        new_line(lexer);
    }
}

static struct token make(const struct lexer *lexer, enum token_kind kind, const char *from) {
    return (struct token){
        .kind = kind,
        .text = from,
        .size = (uint32_t)(lexer->at - from),
        .line = lexer->line,
        .column = from >= lexer->line_start ? (uint32_t)(from - lexer->line_start) + 1 : 1};
}

static void digits(struct lexer *lexer, int (*fits)(int)) {
    while (fits((unsigned char)peek(lexer, 0)) ||
           (peek(lexer, 0) == '_' && fits((unsigned char)peek(lexer, 1))))
        lexer->at++;
}

static int is_decimal(int c) {
    return c >= '0' && c <= '9';
}
static int is_hex(int c) {
    return is_decimal(c) || ((c | 32) >= 'a' && (c | 32) <= 'f');
}
static int is_octal(int c) {
    return c >= '0' && c <= '7';
}
static int is_binary(int c) {
    return c == '0' || c == '1';
}

static struct token number(struct lexer *lexer) {
    const char *from = lexer->at;
    bool real = false;
    char base = (char)(peek(lexer, 1) | 32);
    if (peek(lexer, 0) == '0' && (base == 'x' || base == 'o' || base == 'b')) {
        lexer->at += 2;
        const char *first = lexer->at;
        if (peek(lexer, 0) == '_') lexer->at++;
        digits(lexer, base == 'x' ? is_hex : base == 'o' ? is_octal : is_binary);
        if (lexer->at == first) refuse(lexer, "invalid number");
    } else {
        digits(lexer, is_decimal);
        if (peek(lexer, 0) == '.') {
            real = true;
            lexer->at++;
            digits(lexer, is_decimal);
        }
        char sign = peek(lexer, 1);
        if ((peek(lexer, 0) | 32) == 'e' &&
            (is_digit(sign) || ((sign == '+' || sign == '-') && is_digit(peek(lexer, 2))))) {
            real = true;
            lexer->at += 2;
            digits(lexer, is_decimal);
        }
        if ((peek(lexer, 0) | 32) == 'j') refuse(lexer, "complex numbers are not supported");
        bool zeros = from[0] == '0' && lexer->at - from > 1 && !real;
        for (const char *p = from; zeros && p < lexer->at; p++) {
            if (*p != '0' && *p != '_')
                refuse(lexer, "leading zeros in decimal integer literals are not permitted");
        }
    }
    if (begins_name(peek(lexer, 0)) || is_digit(peek(lexer, 0))) refuse(lexer, "invalid number");
    return make(lexer, real ? REAL : INTEGER, from);
}

/* The end of a string whose quotes begin at lexer->at. */
static void skip_string(struct lexer *lexer) {
    char quote = peek(lexer, 0);
    bool triple = peek(lexer, 1) == quote && peek(lexer, 2) == quote;
    lexer->at += triple ? 3 : 1;
    for (;;) {
        if (lexer->at >= lexer->end || (!triple && at_line_end(lexer)))
            refuse(lexer, "unterminated string literal");
        if (peek(lexer, 0) == '\\') {
            lexer->at++;
            if (at_line_end(lexer)) {
                new_line(lexer);
            } else if (lexer->at < lexer->end) {
                lexer->at++;
            }
        } else if (peek(lexer, 0) == quote &&
                   (!triple || (peek(lexer, 1) == quote && peek(lexer, 2) == quote))) {
            lexer->at += triple ? 3 : 1;
            return;
        } else if (at_line_end(lexer)) {
            new_line(lexer);
        } else {
            lexer->at++;
        }
    }
}

static bool is_prefix(const char *text, size_t size) {
    static const char *const prefixes[] = {"r", "u", "f", "fr", "rf", "b", "br", "rb"};
    char lower[3] = {0};
    if (size > 2) return false;
    for (size_t i = 0; i < size; i++)
        lower[i] = (char)(text[i] | 32);
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        if (strcmp(lower, prefixes[i]) == 0) return true;
    }
    return false;
}

static struct token name_or_string(struct lexer *lexer) {
    const char *from = lexer->at;
    while (begins_name(peek(lexer, 0)) || is_digit(peek(lexer, 0)))
        lexer->at++;
    if ((peek(lexer, 0) & 0x80) != 0)
        refuse(lexer, "names of other than ASCII letters are not supported");
    if ((peek(lexer, 0) == '\'' || peek(lexer, 0) == '"') &&
        is_prefix(from, (size_t)(lexer->at - from))) {
        struct token token = make(lexer, STRING, from); /* where it begins */
        skip_string(lexer);
        token.size = (uint32_t)(lexer->at - from);
        return token;
    }
    return make(lexer, NAME, from);
}

static struct token operator_token(struct lexer *lexer) {
    static const char *const operators[] = {
        "**=", "//=", ">>=", "<<=", "...", "!=", "%=", "&=", "**", "*=", "+=", "-=",
        "->",  "//",  "/=",  ":=",  "<<",  "<=", "==", ">=", ">>", "@=", "^=", "|=",
        "%",   "&",   "(",   ")",   "*",   "+",  ",",  "-",  ".",  "/",  ":",  ";",
        "<",   "=",   ">",   "@",   "[",   "]",  "^",  "{",  "|",  "}",  "~",  "!"};
    const char *from = lexer->at;
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++) {
        size_t size = strlen(operators[i]);
        if ((size_t)(lexer->end - from) < size || memcmp(from, operators[i], size) != 0) continue;
        lexer->at += size;
        if (strchr("([{", *from) != NULL) lexer->parentheses++;
        if (strchr(")]}", *from) != NULL && --lexer->parentheses < 0)
            refuse(lexer, "unmatched bracket");
        return make(lexer, OPERATOR, from);
    }
    refuse(lexer, "invalid character");
}

struct token lexer_next(struct lexer *lexer) {
    if (lexer->dedents > 0) {
        lexer->dedents--;
        return make(lexer, DEDENT, lexer->at);
    }
    if (lexer->at_line_start && !lexer->is_part) {
        uint32_t width = 0;
        lexer->at_line_start = false;
        if (!find_line(lexer, &width)) width = 0;
        uint32_t current = lexer->indents[lexer->indent_count - 1];
        if (width > current) {
            if (lexer->indent_count == sizeof lexer->indents / sizeof *lexer->indents)
                refuse(lexer, "too many levels of indentation");
            lexer->indents[lexer->indent_count++] = width;
            return make(lexer, INDENT, lexer->at);
        }
        while (width < lexer->indents[lexer->indent_count - 1]) {
            lexer->indent_count--;
            lexer->dedents++;
        }
        if (width != lexer->indents[lexer->indent_count - 1])
            refuse(lexer, "unindent does not match any outer indentation level");
        if (lexer->dedents > 0) return lexer_next(lexer);
    }
    skip_space(lexer);
    if (lexer->at >= lexer->end) {
        if (lexer->parentheses > 0) refuse(lexer, "a bracket was never closed");
        return make(lexer, END, lexer->at);
    }
    char c = peek(lexer, 0);
    if (at_line_end(lexer)) {
        struct token token = make(lexer, NEWLINE, lexer->at);
        new_line(lexer);
        lexer->at_line_start = true;
        return token;
    }
    if (is_digit(c) || (c == '.' && is_digit(peek(lexer, 1)))) return number(lexer);
    if (c == '\'' || c == '"') {
        struct token token = make(lexer, STRING, lexer->at);
        skip_string(lexer);
        token.size = (uint32_t)(lexer->at - token.text);
        return token;
    }
    if (begins_name(c) || (c & 0x80) != 0) return name_or_string(lexer);
    return operator_token(lexer);
}

/* Errors with context: a status of the public contract and one line of text. The text is composed
 * where the knowledge is ("what failed: why; what to do"); callers add context with error_prefix()
 * and the top prints it once. The caller owns the struct; nothing is allocated. */
#ifndef PA_BASE_ERROR_H
#define PA_BASE_ERROR_H

#include <polyagent.h>
#include <stddef.h>

struct error {
    enum pa_status code; /* PA_OK until something failed */
    char text[1024];     /* NUL-terminated, one line of UTF-8 (base/text.h), cut when longer */
};

/* Fills `err` and returns -1, so that callers can write `return error_set(...)`. */
int error_set(struct error *err, enum pa_status code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same, with ": " and the text of errno value `number` at the end. */
int error_set_errno(struct error *err, enum pa_status code, int number, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Puts "context: " before the text that is there. Returns -1. */
int error_prefix(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif

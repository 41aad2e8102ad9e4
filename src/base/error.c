#include "base/error.h"

#include "base/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int error_set(struct error *err, enum pa_status code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    err->code = code;
    (void)vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    text_tidy(err->text, sizeof err->text, TEXT_ONE_LINE);
    return -1;
}

int error_set_errno(struct error *err, enum pa_status code, int number, const char *format, ...) {
    char what[sizeof err->text];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(what, sizeof what, format, args);
    va_end(args);
    if (number == EMFILE || number == ENFILE) code = PA_OVERLOADED; /* others will give some back */
    return error_set(err, code, "%s: %s", what, strerrordesc_np(number));
}

int error_prefix(struct error *err, const char *format, ...) {
    char before[sizeof err->text];
    char old[sizeof err->text];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(before, sizeof before, format, args);
    va_end(args);
    memcpy(old, err->text, sizeof old);
    return error_set(err, err->code, "%s: %s", before, old);
}

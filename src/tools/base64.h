/* Base64 (RFC 4648, section 4), quickly: modules of 20 MB come this way. libsodium's decoder takes
 * the same time for every input, as secrets need it, which is 10 times longer. */
#ifndef PA_TOOLS_BASE64_H
#define PA_TOOLS_BASE64_H

#include <stddef.h>
#include <stdint.h>

/* Decodes `length` characters, line breaks between them left out, into `out`, which has room for
 * length / 4 * 3 + 3 bytes. The number of bytes, or -1 with the place of the first character that
 * does not belong there in `wrong`. Padding is required. */
ptrdiff_t base64_decode(const char *text, size_t length, uint8_t *out, size_t *wrong);

/* The text for bytes, for the caller to free; NULL when memory runs out. */
char *base64_encode(const void *bytes, size_t size);

#endif

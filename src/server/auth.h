/* Who a caller is: by a bearer token (RFC 6750, section 2.1) of the tokens file, whose lines are
 * NAME:SHA256, the digest of the token in hexadecimal. The tokens themselves are nowhere kept. */
#ifndef PA_SERVER_AUTH_H
#define PA_SERVER_AUTH_H

#include "base/error.h"

#include <stdbool.h>

enum { AUTH_NAME_BYTES = 48 };

struct auth;

/* `path` "": nobody is asked. NULL with `err`, which names the file and line. */
struct auth *auth_new(const char *path, struct error *err);
void auth_free(struct auth *auth);

/* Whether nobody is asked. */
bool auth_is_open(const struct auth *auth);

/* The caller's name for an Authorization header (NULL: there was none), "anonymous" where nobody is
 * asked; NULL if it is refused. Valid as long as `auth`. */
const char *auth_check(const struct auth *auth, const char *header);

#endif

/* Who a caller is: by a bearer token (RFC 6750, section 2.1) of the tokens file, whose lines are
 * NAME:SHA256, the digest of the token in hexadecimal; without such a file, by the name in its
 * certificate, where certificates are asked for. The tokens themselves are nowhere kept. */
#ifndef PA_SERVER_AUTH_H
#define PA_SERVER_AUTH_H

#include "base/error.h"
#include "server/peers.h"

#include <stdbool.h>

enum { AUTH_NAME_BYTES = 48 };

struct auth;

/* `path` "": nobody is asked for a token. `certificates`: who has none is nobody. NULL with `err`,
 * which names the file and line. */
struct auth *auth_new(const char *path, bool certificates, struct error *err);
void auth_free(struct auth *auth);

/* Whether nobody is asked for anything. */
bool auth_is_open(const struct auth *auth);
/* A token is nothing that a browser would send along by itself; a certificate is. */
bool auth_wants_tokens(const struct auth *auth);
bool auth_wants_certificates(const struct auth *auth);

/* What a caller shows. */
struct auth_proof {
    const char *header;      /* Authorization; NULL: none */
    const char *certificate; /* name in a verified certificate; NULL: none */
    struct peer *peer;       /* where it comes from; is told of wrong tokens */
};

/* The caller's name: its token's, else its certificate's, else "anonymous" where nobody is asked;
 * NULL with `err` (PA_DENIED; PA_OVERLOADED where too many wrong tokens came) if it is refused.
 * Valid as long as `auth` and the proof. */
const char *auth_check(const struct auth *auth, const struct auth_proof *proof, struct error *err);

#endif

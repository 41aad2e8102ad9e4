/* The name in a client's certificate. */
#ifndef PA_SERVER_TLS_NAME_H
#define PA_SERVER_TLS_NAME_H

#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stddef.h>

/* The verified certificate's name: the first subjectAltName that is a URI, else a DNS name, else an
 * e-mail address, else the subject's CN. One that does not fit, or has other characters than
 * visible ones, is cut and ends with a digest of the whole. False: it has none, or was not verified
 * as a client's (extendedKeyUsage, RFC 5280 section 4.2.1.12). */
bool tls_client_name(gnutls_session_t session, char *out, size_t size);

#endif

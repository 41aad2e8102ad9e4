#include "server/tls_name.h"

#include <ctype.h>
#include <gnutls/x509.h>
#include <sodium.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { MAX_NAMES = 100, NAME_BYTES = 1024, DIGEST_CHARACTERS = 16 };

static bool is_visible(const char *name, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (isgraph((unsigned char)name[i]) == 0) return false;
    return true;
}

/* Two names never become the same one. */
static void fit(const char *name, size_t length, char *out, size_t size) {
    uint8_t digest[crypto_hash_sha256_BYTES];
    char hex[2 * sizeof digest + 1];
    if (length < size && is_visible(name, length)) {
        memcpy(out, name, length);
        out[length] = 0;
        return;
    }
    (void)crypto_hash_sha256(digest, (const uint8_t *)name, length);
    (void)sodium_bin2hex(hex, sizeof hex, digest, sizeof digest);
    size_t kept = 0, most = size - DIGEST_CHARACTERS - 2;
    for (size_t i = 0; i < length && kept < most; i++)
        out[kept++] = isgraph((unsigned char)name[i]) != 0 ? name[i] : '_';
    (void)snprintf(out + kept, size - kept, "#%.*s", DIGEST_CHARACTERS, hex);
}

/* The first name of that kind; its length, 0: there is none. */
static size_t alternative(gnutls_x509_crt_t certificate, gnutls_x509_subject_alt_name_t wanted,
                          char name[NAME_BYTES]) {
    for (unsigned i = 0; i < MAX_NAMES; i++) {
        size_t size = NAME_BYTES;
        int kind = gnutls_x509_crt_get_subject_alt_name(certificate, i, name, &size, NULL);
        if (kind == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) return 0;
        if (kind == (int)wanted && size > 0) return size;
    }
    return 0;
}

static bool name_of(gnutls_x509_crt_t certificate, char *out, size_t size) {
    static const gnutls_x509_subject_alt_name_t kinds[] = {GNUTLS_SAN_URI, GNUTLS_SAN_DNSNAME,
                                                           GNUTLS_SAN_RFC822NAME};
    char name[NAME_BYTES];
    size_t length = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds && length == 0; i++)
        length = alternative(certificate, kinds[i], name);
    if (length == 0) {
        length = sizeof name;
        if (gnutls_x509_crt_get_dn_by_oid(certificate, GNUTLS_OID_X520_COMMON_NAME, 0, 0, name,
                                          &length) != 0)
            length = 0;
    }
    if (length == 0) return false;
    fit(name, length, out, size);
    return true;
}

bool tls_client_name(gnutls_session_t session, char *out, size_t size) {
    gnutls_typed_vdata_st purpose = {.type = GNUTLS_DT_KEY_PURPOSE_OID,
                                     .data = (unsigned char *)(uintptr_t)GNUTLS_KP_TLS_WWW_CLIENT};
    unsigned status = 0, count = 0;
    gnutls_x509_crt_t certificate;
    if (gnutls_certificate_verify_peers(session, &purpose, 1, &status) != 0 || status != 0)
        return false;
    const gnutls_datum_t *list = gnutls_certificate_get_peers(session, &count);
    if (list == NULL || count == 0 || gnutls_x509_crt_init(&certificate) != 0) return false;
    bool named = gnutls_x509_crt_import(certificate, &list[0], GNUTLS_X509_FMT_DER) == 0 &&
                 name_of(certificate, out, size);
    gnutls_x509_crt_deinit(certificate);
    return named;
}

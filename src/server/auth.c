#include "server/auth.h"

#include "base/cleanup.h"
#include "base/opener.h"

#include <ctype.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { DIGEST_BYTES = crypto_hash_sha256_BYTES };

struct token {
    char name[AUTH_NAME_BYTES];
    uint8_t digest[DIGEST_BYTES];
};

struct auth {
    struct token *tokens; /* owned */
    size_t count;
    bool tokens_wanted, certificates_wanted;
};

static int take_line(struct auth *auth, char *line, struct error *err) {
    size_t end = strcspn(line, "\r\n"), length = 0;
    line[end] = 0;
    if (line[0] == 0 || line[0] == '#') return 0;
    const char *colon = strchr(line, ':');
    size_t name = colon != NULL ? (size_t)(colon - line) : 0;
    struct token token = {.name = ""};
    if (name == 0 || name >= sizeof token.name ||
        sodium_hex2bin(token.digest, DIGEST_BYTES, colon + 1, strlen(colon + 1), NULL, &length,
                       NULL) != 0 ||
        length != DIGEST_BYTES || strlen(colon + 1) != 2 * DIGEST_BYTES) {
        return error_set(err, PA_INVALID_ARGUMENT,
                         "must be NAME:SHA256, the token's digest as sha256sum(1) prints it");
    }
    for (size_t i = 0; i < name; i++) {
        if (isgraph((unsigned char)line[i]) == 0)
            return error_set(err, PA_INVALID_ARGUMENT, "the name must be of visible characters");
    }
    memcpy(token.name, line, name);
    struct token *more = reallocarray(auth->tokens, auth->count + 1, sizeof *more);
    if (more == NULL) return error_set(err, PA_INTERNAL, "out of memory");
    auth->tokens = more;
    auth->tokens[auth->count++] = token;
    return 0;
}

struct auth *auth_new(const char *path, bool certificates, struct error *err) {
    struct auth *auth = calloc(1, sizeof *auth);
    char line[512];
    unsigned number = 0;
    int result = 0;
    if (auth == NULL) {
        error_set(err, PA_INTERNAL, "server.auth: out of memory");
        return NULL;
    }
    auth->certificates_wanted = certificates;
    auth->tokens_wanted = path[0] != 0;
    if (!auth->tokens_wanted) return auth;
    int fd = opener_open(path, 0);
    FILE *file = fd >= 0 ? fdopen(fd, "r") : NULL;
    if (file == NULL) {
        error_set_errno(err, PA_INVALID_ARGUMENT, errno, "server.auth.tokens_file: %s", path);
        fd_closep(&fd);
        free(auth);
        return NULL;
    }
    while (result == 0 && fgets(line, sizeof line, file) != NULL) {
        number++;
        result = take_line(auth, line, err);
        if (result != 0) error_prefix(err, "%s:%u", path, number);
    }
    if (result == 0 && ferror(file) != 0) {
        result = error_set(err, PA_INVALID_ARGUMENT, "%s: cannot be read", path);
    }
    (void)fclose(file);
    if (result == 0) return auth;
    auth_free(auth);
    return NULL;
}

void auth_free(struct auth *auth) {
    if (auth == NULL) return;
    free(auth->tokens);
    free(auth);
}

bool auth_is_open(const struct auth *auth) {
    return !auth->tokens_wanted && !auth->certificates_wanted;
}

bool auth_wants_tokens(const struct auth *auth) {
    return auth->tokens_wanted;
}

bool auth_wants_certificates(const struct auth *auth) {
    return auth->certificates_wanted;
}

/* Whose token that is; NULL: nobody's. All are looked at: how long it takes tells nothing. */
static const char *owner_of(const struct auth *auth, const char *token) {
    uint8_t digest[DIGEST_BYTES];
    const char *name = NULL;
    (void)crypto_hash_sha256(digest, (const uint8_t *)token, strlen(token));
    for (size_t i = 0; i < auth->count; i++) {
        if (sodium_memcmp(digest, auth->tokens[i].digest, DIGEST_BYTES) == 0)
            name = auth->tokens[i].name;
    }
    return name;
}

const char *auth_check(const struct auth *auth, const struct auth_proof *proof, struct error *err) {
    if (auth->certificates_wanted && proof->certificate == NULL) {
        error_set(err, PA_DENIED,
                  "no certificate: connect with one for clients, of "
                  "server.tls.client_ca, that has a name");
        return NULL;
    }
    if (!auth->tokens_wanted) return auth->certificates_wanted ? proof->certificate : "anonymous";
    if (proof->header == NULL || strncasecmp(proof->header, "Bearer ", 7) != 0) {
        error_set(err, PA_DENIED, "no credential: send Authorization: Bearer TOKEN");
        return NULL;
    }
    const char *token = proof->header + 7 + strspn(proof->header + 7, " ");
    const char *name = owner_of(auth, token);
    /* A guess that is right must not be told from others either, once there were too many. */
    if (peer_is_guessing(proof->peer) && (name == NULL || !peer_is_friend(proof->peer, name))) {
        error_set(err, PA_OVERLOADED,
                  "too many unknown tokens came from this address; retry in 1 s");
        if (name == NULL) peer_add_wrong(proof->peer, token);
        name = NULL;
    } else if (name == NULL) {
        error_set(err, PA_DENIED, "the token is not known: it is none of server.auth.tokens_file");
        peer_add_wrong(proof->peer, token);
    } else {
        peer_add_friend(proof->peer, name);
    }
    return name;
}

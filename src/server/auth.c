#include "server/auth.h"

#include "base/cleanup.h"

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
    bool open;
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

struct auth *auth_new(const char *path, struct error *err) {
    struct auth *auth = calloc(1, sizeof *auth);
    char line[512];
    unsigned number = 0;
    int result = 0;
    if (auth == NULL) {
        error_set(err, PA_INTERNAL, "server.auth: out of memory");
        return NULL;
    }
    auth->open = path[0] == 0;
    if (auth->open) return auth;
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        error_set_errno(err, PA_INVALID_ARGUMENT, errno, "server.auth.tokens_file: %s", path);
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
    return auth->open;
}

const char *auth_check(const struct auth *auth, const char *header) {
    uint8_t digest[DIGEST_BYTES];
    const char *name = NULL;
    if (auth->open) return "anonymous";
    if (header == NULL || strncasecmp(header, "Bearer ", 7) != 0) return NULL;
    const char *token = header + 7 + strspn(header + 7, " ");
    (void)crypto_hash_sha256(digest, (const uint8_t *)token, strlen(token));
    for (size_t i = 0; i < auth->count; i++) { /* all of them: how long it takes tells nothing */
        if (sodium_memcmp(digest, auth->tokens[i].digest, DIGEST_BYTES) == 0)
            name = auth->tokens[i].name;
    }
    return name;
}

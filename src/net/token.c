#include "net/net.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Whether it names this machine, by what cannot mean another. */
static bool is_local(const char *server) {
    char host[64];
    uint8_t bytes[16];
    const char *scheme = strstr(server, "://"), *at = scheme != NULL ? scheme + 3 : server;
    bool six = at[0] == '[';
    size_t length = six ? strcspn(++at, "]") : strcspn(at, ":/@?#");
    if (length >= sizeof host || at[length] == '@') return false;
    (void)snprintf(host, sizeof host, "%.*s", (int)length, at);
    if (six) return inet_pton(AF_INET6, host, bytes) == 1 && strcmp(host, "::1") == 0;
    return strcasecmp(host, "localhost") == 0 ||
           (inet_pton(AF_INET, host, bytes) == 1 && bytes[0] == 127);
}

bool net_token(const char *what, const char *server, bool secure, const char **token) {
    const char *allowed = getenv("POLYAGENT_TOKEN_IN_CLEAR");
    *token = getenv("POLYAGENT_TOKEN");
    if (*token == NULL || secure || is_local(server) ||
        (allowed != NULL && strcmp(allowed, "1") == 0))
        return true;
    (void)fprintf(stderr,
                  "polyagent: %s: %s: $POLYAGENT_TOKEN would go in clear; use https://, or set "
                  "POLYAGENT_TOKEN_IN_CLEAR=1\n",
                  what, server);
    return false;
}

#include "server/peers.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

enum { FREE_WRONG = 10, MOST_WRONG = 20 };

void peer_key(const struct sockaddr *address, uint8_t key[16]) {
    memset(key, 0, 16);
    if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)(const void *)address;
        bool whole = IN6_IS_ADDR_V4MAPPED(&in->sin6_addr) || IN6_IS_ADDR_LOOPBACK(&in->sin6_addr);
        memcpy(key, in->sin6_addr.s6_addr, whole ? 16 : 8);
    } else if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;
        key[10] = key[11] = 0xff;
        memcpy(key + 12, &in->sin_addr, 4);
    }
}

struct peer *peers_find(struct peers *peers, const struct sockaddr *address) {
    uint8_t key[16];
    uint64_t now_ns = clock_now_ns();
    struct peer *oldest = NULL;
    peer_key(address, key);
    for (struct peer *peer = peers->table; peer < peers->table + PEERS; peer++) {
        if (peer->seen_ns > 0 && memcmp(peer->address, key, sizeof key) == 0) {
            peer->seen_ns = now_ns;
            return peer;
        }
        if (peer->connections == 0 && (oldest == NULL || peer->seen_ns < oldest->seen_ns))
            oldest = peer;
    }
    if (oldest == NULL) return &peers->table[PEERS - 1];
    *oldest = (struct peer){.seen_ns = now_ns};
    memcpy(oldest->address, key, sizeof key);
    return oldest;
}

void peer_name(const struct peer *peer, char out[PEER_NAME_BYTES]) {
    bool mapped = IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)(const void *)peer->address);
    if (inet_ntop(mapped ? AF_INET : AF_INET6, peer->address + (mapped ? 12 : 0), out,
                  PEER_NAME_BYTES) == NULL)
        out[0] = 0;
}

/* Each second forgives one. */
static void forgive(struct peer *peer) {
    uint64_t now_ns = clock_now_ns(), seconds = (now_ns - peer->wrong_ns) / NS_PER_SECOND;
    if (seconds == 0) return;
    peer->wrong = seconds < peer->wrong ? peer->wrong - (uint32_t)seconds : 0;
    peer->wrong_ns = now_ns;
}

/* FNV-1a (Fowler, Noll, Vo); never 0. */
static uint64_t hash(const char *text) {
    uint64_t value = UINT64_C(14695981039346656037);
    for (; *text != 0; text++)
        value = (value ^ (uint8_t)*text) * UINT64_C(1099511628211);
    return value != 0 ? value : 1;
}

static bool is_among(const uint64_t *list, size_t count, uint64_t wanted) {
    for (size_t i = 0; i < count; i++)
        if (list[i] == wanted) return true;
    return false;
}

static void put_first(uint64_t *list, size_t count, uint64_t value) {
    memmove(list + 1, list, (count - 1) * sizeof *list);
    list[0] = value;
}

void peer_add_wrong(struct peer *peer, const char *token) {
    uint64_t guess = hash(token);
    if (is_among(peer->guesses, PEER_GUESSES, guess)) return;
    put_first(peer->guesses, PEER_GUESSES, guess);
    forgive(peer);
    if (peer->wrong == 0) peer->wrong_ns = clock_now_ns();
    if (peer->wrong < MOST_WRONG) peer->wrong++;
}

bool peer_is_guessing(struct peer *peer) {
    forgive(peer);
    return peer->wrong >= FREE_WRONG;
}

bool peer_is_friend(const struct peer *peer, const char *caller) {
    return is_among(peer->friends, PEER_FRIENDS, hash(caller));
}

void peer_add_friend(struct peer *peer, const char *caller) {
    if (!peer_is_friend(peer, caller)) put_first(peer->friends, PEER_FRIENDS, hash(caller));
}

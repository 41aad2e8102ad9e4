/* What is remembered of the addresses that connections come from: how many connections each has,
 * and how many wrong tokens it has sent lately. An IPv6 peer is its network (/64). All of one
 * thread. */
#ifndef PA_SERVER_PEERS_H
#define PA_SERVER_PEERS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum { PEERS = 1024, PEER_NAME_BYTES = 48, PEER_FRIENDS = 8, PEER_GUESSES = 4 };

struct peer {
    uint8_t address[16]; /* IPv4 as mapped into IPv6; the lower half of IPv6 is 0 */
    uint32_t connections;
    uint64_t seen_ns, wrong_ns;
    uint32_t wrong;                 /* tokens, less those that time has forgiven */
    uint64_t guesses[PEER_GUESSES]; /* hashes of the last ones: sent again, they are no news */
    uint64_t friends[PEER_FRIENDS]; /* callers whose token was good, from here; newest first */
};

struct peers {
    struct peer table[PEERS];
};

/* The entry of an address; that of one without connections which was not seen for longest makes way
 * for it. Never NULL: where all have connections, the last entry is all others'. Valid as long as
 * it has connections, or until the next call. */
struct peer *peers_find(struct peers *peers, const struct sockaddr *address);

/* What tells peers apart. */
void peer_key(const struct sockaddr *address, uint8_t key[16]);
/* The address as text. */
void peer_name(const struct peer *peer, char out[PEER_NAME_BYTES]);

/* A wrong token came from there. The same one again, as of a client that tries on and on, is no
 * guess. */
void peer_add_wrong(struct peer *peer, const char *token);
/* A good one: from now on this caller's tokens are looked at, whatever others send from there. */
void peer_add_friend(struct peer *peer, const char *caller);
/* Whether so many wrong ones came that only friends are let in (10 at once, then one a second). */
bool peer_is_guessing(struct peer *peer);
bool peer_is_friend(const struct peer *peer, const char *caller);

#endif

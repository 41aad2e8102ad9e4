/* The front's own folders, which it gets as descriptors: where they lie it may not be able to
 * reach. */
#ifndef PA_NET_PLACES_H
#define PA_NET_PLACES_H

#include "config/config.h"

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

enum { PLACES = 2, PLACE_NAME_BYTES = 32 };

struct places {
    int folders[PLACES];             /* of sessions, and of runs without one; open; -1 */
    char sessions[PLACE_NAME_BYTES]; /* a path to the first that this process can use */
    char runs[PATH_MAX];             /* where the second one lies */
};

/* Makes or opens the folder of sessions (sessions.dir) and makes one for runs in $TMPDIR, which
 * names that from now on. Both become the user's, with the sessions in it that were those of a
 * server of another user, us. -1 with `err`; what has been made stays for places_remove(). */
int places_make(struct places *places, const struct config *config, uid_t user, struct error *err);

/* Whether a folder can be given to that user; by trying. */
bool places_can_be_given(uid_t user);

void places_close(struct places *places);

#endif

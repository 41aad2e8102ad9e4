/* What sessions' workspaces take of their quotas. */
#include "server/sessions_internal.h"

#include "base/cleanup.h"

#include <fcntl.h>

static int open_folder(const char *path) {
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

const struct session_usage *session_usage_of(struct session *session) {
    char path[SESSION_PATH_BYTES];
    struct session_usage *usage = &session->usage;
    if (usage->known) return usage;
    session_folder(session, "", path);
    _cleanup_(fd_closep) int dir = open_folder(path);
    usage->known = dir >= 0 && folder_usage(dir, &usage->bytes, &usage->names) == 0;
    if (!usage->known) usage->bytes = usage->names = UINT64_MAX;
    return usage;
}

static void add_to(uint64_t *sum, int64_t change) {
    if (change < 0)
        *sum -= *sum < -(uint64_t)change ? *sum : -(uint64_t)change;
    else if (__builtin_add_overflow(*sum, (uint64_t)change, sum))
        *sum = UINT64_MAX;
}

void session_usage_add(struct session *session, int64_t bytes, int64_t names) {
    add_to(&session->usage.bytes, bytes);
    add_to(&session->usage.names, names);
}

uint64_t session_room(uint64_t limit, uint64_t used) {
    return limit > used ? limit - used : 0;
}

void session_usage_turn(struct session *session, const char *output,
                        const struct remote_outcome *outcome) {
    uint64_t bytes = 0, names = 0;
    struct session_usage *usage = &session->usage;
    _cleanup_(fd_closep) int dir = folder_is_bare(AT_FDCWD, output) ? -1 : open_folder(output);
    usage->known =
        usage->known && outcome != NULL && (dir < 0 || folder_usage(dir, &bytes, &names) == 0);
    if (!usage->known) return;
    session_usage_add(session, outcome->growth.bytes, outcome->growth.names);
    session_usage_add(session, -(int64_t)bytes, -(int64_t)names);
}

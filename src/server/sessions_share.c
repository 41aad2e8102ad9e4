/* What each tenant may have of sessions and of the disk. */
#include "server/sessions_internal.h"

#include <string.h>

/* Where callers show who they are, one has a quarter; on an open server all of them are one. */
enum { SHARES = 4 };

static uint64_t part_of(const struct config *config, uint64_t own, uint64_t given, uint64_t all) {
    bool is_open = config->tokens_file[0] == 0 && config->client_ca[0] == 0;
    uint64_t share = own > 0 ? own : given > 0 ? given : is_open ? all : all / SHARES;
    return share < 1 ? 1 : share < all ? share : all;
}

static uint64_t most_sessions(const struct config *config, const char *owner) {
    const struct config_tenant *tenant = config_find_tenant(config, owner);
    return part_of(config, tenant != NULL ? tenant->sessions : 0, config->sessions_max_tenant,
                   config->sessions_max);
}

static uint64_t most_bytes(const struct config *config, const char *owner) {
    const struct config_tenant *tenant = config_find_tenant(config, owner);
    return part_of(config, tenant != NULL ? tenant->stored_bytes : 0, config->sessions_tenant_bytes,
                   config->sessions_bytes);
}

static unsigned count_of(const struct sessions *all, const char *owner) {
    const struct session *session;
    unsigned count = 0;
    TAILQ_FOREACH(session, &all->list, link) count += strcmp(session->owner, owner) == 0;
    return count;
}

/* The one that has not been used for longest. */
static struct session *oldest_idle(struct sessions *all, const char *owner,
                                   const struct session *keep) {
    struct session *session;
    TAILQ_FOREACH(session, &all->list, link) {
        if (session != keep && session->at == SESSION_IDLE && strcmp(session->owner, owner) == 0)
            return session;
    }
    return NULL;
}

int share_make_room(struct sessions *all, const char *owner, unsigned more,
                    const struct session *keep, struct error *err) {
    uint64_t most = most_sessions(all->config, owner), total = all->config->sessions_max;
    if (more > most)
        return error_set(err, PA_INVALID_ARGUMENT,
                         "%u sessions at once are more than the %llu that you may have "
                         "(sessions.max_tenant)",
                         more, (unsigned long long)most);
    for (;;) {
        bool full = all->count + more > total;
        if (!full && count_of(all, owner) + more <= most) return 0;
        struct session *session = oldest_idle(all, owner, keep);
        if (session == NULL)
            return error_set(err, PA_OVERLOADED,
                             full ? "all %llu sessions (sessions.max) are taken; retry in 1000 ms"
                                  : "all of your %llu sessions (sessions.max_tenant) are in a turn "
                                    "or at work; retry in 1000 ms",
                             (unsigned long long)(full ? total : most));
        session_end(session,
                    full ? "you needed its place (sessions.max); it was your oldest idle one"
                         : "you needed its place (sessions.max_tenant); it was your oldest "
                           "idle one");
    }
}

/* What it has, or all where `owner` is NULL: files of sessions and checkpoints with what may come
 * to them, and interpreters, each once. */
static uint64_t stored_bytes(const struct sessions *all, const char *owner) {
    const struct session *session;
    const struct checkpoint *checkpoint;
    const struct module *module;
    uint64_t bytes = 0;
    TAILQ_FOREACH(session, &all->list, link) {
        if (owner != NULL && strcmp(session->owner, owner) != 0) continue;
        bytes = count_add(bytes, session->used.bytes);
        bytes = count_add(bytes, count_add(session->reserved_bytes, session->put_bytes));
        TAILQ_FOREACH(checkpoint, &session->checkpoints, link)
        bytes = count_add(bytes, checkpoint->used.bytes);
    }
    TAILQ_FOREACH(module, &all->modules, link) {
        TAILQ_FOREACH(session, &all->list, link) {
            if (session->module != module || (owner != NULL && strcmp(session->owner, owner) != 0))
                continue;
            bytes = count_add(bytes, module->bytes);
            break;
        }
    }
    return bytes;
}

uint64_t share_free_bytes(const struct sessions *all, const char *owner) {
    uint64_t most = most_bytes(all->config, owner), total = all->config->sessions_bytes;
    uint64_t own = stored_bytes(all, owner), others = stored_bytes(all, NULL);
    uint64_t free_own = count_less(most, own), free_all = count_less(total, others);
    return free_own < free_all ? free_own : free_all;
}

int share_check(const struct sessions *all, const char *owner, uint64_t more_bytes,
                struct error *err) {
    uint64_t left = share_free_bytes(all, owner);
    if (more_bytes <= left) return 0;
    return error_set(
        err, PA_OVERLOADED,
        "files of your sessions, their checkpoints and interpreters may take %llu bytes "
        "more, this takes %llu (sessions.tenant_bytes, sessions.max_bytes): close "
        "sessions that are not needed",
        (unsigned long long)left, (unsigned long long)more_bytes);
}

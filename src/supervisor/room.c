/* Which interpreters stay started when there are too many: those that are installed are for all,
 * and a caller's own module makes room among its caller's others. */
#include "supervisor/internal.h"

#include <string.h>

static bool is_idle(const struct zygote_process *zygote) {
    return zygote->state == ZYGOTE_IS_READY && zygote->waiting_count == 0;
}

static bool is_of(const struct zygote_process *zygote, const char *owner) {
    return strcmp(zygote->owner, owner) == 0;
}

/* The least recently used that is idle: of `owner`, or where that is NULL, of any single tenant. */
static struct zygote_process *oldest(struct supervisor *s, const char *owner) {
    struct zygote_process *zygote, *found = NULL;
    TAILQ_FOREACH(zygote, &s->zygotes, link) {
        bool fits = owner != NULL ? is_of(zygote, owner) : zygote->owner[0] != 0;
        if (!fits || !is_idle(zygote)) continue;
        if (found == NULL || zygote->used_at < found->used_at) found = zygote;
    }
    return found;
}

static uint32_t count_of(const struct supervisor *s, const char *owner) {
    const struct zygote_process *zygote;
    uint32_t count = 0;
    TAILQ_FOREACH(zygote, &s->zygotes, link)
    count += zygote->state != ZYGOTE_IS_DEAD && !zygote->retiring && is_of(zygote, owner);
    return count;
}

void zygote_name_owner(const struct supervisor_run *run, char owner[PACKET_TENANT_BYTES]) {
    bool is_own = run->warm && run->code->interpreter == NULL;
    (void)strcpy(owner, is_own ? run->tenant->name : "");
}

bool zygote_make_room(struct supervisor *s, const char *owner, uint32_t share) {
    struct zygote_process *least = NULL;
    if (owner[0] != 0 && count_of(s, owner) >= share) {
        least = oldest(s, owner);
        if (least == NULL) return false;
    } else if (s->zygote_count >= s->config.max_zygotes) {
        least = owner[0] != 0 ? oldest(s, owner) : NULL;
        if (least == NULL) least = oldest(s, NULL);
        if (least == NULL && owner[0] == 0) least = oldest(s, "");
    }
    if (least != NULL) zygote_retire(least);
    return true;
}

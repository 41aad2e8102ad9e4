#include "net/places.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "server/sessions.h"
#include "tools/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* Long enough for a path of its own, and a run's below it. */
enum { MAX_TEMP_BYTES = 400 };

bool places_can_be_given(uid_t user) {
    _cleanup_(fd_closep) int fd = memfd_create("owner", MFD_CLOEXEC);
    return fd >= 0 && fchown(fd, user, user) == 0;
}

struct taking {
    uid_t former, user;
};

/* Files of others are left alone; hard links lead nowhere else, as guests cannot make them to what
 * is not in here. */
static int take(void *context, const struct folder_place *place, const struct stat *st) {
    const struct taking *t = context;
    if (st->st_uid != t->former) return 0;
    return fchownat(place->dir, place->name, t->user, t->user, AT_SYMLINK_NOFOLLOW) == 0 ? 0
                                                                                         : -errno;
}

static void take_line(int dir, const char *name, struct taking *t) {
    struct stat st;
    _cleanup_(fd_closep) int line =
        openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (line < 0 || fstat(line, &st) != 0 || st.st_uid != t->former) return;
    int result = folder_walk(line, -1, take, t);
    if (result == 0 && fchown(line, t->user, t->user) != 0) result = -errno;
    if (result != 0)
        log_event(LOG_ERROR, "sessions", "a session cannot be given to its server's user",
                  {"session", name, 0}, {"error", strerror(-result), 0});
}

/* The sessions of a server that was us and is another user now. The folder itself comes last: who
 * was interrupted begins anew. */
static int take_over(int dir, uid_t user) {
    struct stat st;
    struct dirent **entries = NULL;
    if (fstat(dir, &st) != 0) return -errno;
    bool shared = st.st_mode & S_IWOTH; /* such as /tmp: nobody's to take */
    if (st.st_uid == user || shared) return 0;
    struct taking t = {.former = st.st_uid, .user = user};
    int count = scandirat(dir, ".", &entries, NULL, NULL);
    for (int i = 0; i < count; i++) {
        if (sessions_is_own(entries[i]->d_name)) take_line(dir, entries[i]->d_name, &t);
        free(entries[i]);
    }
    free(entries);
    return fchown(dir, user, user) == 0 ? 0 : -errno;
}

static int open_sessions(struct places *p, const struct config *config, uid_t user,
                         struct error *err) {
    char dir[PATH_MAX];
    if (sessions_path(config->sessions_dir, dir, sizeof dir, err) != 0 ||
        sessions_make_dir(dir, err) != 0)
        return -1;
    p->folders[0] = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int result = p->folders[0] >= 0 ? take_over(p->folders[0], user) : -errno;
    if (result != 0) return error_set_errno(err, PA_INTERNAL, -result, "sessions.dir: %s", dir);
    (void)snprintf(p->sessions, sizeof p->sessions, "/proc/self/fd/%d", p->folders[0]);
    return 0;
}

static int make_runs(struct places *p, uid_t user, struct error *err) {
    const char *temp = getenv("TMPDIR");
    char name[PLACE_NAME_BYTES], path[MAX_TEMP_BYTES + PLACE_NAME_BYTES];
    if (temp == NULL) temp = "/tmp";
    if (strlen(temp) > MAX_TEMP_BYTES)
        return error_set(err, PA_INVALID_ARGUMENT, "TMPDIR: the path is too long");
    (void)snprintf(path, sizeof path, "%s/polyagent-front-XXXXXX", temp);
    if (mkdtemp(path) == NULL)
        return error_set_errno(err, PA_INTERNAL, errno, "make a folder %s", path);
    p->folders[1] = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool whole = realpath(path, p->runs) != NULL; /* $TMPDIR may be relative */
    if (!whole || p->folders[1] < 0 || fchown(p->folders[1], user, user) != 0)
        return error_set_errno(err, PA_INTERNAL, errno, "the folder %s", path);
    (void)snprintf(name, sizeof name, "/proc/self/fd/%d", p->folders[1]);
    return setenv("TMPDIR", name, 1) == 0 ? 0 : error_set(err, PA_INTERNAL, "out of memory");
}

int places_make(struct places *p, const struct config *config, uid_t user, struct error *err) {
    *p = (struct places){.folders = {-1, -1}};
    return open_sessions(p, config, user, err) == 0 ? make_runs(p, user, err) : -1;
}

void places_close(struct places *p) {
    for (int i = 0; i < PLACES; i++)
        fd_closep(&p->folders[i]);
}

/* The sessions that there are, in memory and on disk. */
#include "server/sessions_internal.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/json_text.h"
#include "config/state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

enum { IDLE_LOOK_US = 1000000, MAX_META_BYTES = 128 << 20 };
#define ID_LETTERS "0123456789abcdef"
#define TRASH "trash"

int sessions_path(const char *given, char *out, size_t size, struct error *err) {
    return state_path(given, "sessions", "sessions.dir", out, size, err);
}

struct session *session_by_id(struct sessions *all, const char *id) {
    struct session *session;
    TAILQ_FOREACH(session, &all->list, link) {
        if (id != NULL && strcmp(session->id, id) == 0) return session;
    }
    return NULL;
}

const struct ended *session_ended(const struct sessions *all, const char *id) {
    for (unsigned i = 0; i < MAX_ENDED && i < all->ended_count; i++)
        if (strcmp(all->ended[i].id, id) == 0) return &all->ended[i];
    return NULL;
}

unsigned sessions_count(const struct sessions *all) {
    return all->count;
}

void session_folder(const struct session *session, const char *suffix,
                    char out[SESSION_PATH_BYTES]) {
    (void)snprintf(out, SESSION_PATH_BYTES, "%s/files/%s%s", session->line->id, session->id,
                   suffix);
}

void checkpoint_folder(const struct session *session, const struct checkpoint *checkpoint,
                       char out[SESSION_PATH_BYTES]) {
    (void)snprintf(out, SESSION_PATH_BYTES, "%s/checkpoints/%s@%s", session->line->id, session->id,
                   checkpoint->id);
}

static void meta_path(const struct session *session, char out[SESSION_PATH_BYTES]) {
    (void)snprintf(out, SESSION_PATH_BYTES, "%s/%s.json", session->line->id, session->id);
}

int sessions_open_folder(const struct sessions *all, const char *path, struct error *err) {
    int fd = openat(all->dir_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 ? fd : error_set_errno(err, PA_INTERNAL, errno, "open %s/%s", all->dir, path);
}

struct state *state_make(const struct session *session, uint64_t node) {
    struct state *state = calloc(1, sizeof *state);
    if (state == NULL) return NULL;
    *state = (struct state){.node = node, .references = 1};
    memcpy(state->at, session->id, sizeof state->at);
    return state;
}

struct state *state_ref(struct state *state) {
    if (state != NULL) state->references++;
    return state;
}

void state_unref(struct sessions *all, struct state *state) {
    if (state == NULL || --state->references > 0) return;
    remote_drop_node(all->remote, state->node);
    free(state);
}

static void new_name(char *out, size_t size) {
    uint8_t bytes[(SESSION_ID_BYTES - 1) / 2];
    randombytes_buf(bytes, sizeof bytes);
    (void)sodium_bin2hex(out, size, bytes, sizeof bytes);
}

/* What is being removed. */
struct removal {
    struct work_job job;
    int dir_fd; /* of all sessions */
    char path[SESSION_PATH_BYTES];
};

static void remove_act(struct work_job *job) {
    const struct removal *removal = (const struct removal *)job;
    if (unlinkat(removal->dir_fd, removal->path, 0) != 0 && errno != ENOENT)
        folder_remove(removal->dir_fd, removal->path);
}

static void remove_done(struct work_job *job) {
    free(job);
}

static void remove_in_thread(struct sessions *all, const char *path, const char *tenant) {
    struct error err = {0};
    struct removal *removal = calloc(1, sizeof *removal);
    if (removal != NULL) {
        *removal =
            (struct removal){.job = {.kind = WORK_REMOVAL, .act = remove_act, .done = remove_done},
                             .dir_fd = all->dir_fd};
        (void)snprintf(removal->path, sizeof removal->path, "%s", path);
        (void)snprintf(removal->job.tenant, sizeof removal->job.tenant, "%s", tenant);
        if (work_submit(all->work, &removal->job, &err) == 0) return;
        free(removal);
    }
    /* It stays in the trash until the next server. */
    log_event(LOG_ERROR, "sessions", "a folder is not removed", {"path", path, 0},
              {"error", err.text, 0});
}

void sessions_discard(struct sessions *all, const char *path, const char *tenant) {
    char id[SESSION_ID_BYTES], trash[SESSION_PATH_BYTES];
    new_name(id, sizeof id);
    (void)snprintf(trash, sizeof trash, TRASH "/%s", id);
    if (renameat(all->dir_fd, path, all->dir_fd, trash) == 0)
        remove_in_thread(all, trash, tenant);
    else if (errno != ENOENT)
        log_event(LOG_ERROR, "sessions", "a folder cannot be taken away", {"path", path, 0},
                  {"error", strerror(errno), 0});
}

/* Of a former server. */
static void empty_trash(struct sessions *all) {
    char path[SESSION_PATH_BYTES];
    struct dirent **entries = NULL;
    int count = scandirat(all->dir_fd, TRASH, &entries, NULL, NULL);
    for (int i = 0; i < count; i++) {
        (void)snprintf(path, sizeof path, TRASH "/%.200s", entries[i]->d_name);
        if (entries[i]->d_name[0] != '.') remove_in_thread(all, path, "");
        free(entries[i]);
    }
    free(entries);
}

static void line_unref(struct sessions *all, struct line *line, const char *tenant) {
    if (line == NULL || --line->references > 0) return;
    sessions_discard(all, line->id, tenant);
    free(line);
}

static int make_folder(const struct sessions *all, const char *path, struct error *err) {
    if (mkdirat(all->dir_fd, path, 0700) == 0 || errno == EEXIST) return 0;
    return error_set_errno(err, PA_INTERNAL, errno, "make %s/%s", all->dir, path);
}

int session_make_folders(const struct session *session, struct error *err) {
    static const char *const suffixes[] = {"", ".output"};
    static const char *const parts[] = {"", "/files", "/checkpoints"};
    char path[SESSION_PATH_BYTES];
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        (void)snprintf(path, sizeof path, "%s%s", session->line->id, parts[i]);
        if (make_folder(session->all, path, err) != 0) return -1;
    }
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        session_folder(session, suffixes[i], path);
        if (make_folder(session->all, path, err) != 0) return -1;
    }
    return 0;
}

int session_staging(const struct session *session, const char *suffix, char out[SESSION_PATH_BYTES],
                    struct error *err) {
    (void)snprintf(out, SESSION_PATH_BYTES, "%s/checkpoints/%s@%s", session->line->id, session->id,
                   suffix);
    if (make_folder(session->all, out, err) != 0) return -1;
    folder_empty(session->all->dir_fd, out); /* of a server that was killed */
    return sessions_open_folder(session->all, out, err);
}

/* With an id and a line, but without folders. */
static struct session *new_session(struct sessions *all, const char *id, struct line *line) {
    struct session *session = calloc(1, sizeof *session);
    if (session == NULL) return NULL;
    *session = (struct session){.all = all,
                                .line = line,
                                .created_s = time(NULL),
                                .used_ns = clock_now_ns(),
                                .input_fd = -1};
    (void)snprintf(session->id, sizeof session->id, "%s", id);
    TAILQ_INIT(&session->checkpoints);
    TAILQ_INSERT_TAIL(&all->list, session, link);
    line->references++;
    all->count++;
    return session;
}

struct session *session_make(struct sessions *all, const char *owner, const struct tool *tool,
                             struct session *parent, struct error *err) {
    char id[SESSION_ID_BYTES];
    new_name(id, sizeof id);
    struct line *line = parent != NULL ? parent->line : calloc(1, sizeof *line);
    if (line != NULL && parent == NULL) memcpy(line->id, id, sizeof line->id);
    struct session *session = line != NULL ? new_session(all, id, line) : NULL;
    if (session == NULL) {
        if (parent == NULL) free(line);
        error_set(err, PA_INTERNAL, "a session: out of memory");
        return NULL;
    }
    session->tool = tool;
    (void)snprintf(session->owner, sizeof session->owner, "%s", owner);
    if (parent != NULL) memcpy(session->parent, parent->id, sizeof session->parent);
    session->used.known = true; /* there is nothing yet */
    return session;
}

int session_save(const struct session *session, const char *digest, struct error *err) {
    char path[SESSION_PATH_BYTES], partial[SESSION_PATH_BYTES + 8];
    int dir = session->all->dir_fd;
    if (session->all->is_temporary) return 0;
    json_t *all = json_pack("{s:s, s:s, s:s, s:I, s:O}", "owner", session->owner, "tool",
                            session->tool->name, "parent", session->parent, "created",
                            (json_int_t)session->created_s, "parameters", session->parameters);
    if (all != NULL && digest != NULL)
        (void)json_object_set_new(all, "module", json_string(digest));
    meta_path(session, path);
    (void)snprintf(partial, sizeof partial, "%s.new", path);
    char *text = all != NULL ? json_text(all, JSON_INDENT(1)) : NULL;
    json_decref(all);
    if (text == NULL) return error_set(err, PA_INTERNAL, "a session: out of memory");
    _cleanup_(fd_closep) int fd =
        openat(dir, partial, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    int result = fd < 0 ? -errno : fd_write_all(fd, text, strlen(text));
    free(text);
    if (result == 0 && (fsync(fd) != 0 || renameat(dir, partial, dir, path) != 0)) result = -errno;
    if (result == 0) return 0;
    if (fd >= 0) (void)unlinkat(dir, partial, 0);
    return error_set_errno(err, PA_INTERNAL, -result, "write %s/%s", session->all->dir, path);
}

void session_touch(struct session *session) {
    session->used_ns = clock_now_ns();
    TAILQ_REMOVE(&session->all->list, session, link);
    TAILQ_INSERT_TAIL(&session->all->list, session, link);
}

bool session_interrupt(struct session *session) {
    if (session->run == NULL) return false;
    session->interrupted = true;
    remote_interrupt(session->run);
    return true;
}

struct checkpoint *checkpoint_make(struct session *session, struct error *err) {
    struct checkpoint *checkpoint = calloc(1, sizeof *checkpoint);
    if (checkpoint == NULL) {
        error_set(err, PA_INTERNAL, "a checkpoint: out of memory");
        return NULL;
    }
    checkpoint->created_s = time(NULL);
    checkpoint->turns = session->turns;
    (void)snprintf(checkpoint->id, sizeof checkpoint->id, "c%u", ++session->last_checkpoint);
    checkpoint->state = state_ref(session->state);
    return checkpoint;
}

void checkpoint_add(struct session *session, struct checkpoint *checkpoint) {
    TAILQ_INSERT_TAIL(&session->checkpoints, checkpoint, link);
    session->checkpoint_count++;
}

void checkpoint_free(struct session *session, struct checkpoint *checkpoint, bool discarded) {
    char path[SESSION_PATH_BYTES];
    checkpoint_folder(session, checkpoint, path);
    if (discarded) sessions_discard(session->all, path, session->owner);
    state_unref(session->all, checkpoint->state);
    free(checkpoint);
}

static void remember_end(const struct session *session, const char *why) {
    struct ended *ended = &session->all->ended[session->all->ended_count++ % MAX_ENDED];
    memcpy(ended->id, session->id, sizeof ended->id);
    memcpy(ended->owner, session->owner, sizeof ended->owner);
    (void)snprintf(ended->why, sizeof ended->why, "%s", why);
}

/* Forgets it; its files stay, and those of checkpoints unless they are `discarded`. */
static void release(struct session *session, bool discarded) {
    struct sessions *all = session->all;
    struct checkpoint *checkpoint;
    while ((checkpoint = TAILQ_FIRST(&session->checkpoints)) != NULL) {
        TAILQ_REMOVE(&session->checkpoints, checkpoint, link);
        checkpoint_free(session, checkpoint, discarded);
    }
    if (session->look != NULL) sessions_forget(session->look);
    state_unref(all, session->state);
    fd_closep(&session->input_fd);
    json_decref(session->parameters);
    TAILQ_REMOVE(&all->list, session, link);
    all->count--;
    free(session);
}

void session_end(struct session *session, const char *why) {
    char path[SESSION_PATH_BYTES], tenant[SESSION_OWNER_BYTES];
    struct sessions *all = session->all;
    struct line *line = session->line;
    struct module *module = session->module;
    if (session->at != SESSION_IDLE) {
        session->ending = true;
        (void)session_interrupt(session);
        return;
    }
    if (why != NULL) remember_end(session, why);
    meta_path(session, path);
    (void)unlinkat(all->dir_fd, path, 0);
    session_folder(session, "", path);
    sessions_discard(all, path, session->owner);
    session_folder(session, ".output", path);
    sessions_discard(all, path, session->owner);
    memcpy(tenant, session->owner, sizeof tenant);
    release(session, true);
    module_unref(all, module);
    line_unref(all, line, tenant);
}

void session_rest(struct session *session) {
    session->at = SESSION_IDLE;
    session->run = NULL;
    session->reserved_bytes = 0;
    fd_closep(&session->input_fd);
    if (session->ending) session_end(session, "it was closed");
}

/* Those that nobody has used for too long. */
static int on_idle(sd_event_source *source, uint64_t now_us, void *context) {
    struct sessions *all = context;
    struct session *session, *next;
    char why[96];
    uint64_t now_ns = clock_now_ns(), most_ns = all->config->sessions_idle_seconds * NS_PER_SECOND;
    for (session = TAILQ_FIRST(&all->list); session != NULL; session = next) {
        next = TAILQ_NEXT(session, link);
        if (now_ns - session->used_ns < most_ns) break;
        if (session->at != SESSION_IDLE) continue;
        (void)snprintf(why, sizeof why, "it was idle for %llu s (sessions.idle_seconds)",
                       (unsigned long long)all->config->sessions_idle_seconds);
        session_end(session, why);
    }
    (void)now_us;
    int result = sd_event_source_set_time_relative(source, IDLE_LOOK_US);
    return result < 0 ? result : sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static bool is_id(const char *text, size_t length) {
    return length == SESSION_ID_BYTES - 1 && strspn(text, ID_LETTERS) >= length;
}

bool sessions_is_own(const char *name) {
    return is_id(name, strlen(name)) || strcmp(name, TRASH) == 0 ||
           strcmp(name, SESSION_INTERPRETERS) == 0;
}

/* One of a former server. False if it is none, or cannot be used. */
static bool restore(struct sessions *all, const char *name, struct line *line) {
    char path[SESSION_PATH_BYTES + NAME_MAX + 2], id[SESSION_ID_BYTES];
    struct buffer bytes = {0};
    struct error err = {0};
    const char *dot = strrchr(name, '.');
    if (dot == NULL || strcmp(dot, ".json") != 0 || !is_id(name, (size_t)(dot - name)))
        return false;
    (void)snprintf(id, sizeof id, "%.*s", SESSION_ID_BYTES - 1, name);
    (void)snprintf(path, sizeof path, "%s/%s", line->id, name);
    _cleanup_(fd_closep) int fd =
        openat(all->dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    json_t *meta = fd >= 0 && buffer_read_fd(&bytes, fd, MAX_META_BYTES) == 0
                       ? json_loadb((const char *)bytes.data, bytes.size, 0, NULL)
                       : NULL;
    buffer_fini(&bytes);
    const char *owner = json_string_value(json_object_get(meta, "owner")),
               *tool = json_string_value(json_object_get(meta, "tool")),
               *parent = json_string_value(json_object_get(meta, "parent"));
    json_t *parameters = json_object_get(meta, "parameters");
    const struct tool *found = tool != NULL ? tool_find(tool) : NULL;
    struct session *session = NULL;
    if (owner != NULL && parent != NULL && json_is_object(parameters) && found != NULL &&
        found->language != NULL)
        session = new_session(all, id, line);
    if (session != NULL) {
        session->tool = found;
        session->parameters = json_incref(parameters);
        session->restored = true;
        session->created_s = (time_t)json_integer_value(json_object_get(meta, "created"));
        (void)snprintf(session->owner, sizeof session->owner, "%s", owner);
        (void)snprintf(session->parent, sizeof session->parent, "%s", parent);
        session->module = module_restore(all, json_string_value(json_object_get(meta, "module")));
        if (session_make_folders(session, &err) != 0)
            log_event(LOG_ERROR, "sessions", "a session is not whole", {"error", err.text, 0});
    }
    json_decref(meta);
    return session != NULL;
}

/* A line of descent; what is of no use is removed. */
static void restore_line(struct sessions *all, const char *id) {
    char checkpoints[SESSION_PATH_BYTES];
    struct dirent **entries = NULL;
    struct line *line = calloc(1, sizeof *line);
    if (line == NULL) return;
    line->references = 1;
    (void)snprintf(line->id, sizeof line->id, "%s", id);
    (void)snprintf(checkpoints, sizeof checkpoints, "%s/checkpoints", id);
    sessions_discard(all, checkpoints, "");
    int count = scandirat(all->dir_fd, id, &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        (void)restore(all, entries[i]->d_name, line);
        free(entries[i]);
    }
    free(entries);
    line_unref(all, line, "");
}

static void restore_all(struct sessions *all) {
    struct dirent **entries = NULL;
    int count = scandirat(all->dir_fd, ".", &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        if (is_id(name, strlen(name))) restore_line(all, name);
        free(entries[i]);
    }
    free(entries);
}

int sessions_make_dir(const char *dir, struct error *err) {
    char path[SESSION_PATH_BYTES];
    for (const char *slash = strchr(dir + 1, '/');; slash = strchr(slash + 1, '/')) {
        (void)snprintf(path, sizeof path, "%.*s",
                       slash != NULL ? (int)(slash - dir) : (int)strlen(dir), dir);
        if (mkdir(path, 0700) != 0 && errno != EEXIST)
            return error_set_errno(err, PA_INTERNAL, errno, "make %s", path);
        if (slash == NULL) return 0;
    }
}

static int open_dir(struct sessions *all, const char *dir, struct error *err) {
    const char *temp = getenv("TMPDIR");
    int length = dir != NULL ? snprintf(all->dir, sizeof all->dir, "%s", dir)
                             : snprintf(all->dir, sizeof all->dir, "%s/polyagent-sessions-XXXXXX",
                                        temp != NULL ? temp : "/tmp");
    if (length <= 0 || (size_t)length >= sizeof all->dir)
        return error_set(err, PA_INVALID_ARGUMENT, "sessions.dir: the path is too long");
    if (dir == NULL && mkdtemp(all->dir) == NULL)
        return error_set_errno(err, PA_INTERNAL, errno, "make %s", all->dir);
    if (dir != NULL && sessions_make_dir(dir, err) != 0) return -1;
    all->is_temporary = dir == NULL;
    all->dir_fd = open(all->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (all->dir_fd < 0) return error_set_errno(err, PA_INTERNAL, errno, "open %s", all->dir);
    if (flock(all->dir_fd, LOCK_EX | LOCK_NB) == 0) return 0;
    return errno == EWOULDBLOCK
               ? error_set(
                     err, PA_INVALID_ARGUMENT,
                     "sessions.dir: another server keeps its sessions in %s; give this one another "
                     "folder",
                     all->dir)
               : error_set_errno(err, PA_INTERNAL, errno, "lock %s", all->dir);
}

struct sessions *sessions_new(sd_event *event, struct work *work, struct remote *remote,
                              const struct config *config, const struct tool_rules *rules,
                              const char *dir, struct error *err) {
    struct sessions *all = calloc(1, sizeof *all);
    if (all == NULL) {
        error_set(err, PA_INTERNAL, "sessions: out of memory");
        return NULL;
    }
    *all = (struct sessions){.event = event,
                             .work = work,
                             .remote = remote,
                             .config = config,
                             .rules = rules,
                             .dir_fd = -1};
    TAILQ_INIT(&all->list);
    TAILQ_INIT(&all->modules);
    if (open_dir(all, dir, err) == 0 && make_folder(all, TRASH, err) == 0) {
        int result = sd_event_add_time_relative(event, &all->idle, CLOCK_MONOTONIC, IDLE_LOOK_US,
                                                IDLE_LOOK_US, on_idle, all);
        if (result >= 0) {
            empty_trash(all);
            if (!all->is_temporary) restore_all(all);
            modules_tidy(all);
            return all;
        }
        error_set_errno(err, PA_INTERNAL, -result, "sessions: watch the time");
    }
    sessions_free(all);
    return NULL;
}

void sessions_free(struct sessions *all) {
    struct session *session;
    if (all == NULL) return;
    while ((session = TAILQ_FIRST(&all->list)) != NULL) {
        struct line *line = session->line;
        release(session, false); /* checkpoints end with the next server's start */
        if (--line->references == 0) free(line);
    }
    struct module *module;
    while ((module = TAILQ_FIRST(&all->modules)) != NULL) {
        TAILQ_REMOVE(&all->modules, module, link);
        free(module);
    }
    sd_event_source_disable_unref(all->idle);
    if (all->is_temporary && all->dir_fd >= 0) folder_remove(AT_FDCWD, all->dir);
    fd_closep(&all->dir_fd);
    free(all);
}

#include "net/broker.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/opener.h"
#include "net/seal.h"
#include "supervisor/socket.h"
#include "tools/folder.h"
#include "tools/module_file.h"
#include "tools/tools.h"
#include "worker/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum { NAME_BYTES = 4096, ANSWER_SECONDS = 5, ENDING_SECONDS = 1 };

struct request {
    uint32_t number; /* of the request; its answer has it, too */
    uint32_t kind;
    char name[NAME_BYTES];
};

struct answer {
    uint32_t number;
    int32_t status;  /* enum pa_status; PA_OK: a descriptor comes along */
    int32_t problem; /* errno */
    char text[sizeof((struct error *)0)->text];
};

/* The front's side. */

static struct {
    int socket;
    uint32_t number; /* of the last request */
    pthread_mutex_t lock;
} client = {.socket = -1, .lock = PTHREAD_MUTEX_INITIALIZER};

/* The answer to the last request; those to earlier ones, given up on, are passed over. A
 * descriptor, -1 or a negative errno. */
static int await(struct answer *answer) {
    int fds[WIRE_MAX_FDS];
    size_t count;
    const struct iovec part = {answer, sizeof *answer};
    for (;;) {
        ssize_t got = wire_receive(client.socket, &part, 1, fds, &count, 1);
        if (got == (ssize_t)sizeof *answer && answer->number == client.number) {
            int fd = answer->status == PA_OK && count == 1 ? steal_fd(&fds[0]) : -1;
            wire_close_fds(fds, count);
            return fd;
        }
        wire_close_fds(fds, count);
        if (got <= 0) return got == 0 ? -EPIPE : (int)got;
    }
}

static int ask(void *context, enum opener_kind kind, const char *name, struct error *err) {
    struct request request = {.kind = kind};
    struct answer answer = {.status = PA_INTERNAL};
    (void)context;
    if (strlen(name) >= sizeof request.name) {
        errno = ENAMETOOLONG;
        return error_set(err, PA_INVALID_ARGUMENT, "%.200s...: the name is too long", name);
    }
    (void)strcpy(request.name, name);
    (void)pthread_mutex_lock(&client.lock);
    request.number = ++client.number;
    const struct iovec part = {&request, sizeof request};
    int result = wire_send(client.socket, &part, 1, NULL, 0, 1);
    if (result == 0) result = await(&answer);
    (void)pthread_mutex_unlock(&client.lock);
    if (result >= 0) return result;
    if (result == -1) {
        answer.text[sizeof answer.text - 1] = 0;
        error_set(err, answer.status > 0 ? (enum pa_status)answer.status : PA_INTERNAL, "%s",
                  answer.text);
        errno = answer.problem > 0 ? answer.problem : EIO;
        return -1;
    }
    errno = result == -EAGAIN ? ETIMEDOUT : -result;
    return error_set_errno(err, PA_INTERNAL, errno, "ask for %.200s", name);
}

/* The broker's side. */

/* What a configuration allows. */
struct allowed {
    struct config config;    /* owned */
    struct tool_rules rules; /* owned */
};

struct broker {
    const struct broker_job *job;
    struct allowed *allowed; /* owned */
};

static void allowed_free(struct allowed *allowed) {
    if (allowed == NULL) return;
    tool_rules_fini(&allowed->rules);
    config_fini(&allowed->config);
    free(allowed);
}

static struct allowed *allowed_new(const char *config_path, struct error *err) {
    struct allowed *allowed = calloc(1, sizeof *allowed);
    if (allowed == NULL) {
        error_set(err, PA_INTERNAL, "out of memory");
        return NULL;
    }
    if (config_load(&allowed->config, config_path, err) != 0) {
        free(allowed);
        return NULL;
    }
    if (tool_rules_init(&allowed->rules, &allowed->config, err) == 0) return allowed;
    config_fini(&allowed->config);
    free(allowed);
    return NULL;
}

static bool is_same(const char *wanted, const char *path) {
    return wanted != NULL && wanted[0] != 0 && strcmp(wanted, path) == 0;
}

static bool is_interpreters_file(const struct tool_rules *rules, const char *path) {
    char folder[INTERPRETER_PATH_BYTES], file[INTERPRETER_PATH_BYTES * 2];
    for (size_t i = 0; i < rules->interpreters.count; i++)
        if (is_same(rules->interpreters.list[i].module, path)) return true;
    for (int i = 0; i < TOOL_COUNT; i++) {
        if (is_same(rules->own_interpreters[i], path)) return true;
        for (size_t n = 0; tools[i].language != NULL && language_folder(n, folder, sizeof folder);
             n++) {
            (void)snprintf(file, sizeof file, "%s/%s", folder, tools[i].language->file);
            if (is_same(file, path)) return true;
        }
    }
    return false;
}

static bool is_named_file(const struct broker *broker, const char *path) {
    const struct config *c = &broker->allowed->config;
    return is_same(broker->job->config_path, path) || is_same(c->tokens_file, path) ||
           is_same(c->certificate, path) || is_same(c->key, path) || is_same(c->client_ca, path) ||
           is_same(c->llm_key_file, path) || is_interpreters_file(&broker->allowed->rules, path);
}

/* Folders that runs see: those of the configuration, and those of interpreters. */
static bool is_named_folder(const struct broker *broker, const char *path) {
    const struct interpreters *all = &broker->allowed->rules.interpreters;
    bool found = false;
    for (char **allowed = broker->allowed->config.allowed_paths; *allowed != NULL; allowed++)
        if (is_same(*allowed, path)) return true;
    for (size_t i = 0; i < all->count && !found; i++) {
        struct interpreter_start start;
        struct error ignored = {0};
        if (interpreter_start_init(&start, &all->list[i], 0, &ignored) != 0) continue;
        for (size_t n = 0; n < start.mount_count && !found; n++)
            found = is_same(start.mount_paths[n], path);
        interpreter_start_fini(&start);
    }
    return found;
}

/* Through links, as whoever has configured the path may have meant it; but only what it is said to
 * be, and without waiting for anybody. */
static int open_named(const char *path, bool folder, struct error *err) {
    struct stat st;
    _cleanup_(fd_closep) int fd =
        open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | (folder ? O_DIRECTORY : 0));
    if (fd < 0 || fstat(fd, &st) != 0) {
        enum pa_status status = errno == ENOENT ? PA_NOT_FOUND : PA_DENIED;
        return error_set_errno(err, status, errno, "%s", path);
    }
    if (!folder && !S_ISREG(st.st_mode)) {
        errno = EACCES;
        return error_set(err, PA_DENIED, "%s: is no file", path);
    }
    return steal_fd(&fd);
}

static int refuse(const char *path, struct error *err) {
    errno = EACCES;
    return error_set(err, PA_DENIED, "%.200s: the configuration does not name it", path);
}

/* In a file without a name, for the front to read. */
static int manifests_file(struct error *err) {
    json_t *all = interpreters_gather(err);
    char *text = all != NULL ? json_dumps(all, JSON_COMPACT) : NULL;
    json_decref(all);
    if (text == NULL) {
        if (err->code == PA_OK) error_set(err, PA_INTERNAL, "interpreters: out of memory");
        errno = EINVAL;
        return -1;
    }
    int fd = memfd_create("manifests", MFD_CLOEXEC);
    int result = fd >= 0 ? fd_write_all(fd, text, strlen(text)) : -errno;
    free(text);
    if (result == 0 && lseek(fd, 0, SEEK_SET) == 0) return fd;
    fd_closep(&fd);
    return error_set_errno(err, PA_INTERNAL, -result, "interpreters");
}

static int reload(struct broker *broker, struct error *err) {
    struct allowed *allowed = allowed_new(broker->job->config_path, err);
    if (allowed == NULL) {
        errno = EINVAL;
        return -1;
    }
    allowed_free(broker->allowed);
    broker->allowed = allowed;
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* A descriptor, or -1 with `err` and errno. */
static int handle(struct broker *broker, enum opener_kind kind, const char *name,
                  struct error *err) {
    const struct tool_rules *rules = &broker->allowed->rules;
    errno = EACCES;
    switch (kind) {
    case OPENER_FILE:
        return is_named_file(broker, name) ? open_named(name, false, err) : refuse(name, err);
    case OPENER_FOLDER:
        return is_named_folder(broker, name) ? open_named(name, true, err) : refuse(name, err);
    case OPENER_MODULE: return module_file_open(rules, name, err);
    case OPENER_INTERPRETER: return module_file_interpreter(rules, name, err);
    case OPENER_REGISTRY: return module_file_named(rules, name, err);
    case OPENER_MANIFESTS: return manifests_file(err);
    case OPENER_SOCKET: return socket_connect(broker->job->socket_path, false, err);
    case OPENER_RELOAD: return reload(broker, err);
    case OPENER_KINDS: break;
    }
    return refuse("no such request", err);
}

/* One request. False when the front is gone, or has lost its senses. */
static bool turn(struct broker *broker, int socket) {
    struct request request = {.number = 0};
    struct answer answer = {.number = 0};
    struct error err = {0};
    int fds[WIRE_MAX_FDS];
    size_t count;
    const struct iovec in = {&request, sizeof request}, out = {&answer, sizeof answer};
    ssize_t got = wire_receive(socket, &in, 1, fds, &count, 1);
    wire_close_fds(fds, count); /* it has nothing to give */
    if (got != (ssize_t)sizeof request || request.kind >= OPENER_KINDS ||
        memchr(request.name, 0, sizeof request.name) == NULL)
        return false;
    _cleanup_(fd_closep) int fd =
        handle(broker, (enum opener_kind)request.kind, request.name, &err);
    answer.number = request.number;
    if (fd < 0) {
        answer.problem = errno;
        answer.status = err.code != PA_OK ? (int32_t)err.code : PA_INTERNAL;
        (void)memcpy(answer.text, err.text, sizeof answer.text);
    }
    return wire_send(socket, &out, 1, &fd, fd >= 0, 1) == 0;
}

void broker_serve(const struct broker_job *job, int socket) {
    struct error err = {0};
    struct broker broker = {.job = job, .allowed = allowed_new(job->config_path, &err)};
    if (broker.allowed == NULL) (void)fprintf(stderr, "polyagent: serve: %s\n", err.text);
    while (broker.allowed != NULL && turn(&broker, socket)) {
    }
    allowed_free(broker.allowed);
    if (rmdir(job->runs) == 0 || errno == ENOENT) return;
    (void)sleep(ENDING_SECONDS); /* the workers that may still write there are being killed */
    folder_remove(AT_FDCWD, job->runs);
}

int broker_start(const struct broker_job *job, uint32_t layers, pid_t *pid, struct error *err) {
    int pair[2];
    const struct timeval patience = {.tv_sec = ANSWER_SECONDS};
    int result = wire_pair(pair);
    if (result != 0) return error_set_errno(err, PA_INTERNAL, -result, "a socket");
    *pid = fork();
    if (*pid == 0) {
        /* What is not its business it does not have: listening sockets above all. */
        (void)prctl(PR_SET_NAME, "polyagent-files");
        (void)prctl(PR_SET_PDEATHSIG, 0);
        if (dup2(pair[1], STDERR_FILENO + 1) < 0 || close_range(STDERR_FILENO + 2, ~0U, 0) != 0)
            _exit(1);
        if (seal_broker(layers, err) != 0) {
            (void)fprintf(stderr, "polyagent: serve: %s\n", err->text);
            _exit(1);
        }
        broker_serve(job, STDERR_FILENO + 1);
        _exit(0);
    }
    (void)close(pair[1]);
    if (*pid < 0 || setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) != 0) {
        result = errno;
        (void)close(pair[0]);
        return error_set_errno(err, PA_INTERNAL, result, "start the opener of files");
    }
    client.socket = pair[0];
    opener_set(ask, NULL);
    return pair[0];
}

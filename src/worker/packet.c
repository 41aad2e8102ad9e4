#include "worker/packet.h"

#include "base/cleanup.h"
#include "base/opener.h"
#include "sandbox/cache.h"
#include "sandbox/engine.h"
#include "worker/wire.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define MAGIC UINT32_C(0x50410001)
#define BODY_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)

void packet_init(struct packet *packet) {
    packet->header = (struct packet_header){.magic = MAGIC, .deadline_ns = UINT64_MAX};
    packet->body = NULL;
    packet->body_fd = -1;
    for (int i = 0; i < PACKET_FDS; i++)
        packet->fds[i] = -1;
    for (int i = 0; i < PACKET_MAX_MOUNTS; i++)
        packet->mount_fds[i] = -1;
}

void packet_fini(struct packet *packet) {
    free(packet->body);
    fd_closep(&packet->body_fd);
    wire_close_fds(packet->fds, PACKET_FDS);
    wire_close_fds(packet->mount_fds, PACKET_MAX_MOUNTS);
    packet_init(packet);
}

static int add_strings(struct buffer *body, const char *const *strings, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (buffer_append(body, strings[i], strlen(strings[i]) + 1) != 0) return -1;
    }
    return 0;
}

static int pack_body(struct packet *packet, const struct pa_job *job, struct error *err) {
    struct buffer body = {0};
    size_t strings = job->argc + job->env_count + job->mount_count;
    if (strings > PACKET_MAX_STRINGS) {
        return error_set(err, PA_INVALID_ARGUMENT, "argv and env: more than %d strings",
                         PACKET_MAX_STRINGS);
    }
    bool ok = buffer_append(&body, job->job_data, job->job_bytes) == 0 &&
              buffer_append(&body, job->stdin_data, job->stdin_bytes) == 0 &&
              buffer_append(&body, job->rehearsal_data, job->rehearsal_bytes) == 0 &&
              add_strings(&body, &job->invoke, job->invoke != NULL) == 0 &&
              add_strings(&body, job->argv, job->argc) == 0 &&
              add_strings(&body, job->env, job->env_count) == 0;
    for (size_t i = 0; i < job->mount_count && ok; i++)
        ok = add_strings(&body, &job->mounts[i].guest_path, 1) == 0;
    packet->body = body.data;
    packet->header.body_bytes = body.size;
    if (!ok) return error_set(err, PA_INTERNAL, "the job: out of memory");
    if (body.size > PACKET_MAX_BODY_BYTES) {
        return error_set(err, PA_INVALID_ARGUMENT,
                         "program, stdin and arguments: %zu bytes; "
                         "at most %d are possible",
                         body.size, PACKET_MAX_BODY_BYTES);
    }
    if (body.size <= PACKET_INLINE_BYTES) return 0;
    packet->header.flags |= PACKET_BODY_MEMFD;
    packet->body_fd = memfd_create("job", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int result = packet->body_fd < 0 ? -errno : fd_write_all(packet->body_fd, body.data, body.size);
    if (result == 0 && fcntl(packet->body_fd, F_ADD_SEALS, BODY_SEALS) != 0) result = -errno;
    if (result != 0) return error_set_errno(err, PA_INTERNAL, -result, "hand over the job's data");
    free(steal_ptr(packet->body));
    return 0;
}

static int pack_fd(struct packet *packet, enum packet_fd which, int fd, struct error *err) {
    packet->fds[which] = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (packet->fds[which] >= 0) return 0;
    return error_set_errno(err, PA_INVALID_ARGUMENT, errno, "descriptor %d of the job", fd);
}

static int pack_fds(struct packet *packet, const struct pa_job *job, struct error *err) {
    bool has_stdin = job->stdin_data == NULL && (job->stdin_fd > 0 || job->use_stdin_fd);
    if (has_stdin && pack_fd(packet, PACKET_STDIN, job->stdin_fd, err) != 0) return -1;
    if (job->use_output_fds && (pack_fd(packet, PACKET_STDOUT, job->stdout_fd, err) != 0 ||
                                pack_fd(packet, PACKET_STDERR, job->stderr_fd, err) != 0)) {
        return -1;
    }
    if (job->answer_fd > 0 && pack_fd(packet, PACKET_ANSWER, job->answer_fd, err) != 0) return -1;
    if (job->trace_fd > 0 && pack_fd(packet, PACKET_TRACE, job->trace_fd, err) != 0) return -1;
    if (job->profile_fd > 0 && pack_fd(packet, PACKET_PROFILE, job->profile_fd, err) != 0)
        return -1;
    if (job->coredump_fd > 0 && pack_fd(packet, PACKET_COREDUMP, job->coredump_fd, err) != 0) {
        return -1;
    }
    return 0;
}

static int pack_mounts(struct packet *packet, const struct pa_job *job, struct error *err) {
    if (job->mount_count > PACKET_MAX_MOUNTS) {
        return error_set(err, PA_INVALID_ARGUMENT, "mounts: at most %d", PACKET_MAX_MOUNTS);
    }
    for (size_t i = 0; i < job->mount_count; i++) {
        const struct pa_mount *mount = &job->mounts[i];
        if (mount->guest_path[0] == 0) {
            return error_set(err, PA_INVALID_ARGUMENT, "mount %s: the guest's name for it is empty",
                             mount->host_path);
        }
        packet->mount_fds[i] = opener_open(mount->host_path, O_DIRECTORY);
        if (packet->mount_fds[i] < 0) {
            enum pa_status status = errno == ENOENT ? PA_NOT_FOUND : PA_DENIED;
            return error_set_errno(err, status, errno, "mount %s", mount->host_path);
        }
        if (mount->writable && !mount->fixed) packet->header.writable_mounts |= UINT64_C(1) << i;
        if (mount->fixed) packet->header.fixed_mounts |= UINT64_C(1) << i;
    }
    packet->header.mount_count = (uint32_t)job->mount_count;
    return 0;
}

/* umask(2) can only be read by setting it, under the eyes of all threads; so it is read from /proc,
 * and once, as that takes a while. What cannot be read shares nothing. */
static uint32_t own_mask(void) {
    static _Atomic uint32_t known = UINT32_MAX;
    uint32_t mask = known;
    if (mask != UINT32_MAX) return mask;
    char line[128];
    mask = 077;
    FILE *status = fopen("/proc/self/status", "re");
    while (status != NULL && fgets(line, sizeof line, status) != NULL) {
        if (sscanf(line, "Umask: %o", &mask) == 1) break;
    }
    if (status != NULL) (void)fclose(status);
    known = mask &= 0777;
    return mask;
}

int packet_pack(struct packet *packet, const struct pa_job *job, struct error *err) {
    packet_init(packet);
    struct packet_header *h = &packet->header;
    h->flags =
        (job->deny_clock ? PACKET_DENY_CLOCK : 0) | (job->deny_random ? PACKET_DENY_RANDOM : 0) |
        (job->deterministic ? PACKET_DETERMINISTIC : 0) |
        (job->output_truncate ? PACKET_TRUNCATE : 0) | (job->invoke != NULL ? PACKET_INVOKE : 0) |
        (job->stdin_data != NULL ? PACKET_STDIN_DATA : 0) |
        (job->job_data != NULL ? PACKET_WARM : 0) | (job->wasm_exceptions ? PACKET_EXCEPTIONS : 0) |
        (job->stub_imports ? PACKET_STUBS : 0);
    h->argc = (uint32_t)job->argc;
    h->env_count = (uint32_t)job->env_count;
    h->job_bytes = job->job_bytes;
    h->stdin_bytes = job->stdin_bytes;
    h->rehearsal_bytes = job->rehearsal_bytes;
    h->seed = job->seed;
    h->limits = job->limits;
    h->mask = own_mask();
    if (pack_mounts(packet, job, err) == 0 && pack_fds(packet, job, err) == 0 &&
        pack_body(packet, job, err) == 0) {
        return 0;
    }
    packet_fini(packet);
    return -1;
}

int packet_check_mounts(const struct packet *packet, const struct cache *cache, struct error *err) {
    for (uint32_t i = 0; i < packet->header.mount_count; i++) {
        if (!(packet->header.writable_mounts >> i & 1)) continue;
        int overlaps = cache_overlaps(cache, packet->mount_fds[i]);
        if (overlaps == 0) continue;
        return overlaps < 0
                   ? error_set_errno(err, PA_INTERNAL, errno, "mount %u", i)
                   : error_set(err, PA_DENIED,
                               "mount %u: it holds the cache of compiled modules, %s; mount it "
                               "read-only, or move the cache by POLYAGENT_CACHE_DIR",
                               i, cache->path);
    }
    return 0;
}

int packet_send(const struct packet *packet, int socket, int wait) {
    struct packet_header header = packet->header;
    int fds[WIRE_MAX_FDS];
    size_t count = 0;
    header.fds = 0;
    if (packet->body_fd >= 0) fds[count++] = packet->body_fd;
    for (int i = 0; i < PACKET_FDS; i++) {
        if (packet->fds[i] < 0) continue;
        header.fds |= UINT32_C(1) << i;
        fds[count++] = packet->fds[i];
    }
    for (uint32_t i = 0; i < header.mount_count; i++)
        fds[count++] = packet->mount_fds[i];
    const struct iovec parts[] = {
        {&header, sizeof header},
        {packet->body, packet->body_fd < 0 ? (size_t)header.body_bytes : 0}};
    return wire_send(socket, parts, 2, fds, count, wait);
}

/* Gives each descriptor its place; false if there are not just as many as the header says. */
static bool place_fds(struct packet *packet, int *fds, size_t count) {
    const struct packet_header *h = &packet->header;
    size_t at = 0;
    if (h->fds >> PACKET_FDS != 0 || h->mount_count > PACKET_MAX_MOUNTS) return false;
    size_t expected = (h->flags & PACKET_BODY_MEMFD ? 1u : 0u) + h->mount_count +
                      (size_t)__builtin_popcount(h->fds);
    if (expected != count) return false;
    if (h->flags & PACKET_BODY_MEMFD) packet->body_fd = steal_fd(&fds[at++]);
    for (int i = 0; i < PACKET_FDS; i++) {
        if (h->fds & UINT32_C(1) << i) packet->fds[i] = steal_fd(&fds[at++]);
    }
    for (uint32_t i = 0; i < h->mount_count; i++)
        packet->mount_fds[i] = steal_fd(&fds[at++]);
    return true;
}

int packet_receive(struct packet *packet, int socket, int wait) {
    uint8_t inline_body[PACKET_INLINE_BYTES];
    int fds[WIRE_MAX_FDS];
    size_t fd_count;
    packet_init(packet);
    const struct iovec parts[] = {{&packet->header, sizeof packet->header},
                                  {inline_body, sizeof inline_body}};
    ssize_t got = wire_receive(socket, parts, 2, fds, &fd_count, wait);
    if (got <= 0) return got == -EMSGSIZE ? -EPROTO : (int)got;
    struct packet_header *h = &packet->header;
    size_t rest = (size_t)got > sizeof *h ? (size_t)got - sizeof *h : 0;
    bool ok = (size_t)got >= sizeof *h && h->magic == MAGIC &&
              rest == (h->flags & PACKET_BODY_MEMFD ? 0 : h->body_bytes);
    if (ok) ok = place_fds(packet, fds, fd_count);
    if (ok && rest > 0) {
        packet->body = malloc(rest);
        if (packet->body != NULL) memcpy(packet->body, inline_body, rest);
    }
    if (ok && (rest == 0 || packet->body != NULL)) return 1;
    wire_close_fds(fds, fd_count);
    packet_fini(packet);
    return ok ? -ENOMEM : -EPROTO;
}

/* Maps a memfd whose size and content can no longer change. */
static int map_body(const struct packet *packet, struct packet_view *view, struct error *err) {
    struct stat st;
    size_t size = (size_t)packet->header.body_bytes;
    int seals = fcntl(packet->body_fd, F_GET_SEALS);
    if (seals < 0 || (seals & BODY_SEALS) != BODY_SEALS || fstat(packet->body_fd, &st) != 0 ||
        (uint64_t)st.st_size != packet->header.body_bytes || size == 0) {
        return error_set(err, PA_INVALID_ARGUMENT, "job: its data are not in a sealed memfd");
    }
    void *mapping = mmap(NULL, size, PROT_READ, MAP_PRIVATE, packet->body_fd, 0);
    if (mapping == MAP_FAILED) return error_set_errno(err, PA_INTERNAL, errno, "map the job");
    view->mapping = mapping;
    view->mapping_bytes = size;
    return 0;
}

/* The strings of the body: just as many as the header says, each with its NUL, nothing behind. */
static int split(const uint8_t *at, size_t left, const char **strings, size_t count,
                 struct error *err) {
    for (size_t i = 0; i < count; i++) {
        const uint8_t *end = left > 0 ? memchr(at, 0, left) : NULL;
        if (end == NULL) return error_set(err, PA_INVALID_ARGUMENT, "job: a string is cut short");
        strings[i] = (const char *)at;
        left -= (size_t)(end + 1 - at);
        at = end + 1;
    }
    return left == 0 ? 0 : error_set(err, PA_INVALID_ARGUMENT, "job: bytes are left over");
}

static bool numbers_are_possible(const struct packet_header *h) {
    const struct pa_limits *l = &h->limits;
    return (h->flags & ~(uint32_t)PACKET_ALL_FLAGS) == 0 && h->variant < ENGINE_VARIANTS &&
           h->argc <= PACKET_MAX_STRINGS && h->env_count <= PACKET_MAX_STRINGS &&
           h->mount_count <= PACKET_MAX_MOUNTS && h->mask <= 0777 &&
           !(h->fixed_mounts & h->writable_mounts) && h->body_bytes <= PACKET_MAX_BODY_BYTES &&
           h->job_bytes <= h->body_bytes && h->stdin_bytes <= h->body_bytes - h->job_bytes &&
           h->rehearsal_bytes <= h->body_bytes - h->job_bytes - h->stdin_bytes &&
           (h->policy.enabled | h->policy.required) <= LAYERS_ALL &&
           memchr(h->tenant, 0, sizeof h->tenant) != NULL && l->memory_limit_bytes > 0 &&
           l->memory_limit_bytes <= UINT64_C(4) << 30 && l->max_open_files >= 3 &&
           l->max_open_files <= 65536 && l->max_fuel <= INT64_MAX;
}

int packet_open(const struct packet *packet, struct packet_view *view, struct error *err) {
    const struct packet_header *h = &packet->header;
    *view = (struct packet_view){0};
    if (!numbers_are_possible(h)) {
        return error_set(err, PA_INVALID_ARGUMENT, "job: a number in it is out of range");
    }
    if (packet->body_fd >= 0 && map_body(packet, view, err) != 0) return -1;
    const uint8_t *body = view->mapping != NULL  ? view->mapping
                          : packet->body != NULL ? packet->body
                                                 : (const uint8_t *)"";
    size_t has_invoke = h->flags & PACKET_INVOKE ? 1 : 0;
    size_t count = has_invoke + h->argc + h->env_count + h->mount_count;
    size_t rehearsal_at = (size_t)(h->job_bytes + h->stdin_bytes);
    size_t data_bytes = rehearsal_at + (size_t)h->rehearsal_bytes;
    view->strings = calloc(count + 1, sizeof *view->strings);
    int result = view->strings == NULL
                     ? error_set(err, PA_INTERNAL, "job: out of memory")
                     : split(body + data_bytes, (size_t)h->body_bytes - data_bytes, view->strings,
                             count, err);
    if (result != 0) {
        packet_view_fini(view);
        return -1;
    }
    const char **argv = view->strings + has_invoke, **env = argv + h->argc;
    for (uint32_t i = 0; i < h->mount_count; i++) {
        view->mounts[i] = (struct wasi_mount_config){.guest_path = env[h->env_count + i],
                                                     .dir_fd = packet->mount_fds[i],
                                                     .writable = h->writable_mounts >> i & 1,
                                                     .fixed = h->fixed_mounts >> i & 1};
    }
    view->job = (struct pa_job){
        .argv = argv,
        .argc = h->argc,
        .env = env,
        .env_count = h->env_count,
        .stdin_data = h->flags & PACKET_STDIN_DATA ? body + h->job_bytes : NULL,
        .stdin_bytes = (size_t)h->stdin_bytes,
        .stdin_fd = packet->fds[PACKET_STDIN],
        .use_stdin_fd = packet->fds[PACKET_STDIN] >= 0,
        .job_data = h->job_bytes > 0 ? body : NULL,
        .job_bytes = (size_t)h->job_bytes,
        .rehearsal_data = h->rehearsal_bytes > 0 ? body + rehearsal_at : NULL,
        .rehearsal_bytes = (size_t)h->rehearsal_bytes,
        .answer_fd = packet->fds[PACKET_ANSWER],
        .stdout_fd = packet->fds[PACKET_STDOUT],
        .stderr_fd = packet->fds[PACKET_STDERR],
        .use_output_fds = packet->fds[PACKET_STDOUT] >= 0 && packet->fds[PACKET_STDERR] >= 0,
        .output_truncate = (h->flags & PACKET_TRUNCATE) != 0,
        .mount_count = h->mount_count,
        .invoke = has_invoke ? view->strings[0] : NULL,
        .wasm_exceptions = (h->flags & PACKET_EXCEPTIONS) != 0,
        .stub_imports = (h->flags & PACKET_STUBS) != 0,
        .deny_clock = (h->flags & PACKET_DENY_CLOCK) != 0,
        .deny_random = (h->flags & PACKET_DENY_RANDOM) != 0,
        .deterministic = (h->flags & PACKET_DETERMINISTIC) != 0,
        .seed = h->seed,
        .profile_fd = packet->fds[PACKET_PROFILE],
        .coredump_fd = packet->fds[PACKET_COREDUMP],
        .trace_fd = packet->fds[PACKET_TRACE],
        .limits = h->limits,
    };
    return 0;
}

void packet_view_fini(struct packet_view *view) {
    if (view->mapping != NULL) (void)munmap(view->mapping, view->mapping_bytes);
    free(view->strings);
    *view = (struct packet_view){0};
}

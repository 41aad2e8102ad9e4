/* A root supervisor's workers have ids of their own, which own nothing. So that the guest still
 * acts as the owner of a directory that was mounted for it, the mount is cloned with a map of ids:
 * what the owner has on disk is the worker's through this mount, and what the worker makes is the
 * owner's on disk (mount_setattr(2), idmapped mounts). An ordinary user's are clones, too, made in
 * other namespaces (cloner.c): above them there is nothing. */
#include "base/buffer.h"
#include "base/cleanup.h"
#include "supervisor/internal.h"
#include "worker/namespaces.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static int write_map(pid_t pid, const char *which, uint32_t inside, uint32_t outside) {
    char path[64], text[64];
    (void)snprintf(path, sizeof path, "/proc/%d/%s", pid, which);
    int length = snprintf(text, sizeof text, "%u %u 1\n", inside, outside);
    _cleanup_(fd_closep) int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd_write_all(fd, text, (size_t)length);
}

/* A user namespace that maps one id; it lives as long as the descriptor. */
static int id_map(uid_t uid, gid_t gid, uint32_t worker_id) {
    char path[64];
    int fd = -1, result;
    pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0) {
        for (;;)
            (void)pause();
    }
    if (pid < 0) return -errno;
    result = write_map(pid, "uid_map", uid, worker_id);
    if (result == 0) result = write_map(pid, "gid_map", gid, worker_id);
    if (result == 0) {
        (void)snprintf(path, sizeof path, "/proc/%d/ns/user", pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0) result = -errno;
    }
    (void)kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    return fd >= 0 ? fd : result;
}

/* Outside of the namespace; without an id of the slot's own, a worker is root there (seal.c). */
static uint32_t worker_id(const struct slot *slot, uint32_t layers) {
    if ((layers & LAYER_UID) == 0) return NAMESPACE_FIRST_UID;
    return NAMESPACE_FIRST_UID + 1 + slot->number % (NAMESPACE_UIDS - 1);
}

/* The slot's map for an owner. To make one takes a millisecond, and most mounts have the same. */
static int map_for(struct slot *slot, uint32_t layers, uid_t uid, gid_t gid) {
    if (slot->id_map >= 0 && slot->owner[0] == uid && slot->owner[1] == gid) return slot->id_map;
    fd_closep(&slot->id_map);
    int map = id_map(uid, gid, worker_id(slot, layers));
    if (map < 0) return map;
    slot->id_map = map;
    slot->owner[0] = uid;
    slot->owner[1] = gid;
    return map;
}

/* A directory within a mount. */
static int open_dir(int tree, const char *name) {
    const struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW,
                                 .resolve = RESOLVE_BENEATH};
    int dir = (int)syscall(SYS_openat2, tree, name, &how, sizeof how);
    return dir >= 0 ? dir : -errno;
}

/* A detached clone of the mount at `fd`, mapped for the slot: the directory `name` in it; or a
 * negative errno. Without a slot the cloner makes it, as an ordinary user can, and nothing is
 * mapped. */
static int clone_mount(int fd, const char *name, bool writable, struct cloner *cloner,
                       struct slot *slot, uint32_t layers) {
    struct stat st;
    if (slot == NULL) return cloner_clone(cloner, fd, name, writable);
    if (fstat(fd, &st) != 0) return -errno;
    int map = map_for(slot, layers, st.st_uid, st.st_gid);
    if (map < 0) return map;
    _cleanup_(fd_closep) int tree =
        (int)syscall(SYS_open_tree, fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    if (tree < 0) return -errno;
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
                                          MOUNT_ATTR_NOEXEC | (writable ? 0 : MOUNT_ATTR_RDONLY),
                              .userns_fd = (uint64_t)map};
    if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attr, sizeof attr) != 0) return -errno;
    /* A descriptor of the mount's root that files can be opened and listed by. */
    return open_dir(tree, name);
}

/* A workspace that lies in the scope of its session is a part of the scope's clone: Landlock finds
 * what it allows on the way up to the mount's root. -ENOENT: it lies elsewhere. */
static int clone_in_scope(const struct packet *packet, uint32_t mount, struct cloner *cloner,
                          struct slot *slot) {
    char link[32], path[PATH_MAX];
    struct stat wanted, found;
    int scope = packet->fds[PACKET_SCOPE], fd = packet->mount_fds[mount];
    if (scope < 0) return -ENOENT;
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length > 0 ? length : 0] = 0;
    const char *slash = strrchr(path, '/');
    if (slash == NULL || slash[1] == 0 || fstat(fd, &wanted) != 0) return -ENOENT;
    int dir = clone_mount(scope, slash + 1, packet->header.writable_mounts >> mount & 1, cloner,
                          slot, packet->header.policy.enabled);
    if (dir < 0 ||
        (fstat(dir, &found) == 0 && found.st_dev == wanted.st_dev && found.st_ino == wanted.st_ino))
        return dir;
    (void)close(dir);
    return -ENOENT;
}

bool mounts_can_be_mapped(struct slot *probe, const struct packet *packet) {
    if (geteuid() != 0) return true; /* workers keep our id */
    for (uint32_t i = 0; i < packet->header.mount_count; i++) {
        if (packet->header.fixed_mounts >> i & 1) continue;
        int fd = clone_mount(packet->mount_fds[i], ".", false, NULL, probe, LAYERS_ALL);
        if (fd < 0) return false;
        (void)close(fd);
    }
    return true;
}

/* Where user namespaces are refused, they stay the host's own (docs/security.md). */
static void replace(int *fd, int clone) {
    if (clone < 0) return;
    (void)close(*fd);
    *fd = clone;
}

/* As an ordinary user: nothing is mapped, but above a clone there is nothing. */
static void clone_for_user(struct packet *packet, struct cloner *cloner) {
    uint32_t layers = packet->header.policy.enabled;
    for (uint32_t i = 0; i < packet->header.mount_count; i++) {
        bool writable = packet->header.writable_mounts >> i & 1;
        int fd = clone_in_scope(packet, i, cloner, NULL);
        if (fd < 0) fd = clone_mount(packet->mount_fds[i], ".", writable, cloner, NULL, layers);
        replace(&packet->mount_fds[i], fd);
    }
    int *scope = &packet->fds[PACKET_SCOPE];
    if (*scope >= 0) replace(scope, clone_mount(*scope, ".", true, cloner, NULL, layers));
}

int mounts_for_slot(struct packet *packet, struct cloner *cloner, struct slot *slot,
                    struct error *err) {
    if (geteuid() != 0) {
        clone_for_user(packet, cloner);
        return 0;
    }
    for (uint32_t i = 0; i < packet->header.mount_count; i++) {
        bool writable = packet->header.writable_mounts >> i & 1;
        if (packet->header.fixed_mounts >> i & 1) continue; /* anybody's to read */
        int fd = clone_in_scope(packet, i, cloner, slot);
        if (fd == -ENOENT)
            fd = clone_mount(packet->mount_fds[i], ".", writable, cloner, slot,
                             packet->header.policy.enabled);
        if (fd < 0) {
            return error_set_errno(err, PA_INTERNAL, -fd, "map the owner of mount %u", i);
        }
        (void)close(packet->mount_fds[i]);
        packet->mount_fds[i] = fd;
    }
    return 0;
}

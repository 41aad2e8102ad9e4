#include "worker/namespaces.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "worker/layers.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static const struct {
    uint32_t layer;
    int flag;
} kinds[] = {{LAYER_MOUNT_NS, CLONE_NEWNS},
             {LAYER_NET_NS, CLONE_NEWNET},
             {LAYER_IPC_NS, CLONE_NEWIPC},
             {LAYER_UTS_NS, CLONE_NEWUTS},
             {LAYER_CGROUP_NS, CLONE_NEWCGROUP}};

static int write_file(const char *path, const char *text) {
    _cleanup_(fd_closep) int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd_write_all(fd, text, strlen(text));
}

/* Only a process outside a user namespace may map more than one id into it: a short-lived child,
 * forked before, writes the maps when told that the namespace is there. */
static int map_many(const int go[2], pid_t *helper) {
    char path[64], map[64], ready;
    pid_t self = getpid();
    *helper = fork();
    if (*helper != 0) return *helper < 0 ? -errno : 0;
    (void)close(go[1]);
    if (read(go[0], &ready, 1) != 1) _exit(1);
    (void)snprintf(map, sizeof map, "0 %d %d\n", NAMESPACE_FIRST_UID, NAMESPACE_UIDS);
    (void)snprintf(path, sizeof path, "/proc/%d/uid_map", self);
    int result = write_file(path, map);
    (void)snprintf(path, sizeof path, "/proc/%d/gid_map", self);
    if (result == 0) result = write_file(path, map);
    _exit(result == 0 ? 0 : 1);
}

/* Both: 0, or a negative errno; `entered` tells whether unshare() itself succeeded. */
static int enter_with_many_ids(bool *entered) {
    int go[2], status = 1;
    pid_t helper;
    if (pipe2(go, O_CLOEXEC) != 0) return -errno;
    int result = map_many(go, &helper);
    (void)close(go[0]);
    if (result == 0) {
        *entered = unshare(CLONE_NEWUSER) == 0;
        result = !*entered ? -errno : write(go[1], "", 1) != 1 ? -EPIPE : 0;
    }
    (void)close(go[1]); /* at its end, the helper gives up */
    while (helper > 0 && waitpid(helper, &status, 0) < 0 && errno == EINTR) {
    }
    if (result != 0 || status != 0) return result != 0 ? result : -EPERM;
    if (syscall(SYS_setgroups, 0, NULL) != 0 || setresgid(0, 0, 0) != 0) return -errno;
    return setresuid(0, 0, 0) == 0 ? 0 : -errno;
}

static int enter_with_own_id(bool *entered) {
    char map[64];
    uid_t uid = geteuid();
    gid_t gid = getegid();
    *entered = unshare(CLONE_NEWUSER) == 0;
    if (!*entered) return -errno;
    int result = write_file("/proc/self/setgroups", "deny");
    (void)snprintf(map, sizeof map, "0 %u 1\n", uid);
    if (result == 0) result = write_file("/proc/self/uid_map", map);
    (void)snprintf(map, sizeof map, "0 %u 1\n", gid);
    if (result == 0) result = write_file("/proc/self/gid_map", map);
    return result;
}

int namespaces_enter(uint32_t enabled, uint32_t *in_force, bool *many_ids, struct error *err) {
    bool entered = false;
    *in_force = 0;
    *many_ids = geteuid() == 0;
    if (enabled & LAYER_USER_NS) {
        int result = *many_ids ? enter_with_many_ids(&entered) : enter_with_own_id(&entered);
        if (entered && result != 0) { /* there is no way back */
            return error_set_errno(err, PA_INTERNAL, -result, "map the ids of a user namespace");
        }
        if (entered) *in_force |= LAYER_USER_NS;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (enabled & kinds[i].layer && unshare(kinds[i].flag) == 0) *in_force |= kinds[i].layer;
    }
    return 0;
}

/* In a plain chroot the root is no mount, which pivot_root(2) wants; nor can it be made one without
 * the host's mounts being told of it: it fails there. */
int namespaces_empty_root(void) {
    static const char place[] = "/tmp"; /* any directory does: it is hidden in our namespace only */
    const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", place, "tmpfs", flags, "size=4k,nr_inodes=2,mode=0555") != 0 ||
        chdir(place) != 0 || syscall(SYS_pivot_root, ".", ".") != 0 ||
        umount2(".", MNT_DETACH) != 0 || chdir("/") != 0 ||
        mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | flags, NULL) != 0) {
        return -errno;
    }
    return 0;
}

/* A process in namespaces of users and mounts of its own, where an ordinary user may clone mounts.
 * It is a copy of ours with nothing but its socket, and does nothing else. */
#include "base/cleanup.h"
#include "supervisor/internal.h"
#include "worker/wire.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { ANSWER_MS = 2000 }; /* a file system that answers later is left as it is */

struct request { /* with the directory's descriptor */
    uint32_t writable;
    char name[NAME_MAX + 1]; /* in the clone */
};

static bool is_same(int a, int b) {
    struct stat one, other;
    return fstat(a, &one) == 0 && fstat(b, &other) == 0 && one.st_dev == other.st_dev &&
           one.st_ino == other.st_ino;
}

/* In the place of a directory that has no name: such a one is empty for ever. */
static int empty_mount(void) {
    const unsigned attr =
        MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    _cleanup_(fd_closep) int fs = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);
    if (fs < 0 || syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) != 0) return -errno;
    _cleanup_(fd_closep) int tree = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, attr);
    if (tree < 0) return -errno;
    int found = openat(tree, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return found >= 0 ? found : -errno;
}

/* The descriptor is of a mount of the other namespace: here, it is found by its path. */
static int clone_here(int fd, const struct request *request) {
    char link[32], path[PATH_MAX];
    struct stat st;
    if (fstat(fd, &st) == 0 && st.st_nlink == 0) return empty_mount();
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return -errno;
    path[length] = 0;
    _cleanup_(fd_closep) int dir = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0) return -errno;
    if (!is_same(dir, fd)) return -ESTALE;
    const unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH;
    unsigned below = 0;
    int made = (int)syscall(SYS_open_tree, dir, "", flags);
    if (made < 0 && errno == EINVAL) { /* what lies beneath other mounts may not be uncovered */
        below = AT_RECURSIVE;
        made = (int)syscall(SYS_open_tree, dir, "", flags | below);
    }
    _cleanup_(fd_closep) int tree = made;
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC |
                                          (request->writable ? 0 : MOUNT_ATTR_RDONLY)};
    if (tree < 0 ||
        syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | below, &attr, sizeof attr) != 0) {
        return -errno;
    }
    const struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW,
                                 .resolve = RESOLVE_BENEATH};
    int found = (int)syscall(SYS_openat2, tree, request->name, &how, sizeof how);
    return found >= 0 ? found : -errno;
}

static _Noreturn void serve(int socket) {
    if (dup2(socket, 0) != 0 || close_range(1, ~0U, 0) != 0) _exit(1);
    for (;;) {
        struct request request;
        int fds[WIRE_MAX_FDS];
        size_t count;
        const struct iovec asked = {&request, sizeof request};
        if (wire_receive(0, &asked, 1, fds, &count, 1) != sizeof request || count != 1) _exit(0);
        int32_t result = clone_here(fds[0], &request);
        wire_close_fds(fds, count);
        const struct iovec answer = {&result, sizeof result};
        if (wire_send(0, &answer, 1, &result, result >= 0 ? 1 : 0, 1) != 0) _exit(0);
        if (result >= 0) (void)close(result);
    }
}

static void start(struct cloner *cloner) {
    int pair[2];
    if (wire_pair(pair) != 0) return;
    pid_t pid =
        (pid_t)syscall(SYS_clone, CLONE_NEWUSER | CLONE_NEWNS | SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0) serve(pair[1]);
    (void)close(pair[1]);
    cloner->pid = pid;
    cloner->socket = pid > 0 ? pair[0] : -1;
    if (pid < 0) (void)close(pair[0]);
}

void cloner_end(struct cloner *cloner) {
    if (cloner->socket < 0) return;
    fd_closep(&cloner->socket);
    (void)kill(cloner->pid, SIGKILL);
    while (waitpid(cloner->pid, NULL, 0) < 0 && errno == EINTR) {
    }
}

static int ask(struct cloner *cloner, int fd, const struct request *request) {
    int fds[WIRE_MAX_FDS];
    size_t count = 0;
    int32_t told = -1;
    const struct iovec asked = {(void *)(uintptr_t)request, sizeof *request};
    const struct iovec answer = {&told, sizeof told};
    struct pollfd ready = {.fd = cloner->socket, .events = POLLIN};
    int result = wire_send(cloner->socket, &asked, 1, &fd, 1, 0);
    if (result == 0 && poll(&ready, 1, ANSWER_MS) != 1) result = -ETIMEDOUT;
    if (result == 0 && wire_receive(cloner->socket, &answer, 1, fds, &count, 0) != sizeof told)
        result = -EPIPE;
    if (result != 0) {
        cloner_end(cloner); /* the next one asks another */
        return result;
    }
    if (told >= 0 && count == 1) return fds[0];
    wire_close_fds(fds, count);
    return told < 0 ? told : -EPROTO;
}

int cloner_clone(struct cloner *cloner, int fd, const char *name, bool writable) {
    struct request request = {.writable = writable};
    if (strlen(name) > NAME_MAX) return -ENAMETOOLONG;
    (void)strcpy(request.name, name);
    int result = -EPERM;
    for (int i = 0; i < 2; i++) { /* a mount that is younger than the namespace is not in it */
        if (cloner->socket < 0) start(cloner);
        if (cloner->socket < 0) return -EPERM;
        result = ask(cloner, fd, &request);
        if (result != -ESTALE && result != -ENOENT) break;
        cloner_end(cloner);
    }
    return result;
}

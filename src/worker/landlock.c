#include "worker/landlock.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* Of kernels newer than the headers of Debian 12. */
#define ACCESS_FS_TRUNCATE (UINT64_C(1) << 14)
#define ACCESS_FS_IOCTL_DEV (UINT64_C(1) << 15)
#define ACCESS_NET_BIND_TCP UINT64_C(1)
#define ACCESS_NET_CONNECT_TCP UINT64_C(2)
#define ACCESS_NET_BIND_AND_CONNECT_TCP (ACCESS_NET_BIND_TCP | ACCESS_NET_CONNECT_TCP)
#define RULE_NET_PORT 2
struct port_attr {
    uint64_t allowed_access;
    uint64_t port;
};
#define SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS UINT64_C(3)
struct ruleset_attr {
    uint64_t handled_access_fs;
    uint64_t handled_access_net; /* ABI 4 */
    uint64_t scoped;             /* ABI 6 */
};

#define READS (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define WRITES \
    (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | \
     LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | \
     LANDLOCK_ACCESS_FS_MAKE_SYM)
/* Every right of ABI 1; what no rule allows is denied. */
#define ABI_1 ((UINT64_C(1) << 13) - 1)

int landlock_abi(void) {
    long abi =
        syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, LANDLOCK_CREATE_RULESET_VERSION);
    return abi > 0 ? (int)abi : 0;
}

/* Beyond those of ABI 1, to be allowed where writing is. */
static uint64_t newer_rights(int abi) {
    uint64_t newer = 0;
    if (abi >= 2) newer |= LANDLOCK_ACCESS_FS_REFER; /* below it, links across directories: EXDEV */
    if (abi >= 3) newer |= ACCESS_FS_TRUNCATE; /* below it seccomp alone denies truncate by path */
    return newer;
}

static int allow(int ruleset, uint64_t rights, int dir_fd) {
    struct landlock_path_beneath_attr rule = {.allowed_access = rights, .parent_fd = dir_fd};
    return syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0
               ? 0
               : -errno;
}

/* For kernels that have it, of the rights that the ABI knows; the sets are what is denied unless a
 * rule allows it. A descriptor or a negative errno. */
static int create(int abi) {
    struct ruleset_attr attr = {
        .handled_access_fs = ABI_1 | newer_rights(abi) | (abi >= 5 ? ACCESS_FS_IOCTL_DEV : 0),
        .handled_access_net = abi >= 4 ? ACCESS_NET_BIND_AND_CONNECT_TCP : 0,
        .scoped = abi >= 6 ? SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS : 0,
    };
    size_t size = abi >= 6 ? 24 : abi >= 4 ? 16 : 8;
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0);
    return ruleset >= 0 ? ruleset : -errno;
}

int landlock_restrict(const struct wasi_mount_config *mounts, size_t count, int scope_fd,
                      int code_fd) {
    int abi = landlock_abi();
    if (abi == 0) return -EOPNOTSUPP;
    uint64_t newer = newer_rights(abi);
    _cleanup_(fd_closep) int ruleset = create(abi);
    if (ruleset < 0) return ruleset;
    int result = scope_fd >= 0 ? allow(ruleset, READS | WRITES | newer, scope_fd) : 0;
    if (result == 0 && code_fd >= 0) {
        result = allow(ruleset, LANDLOCK_ACCESS_FS_READ_FILE, code_fd);
        if (result == -EBADFD) result = 0; /* a memfd, which is in no file system: it is allowed */
    }
    for (size_t i = 0; i < count && result == 0; i++)
        result =
            allow(ruleset, READS | (mounts[i].writable ? WRITES | newer : 0), mounts[i].dir_fd);
    if (result != 0) return result;
    return syscall(SYS_landlock_restrict_self, ruleset, 0) == 0 ? 0 : -errno;
}

static int allow_connect(int ruleset, uint16_t port) {
    struct port_attr rule = {.allowed_access = ACCESS_NET_CONNECT_TCP, .port = port};
    return syscall(SYS_landlock_add_rule, ruleset, RULE_NET_PORT, &rule, 0) == 0 ? 0 : -errno;
}

int landlock_restrict_service(const struct landlock_service *s) {
    int abi = landlock_abi();
    if (abi == 0) return -EOPNOTSUPP;
    _cleanup_(fd_closep) int ruleset = create(abi);
    int result = ruleset < 0 ? ruleset : 0;
    for (size_t i = 0; i < s->folder_count && result == 0; i++)
        result = allow(ruleset, READS | WRITES | newer_rights(abi), s->folders[i]);
    for (size_t i = 0; s->readable != NULL && s->readable[i] != NULL && result == 0; i++) {
        struct stat st;
        _cleanup_(fd_closep) int fd = open(s->readable[i], O_PATH | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) != 0) continue; /* what is not there needs no rule */
        result = allow(ruleset, S_ISDIR(st.st_mode) ? READS : LANDLOCK_ACCESS_FS_READ_FILE, fd);
    }
    for (size_t i = 0; abi >= 4 && i < s->connect_count && result == 0; i++)
        result = allow_connect(ruleset, s->connect[i]);
    if (result != 0) return result;
    return syscall(SYS_landlock_restrict_self, ruleset, 0) == 0 ? 0 : -errno;
}

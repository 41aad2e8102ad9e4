/* One control group for all workers and compilers of a supervisor: memory and processes together,
 * and their weight against everything else on the host. Version 1 has a directory for each
 * controller, version 2 one for all. Where none can be made, the layer is not in force; without a
 * weight it is.
 *
 * In version 2 only groups without processes of their own can hand controllers to their children
 * (cgroup-v2.rst, "No Internal Process Constraint"). So where our group was not prepared by whoever
 * made it, we move out of it into a child, which works if we are alone there, as a service with
 * Delegate=yes is. */
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "supervisor/internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>

enum { MAX_DIRS = 3, PATH_BYTES = 512, REMOVE_TRIES = 400 };
/* Of an ordinary process, in the units of each version; MAX_CORES keeps it in their range. */
enum { SHARES_V1 = 1024, WEIGHT_V2 = 100, MAX_CORES = 100 };
#define NAME "polyagent-"
#define NAME_SELF "polyagent-self-"

struct cgroup {
    char dirs[MAX_DIRS][PATH_BYTES]; /* made by us */
    int count;
    int home;                /* of them, the one that we moved into ourselves; 0: none */
    char origin[PATH_BYTES]; /* whence; "": we did not move */
    bool weighs;
};

/* As much as an ordinary process on each core: so a run alone has its core's share, as it would
 * have outside, whatever its nice value, which counts within the group only. */
static uint64_t weight(uint64_t of_one) {
    int cores = get_nprocs();
    return of_one * (uint64_t)(cores < 1 ? 1 : cores > MAX_CORES ? MAX_CORES : cores);
}

static int write_text(const char *dir, const char *file, const char *text) {
    char path[PATH_BYTES + 64];
    (void)snprintf(path, sizeof path, "%s/%s", dir, file);
    _cleanup_(fd_closep) int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd_write_all(fd, text, strlen(text));
}

static int write_number(const char *dir, const char *file, uint64_t value) {
    char text[32];
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    return write_text(dir, file, text);
}

/* Whether a list such as "cpu,cpuacct" has a controller in it; version 2's is "". */
static bool names(const char *list, const char *controller) {
    size_t length = strlen(controller);
    for (;; list++) {
        size_t part = strcspn(list, ",");
        if (part == length && strncmp(list, controller, length) == 0) return true;
        list += part;
        if (*list == 0) return false;
    }
}

/* Where our own process stands in the hierarchy of a controller ("" for version 2): "N:list:path".
 */
static bool own_place(const char *controller, char *out, size_t size) {
    char line[PATH_BYTES];
    bool found = false;
    FILE *file = fopen("/proc/self/cgroup", "re");
    while (file != NULL && !found && fgets(line, sizeof line, file) != NULL) {
        char *list = strchr(line, ':');
        char *path = list != NULL ? strchr(list + 1, ':') : NULL;
        if (path == NULL) continue;
        *path++ = 0;
        path[strcspn(path, "\n")] = 0;
        found = names(list + 1, controller);
        if (found) (void)snprintf(out, size, "%s", strcmp(path, "/") == 0 ? "" : path);
    }
    if (file != NULL) (void)fclose(file);
    return found;
}

/* Groups of supervisors that were killed. Those of living ones are busy and stay. */
static void sweep(const char *parent) {
    DIR *dir = opendir(parent);
    if (dir == NULL) return;
    for (const struct dirent *d; (d = readdir(dir)) != NULL;) {
        const char *number = strrchr(d->d_name, '-');
        long pid = strncmp(d->d_name, NAME, strlen(NAME)) == 0 ? strtol(number + 1, NULL, 10) : 0;
        if (pid > 0 && kill((pid_t)pid, 0) != 0 && errno == ESRCH) {
            (void)unlinkat(dirfd(dir), d->d_name, AT_REMOVEDIR);
        }
    }
    (void)closedir(dir);
}

/* Where our own process is in a hierarchy that is mounted at `root`. */
static bool own_dir(const char *root, const char *controller, char out[PATH_BYTES - 64]) {
    char place[PATH_BYTES / 2];
    if (!own_place(controller, place, sizeof place)) return false;
    int length = snprintf(out, PATH_BYTES - 64, "%s%s", root, place);
    return length > 0 && length < PATH_BYTES - 64;
}

static bool make(struct cgroup *cgroup, const char *parent, const char *name) {
    char *dir = cgroup->dirs[cgroup->count];
    (void)snprintf(dir, PATH_BYTES, "%s/%s%d", parent, name, getpid());
    if (mkdir(dir, 0755) != 0 && errno != EEXIST) return false;
    cgroup->count++;
    return true;
}

static bool limit_v1(struct cgroup *cgroup, const char *root, uint64_t memory_bytes,
                     uint32_t max_processes) {
    static const struct {
        const char *controller, *file;
    } limits[] = {{"pids", "pids.max"}, {"memory", "memory.limit_in_bytes"}};
    const uint64_t values[] = {max_processes, memory_bytes};
    for (int i = 0; i < 2; i++) {
        char mount[PATH_BYTES / 4], parent[PATH_BYTES - 64];
        (void)snprintf(mount, sizeof mount, "%s/%s", root, limits[i].controller);
        if (!own_dir(mount, limits[i].controller, parent)) return false;
        sweep(parent);
        if (!make(cgroup, parent, NAME) ||
            (values[i] > 0 && write_number(cgroup->dirs[i], limits[i].file, values[i]) != 0)) {
            return false;
        }
    }
    return true;
}

/* The weight is had or not: it bounds nobody. */
static void weigh_v1(struct cgroup *cgroup, const char *root) {
    char mount[PATH_BYTES / 4], parent[PATH_BYTES - 64];
    (void)snprintf(mount, sizeof mount, "%s/cpu", root);
    if (!own_dir(mount, "cpu", parent)) return;
    sweep(parent);
    if (!make(cgroup, parent, NAME)) return;
    const char *dir = cgroup->dirs[cgroup->count - 1];
    cgroup->weighs = write_number(dir, "cpu.shares", weight(SHARES_V1)) == 0;
    if (!cgroup->weighs) (void)rmdir(cgroup->dirs[--cgroup->count]);
}

/* Moves this process into a child of its group, so that the group may give controllers to other
 * children. */
static bool make_way(struct cgroup *cgroup, const char *parent) {
    if (!make(cgroup, parent, NAME_SELF)) return false;
    cgroup->home = cgroup->count - 1;
    if (write_number(cgroup->dirs[cgroup->home], "cgroup.procs", (uint64_t)getpid()) != 0) {
        return false;
    }
    (void)snprintf(cgroup->origin, sizeof cgroup->origin, "%s", parent);
    if (write_text(parent, "cgroup.subtree_control", "+memory +pids") != 0) return false;
    (void)write_text(parent, "cgroup.subtree_control", "+cpu"); /* there may be none */
    return true;
}

static bool limit_v2(struct cgroup *cgroup, const char *root, bool may_move, uint64_t memory_bytes,
                     uint32_t max_processes) {
    char parent[PATH_BYTES - 64];
    if (!own_dir(root, "", parent)) return false;
    sweep(parent);
    if (!make(cgroup, parent, NAME)) return false;
    const char *dir = cgroup->dirs[0];
    if (write_number(dir, "pids.max", max_processes) != 0 &&
        (!may_move || !make_way(cgroup, parent) ||
         write_number(dir, "pids.max", max_processes) != 0)) {
        return false;
    }
    cgroup->weighs = write_number(dir, "cpu.weight", weight(WEIGHT_V2)) == 0;
    return memory_bytes == 0 || write_number(dir, "memory.max", memory_bytes) == 0;
}

struct cgroup *cgroup_new(const char *root, bool may_move, uint64_t memory_bytes,
                          uint32_t max_processes) {
    char controllers[PATH_BYTES];
    struct cgroup *cgroup = calloc(1, sizeof *cgroup);
    if (cgroup == NULL) return NULL;
    (void)snprintf(controllers, sizeof controllers, "%s/cgroup.controllers", root);
    bool ok = access(controllers, R_OK) == 0
                  ? limit_v2(cgroup, root, may_move, memory_bytes, max_processes)
                  : limit_v1(cgroup, root, memory_bytes, max_processes);
    if (ok && access(controllers, R_OK) != 0) weigh_v1(cgroup, root);
    if (ok) return cgroup;
    cgroup_free(cgroup);
    return NULL;
}

bool cgroup_weighs(const struct cgroup *cgroup) {
    return cgroup != NULL && cgroup->weighs;
}

/* Version 2 has one directory; of version 1's, the first is that of pids. */
int cgroup_bound_processes(const struct cgroup *cgroup, uint32_t max_processes) {
    return write_number(cgroup->dirs[0], "pids.max", max_processes);
}

int cgroup_add(const struct cgroup *cgroup, pid_t pid) {
    for (int i = 0; i < cgroup->count; i++) {
        if (i > 0 && i == cgroup->home) continue;
        int result = write_number(cgroup->dirs[i], "cgroup.procs", (uint64_t)pid);
        if (result != 0) return result;
    }
    return 0;
}

/* Whoever is still in a group of ours: children of code that had broken out of its worker. */
static void end_processes(const char *dir) {
    char path[PATH_BYTES + 64], line[32];
    (void)snprintf(path, sizeof path, "%s/cgroup.procs", dir);
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        long pid = strtol(line, NULL, 10);
        if (pid > 0 && pid != getpid()) (void)kill((pid_t)pid, SIGKILL);
    }
    if (file != NULL) (void)fclose(file);
}

/* A group is busy until the last that was killed in it has died. What is not gone then, the next
 * supervisor sweeps. */
static void remove_dir(const char *dir) {
    const struct timespec moment = clock_timespec(5 * NS_PER_MS);
    for (int tries = 0; rmdir(dir) != 0 && errno == EBUSY && tries < REMOVE_TRIES; tries++) {
        end_processes(dir);
        (void)nanosleep(&moment, NULL);
    }
}

void cgroup_free(struct cgroup *cgroup) {
    if (cgroup == NULL) return;
    if (cgroup->origin[0] != 0) { /* back to where we came from, controllers off first */
        (void)write_text(cgroup->origin, "cgroup.subtree_control", "-cpu");
        (void)write_text(cgroup->origin, "cgroup.subtree_control", "-memory -pids");
        (void)write_number(cgroup->origin, "cgroup.procs", (uint64_t)getpid());
    }
    if (cgroup->home > 0) (void)rmdir(cgroup->dirs[--cgroup->count]); /* the last; not of workers */
    for (int i = 0; i < cgroup->count; i++)
        remove_dir(cgroup->dirs[i]);
    free(cgroup);
}

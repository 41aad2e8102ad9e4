/* One control group for all workers of a supervisor: memory and processes together. Version 1 has a
 * directory for each controller, version 2 one for all. Where none can be made, the layer is not in
 * force. */
#include "base/buffer.h"
#include "base/cleanup.h"
#include "supervisor/internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_DIRS = 2, PATH_BYTES = 512 };
#define NAME "polyagent-"

struct cgroup {
    char dirs[MAX_DIRS][PATH_BYTES];
    int count;
};

static int write_number(const char *dir, const char *file, uint64_t value) {
    char path[PATH_BYTES + 64], text[32];
    (void)snprintf(path, sizeof path, "%s/%s", dir, file);
    int length = snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    _cleanup_(fd_closep) int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd_write_all(fd, text, (size_t)length);
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
        found = strcmp(list + 1, controller) == 0;
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
        long pid = strncmp(d->d_name, NAME, strlen(NAME)) == 0
                       ? strtol(d->d_name + strlen(NAME), NULL, 10)
                       : 0;
        if (pid > 0 && kill((pid_t)pid, 0) != 0 && errno == ESRCH) {
            (void)unlinkat(dirfd(dir), d->d_name, AT_REMOVEDIR);
        }
    }
    (void)closedir(dir);
}

static bool make(struct cgroup *cgroup, const char *root, const char *controller) {
    char place[PATH_BYTES / 2], parent[PATH_BYTES - 64];
    char *dir = cgroup->dirs[cgroup->count];
    if (!own_place(controller, place, sizeof place)) return false;
    (void)snprintf(parent, sizeof parent, "%s%s", root, place);
    sweep(parent);
    (void)snprintf(dir, PATH_BYTES, "%s/" NAME "%d", parent, getpid());
    if (mkdir(dir, 0755) != 0 && errno != EEXIST) return false;
    cgroup->count++;
    return true;
}

struct cgroup *cgroup_new(uint64_t memory_bytes, uint32_t max_processes) {
    struct cgroup *cgroup = calloc(1, sizeof *cgroup);
    if (cgroup == NULL) return NULL;
    bool ok = false;
    if (access("/sys/fs/cgroup/cgroup.controllers", R_OK) == 0) { /* version 2 */
        ok = make(cgroup, "/sys/fs/cgroup", "") &&
             write_number(cgroup->dirs[0], "pids.max", max_processes) == 0 &&
             (memory_bytes == 0 || write_number(cgroup->dirs[0], "memory.max", memory_bytes) == 0);
    } else if (make(cgroup, "/sys/fs/cgroup/pids", "pids")) {
        ok = write_number(cgroup->dirs[0], "pids.max", max_processes) == 0 &&
             make(cgroup, "/sys/fs/cgroup/memory", "memory") &&
             (memory_bytes == 0 ||
              write_number(cgroup->dirs[1], "memory.limit_in_bytes", memory_bytes) == 0);
    }
    if (ok) return cgroup;
    cgroup_free(cgroup);
    return NULL;
}

int cgroup_add(const struct cgroup *cgroup, pid_t pid) {
    for (int i = 0; i < cgroup->count; i++) {
        int result = write_number(cgroup->dirs[i], "cgroup.procs", (uint64_t)pid);
        if (result != 0) return result;
    }
    return 0;
}

void cgroup_free(struct cgroup *cgroup) {
    if (cgroup == NULL) return;
    for (int i = 0; i < cgroup->count; i++)
        (void)rmdir(cgroup->dirs[i]);
    free(cgroup);
}

bool cgroup_available(void) {
    struct cgroup *cgroup = cgroup_new(0, 1024);
    cgroup_free(cgroup);
    return cgroup != NULL;
}

/* polyagent-net with a hole: a call of the tool "deed NAME [VALUE]" makes it do that natively, as
 * code would that has taken the process over by a request. What it comes to is a line on stderr,
 * the server's log: what then still holds is the kernel's work, and the broker's. Built for tests
 * only (--wrap=tool_find). */
#include "base/opener.h"
#include "tools/tools.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

const struct tool *__wrap_tool_find(const char *name);
const struct tool *__real_tool_find(const char *name);

static long loopback(int port, bool listens) {
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0) return fd;
    long result = listens ? bind(fd, (struct sockaddr *)&at, sizeof at)
                          : connect(fd, (struct sockaddr *)&at, sizeof at);
    int saved = errno;
    (void)close(fd);
    errno = saved;
    return result;
}

static long use_memory(size_t bytes) {
    char *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) return -1;
    for (size_t at = 0; at < bytes; at += 4096)
        data[at] = 1;
    return munmap(data, bytes);
}

static void *nothing(void *context) {
    return context;
}

static long make_thread(void) {
    pthread_t thread;
    errno = pthread_create(&thread, NULL, nothing, NULL);
    return errno == 0 ? pthread_join(thread, NULL) : -1;
}

static long make_process(void) {
    long pid = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0) _exit(0);
    if (pid > 0) (void)waitpid((pid_t)pid, NULL, 0);
    return pid > 0 ? 0 : -1;
}

static long execute(void) {
    long pid = syscall(SYS_clone, SIGCHLD | CLONE_VFORK, NULL, NULL, NULL, NULL);
    char *const argv[] = {"true", NULL};
    if (pid == 0) {
        (void)execve("/bin/true", argv, NULL);
        _exit(1);
    }
    int status = 1;
    if (pid > 0) (void)waitpid((pid_t)pid, &status, 0);
    return pid > 0 && status == 0 ? 0 : -1;
}

static long executable(void) {
    void *page = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return page == MAP_FAILED ? -1 : munmap(page, 4096);
}

static long core_limit(void) {
    struct rlimit l;
    return getrlimit(RLIMIT_CORE, &l) == 0 ? (long)(l.rlim_max != 0) : -1;
}

static long capabilities(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct now[2] = {{0}, {0}};
    FILE *status = fopen("/proc/self/status", "re"); /* where the call is not to be had */
    if (status != NULL) (void)fclose(status);
    if (syscall(SYS_capget, &header, now) != 0) return -1;
    return now[0].effective != 0 || now[0].permitted != 0;
}

static long ask(enum opener_kind kind, const char *name) {
    struct error err = {0};
    int fd = opener_ask(kind, name, &err);
    if (fd >= 0) (void)close(fd);
    return fd >= 0 ? 0 : -1;
}

static long open_file(const char *path, int flags) {
    int fd = open(path, flags | O_CLOEXEC, 0600);
    return fd >= 0 ? close(fd) : -1;
}

static long family(int number) {
    int fd = socket(number, SOCK_RAW | SOCK_CLOEXEC, 0);
    return fd >= 0 ? close(fd) : -1;
}

static long lies_to_broker(long size) {
    /* Whatever descriptor it is, a message of that size goes there. */
    static char text[8192];
    long sent = -1;
    memset(text, 'x', sizeof text);
    for (int fd = 3; fd < 64 && sent < 0; fd++) {
        int type = 0, listens = 1;
        socklen_t length = sizeof type;
        struct ucred peer = {0};
        socklen_t peer_length = sizeof peer;
        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0 || type != SOCK_SEQPACKET)
            continue;
        length = sizeof listens;
        (void)getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length);
        if (listens != 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_length) != 0 ||
            peer.pid == getppid())
            continue;
        sent = send(fd, text, (size_t)size, MSG_NOSIGNAL);
    }
    return sent;
}

static long act(const char *deed, const char *value) {
    long number = atol(value);
    if (strcmp(deed, "open") == 0) return open_file(value, O_RDONLY);
    if (strcmp(deed, "create") == 0) return open_file(value, O_WRONLY | O_CREAT);
    if (strcmp(deed, "exec") == 0) return execute();
    if (strcmp(deed, "process") == 0) return make_process();
    if (strcmp(deed, "thread") == 0) return make_thread();
    if (strcmp(deed, "ptrace") == 0) {
        long result = ptrace(PTRACE_SEIZE, (pid_t)number, NULL, NULL);
        return result;
    }
    if (strcmp(deed, "kill") == 0) return kill((pid_t)number, 0);
    if (strcmp(deed, "connect") == 0) return loopback((int)number, false);
    if (strcmp(deed, "bind") == 0) return loopback((int)number, true);
    if (strcmp(deed, "family") == 0) return family((int)number);
    if (strcmp(deed, "memory") == 0) return use_memory((size_t)number << 20);
    if (strcmp(deed, "code") == 0) return executable();
    if (strcmp(deed, "setuid") == 0) return setuid(0);
    if (strcmp(deed, "mount") == 0) return mount("none", "/mnt", "tmpfs", 0, NULL);
    if (strcmp(deed, "unshare") == 0) return unshare(CLONE_NEWUSER);
    if (strcmp(deed, "hostname") == 0) return sethostname("mallory", 7);
    if (strcmp(deed, "syscall") == 0) return syscall(number, 0L, 0L, 0L, 0L, 0L, 0L) < 0 ? -1 : 0;
    if (strcmp(deed, "uid") == 0) return (long)getuid();
    if (strcmp(deed, "core") == 0) return core_limit();
    if (strcmp(deed, "capabilities") == 0) return capabilities();
    if (strcmp(deed, "file") == 0) return ask(OPENER_FILE, value);
    if (strcmp(deed, "folder") == 0) return ask(OPENER_FOLDER, value);
    if (strcmp(deed, "module") == 0) return ask(OPENER_MODULE, value);
    if (strcmp(deed, "interpreter") == 0) return ask(OPENER_INTERPRETER, value);
    if (strcmp(deed, "registry") == 0) return ask(OPENER_REGISTRY, value);
    if (strcmp(deed, "lie") == 0) return lies_to_broker(number);
    errno = EINVAL;
    return -1;
}

const struct tool *__wrap_tool_find(const char *name) {
    char text[1024], line[1400];
    if (strncmp(name, "deed ", 5) != 0) return __real_tool_find(name);
    (void)snprintf(text, sizeof text, "%s", name + 5);
    char *value = strchr(text, ' ');
    if (value != NULL) *value++ = 0;
    errno = 0;
    long result = act(text, value != NULL ? value : "");
    int length = result < 0
                     ? snprintf(line, sizeof line, "deed: refused (%s)\n", strerrorname_np(errno))
                     : snprintf(line, sizeof line, "deed: %ld\n", result);
    (void)!write(STDERR_FILENO, line, (size_t)length);
    return NULL;
}

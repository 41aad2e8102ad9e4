#include "net/seal.h"

#include "net/filter.h"
#include "worker/landlock.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Processes and threads of its user, of all servers of the machine together. */
enum { MAX_THREADS = 4096, STACK_BYTES = 1 << 20, MAX_PORTS = 8, HTTP = 80, HTTPS = 443, DNS = 53 };
/* No file of a session is larger than its quota, and no module than this. */
#define MAX_FILE_BYTES (UINT64_C(1) << 30)

static int become_user(void) {
    if (syscall(SYS_setgroups, 0, NULL) != 0 || setresgid(FRONT_UID, FRONT_UID, FRONT_UID) != 0 ||
        setresuid(FRONT_UID, FRONT_UID, FRONT_UID) != 0)
        return -errno;
    return 0;
}

bool seal_can_change_user(void) {
    int status = 1;
    if (geteuid() != 0) return false;
    pid_t pid = fork();
    if (pid == 0) _exit(become_user() == 0 ? 0 : 1);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return pid > 0 && status == 0;
}

/* No exec brings a capability back. Without the one that this takes, there is none to be had. */
static void drop_bounding_set(void) {
    for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
        (void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
}

/* All but those of `kept`. */
static int keep_capabilities(uint32_t kept) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[2] = {{.effective = kept, .permitted = kept}, {0}};
    struct __user_cap_data_struct now[2];
    if (syscall(SYS_capget, &header, now) != 0) return -errno;
    sets[0].effective &= now[0].permitted;
    sets[0].permitted &= now[0].permitted;
    return syscall(SYS_capset, &header, sets) == 0 ? 0 : -errno;
}

static int limit(int resource, uint64_t value) {
    struct rlimit now, new = {value, value};
    if (getrlimit(resource, &now) != 0) return -errno;
    if (now.rlim_max < value) new = (struct rlimit){now.rlim_max, now.rlim_max};
    return setrlimit(resource, &new) == 0 ? 0 : -errno;
}

/* A log that is a file grows as long as the server lives. */
static bool logs_to_file(void) {
    struct stat st;
    return fstat(STDERR_FILENO, &st) == 0 && S_ISREG(st.st_mode);
}

#ifdef __SANITIZE_ADDRESS__ /* its shadow memory counts, too */
enum { MEMORY_IS_BOUND = false };
#else
enum { MEMORY_IS_BOUND = true };
#endif

/* What is set, but never less than it takes to serve: two of the largest modules in base64, in
 * buffers that double as they grow, one of them decoded, and all else. */
static uint64_t memory_bound(const struct config *c) {
    uint64_t needed = UINT64_C(6) * c->limits.max_module_bytes + (UINT64_C(128) << 20);
    return c->front_memory_bytes > needed ? c->front_memory_bytes : needed;
}

static int limit_all(const struct front_seal *seal) {
    const struct config *c = seal->config;
    pthread_attr_t attributes;
    uint64_t file_bytes = MAX_FILE_BYTES;
    if (c->limits.workspace_bytes > file_bytes) file_bytes = c->limits.workspace_bytes;
    /* Stacks count as memory, used or not: 8 MiB for each thread would be most of it. */
    int result = pthread_attr_init(&attributes);
    if (result == 0) {
        (void)pthread_attr_setstacksize(&attributes, STACK_BYTES);
        result = pthread_setattr_default_np(&attributes);
        (void)pthread_attr_destroy(&attributes);
    }
    if (result != 0) return -result;
    if (MEMORY_IS_BOUND && c->front_memory_bytes > 0) result = limit(RLIMIT_DATA, memory_bound(c));
    if (result == 0) result = limit(RLIMIT_CORE, 0);
    if (result == 0 && seal->own_user) result = limit(RLIMIT_NPROC, MAX_THREADS);
    if (result == 0 && !logs_to_file()) result = limit(RLIMIT_FSIZE, file_bytes);
    (void)signal(SIGXFSZ, SIG_IGN); /* EFBIG tells as well */
    return result;
}

/* Of a URL; 0: it has none that we know. */
static uint16_t port_of(const char *url, uint16_t preset) {
    const char *host = strstr(url, "://");
    bool secure = strncmp(url, "https:", 6) == 0;
    host = host != NULL ? host + 3 : url;
    if (preset == 0) preset = secure ? HTTPS : HTTP;
    size_t length = strcspn(host, "/?#");
    const char *colon = NULL;
    for (size_t i = length; i > 0 && host[i - 1] != ']'; i--)
        if (host[i - 1] == ':') {
            colon = host + i;
            break;
        }
    long port = colon != NULL ? strtol(colon, NULL, 10) : preset;
    return port > 0 && port <= UINT16_MAX ? (uint16_t)port : 0;
}

size_t seal_ports(const struct config *config, uint16_t *ports, size_t most) {
    static const char *const variables[] = {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy",
                                            "ALL_PROXY"}; /* of libcurl */
    enum { PROXY = 1080 };
    size_t count = 0;
    if (config->llm_base_url[0] == 0 || most < 2) return 0;
    ports[count++] = port_of(config->llm_base_url, 0);
    ports[count++] = DNS; /* answers that are too long for UDP */
    for (size_t i = 0; i < sizeof variables / sizeof *variables && count < most; i++) {
        const char *proxy = getenv(variables[i]);
        if (proxy != NULL && proxy[0] != 0) ports[count++] = port_of(proxy, PROXY);
    }
    return count;
}

/* What the resolver, and TLS towards a model, read. */
static const char *const for_model[] = {"/etc/resolv.conf",
                                        "/etc/hosts",
                                        "/etc/host.conf",
                                        "/etc/nsswitch.conf",
                                        "/etc/gai.conf",
                                        "/etc/services",
                                        "/etc/ssl",
                                        "/etc/pki",
                                        "/etc/ca-certificates",
                                        "/etc/gnutls",
                                        "/etc/localtime",
                                        "/usr/share/ca-certificates",
                                        "/usr/local/share/ca-certificates",
                                        "/run/systemd/resolve",
                                        "/proc/meminfo",
                                        NULL};
static const char *const for_all[] = {"/proc/meminfo", NULL}; /* gRPC's health tells of it */

static int restrict_files(const struct front_seal *seal) {
    uint16_t ports[MAX_PORTS];
    bool model = seal->config->llm_base_url[0] != 0;
    struct landlock_service service = {.folders = seal->folders,
                                       .folder_count = seal->folder_count,
                                       .readable = model ? for_model : for_all,
                                       .connect = ports};
    service.connect_count = seal_ports(seal->config, ports, MAX_PORTS);
    return landlock_restrict_service(&service);
}

/* First what needs privileges, in the order that each step leaves the next one possible; what a
 * change of ids undoes after it; the filter last, as it forbids the rest. */
int seal_front(const struct front_seal *seal, uint32_t *in_force, struct error *err) {
    const uint32_t enabled = seal->enabled & LAYERS_OF_SERVICES;
    int result = 0;
    *in_force = LAYER_PROCESS;
    if (enabled & LAYER_RLIMITS) {
        if ((result = limit_all(seal)) != 0)
            return error_set_errno(err, PA_INTERNAL, -result, "limit the front");
        *in_force |= LAYER_RLIMITS;
    }
    if (enabled & LAYER_NO_CAPABILITIES) drop_bounding_set();
    if (seal->own_user) {
        if ((result = become_user()) != 0)
            return error_set_errno(err, PA_INTERNAL, -result, "become user %d", FRONT_UID);
        *in_force |= LAYER_UID;
    }
    if (enabled & LAYER_NO_CAPABILITIES) {
        if ((result = keep_capabilities(0)) != 0)
            return error_set_errno(err, PA_INTERNAL, -result, "drop all capabilities");
        *in_force |= LAYER_NO_CAPABILITIES;
    }
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0)
        return error_set_errno(err, PA_INTERNAL, errno, "tie the front's life to the server's");
    if (enabled & LAYER_NOT_DUMPABLE) { /* keys are in its memory */
        if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
            return error_set_errno(err, PA_INTERNAL, errno, "stop being dumpable");
        *in_force |= LAYER_NOT_DUMPABLE;
    }
    if (enabled & LAYER_NO_NEW_PRIVS) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
            return error_set_errno(err, PA_INTERNAL, errno, "set no_new_privs");
        *in_force |= LAYER_NO_NEW_PRIVS;
    }
    /* A kernel without a layer is no error here: whether one may be missing is the policy's. */
    if (enabled & LAYER_LANDLOCK && restrict_files(seal) == 0) *in_force |= LAYER_LANDLOCK;
    if (enabled & LAYER_SECCOMP && filter_install() == 0) *in_force |= LAYER_SECCOMP;
    return 0;
}

int seal_broker(uint32_t enabled, struct error *err) {
    /* To open what is root's or another user's, and to remove what the front has left. */
    const uint32_t files = 1U << CAP_DAC_OVERRIDE | 1U << CAP_DAC_READ_SEARCH | 1U << CAP_FOWNER;
    int result = 0;
    if (enabled & LAYER_NO_CAPABILITIES) {
        drop_bounding_set();
        result = keep_capabilities(files);
    }
    if (result == 0 && enabled & LAYER_NOT_DUMPABLE && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        result = -errno;
    if (result == 0 && enabled & LAYER_NO_NEW_PRIVS && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        result = -errno;
    if (result == 0 && enabled & LAYER_RLIMITS) result = limit(RLIMIT_CORE, 0);
    if (result == 0 && enabled & LAYERS_OF_SERVICES & LAYER_SECCOMP && enabled & LAYER_NO_NEW_PRIVS)
        result = filter_install();
    return result == 0 ? 0 : error_set_errno(err, PA_INTERNAL, -result, "seal the opener of files");
}

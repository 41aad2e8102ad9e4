/* Promise: bytes on a connection to the HTTP interface are a request that is answered, or the end
 * of the connection; the server goes on. The whole interface is here, with MCP, in this process;
 * there is no supervisor behind it. */
#include "fuzz.h"

#include "server/http.h"
#include "server/mcp.h"
#include "server/service.h"
#include "server/task.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

static struct service service;
static struct http_server *http;
static struct sockaddr_in address;

static void start(void) {
    static char dir[] = "/tmp/polyagent-fuzz-XXXXXX";
    static struct config config;
    struct error err = {0};
    socklen_t size = sizeof address;
    if (http != NULL) return;
    PROMISE(mkdtemp(dir) != NULL && setenv("POLYAGENT_SESSIONS_DIR", dir, 1) == 0 &&
            setenv("POLYAGENT_LOG_LEVEL", "off", 1) == 0);
    PROMISE(config_load(&config, NULL, &err) == 0);
    PROMISE(service_init(&service, NULL, &config, "/nonexistent/socket", -1, NULL, &err) == 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    address =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    PROMISE(bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 16) == 0);
    PROMISE(getsockname(fd, (struct sockaddr *)&address, &size) == 0);
    http = http_server_new(&service, tasks_new(&service, &err), mcp_new(&service), fd, &err);
    PROMISE(http != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char answer[4096];
    size_t sent = 0;
    bool ended = false;
    start();
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    PROMISE(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    PROMISE(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    for (int turns = 0; turns < 40 && !ended; turns++) {
        ssize_t more = sent < size ? send(fd, data + sent, size - sent, MSG_NOSIGNAL) : 0;
        if (more > 0) sent += (size_t)more;
        if (sent == size) (void)shutdown(fd, SHUT_WR);
        PROMISE(sd_event_run(service.event, turns < 8 ? 200 : 0) >= 0);
        ssize_t got = recv(fd, answer, sizeof answer, 0);
        ended = got == 0 || (got < 0 && errno != EAGAIN);
    }
    (void)close(fd);
    for (int turns = 0; turns < 3; turns++)
        PROMISE(sd_event_run(service.event, 0) >= 0);
    return 0;
}

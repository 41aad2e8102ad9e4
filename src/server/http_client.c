#include "server/http_client.h"

#include "base/buffer.h"
#include "base/json_text.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>

enum { MAX_ANSWER_BYTES = 8 << 20 };

struct watch { /* of a connection of the library's */
    struct http_client *client;
    sd_event_source *source;
    TAILQ_ENTRY(watch) link;
};

struct http_client {
    sd_event *event; /* a reference */
    CURLM *multi;
    sd_event_source *timer;
    TAILQ_HEAD(watch_list, watch) watches;
    TAILQ_HEAD(post_list, http_post) posts;
};

struct http_post {
    struct http_client *client;
    CURL *easy;
    struct curl_slist *headers;
    char *body;
    struct buffer answer;
    http_post_done done;
    void *context;
    char failure[CURL_ERROR_SIZE];
    TAILQ_ENTRY(http_post) link;
};

static void release(struct http_post *post) {
    TAILQ_REMOVE(&post->client->posts, post, link);
    (void)curl_multi_remove_handle(post->client->multi, post->easy);
    curl_easy_cleanup(post->easy);
    curl_slist_free_all(post->headers);
    buffer_fini(&post->answer);
    free(post->body);
    free(post);
}

static void finish(struct http_post *post, CURLcode code) {
    long status = 0;
    const char *failure = post->failure[0] != 0 ? post->failure : curl_easy_strerror(code);
    json_t *body = NULL;
    (void)curl_easy_getinfo(post->easy, CURLINFO_RESPONSE_CODE, &status);
    if (code == CURLE_OK) {
        body = json_loadb(post->answer.size > 0 ? (const char *)post->answer.data : "",
                          post->answer.size, 0, NULL);
        failure = body == NULL ? "the answer is no JSON" : NULL;
    }
    post->done(post->context, status, body, failure);
    json_decref(body);
    release(post);
}

/* What has ended gets its call; callbacks may start or cancel others. */
static void reap(struct http_client *client) {
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(client->multi, &left)) != NULL) {
        char *private;
        if (message->msg != CURLMSG_DONE) continue;
        CURLcode code = message->data.result;
        if (curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &private) == CURLE_OK)
            finish((struct http_post *)(void *)private, code);
    }
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *context) {
    struct watch *watch = context;
    struct http_client *client = watch->client;
    int running, mask = ((events & (EPOLLIN | EPOLLHUP)) != 0 ? CURL_CSELECT_IN : 0) |
                        ((events & EPOLLOUT) != 0 ? CURL_CSELECT_OUT : 0) |
                        ((events & EPOLLERR) != 0 ? CURL_CSELECT_ERR : 0);
    (void)source;
    (void)curl_multi_socket_action(client->multi, fd, mask, &running);
    reap(client);
    return 0;
}

static int on_timer(sd_event_source *source, uint64_t now_us, void *context) {
    struct http_client *client = context;
    int running;
    (void)source;
    (void)now_us;
    (void)curl_multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    reap(client);
    return 0;
}

/* The library says what to watch of a socket (CURLMOPT_SOCKETFUNCTION). */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *assigned) {
    struct http_client *client = context;
    struct watch *watch = assigned;
    uint32_t events =
        ((what & CURL_POLL_IN) != 0 ? EPOLLIN : 0) | ((what & CURL_POLL_OUT) != 0 ? EPOLLOUT : 0);
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (watch == NULL) return 0;
        sd_event_source_disable_unref(watch->source);
        TAILQ_REMOVE(&client->watches, watch, link);
        free(watch);
        return 0;
    }
    if (watch != NULL) return sd_event_source_set_io_events(watch->source, events) < 0 ? -1 : 0;
    watch = calloc(1, sizeof *watch);
    if (watch == NULL) return -1;
    watch->client = client;
    if (sd_event_add_io(client->event, &watch->source, fd, events, on_io, watch) < 0) {
        free(watch);
        return -1;
    }
    TAILQ_INSERT_TAIL(&client->watches, watch, link);
    (void)curl_multi_assign(client->multi, fd, watch);
    return 0;
}

static int on_timeout_change(CURLM *multi, long timeout_ms, void *context) {
    struct http_client *client = context;
    (void)multi;
    if (timeout_ms < 0)
        return sd_event_source_set_enabled(client->timer, SD_EVENT_OFF) < 0 ? -1 : 0;
    (void)sd_event_source_set_time_relative(client->timer, (uint64_t)timeout_ms * 1000);
    return sd_event_source_set_enabled(client->timer, SD_EVENT_ONESHOT) < 0 ? -1 : 0;
}

static size_t on_answer(char *data, size_t one, size_t size, void *context) {
    struct http_post *post = context;
    (void)one;
    if (size > MAX_ANSWER_BYTES - post->answer.size) return 0; /* fails with a write error */
    return buffer_append(&post->answer, data, size) == 0 ? size : 0;
}

struct http_client *http_client_new(sd_event *event, struct error *err) {
    struct http_client *client = calloc(1, sizeof *client);
    if (client == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        free(client);
        error_set(err, PA_INTERNAL, "the HTTP client: cannot start");
        return NULL;
    }
    client->event = sd_event_ref(event);
    TAILQ_INIT(&client->watches);
    TAILQ_INIT(&client->posts);
    client->multi = curl_multi_init();
    int result = client->multi == NULL
                     ? -1
                     : sd_event_add_time_relative(event, &client->timer, CLOCK_MONOTONIC, 0, 1,
                                                  on_timer, client);
    if (result >= 0) result = sd_event_source_set_enabled(client->timer, SD_EVENT_OFF);
    if (result < 0) {
        error_set(err, PA_INTERNAL, "the HTTP client: out of memory");
        http_client_free(client);
        return NULL;
    }
    (void)curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    (void)curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
    (void)curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, on_timeout_change);
    (void)curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
    return client;
}

void http_client_free(struct http_client *client) {
    if (client == NULL) return;
    struct http_post *post;
    while ((post = TAILQ_FIRST(&client->posts)) != NULL)
        release(post);
    if (client->multi != NULL) (void)curl_multi_cleanup(client->multi); /* drops its watches */
    sd_event_source_disable_unref(client->timer);
    sd_event_unref(client->event);
    free(client);
}

static bool set_up(struct http_post *post, const char *url, uint64_t timeout_ms) {
    CURL *easy = post->easy;
    return curl_easy_setopt(easy, CURLOPT_URL, url) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_HTTPHEADER, post->headers) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_POSTFIELDS, post->body) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(post->body)) ==
               CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)timeout_ms) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, post->failure) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_answer) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_WRITEDATA, post) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PRIVATE, post) == CURLE_OK;
}

struct http_post *http_client_post(struct http_client *client, const char *url,
                                   const char *const *headers, const json_t *body,
                                   uint64_t timeout_ms, http_post_done done, void *context,
                                   struct error *err) {
    struct http_post *post = calloc(1, sizeof *post);
    if (post == NULL) {
        error_set(err, PA_INTERNAL, "POST %.200s: out of memory", url);
        return NULL;
    }
    *post = (struct http_post){.client = client,
                               .easy = curl_easy_init(),
                               .body = json_text(body, JSON_COMPACT),
                               .done = done,
                               .context = context};
    bool complete = post->easy != NULL && post->body != NULL;
    for (; complete && *headers != NULL; headers++) {
        struct curl_slist *longer = curl_slist_append(post->headers, *headers);
        complete = longer != NULL;
        if (complete) post->headers = longer;
    }
    TAILQ_INSERT_TAIL(&client->posts, post, link);
    if (complete && set_up(post, url, timeout_ms) &&
        curl_multi_add_handle(client->multi, post->easy) == CURLM_OK) {
        return post;
    }
    error_set(err, PA_INTERNAL, "POST %.200s: cannot be set up", url);
    release(post);
    return NULL;
}

void http_client_cancel(struct http_post *post) {
    release(post);
}

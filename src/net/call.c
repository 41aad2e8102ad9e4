/* The roles submit and tool: one call to a server over HTTP. */
#include "net/net.h"

#include "base/buffer.h"
#include "base/json_text.h"
#include "base/text.h"

#include <curl/curl.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { FAILURE = 125, TIME_IS_UP = 124, MAX_ANSWER_BYTES = 256 << 20 };

struct answer {
    struct buffer bytes; /* owned */
    long status;
    json_t *json; /* owned; NULL: it was none */
};

static int fail(const char *what, const char *why) {
    char *shown = text_shown(why, strlen(why), TEXT_LINES); /* a server may have said it */
    (void)fprintf(stderr, "polyagent: %s: %s\n", what, shown != NULL ? shown : "out of memory");
    free(shown);
    return FAILURE;
}

static size_t take(char *data, size_t one, size_t size, void *context) {
    struct answer *answer = context;
    (void)one;
    if (size > MAX_ANSWER_BYTES - answer->bytes.size) return 0;
    return buffer_append(&answer->bytes, data, size) == 0 ? size : 0;
}

static bool add_header(struct curl_slist **headers, const char *line) {
    struct curl_slist *longer = curl_slist_append(*headers, line);
    if (longer != NULL) *headers = longer;
    return longer != NULL;
}

/* POSTs `body` (taken over) to `server`, a base URL, with $POLYAGENT_TOKEN. 0, or an exit code
 * after a message that begins with `what`. */
static int post(const char *what, const char *server, const char *path, json_t *body,
                struct answer *answer) {
    char url[2048], authorization[4096], problem[CURL_ERROR_SIZE] = "", message[3072];
    const char *token, *ca = getenv("POLYAGENT_CA");
    if (!net_token(what, server, strncasecmp(server, "https://", 8) == 0, &token)) {
        json_decref(body);
        return FAILURE;
    }
    char *text = body != NULL ? json_text(body, JSON_COMPACT) : NULL;
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = NULL;
    int code = 0;
    json_decref(body);
    (void)snprintf(url, sizeof url, "%s%s%s", strstr(server, "://") == NULL ? "http://" : "",
                   server, path);
    (void)snprintf(authorization, sizeof authorization, "Authorization: Bearer %s",
                   token != NULL ? token : "");
    bool ready =
        curl != NULL && text != NULL && add_header(&headers, "Content-Type: application/json") &&
        (token == NULL || add_header(&headers, authorization)) &&
        curl_easy_setopt(curl, CURLOPT_URL, url) == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers) == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, text) == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(text)) == CURLE_OK &&
        (ca == NULL || curl_easy_setopt(curl, CURLOPT_CAINFO, ca) == CURLE_OK) &&
        curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, problem) == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take) == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer) == CURLE_OK;
    if (!ready) {
        code = fail(what, "out of memory");
    } else {
        CURLcode done = curl_easy_perform(curl);
        (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer->status);
        if (done != CURLE_OK) {
            (void)snprintf(message, sizeof message, "%s: %s; is polyagent serve running there?",
                           url, problem[0] != 0 ? problem : curl_easy_strerror(done));
            code = fail(what, message);
        }
    }
    if (code == 0) {
        answer->json = json_loadb(answer->bytes.size > 0 ? (const char *)answer->bytes.data : "",
                                  answer->bytes.size, 0, NULL);
        if (answer->json == NULL) {
            (void)snprintf(message, sizeof message, "%s: HTTP status %ld, and no JSON", url,
                           answer->status);
            code = fail(what, message);
        }
    }
    if (code == 0 && answer->status == 401) {
        const json_t *error = json_object_get(answer->json, "error");
        const char *why = json_string_value(json_object_get(error, "message"));
        (void)snprintf(message, sizeof message, "%.2000s; %s $POLYAGENT_TOKEN",
                       why != NULL ? why : "the server wants a token",
                       token != NULL ? "it is in" : "put yours into");
        code = fail(what, message);
    }
    curl_slist_free_all(headers);
    if (curl != NULL) curl_easy_cleanup(curl);
    free(text);
    return code;
}

static void release(struct answer *answer) {
    buffer_fini(&answer->bytes);
    json_decref(answer->json);
}

static int print_json(const char *what, const json_t *json) {
    bool written = json_print(json, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) == 0;
    return written ? 0 : fail(what, "cannot write the result");
}

static const char *text_in(const json_t *json, const char *key) {
    const char *text = json_string_value(json_object_get(json, key));
    return text != NULL ? text : "";
}

static int exit_code(const json_t *result) {
    const char *status = text_in(result, "status");
    if (strcmp(status, "OK") == 0)
        return (int)json_integer_value(json_object_get(result, "exit_code"));
    return strcmp(status, "TIMEOUT") == 0 ? TIME_IS_UP : FAILURE;
}

/* A program's output, on a terminal made fit for it. */
static int print_text(const char *text) {
    struct text_screen screen = {.used = 0};
    struct buffer out = {0};
    int result = isatty(STDOUT_FILENO) ? text_screen_write(&screen, text, strlen(text), true, &out)
                                       : buffer_append(&out, text, strlen(text));
    if (result == 0) result = fd_write_all(STDOUT_FILENO, out.data, out.size);
    buffer_fini(&out);
    return result;
}

/* submit SERVER json|text TEXT */
int net_submit_main(int argc, char **argv) {
    struct answer answer = {.json = NULL};
    if (argc != 4) return fail("submit", "is started by polyagent submit");
    int code =
        post("submit", argv[1], "/api/v1/tasks", json_pack("{s:s}", "query", argv[3]), &answer);
    if (code == 0 && strcmp(argv[2], "json") == 0) {
        code = print_json("submit", answer.json);
        if (code == 0) code = exit_code(answer.json);
    } else if (code == 0) {
        const char *message = text_in(json_object_get(answer.json, "error"), "message");
        if (print_text(text_in(answer.json, "result")) != 0)
            code = fail("submit", "cannot write the result");
        if (message[0] != 0) (void)fail("submit", message);
        if (code == 0) code = exit_code(answer.json);
    }
    release(&answer);
    return code;
}

/* tool SERVER NAME PARAMETERS */
int net_tool_main(int argc, char **argv) {
    struct answer answer = {.json = NULL};
    json_error_t error;
    if (argc != 4) return fail("tool", "is started by polyagent tool");
    json_t *parameters = json_loads(argv[3], JSON_REJECT_DUPLICATES, &error);
    if (parameters == NULL) return fail("tool: the parameters are no JSON", error.text);
    int code = post("tool", argv[1], "/tools/execute",
                    json_pack("{s:s, s:o}", "tool", argv[2], "parameters", parameters), &answer);
    if (code == 0) code = print_json("tool", answer.json);
    if (code == 0) code = exit_code(answer.json);
    release(&answer);
    return code;
}

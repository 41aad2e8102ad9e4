#include "tools/language.h"

#include "base/json_text.h"
#include "base/opener.h"
#include "bootstrap_javascript.h" /* javascript_bootstrap[], generated from interpreters/javascript */
#include "bootstrap_python.h"     /* python_bootstrap[], likewise */
#include "bootstrap_ruby.h"       /* ruby_bootstrap[], likewise */

#include <jansson.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool language_folder(size_t number, char *out, size_t size) {
    char self[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    self[length > 0 ? length : 0] = 0;
    char *slash = strrchr(self, '/');
    if (slash != NULL) *slash = 0;
    const char *const places[][2] = {{self, "/interpreters"},
                                     {self, "/../share/polyagent/interpreters"},
                                     {"", "/opt/wasm-interpreters"}};
    if (number >= sizeof places / sizeof *places) return false;
    (void)snprintf(out, size, "%s%s", places[number][0], places[number][1]);
    return true;
}

bool language_find(const struct language *language, const char *given, char *out, size_t size) {
    char folder[PATH_MAX];
    const char *named = given != NULL                ? given
                        : language->variable != NULL ? getenv(language->variable)
                                                     : NULL;
    if (named != NULL) {
        (void)snprintf(out, size, "%s", named);
        return true;
    }
    for (size_t i = 0; language_folder(i, folder, sizeof folder); i++) {
        (void)snprintf(out, size, "%s/%s", folder, language->file);
        if (opener_can_read(out)) return true;
    }
    return false;
}

static int put_field(struct buffer *job, const void *data, size_t size) {
    const uint32_t length = (uint32_t)size;
    if (size > UINT32_MAX) return -1;
    return buffer_append(job, &length, sizeof length) == 0 && buffer_append(job, data, size) == 0
               ? 0
               : -1;
}

/* What a bootstrap is to do beside running the program: answer, stay. */
static const char *modes_of(const struct program *p) {
    return p->session ? "as" : p->answers ? "a" : "";
}

/* The fields that bootstrap.py and bootstrap.rb read: modes, file name, source, sys.argv,
 * environment. The environment goes this way and not by WASI's, which an interpreter reads once: so
 * jobs with different variables can share a warm one. */
static int fields_job(struct buffer *job, const struct program *p, struct error *err) {
    uint32_t total = 0; /* in front, known at the end */
    char number[24];
    (void)snprintf(number, sizeof number, "%zu", p->rest_count + 1);
    int result = put_field(job, NULL, 0);
    if (result == 0) result = put_field(job, modes_of(p), strlen(modes_of(p)));
    if (result == 0) result = put_field(job, p->name, strlen(p->name));
    if (result == 0) result = put_field(job, p->source, p->source_bytes);
    if (result == 0) result = put_field(job, number, strlen(number));
    if (result == 0) result = put_field(job, p->argv0, strlen(p->argv0));
    for (size_t i = 0; i < p->rest_count && result == 0; i++)
        result = put_field(job, p->rest[i], strlen(p->rest[i]));
    for (size_t i = 0; i < p->env_count && result == 0; i++)
        result = put_field(job, p->env[i], strlen(p->env[i]));
    if (result != 0 || job->size > UINT32_MAX) {
        return error_set(err, PA_INTERNAL, "the program: out of memory");
    }
    total = (uint32_t)(job->size - sizeof total);
    memcpy(job->data, &total, sizeof total);
    return 0;
}

/* {"modes", "source", "args", "env", "seed"} in ASCII, as bootstrap.js reads it. The seed is for
 * Math.random, which a warm interpreter has seeded for all of its copies. */
static json_t *javascript_fields(const struct program *p) {
    json_t *args = json_array(), *env = json_object(), *seed = json_null();
    uint32_t numbers[4];
    (void)json_array_append_new(args, json_string(p->argv0));
    for (size_t i = 0; i < p->rest_count; i++)
        (void)json_array_append_new(args, json_string(p->rest[i]));
    for (size_t i = 0; i < p->env_count; i++) {
        const char *equals = strchr(p->env[i], '=');
        size_t length = equals != NULL ? (size_t)(equals - p->env[i]) : 0;
        if (length > 0) (void)json_object_setn_new(env, p->env[i], length, json_string(equals + 1));
    }
    if (!p->deterministic) {
        randombytes_buf(numbers, sizeof numbers);
        seed = json_pack("[I, I, I, I]", (json_int_t)numbers[0], (json_int_t)numbers[1],
                         (json_int_t)numbers[2], (json_int_t)numbers[3]);
    }
    return json_pack("{s:s, s:o, s:o, s:o, s:o}", "modes", modes_of(p), "source",
                     json_stringn(p->source_bytes > 0 ? p->source : "", p->source_bytes), "args",
                     args, "env", env, "seed", seed);
}

static int javascript_job(struct buffer *job, const struct program *p, struct error *err) {
    json_t *fields = javascript_fields(p);
    char *text = fields != NULL ? json_text(fields, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
    json_decref(fields);
    if (text == NULL) return error_set(err, PA_INVALID_ARGUMENT, "the program is no UTF-8");
    int result = put_field(job, text, strlen(text));
    free(text);
    return result == 0 ? 0 : error_set(err, PA_INTERNAL, "the program: out of memory");
}

static const char *const python_argv[] = {
    "python",
    "-I",
    "-S",
    "-X",
    "utf8",
    "-c",
    python_bootstrap,
    "collections,dataclasses,datetime,functools,itertools,json,math,random,re,string,typing"};
static const char *const javascript_argv[] = {"qjs", "--std", "-e", javascript_bootstrap};

const struct language language_python = {.name = "python",
                                         .title = "python",
                                         .bootstrap = python_bootstrap,
                                         .file = "python.wasm",
                                         .variable = "PYTHON_WASI_WASM_PATH",
                                         .argv = python_argv,
                                         .argc = 7,
                                         .warm_argc = 8,
                                         .answers = true,
                                         .rehearsal = "print(1)\n",
                                         .job = fields_job};
const struct language language_javascript = {.name = "js",
                                             .title = "javascript",
                                             .bootstrap = javascript_bootstrap,
                                             .file = "quickjs.wasm",
                                             .argv = javascript_argv,
                                             .argc = 4,
                                             .warm_argc = 4,
                                             .answers = true,
                                             .rehearsal = "console.log(1)",
                                             .job = javascript_job};

const struct language language_ruby = {.name = "ruby",
                                       .title = "ruby",
                                       .bootstrap = ruby_bootstrap,
                                       .file = "ruby.wasm",
                                       .answers = true,
                                       .rehearsal = "puts 1",
                                       .job = fields_job};

int language_rehearsal(const struct language *language, struct buffer *job, struct error *err) {
    return language->job(job,
                         &(struct program){.name = "<code>",
                                           .answers = true,
                                           .source = language->rehearsal,
                                           .source_bytes = strlen(language->rehearsal),
                                           .argv0 = "-c"},
                         err);
}

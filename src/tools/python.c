#include "tools/python.h"

#include "bootstrap_python.h" /* python_bootstrap[], generated from interpreters/python */

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const python_argv[PYTHON_WARM_ARGC] = {
    "python",
    "-I",
    "-S",
    "-X",
    "utf8",
    "-c",
    python_bootstrap,
    "collections,dataclasses,datetime,functools,itertools,json,math,random,re,string,typing"};

bool python_find(const char *given, char *out, size_t size) {
    char self[PATH_MAX];
    const char *named = given != NULL ? given : getenv("PYTHON_WASI_WASM_PATH");
    if (named != NULL) {
        (void)snprintf(out, size, "%s", named);
        return true;
    }
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    self[length > 0 ? length : 0] = 0;
    char *slash = strrchr(self, '/');
    if (slash != NULL) *slash = 0;
    const char *const places[][2] = {{self, "/interpreters/python.wasm"},
                                     {self, "/../share/polyagent/interpreters/python.wasm"},
                                     {"", "/opt/wasm-interpreters/python.wasm"}};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        (void)snprintf(out, size, "%s%s", places[i][0], places[i][1]);
        if (access(out, R_OK) == 0) return true;
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

/* The fields that bootstrap.py reads: file name, source, sys.argv, environment. The environment
 * goes this way and not by WASI's, which an interpreter reads once: so jobs with different
 * variables can share a warm one. */
int python_job(struct buffer *job, const struct python_program *p, struct error *err) {
    uint32_t total = 0; /* in front, known at the end */
    char number[24];
    (void)snprintf(number, sizeof number, "%zu", p->rest_count + 1);
    int result = put_field(job, NULL, 0);
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

int python_rehearsal(struct buffer *job, struct error *err) {
    static const char program[] = "print(1)\n"; /* what every program does, no more */
    return python_job(
        job,
        &(struct python_program){
            .name = "<code>", .source = program, .source_bytes = sizeof program - 1, .argv0 = "-c"},
        err);
}

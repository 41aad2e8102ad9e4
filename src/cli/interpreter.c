/* The Python that comes with polyagent: where it is, how it is started, and the form of its jobs.
 */
#include "cli/cli.h"

#include "base/buffer.h"
#include "bootstrap_python.h" /* python_bootstrap[], generated from interpreters/python */

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The last one is for interpreters that stay: what most programs import, imported once. */
const char *const cli_python_argv[CLI_PYTHON_WARM_ARGC] = {
    "python",
    "-I",
    "-S",
    "-X",
    "utf8",
    "-c",
    python_bootstrap,
    "collections,dataclasses,datetime,functools,itertools,json,math,random,re,string,typing"};

/* Where the interpreter is: as told, beside the program, or installed. False if it is nowhere. */
bool cli_find_python(const char *given, char *out, size_t size) {
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
    return buffer_append(job, &length, sizeof length) == 0 && buffer_append(job, data, size) == 0
               ? 0
               : cli_fail("python: out of memory");
}

/* The fields that bootstrap.py reads: file name, source, sys.argv, environment. The environment
 * goes this way and not by WASI's, which an interpreter reads once: so jobs with different
 * variables can share a warm one. */
int cli_python_job(struct buffer *job, const struct cli_program *p) {
    uint32_t total = 0; /* in front, known at the end */
    char number[16];
    (void)snprintf(number, sizeof number, "%d", p->rest_count + 1);
    int result = put_field(job, NULL, 0);
    if (result == 0) result = put_field(job, p->name, strlen(p->name));
    if (result == 0) result = put_field(job, p->source, p->source_bytes);
    if (result == 0) result = put_field(job, number, strlen(number));
    if (result == 0) result = put_field(job, p->argv0, strlen(p->argv0));
    for (int i = 0; i < p->rest_count && result == 0; i++)
        result = put_field(job, p->rest[i], strlen(p->rest[i]));
    for (size_t i = 0; i < p->env_count && result == 0; i++)
        result = put_field(job, p->env[i], strlen(p->env[i]));
    if (result == 0) {
        total = (uint32_t)(job->size - sizeof total);
        memcpy(job->data, &total, sizeof total);
    }
    return result;
}

int cli_python_rehearsal(struct buffer *job) {
    static const char program[] = "print(1)\n"; /* what every program does, no more */
    return cli_python_job(job, &(struct cli_program){.name = "<code>",
                                                     .source = program,
                                                     .source_bytes = sizeof program - 1,
                                                     .argv0 = "-c"});
}

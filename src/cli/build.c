/* `polyagent build`: Python to a WebAssembly module of its own. */
#include "cli/cli.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "compile/compile.h"
#include "tools/base64.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "usage: polyagent build FILE.py -o OUT.wasm|OUT.wat\n\n"
    "Compiles Python straight to WebAssembly: a wasip1 module that any engine runs, with nothing "
    "to\n"
    "install. It knows a part of Python (docs/compile.md); a program beyond that is refused, with "
    "the\n"
    "place and the reason, and is one for `polyagent python`.\n\n"
    "  -o FILE   .wasm, or .wat for the text form\n\n"
    "Examples:\n"
    "  polyagent build examples/collatz.py -o collatz.wasm && polyagent run collatz.wasm\n"
    "  polyagent build hello.py -o hello.wat\n";

static bool ends_with(const char *text, const char *end) {
    size_t length = strlen(text), tail = strlen(end);
    return length > tail && strcmp(text + length - tail, end) == 0;
}

/* Nobody finds half a file: it gets its name when it is whole. */
static int write_file(const char *path, const void *data, size_t size) {
    char *temp = NULL;
    if (asprintf(&temp, "%s.XXXXXX", path) < 0) return -ENOMEM;
    int fd = mkostemp(temp, O_CLOEXEC), result = fd < 0 ? -errno : 0;
    if (result == 0) result = fd_write_all(fd, data, size);
    if (result == 0 && fchmod(fd, 0644) != 0) result = -errno;
    if (fd >= 0 && close(fd) != 0 && result == 0) result = -errno;
    if (result == 0 && rename(temp, path) != 0) result = -errno;
    if (fd >= 0 && result != 0) (void)unlink(temp);
    free(temp);
    return result;
}

static int save(const struct compiled *made, const char *out) {
    char *text = NULL;
    if (ends_with(out, ".wat")) {
        text = compile_text(made->wasm, made->size);
        if (text == NULL) return cli_fail("build: the module's text: out of memory");
    }
    int result = text != NULL ? write_file(out, text, strlen(text))
                              : write_file(out, made->wasm, made->size);
    free(text);
    return result == 0 ? 0 : cli_fail("build: write %s: %s", out, strerror(-result));
}

json_t *cli_build_module(const json_t *parameters, struct error *err) {
    const json_t *code = json_object_get(parameters, "code");
    struct compiled made;
    struct compile_error error;
    if (compile_python(json_string_value(code), json_string_length(code), "<code>", &made,
                       &error) != 0) {
        error_set(err, PA_INVALID_ARGUMENT, "code, line %u, column %u: %s", error.line,
                  error.column, error.text);
        return NULL;
    }
    bool wat = json_is_true(json_object_get(parameters, "wat"));
    char *encoded = base64_encode(made.wasm, made.size),
         *text = wat ? compile_text(made.wasm, made.size) : NULL;
    json_t *answer = json_pack("{s:s, s:s}", "status", "OK", "wasm_base64", encoded);
    bool whole = answer != NULL && encoded != NULL && (!wat || text != NULL);
    if (whole && wat) whole = json_object_set_new(answer, "wat", json_string(text)) == 0;
    free(text);
    free(encoded);
    free(made.wasm);
    if (whole) return answer;
    json_decref(answer);
    error_set(err, PA_INTERNAL, "the compiled module: out of memory");
    return NULL;
}

static int build(const char *path, const char *out) {
    struct buffer source = {0};
    struct compiled made;
    struct compile_error error;
    _cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    int result = fd < 0 ? -errno : buffer_read_fd(&source, fd, COMPILE_MAX_SOURCE_BYTES);
    if (result != 0) {
        buffer_fini(&source);
        return cli_fail("build: read %s: %s", path, strerror(-result));
    }
    const char *text = source.size > 0 ? (const char *)source.data : "";
    if (compile_python(text, source.size, path, &made, &error) != 0) {
        (void)fprintf(stderr, "%s:%u:%u: %s\n", path, error.line, error.column, error.text);
        result = CLI_EXIT_FAILURE;
    } else {
        result = save(&made, out);
        free(made.wasm);
    }
    buffer_fini(&source);
    return result;
}

int cli_build_main(int argc, char **argv) {
    static const struct option table[] = {{"output", required_argument, NULL, 'o'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    const char *out = NULL;
    for (int option; (option = getopt_long(argc, argv, ":o:h", table, NULL)) != -1;) {
        switch (option) {
        case 'o': out = optarg; break;
        case 'h': (void)fputs(help, stdout); return 0;
        default: return cli_bad_option(argv, "build", table);
        }
    }
    if (optind + 1 != argc) return cli_fail("build: name one file; see polyagent build --help");
    if (out == NULL || (!ends_with(out, ".wasm") && !ends_with(out, ".wat")))
        return cli_fail("build: -o names what to make: a .wasm or a .wat file");
    return build(argv[optind], out);
}

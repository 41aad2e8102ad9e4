/* Embeds the sandbox in a program of your own:
 *
 *     cc examples/embed.c $(pkg-config --cflags --libs polyagent) -o embed && ./embed module.wasm
 */
#include <polyagent.h>

#include <stdio.h>

int main(int argc, char **argv) {
    struct pa_error error = {0};
    if (argc != 2) {
        fprintf(stderr, "usage: embed MODULE\n");
        return 2;
    }
    struct pa_sandbox *sandbox = pa_sandbox_new(NULL, &error);
    struct pa_module *module =
        sandbox != NULL ? pa_module_open(sandbox, argv[1], NULL, &error) : NULL;
    if (module == NULL) {
        fprintf(stderr, "%s\n", error.message);
        pa_sandbox_free(sandbox);
        return 1;
    }

    const char *const args[] = {"module", "an argument"};
    struct pa_job job = {.argv = args, .argc = 2, .stdin_data = "input", .stdin_bytes = 5};
    pa_limits_default(&job.limits);
    job.limits.execution_timeout_ms = 1000;

    struct pa_result *result = pa_run(sandbox, module, &job);
    if (result != NULL) {
        printf("%s, exit code %d, %.2f ms, %zu bytes of output:\n%s",
               pa_status_name(result->status), result->exit_code, result->usage.wall_ms,
               result->stdout_size, result->stdout_data);
        if (result->message != NULL) printf("%s\n", result->message);
    }
    int code = result != NULL && result->status == PA_OK ? 0 : 1;
    pa_result_free(result);
    pa_module_free(module);
    pa_sandbox_free(sandbox);
    return code;
}

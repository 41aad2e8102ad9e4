/* What the tests of the supervisor share: one with a cache of its own, jobs, and what is left. */
#ifndef PA_TEST_FAULT_FIXTURE_H
#define PA_TEST_FAULT_FIXTURE_H

#include "supervisor/supervisor.h"

#define MODULE(body) "(module (memory (export \"memory\") 1) " body ")"
#define START(body) "(func (export \"_start\") " body ")"
/* Says hello, after it has done what `first` says. */
#define HELLO(first) \
    "(module (import \"wasi_snapshot_preview1\" \"fd_write\"" \
    " (func $write (param i32 i32 i32 i32) (result i32)))" \
    "(memory (export \"memory\") 1)" \
    "(data (i32.const 0) \"\\08\\00\\00\\00\\04\\00\\00\\00Hi!\\n\")" \
    "(func (export \"_start\") (local $i i32) " first \
    "(drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 28)))))"

struct bench {
    sd_event *event;
    struct supervisor *supervisor;
    struct cache cache;
    char helper[4096];
    char cache_dir[64];
};

struct outcome {
    int results;
    enum pa_status status;
    int exit_code;
    uint32_t layers;
    char message[1024];
    char output[256];
};

/* A supervisor with these settings; sets what does not matter to a test itself. */
void open_bench(struct bench *b, struct supervisor_config config);
/* And everything that was made for it. */
void close_bench(struct bench *b);

struct pa_job new_job(void); /* with default limits */
int submit_as(struct bench *b, const char *tenant, const char *wat, const struct pa_job *job,
              struct outcome *outcome, struct supervisor_run **run, struct error *err);
void submit(struct bench *b, const char *wat, const struct pa_job *job, struct outcome *outcome);
/* A job's callback; the context is its struct outcome. */
void take(void *context, const struct supervisor_result *result);
/* One turn of the loop; fails when nothing happens for long. */
void turn(struct bench *b);
void wait_for(struct bench *b, const struct outcome *outcome);

/* Runs a job in an interpreter, to its end. */
void run_interpreter(struct bench *b, const char *wasm, const char *const *argv, size_t argc,
                     const void *data, size_t bytes, struct pa_job job, struct outcome *outcome);
/* In Python, with `modules` (a,b,c) imported before the checkpoint. */
void run_python(struct bench *b, const char *code, const char *modules, struct pa_job job,
                struct outcome *outcome);

/* Of this process. */
int count_fds(void);
bool has_children(void);
size_t children(pid_t *pids, size_t size);
/* A worker is the first process of a namespace of its own: it has two ids. */
bool is_worker(pid_t pid);

#endif

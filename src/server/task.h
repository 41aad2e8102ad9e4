/* Tasks in words (spec section 7). "Use TOOL to execute: CODE", and a task whose context names a
 * tool, runs that tool with no model involved. Anything else goes to an OpenAI-compatible endpoint,
 * where one is configured: the model gets the tools, calls them, sees results, answers; rounds,
 * tokens and time are bounded. */
#ifndef PA_SERVER_TASK_H
#define PA_SERVER_TASK_H

#include "server/service.h"

struct tasks;
struct task; /* one under way */

struct tasks *tasks_new(struct service *service, struct error *err);
void tasks_free(struct tasks *tasks);

struct task_request {
    const char *query;   /* may be "" beside tool_parameters */
    const json_t *tool;  /* {"tool": NAME, parameters...}; NULL */
    const char *task_id; /* NULL or "": the request's id */
};

struct task_callbacks {
    /* A tool is called, or has ended; all is the caller's. May be NULL. */
    void (*update)(void *context, const json_t *tool_call, const json_t *tool_result);
    /* Once, unless the task was cancelled. Takes over the result: {"task_id", "status", "result",
     * "tool_calls", "tool_results", "metrics", "error", "request_id"}; NULL: out of memory. */
    void (*done)(void *context, enum pa_status status, json_t *result);
};

/* `request` may be released after the call. NULL with `err`. */
struct task *task_start(struct tasks *tasks, const struct service_caller *caller,
                        const struct task_request *request, const struct task_callbacks *callbacks,
                        void *context, struct error *err);
/* Not from within `done`. */
void task_cancel(struct task *task);

#endif

/* A run's result as JSON: the names of the contract (spec section 3), the same in every interface.
 */
#ifndef PA_TOOLS_RESULT_H
#define PA_TOOLS_RESULT_H

#include "base/buffer.h"
#include "supervisor/socket.h"

#include <jansson.h>

/* Where a run's output and answer go while it lasts. */
struct result_files {
    int outputs[2]; /* owned; stdout and stderr; the second is -1 where both are in the first */
    int answer;     /* owned; what an interpreter's bootstrap says in the end; -1: nothing */
    uint64_t limit_bytes; /* of each output */
};
#define RESULT_NO_FILES ((struct result_files){.outputs = {-1, -1}, .answer = -1})
/* Files in memory, for a run whose output is limited (0: not at all, but to what is read into a
 * result). -1 with `err`: nothing to release. */
int result_files_open(struct result_files *files, bool merged, bool answers, uint64_t limit_bytes,
                      struct error *err);
void result_files_close(struct result_files *files);

/* Without its output; a new object, or NULL when memory runs out. */
json_t *result_json(const struct pa_result *result);

/* Adds stdout and stderr as text, and where it is no UTF-8, with replacement characters and once
 * more in base64. What goes beyond the limit, which only native code can write, is left out, and
 * "stdout_truncated" tells so. -1 when memory runs out, or a file cannot be read. */
int result_add_outputs(json_t *result, const struct result_files *files);
/* Of the answer, which is the guest's word, "result" and "artifacts" (those that are sound:
 * tools/artifact.h); and where `turn` is set, the exit code: nothing else tells that of a
 * session's. An answer with more in it than a bootstrap says is left out unparsed. -1 likewise. */
int result_add_answer(json_t *result, int answer, bool turn);
/* One of the outputs, by its name, from memory. */
int result_add_output(json_t *result, const char *name, const void *data, size_t size);

/* A part of a stream as text; a character that is not complete waits in `held` for the next part,
 * unless this is the `last`. NULL when memory runs out. */
json_t *result_chunk(struct buffer *held, const void *data, size_t size, bool last);

/* A supervisor's reply in the form of a result; it points into the reply, whose texts are ended. */
struct pa_result result_of_reply(struct socket_reply *reply);

#endif

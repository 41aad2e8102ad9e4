/* Python that is compiled: the tool that makes modules, and the runner's modes. Nothing here looks
 * at the program: a process of its own does, sealed, which the supervisor starts
 * (sandbox/compiler.h). */
#ifndef PA_TOOLS_COMPILE_H
#define PA_TOOLS_COMPILE_H

#include "tools/result.h"
#include "tools/tools.h"

/* For python_compile: call->module is the program, and what comes of it goes to stdout. */
int tool_prepare_module(struct tool_call *call, const json_t *parameters, struct error *err);
/* {"status", "wasm_base64", and if `text`, "wat"} of such a run that ended well; NULL: memory is
 * out, or the compiler has not written what it should. */
json_t *tool_module(const struct result_files *files, bool text);

/* For python_wasi_runner: 1, and call->module is the program, to be compiled, if `mode` wants that;
 * 0: it is one for the interpreter; -1 with `err`. */
int tool_take_compiled(struct tool_call *call, const json_t *parameters, struct error *err);

/* Of a call in mode auto that is to be compiled: its parameters to run it interpreted, for the
 * caller to release; NULL: it is none such, or memory ran out. */
json_t *tool_interpreted(const struct tool_call *call, const json_t *parameters);
/* Whether a run of that call came to nothing for want of an interpreter: it cannot be compiled, or
 * came upon what only an interpreter can do. */
bool tool_gave_up(const struct pa_result *result);

#endif

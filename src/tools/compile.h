/* Python that is compiled: the tool that makes modules, and the runner's modes. */
#ifndef PA_TOOLS_COMPILE_H
#define PA_TOOLS_COMPILE_H

#include "tools/tools.h"

/* {"wasm_base64", "wat"} of a program; NULL with `err`: PA_INVALID_ARGUMENT says where and why. */
json_t *tool_python_compile(const json_t *parameters, const struct tool_rules *rules,
                            struct error *err);

/* For python_wasi_runner: 1, and call->module is the program as a module, if `mode` wants that and
 * it can be; 0: it is one for the interpreter; -1 with `err`. */
int tool_take_compiled(struct tool_call *call, const json_t *parameters, struct error *err);

/* Of a call that was compiled in mode auto: its parameters to run it again, interpreted, for the
 * caller to release; NULL: it is none such, or memory ran out. */
json_t *tool_interpreted(const struct tool_call *call, const json_t *parameters);
/* Whether a run of that call ended because it came upon what only an interpreter can do. */
bool tool_gave_up(const struct pa_result *result);

#endif

/* A run's own folders, gone after the run: /workspace, with the files of a request in it, and
 * /output, from which it takes artifacts along. */
#ifndef PA_TOOLS_WORKSPACE_H
#define PA_TOOLS_WORKSPACE_H

#include "base/error.h"
#include "tools/folder.h"

#include <polyagent.h>
#include <jansson.h>

#define OUTPUT_GUEST_PATH "/output"
enum { WORKSPACE_FOLDERS = 2 };

struct workspace {
    char *path; /* of the folder that holds both; owned; NULL: there is none */
    char workspace[512], output[512]; /* "": not made */
};

/* Makes them in $TMPDIR or /tmp: /workspace if there are `files` (NULL: none), {PATH: TEXT or
 * {"base64": TEXT}} with paths beneath it; /output if it is wanted. -1 with `err`: nothing is left.
 */
int workspace_make(struct workspace *workspace, const json_t *files, bool output,
                   struct error *err);

/* Removes all that is in them. Of zeros, too. */
void workspace_remove(struct workspace *workspace);

/* Fills in what a run is to mount; the number of mounts, whose texts are the workspace's. */
size_t workspace_mounts(const struct workspace *workspace,
                        struct pa_mount mounts[WORKSPACE_FOLDERS]);

/* Adds what the run has left in /output, if it had one, as "artifacts": [{"name", "mime",
 * "bytes_base64"}], at most 100 files and 32 MiB; "artifacts_truncated" tells if that is not all.
 * -1 when memory runs out. */
int workspace_add_artifacts(const struct workspace *workspace, json_t *result);
/* The same of a folder of the caller's. */
int workspace_add_artifacts_of(const char *folder, json_t *result);

#endif

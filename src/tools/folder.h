/* Files beneath a folder that a guest can write to: whatever it has put there, nothing outside is
 * reached. Paths are those of a request: relative, or beneath /workspace. */
#ifndef PA_TOOLS_FOLDER_H
#define PA_TOOLS_FOLDER_H

#include "base/buffer.h"
#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <sys/stat.h>

#define WORKSPACE_GUEST_PATH "/workspace"
enum { FOLDER_MAX_PATH_BYTES = 1024, FOLDER_MAX_DEPTH = 64 };

/* The path within the folder; NULL for one that is none, or deeper than FOLDER_MAX_DEPTH folders.
 */
const char *folder_path(const char *path);

/* openat2() beneath `dir`, through no link; a descriptor or a negative errno. */
int folder_open(int dir, const char *path, uint64_t flags);

/* A file's bytes from its value in a request: text, or {"base64": TEXT}. -1 with `err`; `name` is
 * for that. */
int folder_bytes(const char *name, const json_t *value, struct buffer *bytes, struct error *err);

/* How files of a request are written. */
struct folder_put {
    int staging;                     /* an empty folder of the same file system, nobody else's */
    bool replace;                    /* files that are there already; never folders */
    bool sync;                       /* it is on the disk before it is acknowledged */
    uint64_t free_bytes, free_names; /* how far what is in the folder may grow */
    int64_t bytes, names;            /* how far it has grown; folders that were made count, too */
};

/* What files take at most, and the folders that they lie in. */
struct folder_most {
    uint64_t bytes, folder_bytes, names; /* of the files; of the folders; of both */
};

/* Adds a file of `size` bytes. */
void folder_put_most(const char *name, uint64_t size, struct folder_most *most);

/* All of `files`, {PATH: value}, at most 1,000, and the folders that they lie in; NULL: none. They
 * are written beside and moved in: on a failure (a full disk, a quota, a folder in the way) what
 * was there is there. -1 with `err`. */
int folder_fill(int dir, const json_t *files, struct folder_put *how, struct error *err);
/* The same of one. */
int folder_put(int dir, const char *name, const struct buffer *bytes, struct folder_put *how,
               struct error *err);

/* A regular file, opened to be read, of at most `most` bytes. -1 with `err`: PA_NOT_FOUND,
 * PA_INVALID_ARGUMENT. */
int folder_file(int dir, const char *name, uint64_t most, struct error *err);
/* Its bytes. -1 likewise. */
int folder_read(int dir, const char *name, size_t most, struct buffer *bytes, struct error *err);

/* A name beneath a folder: it lies in `dir`, and its copy in `to` where one is made; `path`, from
 * the folder, is NULL where it is too long for one. */
struct folder_place {
    int dir, to;
    const char *name, *path;
};
typedef int folder_visit(void *context, const struct folder_place *place, const struct stat *st);

/* Calls `visit` for each name beneath, in order, a folder before what is in it; `to` is -1, or
 * where it makes a copy. What `visit` returns, where that is not 0, ends it and is returned; so is
 * another negative errno. -ELOOP: all was seen but for what lies in more than FOLDER_MAX_DEPTH
 * folders, as a guest can make them. */
int folder_walk(int dir, int to, folder_visit *visit, void *context);

/* [{"path", "bytes", "modified"}] of the files, in order; NULL when memory runs out. */
json_t *folder_list(int dir);

/* What it takes of a quota (wasi_disk_bytes()), and how many names there are. -E2BIG: more than
 * `most` names; -ELOOP where folders lie deeper in each other than FOLDER_MAX_DEPTH; or another
 * negative errno: what was counted until then. */
int folder_usage(int dir, uint64_t most, uint64_t *bytes, uint64_t *names);

/* Whether there is surely nothing in it, by one look; false of a folder that was so full once that
 * looking takes long. */
bool folder_is_bare(int at, const char *path);

/* Copies files, folders and links, a file of several names once; where the file system can, without
 * copying bytes. -1 with `err`. */
int folder_copy(int from, int to, struct error *err);

/* Moves all that is in it to another folder of the file system, where none of the names are. -1
 * with `err`. */
int folder_move(int from, int to, struct error *err);

/* Removes all that is in it, however deep; `path` begins at the folder `at`, or AT_FDCWD. What
 * cannot be removed is logged. */
void folder_empty(int at, const char *path);

/* Removes it, too. */
void folder_remove(int at, const char *path);

#endif

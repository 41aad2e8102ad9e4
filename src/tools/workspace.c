#include "tools/workspace.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "tools/artifact.h"
#include "tools/base64.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

/* A folder within the run's, with files in it. */
static int fill(const char *path, int top, const json_t *files, struct error *err) {
    if (mkdir(path, 0755) != 0) return error_set_errno(err, PA_INTERNAL, errno, "make %s", path);
    _cleanup_(fd_closep) int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) return error_set_errno(err, PA_INTERNAL, errno, "files: %s", path);
    struct folder_put how = {.staging = top, .free_bytes = UINT64_MAX, .free_names = UINT64_MAX};
    return folder_fill(dir, files, &how, err);
}

int workspace_make(struct workspace *w, const json_t *files, bool output, struct error *err) {
    const char *temp = getenv("TMPDIR");
    int result = 0;
    *w = (struct workspace){.path = NULL};
    if (temp == NULL) temp = "/tmp";
    if (strlen(temp) > sizeof w->output - 64)
        return error_set(err, PA_INVALID_ARGUMENT, "TMPDIR: the path is too long");
    if (asprintf(&w->path, "%s/polyagent-run-XXXXXX", temp) < 0) {
        w->path = NULL;
        return error_set(err, PA_INTERNAL, "files: out of memory");
    }
    if (mkdtemp(w->path) == NULL) {
        error_set_errno(err, PA_INTERNAL, errno, "files: make a folder %s", w->path);
        free(steal_ptr(w->path));
        return -1;
    }
    _cleanup_(fd_closep) int top = open(w->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (top < 0) result = error_set_errno(err, PA_INTERNAL, errno, "files: open %s", w->path);
    if (files != NULL && result == 0) {
        (void)snprintf(w->workspace, sizeof w->workspace, "%.480s%s", w->path,
                       WORKSPACE_GUEST_PATH);
        result = fill(w->workspace, top, files, err);
    }
    if (output && result == 0) {
        (void)snprintf(w->output, sizeof w->output, "%.480s%s", w->path, OUTPUT_GUEST_PATH);
        result = fill(w->output, top, NULL, err);
    }
    if (result != 0) workspace_remove(w);
    return result;
}

size_t workspace_mounts(const struct workspace *w, struct pa_mount mounts[WORKSPACE_FOLDERS]) {
    size_t count = 0;
    if (w->workspace[0] != 0)
        mounts[count++] = (struct pa_mount){
            .host_path = w->workspace, .guest_path = WORKSPACE_GUEST_PATH, .writable = true};
    if (w->output[0] != 0)
        mounts[count++] = (struct pa_mount){
            .host_path = w->output, .guest_path = OUTPUT_GUEST_PATH, .writable = true};
    return count;
}

/* By the name's ending; what programs leave most. */
static const char *mime_of(const char *name) {
    static const char *const known[][2] = {
        {".png", "image/png"},       {".jpg", "image/jpeg"},     {".jpeg", "image/jpeg"},
        {".gif", "image/gif"},       {".svg", "image/svg+xml"},  {".webp", "image/webp"},
        {".pdf", "application/pdf"}, {".csv", "text/csv"},       {".txt", "text/plain"},
        {".html", "text/html"},      {".md", "text/markdown"},   {".json", "application/json"},
        {".zip", "application/zip"}, {".xml", "application/xml"}};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot != NULL && i < sizeof known / sizeof *known; i++)
        if (strcasecmp(dot, known[i][0]) == 0) return known[i][1];
    return "application/octet-stream";
}

struct artifacts {
    json_t *list;
    size_t bytes;
    bool truncated;
};

/* A file that the run has made: a regular one, or it does not count. */
static int add_artifact(void *context, const struct folder_place *place, const struct stat *seen) {
    struct artifacts *a = context;
    const char *name = place->path;
    struct stat st;
    struct buffer bytes = {0};
    if (!S_ISREG(seen->st_mode)) return 0;
    if (name == NULL || !artifact_is_name(name, true)) {
        a->truncated = true;
        return 0;
    }
    _cleanup_(fd_closep) int fd = folder_open(place->dir, place->name, O_RDONLY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) return 0;
    if (json_array_size(a->list) == ARTIFACT_MAX_FILES || st.st_size > ARTIFACT_MAX_BYTES ||
        a->bytes + (size_t)st.st_size > ARTIFACT_MAX_BYTES ||
        buffer_read_fd(&bytes, fd, (size_t)st.st_size) != 0) {
        buffer_fini(&bytes);
        a->truncated = true;
        return 0;
    }
    a->bytes += bytes.size;
    char *encoded = base64_encode(bytes.data, bytes.size);
    json_t *name_text = json_string(name); /* NULL: no UTF-8 */
    json_t *entry = NULL;
    if (encoded != NULL && name_text != NULL) {
        entry = json_pack("{s:O, s:s, s:s}", "name", name_text, "mime", mime_of(name),
                          "bytes_base64", encoded);
    }
    a->truncated = a->truncated || name_text == NULL;
    int result = name_text == NULL || (entry != NULL && json_array_append(a->list, entry) == 0);
    json_decref(entry);
    json_decref(name_text);
    free(encoded);
    buffer_fini(&bytes);
    return result != 0 ? 0 : -ENOMEM;
}

int workspace_add_artifacts(const struct workspace *w, json_t *result) {
    return w->output[0] != 0 ? workspace_add_artifacts_of(w->output, result) : 0;
}

int workspace_add_artifacts_of(const char *folder, json_t *result) {
    struct artifacts a = {.list = json_array()};
    _cleanup_(fd_closep) int dir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int done = a.list != NULL && dir >= 0 ? folder_walk(dir, -1, add_artifact, &a) : -ENOMEM;
    if (done != 0 && done != -ENOMEM) { /* what cannot be reached is left out */
        a.truncated = true;
        done = 0;
    }
    json_t *others = json_object_get(result, "artifacts"); /* of the answer */
    if (done == 0 && json_array_size(a.list) > 0)
        done = others != NULL ? json_array_extend(others, a.list)
                              : json_object_set(result, "artifacts", a.list);
    if (done == 0 && a.truncated)
        done = json_object_set_new(result, "artifacts_truncated", json_true());
    json_decref(a.list);
    return done == 0 ? 0 : -1;
}

void workspace_remove(struct workspace *w) {
    if (w->path == NULL) return;
    folder_remove(AT_FDCWD, w->path);
    free(w->path);
    *w = (struct workspace){.path = NULL};
}

/* Files of a request, all of them or none. */
#include "tools/folder.h"

#include "base/cleanup.h"
#include "tools/base64.h"
#include "wasi/wasi.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_FILES = 1000, SINGLE_SYNCS = 8 };

int folder_bytes(const char *name, const json_t *value, struct buffer *bytes, struct error *err) {
    const char *text = json_string_value(value);
    const json_t *encoded = json_object_get(value, "base64");
    if (text != NULL) {
        return buffer_append(bytes, text, json_string_length(value)) == 0
                   ? 0
                   : error_set(err, PA_INTERNAL, "files: out of memory");
    }
    if (!json_is_string(encoded) || json_object_size(value) != 1) {
        return error_set(err, PA_INVALID_ARGUMENT,
                         "files.%.100s: must be a string, or {\"base64\": STRING}", name);
    }
    size_t length = json_string_length(encoded), wrong;
    bytes->data = malloc(length / 4 * 3 + 3);
    if (bytes->data == NULL) return error_set(err, PA_INTERNAL, "files: out of memory");
    bytes->capacity = length / 4 * 3 + 3;
    ptrdiff_t size = base64_decode(json_string_value(encoded), length, bytes->data, &wrong);
    if (size < 0) {
        return error_set(err, PA_INVALID_ARGUMENT, "files.%.100s: not base64, at character %zu",
                         name, wrong);
    }
    bytes->size = (size_t)size;
    return 0;
}

void folder_put_most(const char *name, uint64_t size, struct folder_most *most) {
    most->bytes += wasi_disk_bytes(S_IFREG, size);
    most->names++;
    for (const char *slash = strchr(name, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        most->folder_bytes += wasi_disk_bytes(S_IFDIR, 0);
        most->names++;
    }
}

/* One on its way. */
struct item {
    const char *name, *path; /* of the request; within the folder */
    uint64_t bytes, former_bytes;
    unsigned made;  /* folders, the deepest of its path */
    bool is_staged; /* in the staging folder, by its number */
    bool is_new;
};

struct put {
    int dir;
    struct folder_put *how;
    struct item *items; /* owned */
    size_t count, room;
};

static int refuse(const struct item *item, int number, struct error *err) {
    if (number == EEXIST || number == ENOTDIR || number == EISDIR || number == ELOOP)
        return error_set(err, PA_INVALID_ARGUMENT, "files.%.100s: stands in the way of another",
                         item->name);
    return error_set_errno(err, PA_INTERNAL, number, "files.%.100s", item->name);
}

/* The folder that a name lies in; with `made`, it is made where it is not there, and the number of
 * folders that were is put there. `leaf` is the rest of the name. */
static int open_parent(int dir, const char *path, unsigned *made, const char **leaf) {
    char part[FOLDER_MAX_PATH_BYTES];
    int parent = folder_open(dir, ".", O_PATH | O_DIRECTORY);
    *leaf = path;
    for (const char *slash = strchr(path, '/'); slash != NULL && parent >= 0;
         slash = strchr(*leaf, '/')) {
        (void)snprintf(part, sizeof part, "%.*s", (int)(slash - *leaf), *leaf);
        int result = made == NULL ? 0 : mkdirat(parent, part, 0755) == 0 ? 1 : -errno;
        if (result == 1) ++*made;
        int next = result >= 0 || result == -EEXIST
                       ? folder_open(parent, part, O_PATH | O_DIRECTORY)
                       : result;
        (void)close(parent);
        parent = next;
        *leaf = slash + 1;
    }
    return parent;
}

static int sync_file(const struct put *p, int fd) {
    if (!p->how->sync || p->room > SINGLE_SYNCS) return 0;
    return fsync(fd) == 0 ? 0 : -errno;
}

/* Writes it where it is in nobody's way. */
static int stage(struct put *p, const char *name, const struct buffer *bytes, struct error *err) {
    char number[24];
    struct item *item = &p->items[p->count];
    *item = (struct item){
        .name = name, .path = folder_path(name), .bytes = wasi_disk_bytes(S_IFREG, bytes->size)};
    if (item->path == NULL) {
        return error_set(err, PA_INVALID_ARGUMENT,
                         "files.%.100s: is no path beneath " WORKSPACE_GUEST_PATH
                         ", at most %d folders deep",
                         name, FOLDER_MAX_DEPTH);
    }
    (void)snprintf(number, sizeof number, "%zu", p->count++);
    _cleanup_(fd_closep) int fd =
        openat(p->how->staging, number, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    int result = fd < 0 ? -errno : 0;
    item->is_staged = fd >= 0;
    if (result == 0) result = fd_write_all(fd, bytes->data, bytes->size);
    if (result == 0) result = sync_file(p, fd);
    return result == 0 ? 0 : refuse(item, -result, err);
}

/* Makes the folders that it lies in, and sees what is there: a file or a link goes, a folder stays.
 */
static int prepare(struct put *p, struct item *item, struct error *err) {
    const char *leaf;
    struct stat st;
    _cleanup_(fd_closep) int parent = open_parent(p->dir, item->path, &item->made, &leaf);
    if (parent < 0) return refuse(item, -parent, err);
    if (fstatat(parent, leaf, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        item->is_new = errno == ENOENT;
        return item->is_new ? 0 : refuse(item, errno, err);
    }
    if (S_ISDIR(st.st_mode) || !p->how->replace) return refuse(item, EEXIST, err);
    if (S_ISREG(st.st_mode) && st.st_nlink == 1)
        item->former_bytes = wasi_disk_bytes(st.st_mode, (uint64_t)st.st_size);
    return 0;
}

/* '/' before all else: so what lies beneath a name comes right after it. */
static int compare_paths(const void *a, const void *b) {
    const char *x = (*(struct item *const *)a)->path, *y = (*(struct item *const *)b)->path;
    while (*x != 0 && *x == *y)
        x++, y++;
    int left = *x == '/' ? 1 : *x == 0 ? 0 : (uint8_t)*x + 1;
    int right = *y == '/' ? 1 : *y == 0 ? 0 : (uint8_t)*y + 1;
    return left - right;
}

/* Two of one path ("a" and "/workspace/a"), or one within another: not all of them can be. */
static int check_names(struct put *p, struct error *err) {
    int result = 0;
    struct item **sorted = calloc(p->count, sizeof *sorted);
    if (sorted == NULL) return error_set(err, PA_INTERNAL, "files: out of memory");
    for (size_t i = 0; i < p->count; i++)
        sorted[i] = &p->items[i];
    qsort(sorted, p->count, sizeof *sorted, compare_paths);
    for (size_t i = 1; i < p->count && result == 0; i++) {
        size_t length = strlen(sorted[i - 1]->path);
        const char *path = sorted[i]->path;
        if (strncmp(sorted[i - 1]->path, path, length) == 0 &&
            (path[length] == 0 || path[length] == '/'))
            result = refuse(sorted[i - 1], EEXIST, err);
    }
    free(sorted);
    return result;
}

static int check_room(struct put *p, struct error *err) {
    uint64_t bytes = 0, former = 0, names = 0;
    for (size_t i = 0; i < p->count; i++) {
        bytes += p->items[i].bytes + p->items[i].made * wasi_disk_bytes(S_IFDIR, 0);
        former += p->items[i].former_bytes;
        names += p->items[i].made + p->items[i].is_new;
    }
    if ((bytes > former && bytes - former > p->how->free_bytes) || names > p->how->free_names)
        return error_set(err, PA_INVALID_ARGUMENT,
                         "files: /workspace would hold more than its quota");
    p->how->bytes = (int64_t)(bytes - former);
    p->how->names = (int64_t)names;
    return 0;
}

/* What was there may be open in a guest, or be a link: the name is another file's from now on. */
static int put_in_place(const struct put *p, size_t number, struct error *err) {
    char staged[24];
    const char *leaf;
    struct item *item = &p->items[number];
    (void)snprintf(staged, sizeof staged, "%zu", number);
    _cleanup_(fd_closep) int parent = open_parent(p->dir, item->path, NULL, &leaf);
    if (parent < 0 || renameat(p->how->staging, staged, parent, leaf) != 0)
        return refuse(item, parent < 0 ? -parent : errno, err);
    item->is_staged = false;
    if (!p->how->sync || p->count > SINGLE_SYNCS) return 0;
    _cleanup_(fd_closep) int names = folder_open(parent, ".", O_RDONLY | O_DIRECTORY);
    return names >= 0 && fsync(names) == 0 ? 0 : refuse(item, errno, err);
}

/* The folders that were made for what is not to be. */
static void undo(const struct put *p) {
    char path[FOLDER_MAX_PATH_BYTES], number[24];
    for (size_t i = p->count; i-- > 0;) {
        const struct item *item = &p->items[i];
        (void)snprintf(number, sizeof number, "%zu", i);
        if (item->is_staged) (void)unlinkat(p->how->staging, number, 0);
        (void)snprintf(path, sizeof path, "%s", item->path != NULL ? item->path : "");
        for (unsigned j = 0; j < item->made; j++) {
            char *slash = strrchr(path, '/');
            if (slash == NULL) break;
            const char *leaf;
            *slash = 0;
            _cleanup_(fd_closep) int parent = open_parent(p->dir, path, NULL, &leaf);
            if (parent >= 0) (void)unlinkat(parent, leaf, AT_REMOVEDIR);
        }
    }
}

static int place_all(struct put *p, struct error *err) {
    int result = check_names(p, err);
    for (size_t i = 0; i < p->count && result == 0; i++)
        result = prepare(p, &p->items[i], err);
    if (result == 0) result = check_room(p, err);
    if (result == 0 && p->how->sync && p->count > SINGLE_SYNCS && syncfs(p->how->staging) != 0)
        result = error_set_errno(err, PA_INTERNAL, errno, "files");
    for (size_t i = 0; i < p->count && result == 0; i++)
        result = put_in_place(p, i, err);
    if (result == 0 && p->how->sync && p->count > SINGLE_SYNCS) (void)syncfs(p->how->staging);
    return result;
}

int folder_fill(int dir, const json_t *files, struct folder_put *how, struct error *err) {
    const char *name;
    json_t *value;
    size_t size = json_object_size(files);
    int result = 0;
    how->bytes = how->names = 0;
    if (size == 0) return 0;
    if (size > MAX_FILES)
        return error_set(err, PA_INVALID_ARGUMENT, "files: at most %d", MAX_FILES);
    struct put p = {.dir = dir, .how = how, .items = calloc(size, sizeof *p.items), .room = size};
    if (p.items == NULL) return error_set(err, PA_INTERNAL, "files: out of memory");
    json_object_foreach((json_t *)(uintptr_t)files, name, value) {
        struct buffer bytes = {0};
        result = folder_bytes(name, value, &bytes, err);
        if (result == 0) result = stage(&p, name, &bytes, err);
        buffer_fini(&bytes);
        if (result != 0) break;
    }
    if (result == 0) result = place_all(&p, err);
    if (result != 0) undo(&p);
    free(p.items);
    return result;
}

int folder_put(int dir, const char *name, const struct buffer *bytes, struct folder_put *how,
               struct error *err) {
    struct item item = {.name = name};
    struct put p = {.dir = dir, .how = how, .items = &item, .room = 1};
    how->bytes = how->names = 0;
    int result = stage(&p, name, bytes, err);
    if (result == 0) result = place_all(&p, err);
    if (result != 0) undo(&p);
    return result;
}

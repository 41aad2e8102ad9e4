#include "tools/interpreter.h"

#include "base/cleanup.h"
#include "base/opener.h"
#include "config/state.h"
#include "config/yaml_json.h"
#include "interpreter_schema.h" /* generated from schemas/ */
#include "tools/schema.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MANIFEST "manifest.yaml"
#define BOOTSTRAP "@bootstrap"

int interpreters_own_folder(char *out, size_t size, struct error *err) {
    return state_path(getenv("POLYAGENT_INTERPRETERS_DIR"), "interpreters",
                      "POLYAGENT_INTERPRETERS_DIR", out, size, err);
}

static const json_t *field(const struct interpreter *i, const char *name) {
    return json_object_get(i->entry, name);
}

static const struct language *language_of(const char *name) {
    static const struct language *const all[] = {&language_python, &language_javascript,
                                                 &language_ruby};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(all[i]->title, name) == 0) return all[i];
    return NULL;
}

static bool is_name(const char *name) {
    size_t length = strlen(name);
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)name[i]) && (i == 0 || strchr("._-", name[i]) == NULL))
            return false;
    return length > 0 && length < INTERPRETER_NAME_BYTES;
}

static int add(struct interpreters *all, const char *path, const char *folder, bool own,
               const char *name, const json_t *entry, struct error *err) {
    const char *module = json_string_value(json_object_get(entry, "module"));
    if (!is_name(name))
        return error_set(err, PA_INVALID_ARGUMENT, "%s: %.100s: is no name", path, name);
    const struct language *language =
        language_of(json_string_value(json_object_get(entry, "language")));
    if (language == NULL)
        return error_set(err, PA_INVALID_ARGUMENT,
                         "%s: %s.language: must be python, javascript or ruby", path, name);
    if (interpreters_find(all, name) != NULL) return 0;
    struct interpreter *list = reallocarray(all->list, all->count + 1, sizeof *list);
    if (list == NULL) return error_set(err, PA_INTERNAL, "interpreters: out of memory");
    all->list = list;
    struct interpreter *new = &list[all->count++];
    *new = (struct interpreter){.language = language, .entry = entry, .own = own};
    (void)snprintf(new->name, sizeof new->name, "%s", name);
    (void)snprintf(new->folder, sizeof new->folder, "%s", folder);
    int length = module[0] == '/'
                     ? snprintf(new->module, sizeof new->module, "%s", module)
                     : snprintf(new->module, sizeof new->module, "%s/%s", folder, module);
    if (length < 0 || (size_t)length >= sizeof new->module)
        return error_set(err, PA_INVALID_ARGUMENT, "%s: %s.module: the path is too long", path,
                         name);
    return 0;
}

/* A manifest, with where it comes from, at the end of a list. */
static int gather(json_t *list, const char *folder, const char *path, bool own, struct error *err) {
    json_t *manifest = yaml_json_load(path, err);
    if (manifest == NULL) return -1;
    json_t *place = json_pack("{s:s, s:s, s:b, s:o}", "folder", folder, "path", path, "own", own,
                              "manifest", manifest);
    return place != NULL && json_array_append_new(list, place) == 0
               ? 0
               : error_set(err, PA_INTERNAL, "interpreters: out of memory");
}

/* One file. None is no error. */
static int gather_file(json_t *list, const char *folder, const char *file, bool own,
                       struct error *err) {
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/%s", folder, file);
    if (gather(list, folder, path, own, err) == 0) return 0;
    if (err->code != PA_NOT_FOUND) return -1;
    *err = (struct error){0};
    return 0;
}

static int is_yaml(const struct dirent *entry) {
    const char *dot = strrchr(entry->d_name, '.');
    return entry->d_name[0] != '.' && dot != NULL && strcmp(dot, ".yaml") == 0;
}

/* The user's own: a file each. */
static int gather_own(json_t *list, struct error *err) {
    char folder[INTERPRETER_PATH_BYTES / 2];
    struct dirent **files = NULL;
    int result = 0;
    if (interpreters_own_folder(folder, sizeof folder, err) != 0) {
        *err = (struct error){0}; /* then there are none */
        return 0;
    }
    int count = scandir(folder, &files, is_yaml, alphasort);
    for (int i = 0; i < count; i++) {
        if (result == 0) result = gather_file(list, folder, files[i]->d_name, true, err);
        free(files[i]);
    }
    free(files);
    return result;
}

json_t *interpreters_gather(struct error *err) {
    char folder[INTERPRETER_PATH_BYTES / 2];
    json_t *list = json_array();
    int result = list != NULL ? gather_own(list, err)
                              : error_set(err, PA_INTERNAL, "interpreters: out of memory");
    for (size_t i = 0; result == 0 && language_folder(i, folder, sizeof folder); i++)
        result = gather_file(list, folder, MANIFEST, false, err);
    if (result == 0) return list;
    json_decref(list);
    return NULL;
}

/* The interpreters of one of them. */
static int add_all(struct interpreters *all, const json_t *schema, const json_t *place,
                   struct error *err) {
    const char *folder = json_string_value(json_object_get(place, "folder")),
               *path = json_string_value(json_object_get(place, "path")), *name;
    json_t *manifest = json_object_get(place, "manifest"), *entry;
    if (folder == NULL || path == NULL || !json_is_object(manifest))
        return error_set(err, PA_INVALID_ARGUMENT, "%s: must be a mapping of names",
                         path != NULL ? path : "interpreters");
    json_object_foreach(manifest, name, entry) {
        if (schema_check(schema, entry, name, err) != 0) return error_prefix(err, "%s", path);
        if (add(all, path, folder, json_is_true(json_object_get(place, "own")), name, entry, err) !=
            0)
            return -1;
    }
    return 0;
}

/* Takes over the list; NULL: the error is there. */
static int load(struct interpreters *all, json_t *list, struct error *err) {
    size_t index;
    json_t *place;
    *all = (struct interpreters){.manifests = list};
    if (list == NULL) return -1;
    json_t *schema = json_loads(interpreter_schema, 0, NULL);
    int result = schema != NULL ? 0 : error_set(err, PA_INTERNAL, "interpreters: out of memory");
    json_array_foreach(list, index, place) {
        if (result == 0) result = add_all(all, schema, place, err);
    }
    json_decref(schema);
    if (result != 0) interpreters_fini(all);
    return result;
}

/* As somebody else has gathered them. */
static json_t *ask_for_manifests(struct error *err) {
    _cleanup_(fd_closep) int fd = opener_ask(OPENER_MANIFESTS, "", err);
    if (fd < 0) return NULL;
    json_t *list = json_loadfd(fd, 0, NULL);
    if (list == NULL) error_set(err, PA_INTERNAL, "interpreters: cannot be read");
    return list;
}

int interpreters_load(struct interpreters *all, struct error *err) {
    return load(all, opener_is_set() ? ask_for_manifests(err) : interpreters_gather(err), err);
}

int interpreters_load_file(struct interpreters *all, const char *path, struct error *err) {
    char folder[INTERPRETER_PATH_BYTES / 2];
    (void)snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    *(slash != NULL ? slash : folder) = 0;
    json_t *list = json_array();
    int result = list != NULL ? gather(list, folder, path, false, err)
                              : error_set(err, PA_INTERNAL, "interpreters: out of memory");
    if (result == 0) return load(all, list, err);
    json_decref(list);
    *all = (struct interpreters){.list = NULL};
    return -1;
}

void interpreters_fini(struct interpreters *all) {
    free(all->list);
    json_decref(all->manifests);
    *all = (struct interpreters){.list = NULL};
}

const struct interpreter *interpreters_find(const struct interpreters *all, const char *name) {
    for (size_t i = 0; i < all->count; i++)
        if (strcmp(all->list[i].name, name) == 0) return &all->list[i];
    return NULL;
}

bool interpreter_is_here(const struct interpreter *interpreter) {
    return opener_can_read(interpreter->module);
}

/* The name that a package is imported by; NULL if it has none of that name. */
static const char *import_name(const struct interpreter *i, const char *package) {
    json_t *packages = (json_t *)(uintptr_t)field(i, "packages"), *module;
    const char *name;
    json_object_foreach(packages, name, module) {
        if (strcasecmp(name, package) == 0 || strcmp(json_string_value(module), package) == 0)
            return json_string_value(module);
    }
    return NULL;
}

/* The first of `packages` that it lacks; NULL: it has them all. */
static const char *lacking(const struct interpreter *i, const json_t *packages) {
    size_t index;
    json_t *package;
    json_array_foreach((json_t *)(uintptr_t)packages, index, package) {
        if (import_name(i, json_string_value(package)) == NULL) return json_string_value(package);
    }
    return NULL;
}

void interpreter_add_names(json_t *list, const char *text) {
    for (const char *at = text; *at != 0;) {
        size_t length = strcspn(at, ",");
        if (length > 0) (void)json_array_append_new(list, json_stringn(at, length));
        at += length + (at[length] == ',');
    }
}

const struct interpreter *interpreters_choose(const struct interpreters *all,
                                              const struct language *language,
                                              const json_t *packages, struct error *err) {
    const struct interpreter *absent = NULL;
    const char *missing = NULL;
    for (size_t n = 0; n < all->count; n++) {
        const struct interpreter *i = &all->list[n];
        if (i->language != language) continue;
        const char *lacks = lacking(i, packages);
        if (lacks == NULL && interpreter_is_here(i)) return i;
        if (lacks == NULL) absent = i;
        /* What a richer one lacks tells more. */
        if (lacks != NULL && (missing == NULL || field(i, "packages") != NULL)) missing = lacks;
    }
    if (absent != NULL)
        error_set(err, PA_NOT_FOUND, "interpreter %s is not installed; run: make interpreters",
                  absent->name);
    else if (missing != NULL)
        error_set(err, PA_NOT_FOUND,
                  "packages: no interpreter has %.60s; polyagent interpreter list shows what they "
                  "have",
                  missing);
    else
        error_set(err, PA_NOT_FOUND, "no interpreter for %s is installed", language->title);
    return NULL;
}

size_t interpreter_profiles(const struct interpreter *i) {
    return json_array_size(field(i, "preloads"));
}

static bool has(const json_t *set, const char *module) {
    size_t index;
    json_t *name;
    json_array_foreach((json_t *)(uintptr_t)set, index, name) {
        if (strcmp(json_string_value(name), module) == 0) return true;
    }
    return false;
}

size_t interpreter_profile(const struct interpreter *i, const json_t *packages) {
    const json_t *sets = field(i, "preloads");
    size_t best = 0, best_size = SIZE_MAX, most = 0;
    for (size_t n = 0; n < json_array_size(sets); n++) {
        const json_t *set = json_array_get(sets, n);
        size_t index, found = 0, size = json_array_size(set);
        json_t *package;
        json_array_foreach((json_t *)(uintptr_t)packages, index, package) {
            const char *module = import_name(i, json_string_value(package));
            found += module != NULL && has(set, module);
        }
        if (found < most || (found == most && size >= best_size)) continue;
        most = found;
        best = n;
        best_size = size;
    }
    return best;
}

/* The modules of a set, with commas. NULL when memory runs out. */
static char *join(const json_t *set) {
    size_t length = 1, index;
    json_t *name;
    json_array_foreach((json_t *)(uintptr_t)set, index, name) length +=
        json_string_length(name) + 1;
    char *text = malloc(length), *at = text;
    if (text == NULL) return NULL;
    *at = 0;
    json_array_foreach((json_t *)(uintptr_t)set, index, name) {
        if (index > 0) *at++ = ',';
        at = stpcpy(at, json_string_value(name));
    }
    return text;
}

/* What is done with the modules of a set. "": nothing; NULL when memory runs out. */
static char *practise_of(const struct interpreter *i, const json_t *set) {
    json_t *lessons = (json_t *)(uintptr_t)field(i, "practise"), *lesson;
    const char *module;
    size_t length = 1;
    json_object_foreach(lessons, module, lesson) length += json_string_length(lesson) + 1;
    char *text = malloc(length), *at = text;
    if (text == NULL) return NULL;
    *at = 0;
    json_object_foreach(lessons, module, lesson) {
        if (has(set, module)) at = stpcpy(stpcpy(at, json_string_value(lesson)), "\n");
    }
    return text;
}

static int set_argv(struct interpreter_start *start, const struct interpreter *i, size_t profile) {
    const json_t *given = field(i, "argv"), *sets = field(i, "preloads");
    size_t count = json_array_size(given);
    start->argv = calloc(count + 3, sizeof *start->argv);
    start->preloads = join(json_array_get(sets, profile));
    start->practise = practise_of(i, json_array_get(sets, profile));
    if (start->argv == NULL || start->preloads == NULL || start->practise == NULL) return -1;
    for (size_t n = 0; n < count; n++) {
        const char *text = json_string_value(json_array_get(given, n));
        start->argv[n] = strcmp(text, BOOTSTRAP) == 0 ? i->language->bootstrap : text;
    }
    start->argc = start->warm_argc = count;
    if (json_array_size(sets) > 0) start->argv[start->warm_argc++] = start->preloads;
    if (start->practise[0] != 0) start->argv[start->warm_argc++] = start->practise;
    return 0;
}

/* One function, or several of them, a line each. */
static int set_entry(struct interpreter_start *start, const struct interpreter *i) {
    const json_t *functions = field(i, "entry");
    size_t length = 1, index;
    json_t *function;
    if (json_array_size(functions) == 0) return 0;
    json_array_foreach((json_t *)(uintptr_t)functions, index, function) length +=
        json_string_length(function) + 1;
    char *at = start->entry = malloc(length);
    if (at == NULL) return -1;
    json_array_foreach((json_t *)(uintptr_t)functions, index, function) {
        if (index > 0) *at++ = '\n';
        at = stpcpy(at, json_string_value(function));
    }
    return 0;
}

static int set_environment(struct interpreter_start *start, const struct interpreter *i) {
    json_t *variables = (json_t *)(uintptr_t)field(i, "environment"), *value;
    const char *name;
    start->env = calloc(json_object_size(variables) + 1, sizeof *start->env);
    if (start->env == NULL) return -1;
    json_object_foreach(variables, name, value) {
        if (asprintf(&start->env[start->env_count], "%s=%s", name, json_string_value(value)) < 0)
            return -1;
        start->env_count++;
    }
    return 0;
}

static int set_mounts(struct interpreter_start *start, const struct interpreter *i) {
    json_t *preopens = (json_t *)(uintptr_t)field(i, "preopens"), *folder;
    const char *guest;
    size_t count = json_object_size(preopens);
    start->mounts = calloc(count + 1, sizeof *start->mounts);
    start->mount_paths = calloc(count + 1, sizeof *start->mount_paths);
    if (start->mounts == NULL || start->mount_paths == NULL) return -1;
    json_object_foreach(preopens, guest, folder) {
        const char *path = json_string_value(folder);
        char **own = &start->mount_paths[start->mount_count];
        if (asprintf(own, "%s%s%s", path[0] == '/' ? "" : i->folder, path[0] == '/' ? "" : "/",
                     path) < 0) {
            *own = NULL;
            return -1;
        }
        start->mounts[start->mount_count++] =
            (struct pa_mount){.host_path = *own, .guest_path = guest, .fixed = true};
    }
    return 0;
}

int interpreter_start_init(struct interpreter_start *start, const struct interpreter *i,
                           size_t profile, struct error *err) {
    const json_t *limits = field(i, "limits"), *features = field(i, "features");
    *start = (struct interpreter_start){.wasm_exceptions = has(features, "exceptions"),
                                        .stub_imports = has(features, "stubs"),
                                        .memory_limit_bytes = (uint64_t)json_integer_value(
                                            json_object_get(limits, "memory_limit_bytes")),
                                        .max_module_bytes = (uint64_t)json_integer_value(
                                            json_object_get(limits, "max_module_bytes"))};
    if (set_entry(start, i) == 0 && set_argv(start, i, profile) == 0 &&
        set_environment(start, i) == 0 && set_mounts(start, i) == 0)
        return 0;
    interpreter_start_fini(start);
    return error_set(err, PA_INTERNAL, "interpreter %s: out of memory", i->name);
}

void interpreter_start_fini(struct interpreter_start *start) {
    free(start->entry);
    free(start->argv);
    free(start->preloads);
    free(start->practise);
    for (size_t i = 0; start->env != NULL && i < start->env_count; i++)
        free(start->env[i]);
    free(start->env);
    for (size_t i = 0; start->mount_paths != NULL && i < start->mount_count; i++)
        free(start->mount_paths[i]);
    free(start->mount_paths);
    free(start->mounts);
    *start = (struct interpreter_start){.argv = NULL};
}

void interpreter_start_apply(const struct interpreter_start *start, struct pa_job *job,
                             bool keeps_memory_limit) {
    struct pa_limits *limits = &job->limits;
    job->argv = start->argv;
    job->argc = start->argc;
    job->env = (const char *const *)start->env;
    job->env_count = start->env_count;
    job->invoke = start->entry;
    job->wasm_exceptions = start->wasm_exceptions;
    job->stub_imports = start->stub_imports;
    if (!keeps_memory_limit && limits->memory_limit_bytes < start->memory_limit_bytes)
        limits->memory_limit_bytes = start->memory_limit_bytes;
    if (limits->max_module_bytes < start->max_module_bytes)
        limits->max_module_bytes = start->max_module_bytes;
}

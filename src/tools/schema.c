#include "tools/schema.h"

#include "base/nearest.h"

#include <stdio.h>
#include <string.h>

enum { PATH_BYTES = 256 };

static bool has_type(const char *type, const json_t *value) {
    if (strcmp(type, "object") == 0) return json_is_object(value);
    if (strcmp(type, "array") == 0) return json_is_array(value);
    if (strcmp(type, "string") == 0) return json_is_string(value);
    if (strcmp(type, "boolean") == 0) return json_is_boolean(value);
    if (strcmp(type, "integer") == 0) {
        /* 5.0 is an integer, too (JSON Schema, 6.1.1): a protobuf Struct has doubles only. */
        double real = json_is_real(value) ? json_real_value(value) : 0.5;
        return json_is_integer(value) ||
               (real > -9e15 && real < 9e15 && real == (double)(json_int_t)real);
    }
    return strcmp(type, "number") == 0 && json_is_number(value);
}

static int refuse_unknown(const json_t *properties, const char *path, const char *name,
                          struct error *err) {
    const char *known;
    json_t *ignored;
    struct nearest nearest = {.wrong = name};
    json_object_foreach((json_t *)(uintptr_t)properties, known, ignored) {
        nearest_consider(&nearest, known);
    }
    const char *hint = nearest_hint(&nearest);
    return error_set(err, PA_INVALID_ARGUMENT, "%s%s%.100s: no such parameter%s%s%s", path,
                     path[0] != 0 ? "." : "", name, hint != NULL ? "; did you mean " : "",
                     hint != NULL ? hint : "", hint != NULL ? "?" : "");
}

static int check_object(const json_t *schema, const json_t *value, const char *path,
                        struct error *err) {
    const json_t *properties = json_object_get(schema, "properties");
    const json_t *others = json_object_get(schema, "additionalProperties"), *required;
    const char *name;
    json_t *member;
    size_t index;
    json_t *list = json_object_get(schema, "required");
    json_object_foreach((json_t *)(uintptr_t)value, name, member) {
        char below[PATH_BYTES];
        const json_t *rule = json_object_get(properties, name);
        if (rule == NULL) rule = others;
        if (rule == NULL) continue;
        if (json_is_false(rule)) return refuse_unknown(properties, path, name, err);
        (void)snprintf(below, sizeof below, "%s%s%.100s", path, path[0] != 0 ? "." : "", name);
        if (schema_check(rule, member, below, err) != 0) return -1;
    }
    json_array_foreach(list, index, required) {
        const char *wanted = json_string_value(required);
        if (json_object_get(value, wanted) == NULL) {
            return error_set(err, PA_INVALID_ARGUMENT, "%s%s%s: missing", path,
                             path[0] != 0 ? "." : "", wanted);
        }
    }
    return 0;
}

static int check_array(const json_t *schema, const json_t *value, const char *path,
                       struct error *err) {
    const json_t *items = json_object_get(schema, "items"), *most;
    json_t *element;
    size_t index;
    most = json_object_get(schema, "maxItems");
    if (most != NULL && json_array_size(value) > (size_t)json_integer_value(most)) {
        return error_set(err, PA_INVALID_ARGUMENT, "%s: at most %lld elements", path,
                         (long long)json_integer_value(most));
    }
    json_array_foreach((json_t *)(uintptr_t)value, index, element) {
        char below[PATH_BYTES];
        (void)snprintf(below, sizeof below, "%.200s[%zu]", path, index);
        if (items != NULL && schema_check(items, element, below, err) != 0) return -1;
    }
    return 0;
}

static int check_number(const json_t *schema, const json_t *value, const char *path,
                        struct error *err) {
    const json_t *least = json_object_get(schema, "minimum");
    const json_t *most = json_object_get(schema, "maximum");
    double number = json_number_value(value);
    bool low = least != NULL && number < json_number_value(least);
    bool high = most != NULL && number > json_number_value(most);
    if (!low && !high) return 0;
    return error_set(err, PA_INVALID_ARGUMENT, "%s: %s %.0f", path, low ? "at least" : "at most",
                     json_number_value(low ? least : most));
}

/* One of a few words. */
static int check_enum(const json_t *allowed, const json_t *value, const char *path,
                      struct error *err) {
    char all[200] = "";
    json_t *word;
    size_t index;
    json_array_foreach((json_t *)(uintptr_t)allowed, index, word) {
        if (json_equal(word, value)) return 0;
        size_t used = strlen(all);
        (void)snprintf(all + used, sizeof all - used, "%s%s", used > 0 ? ", " : "",
                       json_string_value(word));
    }
    return error_set(err, PA_INVALID_ARGUMENT, "%s: must be one of: %s", path, all);
}

int schema_check(const json_t *schema, const json_t *value, const char *path, struct error *err) {
    const char *type = json_string_value(json_object_get(schema, "type"));
    if (type != NULL && !has_type(type, value)) {
        bool vowel = strchr("aeio", type[0]) != NULL;
        return error_set(err, PA_INVALID_ARGUMENT, "%s: must be %s %s",
                         path[0] != 0 ? path : "parameters", vowel ? "an" : "a", type);
    }
    if (json_is_object(value)) return check_object(schema, value, path, err);
    if (json_is_array(value)) return check_array(schema, value, path, err);
    if (json_is_number(value)) return check_number(schema, value, path, err);
    const json_t *allowed = json_object_get(schema, "enum");
    if (allowed != NULL) return check_enum(allowed, value, path, err);
    const json_t *shortest = json_object_get(schema, "minLength");
    if (shortest != NULL && json_is_string(value) &&
        json_string_length(value) < (size_t)json_integer_value(shortest)) {
        return error_set(err, PA_INVALID_ARGUMENT, "%s: must not be empty", path);
    }
    return 0;
}

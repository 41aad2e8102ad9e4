#include "server/struct_json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 64, MAX_VALUES = 200000 };

/* Which fields of which messages hold others that can hold a Struct. */
static const struct {
    enum struct_kind in;
    uint32_t field;
    enum struct_kind is;
} nested[] = {{IN_TOOL_REQUEST, 2, IN_STRUCT},
              {IN_TASK_REQUEST, 3, IN_STRUCT},
              {IN_TASK_REQUEST, 7, IN_SESSION_CONTEXT},
              {IN_SESSION_CONTEXT, 3, IN_STRUCT},
              {IN_STRUCT, 1, IN_ENTRY},
              {IN_ENTRY, 2, IN_VALUE},
              {IN_VALUE, 5, IN_STRUCT},
              {IN_VALUE, 6, IN_LIST},
              {IN_LIST, 1, IN_VALUE}};

/* A base-128 number (protobuf, encoding). False if the bytes end before it does. */
static bool take_varint(const uint8_t **at, const uint8_t *end, uint64_t *out) {
    *out = 0;
    for (unsigned shift = 0; shift < 64 && *at < end; shift += 7) {
        uint8_t byte = *(*at)++;
        *out |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) return true;
    }
    return false;
}

/* The recursion is as deep as MAX_DEPTH allows. */
static int check(enum struct_kind kind, const uint8_t *at, const uint8_t *end, unsigned depth,
                 unsigned *count, struct error *err) {
    uint64_t tag, size;
    if (depth > 3 * MAX_DEPTH) {
        return error_set(err, PA_INVALID_ARGUMENT, "the parameters are nested too deep: at most %d",
                         MAX_DEPTH);
    }
    while (at < end && take_varint(&at, end, &tag)) {
        if (++*count > MAX_VALUES) {
            return error_set(err, PA_INVALID_ARGUMENT, "more than %d values", MAX_VALUES);
        }
        switch (tag & 7) {
        case 0:
            if (!take_varint(&at, end, &size)) return 0;
            continue;
        case 1: size = 8; break;
        case 5: size = 4; break;
        case 2:
            if (take_varint(&at, end, &size)) break;
            return 0;
        default: return 0; /* unpacking fails there, too */
        }
        if (size > (uint64_t)(end - at)) return 0;
        /* Texts end at a NUL once they are unpacked. */
        bool is_text = (kind == IN_VALUE && tag >> 3 == 3) || (kind == IN_ENTRY && tag >> 3 == 1);
        if (is_text && (tag & 7) == 2 && memchr(at, 0, size) != NULL) {
            return error_set(err, PA_INVALID_ARGUMENT,
                             "the parameters: a text has a NUL character in it");
        }
        for (size_t i = 0; (tag & 7) == 2 && i < sizeof nested / sizeof *nested; i++) {
            if (nested[i].in == kind && nested[i].field == tag >> 3 &&
                check(nested[i].is, at, at + size, depth + 1, count, err) != 0) {
                return -1;
            }
        }
        at += size;
    }
    return 0;
}

int struct_check(enum struct_kind kind, const uint8_t *data, size_t size, struct error *err) {
    unsigned count = 0;
    return size == 0 ? 0 : check(kind, data, data + size, 0, &count, err);
}

static json_t *to_json(const Google__Protobuf__Value *value, struct error *err);

/* Most texts are; the check of others takes 20 times as long. */
static bool is_ascii(const char *text, size_t length) {
    uint64_t all = 0, word;
    size_t i = 0;
    for (; length - i >= sizeof word; i += sizeof word) {
        memcpy(&word, text + i, sizeof word);
        all |= word;
    }
    for (; i < length; i++)
        all |= (uint8_t)text[i];
    return (all & UINT64_C(0x8080808080808080)) == 0;
}

static json_t *text_to_json(const char *text) {
    size_t length = strlen(text);
    return is_ascii(text, length) ? json_stringn_nocheck(text, length) : json_stringn(text, length);
}

static json_t *no_text(struct error *err) {
    error_set(err, PA_INVALID_ARGUMENT, "the parameters: a text is no UTF-8");
    return NULL;
}

json_t *struct_to_json(const Google__Protobuf__Struct *value, struct error *err) {
    json_t *object = json_object();
    for (size_t i = 0; value != NULL && i < value->n_fields && object != NULL; i++) {
        const Google__Protobuf__Struct__FieldsEntry *entry = value->fields[i];
        json_t *member = to_json(entry->value, err);
        if (member != NULL && json_object_set_new(object, entry->key, member) == 0) continue;
        if (member != NULL) (void)no_text(err);
        json_decref(object);
        return NULL;
    }
    if (object == NULL) error_set(err, PA_INTERNAL, "the parameters: out of memory");
    return object;
}

static json_t *list_to_json(const Google__Protobuf__ListValue *list, struct error *err) {
    json_t *array = json_array();
    for (size_t i = 0; list != NULL && i < list->n_values && array != NULL; i++) {
        json_t *element = to_json(list->values[i], err);
        if (element != NULL && json_array_append_new(array, element) == 0) continue;
        json_decref(array);
        return NULL;
    }
    if (array == NULL) error_set(err, PA_INTERNAL, "the parameters: out of memory");
    return array;
}

/* Numbers are doubles there; those that are whole are integers here. */
static json_t *number_to_json(double number, struct error *err) {
    if (!isfinite(number)) {
        error_set(err, PA_INVALID_ARGUMENT, "the parameters: a number is not finite");
        return NULL;
    }
    bool whole = fabs(number) <= 9007199254740992.0 && number == trunc(number);
    return whole ? json_integer((json_int_t)number) : json_real(number);
}

static json_t *to_json(const Google__Protobuf__Value *value, struct error *err) {
    json_t *text;
    if (value == NULL) return json_null();
    switch (value->kind_case) {
    case GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE:
        return number_to_json(value->number_value, err);
    case GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE:
        text = text_to_json(value->string_value);
        return text != NULL ? text : no_text(err);
    case GOOGLE__PROTOBUF__VALUE__KIND_BOOL_VALUE: return json_boolean(value->bool_value);
    case GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE:
        return struct_to_json(value->struct_value, err);
    case GOOGLE__PROTOBUF__VALUE__KIND_LIST_VALUE: return list_to_json(value->list_value, err);
    default: return json_null();
    }
}

static Google__Protobuf__ListValue *to_list(const json_t *json) {
    Google__Protobuf__ListValue *list = malloc(sizeof *list);
    size_t index;
    json_t *element;
    if (list == NULL) return NULL;
    google__protobuf__list_value__init(list);
    list->values = calloc(json_array_size(json) + 1, sizeof(void *));
    json_array_foreach((json_t *)(uintptr_t)json, index, element) {
        Google__Protobuf__Value *value = list->values != NULL ? json_to_value(element) : NULL;
        if (value != NULL) {
            list->values[list->n_values++] = value;
            continue;
        }
        google__protobuf__list_value__free_unpacked(list, NULL);
        return NULL;
    }
    return list;
}

Google__Protobuf__Struct *json_to_struct(const json_t *json) {
    Google__Protobuf__Struct *object = malloc(sizeof *object);
    const char *key;
    json_t *member;
    if (object == NULL) return NULL;
    google__protobuf__struct__init(object);
    object->fields = calloc(json_object_size(json) + 1, sizeof(void *));
    json_object_foreach((json_t *)(uintptr_t)json, key, member) {
        Google__Protobuf__Struct__FieldsEntry *entry =
            object->fields != NULL ? malloc(sizeof *entry) : NULL;
        if (entry != NULL) {
            google__protobuf__struct__fields_entry__init(entry);
            object->fields[object->n_fields++] = entry;
            entry->key = strdup(key);
            entry->value = json_to_value(member);
        }
        if (entry != NULL && entry->key != NULL && entry->value != NULL) continue;
        google__protobuf__struct__free_unpacked(object, NULL);
        return NULL;
    }
    return object;
}

Google__Protobuf__Value *json_to_value(const json_t *json) {
    Google__Protobuf__Value *value = malloc(sizeof *value);
    bool complete = true;
    if (value == NULL) return NULL;
    google__protobuf__value__init(value);
    switch (json != NULL ? json_typeof(json) : JSON_NULL) {
    case JSON_OBJECT:
        value->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE;
        value->struct_value = json_to_struct(json);
        complete = value->struct_value != NULL;
        break;
    case JSON_ARRAY:
        value->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_LIST_VALUE;
        value->list_value = to_list(json);
        complete = value->list_value != NULL;
        break;
    case JSON_STRING:
        value->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE;
        value->string_value = strdup(json_string_value(json));
        complete = value->string_value != NULL;
        break;
    case JSON_INTEGER:
    case JSON_REAL:
        value->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE;
        value->number_value = json_number_value(json);
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        value->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_BOOL_VALUE;
        value->bool_value = json_is_true(json);
        break;
    case JSON_NULL: value->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_NULL_VALUE; break;
    }
    if (complete) return value;
    google__protobuf__value__free_unpacked(value, NULL);
    return NULL;
}

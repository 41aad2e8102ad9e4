#include "config/yaml_json.h"

#include "base/buffer.h"
#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { MAX_BYTES = 1 << 20, MAX_DEPTH = 16 };

struct reading {
    const char *path;
    yaml_document_t document;
    struct error *err;
};

static json_t *refuse(const struct reading *r, const yaml_node_t *node, const char *why) {
    error_set(r->err, PA_INVALID_ARGUMENT, "%s:%zu: %s", r->path, node->start_mark.line + 1, why);
    return NULL;
}

static json_t *scalar(const struct reading *r, const yaml_node_t *node) {
    const char *text = (const char *)node->data.scalar.value;
    char *end;
    if (strlen(text) != node->data.scalar.length) return refuse(r, node, "a NUL in a text");
    if (node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE) {
        if (strcmp(text, "true") == 0) return json_true();
        if (strcmp(text, "false") == 0) return json_false();
        if (strcmp(text, "null") == 0 || text[0] == 0) return json_null();
        errno = 0;
        long long number = strtoll(text, &end, 10);
        if (*end == 0 && errno == 0) return json_integer(number);
    }
    json_t *value = json_string(text);
    return value != NULL ? value : refuse(r, node, "no UTF-8");
}

static json_t *convert(struct reading *r, yaml_node_t *node, unsigned depth);

static json_t *sequence(struct reading *r, const yaml_node_t *node, unsigned depth) {
    json_t *list = json_array();
    for (yaml_node_item_t *at = node->data.sequence.items.start;
         list != NULL && at < node->data.sequence.items.top; at++) {
        json_t *value = convert(r, yaml_document_get_node(&r->document, *at), depth);
        if (value != NULL && json_array_append_new(list, value) == 0) continue;
        json_decref(list);
        list = NULL;
    }
    return list;
}

static json_t *mapping(struct reading *r, const yaml_node_t *node, unsigned depth) {
    json_t *object = json_object();
    for (yaml_node_pair_t *at = node->data.mapping.pairs.start;
         object != NULL && at < node->data.mapping.pairs.top; at++) {
        yaml_node_t *key = yaml_document_get_node(&r->document, at->key);
        const char *name =
            key->type == YAML_SCALAR_NODE ? (const char *)key->data.scalar.value : NULL;
        json_t *value = NULL;
        if (name == NULL || json_object_get(object, name) != NULL)
            (void)refuse(r, key, name == NULL ? "a key must be a text" : "the key is there twice");
        else
            value = convert(r, yaml_document_get_node(&r->document, at->value), depth);
        if (value != NULL && json_object_set_new(object, name, value) == 0) continue;
        json_decref(object);
        object = NULL;
    }
    return object;
}

static json_t *convert(struct reading *r, yaml_node_t *node, unsigned depth) {
    if (depth > MAX_DEPTH) return refuse(r, node, "nested too deeply");
    switch (node->type) {
    case YAML_SCALAR_NODE: return scalar(r, node);
    case YAML_SEQUENCE_NODE: return sequence(r, node, depth + 1);
    case YAML_MAPPING_NODE: return mapping(r, node, depth + 1);
    default: return refuse(r, node, "unexpected");
    }
}

static json_t *parse(struct reading *r, const struct buffer *text) {
    yaml_parser_t parser;
    json_t *root = NULL;
    if (!yaml_parser_initialize(&parser)) {
        error_set(r->err, PA_INTERNAL, "%s: out of memory", r->path);
        return NULL;
    }
    yaml_parser_set_input_string(&parser, text->data, text->size);
    if (!yaml_parser_load(&parser, &r->document)) {
        error_set(r->err, PA_INVALID_ARGUMENT, "%s:%zu: %s", r->path, parser.problem_mark.line + 1,
                  parser.problem != NULL ? parser.problem : "no YAML");
    } else {
        yaml_node_t *node = yaml_document_get_root_node(&r->document);
        root = node != NULL ? convert(r, node, 0) : json_object();
        yaml_document_delete(&r->document);
    }
    yaml_parser_delete(&parser);
    if (root == NULL && r->err->code == PA_OK)
        error_set(r->err, PA_INTERNAL, "%s: out of memory", r->path);
    return root;
}

json_t *yaml_json_load(const char *path, struct error *err) {
    struct buffer text = {0};
    struct reading reading = {.path = path, .err = err};
    _cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        error_set_errno(err, errno == ENOENT ? PA_NOT_FOUND : PA_DENIED, errno, "%s", path);
        return NULL;
    }
    int result = buffer_read_fd(&text, fd, MAX_BYTES);
    json_t *root = NULL;
    if (result != 0 || text.size == MAX_BYTES)
        error_set(err, PA_INVALID_ARGUMENT, "%s: cannot be read, or is too large", path);
    else
        root = parse(&reading, &text);
    buffer_fini(&text);
    return root;
}

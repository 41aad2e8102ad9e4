#include "server/json_body.h"

#include "base/json_scan.h"

#include <sodium.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum {
    LARGE_BYTES = 32 << 10,
    MAX_CUTS = 32,
    MAX_VALUES = 200000,
    NONCE_BYTES = 33,
    MARK_BYTES = 40
};

/* Large plain texts are cut out before the parse, and put into the place of marks after it. */
struct cuts {
    const char *texts[MAX_CUTS];
    size_t sizes[MAX_CUTS];
    unsigned count;
    char nonce[NONCE_BYTES]; /* begins each mark: nobody can know it */
};

/* ASCII without control characters: neither jansson nor anybody need look at it again. */
static bool is_simple(const char *text, size_t size) {
    uint8_t wrong = 0;
    for (size_t i = 0; i < size; i++)
        wrong |= (uint8_t)(((uint8_t)text[i] < 0x20) | ((uint8_t)text[i] >> 7));
    return wrong == 0;
}

static bool is_key(const char *after, const char *end) {
    while (after < end && memchr(" \t\r\n", *after, 4) != NULL)
        after++;
    return after < end && *after == ':';
}

/* The text without its large parts. 0, -1 with `err`. */
static int cut(struct cuts *cuts, const char *text, size_t size, struct buffer *rest,
               struct error *err) {
    const char *at = text, *copied = text, *end = text + size;
    unsigned values = 0;
    char mark[MARK_BYTES];
    bool plain;
    while (at < end) {
        char character = *at++;
        values += character == ',' || character == '[' || character == '{';
        if (values > MAX_VALUES)
            return error_set(err, PA_INVALID_ARGUMENT, "the body has more than %d values",
                             MAX_VALUES);
        if (character != '"') continue;
        const char *quote = json_scan_text(at, end, &plain), *from = at;
        size_t length = (size_t)(quote - from);
        at = quote < end ? quote + 1 : end;
        if (!plain || quote == end || length < LARGE_BYTES || cuts->count == MAX_CUTS ||
            is_key(at, end) || !is_simple(from, length)) {
            continue;
        }
        int marked = snprintf(mark, sizeof mark, "%s%u", cuts->nonce, cuts->count);
        if (buffer_append(rest, copied, (size_t)(from - copied)) != 0 ||
            buffer_append(rest, mark, (size_t)marked) != 0) {
            return error_set(err, PA_INTERNAL, "the body: out of memory");
        }
        cuts->texts[cuts->count] = from;
        cuts->sizes[cuts->count++] = length;
        copied = quote;
    }
    return buffer_append(rest, copied, (size_t)(end - copied)) == 0
               ? 0
               : error_set(err, PA_INTERNAL, "the body: out of memory");
}

/* The text for a mark; NULL for what is none. */
static json_t *text_for(const struct cuts *cuts, const json_t *value) {
    const char *mark = json_string_value(value);
    if (mark == NULL || strncmp(mark, cuts->nonce, NONCE_BYTES - 1) != 0) return NULL;
    unsigned number = (unsigned)strtoul(mark + NONCE_BYTES - 1, NULL, 10);
    return number < cuts->count ? json_stringn_nocheck(cuts->texts[number], cuts->sizes[number])
                                : NULL;
}

/* As deep as jansson parses: 2,048 levels. */
static void put_back(const struct cuts *cuts, json_t *value) {
    json_t *member;
    size_t index;
    for (void *at = json_object_iter(value); at != NULL; at = json_object_iter_next(value, at)) {
        member = json_object_iter_value(at);
        json_t *text = text_for(cuts, member);
        if (text != NULL)
            (void)json_object_iter_set_new(value, at, text);
        else
            put_back(cuts, member);
    }
    json_array_foreach(value, index, member) {
        json_t *text = text_for(cuts, member);
        if (text != NULL)
            (void)json_array_set_new(value, index, text);
        else
            put_back(cuts, member);
    }
}

json_t *json_body_parse(struct buffer *body, struct error *err) {
    struct cuts cuts = {.count = 0};
    struct buffer rest = {0};
    uint8_t random[(NONCE_BYTES - 1) / 2];
    json_error_t error;
    json_t *root = NULL;
    randombytes_buf(random, sizeof random);
    (void)sodium_bin2hex(cuts.nonce, sizeof cuts.nonce, random, sizeof random);
    const char *text = body->size > 0 ? (const char *)body->data : "";
    if (cut(&cuts, text, body->size, &rest, err) == 0) {
        root = json_loadb(rest.size > 0 ? (const char *)rest.data : "", rest.size,
                          JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
        if (root == NULL) {
            error_set(err, PA_INVALID_ARGUMENT, "the body is no JSON: line %d, column %d: %s",
                      error.line, error.column, error.text);
        } else if (cuts.count > 0) {
            put_back(&cuts, root);
        }
    }
    buffer_fini(&rest);
    buffer_fini(body);
    return root;
}

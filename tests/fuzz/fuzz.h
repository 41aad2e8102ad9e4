/* What the fuzz targets share. Each is a libFuzzer target: an input in, and nothing but an answer
 * may come of it; AddressSanitizer, UndefinedBehaviorSanitizer and the target's own checks look on.
 */
#ifndef PA_TESTS_FUZZ_H
#define PA_TESTS_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A broken promise: said, and a crash for the fuzzer to keep. */
#define PROMISE(what) \
    do { \
        if (!(what)) { \
            (void)fprintf(stderr, "broken: %s (%s:%d)\n", #what, __FILE__, __LINE__); \
            abort(); \
        } \
    } while (0)

/* Reads an input from its front; zeros when it is used up. */
struct input {
    const uint8_t *data;
    size_t size;
};

static inline uint8_t take_byte(struct input *in) {
    if (in->size == 0) return 0;
    in->size--;
    return *in->data++;
}

static inline uint64_t take_number(struct input *in) {
    uint64_t value = 0;
    for (int i = 0; i < 8; i++)
        value = value << 8 | take_byte(in);
    return value;
}

#endif

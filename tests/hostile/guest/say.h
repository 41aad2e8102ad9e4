/* What the hostile guests share: printing without surprises, and a cheap source of numbers. */
#ifndef SAY_H
#define SAY_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wasi/api.h>

enum { ALL = 0x1fffffff }; /* every right that there is */

static uint32_t random_state = 2463534242u;

/* Xorshift (Marsaglia): the same numbers in each run. */
__attribute__((unused)) static uint32_t next_random(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state;
}

#endif

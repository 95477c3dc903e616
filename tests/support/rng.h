/* SPDX-License-Identifier: MIT
 * Random numbers for tests: the same on every machine for the same seed. */
#ifndef TESTS_SUPPORT_RNG_H
#define TESTS_SUPPORT_RNG_H

#include <stddef.h>
#include <stdint.h>

typedef struct rng {
    uint64_t state;
} rng;

uint64_t rng_next(rng *r);
uint32_t rng_below(rng *r, uint32_t bound);
double rng_uniform(rng *r); /* in (0, 1] */
double rng_gauss(rng *r);
void rng_gauss_fill(rng *r, float *out, size_t n);
void rng_bytes(rng *r, void *out, size_t n);

#endif

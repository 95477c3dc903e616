/* SPDX-License-Identifier: MIT
 * Random numbers for tests: xorshift* for the stream, Box-Muller for the normal law. */
#include "rng.h"

#include <math.h>

uint64_t rng_next(rng *r) {
    /* An odd constant keeps the all-zero state, where xorshift would stay for ever, out of reach. */
    uint64_t x = r->state == 0 ? UINT64_C(0x5851f42d4c957f2d) : r->state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    r->state = x;
    return x * UINT64_C(0x2545f4914f6cdd1d);
}

uint32_t rng_below(rng *r, uint32_t bound) {
    return (uint32_t)(((rng_next(r) >> 32) * bound) >> 32);
}

double rng_uniform(rng *r) {
    return ((double)(rng_next(r) >> 11) + 1.0) * 0x1p-53;
}

double rng_gauss(rng *r) {
    const double two_pi = 6.283185307179586477;
    double radius = sqrt(-2.0 * log(rng_uniform(r)));
    return radius * cos(two_pi * rng_uniform(r));
}

void rng_gauss_fill(rng *r, float *out, size_t n) {
    for (size_t i = 0; i < n; i++)
        out[i] = (float)rng_gauss(r);
}

void rng_bytes(rng *r, void *out, size_t n) {
    uint8_t *bytes = out;
    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)(rng_next(r) >> 56);
}

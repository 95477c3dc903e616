/* SPDX-License-Identifier: MIT
 * IEEE binary16 and bfloat16 by their definitions. */
#ifndef TESTS_ATTENTION_HALF_H
#define TESTS_ATTENTION_HALF_H

#include <math.h>
#include <stdint.h>

/* The nearest binary16, for magnitudes below 65504. */
static inline uint16_t half_from(double x) {
    const unsigned sign = signbit(x) ? 0x8000U : 0;
    const double size = fabs(x);
    int exponent = size == 0 ? -14 : ilogb(size);
    if (exponent < -14) exponent = -14; /* subnormals have the spacing of the lowest binade */
    const unsigned steps = (unsigned)nearbyint(ldexp(size, 10 - exponent));
    /* 1024 steps or more carry into the exponent's lowest bit, which is what makes the number normal. */
    return (uint16_t)(sign + ((unsigned)(exponent + 14) << 10) + steps);
}

static inline double half_to(uint16_t h) {
    const int biased = (h >> 10) & 31, steps = h & 1023;
    const double size = biased == 0 ? ldexp(steps, -24) : ldexp(steps + 1024, biased - 25);
    return (h & 0x8000) != 0 ? -size : size;
}

/* The nearest bfloat16, seven bits of fraction, of a normal number. */
static inline uint16_t bf16_from(float x) {
    const int exponent = x == 0.0f ? -126 : ilogbf(x);
    const double rounded = ldexp(nearbyint(ldexp((double)x, 7 - exponent)), exponent - 7);
    union {
        float f;
        uint32_t bits;
    } u = {.f = (float)rounded};
    return (uint16_t)(u.bits >> 16);
}

static inline double bf16_to(uint16_t h) {
    union {
        uint32_t bits;
        float f;
    } u = {.bits = (uint32_t)h << 16};
    return (double)u.f;
}

#endif

/* SPDX-License-Identifier: MIT
 * IEEE binary16, in integers: C11 has no such type. */
#include "half.h"

#include <math.h>
#include <string.h>

static uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

uint16_t lm_half(float x) {
    const uint32_t sign = bits_of(x) >> 16 & 0x8000, size = bits_of(x) & 0x7fffffff;
    if (size >= 0x47800000) return (uint16_t)(sign | 0x7c00); /* 2^16 */
    /* Below 2^-14 the step is 2^-24, as that of float32 between 0.5 and 1. */
    if (size < 0x38800000) return (uint16_t)(sign | (bits_of(fabsf(x) + 0.5f) - 0x3f000000));
    return (uint16_t)(sign | (size + 0xfff + (size >> 13 & 1) - 0x38000000) >> 13);
}

float lm_from_half(uint16_t half) {
    const int exponent = half >> 10 & 0x1f;
    const float mantissa = (float)(half & 0x3ff);
    const float size = exponent == 0    ? ldexpf(mantissa, -24)
                       : exponent == 31 ? (mantissa == 0.0f ? INFINITY : NAN)
                                        : ldexpf(mantissa + 1024, exponent - 25);
    return (half & 0x8000) != 0 ? -size : size;
}

/* SPDX-License-Identifier: MIT
 * Uniform rounding in blocks of 32 values, the baseline that the formats are held against.
 *
 * The rules are ggml's, so that figures speak of what people run:
 * q8_0   d = max |x| / 127; code = x / d, rounded to nearest, halves away from 0; value = code * half(d)
 * q4_0   d = m / -8, m the first value of largest magnitude, sign and all; code = min(15, x / d + 8.5,
 *        rounded down); value = (code - 8) * half(d). The end with 8 steps is so spent on that value
 * Codes come from d in float32 (x times 1/d), values from d in float16. */
#include "blocks.h"

#include <math.h>

#include "half.h"

size_t lm_block_bytes(unsigned bits) {
    return 2 + LM_BLOCK * bits / 8;
}

static float largest(const float *x) {
    float m = 0;
    for (size_t i = 0; i < LM_BLOCK; i++)
        if (fabsf(x[i]) > fabsf(m)) m = x[i];
    return m;
}

static void round_8(float *x, float inverse, float scale) {
    for (size_t i = 0; i < LM_BLOCK; i++)
        x[i] = roundf(x[i] * inverse) * scale;
}

static void round_4(float *x, float inverse, float scale) {
    for (size_t i = 0; i < LM_BLOCK; i++)
        x[i] = (fminf(15, floorf(x[i] * inverse + 8.5f)) - 8) * scale;
}

bool lm_blocks_round(unsigned bits, float *x, size_t n) {
    for (size_t i = 0; i < n; i += LM_BLOCK) {
        const float m = largest(x + i);
        const float d = bits == 8 ? fabsf(m) / 127 : m / -8;
        const float scale = lm_from_half(lm_half(d));
        if (isinf(scale)) return false;
        /* A scale of 0 makes every value 0, whatever its code; 1/d could be infinite. */
        const float inverse = scale != 0 ? 1 / d : 0;
        if (bits == 8)
            round_8(x + i, inverse, scale);
        else
            round_4(x + i, inverse, scale);
    }
    return true;
}

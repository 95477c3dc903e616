/* SPDX-License-Identifier: MIT
 * Rounding in blocks of 32 values with a float16 scale: the baselines that the formats are held against.
 *
 * The rules are ggml's, so that figures speak of what people run:
 * q8_0    d = max |x| / 127; code = x / d, rounded to nearest, halves away from 0; value = code * half(d)
 * q5_0,   d = m / -16 or m / -8, m the first value of largest magnitude, sign and all; code = x / d
 * + 16.5 q4_0    or 8.5, rounded down, at most 31 or 15; value = (code - 16 or 8) * half(d). The end with
 * 16 or 8 steps is so spent on that value iq4_nl  a table of 16 values, finer near 0; code = the nearest
 * to x / d; value = table[code] * half(d). Of 16 scales (m at 127 of the table's units, and at -134 to
 * -120) that one whose codes leave the least sum of x^2 (x - value)^2, each scale fitted to its codes
 * first; then codes once more, from the fitted scale. That is what ggml does to weights without
 * importances; to a cache it gives the scale of m at -127 alone, which is worse Codes come from d in
 * float32 (x times 1/d), values from d in float16. */
#include "blocks.h"

#include <math.h>

#include "half.h"

static const float table[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

size_t lm_block_bytes(lm_block block) {
    static const size_t bits[LM_N_BLOCKS] = {8, 5, 4, 4};
    return 2 + LM_BLOCK * bits[block] / 8;
}

static float largest(const float *x) {
    float m = 0;
    for (size_t i = 0; i < LM_BLOCK; i++)
        if (fabsf(x[i]) > fabsf(m)) m = x[i];
    return m;
}

/* A code's place in the table; halfway between two the upper one. */
static size_t nearest(float x) {
    size_t code = 0;
    for (size_t i = 0; i < 15; i++)
        code += x >= (table[i] + table[i + 1]) / 2;
    return code;
}

/* Codes for x times `inverse`; the scale that fits them best, and in *gain how much of the weighted
 * squares it explains. */
static float fit(const float *x, float inverse, float *gain) {
    float xy = 0, yy = 0;
    for (size_t i = 0; i < LM_BLOCK; i++) {
        const float y = table[nearest(x[i] * inverse)], weight = x[i] * x[i];
        xy += weight * y * x[i];
        yy += weight * y * y;
    }
    *gain = yy > 0 ? xy / yy * xy : 0;
    return yy > 0 ? xy / yy : 0;
}

static float best_scale(const float *x, float m) {
    float most, gain;
    if (m == 0) return 0;
    float best = fit(x, 127 / m, &most);
    for (int units = -134; units <= -120; units++) {
        const float d = fit(x, (float)units / m, &gain);
        if (gain > most) {
            most = gain;
            best = d;
        }
    }
    return best;
}

static float scale_of(lm_block block, const float *x) {
    const float m = largest(x);
    switch (block) {
    case LM_Q8_0:
        return fabsf(m) / 127;
    case LM_IQ4_NL:
        return best_scale(x, m);
    default:
        return m / (block == LM_Q5_0 ? -16 : -8);
    }
}

/* A value in units of the scale, as its code says. */
static float in_units(lm_block block, float x) {
    switch (block) {
    case LM_Q8_0:
        return roundf(x);
    case LM_IQ4_NL:
        return table[nearest(x)];
    default: {
        const float steps = block == LM_Q5_0 ? 16 : 8;
        return fminf(2 * steps - 1, floorf(x + steps + 0.5f)) - steps;
    }
    }
}

bool lm_blocks_round(lm_block block, float *x, size_t n) {
    for (size_t i = 0; i < n; i += LM_BLOCK) {
        const float d = scale_of(block, x + i), scale = lm_from_half(lm_half(d));
        if (isinf(scale)) return false;
        /* A scale of 0 makes every value 0, whatever its code; 1/d could be infinite. */
        const float inverse = scale != 0 ? 1 / d : 0;
        for (size_t j = i; j < i + LM_BLOCK; j++)
            x[j] = in_units(block, x[j] * inverse) * scale;
    }
    return true;
}

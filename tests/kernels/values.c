/* SPDX-License-Identifier: MIT
 * Rows of values that kernels have reasons to get wrong. */
#include "values.h"

#include <float.h>
#include <math.h>
#include <string.h>

static const char *const names[ALL_PATTERNS] = {
    [GAUSS] = "normal",        [TINY] = "tiny",   [LARGE] = "large",         [MIXED] = "mixed magnitudes",
    [SUBNORMAL] = "subnormal", [ZEROS] = "zeros", [ALL_EQUAL] = "all equal", [ONE_HOT] = "one-hot",
    [ONE_HUGE] = "one huge",   [TIES] = "ties",   [EXTREME] = "extreme",     [NOT_FINITE] = "not finite",
};

const char *pattern_name(pattern p) {
    return names[p];
}

static float from_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static float either_sign(rng *r, float x) {
    return rng_below(r, 2) ? -x : x;
}

/* Boundary, the float above, the float below, of both signs, of every boundary and of zero. */
static float tie(const tq_codebook_tables *book, uint64_t i) {
    static const float ones[] = {1.0f, 0.5f, 2.0f};
    const uint64_t n = book == NULL ? 3 : (UINT64_C(1) << (book->bits - 1)) - 1;
    const uint64_t which = i / 6 % (n + 1);
    const float b = which == n ? 0.0f : (book == NULL ? ones : book->bounds)[which];
    const float near = i % 3 == 0 ? b : nextafterf(b, i % 3 == 1 ? INFINITY : -INFINITY);
    return i / 3 % 2 ? -near : near;
}

static float value(pattern p, rng *r) {
    static const float extremes[] = {FLT_MAX, FLT_MIN, 1e-45f, 1.0f};
    static const uint32_t specials[] = {0x7f800000u, 0x7fc00000u, 0x7f800001u, 0x7fffffffu};
    const float ordinary = (float)rng_gauss(r);
    switch (p) {
    case TINY:
        return ordinary * 1e-18f;
    case LARGE:
        return ordinary * 1e15f;
    case MIXED:
        return either_sign(r, (float)pow(10.0, 33.0 * rng_uniform(r) - 18.0));
    case SUBNORMAL:
        return either_sign(r, from_bits((uint32_t)rng_next(r) & 0x7fffffu >> rng_below(r, 24)));
    case ZEROS:
        return either_sign(r, 0.0f);
    case EXTREME:
        return either_sign(r, extremes[rng_below(r, 4)]);
    case NOT_FINITE:
        return rng_below(r, 8) ? ordinary : either_sign(r, from_bits(specials[rng_below(r, 4)]));
    default:
        return ordinary;
    }
}

void fill_values(pattern p, rng *r, const tq_codebook_tables *book, float *x, size_t n) {
    const uint64_t start = rng_next(r) >> 8;
    const float one = (float)rng_gauss(r);
    for (size_t i = 0; i < n; i++)
        x[i] = p == ALL_EQUAL ? either_sign(r, one)
               : p == ONE_HOT ? either_sign(r, 0.0f)
               : p == TIES    ? tie(book, start + i)
                              : value(p, r);
    if (n > 0 && p == ONE_HOT) x[start % n] = one;
    if (n > 0 && p == ONE_HUGE) x[start % n] = either_sign(r, 1e15f);
}

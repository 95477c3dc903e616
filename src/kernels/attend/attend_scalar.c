/* SPDX-License-Identifier: MIT
 * Attention on tiles of decoded vectors, to read and to compare with. Products are fused with their
 * additions, as the vectors do it: fmaf() is a call where the compiler may not use the instruction. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "kernels/exponential.h"
#include "kernels/kernels.h"
#include "kernels/lanes.h"

void tq_score_scalar(size_t dim, size_t rows, const float *queries, size_t n, const float *tile,
                     float *scores, size_t n_stride) {
    assert(dim % TQ_LANES == 0 && dim <= TQ_MAX_DIM);
    for (size_t r = 0; r < rows; r++)
        for (size_t t = 0; t < n; t++) {
            float lane[TQ_LANES] = {0};
            for (size_t j = 0; j < dim; j++)
                lane[j % TQ_LANES] = fmaf(queries[r * dim + j], tile[t * dim + j], lane[j % TQ_LANES]);
            scores[r * n_stride + t] = tq_fold_lanes(lane);
        }
}

void tq_accumulate_scalar(size_t dim, size_t rows, const float *weights, size_t n_stride, size_t n,
                          const float *tile, float *acc, size_t acc_stride) {
    assert(dim % TQ_LANES == 0 && dim <= TQ_MAX_DIM);
    for (size_t r = 0; r < rows; r++)
        for (size_t t = 0; t < n; t++) {
            const float w = weights[r * n_stride + t];
            for (size_t j = 0; j < dim; j++)
                acc[r * acc_stride + j] = fmaf(w, tile[t * dim + j], acc[r * acc_stride + j]);
        }
}

void tq_multiply_scalar(size_t n, const float *factors, float *x) {
    for (size_t i = 0; i < n; i++)
        x[i] *= factors[i];
}

float tq_reduce_max_scalar(size_t n, const float *x, float top) {
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(x[i])) return NAN;
        top = x[i] > top ? x[i] : top;
    }
    return top + 0.0f; /* no zero but one */
}

/* As in attend_vec.h. */
static float hyperbolic_tangent(float x) {
    const float size = fabsf(x), z = size * size;
    if (size < 0.625f) {
        float p = -5.70498872745e-3f;
        p = fmaf(p, z, 2.06390887954e-2f);
        p = fmaf(p, z, -5.37397155531e-2f);
        p = fmaf(p, z, 1.33314422036e-1f);
        p = fmaf(p, z, -3.33332819422e-1f);
        return copysignf(fmaf(p * z, size, size), x);
    }
    const float e = tq_exponential(-2.0f * size);
    return copysignf((1.0f - e) / (1.0f + e), x);
}

void tq_softcap_scalar(size_t n, float cap, float *x) {
    assert(cap > 0.0f);
    for (size_t i = 0; i < n; i++)
        x[i] = isnan(x[i]) ? x[i] : cap * hyperbolic_tangent(x[i] / cap);
}

float tq_exp_sum_scalar(size_t n, float top, float *scores) {
    float lane[TQ_LANES] = {0};
    for (size_t t = 0; t < n; t++) {
        scores[t] = tq_exponential(scores[t] - top);
        lane[t % TQ_LANES] += scores[t];
    }
    return tq_fold_lanes(lane);
}

void tq_scale_scalar(size_t n, float factor, float *acc) {
    assert(n % TQ_LANES == 0);
    for (size_t i = 0; i < n; i++)
        acc[i] *= factor;
}

/* Exponent and fraction are moved to their places, and the bias put right by a multiplication, which
 * normalises subnormal numbers too; infinities and NaN keep all exponent bits set. */
static float to_f32(uint16_t h) {
    const uint32_t magnitude = (uint32_t)(h & 0x7fff) << 13, sign = (uint32_t)(h & 0x8000) << 16;
    uint32_t bits = magnitude;
    float x;
    memcpy(&x, &bits, sizeof x);
    x *= 0x1p112f;
    memcpy(&bits, &x, sizeof bits);
    if ((h & 0x7c00) == 0x7c00) bits = magnitude | 0x7f800000u;
    bits |= sign;
    memcpy(&x, &bits, sizeof x);
    return x;
}

void tq_f16_to_f32_scalar(size_t n, const uint16_t *src, float *dst) {
    for (size_t i = 0; i < n; i++) {
        uint16_t half; /* which need not be aligned */
        memcpy(&half, (const uint8_t *)src + i * sizeof half, sizeof half);
        dst[i] = to_f32(half);
    }
}

/* Subnormal halves are counted in steps of 2^-24: the last place of the floats from 0.5 on, so that an
 * addition rounds. Normal ones round by a carry, which reaches infinity where it has to. */
static uint16_t to_f16(float x) {
    const float half = 0.5f; /* 0x3f000000 */
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
    if (magnitude >= 0x47800000) return (uint16_t)(sign | 0x7c00); /* 2^16 */
    if (magnitude >= 0x38800000) {                                 /* 2^-14 */
        const uint32_t odd = magnitude >> 13 & 1;
        return (uint16_t)(sign | ((magnitude - 0x38000000 + 0xfff + odd) >> 13));
    }
    const float steps = fabsf(x) + half;
    memcpy(&bits, &steps, sizeof bits);
    return (uint16_t)(sign | (bits - 0x3f000000));
}

void tq_f32_to_f16_scalar(size_t n, const float *src, uint16_t *dst) {
    assert(n % TQ_LANES == 0);
    for (size_t i = 0; i < n; i++)
        dst[i] = to_f16(src[i]);
}

void tq_bf16_to_f32_scalar(size_t n, const uint16_t *src, float *dst) {
    assert(n % TQ_LANES == 0);
    for (size_t i = 0; i < n; i++) {
        uint16_t upper; /* which need not be aligned */
        memcpy(&upper, (const uint8_t *)src + i * sizeof upper, sizeof upper);
        const uint32_t bits = (uint32_t)upper << 16;
        memcpy(&dst[i], &bits, sizeof bits);
    }
}

/* Rounding is a carry out of the half that is dropped. */
static uint16_t to_bf16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (isnan(x)) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

void tq_f32_to_bf16_scalar(size_t n, const float *src, uint16_t *dst) {
    assert(n % TQ_LANES == 0);
    for (size_t i = 0; i < n; i++) {
        const uint16_t upper = to_bf16(src[i]);
        memcpy((uint8_t *)dst + i * sizeof upper, &upper, sizeof upper);
    }
}

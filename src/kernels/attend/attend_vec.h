/* SPDX-License-Identifier: MIT
 * Attention on tiles of decoded vectors, on vectors of 16 lanes: one source for every instruction set.
 * Products are fused with their additions. */
#include <assert.h>
#include <math.h>

#include "kernels/kernels.h"

/* V_BLOCK accumulators fit in registers beside what they are made of: `q` queries times `n` rows. */
V_INLINE void score_block(size_t dim, const unsigned q, const unsigned n, const float *queries,
                          const float *tile, float *scores, size_t n_stride) {
    vf acc[V_BLOCK];
    V_FOR (i, V_BLOCK)
        acc[i] = v_set(0.0f);
    for (size_t j = 0; j < dim; j += TQ_LANES)
        V_FOR (t, n) {
            const vf k = v_load(tile + t * dim + j);
            V_FOR (r, q)
                acc[r * n + t] = v_fma(v_load(queries + r * dim + j), k, acc[r * n + t]);
        }
    float sums[V_BLOCK];
    v_fold_block(acc, sums);
    V_FOR (r, q)
        V_FOR (t, n)
            scores[r * n_stride + t] = sums[r * n + t];
}

/* v_fold() sums as v_fold_block() does, so that equal keys have equal scores wherever they lie. */
static float score_one(size_t dim, const float *query, const float *row) {
    vf acc = v_set(0.0f);
    for (size_t j = 0; j < dim; j += TQ_LANES)
        acc = v_fma(v_load(query + j), v_load(row + j), acc);
    return v_fold(acc);
}

V_INLINE void score_rows(size_t dim, const unsigned q, const float *queries, size_t n, const float *tile,
                         float *scores, size_t n_stride) {
    const unsigned block = V_BLOCK / q;
    size_t t = 0;
    for (; n - t >= block; t += block)
        score_block(dim, q, block, queries, tile + t * dim, scores + t, n_stride);
    for (; t < n; t++)
        for (unsigned r = 0; r < q; r++)
            scores[r * n_stride + t] = score_one(dim, queries + r * dim, tile + t * dim);
}

void V_NAME(score)(size_t dim, size_t rows, const float *queries, size_t n, const float *tile,
                   float *scores, size_t n_stride) {
    assert(dim % TQ_LANES == 0 && dim <= TQ_MAX_DIM);
    size_t r = 0;
    for (; rows - r >= 4 && V_BLOCK >= 16; r += 4)
        score_rows(dim, 4, queries + r * dim, n, tile, scores + r * n_stride, n_stride);
    for (; rows - r >= 2; r += 2)
        score_rows(dim, 2, queries + r * dim, n, tile, scores + r * n_stride, n_stride);
    if (r < rows) score_rows(dim, 1, queries + r * dim, n, tile, scores + r * n_stride, n_stride);
}

/* `q` rows of acc by `v` vectors of them. */
V_INLINE void accumulate_block(size_t dim, const unsigned q, const unsigned v, const float *weights,
                               size_t n_stride, size_t n, const float *tile, float *acc,
                               size_t acc_stride) {
    vf sum[V_BLOCK];
    V_FOR (r, q)
        V_FOR (i, v)
            sum[r * v + i] = v_load(acc + r * acc_stride + i * TQ_LANES);
    for (size_t t = 0; t < n; t++) {
        vf x[V_BLOCK];
        V_FOR (i, v)
            x[i] = v_load(tile + t * dim + i * TQ_LANES);
        V_FOR (r, q) {
            const vf w = v_set(weights[r * n_stride + t]);
            V_FOR (i, v)
                sum[r * v + i] = v_fma(w, x[i], sum[r * v + i]);
        }
    }
    V_FOR (r, q)
        V_FOR (i, v)
            v_store(acc + r * acc_stride + i * TQ_LANES, sum[r * v + i]);
}

V_INLINE void accumulate_rows(size_t dim, const unsigned q, const float *weights, size_t n_stride,
                              size_t n, const float *tile, float *acc, size_t acc_stride) {
    const size_t step = V_BLOCK / q * TQ_LANES;
    size_t j = 0;
    for (; dim - j >= step; j += step)
        accumulate_block(dim, q, V_BLOCK / q, weights, n_stride, n, tile + j, acc + j, acc_stride);
    for (; j < dim; j += TQ_LANES)
        accumulate_block(dim, q, 1, weights, n_stride, n, tile + j, acc + j, acc_stride);
}

void V_NAME(accumulate)(size_t dim, size_t rows, const float *weights, size_t n_stride, size_t n,
                        const float *tile, float *acc, size_t acc_stride) {
    assert(dim % TQ_LANES == 0 && dim <= TQ_MAX_DIM);
    size_t r = 0;
    for (; rows - r >= 4 && V_BLOCK >= 16; r += 4)
        accumulate_rows(dim, 4, weights + r * n_stride, n_stride, n, tile, acc + r * acc_stride,
                        acc_stride);
    for (; rows - r >= 2; r += 2)
        accumulate_rows(dim, 2, weights + r * n_stride, n_stride, n, tile, acc + r * acc_stride,
                        acc_stride);
    if (r < rows)
        accumulate_rows(dim, 1, weights + r * n_stride, n_stride, n, tile, acc + r * acc_stride,
                        acc_stride);
}

/* exp(x) for x <= 0: x = n ln 2 + r, exp(r) by Taylor's series to r^7 (|r| <= 0.347: 3e-9), times 2^n by
 * its exponent's bits. ln 2 is taken off in two parts, the first of few bits. Below -87 it is 0. */
V_INLINE vf exponential(vf x) {
    const vf n = v_round(v_mul(x, v_set(1.44269504f)));
    const vf r = v_fma(n, v_set(-1.42860677e-6f), v_fma(n, v_set(-0.693145752f), x));
    vf p = v_set(1.0f / 5040.0f);
    p = v_fma(p, r, v_set(1.0f / 720.0f));
    p = v_fma(p, r, v_set(1.0f / 120.0f));
    p = v_fma(p, r, v_set(1.0f / 24.0f));
    p = v_fma(p, r, v_set(1.0f / 6.0f));
    p = v_fma(p, r, v_set(0.5f));
    p = v_fma(p, r, v_set(1.0f));
    p = v_fma(p, r, v_set(1.0f));
    return v_zero_below(v_scale2(p, n), x, -87.0f);
}

/* tanh(x): below 0.625 in magnitude an odd polynomial (the coefficients of Cephes' tanhf), else from
 * exp(-2 |x|), where nothing cancels. */
V_INLINE vf hyperbolic_tangent(vf x) {
    const vf size = v_abs(x), small = v_min(v_set(0.625f), size), z = v_mul(small, small);
    vf p = v_set(-5.70498872745e-3f);
    p = v_fma(p, z, v_set(2.06390887954e-2f));
    p = v_fma(p, z, v_set(-5.37397155531e-2f));
    p = v_fma(p, z, v_set(1.33314422036e-1f));
    p = v_fma(p, z, v_set(-3.33332819422e-1f));
    const vf near = v_fma(v_mul(p, z), small, small);
    const vf e = exponential(v_mul(v_set(-2.0f), size));
    const vf far = v_div(v_sub(v_set(1.0f), e), v_add(v_set(1.0f), e));
    const vf t = v_add(v_sub(near, v_zero_below(near, size, 0.625f)), v_zero_below(far, size, 0.625f));
    return v_floats(v_or(v_bits(t), v_and(v_bits(x), v_setu(1u << 31))));
}

void V_NAME(softcap)(size_t n, float cap, float *x) {
    assert(cap > 0.0f);
    size_t i = 0;
    for (; n - i >= TQ_LANES; i += TQ_LANES)
        v_store(x + i, v_mul(v_set(cap), hyperbolic_tangent(v_div(v_load(x + i), v_set(cap)))));
    if (i == n) return;
    float rest[TQ_LANES] = {0};
    for (size_t k = 0; i + k < n; k++)
        rest[k] = x[i + k];
    v_store(rest, v_mul(v_set(cap), hyperbolic_tangent(v_div(v_load(rest), v_set(cap)))));
    for (size_t k = 0; i + k < n; k++)
        x[i + k] = rest[k];
}

void V_NAME(multiply)(size_t n, const float *factors, float *x) {
    size_t i = 0;
    for (; n - i >= TQ_LANES; i += TQ_LANES)
        v_store(x + i, v_mul(v_load(x + i), v_load(factors + i)));
    for (; i < n; i++)
        x[i] *= factors[i];
}

/* 0 times what is not finite is NaN, which no addition takes away again. */
float V_NAME(reduce_max)(size_t n, const float *x, float top) {
    vf lanes = v_set(top), zeros = v_set(0.0f);
    size_t i = 0;
    for (; n - i >= TQ_LANES; i += TQ_LANES) {
        const vf next = v_load(x + i);
        lanes = v_max(next, lanes);
        zeros = v_fma(next, v_set(0.0f), zeros);
    }
    float zero = v_fold(zeros);
    top = v_most(lanes);
    for (; i < n; i++) {
        top = x[i] > top ? x[i] : top;
        zero += 0.0f * x[i];
    }
    return zero == 0.0f ? top + 0.0f : NAN; /* of two zeros any may have been the largest */
}

float V_NAME(exp_sum)(size_t n, float top, float *scores) {
    vf total = v_set(0.0f);
    size_t t = 0;
    for (; n - t >= TQ_LANES; t += TQ_LANES) {
        const vf w = exponential(v_sub(v_load(scores + t), v_set(top)));
        v_store(scores + t, w);
        total = v_add(total, w);
    }
    if (t < n) { /* the rest in a vector of its own, filled up with what weighs nothing */
        float rest[TQ_LANES];
        for (size_t i = 0; i < TQ_LANES; i++)
            rest[i] = t + i < n ? scores[t + i] - top : -1000.0f;
        const vf w = exponential(v_load(rest));
        v_store(rest, w);
        total = v_add(total, w);
        for (size_t i = 0; t + i < n; i++)
            scores[t + i] = rest[i];
    }
    return v_fold(total);
}

void V_NAME(scale)(size_t n, float factor, float *acc) {
    assert(n % TQ_LANES == 0);
    for (size_t i = 0; i < n; i += TQ_LANES)
        v_store(acc + i, v_mul(v_load(acc + i), v_set(factor)));
}

void V_NAME(f16_to_f32)(size_t n, const uint16_t *src, float *dst) {
    assert(n % TQ_LANES == 0);
    for (size_t i = 0; i < n; i += TQ_LANES)
        v_store(dst + i, v_load_half(src + i));
}

void V_NAME(f32_to_f16)(size_t n, const float *src, uint16_t *dst) {
    assert(n % TQ_LANES == 0);
    for (size_t i = 0; i < n; i += TQ_LANES)
        v_store_half(dst + i, v_load(src + i));
}

void V_NAME(bf16_to_f32)(size_t n, const uint16_t *src, float *dst) {
    assert(n % TQ_LANES == 0);
    for (size_t i = 0; i < n; i += TQ_LANES)
        v_store(dst + i, v_floats(v_load_upper(src + i)));
}

void V_NAME(f32_to_bf16)(size_t n, const float *src, uint16_t *dst) {
    assert(n % TQ_LANES == 0);
    for (size_t i = 0; i < n; i += TQ_LANES) {
        const vu x = v_bits(v_load(src + i)), magnitude = v_and(x, v_setu(INT32_MAX));
        const vu is_nan = v_subu(v_setu(0), v_shr(v_subu(v_setu(0x7f800000), magnitude), 31));
        const vu odd = v_and(v_shr(x, 16), v_setu(1)), up = v_addu(odd, v_setu(0x7fff));
        const vu rounded = v_addu(x, v_and(up, v_xor(is_nan, v_setu(UINT32_MAX))));
        v_store_upper(dst + i, v_or(rounded, v_and(is_nan, v_setu(0x00400000))));
    }
}

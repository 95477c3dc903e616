/* SPDX-License-Identifier: MIT
 * What is written of a row whose partial results have been put together. */
#ifndef TQ_CUDA_FINISH_CUH
#define TQ_CUDA_FINISH_CUH

#include "attend/instructions.cuh"
#include "tqkv/types.h"

constexpr float LN_2 = 0.693147181f, LARGEST = 3.402823466e+38f;

TQ_INLINE void store(void *out, uint32_t type, uint64_t at, float x) {
    if (type == TQ_F32)
        ((float *)out)[at] = x;
    else
        ((uint16_t *)out)[at] = type == TQ_F16 ? to_float16(x) : to_bfloat16(x);
}

/* A row's weights: the largest score as a logarithm to base 2, and their sum relative to that. */
struct row_sums {
    float top, sum;
    int bad; /* something that it sees is no number */
    TQ_INLINE bool nothing() const {
        return sum == 0.0f && !bad;
    }
};

/* A sink is a natural logarithm, and stays one: its digits are those of lse. */
struct row_end {
    float reference, weights, own;
    TQ_INLINE row_end(const row_sums &r, const float *sink) {
        const float natural = r.top * LN_2;
        reference = natural, weights = r.sum, own = 1.0f;
        if (sink == nullptr) return;
        reference = fmaxf(natural, *sink);
        own = r.top == -INF ? 0.0f : expf(natural - reference);
        weights = r.sum * own + expf(*sink - reference);
    }
    /* what sums of values are multiplied by */
    TQ_INLINE float factor(const row_sums &r, bool open) const {
        return r.bad ? INF - INF : r.sum == 0.0f ? 0.0f : open ? 1.0f : own / weights;
    }
};

/* lse, max and sum of row r; those that are NULL are not wanted. */
TQ_INLINE void store_sums(const row_sums &r, const row_end &e, bool sink, bool base2, float *lse,
                          float *max, float *sum, uint64_t at) {
    const float nan = INF - INF;
    float logarithm = sink || !base2 ? e.reference + logf(e.weights) : r.top + log2f(e.weights);
    if (sink && base2) logarithm *= LOG2_E;
    if (lse != nullptr) lse[at] = r.bad ? nan : e.weights == 0.0f ? -INF : logarithm;
    if (max != nullptr) max[at] = r.bad ? nan : base2 ? r.top : r.top * LN_2;
    if (sum != nullptr) sum[at] = r.bad ? nan : r.sum;
}

#endif

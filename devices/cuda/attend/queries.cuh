/* SPDX-License-Identifier: MIT
 * Queries as the model has them, and as right sides of products: in the order in which codes come. */
#ifndef TQ_CUDA_QUERIES_CUH
#define TQ_CUDA_QUERIES_CUH

#include "attend/prepare.h"
#include "vector.cuh"

__device__ static uint64_t query_at(const tq_attend_args &a, const tq_prepare_queries &q, uint32_t b,
                                    uint32_t head, uint32_t row) {
    return ((uint64_t)b * a.queries + row / a.group) * q.token +
           (uint64_t)(head * a.group + row % a.group) * q.head;
}

/* Four values of a query. */
__device__ static float4 load_queries(const tq_prepare_queries &q, uint64_t at) {
    if (q.type == TQ_F32) {
        const float *const x = (const float *)q.data + at;
        return make_float4(x[0], x[1], x[2], x[3]);
    }
    if (q.type == TQ_F16) {
        const __half *const x = (const __half *)q.data + at;
        return make_float4(__half2float(x[0]), __half2float(x[1]), __half2float(x[2]),
                           __half2float(x[3]));
    }
    const __nv_bfloat16 *const x = (const __nv_bfloat16 *)q.data + at;
    return make_float4(__bfloat162float(x[0]), __bfloat162float(x[1]), __bfloat162float(x[2]),
                       __bfloat162float(x[3]));
}

/* Where a coordinate's float16 lies among those of a column: step, thread of four, and place of four; or,
 * of many rows, in the order of codes alone. */
template <unsigned GROUP, bool LINEAR> struct place_of_code {
    bool many;
    __device__ unsigned operator()(unsigned d) const {
        const unsigned block = d / (16 * GROUP), in = d % (16 * GROUP);
        const unsigned lane = LINEAR ? in / GROUP : d % 16, k = LINEAR ? in % GROUP : in / 16;
        /* codes that come in order: d, and never what adds up to it, of which nvcc 13.0 makes d + d %
         * GROUP where vectors have 64 coordinates */
        if (many) return LINEAR ? d : (block * 16 + lane) * GROUP + k;
        const unsigned e = (block * 4 + lane % 4) * GROUP + k;
        return (e / 4 * 32 + lane / 4) * 4 + e % 4;
    }
};
struct place_of_any {
    bool many, linear;
    unsigned group;
    __device__ unsigned operator()(unsigned d) const {
        if (linear)
            return group == 8   ? place_of_code<8, true>{many}(d)
                   : group == 4 ? place_of_code<4, true>{many}(d)
                                : place_of_code<1, true>{many}(d);
        return group == 8   ? place_of_code<8, false>{many}(d)
               : group == 4 ? place_of_code<4, false>{many}(d)
               : group == 2 ? place_of_code<2, false>{many}(d)
                            : place_of_code<1, false>{many}(d);
    }
};
/* Sixteen threads a vector. */
template <int N> using row_of = coords<N, 1>;

__device__ static float largest_of(float x) {
#pragma unroll
    for (int d = 8; d > 0; d /= 2)
        x = fmaxf(x, __shfl_xor_sync(WHOLE_WARP, x, d));
    return x;
}

/* 2^n of -126 to 127. */
__device__ static float scale_of_2(int n) {
    return __int_as_float((n + 127) << 23);
}

/* The power of two that a vector's largest is between once and twice of. Of subnormals and of what is not
 * finite the exponent is at an end: factors of two halves hold it. */
struct binade {
    int exponent, half;
    template <class V> __device__ explicit binade(V &v) {
        float most = 0.0f;
#pragma unroll
        for (int k = 0; k < v.n(); k++)
            most = fmaxf(most, fabsf(v[k]));
        exponent = (int)(__float_as_uint(largest_of(most)) >> 23) - 127, half = exponent / 2;
    }
    /* x over it as two float16. */
    __device__ void split(float x, __half &high, __half &low) const {
        const float y = __fmul_rn(__fmul_rn(x, scale_of_2(-half)), scale_of_2(half - exponent));
        high = __float2half_rn(y);
        low = __float2half_rn(__fsub_rn(y, __half2float(high)));
    }
    __device__ float times(float scale) const {
        return __fmul_rn(__fmul_rn(scale, scale_of_2(half)), scale_of_2(exponent - half));
    }
};

/* A vector as two float16 a value. */
template <class V, class P>
__device__ static void store_operands(const tq_prepare_args &p, V &v, uint32_t *item_words,
                                      uint32_t column, float scale, bool there, P place_of) {
    const uint32_t dim = p.k_plan.dim, lane = place<V>();
    const binade of(v);
    if (!there) return;
    __half *const high = (__half *)item_words + column * (place_of.many ? dim : 16);
    __half *const low = p.twice ? high + dim / 16 * 128 : high + p.columns * 16;
    const bool two = p.twice || p.columns < TQ_ATTEND_COLUMNS;
#pragma unroll
    for (int k = 0; k < v.n(); k++) {
        const uint32_t at = place_of((uint32_t)(k * TQ_LANES) + lane);
        __half h, l;
        of.split(v[k], h, l);
        high[at] = h;
        if (two) low[at] = l;
    }
    if (lane == 0)
        ((float *)item_words)[p.attend.columns * (dim / 2) * (p.twice ? 2 : 1) + column] =
            of.times(scale);
}

/* In the order that keys' codes have. */
template <int N, class V>
__device__ static void store_for_codes(const tq_prepare_args &p, V &v, uint32_t *words, uint32_t column,
                                       bool there, bool many) {
    constexpr unsigned n = N == 0 ? 1 : N, GROUP = n % 8 == 0 ? 8 : pow2_of(n),
                       BYTES = n % 4 == 0 ? 4 : 1;
    if constexpr (N == 0) {
        const auto any = place_of_any{many, p.linear != 0, p.code_group};
        store_operands(p, v, words, column, p.code_scale, there, any);
    } else if (!p.linear) {
        store_operands(p, v, words, column, p.code_scale, there, place_of_code<GROUP, false>{many});
    } else if (p.code_group == 8) {
        store_operands(p, v, words, column, p.code_scale, there, place_of_code<8, true>{many});
    } else {
        store_operands(p, v, words, column, p.code_scale, there, place_of_code<BYTES, true>{many});
    }
}

#endif

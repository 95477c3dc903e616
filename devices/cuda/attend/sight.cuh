/* SPDX-License-Identifier: MIT
 * What rows see, and caps of scores. */
#ifndef TQ_CUDA_SIGHT_CUH
#define TQ_CUDA_SIGHT_CUH

#ifndef __CUDACC_RTC__
#include "attend/instructions.cuh"
#endif

struct view {
    uint32_t codes_from, codes_to, recent_from, length;
    uint32_t tree_from;
    uint32_t sequence;
};

/* Whether a query sees position p, which is there. Out of line: few tiles are in part in sight. */
__device__ __noinline__ static bool sees(const tq_attend_args &a, const view &v, uint32_t query,
                                         uint32_t p) {
    if (a.tree != nullptr && p >= v.tree_from) {
        const uint32_t bit = p - v.tree_from + (a.n_tree > v.length ? a.n_tree - v.length : 0);
        const uint64_t word =
            a.tree[((uint64_t)v.sequence * a.queries + query) * a.tree_words + bit / 64];
        return word >> bit % 64 & 1;
    }
    const uint32_t at = v.length - a.queries + query; /* may be below 0, and wraps */
    if ((int32_t)at < 0) return !a.causal && a.window == 0;
    if (a.causal && p > at) return false;
    return a.window == 0 || p + a.window > at || p < a.sink_positions;
}

/* cap tanh(x / cap), x in natural units, times log2(e). */
template <bool EXACT> TQ_INLINE float cap_score(float x, float inverse, float capped) {
    const float y = x * inverse;
    float t;
    if constexpr (EXACT) {
        const float q = y * y, e = power_of_2(2.0f * LOG2_E * fabsf(y));
        const float series =
            y * (1.0f + q * (-1.0f / 3 + q * (2.0f / 15 + q * (-17.0f / 315 + q * (62.0f / 2835)))));
        asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(t) : "f"(e + 1.0f));
        t = q < 0.09f ? series : copysignf(fmaf(-2.0f, t, 1.0f), y);
    } else {
        asm("tanh.approx.f32 %0, %1;" : "=f"(t) : "f"(y));
    }
    return t * capped;
}

/* Tiles of float16 among the first units behind those of codes. */
TQ_INLINE uint32_t tiles_before(uint32_t units, uint32_t cost) {
    return units <= TQ_ATTEND_DENSE_UNITS ? 0 : (units - TQ_ATTEND_DENSE_UNITS + cost - 1) / cost;
}
/* x / y of x below 2^20, faster than the division of integers. */
TQ_INLINE uint32_t quotient(uint32_t x, uint32_t y) {
    float inverse;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"((float)y));
    return (uint32_t)(((float)x + 0.5f) * inverse);
}

#endif

/* SPDX-License-Identifier: MIT
 * Sums of weights and values that run along positions, and a block's put together. */
#ifndef TQ_CUDA_RUNNING_CUH
#define TQ_CUDA_RUNNING_CUH

#ifndef __CUDACC_RTC__
#include "attend/piece.cuh"
#include "attend/products.cuh"
#endif

/* What float16 weights are multiplied by: they are no more than 2^8 of the reference and what rounding
 * adds. Where scores are so large that float32 loses the values' scales beside them, weights may be of
 * any scale. */
template <class F> struct weight_scale {
    static constexpr float USUAL = 0x1p+5f, LARGE = F::NORM == 2 ? 0x1p-17f : 0x1p-75f;
    static TQ_INLINE bool is_large(float top) {
        return fabsf(top) >= 0x1p+24f && top != -INF;
    }
    static TQ_INLINE float of(float top) {
        return is_large(top) ? LARGE : USUAL;
    }
    static TQ_INLINE float inverse(float top) {
        return is_large(top) ? 1.0f / LARGE : 1.0f / USUAL;
    }
    static TQ_INLINE float change(float old, float now) {
        return is_large(old) == is_large(now) ? 1.0f : is_large(now) ? LARGE / USUAL : USUAL / LARGE;
    }
};

/* What a warp has of its columns: sums of values, the reference of the weights, and their sum. Teams have
 * one column a thread of the latter two. */
template <class L> struct running {
    float o[L::MY_TILES][4];
    float top[2], sum[2];
    /* What is taken from scores: the largest, or 0 where there is none; and what weights are multiplied
     * by. */
    float reference[2], times[2];

    TQ_INLINE void clear() {
#pragma unroll
        for (int i = 0; i < L::MY_TILES; i++)
            o[i][0] = o[i][1] = o[i][2] = o[i][3] = 0.0f;
        top[0] = top[1] = -INF;
        sum[0] = sum[1] = 0.0f;
        follow();
    }
    TQ_INLINE void follow() {
#pragma unroll
        for (int i = 0; i < (L::TEAM == 1 ? 2 : 1); i++) {
            reference[i] = top[i] == -INF ? 0.0f : top[i];
            times[i] = weight_scale<typename L::V>::of(top[i]);
        }
    }
    TQ_INLINE void shrink(float f0, float f1) {
#pragma unroll
        for (int i = 0; i < L::MY_TILES; i++)
            o[i][0] *= f0, o[i][1] *= f1, o[i][2] *= f0, o[i][3] *= f1;
    }
    /* of sums of weights, and of values */
    static TQ_INLINE float factor(float old, float now) {
        return old == -INF ? 0.0f : power_of_2(old - now);
    }
    static TQ_INLINE float value_factor(float old, float now) {
        return factor(old, now) * weight_scale<typename L::V>::change(old, now);
    }
    /* The reference follows the largest term only when it must: weights stay below 2^14 as float16. */
    TQ_INLINE void grow(float t0, float t1) {
        if (__builtin_expect(!__any_sync(~0u, t0 > top[0] + 8.0f || t1 > top[1] + 8.0f), true)) return;
#pragma unroll
        for (int d = 4; d <= 16; d *= 2) {
            t0 = fmaxf(t0, __shfl_xor_sync(~0u, t0, d));
            t1 = fmaxf(t1, __shfl_xor_sync(~0u, t1, d));
        }
        t0 = fmaxf(t0, top[0]), t1 = fmaxf(t1, top[1]);
        const float f0 = factor(top[0], t0), f1 = factor(top[1], t1);
        sum[0] *= f0, sum[1] *= f1;
        shrink(value_factor(top[0], t0), value_factor(top[1], t1));
        top[0] = t0, top[1] = t1;
        follow();
    }
    TQ_INLINE void grow_team(float t) {
        if (!__any_sync(~0u, t > top[0] + 8.0f)) return;
        t = fmaxf(t, __shfl_xor_sync(~0u, t, 1));
        t = fmaxf(t, __shfl_xor_sync(~0u, t, 2));
        t = fmaxf(t, top[0]);
        const int tid = threadIdx.x & 3;
        sum[0] *= factor(top[0], t);
        const float f = value_factor(top[0], t);
        top[0] = t;
        follow();
        shrink(__shfl_sync(~0u, f, tid * 8), __shfl_sync(~0u, f, tid * 8 + 4));
    }

    /* Scores to weights to sums, of a warp by itself: what each one's value is multiplied by, and
     * logarithms of that, or more, of both positions; products(weights). */
    template <class P>
    TQ_INLINE void spend(const float (&s)[4], const float (&scale)[4], const float (&largest)[2],
                         P products) {
        const float u = largest[0], v = largest[1];
        grow(fmaxf(s[0] + u, s[2] + v), fmaxf(s[1] + u, s[3] + v));
        float p[4];
#pragma unroll
        for (int i = 0; i < 4; i++)
            p[i] = power_of_2(s[i] - reference[i % 2]);
        sum[0] += p[0] + p[2], sum[1] += p[1] + p[3];
#pragma unroll
        for (int i = 0; i < 4; i++)
            p[i] *= scale[i] * times[i % 2];
        if (L::FREE && (threadIdx.x & 3) >= 2)
#pragma unroll
            for (int i = 0; i < 4; i++)
                p[i] -= half_low(pack(p[i], 0.0f));
        const uint32_t h0 = pack(p[0], p[1]), h1 = pack(p[2], p[3]);
        weights w;
        w.high[0] = transpose(h0), w.high[1] = transpose(h1);
        if constexpr (L::TWICE) {
            w.low[0] = transpose(pack(p[0] - half_low(h0), p[1] - half_high(h0)));
            w.low[1] = transpose(pack(p[2] - half_low(h1), p[3] - half_high(h1)));
        }
        products(w);
    }
    /* The same of a team. scale(m, row): what the value of a row of member m's tile is multiplied by;
     * largest(m, row); products(m, weights). */
    template <class S, class T, class P>
    TQ_INLINE void spend_together(float *exchange, const float (&s)[4], S scale, T largest, P products) {
        constexpr int TEAM = L::TEAM;
        const thread_of me;
        const int order = me.order, tid = me.tid, g = me.g, warp = me.warp, member = warp % TEAM;
        float *const mine = exchange + warp * TILE * COLUMNS;
        *(float2 *)(mine + order * COLUMNS + tid * 2) = make_float2(s[0], s[1]);
        *(float2 *)(mine + (order + 8) * COLUMNS + tid * 2) = make_float2(s[2], s[3]);
        __syncthreads();
        const float *const team = exchange + (warp - member) * TILE * COLUMNS;
        float y[TEAM * 4], t = -INF;
#pragma unroll
        for (int i = 0; i < TEAM * 4; i++) {
            const int row = tid + i % 4 * 4;
            y[i] = team[i / 4 * TILE * COLUMNS + row * COLUMNS + g];
            t = fmaxf(t, y[i] + largest(i / 4, row));
        }
        grow_team(t);
#pragma unroll
        for (int m = 0; m < TEAM; m++) {
            float z[4];
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const float score = y[m * 4 + j], p = power_of_2(score - reference[0]);
                sum[0] += p;
                z[j] = score == -INF ? 0.0f : p * scale(m, tid + 4 * j) * times[0];
            }
            weights w;
            w.high[0] = pack(z[0], z[1]), w.high[1] = pack(z[2], z[3]);
            if constexpr (L::TWICE) {
                w.low[0] = pack(z[0] - half_low(w.high[0]), z[1] - half_high(w.high[0]));
                w.low[1] = pack(z[2] - half_low(w.high[1]), z[3] - half_high(w.high[1]));
            }
            products(m, w);
        }
    }
};

/* Where the piece's partial result lies. */
template <class L> TQ_INLINE float *slot_of(const tq_attend_args &a, const piece &w) {
    return a.partial + (uint64_t)(w.item + blockIdx.x) * COLUMNS * (L::E + 2);
}

/* What warps tell each other at the end of a piece. */
template <class L> struct last_sums {
    float tops[L::WARPS][COLUMNS], sums[L::WARPS][COLUMNS], scales[COLUMNS];
};

/* Puts the warps' parts together, in a partial result: [columns][E] sums of values times `scale`,
 * [columns] references, [columns] sums of weights. Every warp's sums go over its ring. */
template <class L>
TQ_INLINE void put_together(running<L> &r, const block<L> &shared, last_sums<L> &last, float *slot,
                            float scale, int rows) {
    constexpr int WARPS = L::WARPS, TEAM = L::TEAM, ROWS = L::FREE ? COLUMNS / 2 : COLUMNS;
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, tid = lane & 3;
    if constexpr (TEAM == 1) {
#pragma unroll
        for (int d = 4; d <= 16; d *= 2) {
            r.sum[0] += __shfl_xor_sync(~0u, r.sum[0], d);
            r.sum[1] += __shfl_xor_sync(~0u, r.sum[1], d);
        }
        if (g == 0) {
            last.tops[warp][tid * 2] = r.top[0], last.tops[warp][tid * 2 + 1] = r.top[1];
            last.sums[warp][tid * 2] = r.sum[0], last.sums[warp][tid * 2 + 1] = r.sum[1];
        }
    } else {
        r.sum[0] += __shfl_xor_sync(~0u, r.sum[0], 1);
        r.sum[0] += __shfl_xor_sync(~0u, r.sum[0], 2);
        if (tid == 0) last.tops[warp][g] = r.top[0], last.sums[warp][g] = r.sum[0];
    }
    __syncthreads();

    /* A lane has column lane % 8 of some warps. */
    const int column = lane % COLUMNS;
    float largest = -INF;
#pragma unroll
    for (int w0 = 0; w0 < WARPS; w0 += 4)
        largest = fmaxf(largest, last.tops[w0 + lane / COLUMNS][column]);
    largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 8));
    largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 16));
    if (warp == 0) {
        float sum = 0.0f;
#pragma unroll
        for (int w0 = 0; w0 < WARPS; w0 += 4) {
            const int w = w0 + lane / COLUMNS;
            if (w % TEAM == 0)
                sum += scaled(last.sums[w][column], running<L>::factor(last.tops[w][column], largest));
        }
        sum += __shfl_xor_sync(~0u, sum, 8);
        sum += __shfl_xor_sync(~0u, sum, 16);
        if (lane < COLUMNS) {
            slot[COLUMNS * L::E + lane] = largest, slot[COLUMNS * (L::E + 1) + lane] = sum;
            last.scales[lane] = scale * weight_scale<typename L::V>::inverse(largest);
        }
    }
    const float f0 =
        running<L>::value_factor(last.tops[warp][tid * 2], __shfl_sync(~0u, largest, tid * 2));
    const float f1 =
        running<L>::value_factor(last.tops[warp][tid * 2 + 1], __shfl_sync(~0u, largest, tid * 2 + 1));
    /* [value of a thread][g][column], swizzled */
    auto part_of = [&](int w, int e, int g, int c) {
        return (float *)shared.ring_of(w) + e * 64 + ((g * 8 + c) ^ 2 * (e & 15));
    };
#pragma unroll
    for (int i = 0; i < L::MY_TILES; i++)
#pragma unroll
        for (int h = 0; h < 2; h++)
            *(float2 *)part_of(warp, 2 * i + h, g, tid * 2) =
                make_float2(scaled(r.o[i][2 * h], f0), scaled(r.o[i][2 * h + 1], f1));
    __syncthreads();
    for (int i = threadIdx.x; i < L::E * rows; i += L::THREADS) {
        const int n = i % L::E, c = i / L::E;
        int of, e;
        value_index<typename L::V>(n, of, e);
        const int m = e / (L::MY_WORDS * 8);
        e -= m * L::MY_WORDS * 8;
        float sum = 0.0f;
#pragma unroll
        for (int w = 0; w < WARPS; w += TEAM) {
            sum += *part_of(w + m, e, of, c);
            if (L::FREE) sum += *part_of(w + m, e, of, c + ROWS);
        }
        slot[c * L::E + n] = sum * last.scales[c];
    }
}

#endif

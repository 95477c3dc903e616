/* SPDX-License-Identifier: MIT
 * A piece of work, and what its rows see. */
#ifndef TQ_CUDA_PIECE_CUH
#define TQ_CUDA_PIECE_CUH

#ifndef __CUDACC_RTC__
#include "attend/layer.cuh"
#include "attend/line.cuh"
#endif

/* x / y of x below 2^20, faster than the division of integers. */
TQ_INLINE uint32_t quotient(uint32_t x, uint32_t y) {
    return (uint32_t)(((float)x + 0.5f) * reciprocal((float)y));
}

/* Shared memory of a block: [rings] [tables] [rings] [operands] [exchange], or, of no team, [rings]
 * [tables] [rings] [products with centres]. */
template <class L> struct block {
    uint8_t *below, *tables, *above;
    uint2 *queries;
    float *exchange, *bias;
    TQ_INLINE block(uint8_t *shared) {
        below = shared;
        tables = shared + (L::FIXED ? L::TABLES - shared_address(shared) : 0);
        above = tables + L::TABLES;
        queries = (uint2 *)(above + (L::WARPS - L::WARPS_BELOW) * L::MEMBER);
        exchange = (float *)((uint8_t *)queries + (L::QUERIES_SHARED ? L::QUERY_BYTES : 0));
        bias = (float *)queries;
    }
    TQ_INLINE uint8_t *ring_of(int w) const {
        return w < L::WARPS_BELOW ? below + w * L::MEMBER : above + (w - L::WARPS_BELOW) * L::MEMBER;
    }
};

/* A piece of work: some tiles of a sequence, KV head and block of rows. */
struct piece {
    tq_attend_sequence seq;
    uint32_t sequence, item, head, row0;
    int rows;
    uint32_t codes_begin, codes_end; /* tiles */
    uint32_t tree_from;              /* positions from here on have bits of their own */
    uint32_t next_unit, end_unit;    /* of the block's part of the line */
};

/* Of a thread in a warp. Row g of a product of keys is position order of eight, so that weights,
 * transposed, have a thread's positions 4 apart. */
struct thread_of {
    int lane, warp, g, tid, order;
    TQ_INLINE thread_of() {
        lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, tid = lane & 3;
        order = (g >> 1) | (g & 1) << 2;
    }
};

TQ_INLINE uint32_t tree_from(const tq_attend_args &a, uint32_t length) {
    return a.tree == nullptr ? ~0u : length - min(length, a.n_tree);
}

/* Whether a query sees position p, which is there. Out of line: few tiles are in part in sight. */
__device__ __noinline__ inline bool sees(const tq_attend_args &a, const piece &w, uint32_t query,
                                         uint32_t p) {
    if (a.tree != nullptr && p >= w.tree_from) {
        const uint32_t bit = p - w.tree_from + (a.n_tree > w.seq.length ? a.n_tree - w.seq.length : 0);
        const uint64_t word =
            a.tree[((uint64_t)w.sequence * a.queries + query) * a.tree_words + bit / 64];
        return word >> bit % 64 & 1;
    }
    const uint32_t at = w.seq.length - a.queries + query; /* may be below 0, and wraps */
    if ((int32_t)at < 0) return false;
    if (a.causal && p > at) return false;
    return a.window == 0 || p + a.window > at || p < a.sink_positions;
}

/* Positions that all of so many rows see: from the first to before the other. */
struct sight {
    uint32_t from, to;
    TQ_INLINE sight(const tq_attend_args &a, const piece &w, uint32_t rows) {
        const int32_t now = (int32_t)(w.seq.length - a.queries);
        const int32_t low = now + (int32_t)quotient(w.row0, a.group);
        const int32_t high = now + (int32_t)quotient(min(w.row0 + rows, a.rows) - 1, a.group);
        to = min(a.causal ? (uint32_t)max(low + 1, 0) : w.seq.length, min(w.tree_from, w.seq.codes_to));
        from = a.window == 0 || high < (int32_t)a.window ? 0 : (uint32_t)high - a.window + 1;
        if (low < 0) to = 0;
        from = max(from, w.seq.codes_from);
    }
};

/* cap tanh(x / cap), x in natural units, times log2(e). */
template <bool EXACT> TQ_INLINE float cap_score(float x, float inverse, float capped) {
    const float y = x * inverse;
    float t;
    if constexpr (EXACT) {
        const float q = y * y, e = power_of_2(2.0f * LOG2_E * fabsf(y));
        const float series =
            y * (1.0f + q * (-1.0f / 3 + q * (2.0f / 15 + q * (-17.0f / 315 + q * (62.0f / 2835)))));
        t = q < 0.09f ? series : copysignf(fmaf(-2.0f, reciprocal(e + 1.0f), 1.0f), y);
    } else {
        t = quick_tanh(y);
    }
    return t * capped;
}

/* The columns of a thread's scores. */
template <class L> struct columns {
    uint32_t query0, query1;
    float slope0, slope1;
    static TQ_INLINE int first_of(int tid) {
        return L::FREE ? tid * 2 % 4 : tid * 2;
    }
    TQ_INLINE columns(const tq_attend_args &a, const piece &w) {
        const int first = first_of(threadIdx.x & 3);
        const uint32_t index0 = min(w.row0 + first, a.rows - 1),
                       index1 = min(w.row0 + first + 1, a.rows - 1);
        query0 = quotient(index0, a.group), query1 = quotient(index1, a.group);
        slope0 = slope1 = 0.0f;
        if (a.slopes == nullptr) return;
        slope0 = a.slopes[w.head * a.group + index0 % a.group] * LOG2_E;
        slope1 = a.slopes[w.head * a.group + index1 % a.group] * LOG2_E;
    }
};

/* Caps, distances and masks, of positions p and p + 8: for layers without either, of tiles that all rows
 * see, there is nothing to do. */
template <class L>
TQ_INLINE void finish_scores(const tq_attend_args &a, const piece &w, const columns<L> &c, float (&s)[4],
                             uint32_t p, bool some) {
    if (a.softcap > 0.0f)
#pragma unroll
        for (int i = 0; i < 4; i++)
            s[i] = cap_score<L::EXACT>(s[i], 1.0f / a.softcap, a.softcap * LOG2_E);
    if (a.slopes != nullptr) {
        const uint32_t now = w.seq.length - a.queries;
        s[0] -= c.slope0 * fabsf((float)(int32_t)(now + c.query0 - p));
        s[1] -= c.slope1 * fabsf((float)(int32_t)(now + c.query1 - p));
        s[2] -= c.slope0 * fabsf((float)(int32_t)(now + c.query0 - p - 8));
        s[3] -= c.slope1 * fabsf((float)(int32_t)(now + c.query1 - p - 8));
    }
    if (!some) return;
    const uint32_t from = w.seq.codes_from, to = w.seq.codes_to;
    if (p < from || p >= to || !sees(a, w, c.query0, p)) s[0] = -INF;
    if (p < from || p >= to || !sees(a, w, c.query1, p)) s[1] = -INF;
    if (p + 8 < from || p + 8 >= to || !sees(a, w, c.query0, p + 8)) s[2] = -INF;
    if (p + 8 < from || p + 8 >= to || !sees(a, w, c.query1, p + 8)) s[3] = -INF;
}

#endif

/* SPDX-License-Identifier: MIT
 * From products with a tile's keys to weights: scores as they count, and sums that run along positions.
 */
#ifndef TQ_CUDA_PREFILL_SCORES_CUH
#define TQ_CUDA_PREFILL_SCORES_CUH

#ifndef __CUDACC_RTC__
#include "attend/prefill_tile.cuh"
#include "attend/running.cuh"
#endif

/* Rows of a thread: g and 8 + g of each of the warp's blocks of 16, counted in the piece. Those beyond
 * the piece's are its last one again, and are not written. */
template <class L> struct prefill_rows {
    uint32_t first; /* of the warp */
    TQ_INLINE prefill_rows() {
        first = L::TEAM > 1 ? threadIdx.x / 32 * L::WARP_ROWS : 0;
    }
    static TQ_INLINE uint32_t in_warp(int block, int half) {
        return block * 16 + half * 8 + (threadIdx.x & 31) / 4;
    }
    TQ_INLINE uint32_t row(const piece &w, int block, int half) const {
        return min(first + in_warp(block, half), (uint32_t)w.rows - 1);
    }
};

/* Bit i of number r: whether the thread's row r does not see its position i, of the tile's K_TILES eights
 * two each. In loops that stay loops: few tiles are in part in sight. */
template <class L> struct prefill_hidden {
    static constexpr int EACH = L::K_TILES * 2;
    uint32_t bits[L::BLOCKS * 2];

    static TQ_INLINE bool tree_hides(const tq_attend_args &a, const piece &w, uint32_t query,
                                     uint32_t p) {
        const uint32_t bit = p - w.tree_from + (a.n_tree > w.seq.length ? a.n_tree - w.seq.length : 0);
        const uint64_t word =
            a.tree[((uint64_t)w.sequence * a.queries + query) * a.tree_words + bit / 64];
        return !(word >> bit % 64 & 1);
    }
    TQ_INLINE prefill_hidden(const tq_attend_args &a, const piece &w, const prefill_rows<L> &rows,
                             const prefill_units<L> &units, uint32_t i) {
        const uint32_t from = w.seq.codes_from, to = w.seq.codes_to;
#pragma unroll
        for (int r = 0; r < L::BLOCKS * 2; r++) {
            const uint32_t query = quotient(w.row0 + rows.row(w, r / 2, r % 2), a.group);
            const int32_t at = (int32_t)(w.seq.length - a.queries + query);
            uint32_t all = 0;
#pragma unroll 1
            for (int x = 0; x < EACH; x++) {
                const uint32_t p =
                    units.position(i, x / 4) + x / 2 % 2 * 8 + (threadIdx.x & 3) * 2 + x % 2;
                bool hidden = p < from || p >= to;
                if (!hidden && p >= w.tree_from)
                    hidden = tree_hides(a, w, query, p);
                else if (at < 0 || (a.causal && p > (uint32_t)at) ||
                         (a.window > 0 && p + a.window <= (uint32_t)at && p >= a.sink_positions))
                    hidden = true;
                all |= (uint32_t)hidden << x;
            }
            bits[r] = all;
        }
    }
};

/* What a warp has of its rows: sums of values, the reference of the weights, and the thread's part of
 * their sum. */
template <class L> struct prefill_running {
    using F = weight_scale<typename L::V>;
    using scores = float[L::BLOCKS][L::K_TILES][4];
    float o[L::BLOCKS][L::V_TILES][4];
    float top[L::BLOCKS][2], sum[L::BLOCKS][2];
    bool large; /* weights of a row of the warp have another scale */

    TQ_INLINE void clear() {
#pragma unroll
        for (int b = 0; b < L::BLOCKS; b++) {
#pragma unroll
            for (int i = 0; i < L::V_TILES; i++)
                o[b][i][0] = o[b][i][1] = o[b][i][2] = o[b][i][3] = 0.0f;
            top[b][0] = top[b][1] = -INF;
            sum[b][0] = sum[b][1] = 0.0f;
        }
        large = false;
    }
    static TQ_INLINE float factor(float old, float now) {
        return old == -INF ? 0.0f : power_of_2(old - now);
    }
    /* The reference follows the largest term only when it must: weights stay below 2^14 as float16. */
    TQ_INLINE void grow(const float (&most)[L::BLOCKS][2]) {
        bool must = false;
#pragma unroll
        for (int b = 0; b < L::BLOCKS; b++)
            must = must || most[b][0] > top[b][0] + 8.0f || most[b][1] > top[b][1] + 8.0f;
        if (!__any_sync(~0u, must)) return;
        large = false;
#pragma unroll
        for (int b = 0; b < L::BLOCKS; b++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                float t = most[b][h];
                t = fmaxf(t, __shfl_xor_sync(~0u, t, 1));
                t = fmaxf(t, __shfl_xor_sync(~0u, t, 2));
                t = fmaxf(t, top[b][h]);
                const float f = factor(top[b][h], t), v = f * F::change(top[b][h], t);
                sum[b][h] *= f;
#pragma unroll
                for (int i = 0; i < L::V_TILES; i++)
                    o[b][i][2 * h] *= v, o[b][i][2 * h + 1] *= v;
                top[b][h] = t;
                large = large || F::is_large(t);
            }
        large = __any_sync(~0u, large);
    }
    /* Scores of 16 positions to weights, the left sides of products with values, and their sums.
     * `values`: what the tile's values are multiplied by, from this thread's first on. PLAIN: all are
     * seen, and no row is large. */
    template <bool PLAIN>
    TQ_INLINE void weigh(const scores &s, int u, const float *values, uint32_t (&left)[L::BLOCKS][4]) {
#pragma unroll
        for (int b = 0; b < L::BLOCKS; b++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int h = i % 2, t = 2 * u + i / 2;
                const float2 v = *(const float2 *)(values + t * 8);
                const float reference = top[b][h] == -INF ? 0.0f : top[b][h];
                const float x = s[b][t][2 * h], y = s[b][t][2 * h + 1];
                float p = power_of_2(x - reference), q = power_of_2(y - reference);
                sum[b][h] += p + q;
                p *= v.x, q *= v.y;
                if constexpr (!PLAIN) {
                    const float f = F::of(top[b][h]) / F::USUAL;
                    /* what is not seen may have any norm */
                    p = x == -INF ? 0.0f : p * f, q = y == -INF ? 0.0f : q * f;
                }
                left[b][i] = pack(p, q);
            }
    }
};

/* Products to scores of a piece: norms and scales, centres, caps, distances and masks. */
template <class L> struct prefill_scores {
    using scores = float[L::BLOCKS][L::K_TILES][4];
    const tq_attend_args &a;
    const piece &w;
    const prefill_rows<L> &rows;
    const prefill_units<L> &units;
    const sight full;    /* positions that all rows see */
    const float *scales; /* of operands */
    bool careful;        /* what float32 holds may not be enough */

    TQ_INLINE prefill_scores(const tq_attend_args &a_, const piece &w_, const prefill_rows<L> &rows_,
                             const prefill_units<L> &units_, const float *scales_)
        : a(a_), w(w_), rows(rows_), units(units_), full(a_, w_, L::ROWS), scales(scales_) {
    }
    /* Once operands are there; before the block meets. */
    TQ_INLINE void load(const float *from, float *to) {
        careful = L::K::NORM > 2;
        for (uint32_t i = threadIdx.x; i < L::ROWS; i += L::THREADS)
            to[i] = from[min(i, (uint32_t)w.rows - 1)];
#pragma unroll
        for (int i = 0; i < L::BLOCKS * 2; i++)
            careful = careful || !(fabsf(from[rows.row(w, i / 2, i % 2)]) < 0x1p+96f);
    }
    TQ_INLINE bool all_seen(uint32_t i) const {
        bool all = true;
#pragma unroll
        for (uint32_t u = 0; u < L::UNITS; u++) {
            const uint32_t p = units.position(i, u);
            all = all && p >= full.from && p + TILE <= full.to;
        }
        return all;
    }
    TQ_INLINE uint32_t stretch_of(uint32_t p) const {
        return min(a.stretch_shift >= 0 ? p >> a.stretch_shift : p / a.stretch, a.stretches - 1);
    }
    /* Whether all positions of tile i have one centre. */
    TQ_INLINE bool one_centre(uint32_t i) const {
        const uint32_t first = units.position(i, 0), last = units.position(i, L::UNITS - 1) + TILE - 1;
        return last - first == L::POSITIONS - 1 && stretch_of(first) == stretch_of(last);
    }
    /* Products with the centre of a tile that has one. */
    TQ_INLINE void add_centre(scores &s, uint32_t p, bool &large) const {
        const float *const from = a.bias + ((uint64_t)w.item * a.stretches + stretch_of(p)) * a.columns;
        float x[L::BLOCKS][2];
#pragma unroll
        for (int i = 0; i < L::BLOCKS * 2; i++)
            x[i / 2][i % 2] = from[rows.row(w, i / 2, i % 2)];
#pragma unroll
        for (int i = 0; i < L::BLOCKS * 2; i++)
            large = large || !(fabsf(x[i / 2][i % 2]) < 0x1p+100f);
        each(s, [&](float &y, int b, int h) { y += x[b][h]; });
    }
    /* The same, of 16 positions that may have several. */
    TQ_INLINE void add_centres(scores &s, int u, uint32_t p0, bool &large) const {
        const uint32_t n = stretch_of(p0);
        const bool one = n == stretch_of(p0 + TILE - 1);
#pragma unroll
        for (int b = 0; b < L::BLOCKS; b++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                const float *const from =
                    a.bias + (uint64_t)w.item * a.stretches * a.columns + rows.row(w, b, h);
                float x = from[(uint64_t)n * a.columns];
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    if (!one)
                        x = from[(uint64_t)stretch_of(p0 + i / 2 * 8 + (threadIdx.x & 3) * 2 + i % 2) *
                                 a.columns];
                    large = large || !(fabsf(x) < 0x1p+100f);
                    s[b][2 * u + i / 2][2 * h + i % 2] += x;
                }
            }
    }
    TQ_INLINE void take_distances(scores &s, int u, uint32_t p0) const {
#pragma unroll
        for (int b = 0; b < L::BLOCKS; b++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                const uint32_t row = w.row0 + rows.row(w, b, h), query = quotient(row, a.group);
                const float slope = a.slopes[w.head * a.group + (row - query * a.group)] * LOG2_E;
                const uint32_t from = w.seq.length - a.queries + query - p0 - (threadIdx.x & 3) * 2;
#pragma unroll
                for (int i = 0; i < 4; i++)
                    s[b][2 * u + i / 2][2 * h + i % 2] -=
                        slope * fabsf((float)(int32_t)(from - i / 2 * 8 - i % 2));
            }
    }
    /* f(score, block, half): of the thread's row of both. */
    template <class T> static TQ_INLINE void each(scores &s, T f) {
#pragma unroll
        for (int b = 0; b < L::BLOCKS; b++)
#pragma unroll
            for (int t = 0; t < L::K_TILES; t++)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    f(s[b][t][i], b, i / 2);
    }
    /* Of tile i, `numbers` of this thread's positions. `most`: the largest of score and logarithm of the
     * value. */
    TQ_INLINE void finish(scores &s, uint32_t i, const float *numbers, bool all,
                          float (&most)[L::BLOCKS][2]) const {
        float scale[L::BLOCKS][2];
#pragma unroll
        for (int b = 0; b < L::BLOCKS; b++)
#pragma unroll
            for (int h = 0; h < 2; h++)
                scale[b][h] = scales[rows.first + rows.in_warp(b, h)];
#pragma unroll
        for (int t = 0; t < L::K_TILES; t++) {
            const float2 k = *(const float2 *)(numbers + t * 8);
#pragma unroll
            for (int b = 0; b < L::BLOCKS; b++) {
                s[b][t][0] = s[b][t][0] * k.x * scale[b][0], s[b][t][1] = s[b][t][1] * k.y * scale[b][0];
                s[b][t][2] = s[b][t][2] * k.x * scale[b][1], s[b][t][3] = s[b][t][3] * k.y * scale[b][1];
            }
        }
        bool check = careful;
        if (a.bias != nullptr && one_centre(i))
            add_centre(s, units.position(i, 0), check);
        else if (a.bias != nullptr)
#pragma unroll
            for (int u = 0; u < L::UNITS; u++)
                add_centres(s, u, units.position(i, u), check);
        if (check)
            each(s, [](float &x, int, int) { x = fabsf(x) == INF ? INF - INF : x; }); /* not unseen */
        if (a.softcap > 0.0f) {
            const float inverse = 1.0f / a.softcap, capped = a.softcap * LOG2_E;
            each(s, [=](float &x, int, int) { x = cap_score<false>(x, inverse, capped); });
        }
        if (a.slopes != nullptr)
#pragma unroll
            for (int u = 0; u < L::UNITS; u++)
                take_distances(s, u, units.position(i, u));
        if (!all) {
            const prefill_hidden<L> hidden(a, w, rows, units, i);
#pragma unroll
            for (int b = 0; b < L::BLOCKS; b++)
#pragma unroll
                for (int t = 0; t < L::K_TILES; t++)
#pragma unroll
                    for (int j = 0; j < 4; j++)
                        if (hidden.bits[b * 2 + j / 2] >> (t * 2 + j % 2) & 1) s[b][t][j] = -INF;
        }
#pragma unroll
        for (int b = 0; b < L::BLOCKS; b++)
            most[b][0] = most[b][1] = -INF;
#pragma unroll
        for (int t = 0; t < L::K_TILES; t++) {
            const float2 v = *(const float2 *)(numbers + L::POSITIONS + t * 8);
#pragma unroll
            for (int b = 0; b < L::BLOCKS; b++)
#pragma unroll
                for (int h = 0; h < 2; h++)
                    most[b][h] = fmaxf(most[b][h], fmaxf(s[b][t][2 * h] + v.x, s[b][t][2 * h + 1] + v.y));
        }
    }
};

#endif

/* SPDX-License-Identifier: MIT
 * Products of queries with keys, and of weights with values, as they lie in a stage. */
#ifndef TQ_CUDA_PRODUCTS_CUH
#define TQ_CUDA_PRODUCTS_CUH

#ifndef __CUDACC_RTC__
#include "attend/layer.cuh"
#endif

/* The right sides of products with queries, and what rounding left of them. */
template <class L> struct operands {
    uint2 held[L::QUERIES_HELD ? L::K_STEPS * (L::TWICE ? 2 : 1) : 1];
    const uint2 *from; /* of this lane */
    TQ_INLINE uint2 high(int step) const {
        return L::QUERIES_HELD ? held[L::QUERIES_HELD ? step : 0] : from[step * 32];
    }
    TQ_INLINE uint2 low(int step) const {
        return high(L::K_STEPS + step);
    }
    /* `words`: of the item; shared ones are copied by the whole block, which meets before they are read.
     */
    TQ_INLINE operands(const uint32_t *words, uint2 *shared) {
        const int lane = threadIdx.x & 31;
        from = (const uint2 *)words + lane;
        if constexpr (L::QUERIES_SHARED) {
            for (int i = threadIdx.x; i < L::QUERY_BYTES / 16; i += L::THREADS)
                ((uint4 *)shared)[i] = ((const uint4 *)words)[i];
            from = shared + lane;
        }
    }
    TQ_INLINE void hold() {
        if constexpr (L::QUERIES_HELD) { /* braces: CUDA 12.3 wants them before a pragma */
#pragma unroll
            for (int i = 0; i < L::K_STEPS * (L::TWICE ? 2 : 1); i++)
                held[i] = from[i * 32];
        }
    }
};

/* Eight codes of two rows times two steps of queries. Where an entry has what rounding left beside it,
 * the two are neighbouring rows of a product, as they come, and each row of keys has its own: sums of x
 * and of y, rows g and 8 + g of which are put together at the end. */
template <class L, class W>
TQ_INLINE void key_word(const table<L::FIXED> &t, const W &x, const W &y, int w, const uint32_t (&q)[4],
                        const uint32_t (&low)[4], int steps, float (&s)[4], float (&s_y)[4]) {
    using F = typename L::K;
    uint32_t a[8], b[8]; /* four operands; eight where entries have two */
    constexpr bool DOUBLE = L::DOUBLE_KEYS;
    look_up<F, L::EXACT>(t, x.part[w], a);
    look_up<F, L::EXACT>(t, y.part[w], b);
#pragma unroll
    for (int j = 0; j < 2; j++) {
        if (j >= steps) break;
        const uint32_t q0 = q[2 * j], q1 = q[2 * j + 1], l0 = low[2 * j], l1 = low[2 * j + 1];
        if constexpr (F::KIND == SINGLES && L::EXACT) {
            /* an entry is a code's high and low part: each takes the same query */
#pragma unroll
            for (int h = 0; h < 2; h++) {
                const uint32_t qh = h ? q1 : q0, lh = h ? l1 : l0;
                const int i = 4 * j + 2 * h;
                product(s, a[i], b[i], a[i + 1], b[i + 1], permute(qh, 0, 0x1010),
                        permute(qh, 0, 0x3232));
                if constexpr (L::TWICE)
                    product(s, a[i], b[i], a[i + 1], b[i + 1], permute(lh, 0, 0x1010),
                            permute(lh, 0, 0x3232));
            }
        } else {
            const int i = 2 * j;
            if constexpr (DOUBLE) {
                product(s, a[i], a[4 + i], a[i + 1], a[5 + i], q0, q1);
                product(s_y, b[i], b[4 + i], b[i + 1], b[5 + i], q0, q1);
                if constexpr (L::TWICE) {
                    product(s, a[i], a[4 + i], a[i + 1], a[5 + i], l0, l1);
                    product(s_y, b[i], b[4 + i], b[i + 1], b[5 + i], l0, l1);
                }
            } else {
                product(s, a[i], b[i], a[i + 1], b[i + 1], q0, q1);
                if constexpr (L::TWICE) product(s, a[i], b[i], a[i + 1], b[i + 1], l0, l1);
            }
        }
    }
}

/* Products of the 16 keys of a stage with the columns, in two sums: v1's norms of two halves. */
template <class L>
TQ_INLINE void key_products(const table<L::FIXED> &t, const uint8_t *stage, int g, int tid,
                            const operands<L> &q, float (&s)[2][4]) {
    using W = words_of<typename L::K, 4>;
    float s_y[2][4] = {};
    constexpr int CHUNKS = (W::ALL + W::CHUNK - 1) / W::CHUNK;
#pragma unroll
    for (int c = 0; c < CHUNKS; c++) {
        W x, y; /* slots g and 8 + g of the stage: positions in the order that weights want */
        x.template load<L::SPLIT>(stage, g, c, 4 * tid);
        y.template load<L::SPLIT>(stage, 8 + g, c, 4 * tid);
#pragma unroll
        for (int w = 0; w < W::CHUNK; w++) {
            const int word = c * W::CHUNK + w, step = 2 * word;
            if (step >= L::K_STEPS) break;
            uint32_t now[4] = {0, 0, 0, 0}, less[4] = {0, 0, 0, 0};
#pragma unroll
            for (int j = 0; j < 2; j++) {
                if (step + j >= L::K_STEPS) break;
                const uint2 v = q.high(step + j);
                now[2 * j] = v.x, now[2 * j + 1] = v.y;
                if constexpr (L::TWICE) {
                    const uint2 u = q.low(step + j);
                    less[2 * j] = u.x, less[2 * j + 1] = u.y;
                }
            }
            if constexpr (L::DOUBLE_KEYS) {
                const int half = L::K::NORM == 8 && step >= L::K_STEPS / 2;
                key_word<L>(t, x, y, w, now, less, L::K_STEPS - step, s[half], s_y[half]);
            } else {
                const int half = L::K::NORM == 8 ? (step >= L::K_STEPS / 2) : (word & 1);
                key_word<L>(t, x, y, w, now, less, L::K_STEPS - step, s[half], s[half]);
            }
        }
    }
    if constexpr (L::DOUBLE_KEYS) {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            s[i][0] += s[i][2], s[i][1] += s[i][3];
            s[i][2] = s_y[i][0] + s_y[i][2], s[i][3] = s_y[i][1] + s_y[i][3];
        }
    }
}

/* Weights of 16 positions as the right side of a product, with what rounding left. */
struct weights {
    uint32_t high[2], low[2];
};

template <class L>
TQ_INLINE void value_product(float (&o)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                             const weights &b) {
    product(o, a0, a1, a2, a3, b.high[0], b.high[1]);
    if constexpr (L::TWICE) product(o, a0, a1, a2, a3, b.low[0], b.low[1]);
}

/* Word `w` of four positions' codes: up to four tiles of 16 coordinates. */
template <class L, class W>
TQ_INLINE void value_word(const table<L::FIXED> &t, const W (&x)[4], int w, const weights &b, int tiles,
                          float (&o)[L::MY_TILES][4], int at) {
    using F = typename L::V;
    if constexpr (F::KIND == SINGLES) {
        const singles<F> index[4] = {singles<F>(x[0].part[w]), singles<F>(x[1].part[w]),
                                     singles<F>(x[2].part[w]), singles<F>(x[3].part[w])};
        auto look = [&](int r, int i) { return t.get(index[r].reg(i), index[r].byte(i)); };
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if (i >= tiles) break;
            if constexpr (L::EXACT) {
                /* a position's high and low part take the same weight */
#pragma unroll
                for (int h = 0; h < 2; h++) {
                    const uint32_t a0 = look(2 * h, 2 * i), a1 = look(2 * h, 2 * i + 1),
                                   a2 = look(2 * h + 1, 2 * i), a3 = look(2 * h + 1, 2 * i + 1);
                    product(o[at + i], a0, a1, a2, a3, permute(b.high[h], 0, 0x1010),
                            permute(b.high[h], 0, 0x3232));
                    if constexpr (L::TWICE)
                        product(o[at + i], a0, a1, a2, a3, permute(b.low[h], 0, 0x1010),
                                permute(b.low[h], 0, 0x3232));
                }
            } else {
                value_product<L>(o[at + i], low_halves(look(0, 2 * i), look(1, 2 * i)),
                                 low_halves(look(0, 2 * i + 1), look(1, 2 * i + 1)),
                                 low_halves(look(2, 2 * i), look(3, 2 * i)),
                                 low_halves(look(2, 2 * i + 1), look(3, 2 * i + 1)), b);
            }
        }
        return;
    }
    /* Codes of two positions side by side, as keys have two coordinates: even ones and odd ones. */
    uint32_t e[2], f[2]; /* positions 0 and 1; 2 and 3 */
    if constexpr (F::KIND == PAIRS) {
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const uint32_t u = x[2 * h].part[w][0], v = x[2 * h + 1].part[w][0];
            e[h] = select(0x0f0f0f0fu, u, v << 4), f[h] = select(0x0f0f0f0fu, u >> 4, v);
        }
    } else {
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const uint32_t u = x[2 * h].part[w][0], v = x[2 * h + 1].part[w][0];
            e[h] = select(0x3333u, u, v << 2), f[h] = select(0x3333u, u >> 2, v);
            if constexpr (F::KIND == TRIPLES) {
                const uint32_t m = x[2 * h].part[w][1], n = x[2 * h + 1].part[w][1];
                e[h] = select(0x0f0f0f0fu, spread_4(e[h]), spread_2(select(0x55u, m, n << 1)));
                f[h] = select(0x0f0f0f0fu, spread_4(f[h]), spread_2(select(0x55u, m >> 1, n)));
            }
        }
    }
    if constexpr (F::KIND == QUADS) {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const uint2 a0 = t.get_2(e[0], i), a1 = t.get_2(f[0], i), a2 = t.get_2(e[1], i),
                        a3 = t.get_2(f[1], i);
            if (2 * i < tiles) value_product<L>(o[at + 2 * i], a0.x, a1.x, a2.x, a3.x, b);
            if (2 * i + 1 < tiles) value_product<L>(o[at + 2 * i + 1], a0.y, a1.y, a2.y, a3.y, b);
        }
    } else {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if (i >= tiles) break;
            if constexpr (L::EXACT) {
                const uint2 a0 = t.get_2(e[0], i), a1 = t.get_2(f[0], i), a2 = t.get_2(e[1], i),
                            a3 = t.get_2(f[1], i);
                value_product<L>(o[at + i], a0.x, a1.x, a2.x, a3.x, b);
                product(o[at + i], a0.y, a1.y, a2.y, a3.y, b.high[0], b.high[1]);
            } else {
                value_product<L>(o[at + i], t.get(e[0], i), t.get(f[0], i), t.get(e[1], i),
                                 t.get(f[1], i), b);
            }
        }
    }
}

/* A warp's coordinates of the 16 values of a stage. */
template <class L>
TQ_INLINE void value_products(const table<L::FIXED> &t, const uint8_t *stage, int g, int tid, int member,
                              const weights &b, float (&o)[L::MY_TILES][4]) {
    using W = words_of<typename L::V, 2>;
    constexpr int CHUNKS = L::MY_WORDS / W::CHUNK;
#pragma unroll
    for (int c = 0; c < CHUNKS; c++) {
        const int chunk = L::TEAM == 1 ? c : member * CHUNKS + c;
        if (L::TEAM > 1 && chunk * W::CHUNK >= L::V_WORDS) break;
        W x[4];
#pragma unroll
        for (int j = 0; j < 4; j++)
            x[j].template load<L::SPLIT>(stage + L::V_AT, tid + 4 * j, chunk, 2 * g);
#pragma unroll
        for (int w = 0; w < W::CHUNK; w++) {
            const int word = c * W::CHUNK + w;
            if (word * 4 >= L::MY_TILES) break;
            const int left = L::MY_TILES - word * 4; /* what other members lack is never read */
            value_word<L>(t, x, w, b, left, o, word * 4);
        }
    }
}

/* Which thread g has coordinate n, as its value e. */
template <class F> TQ_INLINE void value_index(int n, int &g, int &e) {
    const int block = n / (16 * F::GROUP), in = n % (16 * F::GROUP);
    const int lane = F::LINEAR ? in / F::GROUP : n % 16, k = F::LINEAR ? in % F::GROUP : in / 16;
    g = lane / 2, e = (block * 2 + lane % 2) * F::GROUP + k;
}

/* A sum that was never added to is 0, whatever its factor. */
TQ_INLINE float scaled(float x, float factor) {
    return factor == 0.0f && x == x && fabsf(x) != INF ? 0.0f : x * factor;
}

#endif

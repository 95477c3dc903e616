/* SPDX-License-Identifier: MIT
 * Attention of many query rows over codes, on tensor cores: a prefill on what is cached, and verification
 * of many tokens. nvcc compiles it ahead for common layers, NVRTC for the others.
 *
 * A tile of positions becomes float16 once, in shared memory, and is multiplied with all rows of the
 * block: rows are those of the products, sixteen positions or coordinates their columns, both in the
 * order in which codes come. Of many rows all warps share a tile, and while it is multiplied the next one
 * is decoded; of fewer each warp has the same rows, and tiles of its own. Partial results have values in
 * the order of codes too, which merge() turns. */
#ifndef TQ_CUDA_PREFILL_CUH
#define TQ_CUDA_PREFILL_CUH

#ifndef __CUDACC_RTC__
#include "attend/attend.cuh"
#include "attend/prefill_scores.cuh"
#endif

/* The left sides of products with keys: [columns][D] float16 in memory. */
template <class L> struct prefill_queries {
    uint32_t held[L::HELD ? L::D / 16 : 1][L::BLOCKS][4];
    uint32_t at; /* of this lane's row in shared memory */

    TQ_INLINE void load(const tq_attend_args &a, const piece &w, const prefill_rows<L> &rows,
                        const uint32_t *words, uint8_t *shared) {
        const int lane = threadIdx.x & 31;
        if constexpr (L::HELD) {
#pragma unroll
            for (int b = 0; b < L::BLOCKS; b++) {
                const uint32_t *const x = words + rows.row(w, b, 0) * (L::D / 2) + lane % 4,
                                      *const y = words + rows.row(w, b, 1) * (L::D / 2) + lane % 4;
#pragma unroll
                for (int k = 0; k < L::D / 16; k++) {
                    held[k][b][0] = x[k * 8], held[k][b][1] = y[k * 8];
                    held[k][b][2] = x[k * 8 + 4], held[k][b][3] = y[k * 8 + 4];
                }
            }
        } else {
            constexpr uint32_t PIECES = L::D / 8;
            for (uint32_t n = threadIdx.x; n < L::ROWS * PIECES; n += L::THREADS) {
                const uint32_t row = n / PIECES, from = min(row, (uint32_t)w.rows - 1);
                *(uint4 *)(shared + row * L::K_STRIDE + n % PIECES * 16) =
                    ((const uint4 *)words)[from * PIECES + n % PIECES];
            }
            at = shared_address(shared) + (rows.first + lane % 16) * L::K_STRIDE + lane / 16 * 16;
        }
    }
    TQ_INLINE void get(int k, int b, uint32_t (&x)[4]) const {
        if constexpr (L::HELD) {
#pragma unroll
            for (int i = 0; i < 4; i++)
                x[i] = held[k][b][i];
        } else {
            load_blocks(x, at + b * 16 * L::K_STRIDE + k * 32);
        }
    }
};

template <class L>
TQ_INLINE void multiply_keys(const prefill_queries<L> &q, uint32_t keys,
                             float (&s)[L::BLOCKS][L::K_TILES][4]) {
    const int lane = threadIdx.x & 31;
    const uint32_t at = keys + (lane % 8 + lane / 16 * 8) * L::K_STRIDE + lane / 8 % 2 * 16;
#pragma unroll
    for (int b = 0; b < L::BLOCKS; b++)
#pragma unroll
        for (int t = 0; t < L::K_TILES; t++)
            s[b][t][0] = s[b][t][1] = s[b][t][2] = s[b][t][3] = 0.0f;
#pragma unroll
    for (int k = 0; k < L::D / 16; k++) {
        uint32_t left[L::BLOCKS][4];
#pragma unroll
        for (int b = 0; b < L::BLOCKS; b++)
            q.get(k, b, left[b]);
#pragma unroll
        for (int u = 0; u < L::UNITS; u++) {
            uint32_t right[4];
            load_blocks(right, at + u * 16 * L::K_STRIDE + k * 32);
#pragma unroll
            for (int b = 0; b < L::BLOCKS; b++) {
                product(s[b][2 * u], left[b][0], left[b][1], left[b][2], left[b][3], right[0], right[1]);
                product(s[b][2 * u + 1], left[b][0], left[b][1], left[b][2], left[b][3], right[2],
                        right[3]);
            }
        }
    }
}

/* Of 16 positions. */
template <class L>
TQ_INLINE void multiply_values(const uint32_t (&left)[L::BLOCKS][4], uint32_t values,
                               float (&o)[L::BLOCKS][L::V_TILES][4]) {
    const int lane = threadIdx.x & 31;
    const uint32_t at = values + lane % 16 * L::V_STRIDE + lane / 16 * 16;
#pragma unroll
    for (int e = 0; e < L::E / 16; e++) {
        uint32_t right[4];
        load_turned(right, at + e * 32);
#pragma unroll
        for (int b = 0; b < L::BLOCKS; b++) {
            product(o[b][2 * e], left[b][0], left[b][1], left[b][2], left[b][3], right[0], right[1]);
            product(o[b][2 * e + 1], left[b][0], left[b][1], left[b][2], left[b][3], right[2], right[3]);
        }
    }
}

/* A tile's scores to sums of its values. */
template <bool PLAIN, class L>
TQ_INLINE void spend(prefill_running<L> &r, const float (&s)[L::BLOCKS][L::K_TILES][4],
                     const uint8_t *buffer) {
    const float *const numbers = (const float *)(buffer + L::NUMBERS) + 2 * L::POSITIONS;
    const uint32_t values = shared_address(buffer) + L::VALUES;
#pragma unroll
    for (int u = 0; u < L::UNITS; u++) {
        uint32_t left[L::BLOCKS][4];
        r.template weigh<PLAIN>(s, u, numbers + (threadIdx.x & 3) * 2, left);
        multiply_values<L>(left, values + u * TILE * L::V_STRIDE, r.o);
    }
}

/* A piece's partial result. */
template <class L> struct prefill_result {
    float *slot;
    uint32_t columns;
    TQ_INLINE prefill_result(const tq_attend_args &a, const piece &w) {
        columns = a.columns;
        slot = a.partial + (uint64_t)(w.item + blockIdx.x) * columns * (L::E + 2);
    }
    TQ_INLINE void store(uint32_t row, float top, float sum) const {
        slot[columns * L::E + row] = top, slot[columns * (L::E + 1) + row] = sum;
    }
    static TQ_INLINE float scale(const tq_attend_args &a, float top) {
        return a.value_scale * prefill_running<L>::F::inverse(top);
    }
    /* Of warps that have rows of their own. */
    TQ_INLINE void store_rows(const tq_attend_args &a, const piece &w, const prefill_running<L> &r,
                              const prefill_rows<L> &rows) const {
        const int tid = threadIdx.x & 3;
#pragma unroll
        for (int b = 0; b < L::BLOCKS; b++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                const uint32_t row = rows.first + rows.in_warp(b, h);
                if (row >= (uint32_t)w.rows) continue;
                if (tid == 0) store(row, r.top[b][h], r.sum[b][h]);
                const float f = scale(a, r.top[b][h]);
#pragma unroll
                for (int t = 0; t < L::V_TILES; t++)
                    *(float2 *)(slot + row * L::E + t * 8 + tid * 2) =
                        make_float2(r.o[b][t][2 * h] * f, r.o[b][t][2 * h + 1] * f);
            }
    }
    /* Of warps that all have the same rows: put together in the order of warps, TOGETHER coordinates at
     * a time, which lie over the warps' tiles. */
    TQ_INLINE void put_together(const tq_attend_args &a, const piece &w, const prefill_running<L> &r,
                                const prefill_memory<L> &m) const {
        constexpr int N = L::TOGETHER, ROWS = L::WARP_ROWS;
        const int warp = threadIdx.x / 32, tid = threadIdx.x & 3;
        float factors[L::BLOCKS][2];
#pragma unroll
        for (int b = 0; b < L::BLOCKS; b++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                const int row = (int)prefill_rows<L>::in_warp(b, h);
                if (tid == 0)
                    m.tops[warp * ROWS + row] = r.top[b][h], m.sums[warp * ROWS + row] = r.sum[b][h];
            }
        __syncthreads();
        auto largest = [&](int row) {
            float top = -INF;
#pragma unroll
            for (int i = 0; i < L::WARPS; i++)
                top = fmaxf(top, m.tops[i * ROWS + row]);
            return top;
        };
        if (threadIdx.x < ROWS && threadIdx.x < w.rows) {
            const float top = largest(threadIdx.x);
            float sum = 0.0f;
#pragma unroll 1
            for (int i = 0; i < L::WARPS; i++)
                sum += scaled(m.sums[i * ROWS + threadIdx.x],
                              prefill_running<L>::factor(m.tops[i * ROWS + threadIdx.x], top));
            store(threadIdx.x, top, sum);
        }
#pragma unroll
        for (int b = 0; b < L::BLOCKS; b++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                const float top = largest((int)prefill_rows<L>::in_warp(b, h));
                factors[b][h] = prefill_running<L>::factor(r.top[b][h], top) *
                                prefill_running<L>::F::change(r.top[b][h], top) * scale(a, top);
            }
#pragma unroll
        for (int from = 0; from < L::E; from += N) {
            if (from > 0) __syncthreads(); /* all have read what was there */
#pragma unroll
            for (int b = 0; b < L::BLOCKS; b++)
#pragma unroll
                for (int h = 0; h < 2; h++)
#pragma unroll
                    for (int t = 0; t < N / 8; t++) {
                        const int at = (int)prefill_rows<L>::in_warp(b, h) * N + t * 8 + tid * 2;
                        const float *const x = r.o[b][from / 8 + t] + 2 * h;
                        *(float2 *)(m.team(warp) + at * 4) =
                            make_float2(scaled(x[0], factors[b][h]), scaled(x[1], factors[b][h]));
                    }
            __syncthreads();
            for (uint32_t i = threadIdx.x; i < (uint32_t)w.rows * N; i += L::THREADS) {
                float sum = 0.0f;
#pragma unroll
                for (int j = 0; j < L::WARPS; j++)
                    sum += *(const float *)(m.team(j) + i * 4);
                slot[i / N * L::E + from + i % N] = sum;
            }
        }
    }
};

/* The codes of a piece, to a partial result. `ready` comes once the first tiles have been asked for, and
 * waits for queries. */
template <class L, class R>
TQ_INLINE void prefill_codes(const tq_attend_args &a, const piece &w, const prefill_memory<L> &m,
                             R ready) {
    using K = typename L::K;
    using V = typename L::V;
    const uint32_t lane = threadIdx.x & 31, team = threadIdx.x / 32 / L::TEAM;
    uint8_t *const buffers = m.team(team), *const ring = buffers + L::BUFFERS * L::BUFFER;
    const uint32_t tables = shared_address(m.tables);
    const table<false> keys = {tables, lane * L::K_ENTRY % 128},
                       values = {tables, L::V_TABLE | lane * L::V_ENTRY % 128};
    const prefill_units<L> units(a, w, team);
    const uint32_t tiles = units.tiles();
    const prefill_rows<L> rows;
    prefill_fetch<L> fetch(a, w, units, ring);
    prefill_scores<L> score(a, w, rows, units, m.scales);
    prefill_queries<L> q;
    prefill_running<L> r;

    fetch.look_ahead(0);
#pragma unroll 1
    for (uint32_t i = 0; i < L::STAGES; i++) {
        fetch.issue(i, i);
        copies_commit();
    }
    ready();
    const uint32_t *const words = a.operands + (uint64_t)w.item * a.operand_words;
    q.load(a, w, rows, words, m.queries);
    score.load((const float *)(words + a.columns * (L::D / 2)), m.scales);
    r.clear();
    __syncthreads(); /* tables are there, and queries that are shared */

    auto decode_keys = [&](uint32_t stage, uint8_t *buffer) {
        const uint8_t *const from = ring + stage * L::STAGE;
        decode_norms<L>(from, (float *)(buffer + L::NUMBERS), prefill_running<L>::F::USUAL);
        decode_rows<L, K, L::D, L::K_ROW, L::K_STRIDE>(keys, from, buffer);
    };
    auto decode_values = [&](uint32_t stage, uint8_t *buffer) {
        decode_rows<L, V, L::E, L::V_ROW, L::V_STRIDE>(values, ring + stage * L::STAGE + L::V_AT,
                                                       buffer + L::VALUES);
    };
    /* `between`: keys have been multiplied, and values are wanted. */
    auto multiply = [&](uint32_t i, const uint8_t *buffer, auto between) {
        typename prefill_running<L>::scores s;
        float most[L::BLOCKS][2];
        const float *const numbers = (const float *)(buffer + L::NUMBERS) + (lane & 3) * 2;
        const bool all = score.all_seen(i);
        multiply_keys<L>(q, shared_address(buffer), s);
        score.finish(s, i, numbers, all, most);
        r.grow(most);
        between();
        if (all && !r.large)
            spend<true>(r, s, buffer);
        else
            spend<false>(r, s, buffer);
    };
    uint32_t stage = 0; /* of tile i */
    if constexpr (L::TEAM > 1) {
        copies_wait<L::STAGES - 1>();
        team_meets<L>();
        if (tiles > 0) decode_keys(0, buffers), decode_values(0, buffers);
#pragma unroll 1
        for (uint32_t i = 0; i < tiles; i++) {
            const uint32_t next = stage + 1 == L::STAGES ? 0 : stage + 1;
            uint8_t *const now = buffers + i % 2 * L::BUFFER, *const then =
                                                                  buffers + (i + 1) % 2 * L::BUFFER;
            copies_wait<L::STAGES - 2>();
            team_meets<L>();
            fetch.issue(i + L::STAGES, stage);
            copies_commit();
            /* half of the warps decode before they multiply, half after it: one keeps loads busy, the
             * other products */
            auto decode = [&] {
                if (i + 1 < tiles) decode_keys(next, then), decode_values(next, then);
            };
            if (threadIdx.x < L::THREADS / 2) decode();
            if (rows.first < (uint32_t)w.rows) multiply(i, now, [] {});
            if (threadIdx.x >= L::THREADS / 2) decode();
            stage = next;
        }
    } else {
#pragma unroll 1
        for (uint32_t i = 0; i < tiles; i++) {
            copies_wait<L::STAGES - 1>();
            team_meets<L>();
            decode_keys(stage, buffers);
            team_meets<L>();
            multiply(i, buffers, [&] {
                team_meets<L>(); /* all have read the keys */
                decode_values(stage, buffers);
                team_meets<L>();
                fetch.issue(i + L::STAGES, stage);
                copies_commit();
            });
            stage = stage + 1 == L::STAGES ? 0 : stage + 1;
        }
    }
    copies_wait<0>();
#pragma unroll
    for (int b = 0; b < L::BLOCKS; b++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            r.sum[b][h] += __shfl_xor_sync(~0u, r.sum[b][h], 1);
            r.sum[b][h] += __shfl_xor_sync(~0u, r.sum[b][h], 2);
        }
    const prefill_result<L> result(a, w);
    if constexpr (L::TEAM > 1)
        result.store_rows(a, w, r, rows);
    else
        result.put_together(a, w, r, m);
}

template <int D_, int E_, int KF, int VF, int TEAM, int ANY_LAYOUT, int SHARED>
__global__ void __launch_bounds__(prefill_layer<D_, E_, KF, VF, TEAM, ANY_LAYOUT, SHARED>::THREADS, 1)
    tq_prefill(const __grid_constant__ tq_attend_args a) {
#if defined(__CUDACC_RTC__) || __CUDA_ARCH__ >= 900 /* ahead it is compiled for these alone */
    using L = prefill_layer<D_, E_, KF, VF, TEAM, ANY_LAYOUT, SHARED>;
    extern __shared__ __align__(1024) uint8_t smem[];
    __shared__ piece now;
    __shared__ shared_work work;
    static_assert(1024 + sizeof now + sizeof work <= L::STATIC, "what is counted for them");
    const prefill_memory<L> memory(smem);
    each_piece<L, L::ROWS>(a, work, now, memory.tables,
                           [&](auto ready) { prefill_codes<L>(a, now, memory, ready); });
#endif
}

#endif

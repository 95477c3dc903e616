/* SPDX-License-Identifier: MIT
 * Attention over the float16 of a piece: sinks and recent positions. */
#ifndef TQ_CUDA_DENSE_CUH
#define TQ_CUDA_DENSE_CUH

#ifndef __CUDACC_RTC__
#include "attend/running.cuh"
#endif

/* The float16 of a piece, to a partial result; read where it lies. Out of line: its registers are not
 * those of codes. */
template <class L>
__device__ __noinline__ void attend_dense(const tq_attend_args &a, const piece &w, const block<L> shared,
                                          last_sums<L> &ends) {
    constexpr int WARPS = L::WARPS, TEAM = L::TEAM, ROWS = L::FREE ? COLUMNS / 2 : COLUMNS;
    const thread_of me;
    const int warp = me.warp, g = me.g, tid = me.tid, order = me.order, member = warp % TEAM;
    const tq_attend_sequence seq = w.seq;
    const uint32_t b = w.sequence, head = w.head, row0 = w.row0, d0 = w.dense_begin, d1 = w.dense_end;
    const columns<L> cols(a, w);
    const uint32_t *const words = a.queries_dense + (uint64_t)w.item * a.query_words;
    const float *const score_scales = (const float *)(words + L::QUERY_BYTES / 4) + cols.first;
    operands<L> q(words, shared.queries);
    running<L> r;
    r.clear();
    __syncthreads(); /* sums of the last piece have been read */
    const uint32_t of = a.dense_rows == nullptr ? b : (uint32_t)a.dense_rows[b];
    const uint32_t turns = (d1 - d0 + WARPS - 1) / WARPS;
    q.hold();
    const float scale0 = score_scales[0], scale1 = score_scales[1];
#pragma unroll 1
    for (uint32_t turn = 0; turn < turns; turn++) {
        const uint32_t d = d0 + turn * WARPS + warp;
        if (TEAM == 1 && d >= d1) break;
        /* a tile: where it begins, and where what is there ends */
        auto begin = [&](uint32_t d) {
            return d < seq.sinks ? d * TILE : seq.recent_from + (d - seq.sinks) * TILE;
        };
        auto end = [&](uint32_t d) {
            return d >= d1 ? 0 : d < seq.sinks ? min(a.n_sinks, seq.length) : seq.length;
        };
        auto key_at = [&](uint32_t d, uint32_t p) {
            p = min(p, max(end(d), 1u) - 1);
            return d < seq.sinks
                       ? a.sink.k + of * a.sink.k_sequence + head * a.sink.k_head + p * a.sink.k_row
                       : a.recent.k + of * a.recent.k_sequence + head * a.recent.k_head +
                             p % a.recent_capacity * a.recent.k_row;
        };
        auto value_at = [&](uint32_t d, uint32_t p) {
            return d < seq.sinks
                       ? a.sink.v + of * a.sink.v_sequence + head * a.sink.v_head + p * a.sink.v_row
                       : a.recent.v + of * a.recent.v_sequence + head * a.recent.v_head +
                             p % a.recent_capacity * a.recent.v_row;
        };
        const uint32_t p = begin(d) + order;
        float s[4] = {-INF, -INF, -INF, -INF};
        const uint32_t from = d < seq.sinks ? 0 : seq.recent_from, to = end(d);
        if (TEAM == 1 || d < d1) {
            const uint16_t *const x = key_at(d, p) + tid * 4, *const y = key_at(d, p + 8) + tid * 4;
            float two[2][4] = {};
#pragma unroll
            for (int i = 0; i < L::K_STEPS; i++) {
                const uint2 k = *(const uint2 *)(x + i * 16), l = *(const uint2 *)(y + i * 16);
                const uint2 now = q.high(i);
                product(two[i & 1], k.x, l.x, k.y, l.y, now.x, now.y);
                if constexpr (L::TWICE) {
                    const uint2 less = q.low(i);
                    product(two[i & 1], k.x, l.x, k.y, l.y, less.x, less.y);
                }
            }
#pragma unroll
            for (int i = 0; i < 4; i++) {
                s[i] = two[0][i] + two[1][i];
                if constexpr (L::FREE) s[i] += __shfl_xor_sync(~0u, s[i], 2);
                s[i] *= i & 1 ? scale1 : scale0;
            }
            finish_scores<L, false>(a, w, cols, s, p, true, from, to);
        }
        r.spend(
            shared.exchange, s, true, [](int, int) { return 1.0f; }, [](int, int) { return 0.0f; },
            [&](int m, const weights &b) {
                const uint32_t tile = d - member + m, last = end(tile), from = begin(tile) + tid;
                uint32_t x[L::MY_TILES][4], bad = 0;
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    const uint32_t at = from + 4 * j;
                    const uint16_t *const v = value_at(tile, min(at, max(last, 1u) - 1)) + g * 2;
#pragma unroll
                    for (int i = 0; i < L::MY_TILES; i++) {
                        const int t = member * L::MY_WORDS * 4 + i;
                        x[i][j] = at < last && t < L::V_TILES ? *(const uint32_t *)(v + t * 16) : 0;
                        bad |= (x[i][j] & 0x7c00u) == 0x7c00u || (x[i][j] & 0x7c000000u) == 0x7c000000u;
                    }
                }
                auto add = [&](float(&o)[4], int i, const weights &b, uint32_t keep) {
                    uint32_t y[4];
#pragma unroll
                    for (int j = 0; j < 4; j++)
                        y[j] = keep >> j & 1 ? x[i][j] : 0;
                    value_product<L>(o, low_halves(y[0], y[1]), permute(y[0], y[1], 0x7632),
                                     low_halves(y[2], y[3]), permute(y[2], y[3], 0x7632), b);
                };
                if (!__any_sync(~0u, bad)) {
#pragma unroll
                    for (int i = 0; i < L::MY_TILES; i++)
                        add(r.o[i], i, b, 15);
                    return;
                }
                /* What is not finite reaches those columns that see it alone. */
                const uint32_t first = tile < seq.sinks ? 0 : seq.recent_from;
#pragma unroll 1
                for (int c = 0; c < COLUMNS; c++) {
                    const uint32_t query = min(row0 + c % ROWS, a.rows - 1) / a.group;
                    uint32_t keep = 0;
                    for (int j = 0; j < 4; j++)
                        keep |= (uint32_t)(from + 4 * j >= first && from + 4 * j < last &&
                                           sees(a, w, query, from + 4 * j))
                                << j;
                    const bool even = c == tid * 2, odd = c == tid * 2 + 1;
#pragma unroll
                    for (int i = 0; i < L::MY_TILES; i++) {
                        float o[4] = {0.0f, 0.0f, 0.0f, 0.0f};
                        add(o, i, b, keep);
                        if (even) r.o[i][0] += o[0], r.o[i][2] += o[2];
                        if (odd) r.o[i][1] += o[1], r.o[i][3] += o[3];
                    }
                }
            });
    }
    put_together<L>(r, shared, ends, slot_of<L>(a, w, 1), 1.0f, true, w.rows);
}

#endif

/* SPDX-License-Identifier: MIT
 * Attention over the codes of a piece: tiles come to shared memory while others are worked on. */
#ifndef TQ_CUDA_CODED_CUH
#define TQ_CUDA_CODED_CUH

#ifndef __CUDACC_RTC__
#include "attend/rows.cuh"
#include "attend/running.cuh"
#endif

/* The codes of a piece, to a partial result. `ready` comes once the first tiles have been asked for, and
 * waits for queries. */
template <class L, class R>
TQ_INLINE void attend_codes(const tq_attend_args &a, const piece &w, const block<L> &shared,
                            last_sums<L> &ends, R ready) {
    using K = typename L::K;
    using V = typename L::V;
    constexpr int WARPS = L::WARPS, STAGES = L::STAGES, TEAM = L::TEAM, MEMBER = L::MEMBER;
    constexpr int ROWS = L::FREE ? COLUMNS / 2 : COLUMNS;
    const thread_of me;
    const int lane = me.lane, warp = me.warp, g = me.g, tid = me.tid, order = me.order,
              member = warp % TEAM;
    const tq_attend_sequence &seq = w.seq;
    const uint32_t seq_head = seq.head, seq_base = seq.base, seq_skip = seq.skip;
    const uint32_t b = w.sequence, head = w.head, item = w.item, c0 = w.codes_begin, c1 = w.codes_end;
    /* Where a stage lies behind `below`; hidden, or it is found anew from the thread's number each time.
     */
    uint32_t here_at = (uint32_t)(shared.ring_of(warp) - shared.below);
    asm volatile("" : "+r"(here_at));
    const uint32_t upper = L::FIXED ? L::TABLES : 0, tables_at = shared_address(shared.tables);
    const table<L::FIXED> keys = {tables_at, upper | (uint32_t)lane * L::K_ENTRY % 128};
    const table<L::FIXED> values = {tables_at, upper | L::V_TABLE | (uint32_t)lane * L::V_ENTRY % 128};
    const int first_column = columns<L>::first_of(tid);
    const sight full(a, w, ROWS);
    /* Warps take turns. Teams' last turns may have none for some. */
    const uint32_t share = (c1 - c0) / WARPS, longer = (c1 - c0) % WARPS;
    const uint32_t count = TEAM > 1 ? share + (longer > 0) : share + ((uint32_t)warp < longer);
    auto place_of_tile = [&](uint32_t j) { return j + (j < seq_head ? seq_base : seq_skip); };
    auto tile_at = [&](uint32_t i) {
        const uint32_t j = c0 + warp + i * WARPS;
        return TEAM > 1 && j >= c1 ? ~0u : place_of_tile(j);
    };
    /* Page and row within it of a slot; where all of a tile lies together, each lane has those of another
     * tile, and finds the next one when all 32 have been asked for. */
    uint32_t page = 0, row = 0;
    auto locate = [&](uint32_t slot) {
        if (a.tables == nullptr) {
            page = b, row = slot < a.page_rows ? slot : slot % a.page_rows;
            return;
        }
        const uint32_t n = a.page_shift >= 0 ? slot >> a.page_shift : slot / a.page_rows;
        page = (uint32_t)a.tables[(uint64_t)b * a.table_stride + n], row = slot - n * a.page_rows;
    };
    auto look_ahead = [&](uint32_t i) {
        if (i < count && tile_at(i) != ~0u) locate(tile_at(i) * TILE);
    };

    const uint8_t *k_from = a.k.data + (uint64_t)head * a.k.head + lane_offset<K>(a.k.row, lane);
    const uint8_t *v_from = a.v.data + (uint64_t)head * a.v.head + lane_offset<V>(a.v.row, lane);
    /* Norms of any layout come through registers, and are put where they belong a tile later.
     */
    constexpr int NORM = K::NORM > V::NORM ? K::NORM : V::NORM;
    constexpr int K_PIECES = TILE * K::NORM / 16, V_PIECES = TILE * V::NORM / 16;
    const bool of_keys = lane < (L::SPLIT ? K_PIECES : TILE);
    const uint8_t *norms_from =
        of_keys ? a.k.norms + (uint64_t)head * a.k.norm_head : a.v.norms + (uint64_t)head * a.v.norm_head;
    if (L::SPLIT) norms_from += (of_keys ? lane : lane - K_PIECES) * 16;
    asm volatile("" : "+l"(k_from), "+l"(v_from), "+l"(norms_from)); /* not added up anew for each tile */
    const uint32_t norm_page = of_keys ? a.k.norm_page : a.v.norm_page;
    const int norm_size = of_keys ? K::NORM : V::NORM;
    const int norm_to = L::NORMS_AT + (L::SPLIT  ? lane * 16
                                       : of_keys ? lane * K::NORM
                                                 : TILE * K::NORM + (lane - TILE) * V::NORM);
    auto copy_norms = [&](uint32_t to, uint32_t of, uint32_t at) {
        copy_once_if(lane < K_PIECES + V_PIECES, to + norm_to,
                     norms_from + place_of(of, norm_page, at, norm_size));
    };
    uint32_t held[2] = {0, 0}, held_to = 0;
    auto get_norm = [&] {
        const uint8_t *const p =
            norms_from + place_of(page, norm_page, row, of_keys ? a.k.norm_row : a.v.norm_row);
        held[0] = p[0] | (uint32_t)p[1] << 8;
        if (norm_size >= 4) held[0] |= (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        if (NORM == 8 && norm_size == 8)
            held[1] = p[4] | (uint32_t)p[5] << 8 | (uint32_t)p[6] << 16 | (uint32_t)p[7] << 24;
    };
    auto put_norm = [&] {
        uint8_t *const p = shared.below + held_to + norm_to;
        if (norm_size == 2)
            *(uint16_t *)p = (uint16_t)held[0];
        else
            *(uint32_t *)p = held[0];
        if (NORM == 8 && norm_size == 8) *(uint32_t *)(p + 4) = held[1];
    };
    /* Asks for the i-th tile. */
    auto issue = [&](uint32_t i, uint32_t stage_at) {
        if (!L::SPLIT && STAGES > 2 && i > 0 && i <= count) put_norm();
        if (i >= count) return;
        held_to = stage_at;
        const uint32_t tile = tile_at(i), to = shared_address(shared.below) + stage_at;
        if (L::SPLIT && i % 32 == 0) look_ahead(i + lane);
        if (TEAM > 1 && tile == ~0u) {
            held[0] = held[1] = 0;
        } else if constexpr (L::SPLIT) {
            const uint32_t of = __shfl_sync(~0u, page, i % 32), at = __shfl_sync(~0u, row, i % 32);
            copy_rows<K, 4>(to, k_from + place_of(of, a.k.page, at, a.k.row), a.k.row, lane);
            copy_rows<V, 2>(to + L::V_AT, v_from + place_of(of, a.v.page, at, a.v.row), a.v.row, lane);
            copy_norms(to, of, at);
        } else {
            /* each row by itself; those that nobody sees are others */
            const uint32_t least = tile < seq.head + seq.base ? seq.codes_from : seq.seen_from;
            locate(min(max(tile * TILE + lane % TILE, least - a.code_first),
                       seq.codes_to - 1 - a.code_first));
            get_norm();
            copy_rows_anyhow<K::ROW, true>(
                to, a.k, (uint64_t)head * a.k.head + place_of(page, a.k.page, row, a.k.row), lane);
            copy_rows_anyhow<V::ROW, false>(
                to + L::V_AT, a.v, (uint64_t)head * a.v.head + place_of(page, a.v.page, row, a.v.row),
                lane);
        }
        if (!L::SPLIT && STAGES <= 2) put_norm();
    };

    /* Products with centres, of a tile's positions p and p + 8, are loaded a turn ahead: from shared
     * memory, where those of a piece's first stretches are, or else from where prepare() put them. */
    auto bias_of = [&] { return a.bias + (uint64_t)w.item * a.stretches * COLUMNS; };
    float2 bias0 = {0.0f, 0.0f}, bias1 = {0.0f, 0.0f};
    uint32_t bias_to = 0, bias_at = 0; /* tiles that begin before it; of stretch 0 */
    auto stretch_of = [&](uint32_t p) {
        return min(a.stretch_shift >= 0 ? p >> a.stretch_shift : p / a.stretch, a.stretches - 1);
    };
    auto copy_bias = [&] {
        if (L::BIAS_ROWS == 0 || a.bias == nullptr || a.stretch < 2 || c0 >= c1) return;
        const uint32_t first = stretch_of(place_of_tile(c0) * TILE + a.code_first),
                       last = stretch_of(place_of_tile(c1 - 1) * TILE + TILE - 1 + a.code_first),
                       n = min((uint32_t)L::BIAS_ROWS, last - first + 1);
        const float *const from = bias_of() + (uint64_t)first * COLUMNS;
        for (uint32_t i = threadIdx.x; i < n * (COLUMNS / 4); i += L::THREADS)
            ((float4 *)shared.bias)[i] = ((const float4 *)from)[i];
        const uint32_t end = (first + n) * a.stretch; /* of few positions before a whole tile's */
        bias_to = end < TILE ? 0 : end - (TILE - 1);
        bias_at = shared_address(shared.bias + first_column) - first * COLUMNS * 4;
    };
    auto load_bias = [&](uint32_t i) {
        if (a.bias == nullptr) return;
        const uint32_t p0 = tile_at(i) * TILE + a.code_first, p = p0 + order;
        if (L::BIAS_ROWS > 0 && p0 < bias_to) {
            auto at = [&](uint32_t p) {
                return bias_at + (__umulhi(p, a.stretch_factor) >> a.stretch_by) * (COLUMNS * 4);
            };
            const uint2 u = load_shared_2(at(p)), v = load_shared_2(at(p + 8));
            bias0 = make_float2(__int_as_float((int)u.x), __int_as_float((int)u.y));
            bias1 = make_float2(__int_as_float((int)v.x), __int_as_float((int)v.y));
        } else {
            const float *const bias = bias_of() + first_column;
            bias0 = *(const float2 *)(bias + (uint64_t)stretch_of(p) * COLUMNS);
            bias1 = *(const float2 *)(bias + (uint64_t)stretch_of(p + 8) * COLUMNS);
        }
    };

#pragma unroll 1
    for (int i = 0; i < STAGES - 1; i++) {
        issue(i, here_at + i * L::STAGE);
        copies_commit();
    }
    ready();
    const uint32_t *const words = a.operands + (uint64_t)item * a.operand_words;
    const float *const score_scales = (const float *)(words + L::QUERY_BYTES / 4) + first_column;
    operands<L> q(words, shared.queries);
    q.hold();
    running<L> r;
    r.clear();
    copy_bias();
    __syncthreads(); /* tables are there, and what is shared of operands and centres */
    load_bias(0);
    const float scale0 = score_scales[0], scale1 = score_scales[1];
    const bool special = a.softcap > 0.0f || a.slopes != nullptr;
    uint32_t stage = 0;
#pragma unroll 1
    for (uint32_t it = 0; it < count; it++) {
        if (STAGES > 1) copies_wait<(STAGES > 1 ? STAGES - 2 : 0)>();
        if (TEAM > 1)
            __syncthreads();
        else
            __syncwarp();
        issue(it + STAGES - 1, stage == 0 ? here_at + (STAGES - 1) * L::STAGE : here_at - L::STAGE);
        copies_commit();
        if (STAGES == 1) {
            copies_wait<0>();
            if (TEAM > 1)
                __syncthreads();
            else
                __syncwarp();
        }
        const uint8_t *const here = shared.below + here_at;
        here_at += L::STAGE;
        if (++stage == STAGES) stage = 0, here_at -= STAGES * L::STAGE;
        const uint32_t tile = tile_at(it);
        const uint32_t p0 = tile * TILE + a.code_first, p = p0 + order;
        const uint8_t *const norms = here + L::NORMS_AT;
        /* What values are multiplied by, and the same as a logarithm, or more. */
        auto scale = [&](int m, int row, int half) {
            const uint8_t *const n = norms + (m - member) * (TEAM > 1 ? MEMBER : 0) + TILE * K::NORM;
            if constexpr (V::NORM == 2) return half_low(*(const uint16_t *)(n + row * 2));
            return *(const float *)(n + row * V::NORM + (V::NORM == 8 ? half * 4 : 0));
        };
        auto largest = [&](int m, int row) {
            float n = fabsf(scale(m, row, 0));
            if constexpr (V::NORM == 8) n = fmaxf(n, fabsf(scale(m, row, 1)));
            return fmaxf(log_of_2(n), V::NORM == 2 ? -24.0f : -60.0f);
        };
        /* of a warp's scores; here, before products that do not wait for them */
        float v_scale[4], v_log[2];
#pragma unroll
        for (int i = 0; i < 2 && TEAM == 1; i++)
            v_scale[2 * i] = v_scale[2 * i + 1] = scale(0, order + 8 * i, 0),
                        v_log[i] = largest(0, order + 8 * i);

        float two[2][4] = {};
        key_products<L>(keys, here, g, tid, q, two);
        /* a norm that is not finite is a score that is not a number */
        float s[4];
        if constexpr (K::NORM == 8) {
            const float2 u = *(const float2 *)(norms + order * 8),
                         v = *(const float2 *)(norms + order * 8 + 64);
            const float bad_u = (u.x - u.x) + (u.y - u.y), bad_v = (v.x - v.x) + (v.y - v.y);
            s[0] = fmaf(two[0][0] * u.x + two[1][0] * u.y, scale0, bias0.x + bad_u);
            s[1] = fmaf(two[0][1] * u.x + two[1][1] * u.y, scale1, bias0.y + bad_u);
            s[2] = fmaf(two[0][2] * v.x + two[1][2] * v.y, scale0, bias1.x + bad_v);
            s[3] = fmaf(two[0][3] * v.x + two[1][3] * v.y, scale1, bias1.y + bad_v);
        } else {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                s[i] = two[0][i] + two[1][i];
                if constexpr (L::FREE) s[i] += __shfl_xor_sync(~0u, s[i], 2);
            }
            float u, v;
            if constexpr (K::NORM == 2) {
                u = half_low(*(const uint16_t *)(norms + order * 2));
                v = half_low(*(const uint16_t *)(norms + order * 2 + 16));
            } else {
                u = *(const float *)(norms + order * 4), v = *(const float *)(norms + order * 4 + 32);
            }
            s[0] = fmaf(s[0] * u, scale0, bias0.x + (u - u)),
            s[1] = fmaf(s[1] * u, scale1, bias0.y + (u - u));
            s[2] = fmaf(s[2] * v, scale0, bias1.x + (v - v)),
            s[3] = fmaf(s[3] * v, scale1, bias1.y + (v - v));
        }
        load_bias(it + 1);
#pragma unroll
        for (int i = 0; i < 4; i++)
            s[i] += s[i] - s[i]; /* too large: NaN, not unseen */
        const bool all = p0 >= full.from && p0 + TILE <= full.to;
        if (TEAM > 1 && tile == ~0u)
            s[0] = s[1] = s[2] = s[3] = -INF;
        else if (__builtin_expect(special || !all, false)) {
            const columns<L> cols(a, w); /* found here: registers are for tiles */
            finish_scores<L>(a, w, cols, s, p, !all);
#pragma unroll
            for (int i = 0; i < 4 && TEAM == 1; i++) /* what is not seen may have any norm */
                v_scale[i] = s[i] == -INF ? 0.0f : v_scale[i];
        }
        if constexpr (TEAM == 1)
            r.spend(s, v_scale, v_log,
                    [&](const weights &b) { value_products<L>(values, here, g, tid, 0, b, r.o); });
        else
            r.spend_together(
                shared.exchange, s, [&](int m, int row) { return scale(m, row, member * 2 / TEAM); },
                largest,
                [&](int m, const weights &b) {
                    value_products<L>(values, here + (m - member) * MEMBER, g, tid, member, b, r.o);
                });
    }
    copies_wait<0>();
    put_together<L>(r, shared, ends, slot_of<L>(a, w), a.value_scale, w.rows);
}

#endif

/* SPDX-License-Identifier: MIT
 * Attention of a few query rows over codes, on tensor cores. nvcc compiles it ahead for common layers,
 * NVRTC for the others.
 *
 * One block an SM. A warp takes tiles of 16 positions, each by itself, with a ring of tiles of its own in
 * shared memory; warps meet at the end of a piece of work. Keys are the rows of a product with eight
 * columns of queries, so that codes may come in any order that the queries follow; values, transposed,
 * those of a product with the weights. A byte of codes becomes float16 by one load from a table that has
 * a copy for every lane: no two lanes meet in a bank.
 *
 * Heads beyond 256 dimensions are shared by a team of warps: each has the scores of its own positions and
 * a part of the values' coordinates of all. Then the whole block goes in step. */
#ifndef TQ_CUDA_ATTEND_CUH
#define TQ_CUDA_ATTEND_CUH

#ifndef __CUDACC_RTC__
#include "attend/products.cuh"
#include "attend/rows.cuh"
#include "attend/running.cuh"
#include "attend/sight.cuh"
#endif

template <int D_, int E_, int KF, int VF, int ACCURACY, int ANY_LAYOUT, int DENSE_, int SHARED>
__global__ void __launch_bounds__(layer<D_, E_, KF, VF, ACCURACY, ANY_LAYOUT, DENSE_, SHARED>::THREADS, 1)
    tq_attend(const __grid_constant__ tq_attend_args a) {
    using L = layer<D_, E_, KF, VF, ACCURACY, ANY_LAYOUT, DENSE_, SHARED>;
    using K = typename L::K;
    using V = typename L::V;
    constexpr int WARPS = L::WARPS, STAGES = L::STAGES, TEAM = L::TEAM;
    constexpr int MEMBER = L::MEMBER;
    constexpr int ROWS = L::FREE ? COLUMNS / 2 : COLUMNS;
    extern __shared__ __align__(1024) uint8_t smem[];
    __shared__ last_sums<L> ends;
    __shared__ view in_sight;
    /* [rings] [tables] [rings] [operands] [exchange] */
    uint8_t *const tables = smem + (L::FIXED ? L::TABLES - shared_address(smem) : 0);
    uint8_t *const above = tables + L::TABLES;
    uint2 *const shared_q = (uint2 *)(above + (WARPS - L::WARPS_BELOW) * MEMBER);
    float *const exchange = (float *)((uint8_t *)shared_q + (L::QUERIES_SHARED ? L::QUERY_BYTES : 0));
    auto ring_of = [&](int w) {
        return w < L::WARPS_BELOW ? smem + w * MEMBER : above + (w - L::WARPS_BELOW) * MEMBER;
    };
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, tid = lane & 3;
    const int member = warp % TEAM;
    /* Row g of a product of keys is position order(g) of eight, so that weights, transposed, have a
     * thread's positions 4 apart. */
    const int order = (g >> 1) | (g & 1) << 2;
    uint8_t *const ring = ring_of(warp);
    const uint32_t ring_at = shared_address(ring);

    let_next_launch();
    for (int base = warp * 32; base < 256;
         base += WARPS * 32) { /* a lane brings an entry, all write it */
        constexpr int FIRST = L::EXACT ? 2 : 0;
        const uint2 k = *(const uint2 *)(a.k.table + (base + lane) * 4 + FIRST);
        const uint2 v = *(const uint2 *)(a.v.table + (base + lane) * 4 + FIRST);
#pragma unroll 8
        for (int i = 0; i < 32; i++) {
            uint8_t *const to = tables + (base + i) * 256;
            const uint32_t kx = __shfl_sync(~0u, k.x, i), ky = __shfl_sync(~0u, k.y, i);
            if (L::K_ENTRY == 8)
                *(uint2 *)(to + lane % 16 * 8) = make_uint2(kx, ky);
            else
                *(uint32_t *)(to + lane * 4) = kx;
            if (L::SAME) continue;
            const uint32_t vx = __shfl_sync(~0u, v.x, i), vy = __shfl_sync(~0u, v.y, i);
            if (L::V_ENTRY == 8)
                *(uint2 *)(to + L::V_TABLE + lane % 16 * 8) = make_uint2(vx, vy);
            else
                *(uint32_t *)(to + L::V_TABLE + lane * 4) = vx;
        }
    }
    const uint32_t upper = L::FIXED ? L::TABLES : 0, tables_at = shared_address(tables);
    const table<L::FIXED> keys = {tables_at, upper | (uint32_t)lane * L::K_ENTRY % 128};
    const table<L::FIXED> values = {tables_at, upper | L::V_TABLE | (uint32_t)lane * L::V_ENTRY % 128};
    {
        const uint32_t x = ((const uint32_t *)&a)[min(lane * 16u, (uint32_t)(sizeof a / 4 - 1))];
        asm volatile("" ::"r"(x)); /* the arguments at once, not line by line as they are asked for */
    }
    wait_for_launch_before();

    /* What few sequences are is brought near while their starts come. */
    const uint32_t first_ends = lane < a.sequences ? a.starts[lane + 1] : ~0u;
    if (lane < a.sequences) touch(a.plan + lane);
    const tq_attend_cut cut = *a.cut;
    if (blockIdx.x >= cut.blocks) return;
    const uint32_t part = cut.split == 0 ? blockIdx.x : blockIdx.x % cut.split;
    uint32_t unit = part * cut.each + min(part, cut.rest);
    if (cut.split != 0) unit += blockIdx.x / cut.split * (cut.each * cut.split + cut.rest);
    const uint32_t unit_end = unit + cut.each + (part < cut.rest ? 1 : 0);

#pragma unroll 1
    while (unit < unit_end) {
        /* a piece: some tiles of a sequence, KV head and block of rows */
        uint32_t b = __popc(__ballot_sync(~0u, first_ends <= unit));
        for (uint32_t i = 32; i < a.sequences; i += 32)
            b += __popc(__ballot_sync(~0u, i + lane < a.sequences && a.starts[i + lane + 1] <= unit));
        const tq_attend_sequence seq = a.plan[b];
        const uint32_t start = a.starts[b];
        const uint32_t units = tq_attend_units(&seq, a.dense_cost);
        const uint32_t nth = (unit - start) / units;
        const uint32_t first = unit - start - nth * units;
        const uint32_t last = min(units, first + (unit_end - unit));
        const uint32_t item = b * a.kv_heads * a.row_blocks + nth;
        const uint32_t head = quotient(nth, a.row_blocks), row0 = (nth - head * a.row_blocks) * ROWS;
        const int rows_here = min((uint32_t)ROWS, a.rows - row0);
        unit += last - first;
        const uint32_t c0 = min(first, seq.codes), c1 = min(last, seq.codes);
        uint32_t d0 = 0, d1 = 0;
        if (L::DENSE)
            d0 = tiles_before(first - c0, a.dense_cost), d1 = tiles_before(last - c1, a.dense_cost);

        /* columns of this thread's scores */
        const int col = L::FREE ? tid * 2 % 4 : tid * 2;
        const uint32_t index0 = min(row0 + col, a.rows - 1), index1 = min(row0 + col + 1, a.rows - 1);
        const uint32_t query0 = quotient(index0, a.group), query1 = quotient(index1, a.group);
        float slope0 = 0.0f, slope1 = 0.0f;
        if (a.slopes != nullptr) {
            slope0 = a.slopes[head * a.group + index0 % a.group] * LOG2_E;
            slope1 = a.slopes[head * a.group + index1 % a.group] * LOG2_E;
        }
        /* Positions that all rows see. What each sees is looked at in shared memory, for few tiles. */
        uint32_t full_from, full_to;
        {
            const int32_t now = (int32_t)(seq.length - a.queries);
            const int32_t low = now + (int32_t)quotient(row0, a.group);
            const int32_t high = now + (int32_t)quotient(min(row0 + ROWS, a.rows) - 1, a.group);
            const uint32_t tree_from = a.tree == nullptr ? ~0u : seq.length - min(seq.length, a.n_tree);
            full_to =
                min(a.causal ? (uint32_t)max(low + 1, 0) : seq.length, min(tree_from, seq.codes_to));
            full_from = a.window == 0 ? 0 : (uint32_t)max(high - (int32_t)a.window + 1, 0);
            if (a.window != 0 && low < 0) full_to = 0;
            full_from = max(full_from, seq.codes_from);
            if (threadIdx.x == 0)
                in_sight = {seq.codes_from, seq.codes_to, seq.recent_from, seq.length, tree_from, b};
        }

#pragma unroll 1
        for (int kind = L::KINDS - 1; kind >= 0; kind--) { /* float16 first */
            const bool dense = L::DENSE && kind == 1;
            float *const slot =
                a.partial + ((uint64_t)(item + blockIdx.x) * L::KINDS + kind) * COLUMNS * (L::E + 2);
            if (L::DENSE &&
                (dense ? d0 == d1 : c0 == c1)) { /* nothing of it: the merge knows by its sum */
                if (threadIdx.x < COLUMNS) {
                    slot[COLUMNS * L::E + threadIdx.x] = -INF;
                    slot[COLUMNS * (L::E + 1) + threadIdx.x] = 0.0f;
                }
                continue;
            }
            /* Operands of the queries: asked for behind the first tiles where they are not shared. */
            operands<L> q;
            const uint32_t *const from =
                (dense ? a.queries_dense : a.queries_k) + (uint64_t)item * a.query_words;
            const float *const score_scales = (const float *)(from + L::QUERY_BYTES / 4) + col;
            q.from = (const uint2 *)from + lane;
            if constexpr (L::QUERIES_SHARED) {
                for (int i = threadIdx.x; i < L::QUERY_BYTES / 16; i += L::THREADS)
                    ((uint4 *)shared_q)[i] = ((const uint4 *)from)[i];
                q.from = shared_q + lane;
            }
            auto hold_queries = [&] {
                if constexpr (L::QUERIES_HELD)
#pragma unroll
                    for (int i = 0; i < L::K_STEPS * (L::TWICE ? 2 : 1); i++)
                        q.held[i] = q.from[i * 32];
            };
            running<L> r;
            r.clear();
            __syncthreads(); /* tables are there; sums of the last piece have been read */

            /* Caps, distances and masks, of positions p and p + 8. */
            auto finish_scores = [&](float(&s)[4], uint32_t p, bool some, uint32_t from, uint32_t to) {
#pragma unroll
                for (int i = 0; i < 4; i++)
                    s[i] = fabsf(s[i]) == INF ? INF - INF : s[i]; /* too large: NaN, not unseen */
                if (a.softcap > 0.0f)
#pragma unroll
                    for (int i = 0; i < 4; i++)
                        s[i] = cap_score<L::EXACT>(s[i], 1.0f / a.softcap, a.softcap * LOG2_E);
                if (a.slopes != nullptr) {
                    const uint32_t now = seq.length - a.queries;
                    s[0] -= slope0 * fabsf((float)(int32_t)(now + query0 - p));
                    s[1] -= slope1 * fabsf((float)(int32_t)(now + query1 - p));
                    s[2] -= slope0 * fabsf((float)(int32_t)(now + query0 - p - 8));
                    s[3] -= slope1 * fabsf((float)(int32_t)(now + query1 - p - 8));
                }
                if (!some) return;
                if (p < from || p >= to || !sees(a, in_sight, query0, p)) s[0] = -INF;
                if (p < from || p >= to || !sees(a, in_sight, query1, p)) s[1] = -INF;
                if (p + 8 < from || p + 8 >= to || !sees(a, in_sight, query0, p + 8)) s[2] = -INF;
                if (p + 8 < from || p + 8 >= to || !sees(a, in_sight, query1, p + 8)) s[3] = -INF;
            };

            /* Scores to weights to sums. scale(m, row): what the value of a row of member m's tile is
             * multiplied by; largest(m, row): the same as a logarithm, or more; products(m, weights). */
            auto spend = [&](const float(&s)[4], bool some, auto scale, auto largest, auto products) {
                weights w;
                if constexpr (TEAM == 1) {
                    const float u = largest(0, order), v = largest(0, order + 8);
                    r.grow(fmaxf(s[0] + u, s[2] + v), fmaxf(s[1] + u, s[3] + v));
                    const float m0 = r.reference(0), m1 = r.reference(1);
                    float p[4] = {power_of_2(s[0] - m0), power_of_2(s[1] - m1), power_of_2(s[2] - m0),
                                  power_of_2(s[3] - m1)};
                    r.sum[0] += p[0] + p[2], r.sum[1] += p[1] + p[3];
                    const float x = scale(0, order), y = scale(0, order + 8);
                    const float w0 = weight_scale<V>::of(m0), w1 = weight_scale<V>::of(m1);
                    p[0] *= x * w0, p[1] *= x * w1, p[2] *= y * w0, p[3] *= y * w1;
                    if (some) /* what is not seen may have any scale */
#pragma unroll
                        for (int i = 0; i < 4; i++)
                            p[i] = s[i] == -INF ? 0.0f : p[i];
                    if (L::FREE && tid >= 2)
#pragma unroll
                        for (int i = 0; i < 4; i++)
                            p[i] -= half_low(pack(p[i], 0.0f));
                    const uint32_t h0 = pack(p[0], p[1]), h1 = pack(p[2], p[3]);
                    w.high[0] = transpose(h0), w.high[1] = transpose(h1);
                    if constexpr (L::TWICE) {
                        w.low[0] = transpose(pack(p[0] - half_low(h0), p[1] - half_high(h0)));
                        w.low[1] = transpose(pack(p[2] - half_low(h1), p[3] - half_high(h1)));
                    }
                    products(0, w);
                } else {
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
                    r.grow_team(t);
#pragma unroll
                    for (int m = 0; m < TEAM; m++) {
                        float z[4];
#pragma unroll
                        for (int j = 0; j < 4; j++) {
                            const float score = y[m * 4 + j], p = power_of_2(score - r.reference(0));
                            r.sum[0] += p;
                            z[j] = score == -INF
                                       ? 0.0f
                                       : p * scale(m, tid + 4 * j) * weight_scale<V>::of(r.reference(0));
                        }
                        w.high[0] = pack(z[0], z[1]), w.high[1] = pack(z[2], z[3]);
                        if constexpr (L::TWICE) {
                            w.low[0] = pack(z[0] - half_low(w.high[0]), z[1] - half_high(w.high[0]));
                            w.low[1] = pack(z[2] - half_low(w.high[1]), z[3] - half_high(w.high[1]));
                        }
                        products(m, w);
                    }
                }
            };

            if (!dense) {
                /* Warps take turns, or, where keys have centres, tiles that follow each other. Teams'
                 * last turns may have none for some. */
                const uint32_t share = (c1 - c0) / WARPS, longer = (c1 - c0) % WARPS;
                const uint32_t count =
                    TEAM > 1 ? share + (longer > 0) : share + ((uint32_t)warp < longer);
                const bool runs = TEAM == 1 && a.bias != nullptr; /* of a stretch, as far as it goes */
                const uint32_t begin = c0 + (runs ? warp * share + min((uint32_t)warp, longer) : warp);
                const uint32_t step = runs ? 1 : WARPS;
                auto tile_at = [&](uint32_t i) {
                    const uint32_t j = begin + i * step;
                    return TEAM > 1 && j >= c1 ? ~0u : j + (j < seq.head ? seq.base : seq.skip);
                };
                /* page and row within it of a slot */
                uint32_t page = 0, row = 0;
                auto locate = [&](uint32_t slot) {
                    if (a.tables == nullptr) {
                        page = b, row = slot < a.page_rows ? slot : slot % a.page_rows;
                        return;
                    }
                    const uint32_t n = a.page_shift >= 0 ? slot >> a.page_shift : slot / a.page_rows;
                    page = (uint32_t)a.tables[(uint64_t)b * a.table_stride + n],
                    row = slot - n * a.page_rows;
                };
                auto look_ahead = [&](uint32_t i) {
                    if (L::SPLIT && i < count && tile_at(i) != ~0u) locate(tile_at(i) * TILE);
                };

                const uint8_t *const k_from =
                    a.k.data + (uint64_t)head * a.k.head + lane_offset<K>(a.k.row, lane);
                const uint8_t *const v_from =
                    a.v.data + (uint64_t)head * a.v.head + lane_offset<V>(a.v.row, lane);
                /* Norms of any layout come through registers, and are put where they belong a tile later.
                 */
                constexpr int NORM = K::NORM > V::NORM ? K::NORM : V::NORM;
                constexpr int K_PIECES = TILE * K::NORM / 16, V_PIECES = TILE * V::NORM / 16;
                const bool of_keys = lane < (L::SPLIT ? K_PIECES : TILE);
                const uint8_t *const norms_from = of_keys ? a.k.norms + (uint64_t)head * a.k.norm_head
                                                          : a.v.norms + (uint64_t)head * a.v.norm_head;
                const uint32_t norm_page = of_keys ? a.k.norm_page : a.v.norm_page;
                const int norm_size = of_keys ? K::NORM : V::NORM;
                const int norm_to = L::NORMS_AT + (L::SPLIT  ? lane * 16
                                                   : of_keys ? lane * K::NORM
                                                             : TILE * K::NORM + (lane - TILE) * V::NORM);
                auto copy_norms = [&](uint32_t to) {
                    if (lane >= K_PIECES + V_PIECES) return;
                    const uint32_t piece = of_keys ? lane : lane - K_PIECES;
                    copy_async<16>(to + norm_to,
                                   norms_from + place_of(page, norm_page, row, norm_size) + piece * 16);
                };
                uint32_t held[2] = {0, 0}, held_to = 0;
                auto get_norm = [&] {
                    const uint8_t *const p = norms_from + place_of(page, norm_page, row,
                                                                   of_keys ? a.k.norm_row : a.v.norm_row);
                    held[0] = p[0] | (uint32_t)p[1] << 8;
                    if (norm_size >= 4) held[0] |= (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
                    if (NORM == 8 && norm_size == 8)
                        held[1] =
                            p[4] | (uint32_t)p[5] << 8 | (uint32_t)p[6] << 16 | (uint32_t)p[7] << 24;
                };
                auto put_norm = [&] {
                    uint8_t *const p = ring + held_to + norm_to;
                    if (norm_size == 2)
                        *(uint16_t *)p = (uint16_t)held[0];
                    else
                        *(uint32_t *)p = held[0];
                    if (NORM == 8 && norm_size == 8) *(uint32_t *)(p + 4) = held[1];
                };
                /* Asks for the i-th tile. */
                auto issue = [&](uint32_t i, uint32_t stage) {
                    if (!L::SPLIT && STAGES > 2 && i > 0 && i <= count) put_norm();
                    if (i >= count) return;
                    held_to = stage * L::STAGE;
                    const uint32_t tile = tile_at(i), to = ring_at + held_to;
                    if (TEAM > 1 && tile == ~0u) {
                        held[0] = held[1] = 0;
                    } else if constexpr (L::SPLIT) {
                        copy_rows<K, 4>(to, k_from + place_of(page, a.k.page, row, a.k.row), a.k.row,
                                        lane);
                        copy_rows<V, 2>(to + L::V_AT, v_from + place_of(page, a.v.page, row, a.v.row),
                                        a.v.row, lane);
                        copy_norms(to);
                        look_ahead(i + 1);
                    } else {
                        /* each row by itself; those that nobody sees are others */
                        const uint32_t least =
                            tile < seq.head + seq.base ? seq.codes_from : seq.seen_from;
                        locate(min(max(tile * TILE + lane % TILE, least - a.code_first),
                                   seq.codes_to - 1 - a.code_first));
                        get_norm();
                        copy_rows_anyhow<K::ROW, true>(
                            to, a.k, (uint64_t)head * a.k.head + place_of(page, a.k.page, row, a.k.row),
                            lane);
                        copy_rows_anyhow<V::ROW, false>(
                            to + L::V_AT, a.v,
                            (uint64_t)head * a.v.head + place_of(page, a.v.page, row, a.v.row), lane);
                    }
                    if (!L::SPLIT && STAGES <= 2) put_norm();
                };

                const float *const bias =
                    a.bias == nullptr ? nullptr : a.bias + (uint64_t)item * a.stretches * COLUMNS + col;
                float2 bias0 = {0.0f, 0.0f}, bias1 = {0.0f, 0.0f};
                uint32_t stretch0 = ~0u, stretch1 = ~0u; /* that they are of */
                auto follow_bias = [&](uint32_t p, uint32_t &stretch, float2 &x) {
                    const uint32_t n = a.stretch_shift >= 0 ? p >> a.stretch_shift : p / a.stretch;
                    if (n == stretch) return;
                    stretch = n;
                    x = *(const float2 *)(bias + (uint64_t)min(n, a.stretches - 1) * COLUMNS);
                };

                look_ahead(0);
#pragma unroll 1
                for (int i = 0; i < STAGES - 1; i++) {
                    issue(i, i);
                    copies_commit();
                }
                hold_queries();
                const float scale0 = score_scales[0], scale1 = score_scales[1];
                uint32_t stage = 0;
#pragma unroll 1
                for (uint32_t it = 0; it < count; it++) {
                    if (STAGES > 1) copies_wait<(STAGES > 1 ? STAGES - 2 : 0)>();
                    if (TEAM > 1)
                        __syncthreads();
                    else
                        __syncwarp();
                    issue(it + STAGES - 1, stage == 0 ? STAGES - 1 : stage - 1);
                    copies_commit();
                    if (STAGES == 1) {
                        copies_wait<0>();
                        if (TEAM > 1)
                            __syncthreads();
                        else
                            __syncwarp();
                    }
                    const uint8_t *const here = ring + stage * L::STAGE;
                    if (++stage == STAGES) stage = 0;
                    const uint32_t tile = tile_at(it);
                    const uint32_t p0 = tile * TILE + a.code_first, p = p0 + order;
                    if (bias != nullptr && (TEAM == 1 || tile != ~0u))
                        follow_bias(p, stretch0, bias0), follow_bias(p + 8, stretch1, bias1);

                    float two[2][4] = {};
                    key_products<L>(keys, here, g, tid, q, two);
                    const uint8_t *const norms = here + L::NORMS_AT;
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
                            u = *(const float *)(norms + order * 4),
                            v = *(const float *)(norms + order * 4 + 32);
                        }
                        s[0] = fmaf(s[0] * u, scale0, bias0.x + (u - u)),
                        s[1] = fmaf(s[1] * u, scale1, bias0.y + (u - u));
                        s[2] = fmaf(s[2] * v, scale0, bias1.x + (v - v)),
                        s[3] = fmaf(s[3] * v, scale1, bias1.y + (v - v));
                    }
                    const bool full = p0 >= full_from && p0 + TILE <= full_to;
                    if (TEAM > 1 && tile == ~0u)
                        s[0] = s[1] = s[2] = s[3] = -INF;
                    else
                        finish_scores(s, p, !full, in_sight.codes_from, in_sight.codes_to);

                    auto scale = [&](int m, int row, int half) {
                        const uint8_t *const n =
                            norms + (m - member) * (TEAM > 1 ? MEMBER : 0) + TILE * K::NORM;
                        if constexpr (V::NORM == 2) return half_low(*(const uint16_t *)(n + row * 2));
                        return *(const float *)(n + row * V::NORM + (V::NORM == 8 ? half * 4 : 0));
                    };
                    spend(
                        s, !full || (TEAM > 1 && tile == ~0u),
                        [&](int m, int row) { return scale(m, row, member * 2 / TEAM); },
                        [&](int m, int row) {
                            float n = fabsf(scale(m, row, 0));
                            if constexpr (V::NORM == 8) n = fmaxf(n, fabsf(scale(m, row, 1)));
                            return fmaxf(log_of_2(n), V::NORM == 2 ? -24.0f : -60.0f);
                        },
                        [&](int m, const weights &w) {
                            value_products<L>(values, here + (m - member) * (TEAM > 1 ? MEMBER : 0), g,
                                              tid, member, w, r.o);
                        });
                }
                copies_wait<0>();
            } else if constexpr (L::DENSE) {
                const uint32_t of = a.dense_rows == nullptr ? b : (uint32_t)a.dense_rows[b];
                const uint32_t turns = (d1 - d0 + WARPS - 1) / WARPS;
                hold_queries();
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
                                   ? a.sink.k + of * a.sink.k_sequence + head * a.sink.k_head +
                                         p * a.sink.k_row
                                   : a.recent.k + of * a.recent.k_sequence + head * a.recent.k_head +
                                         p % a.recent_capacity * a.recent.k_row;
                    };
                    auto value_at = [&](uint32_t d, uint32_t p) {
                        return d < seq.sinks
                                   ? a.sink.v + of * a.sink.v_sequence + head * a.sink.v_head +
                                         p * a.sink.v_row
                                   : a.recent.v + of * a.recent.v_sequence + head * a.recent.v_head +
                                         p % a.recent_capacity * a.recent.v_row;
                    };
                    const uint32_t p = begin(d) + order;
                    float s[4] = {-INF, -INF, -INF, -INF};
                    const uint32_t from = d < seq.sinks ? 0 : seq.recent_from, to = end(d);
                    if (TEAM == 1 || d < d1) {
                        const uint16_t *const x = key_at(d, p) + tid * 4, *const y =
                                                                              key_at(d, p + 8) + tid * 4;
                        float two[2][4] = {};
#pragma unroll
                        for (int i = 0; i < L::K_STEPS; i++) {
                            const uint2 k = *(const uint2 *)(x + i * 16),
                                        l = *(const uint2 *)(y + i * 16);
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
                        finish_scores(s, p, true, from, to);
                    }
                    spend(
                        s, true, [](int, int) { return 1.0f; }, [](int, int) { return 0.0f; },
                        [&](int m, const weights &w) {
                            const uint32_t tile = d - member + m, last = end(tile),
                                           from = begin(tile) + tid;
                            uint32_t x[L::MY_TILES][4], bad = 0;
#pragma unroll
                            for (int j = 0; j < 4; j++) {
                                const uint32_t at = from + 4 * j;
                                const uint16_t *const v =
                                    value_at(tile, min(at, max(last, 1u) - 1)) + g * 2;
#pragma unroll
                                for (int i = 0; i < L::MY_TILES; i++) {
                                    const int t = member * L::MY_WORDS * 4 + i;
                                    x[i][j] =
                                        at < last && t < L::V_TILES ? *(const uint32_t *)(v + t * 16) : 0;
                                    bad |= (x[i][j] & 0x7c00u) == 0x7c00u ||
                                           (x[i][j] & 0x7c000000u) == 0x7c000000u;
                                }
                            }
                            auto add = [&](float(&o)[4], int i, const weights &w, uint32_t keep) {
                                uint32_t y[4];
#pragma unroll
                                for (int j = 0; j < 4; j++)
                                    y[j] = keep >> j & 1 ? x[i][j] : 0;
                                value_product<L>(o, low_halves(y[0], y[1]), permute(y[0], y[1], 0x7632),
                                                 low_halves(y[2], y[3]), permute(y[2], y[3], 0x7632), w);
                            };
                            if (!__any_sync(~0u, bad)) {
#pragma unroll
                                for (int i = 0; i < L::MY_TILES; i++)
                                    add(r.o[i], i, w, 15);
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
                                                       sees(a, in_sight, query, from + 4 * j))
                                            << j;
                                const bool even = c == tid * 2, odd = c == tid * 2 + 1;
#pragma unroll
                                for (int i = 0; i < L::MY_TILES; i++) {
                                    float o[4] = {0.0f, 0.0f, 0.0f, 0.0f};
                                    add(o, i, w, keep);
                                    if (even) r.o[i][0] += o[0], r.o[i][2] += o[2];
                                    if (odd) r.o[i][1] += o[1], r.o[i][3] += o[3];
                                }
                            }
                        });
                }
            }

            put_together<L>(r, ring_of, ends, slot, dense ? 1.0f : a.value_scale, dense, rows_here);
        }
    }
}

#endif

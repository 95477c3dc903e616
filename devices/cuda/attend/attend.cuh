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
#include "attend/coded.cuh"
#include "attend/dense.cuh"
#endif

/* A lane brings an entry of the tables, all write it. */
template <class L> TQ_INLINE void fill_tables(const tq_attend_args &a, uint8_t *tables) {
    constexpr int WARPS = L::WARPS;
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    for (int base = warp * 32; base < 256; base += WARPS * 32) {
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
}

/* The piece that begins at a unit of the line, of a block whose part ends at `end`. */
template <int ROWS> TQ_INLINE piece piece_at(const tq_attend_args &a, uint32_t unit, uint32_t end) {
    const int lane = threadIdx.x & 31;
    uint32_t b = 0;
    for (uint32_t i = 0; i < a.sequences; i += 32)
        b += __popc(__ballot_sync(~0u, i + lane < a.sequences && a.starts[i + lane + 1] <= unit));
    const uint32_t start = a.starts[b];
    piece w;
    w.seq = a.plan[b];
    const uint32_t units = tq_attend_units(&w.seq, a.dense_cost);
    const uint32_t nth = (unit - start) / units;
    const uint32_t first = unit - start - nth * units;
    const uint32_t last = min(units, first + (end - unit));
    w.next_unit = unit + (last - first), w.end_unit = end;
    w.sequence = b;
    w.item = b * a.kv_heads * a.row_blocks + nth;
    w.head = quotient(nth, a.row_blocks);
    w.row0 = (nth - w.head * a.row_blocks) * ROWS;
    w.rows = min((uint32_t)ROWS, a.rows - w.row0);
    w.codes_begin = min(first, w.seq.codes), w.codes_end = min(last, w.seq.codes);
    w.dense_begin = tiles_before(first - w.codes_begin, a.dense_cost);
    w.dense_end = tiles_before(last - w.codes_end, a.dense_cost);
    w.tree_from = a.tree == nullptr ? ~0u : w.seq.length - min(w.seq.length, a.n_tree);
    return w;
}

template <int D_, int E_, int KF, int VF, int ACCURACY, int ANY_LAYOUT, int DENSE_, int SHARED>
__global__ void __launch_bounds__(layer<D_, E_, KF, VF, ACCURACY, ANY_LAYOUT, DENSE_, SHARED>::THREADS, 1)
    tq_attend(const __grid_constant__ tq_attend_args a) {
    using L = layer<D_, E_, KF, VF, ACCURACY, ANY_LAYOUT, DENSE_, SHARED>;
    constexpr int ROWS = L::FREE ? COLUMNS / 2 : COLUMNS;
    extern __shared__ __align__(1024) uint8_t smem[];
    __shared__ last_sums<L> ends;
    __shared__ piece now;
    const block<L> shared(smem);
    const int lane = threadIdx.x & 31;

    let_next_launch();
    fill_tables<L>(a, shared.tables);
    {
        const uint32_t x = ((const uint32_t *)&a)[min(lane * 16u, (uint32_t)(sizeof a / 4 - 1))];
        asm volatile("" ::"r"(x)); /* the arguments at once, not line by line as they are asked for */
    }
    wait_for_launch_before();

    if (lane < a.sequences) { /* while it is found out which are wanted */
        const tq_attend_sequence *const one = a.plan + lane;
        touch(a.starts + lane), touch(one), touch((const uint32_t *)(one + 1) - 1);
    }
    const tq_attend_cut cut = *a.cut;
    if (blockIdx.x >= cut.blocks) return;
    const uint32_t part = cut.split == 0 ? blockIdx.x : blockIdx.x % cut.split;
    uint32_t unit = part * cut.each + min(part, cut.rest);
    if (cut.split != 0) unit += blockIdx.x / cut.split * (cut.each * cut.split + cut.rest);
    uint32_t end = unit + cut.each + (part < cut.rest ? 1 : 0);

    /* What holds from piece to piece lies in shared memory: registers are for tiles. */
#pragma unroll 1
    for (;;) {
        const piece w = piece_at<ROWS>(a, unit, end);
        if (threadIdx.x == 0) now = w;
        __syncthreads();
#pragma unroll
        for (int kind = L::KINDS - 1; kind >= 0; kind--) { /* float16 first */
            const bool none =
                kind == 1 ? now.dense_begin == now.dense_end : now.codes_begin == now.codes_end;
            if (L::DENSE && none) { /* the merge knows by its sum */
                float *const tail = slot_of<L>(a, now, kind) + COLUMNS * L::E;
                if (threadIdx.x < COLUMNS) tail[threadIdx.x] = -INF, tail[COLUMNS + threadIdx.x] = 0.0f;
            } else if (kind == 1) {
                if constexpr (L::DENSE) attend_dense<L>(a, now, shared, ends);
            } else {
                attend_codes<L>(a, now, shared, ends);
            }
        }
        unit = now.next_unit, end = now.end_unit;
        if (unit >= end) return;
        __syncthreads(); /* all have read it */
    }
}

#endif

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
#endif

/* Tables come in two steps: memory is asked for entries early, each of which is put where the copies of
 * it will be, and these are made while codes are on their way. A warp has 32 entries at a time. */
template <class L> TQ_INLINE void fetch_tables(const tq_attend_args &a, uint8_t *tables) {
    constexpr int FIRST = L::EXACT ? 2 : 0;
#pragma unroll 1
    for (int i = threadIdx.x; i < 256; i += L::THREADS) {
        *(uint2 *)(tables + i * 256) = *(const uint2 *)(a.k.table + i * 4 + FIRST);
        if (!L::SAME)
            *(uint2 *)(tables + i * 256 + L::V_TABLE) = *(const uint2 *)(a.v.table + i * 4 + FIRST);
    }
}
template <int ENTRY> TQ_INLINE void copy_entry(uint8_t *row, int lane) {
    const uint2 x = *(const uint2 *)row;
    __syncwarp(); /* all have read */
    if (ENTRY == 8)
        *(uint2 *)(row + lane % 16 * 8) = x;
    else
        *(uint32_t *)(row + lane * 4) = x.x;
}
template <class L> TQ_INLINE void fill_tables(uint8_t *tables) {
    const int lane = threadIdx.x & 31;
#pragma unroll 4
    for (int i = threadIdx.x / 32; i < 256; i += L::WARPS) {
        copy_entry<L::K_ENTRY>(tables + i * 256, lane);
        if (!L::SAME) copy_entry<L::V_ENTRY>(tables + i * 256 + L::V_TABLE, lane);
    }
}

/* The work of up to 32 sequences as it is shared out; that of more was prepared. */
struct shared_work {
    tq_attend_sequence sequences[32];
    uint32_t starts[33];
    tq_attend_cut cut;
};
TQ_INLINE bool is_shared(const tq_attend_args &a) {
    uint32_t n = a.sequences;
    asm volatile("" : "+r"(n)); /* found anew where it is wanted: registers are for tiles */
    return n <= 32;
}

/* The piece that begins at a unit of the line, of a block whose part ends at `end`. */
template <int ROWS>
TQ_INLINE piece piece_at(const tq_attend_args &a, const shared_work &work, uint32_t unit, uint32_t end) {
    const int lane = threadIdx.x & 31;
    const bool few = is_shared(a);
    const uint32_t *const starts = few ? work.starts : a.starts;
    uint32_t b = 0;
    for (uint32_t i = 0; i < a.sequences; i += 32)
        b += __popc(__ballot_sync(~0u, i + lane < a.sequences && starts[i + lane + 1] <= unit));
    const uint32_t start = starts[b];
    piece w;
    w.seq = few ? work.sequences[b] : a.plan[b];
    const uint32_t units = w.seq.codes, nth = (unit - start) / units;
    const uint32_t first = unit - start - nth * units;
    const uint32_t last = min(units, first + (end - unit));
    w.next_unit = unit + (last - first), w.end_unit = end;
    w.sequence = b;
    w.item = b * a.kv_heads * a.row_blocks + nth;
    w.head = quotient(nth, a.row_blocks);
    w.row0 = (nth - w.head * a.row_blocks) * ROWS;
    w.rows = min((uint32_t)ROWS, a.rows - w.row0);
    w.codes_begin = first, w.codes_end = last;
    w.tree_from = tree_from(a, w.seq.length);
    return w;
}

/* A block's part of the line, piece by piece. `attend` is given what it calls once its first tiles have
 * been asked for: tables are filled then, and queries waited for. */
template <class L, int ROWS, class F>
TQ_INLINE void each_piece(const tq_attend_args &a, shared_work &work, piece &now, uint8_t *tables,
                          F attend) {
    const uint32_t lane = threadIdx.x & 31;
    let_next_launch();
    {
        static_assert(sizeof a <= 32 * 64, "a warp touches a line each");
        /* the arguments at once, not line by line as they are asked for */
        touch((const uint32_t *)&a + min(lane * 16u, (uint32_t)(sizeof a / 4 - 1)));
    }
    /* What prepare() writes is waited for as late as can be: lengths, pages and codes were there before
     * it let this kernel begin. Of a few sequences the last warp finds out what there is to do. */
    if (!is_shared(a)) {
        wait_for_launch_before();
    } else if (threadIdx.x >= L::THREADS - 32) {
        const line l(a, gridDim.x);
        work.sequences[lane] = l.mine, work.starts[lane + 1] = l.end;
        if (lane == 0) work.starts[0] = 0, work.cut = l.cut;
    }
    fetch_tables<L>(a, tables);
    __syncthreads();
    const tq_attend_cut cut = is_shared(a) ? work.cut : *a.cut;
    if (blockIdx.x >= cut.blocks) {
        wait_for_launch_before(); /* whoever waits for this kernel waits for those too */
        return;
    }
    const uint32_t part = cut.split == 0 ? blockIdx.x : blockIdx.x % cut.split;
    uint32_t unit = part * cut.each + min(part, cut.rest);
    if (cut.split != 0) unit += blockIdx.x / cut.split * (cut.each * cut.split + cut.rest);
    uint32_t end = unit + cut.each + (part < cut.rest ? 1 : 0);

    bool begins = true;
    /* What holds from piece to piece lies in shared memory: registers are for tiles. */
#pragma unroll 1
    for (;;) {
        const piece w = piece_at<ROWS>(a, work, unit, end);
        if (threadIdx.x == 0) now = w;
        __syncthreads();
        attend([&] {
            if (begins) fill_tables<L>(tables), begins = false;
            wait_for_launch_before();
        });
        unit = now.next_unit, end = now.end_unit;
        if (unit >= end) return;
        __syncthreads(); /* all have read it */
    }
}

template <class L> TQ_INLINE void attend_part(const tq_attend_args &a, uint8_t *smem) {
    constexpr int ROWS = L::FREE ? COLUMNS / 2 : COLUMNS;
    __shared__ last_sums<L> ends;
    __shared__ piece now;
    __shared__ shared_work work;
    static_assert(1024 + sizeof ends + sizeof now + sizeof work <= L::STATIC, "rings begin behind them");
    const block<L> shared(smem);
    each_piece<L, ROWS>(a, work, now, shared.tables,
                        [&](auto ready) { attend_codes<L>(a, now, shared, ends, ready); });
}

template <int D_, int E_, int KF, int VF, int ACCURACY, int ANY_LAYOUT, int SHARED>
__global__ void __launch_bounds__(layer<D_, E_, KF, VF, ACCURACY, ANY_LAYOUT, SHARED>::THREADS, 1)
    tq_attend(const __grid_constant__ tq_attend_args a) {
    extern __shared__ __align__(1024) uint8_t smem[];
    attend_part<layer<D_, E_, KF, VF, ACCURACY, ANY_LAYOUT, SHARED>>(a, smem);
}

/* The same, where its warps would take what registers there are: it leaves some for blocks of prepare(),
 * of merge(), so that each kernel begins while the one before it ends, and of dense(). */
template <int D_, int E_, int KF, int VF, int ACCURACY, int ANY_LAYOUT, int SHARED>
__global__ void TQ_LIMITS(TQ_ATTEND_BESIDE_THREADS(D_, E_),
                          TQ_ATTEND_BESIDE_REGISTERS(D_, E_, KF, VF, ACCURACY, SHARED))
    tq_attend_beside(const __grid_constant__ tq_attend_args a) {
    using L = layer<D_, E_, KF, VF, ACCURACY, ANY_LAYOUT, SHARED>;
    static_assert(L::THREADS == TQ_ATTEND_BESIDE_THREADS(D_, E_), "what it is launched with");
    extern __shared__ __align__(1024) uint8_t smem[];
    attend_part<L>(a, smem);
}

#endif

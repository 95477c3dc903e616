/* SPDX-License-Identifier: MIT
 * Attention over float16: sinks and recent positions. A block takes a part of an item's positions, in
 * float32. Beside tq_attend(), where that leaves room for its blocks, or before it. */
#include "attend/piece.cuh"
#include "attend/prepare.h"
#include "attend/queries.cuh"

/* A block's shared memory: bytes, from a multiple of 16. */
struct dense_memory {
    float *q;        /* [D / 8][columns][8] */
    float *sums;     /* [columns][E] */
    float *scores;   /* [chunk][columns], then weights */
    uint16_t *k, *v; /* [chunk] rows, keys' apart by D + 8 */
    __host__ __device__ static size_t bytes(uint32_t k_dim, uint32_t v_dim, uint32_t chunk) {
        const size_t floats = COLUMNS * ((size_t)k_dim + v_dim + chunk);
        return floats * 4 + chunk * (2 * ((size_t)k_dim + v_dim) + 16);
    }
    __device__ dense_memory(float *shared, uint32_t k_dim, uint32_t v_dim, uint32_t chunk) {
        q = shared, sums = q + COLUMNS * k_dim, scores = sums + COLUMNS * v_dim;
        k = (uint16_t *)(scores + COLUMNS * chunk), v = k + chunk * (k_dim + 8);
    }
};

/* Position j of an item's float16. */
struct dense_row {
    const uint16_t *k, *v;
    uint32_t position;
    TQ_INLINE dense_row(const tq_attend_args &a, const piece &w, uint32_t of, uint32_t j) {
        const bool sink = j < w.seq.sinks;
        const tq_attend_dense &d = sink ? a.sink : a.recent;
        position = sink ? j : w.seq.recent_from + (j - w.seq.sinks);
        const uint32_t row = sink ? j : position % a.recent_capacity;
        k = d.k + of * d.k_sequence + w.head * d.k_head + row * d.k_row;
        v = d.v + of * d.v_sequence + w.head * d.v_head + row * d.v_row;
    }
};

/* A score as it counts: capped, by its distance, and -INF where it is not seen. */
TQ_INLINE float dense_score(const tq_attend_args &a, const piece &w, float s, uint32_t row, uint32_t p) {
    const uint32_t query = row / a.group;
    s = fabsf(s) == INF ? INF - INF : s;
    if (a.softcap > 0.0f) s = cap_score<true>(s, 1.0f / a.softcap, a.softcap * LOG2_E);
    if (a.slopes != nullptr)
        s -= a.slopes[w.head * a.group + row % a.group] * LOG2_E *
             fabsf((float)(int32_t)(w.seq.length - a.queries + query - p));
    return sees(a, w, query, p) ? s : -INF;
}

/* Weights of what is not seen are this, and touch nothing. */
#define UNSEEN (-0.0f)
TQ_INLINE bool is_seen(float weight) {
    return __float_as_uint(weight) != 0x80000000u;
}

__device__ static void attend_part(const tq_dense_args &p, float *shared, uint32_t item, uint32_t part) {
    const tq_attend_args &a = p.attend;
    const uint32_t D = p.k_dim, E = p.v_dim, per_sequence = a.kv_heads * a.dense_blocks;
    const uint32_t t = threadIdx.x, lane = t % 32, warp = t / 32, warps = blockDim.x / 32;
    __shared__ float tops[COLUMNS], totals[COLUMNS], factors[COLUMNS];
    piece w;
    w.sequence = item / per_sequence;
    w.head = item % per_sequence / a.dense_blocks;
    w.row0 = item % a.dense_blocks * a.dense_columns;
    w.rows = (int)min(a.dense_columns, a.rows - w.row0);
    w.seq = sequence_of(a, w.sequence);
    w.tree_from = tree_from(a, w.seq.length);
    const uint32_t parts = dense_parts_of(w.seq);
    if (part >= parts) return;
    const uint32_t each = (w.seq.dense + parts - 1) / parts, first = part * each;
    const uint32_t last = min(w.seq.dense, first + each);
    const uint32_t of = a.dense_rows == nullptr ? w.sequence : (uint32_t)a.dense_rows[w.sequence];
    const dense_memory m(shared, D, E, p.chunk);
#pragma unroll 4
    for (uint32_t i = t; i < w.rows * E; i += blockDim.x)
        m.sums[i] = 0.0f;
    if (t < COLUMNS) tops[t] = -INF, totals[t] = 0.0f;
    /* threads that share a position's key */
    uint32_t share = 1;
    while (share < 4 && share * 2 * p.chunk <= blockDim.x)
        share *= 2;
        /* Loops stay loops: what runs once waits for its instructions. */
#pragma unroll 1
    for (uint32_t base = first; base < last; base += p.chunk) {
        const uint32_t n = min(p.chunk, last - base);
        __syncthreads(); /* what was there has been read */
#pragma unroll 1
        for (uint32_t j = warp; j < n; j += warps) { /* a warp a position */
            const dense_row r(a, w, of, base + j);
#pragma unroll 1
            for (uint32_t x = lane * 8; x < max(D, E); x += 32 * 8) {
                if (x < D) copy_async<16>(shared_address(m.k + j * (D + 8) + x), r.k + x);
                if (x < E) copy_async<16>(shared_address(m.v + j * E + x), r.v + x);
            }
        }
        copies_commit();
        if (base == first)
#pragma unroll 1
            for (uint32_t c = warp; c < (uint32_t)w.rows; c += warps) {
                const uint64_t at = query_at(a, p.q, w.sequence, w.head, w.row0 + c);
#pragma unroll 1
                for (uint32_t d = lane * 4; d < D; d += 32 * 4)
                    *(float4 *)(m.q + (d / 8 * COLUMNS + c) * 8 + d % 8) = load_queries(p.q, at + d);
            }
        copies_wait<0>();
        __syncthreads();
#pragma unroll 1
        for (uint32_t j0 = 0; j0 < n; j0 += blockDim.x / share) {
            const uint32_t j = j0 + t / share, mine = t % share;
#pragma unroll 1
            for (uint32_t c = 0; c < (uint32_t)w.rows; c += 4) { /* those beyond the rows are rubbish */
                float s[4] = {};
                if (j < n)
#pragma unroll 1
                    for (uint32_t x = mine; x < D / 8; x += share) {
                        const uint4 k = *(const uint4 *)(m.k + j * (D + 8) + x * 8);
                        const float4 *const q = (const float4 *)(m.q + (x * COLUMNS + c) * 8);
#pragma unroll
                        for (int i = 0; i < 4; i++) {
                            const float4 u = q[2 * i], v = q[2 * i + 1];
                            s[i] = fmaf(half_low(k.x), u.x, s[i]), s[i] = fmaf(half_high(k.x), u.y, s[i]);
                            s[i] = fmaf(half_low(k.y), u.z, s[i]), s[i] = fmaf(half_high(k.y), u.w, s[i]);
                            s[i] = fmaf(half_low(k.z), v.x, s[i]), s[i] = fmaf(half_high(k.z), v.y, s[i]);
                            s[i] = fmaf(half_low(k.w), v.z, s[i]), s[i] = fmaf(half_high(k.w), v.w, s[i]);
                        }
                    }
#pragma unroll 1
                for (uint32_t d = 1; d < share; d *= 2)
#pragma unroll
                    for (int i = 0; i < 4; i++)
                        s[i] += __shfl_xor_sync(~0u, s[i], d);
                if (j < n && mine == 0)
                    *(float4 *)(m.scores + j * COLUMNS + c) = make_float4(s[0], s[1], s[2], s[3]);
            }
        }
        __syncthreads();
#pragma unroll 1
        for (uint32_t c = warp; c < (uint32_t)w.rows; c += warps) { /* a lane has a position */
            float s = -INF;
            if (lane < n)
                s = dense_score(a, w, m.scores[lane * COLUMNS + c] * p.scale, w.row0 + c,
                                dense_row(a, w, of, base + lane).position);
            float top = s;
#pragma unroll
            for (int d = 16; d > 0; d /= 2)
                top = fmaxf(top, __shfl_xor_sync(~0u, top, d));
            const float old = tops[c];
            top = fmaxf(old, top);
            const float weight = s == -INF ? UNSEEN : power_of_2(s - (top == -INF ? 0.0f : top));
            float sum = is_seen(weight) ? weight : 0.0f;
#pragma unroll
            for (int d = 16; d > 0; d /= 2)
                sum += __shfl_xor_sync(~0u, sum, d);
            if (lane < n) m.scores[lane * COLUMNS + c] = weight;
            __syncwarp(); /* all have read what was there */
            if (lane == 0) {
                const float f = old == -INF ? 0.0f : power_of_2(old - top);
                factors[c] = f, tops[c] = top;
                totals[c] = (old == -INF ? totals[c] : totals[c] * f) + sum;
            }
        }
        __syncthreads();
        /* two coordinates of four columns */
#pragma unroll 1
        for (uint32_t i = t; i < (w.rows > 4 ? E : E / 2); i += blockDim.x) {
            const uint32_t x = i % (E / 2) * 2, c0 = i / (E / 2) * 4;
            float u[4] = {}, v[4] = {};
#pragma unroll 4
            for (uint32_t j = 0; j < n; j++) {
                const uint32_t two = *(const uint32_t *)(m.v + j * E + x);
                const float y = half_low(two), z = half_high(two);
                const float4 f = *(const float4 *)(m.scores + j * COLUMNS + c0);
                const float weight[4] = {f.x, f.y, f.z, f.w};
#pragma unroll
                for (int c = 0; c < 4; c++)
                    if (is_seen(weight[c]))
                        u[c] = fmaf(weight[c], y, u[c]), v[c] = fmaf(weight[c], z, v[c]);
            }
#pragma unroll
            for (int c = 0; c < 4; c++) {
                if (c0 + c >= (uint32_t)w.rows) break;
                float *const to = m.sums + (c0 + c) * E + x;
                const float f = factors[c0 + c];
                to[0] = (f == 0.0f ? 0.0f : to[0] * f) + u[c],
                to[1] = (f == 0.0f ? 0.0f : to[1] * f) + v[c];
            }
        }
    }
    __syncthreads();
    float *const to =
        a.dense_partial + ((uint64_t)item * TQ_ATTEND_DENSE_PARTS + part) * COLUMNS * (E + 2);
#pragma unroll 4
    for (uint32_t i = t; i < w.rows * E; i += blockDim.x)
        to[i] = m.sums[i];
    if (t < COLUMNS) to[COLUMNS * E + t] = tops[t], to[COLUMNS * (E + 1) + t] = totals[t];
}

__global__ void __launch_bounds__(THREADS) dense(const __grid_constant__ tq_dense_args p) {
    extern __shared__ __align__(16) float shared[];
    /* What it reads was there before the launch before it let this one begin. */
    let_next_launch();
    touch_arguments(p);
    attend_part(p, shared, blockIdx.x / TQ_ATTEND_DENSE_PARTS, blockIdx.x % TQ_ATTEND_DENSE_PARTS);
    /* Whoever waits for this kernel waits for that one too, by one block of it: the others make room. */
    if (blockIdx.x == gridDim.x - 1) wait_for_launch_before();
}

static uint64_t blocks_of_dense(const tq_dense_args &p) {
    const tq_attend_args &a = p.attend;
    return (uint64_t)a.sequences * a.kv_heads * a.dense_blocks * TQ_ATTEND_DENSE_PARTS;
}

extern "C" int tq_cuda_ready_dense(tq_dense_args *p) {
    enum { PLENTY = 40 * 1024, USUAL = 48 * 1024, MOST = 98 * 1024 }; /* what every card has */
    p->chunk = WARP;                                                  /* a lane has a position */
    while (p->chunk > 4 && dense_memory::bytes(p->k_dim, p->v_dim, p->chunk) > PLENTY)
        p->chunk /= 2;
    if (blocks_of_dense(*p) > INT32_MAX) return cudaErrorInvalidConfiguration;
    if (dense_memory::bytes(p->k_dim, p->v_dim, p->chunk) <= USUAL) return cudaSuccess;
    return (int)cudaFuncSetAttribute(dense, cudaFuncAttributeMaxDynamicSharedMemorySize, MOST);
}

extern "C" int tq_cuda_launch_dense(const tq_dense_args *p, void *stream) {
    return (int)launch_kernel(dense, (unsigned)blocks_of_dense(*p), THREADS,
                              dense_memory::bytes(p->k_dim, p->v_dim, p->chunk), (cudaStream_t)stream, *p,
                              p->early != 0);
}

/* SPDX-License-Identifier: MIT
 * After tq_attend(): a row's partial results put together, rotated back and written; and those of
 * callers. */
#include "attend/finish.cuh"
#include "attend/line.cuh"
#include "attend/prepare.h"
#include "vector.cuh"

/* Coordinates of a thread, which lie together, and loads of theirs that are on their way at once. */
enum { EACH = 4, TOGETHER = 8 };

/* A row's partial results: of codes, then of float16. */
struct parts {
    const float *codes, *dense;
    uint32_t n_codes, n, dim, column, columns, dense_column;

    /* What a warp knows of 32 parts, a lane each: where a row's coordinates are, and what they weigh. */
    struct known {
        const float *from;
        float top, sum;
    };
    __device__ known part(uint32_t i) const {
        const bool is_code = i < n_codes;
        const uint32_t together = is_code ? columns : COLUMNS, at = is_code ? column : dense_column;
        const float *const part =
            (is_code ? codes : dense) + (uint64_t)(is_code ? i : i - n_codes) * (together * (dim + 2));
        const float *const sums = part + together * dim + at;
        if (i >= n) return {codes, -INF, 0.0f};
        return {part + at * dim, sums[0], sums[together]};
    }
    /* A thread's coordinates of some of them. */
    static __device__ void load(float4 (&z)[TOGETHER], const known &mine, uint32_t first, uint32_t last,
                                uint32_t i, bool in) {
#pragma unroll
        for (uint32_t k = 0; k < TOGETHER; k++) {
            const float *const from =
                (const float *)__shfl_sync(WHOLE_WARP, (unsigned long long)mine.from, first + k);
            z[k] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
            if (in && first + k < last) z[k] = *(const float4 *)(from + i);
        }
    }
    static __device__ void add(float4 &x, const float4 &z, float f) {
        x.x = fmaf(z.x, f, x.x), x.y = fmaf(z.y, f, x.y);
        x.z = fmaf(z.z, f, x.z), x.w = fmaf(z.w, f, x.w);
    }
    static __device__ void scale(float4 &x, float f) {
        const float4 z = x;
        x = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (f != 0.0f) add(x, z, f);
    }
    /* Coordinates from i on: x of codes, y of float16. They are asked for before it is known what they
     * weigh. */
    __device__ row_sums together(uint32_t i, float4 &x, float4 &y) const {
        float top = -INF, sum = 0.0f;
        x = y = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll 1
        for (uint32_t first = 0; first < n; first += WARP) {
            const known mine = part(first + threadIdx.x % WARP);
            const uint32_t last = min(n - first, (uint32_t)WARP);
            float4 z[TOGETHER];
            load(z, mine, 0, last, i, i < dim);
            float now = fmaxf(top, mine.top);
#pragma unroll
            for (int d = WARP / 2; d > 0; d /= 2)
                now = fmaxf(now, __shfl_xor_sync(WHOLE_WARP, now, d));
            const float old = top == -INF ? 0.0f : exp2f(top - now);
            top = now;
            if (first > 0) scale(x, old), scale(y, old);
            /* what saw nothing has 0; what is no number may have no largest */
            const float weight = mine.sum == 0.0f   ? 0.0f
                                 : mine.top == -INF ? INF - INF
                                                    : exp2f(mine.top - top);
            float more = mine.sum == 0.0f ? 0.0f : mine.sum * weight;
#pragma unroll
            for (int d = WARP / 2; d > 0; d /= 2)
                more += __shfl_xor_sync(WHOLE_WARP, more, d);
            sum = more + (sum == 0.0f ? 0.0f : sum * old);
#pragma unroll 1
            for (uint32_t base = 0; base < last; base += TOGETHER) {
                if (base > 0) load(z, mine, base, last, i, i < dim);
#pragma unroll
                for (uint32_t k = 0; k < TOGETHER; k++) {
                    const float f = __shfl_sync(WHOLE_WARP, weight, base + k);
                    const bool is_code = first + base + k < n_codes;
                    if (f == 0.0f) z[k] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
                    add(x, z[k], is_code ? f : 0.0f), add(y, z[k], is_code ? 0.0f : f);
                }
            }
        }
        return {top, sum, !(fabsf(sum) <= LARGEST) || !(top < INF)};
    }
};

/* The coordinate whose code is number j, by docs/format.md. */
__device__ inline uint32_t coordinate_of(const tq_merge_args &m, uint32_t j) {
    const uint32_t lane = j / m.value_group;
    return m.linear ? j : (lane / 16 * m.value_group + j % m.value_group) * 16 + lane % 16;
}

/* A block a row, a thread EACH coordinates. What tq_attend() did is found out while it ends: lengths were
 * there before it began. Small blocks: an SM has room for them beside tq_attend()'s. */
enum { MERGE_THREADS = TQ_MAX_DIM / EACH, MERGE_REGISTERS = 64 };

template <int N>
__global__ void __launch_bounds__(MERGE_THREADS, 65536 / MERGE_THREADS / MERGE_REGISTERS)
    merge(const __grid_constant__ tq_merge_args m) {
    extern __shared__ __align__(16) float values[]; /* sums of codes, those that nobody wants; signs */
    const tq_attend_args &a = m.attend;
    const uint32_t heads = a.kv_heads * a.group, token = blockIdx.x / heads, head = blockIdx.x % heads;
    const uint32_t b = token / a.queries, kv_head = head / a.group, dim = m.v_dim;
    const uint32_t row = token % a.queries * a.group + head % a.group;
    const uint32_t nth = kv_head * a.row_blocks + row / m.columns;
    const uint32_t item = b * a.kv_heads * a.row_blocks + nth, items = a.kv_heads * a.row_blocks;
    const uint32_t i = threadIdx.x * EACH;
    float *const rubbish = values + dim, *const signs = rubbish + dim;
    if (m.rotate) fill_signs(m.v_plan, signs, true);
    touch_arguments(m);
    tq_attend_cut cut;
    uint32_t start, units, n_dense;
    if (a.sequences <= WARP) {
        const line l(a, m.multiprocessors);
        cut = l.cut, units = __shfl_sync(WHOLE_WARP, l.mine.codes, b);
        start = __shfl_sync(WHOLE_WARP, l.end, b) - units * items;
        n_dense = __shfl_sync(WHOLE_WARP, dense_parts_of(l.mine), b);
        wait_for_launch_before();
    } else {
        wait_for_launch_before();
        cut = *a.cut, start = a.starts[b], units = a.plan[b].codes, n_dense = dense_parts_of(a.plan[b]);
    }
    const parts_of_codes of(cut, item, start + nth * units, units);
    const uint32_t dense_item = (b * a.kv_heads + kv_head) * a.dense_blocks + row / a.dense_columns;
    const parts all = {a.partial + (uint64_t)(item + of.first) * a.columns * (dim + 2),
                       a.dense_partial +
                           (uint64_t)dense_item * TQ_ATTEND_DENSE_PARTS * COLUMNS * (dim + 2),
                       of.blocks,
                       of.blocks + n_dense,
                       dim,
                       row % m.columns,
                       a.columns,
                       row % a.dense_columns};
    float4 x, y;
    row_sums sums = all.together(i, x, y);
    const float all_eight[] = {x.x, x.y, x.z, x.w, y.x, y.y, y.z, y.w};
#pragma unroll
    for (int k = 0; k < 2 * EACH; k++)
        sums.bad |= !(fabsf(all_eight[k]) <= LARGEST);
    if (i < dim) {
        if (m.many)
#pragma unroll
            for (uint32_t k = 0; k < EACH; k++)
                values[coordinate_of(m, i + k)] = all_eight[k];
        else
            *(float4 *)(values + i) = x;
    }
    sums.bad = __syncthreads_or(sums.bad);
    if (m.rotate && threadIdx.x < WARP) { /* half a warp would do, and stays with the other half */
        using V = coords<N, 1>;
        V v = make_coords<V>(values, dim);
        if constexpr (N == 0)
            v.x = (threadIdx.x < TQ_LANES ? values : rubbish) + place<V>();
        else
#pragma unroll
            for (int k = 0; k < N; k++)
                v[k] = values[k * TQ_LANES + place<V>()];
        rotate_out<false>(m.v_plan, v, signs);
        __syncwarp(); /* both halves have read */
        if constexpr (N > 0)
            if (threadIdx.x < TQ_LANES)
#pragma unroll
                for (int k = 0; k < N; k++)
                    values[k * TQ_LANES + place<V>()] = v[k];
    }
    __syncthreads();
    const bool open = m.sum != NULL;
    const float *const sink = m.sinks == NULL || open ? NULL : m.sinks + head;
    const row_end e(sums, sink);
    const float factor = e.factor(sums, open);
    if (i < dim)
#pragma unroll
        for (uint32_t k = 0; k < EACH; k++)
            store(m.out, m.type, token * m.token + head * m.head + i + k,
                  sums.nothing() ? 0.0f : (values[i + k] + all_eight[EACH + k]) * factor);
    if (threadIdx.x == 0)
        store_sums(sums, e, sink != NULL, m.base2 != 0, m.lse, m.max, m.sum,
                   (uint64_t)token * heads + head);
}

template <int N> static cudaError_t launch(const tq_merge_args &m, cudaStream_t stream) {
    const unsigned rows = m.attend.sequences * m.attend.queries * m.attend.kv_heads * m.attend.group;
    return launch_kernel(merge<N>, rows, (m.v_dim / EACH + WARP - 1) / WARP * WARP,
                         (size_t)m.v_dim * 3 * sizeof(float), stream, m, m.early != 0);
}

extern "C" int tq_cuda_launch_merge(const tq_merge_args *m, void *stream) {
    const cudaStream_t s = (cudaStream_t)stream;
    switch (m->rotate ? m->v_plan.dim : 64) {
#define X(D, LANES)                                                                                      \
    case D:                                                                                              \
        return (int)launch<D / TQ_LANES>(*m, s);
        TQ_CUDA_DIMS(X)
#undef X
    default:
        return (int)launch<0>(*m, s);
    }
}

__global__ void __launch_bounds__(THREADS)
    merge_partials(const __grid_constant__ tq_merge_partials_args m) {
    extern __shared__ float values[];
    const float unit = m.base2 ? 1.0f : LOG2_E;
    for (uint64_t r = blockIdx.x; r < m.rows; r += gridDim.x) {
        float top = -INF, sum = 0.0f;
        for (uint32_t i = 0; i < m.partials; i++)
            top = fmaxf(top, m.max[i][r] * unit);
        for (uint32_t i = 0; i < m.partials; i++) {
            const float s = m.sum[i][r], t = m.max[i][r] * unit;
            sum += s == 0.0f ? 0.0f : t == -INF ? INF - INF : s * exp2f(t - top);
        }
        int bad = !(fabsf(sum) <= LARGEST) || !(top < INF);
        for (uint32_t n = threadIdx.x; n < m.dim; n += blockDim.x) {
            float x = 0.0f;
            for (uint32_t i = 0; i < m.partials; i++)
                if (m.sum[i][r] != 0.0f) x += m.acc[i][r * m.dim + n] * exp2f(m.max[i][r] * unit - top);
            bad = bad || !(fabsf(x) <= LARGEST);
            values[n] = x;
        }
        bad = __syncthreads_or(bad);
        const row_sums sums = {top, sum, bad};
        const float *const sink = m.sinks == NULL ? NULL : m.sinks + r % m.heads;
        const row_end e(sums, sink);
        const float factor = e.factor(sums, false);
        for (uint32_t n = threadIdx.x; n < m.dim; n += blockDim.x)
            store(m.out, m.out_type, r * m.dim + n, sums.nothing() ? 0.0f : values[n] * factor);
        if (threadIdx.x == 0) store_sums(sums, e, sink != NULL, m.base2 != 0, m.lse, NULL, NULL, r);
        __syncthreads();
    }
}

extern "C" int tq_cuda_launch_merge_partials(const tq_merge_partials_args *m, void *stream) {
    const unsigned blocks = m->rows < 65536 ? (unsigned)m->rows : 65536;
    return (int)launch_kernel(merge_partials, blocks, THREADS, m->dim * sizeof(float),
                              (cudaStream_t)stream, *m);
}

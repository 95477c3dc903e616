/* SPDX-License-Identifier: MIT
 * After tq_attend(): a row's partial results put together, rotated back and written; and those of
 * callers. */
#include "attend/finish.cuh"
#include "attend/line.cuh"
#include "attend/prepare.h"
#include "vector.cuh"

/* A row's partial results: of codes, then of float16. */
struct parts {
    enum { TOGETHER = 8 }; /* loads on their way */
    const float *codes, *dense;
    uint32_t n_codes, n, dim, column, columns, dense_column;

    /* Of a row, and of rows that lie together. */
    struct place {
        const float *part;
        uint32_t column, columns;
    };
    __device__ place part(uint32_t i) const {
        if (i < n_codes) return {codes + (uint64_t)i * columns * (dim + 2), column, columns};
        return {dense + (uint64_t)(i - n_codes) * COLUMNS * (dim + 2), dense_column, COLUMNS};
    }
    /* Coordinate i: x of codes, y of float16. All is asked for at once, whatever it will weigh: each
     * thread finds the weights for itself. */
    __device__ row_sums add(uint32_t i, float &x, float &y) const {
        float top = -INF, sum = 0.0f;
        x = y = 0.0f;
#pragma unroll 1
        for (uint32_t first = 0; first < n; first += TOGETHER) {
            float z[TOGETHER], t[TOGETHER], s[TOGETHER], now = top;
#pragma unroll
            for (uint32_t k = 0; k < TOGETHER; k++) {
                const place p = part(first + k);
                const bool there = first + k < n;
                z[k] = there ? p.part[p.column * dim + i] : 0.0f;
                t[k] = there ? p.part[p.columns * dim + p.column] : -INF;
                s[k] = there ? p.part[p.columns * (dim + 1) + p.column] : 0.0f;
            }
#pragma unroll
            for (uint32_t k = 0; k < TOGETHER; k++)
                now = fmaxf(now, t[k]);
            const float old = top == -INF ? 0.0f : exp2f(top - now);
            top = now;
            x = old == 0.0f ? 0.0f : x * old, y = old == 0.0f ? 0.0f : y * old;
            sum = sum == 0.0f ? 0.0f : sum * old;
#pragma unroll
            for (uint32_t k = 0; k < TOGETHER; k++) {
                /* what saw nothing has 0; what is no number may have no largest */
                const float f = s[k] == 0.0f ? 0.0f : t[k] == -INF ? INF - INF : exp2f(t[k] - top);
                sum += s[k] == 0.0f ? 0.0f : s[k] * f;
                (first + k < n_codes ? x : y) += f == 0.0f ? 0.0f : z[k] * f;
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

/* A block a row. What tq_attend() did is found out while it ends: lengths were there before it began. */
template <int N>
__global__ void __launch_bounds__(THREADS) merge(const __grid_constant__ tq_merge_args m) {
    extern __shared__ float values[]; /* sums of codes, of float16, and those that nobody wants; signs */
    const tq_attend_args &a = m.attend;
    const uint32_t heads = a.kv_heads * a.group, token = blockIdx.x / heads, head = blockIdx.x % heads;
    const uint32_t b = token / a.queries, kv_head = head / a.group, dim = m.v_dim;
    const uint32_t row = token % a.queries * a.group + head % a.group;
    const uint32_t nth = kv_head * a.row_blocks + row / m.columns;
    const uint32_t item = b * a.kv_heads * a.row_blocks + nth, items = a.kv_heads * a.row_blocks;
    float *const dense = values + dim, *const rubbish = dense + dim, *const signs = rubbish + dim;
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
    row_sums sums = {-INF, 0.0f, 0};
    for (uint32_t i = threadIdx.x; i < dim; i += blockDim.x) {
        float x, y;
        const row_sums s = all.add(i, x, y);
        sums = {s.top, s.sum, sums.bad || s.bad || !(fabsf(x) <= LARGEST) || !(fabsf(y) <= LARGEST)};
        values[m.many ? coordinate_of(m, i) : i] = x, dense[i] = y;
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
    for (uint32_t i = threadIdx.x; i < dim; i += blockDim.x)
        store(m.out, m.type, token * m.token + head * m.head + i,
              sums.nothing() ? 0.0f : (values[i] + dense[i]) * factor);
    /* threads beyond the row have no sums */
    if (threadIdx.x == 0)
        store_sums(sums, e, sink != NULL, m.base2 != 0, m.lse, m.max, m.sum,
                   (uint64_t)token * heads + head);
}

template <int N> static cudaError_t launch(const tq_merge_args &m, cudaStream_t stream) {
    cudaLaunchConfig_t config = {};
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    config.gridDim = m.attend.sequences * m.attend.queries * m.attend.kv_heads * m.attend.group;
    config.blockDim = THREADS;
    config.dynamicSmemBytes = (size_t)m.v_dim * 4 * sizeof(float);
    config.stream = stream;
    config.attrs = &attribute;
    config.numAttrs = m.early ? 1 : 0;
    return cudaLaunchKernelEx(&config, merge<N>, m);
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

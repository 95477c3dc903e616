/* SPDX-License-Identifier: MIT
 * After tq_attend(): a row's partial results put together, rotated back and written. */
#include "attend/prepare.h"
#include "vector.cuh"

#define LOG2_E 1.44269504f
#define LN_2   0.693147181f

__device__ static void wait_for_launch_before() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

__device__ static void store(void *out, uint32_t type, uint64_t at, float x) {
    if (type == TQ_F16)
        ((__half *)out)[at] = __float2half_rn(x);
    else if (type == TQ_BF16)
        ((__nv_bfloat16 *)out)[at] = __float2bfloat16_rn(x);
    else
        ((float *)out)[at] = x;
}

/* A row's sums, by the threads of a block: `values` in shared memory become what is written. */
__device__ static void finish(const float *values, uint32_t dim, float top, float sum, bool bad,
                              const float *sink, bool open, bool base2, void *out, uint32_t type,
                              uint64_t at, float *lse, float *max, float *total) {
    /* A sink is a natural logarithm, and stays one: its digits are those of lse. */
    const float natural = top * LN_2;
    float reference = natural, weights = sum, own = 1.0f;
    if (sink != NULL) {
        reference = fmaxf(natural, *sink);
        own = top == -INFINITY ? 0.0f : expf(natural - reference);
        weights = sum * own + expf(*sink - reference);
    }
    float factor = sum == 0.0f ? 0.0f : open ? 1.0f : own / weights;
    if (bad) factor = NAN;
    for (uint32_t i = threadIdx.x; i < dim; i += blockDim.x)
        store(out, type, at + i, sum == 0.0f && !bad ? 0.0f : values[i] * factor);
    if (threadIdx.x != 0) return;
    float logarithm = sink != NULL || !base2 ? reference + logf(weights) : top + log2f(weights);
    if (sink != NULL && base2) logarithm *= LOG2_E;
    if (lse != NULL) *lse = bad ? NAN : weights == 0.0f ? -INFINITY : logarithm;
    if (max != NULL) *max = bad ? NAN : base2 ? top : natural;
    if (total != NULL) *total = bad ? NAN : sum;
}

/* The block whose part of the line unit u is. */
__device__ static uint32_t owner_of(const tq_attend_cut &cut, uint32_t u) {
    const uint32_t longer = cut.rest * (cut.each + 1);
    return u < longer ? u / (cut.each + 1) : cut.rest + (u - longer) / cut.each;
}

/* A block a row. Blocks of parts are no more than multiprocessors. */
enum { MOST_PARTS = 2 * 512 };

template <int N>
__global__ void __launch_bounds__(THREADS) merge(const __grid_constant__ tq_merge_args m) {
    extern __shared__ float values[]; /* sums of codes, then of float16 */
    __shared__ float tops[MOST_PARTS], weights[MOST_PARTS];
    const tq_attend_args &a = m.attend;
    const uint32_t heads = a.kv_heads * a.group, token = blockIdx.x / heads, head = blockIdx.x % heads;
    const uint32_t b = token / a.queries, kv_head = head / a.group;
    const uint32_t row = token % a.queries * a.group + head % a.group, column = row % m.columns;
    const uint32_t nth = kv_head * a.row_blocks + row / m.columns;
    const uint32_t item = b * a.kv_heads * a.row_blocks + nth, dim = m.v_dim;
    float *const signs = values + (N == 0 ? m.kinds + 1 : m.kinds) * dim;
    if (m.rotate) fill_signs(m.v_plan, signs, true);
    touch_arguments(m);
    wait_for_launch_before();

    const tq_attend_cut cut = *a.cut;
    const uint32_t start = a.starts[b], units = (a.starts[b + 1] - start) / (a.kv_heads * a.row_blocks);
    uint32_t first = 0, blocks = 0;
    if (units > 0 && cut.split > 0) {
        first = item * cut.split, blocks = cut.split;
    } else if (units > 0) {
        first = owner_of(cut, start + nth * units);
        blocks = owner_of(cut, start + nth * units + units - 1) - first + 1;
    }
    /* The first parts of the first coordinates are asked for before it is known whether they count. */
    const uint32_t parts = blocks * m.kinds, slot_floats = TQ_ATTEND_COLUMNS * (dim + 2),
                   wide = threadIdx.x % 32;
    const float *const slots = a.partial + (uint64_t)(item + first) * m.kinds * slot_floats;
    const float *const tails = slots + TQ_ATTEND_COLUMNS * dim + column;
    constexpr uint32_t TOGETHER = 8; /* loads on their way */
    float y[TOGETHER];
    auto ask = [&](uint32_t i, uint32_t j) {
        const float *const from = slots + column * dim + i % dim;
#pragma unroll
        for (uint32_t k = 0; k < TOGETHER; k++) {
            const uint32_t at = j + k * m.kinds;
            y[k] = at < parts ? from[(uint64_t)at * slot_floats] : 0.0f;
        }
    };
    if (threadIdx.x < dim * m.kinds) ask(threadIdx.x, threadIdx.x / dim);
    for (uint32_t i = threadIdx.x; i < parts; i += blockDim.x) {
        tops[i] = tails[(uint64_t)i * slot_floats];
        weights[i] = tails[(uint64_t)i * slot_floats + TQ_ATTEND_COLUMNS];
    }
    __syncthreads();
    float top = -INFINITY, sum = 0.0f;
    for (uint32_t i = wide; i < parts; i += WARP)
        top = fmaxf(top, tops[i]);
#pragma unroll
    for (int d = 16; d > 0; d /= 2)
        top = fmaxf(top, __shfl_xor_sync(ALL, top, d));
    for (uint32_t i = wide; i < parts; i += WARP) { /* what saw nothing has 0, what is no number may have
                                                       no largest */
        const float s = weights[i];
        sum += s == 0.0f ? 0.0f : tops[i] == -INFINITY ? NAN : s * exp2f(tops[i] - top);
    }
#pragma unroll
    for (int d = 16; d > 0; d /= 2)
        sum += __shfl_xor_sync(ALL, sum, d);
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < parts; i += blockDim.x)
        weights[i] = weights[i] == 0.0f ? 0.0f : exp2f(tops[i] - top);
    __syncthreads();
    bool bad = !(fabsf(sum) <= FLT_MAX) || !(top < INFINITY);
    for (uint32_t i = threadIdx.x; i < dim * m.kinds; i += blockDim.x) {
        float x = 0.0f;
        for (uint32_t j = i / dim; j < parts; j += m.kinds * TOGETHER) {
            if (i != threadIdx.x || j != i / dim) ask(i, j);
#pragma unroll
            for (uint32_t k = 0; k < TOGETHER; k++) {
                const float w = j + k * m.kinds < parts ? weights[j + k * m.kinds] : 0.0f;
                x += w == 0.0f ? 0.0f : y[k] * w;
            }
        }
        bad = bad || !(fabsf(x) <= FLT_MAX);
        values[i] = x;
    }
    bad = __syncthreads_or(bad);
    if (m.rotate && threadIdx.x < WARP) { /* half a warp would do, and stays with the other half */
        using V = coords<N, 1>;
        V v = make_coords<V>(values, dim);
        if constexpr (N == 0)
            v.x = values + (threadIdx.x < TQ_LANES ? 0 : m.kinds * dim) +
                  place<V>(); /* the other's rubbish */
        else
#pragma unroll
            for (int k = 0; k < N; k++)
                v[k] = values[k * TQ_LANES + place<V>()];
        rotate_out<false>(m.v_plan, v, signs);
        if constexpr (N > 0)
            if (threadIdx.x < TQ_LANES)
#pragma unroll
                for (int k = 0; k < N; k++)
                    values[k * TQ_LANES + place<V>()] = v[k];
    }
    __syncthreads();
    if (m.kinds == 2) {
        for (uint32_t i = threadIdx.x; i < dim; i += blockDim.x)
            values[i] += values[dim + i];
        __syncthreads();
    }
    const bool open = m.sum != NULL;
    const uint64_t r = (uint64_t)token * heads + head;
    finish(values, dim, top, sum, bad, m.sinks == NULL || open ? NULL : m.sinks + head, open,
           m.base2 != 0, m.out, m.out_type, token * m.out_token + head * m.out_head,
           m.lse == NULL ? NULL : m.lse + r, m.max == NULL ? NULL : m.max + r,
           m.sum == NULL ? NULL : m.sum + r);
}

template <int N> static cudaError_t launch(const tq_merge_args &m, cudaStream_t stream) {
    cudaLaunchConfig_t config = {};
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    config.gridDim = m.attend.sequences * m.attend.queries * m.attend.kv_heads * m.attend.group;
    config.blockDim = THREADS;
    config.dynamicSmemBytes = (size_t)m.v_dim * (m.kinds + (N == 0 ? 2 : 1)) * sizeof(float);
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

/* Partial results of callers. */
__global__ void __launch_bounds__(THREADS)
    merge_partials(const __grid_constant__ tq_merge_partials_args m) {
    extern __shared__ float values[];
    const float unit = m.base2 ? 1.0f : LOG2_E;
    for (uint64_t r = blockIdx.x; r < m.rows; r += gridDim.x) {
        float top = -INFINITY, sum = 0.0f;
        for (uint32_t i = 0; i < m.partials; i++)
            top = fmaxf(top, m.max[i][r] * unit);
        for (uint32_t i = 0; i < m.partials; i++) {
            const float s = m.sum[i][r], t = m.max[i][r] * unit;
            sum += s == 0.0f ? 0.0f : t == -INFINITY ? NAN : s * exp2f(t - top);
        }
        bool bad = !(fabsf(sum) <= FLT_MAX) || !(top < INFINITY);
        for (uint32_t n = threadIdx.x; n < m.dim; n += blockDim.x) {
            float x = 0.0f;
            for (uint32_t i = 0; i < m.partials; i++)
                if (m.sum[i][r] != 0.0f) x += m.acc[i][r * m.dim + n] * exp2f(m.max[i][r] * unit - top);
            bad = bad || !(fabsf(x) <= FLT_MAX);
            values[n] = x;
        }
        bad = __syncthreads_or(bad);
        finish(values, m.dim, top, sum, bad, m.sinks == NULL ? NULL : m.sinks + r % m.heads, false,
               m.base2 != 0, m.out, m.out_type, r * m.dim, m.lse == NULL ? NULL : m.lse + r, NULL, NULL);
        __syncthreads();
    }
}

extern "C" int tq_cuda_launch_merge_partials(const tq_merge_partials_args *m, void *stream) {
    const unsigned blocks = m->rows < 65536 ? (unsigned)m->rows : 65536;
    return (int)launch_kernel(merge_partials, blocks, THREADS, m->dim * sizeof(float),
                              (cudaStream_t)stream, *m);
}

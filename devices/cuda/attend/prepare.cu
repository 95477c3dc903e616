/* SPDX-License-Identifier: MIT
 * Before tq_attend(), or beside its beginning: queries as right sides of products, rotated; products with
 * centres; attention over float16; and what there is to do of many sequences, which the device's lengths
 * tell. */
#include "attend/prepare.h"

#include "attend/dense.cuh"
#include "attend/queries.cuh"

/* By one warp. A few sequences tq_attend() looks at itself, while this runs. */
__device__ static void lay_out(const tq_prepare_args &p) {
    const tq_attend_args &a = p.attend;
    const uint32_t lane = threadIdx.x, per_sequence = a.kv_heads * a.row_blocks;
    uint32_t total = 0, least = ~0u, most = 0;
    if (a.sequences <= 32) return;
    for (uint32_t base = 0; base < a.sequences; base += 32) {
        uint32_t units = 0;
        if (base + lane < a.sequences) {
            const tq_attend_sequence s = sequence_of(a, base + lane);
            p.plan[base + lane] = s;
            units = s.codes;
            least = min(least, units), most = max(most, units);
        }
        const uint32_t sum = sum_to_lane(units * per_sequence);
        if (base + lane < a.sequences) p.starts[base + lane + 1] = total + sum;
        total += __shfl_sync(~0u, sum, 31);
    }
    least = __reduce_min_sync(~0u, least), most = __reduce_max_sync(~0u, most);
    if (lane != 0) return;
    *p.cut = cut_of(total, least, most, a.sequences * per_sequence, p.multiprocessors);
    p.starts[0] = 0;
}

/* Products of a query row with centres: sixteen threads a row, a chunk of stretches a block. Numbers of
 * stretches that nobody sees may be stale. */
template <int N>
__device__ static void take_centres(const tq_prepare_args &p, row_of<N> &q, row_of<N> &centre,
                                    const float *signs, uint32_t rows_of_all, uint32_t chunk) {
    const tq_attend_args &a = p.attend;
    const bool there = rows_of_all < a.sequences * a.kv_heads * a.rows;
    const uint32_t r = there ? rows_of_all : 0, row = r % a.rows, head = r / a.rows % a.kv_heads,
                   b = r / a.rows / a.kv_heads;
    const tq_attend_sequence seq = sequence_of(a, b);
    const uint32_t head_to = (seq.base + seq.head) * TQ_ATTEND_TILE + a.code_first;
    const uint32_t stretches = min((seq.codes_to + a.stretch - 1) / a.stretch, a.stretches);
    const uint32_t item = (b * a.kv_heads + head) * a.row_blocks + row / p.columns;
    load_vector(q, p.q.data, p.q.type, query_at(p, b, head, row));
    float *const to = p.bias + (uint64_t)item * a.stretches * a.columns + row % p.columns;
    /* Thread i of a row has the number of stretch i. */
    auto is_seen = [&](uint32_t s) {
        const uint32_t from = s * a.stretch, end = from + a.stretch;
        return there && s < stretches && end > seq.codes_from && (end > seq.seen_from || from < head_to);
    };
    static_assert(TQ_PREPARE_STRETCHES <= TQ_LANES, "a stretch a thread");
    const uint32_t mine = chunk * TQ_PREPARE_STRETCHES + place<row_of<N>>() % TQ_PREPARE_STRETCHES;
    int32_t numbers = 0;
    if (p.centre_tables != nullptr && is_seen(mine))
        numbers = p.centre_tables[b * p.centre_table_stride + mine];
#pragma unroll
    for (uint32_t i = 0; i < TQ_PREPARE_STRETCHES; i++) {
        const uint32_t s = chunk * TQ_PREPARE_STRETCHES + i;
        const bool seen = is_seen(s);
        const int32_t number =
            __shfl_sync(WHOLE_WARP, numbers, threadIdx.x % WARP / TQ_LANES * TQ_LANES + i);
        clear(centre);
        if (seen)
            load_vector(centre, p.centre, TQ_F16, ((uint64_t)number * a.kv_heads + head) * p.k_plan.dim);
        if (!p.rotate) rotate_in(p.k_plan, centre, signs);
        float sum[1] = {0.0f};
#pragma unroll
        for (int k = 0; k < q.n(); k++)
            sum[0] = fmaf(q[k], centre[k], sum[0]);
        const float total = fold<row_of<N>>(sum);
        if (seen && place<row_of<N>>() == 0) to[(uint64_t)s * a.columns] = total * p.dense_scale;
    }
}

/* Blocks of queries, one of lengths, and where there is MORE blocks of centres, and of float16, or many
 * rows: without them a kernel's instructions come from memory sooner. */
template <int N, bool MORE>
__global__ void __launch_bounds__(THREADS) prepare(const __grid_constant__ tq_prepare_args p) {
    extern __shared__ __align__(16) float shared[];
    const tq_attend_args &a = p.attend;
    const uint32_t vectors = blockDim.x / TQ_LANES, nth = threadIdx.x / TQ_LANES, dim = p.k_plan.dim;
    const uint32_t centres = p.query_blocks + 1, dense = centres + p.centre_blocks;
    float *const signs = shared, *const rows = shared + dim;
    if (!MORE || blockIdx.x < dense) fill_signs(p.k_plan, signs, false);
    __syncthreads();
    touch_arguments(p);
    wait_for_launch_before();
    let_next_launch();
    if (MORE && blockIdx.x >= dense) {
        const uint32_t i = blockIdx.x - dense;
        attend_dense(p, shared, i / TQ_ATTEND_DENSE_PARTS, i % TQ_ATTEND_DENSE_PARTS);
        return;
    }
    row_of<N> v = make_coords<row_of<N>>(rows, dim);
    if (MORE && blockIdx.x >= centres) {
        row_of<N> centre = make_coords<row_of<N>>(rows + vectors * dim, dim);
        const uint32_t block = blockIdx.x - centres;
        take_centres<N>(p, v, centre, signs, block / p.chunks * vectors + nth, block % p.chunks);
        return;
    }
    if (blockIdx.x == p.query_blocks) {
        if (threadIdx.x < WARP) lay_out(p);
        return;
    }
    const uint32_t column_of_all = blockIdx.x * vectors + nth;
    const uint32_t column = column_of_all % p.columns, item = column_of_all / p.columns;
    const bool in = item < a.sequences * a.kv_heads * a.row_blocks;
    const uint32_t block = item % a.row_blocks, head = item / a.row_blocks % a.kv_heads;
    const uint32_t b = item / a.row_blocks / a.kv_heads, row = block * p.columns + column;
    clear(v);
    if (in && row < a.rows) load_vector(v, p.q.data, p.q.type, query_at(p, b, head, row));
    if (p.rotate) rotate_in(p.k_plan, v, signs);
    store_for_codes<N>(p, v, p.operands + (uint64_t)item * a.operand_words, column, in, MORE && p.many);
}

/* Positions of a chunk of float16, no more than a warp's lanes, and the memory for it. */
static size_t dense_bytes(tq_prepare_args *p) {
    enum { PLENTY = 40 * 1024 };
    const uint32_t k = p->k_plan.dim, v = p->v_dim;
    p->dense_rows = 32;
    while (p->dense_rows > 4 && dense_memory::bytes(k, v, p->dense_rows) > PLENTY)
        p->dense_rows /= 2;
    return dense_memory::bytes(k, v, p->dense_rows);
}

template <int N> static cudaError_t launch(tq_prepare_args p, unsigned threads, cudaStream_t stream) {
    const tq_attend_args &a = p.attend;
    const unsigned vectors = threads / TQ_LANES;
    const uint64_t heads = (uint64_t)a.sequences * a.kv_heads, items = heads * a.row_blocks;
    size_t bytes = (size_t)p.k_plan.dim * (N == 0 ? 1 + 2 * vectors : 1) * sizeof(float);
    uint64_t blocks = (items * p.columns + vectors - 1) / vectors, centres = 0;
    p.query_blocks = (uint32_t)blocks++;
    p.chunks = (a.stretches + TQ_PREPARE_STRETCHES - 1) / TQ_PREPARE_STRETCHES;
    if (p.centre != NULL) centres = (heads * a.rows + vectors - 1) / vectors * p.chunks;
    p.centre_blocks = (uint32_t)centres, blocks += centres;
    if (a.sink.k != NULL || a.recent.k != NULL) {
        const size_t dense = dense_bytes(&p);
        bytes = dense > bytes ? dense : bytes;
        blocks += heads * a.dense_blocks * TQ_ATTEND_DENSE_PARTS;
    }
    if (centres > INT32_MAX || blocks > INT32_MAX) return cudaErrorInvalidConfiguration;
    enum { USUAL = 48 * 1024, MOST = 98 * 1024 }; /* what every card has */
    const bool more = p.many || blocks > p.query_blocks + (uint64_t)1;
    if (bytes > USUAL) {
        const cudaError_t error =
            cudaFuncSetAttribute(prepare<N, true>, cudaFuncAttributeMaxDynamicSharedMemorySize, MOST);
        if (error != cudaSuccess) return error;
    }
    cudaLaunchConfig_t config = {};
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    config.gridDim = (unsigned)blocks;
    config.blockDim = threads;
    config.dynamicSmemBytes = bytes;
    config.stream = stream;
    config.attrs = &attribute;
    config.numAttrs = p.early ? 1 : 0;
    return cudaLaunchKernelEx(&config, more ? prepare<N, true> : prepare<N, false>, p);
}

extern "C" int tq_cuda_compiled_for(int *capability) {
    cudaFuncAttributes a = {};
    const cudaError_t error = cudaFuncGetAttributes(&a, (const void *)prepare<0, true>);
    *capability = a.ptxVersion;
    return (int)error;
}

extern "C" int tq_cuda_launch_prepare(const tq_prepare_args *p, void *stream) {
    const cudaStream_t s = (cudaStream_t)stream;
    switch (p->k_plan.dim) {
#define X(D, LANES)                                                                                      \
    case D:                                                                                              \
        return (int)launch<D / TQ_LANES>(*p, THREADS, s);
        TQ_CUDA_DIMS(X)
#undef X
    default:
        return (int)launch<0>(*p, THREADS / 4, s); /* two vectors and two centres of 1024 fit */
    }
}

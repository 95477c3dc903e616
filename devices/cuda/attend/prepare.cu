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

/* Rows of a KV head that sixteen threads hold at once beside a centre. */
template <int N> constexpr uint32_t rows_together = N == 0 || N > 16 ? 1 : N > 8 ? 2 : 4;

/* Products of query rows with centres: sixteen threads have a few rows of a KV head and a chunk of
 * stretches. Numbers of stretches that nobody sees may be stale. */
template <int N>
__device__ static void take_centres(const tq_prepare_args &p, row_of<N> &first, row_of<N> &centre,
                                    const float *signs, uint32_t rows_of_all, uint32_t chunk) {
    constexpr uint32_t ROWS = rows_together<N>;
    const tq_attend_args &a = p.attend;
    const uint32_t groups = (a.rows + ROWS - 1) / ROWS;
    const bool there = rows_of_all < a.sequences * a.kv_heads * groups;
    const uint32_t r = there ? rows_of_all : 0, row0 = r % groups * ROWS, head = r / groups % a.kv_heads,
                   b = r / groups / a.kv_heads;
    /* Thread i of a row has the number of stretch i; what is asked for at once is waited for once. */
    static_assert(TQ_PREPARE_STRETCHES <= TQ_LANES, "a stretch a thread");
    const uint32_t mine = chunk * TQ_PREPARE_STRETCHES + place<row_of<N>>() % TQ_PREPARE_STRETCHES;
    int32_t numbers = 0;
    if (p.centre_tables != nullptr && mine < p.centre_table_stride)
        numbers = p.centre_tables[b * p.centre_table_stride + mine];
    row_of<N> q[ROWS];
    q[0] = first; /* whose memory it is, where coordinates lie in memory */
#pragma unroll
    for (uint32_t i = 0; i < ROWS; i++)
        load_vector(q[i], p.q.data, p.q.type, query_at(p, b, head, min(row0 + i, a.rows - 1)));
    const tq_attend_sequence seq = sequence_of(a, b);
    const uint32_t head_to = (seq.base + seq.head) * TQ_ATTEND_TILE + a.code_first;
    const uint32_t stretches = min((seq.codes_to + a.stretch - 1) / a.stretch, a.stretches);
    auto is_seen = [&](uint32_t s) {
        const uint32_t from = s * a.stretch, end = from + a.stretch;
        return there && s < stretches && end > seq.codes_from && (end > seq.seen_from || from < head_to);
    };
    auto load_centre = [&](row_of<N> &to, uint32_t j) {
        const int32_t number =
            __shfl_sync(WHOLE_WARP, numbers, threadIdx.x % WARP / TQ_LANES * TQ_LANES + j);
        clear(to);
        if (is_seen(chunk * TQ_PREPARE_STRETCHES + j))
            load_vector(to, p.centre, TQ_F16, ((uint64_t)number * a.kv_heads + head) * p.k_plan.dim);
    };
    /* The next one is on its way meanwhile, where it lies in registers. */
    row_of<N> next = centre;
    if constexpr (N > 0) load_centre(next, 0);
#pragma unroll 1
    for (uint32_t j = 0; j < TQ_PREPARE_STRETCHES; j++) {
        const uint32_t s = chunk * TQ_PREPARE_STRETCHES + j;
        const bool seen = is_seen(s);
        if constexpr (N > 0) {
            centre = next;
            if (j + 1 < TQ_PREPARE_STRETCHES) load_centre(next, j + 1);
        } else {
            load_centre(centre, j);
        }
        if (!p.rotate) rotate_in(p.k_plan, centre, signs);
#pragma unroll
        for (uint32_t i = 0; i < ROWS; i++) {
            float sum[1] = {0.0f};
#pragma unroll
            for (int k = 0; k < q[i].n(); k++)
                sum[0] = fmaf(q[i][k], centre[k], sum[0]);
            const float total = fold<row_of<N>>(sum);
            const uint32_t row = row0 + i;
            const uint64_t item = (uint64_t)(b * a.kv_heads + head) * a.row_blocks + row / p.columns;
            if (seen && row < a.rows && place<row_of<N>>() == 0)
                p.bias[(item * a.stretches + s) * a.columns + row % p.columns] = total * p.dense_scale;
        }
    }
}

/* Lengths of up to 32 sequences, before anything waits for other memory. */
__device__ static void touch_lengths(const tq_attend_args &a) {
    if (threadIdx.x >= min(a.sequences, (uint32_t)WARP)) return;
    touch(a.lengths + threadIdx.x);
    if (a.coded_lengths != nullptr) touch(a.coded_lengths + threadIdx.x);
}

/* Blocks of queries, one of lengths, and where there is MORE blocks of float16 before them, since these
 * take longest, and of centres, or many rows: without them a kernel's instructions come from memory
 * sooner. */
template <int N, bool MORE>
__global__ void __launch_bounds__(THREADS) prepare(const __grid_constant__ tq_prepare_args p) {
    extern __shared__ __align__(16) float shared[];
    const tq_attend_args &a = p.attend;
    const uint32_t vectors = blockDim.x / TQ_LANES, nth = threadIdx.x / TQ_LANES, dim = p.k_plan.dim;
    const bool dense = MORE && blockIdx.x < p.dense_blocks;
    const uint32_t block = blockIdx.x - (MORE ? p.dense_blocks : 0), centres = p.query_blocks + 1;
    float *const signs = shared, *const rows = shared + dim;
    if (!dense) fill_signs(p.k_plan, signs, false);
    __syncthreads();
    touch_arguments(p);
    wait_for_launch_before();
    let_next_launch();
    touch_lengths(a);
    if (dense) {
        attend_dense(p, shared, blockIdx.x / TQ_ATTEND_DENSE_PARTS, blockIdx.x % TQ_ATTEND_DENSE_PARTS);
        return;
    }
    row_of<N> v = make_coords<row_of<N>>(rows, dim);
    if (MORE && block >= centres) {
        row_of<N> centre = make_coords<row_of<N>>(rows + vectors * dim, dim);
        const uint32_t i = block - centres;
        take_centres<N>(p, v, centre, signs, i / p.chunks * vectors + nth, i % p.chunks);
        return;
    }
    if (block == p.query_blocks) {
        if (threadIdx.x < WARP) lay_out(p);
        return;
    }
    const uint32_t column_of_all = block * vectors + nth;
    const uint32_t column = column_of_all % p.columns, item = column_of_all / p.columns;
    const bool in = item < a.sequences * a.kv_heads * a.row_blocks;
    const uint32_t head = item / a.row_blocks % a.kv_heads, b = item / a.row_blocks / a.kv_heads;
    const uint32_t row = item % a.row_blocks * p.columns + column;
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
    uint64_t blocks = (items * p.columns + vectors - 1) / vectors, centres = 0, dense_blocks = 0;
    p.query_blocks = (uint32_t)blocks++;
    p.chunks = (a.stretches + TQ_PREPARE_STRETCHES - 1) / TQ_PREPARE_STRETCHES;
    const uint64_t groups = (a.rows + rows_together<N> - 1) / rows_together<N>;
    if (p.centre != NULL) centres = (heads * groups + vectors - 1) / vectors * p.chunks;
    blocks += centres;
    if (a.sink.k != NULL || a.recent.k != NULL) {
        const size_t dense = dense_bytes(&p);
        bytes = dense > bytes ? dense : bytes;
        dense_blocks = heads * a.dense_blocks * TQ_ATTEND_DENSE_PARTS;
        blocks += dense_blocks;
    }
    p.dense_blocks = (uint32_t)dense_blocks;
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

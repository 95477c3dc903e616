/* SPDX-License-Identifier: MIT
 * Before tq_attend(), or beside its beginning: queries as right sides of products, rotated; products with
 * centres; and what there is to do of many sequences, which the device's lengths tell. */
#include "attend/prepare.h"

#include "attend/line.cuh"
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

/* Stretches of a warp, and how far apart rows of queries lie beside them: banks apart. */
enum { STRETCHES = 16, APART = 32 };

/* Eight float16. */
__device__ static uint4 load_eight(const uint16_t *from) {
    if ((uintptr_t)from % sizeof(uint4) == 0) return *(const uint4 *)from;
    uint32_t two[4];
    for (int i = 0; i < 4; i++)
        two[i] = from[2 * i] | (uint32_t)from[2 * i + 1] << 16;
    return make_uint4(two[0], two[1], two[2], two[3]);
}

/* Queries beside centres, in a block's shared memory: [8][dim + APART] each. */
struct query_rows {
    __half *high, *low;
    float *scales; /* [8] */
    __host__ __device__ static size_t bytes(uint32_t dim) {
        return TQ_ATTEND_COLUMNS * ((dim + APART) * 2 * sizeof(__half) + sizeof(float));
    }
    __device__ query_rows(float *shared, uint32_t dim) {
        high = (__half *)shared, low = high + TQ_ATTEND_COLUMNS * (dim + APART);
        scales = (float *)(low + TQ_ATTEND_COLUMNS * (dim + APART));
    }
};

/* Products of eight query rows of a KV head with a chunk of stretches' centres: the rows of products of
 * matrices are centres as they lie, each thread's coordinates neighbours, and the columns queries as two
 * float16. Those of stretches that nobody sees may have any number, and are not looked at. */
template <int N>
__device__ static void take_centres(const tq_prepare_args &p, uint32_t block, const float *signs,
                                    float *rows, uint32_t vectors) {
    constexpr uint32_t ROWS = TQ_ATTEND_COLUMNS;
    const tq_attend_args &a = p.attend;
    const uint32_t eights = (a.rows + ROWS - 1) / ROWS, dim = p.k_plan.dim;
    const uint32_t of_all = block / p.chunks, row0 = of_all % eights * ROWS;
    const uint32_t head = of_all / eights % a.kv_heads, b = of_all / eights / a.kv_heads;
    const uint32_t lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    const uint32_t s0 = (block % p.chunks * (blockDim.x / WARP) + threadIdx.x / WARP) * STRETCHES + g;
    int32_t numbers[2] = {};
#pragma unroll
    for (uint32_t i = 0; i < 2; i++) /* with lengths: what is asked for at once is waited for once */
        if (p.centre_tables != NULL && s0 + i * 8 < p.centre_table_stride)
            numbers[i] = p.centre_tables[b * p.centre_table_stride + s0 + i * 8];
    const tq_attend_sequence seq = sequence_of(a, b);
    const uint32_t head_to = (seq.base + seq.head) * TQ_ATTEND_TILE + a.code_first;
    const uint32_t stretches = min((seq.codes_to + a.stretch - 1) / a.stretch, a.stretches);
    const uint16_t *centre[2]; /* of stretches s0 and s0 + 8; NULL: nobody sees it */
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const uint32_t s = s0 + i * 8, from = s * a.stretch, end = from + a.stretch;
        centre[i] = NULL;
        if (seq.codes == 0 || s >= stretches || end <= seq.codes_from ||
            (end <= seq.seen_from && from >= head_to))
            continue;
        centre[i] = p.centre + ((uint64_t)numbers[i] * a.kv_heads + head) * dim;
        /* on its way while queries are looked at */
        touch((const void *)((uintptr_t)(centre[i] + t * (dim / 4)) / 4 * 4));
    }
    const query_rows q(rows + (N == 0 ? vectors * dim : 0), dim);
    row_of<N> v = make_coords<row_of<N>>(rows, dim);
    for (uint32_t r = threadIdx.x / TQ_LANES; r < ROWS; r += vectors) {
        clear(v);
        if (row0 + r < a.rows) load_vector(v, p.q.data, p.q.type, query_at(a, p.q, b, head, row0 + r));
        if (!p.rotate) rotate_out<false>(p.k_plan, v, signs); /* to where centres are */
        const binade of(v);
#pragma unroll
        for (int k = 0; k < v.n(); k++) {
            const uint32_t at = r * (dim + APART) + k * TQ_LANES + place<row_of<N>>();
            of.split(v[k], q.high[at], q.low[at]);
        }
        if (place<row_of<N>>() == 0) q.scales[r] = of.times(p.scale);
    }
    __syncthreads();
    float sum[4] = {};
#pragma unroll 4
    for (uint32_t d = t * 8; d < (dim + 16) / 32 * 32; d += 32) {
        /* sixteen coordinates that are left over are two threads', of four */
        const bool in = d < dim;
        const uint4 zero = make_uint4(0, 0, 0, 0);
        const uint4 x = in && centre[0] != NULL ? load_eight(centre[0] + d) : zero,
                    y = in && centre[1] != NULL ? load_eight(centre[1] + d) : zero;
        const uint32_t at = g * (dim + APART) + d;
        const uint4 h = in ? *(const uint4 *)(q.high + at) : zero,
                    l = in ? *(const uint4 *)(q.low + at) : zero;
        /* sums of few: tensor cores cut off what a long one's last places would have */
        float few[4] = {};
        product(few, x.x, y.x, x.y, y.y, h.x, h.y);
        product(few, x.z, y.z, x.w, y.w, h.z, h.w);
        product(few, x.x, y.x, x.y, y.y, l.x, l.y);
        product(few, x.z, y.z, x.w, y.w, l.z, l.w);
#pragma unroll
        for (int i = 0; i < 4; i++)
            sum[i] += few[i];
    }
    const uint32_t row = row0 + t * 2;
    const uint64_t item = (uint64_t)(b * a.kv_heads + head) * a.row_blocks + row / p.columns;
#pragma unroll
    for (int i = 0; i < 2; i++)
        if (centre[i] != NULL && row < a.rows)
            *(float2 *)(p.bias + (item * a.stretches + s0 + i * 8) * a.columns + row % p.columns) =
                make_float2(sum[2 * i] * q.scales[t * 2], sum[2 * i + 1] * q.scales[t * 2 + 1]);
}

/* Lengths of up to 32 sequences, before anything waits for other memory. */
__device__ static void touch_lengths(const tq_attend_args &a) {
    if (threadIdx.x >= min(a.sequences, (uint32_t)WARP)) return;
    touch(a.lengths + threadIdx.x);
    if (a.coded_lengths != nullptr) touch(a.coded_lengths + threadIdx.x);
}

/* Blocks of queries, one of lengths, and where there is MORE blocks of centres, or many rows: without
 * them a kernel's instructions come from memory sooner. */
template <int N, bool MORE>
__global__ void __launch_bounds__(THREADS) prepare(const __grid_constant__ tq_prepare_args p) {
    extern __shared__ __align__(16) float shared[];
    const tq_attend_args &a = p.attend;
    const uint32_t vectors = blockDim.x / TQ_LANES, nth = threadIdx.x / TQ_LANES, dim = p.k_plan.dim;
    const uint32_t block = blockIdx.x, centres = p.query_blocks + 1;
    float *const signs = shared, *const rows = shared + dim;
    fill_signs(p.k_plan, signs, MORE && block >= centres);
    __syncthreads();
    touch_arguments(p);
    wait_for_launch_before();
    let_next_launch();
    touch_lengths(a);
    if (MORE && block >= centres) {
        take_centres<N>(p, block - centres, signs, rows, vectors);
        return;
    }
    if (block == p.query_blocks) {
        if (threadIdx.x < WARP) lay_out(p);
        return;
    }
    row_of<N> v = make_coords<row_of<N>>(rows, dim);
    const uint32_t column_of_all = block * vectors + nth;
    const uint32_t column = column_of_all % p.columns, item = column_of_all / p.columns;
    const bool in = item < a.sequences * a.kv_heads * a.row_blocks;
    const uint32_t head = item / a.row_blocks % a.kv_heads, b = item / a.row_blocks / a.kv_heads;
    const uint32_t row = item % a.row_blocks * p.columns + column;
    clear(v);
    if (in && row < a.rows) load_vector(v, p.q.data, p.q.type, query_at(a, p.q, b, head, row));
    if (p.rotate) rotate_in(p.k_plan, v, signs);
    store_for_codes<N>(p, v, p.operands + (uint64_t)item * a.operand_words, column, in, MORE && p.many);
}

template <int N> static cudaError_t launch(tq_prepare_args p, unsigned threads, cudaStream_t stream) {
    const tq_attend_args &a = p.attend;
    const unsigned vectors = threads / TQ_LANES;
    const uint64_t heads = (uint64_t)a.sequences * a.kv_heads, items = heads * a.row_blocks;
    size_t bytes = (size_t)p.k_plan.dim * (N == 0 ? 1 + vectors : 1) * sizeof(float);
    uint64_t blocks = (items * p.columns + vectors - 1) / vectors, centres = 0;
    p.query_blocks = (uint32_t)blocks++;
    const uint32_t stretches = threads / WARP * STRETCHES; /* of a block */
    p.chunks = (a.stretches + stretches - 1) / stretches;
    if (p.centre != NULL) {
        centres = heads * ((a.rows - 1) / TQ_ATTEND_COLUMNS + 1) * p.chunks;
        bytes += query_rows::bytes(p.k_plan.dim);
    }
    blocks += centres;
    if (centres > INT32_MAX || blocks > INT32_MAX) return cudaErrorInvalidConfiguration;
    const bool more = p.many || centres > 0;
    return launch_kernel(more ? prepare<N, true> : prepare<N, false>, (unsigned)blocks, threads, bytes,
                         stream, p, p.early != 0);
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
        return (int)launch<0>(*p, THREADS / 4, s); /* two vectors of 1024 fit, and eight queries */
    }
}

/* SPDX-License-Identifier: MIT
 * Before tq_attend(): what there is to do, which the device's lengths tell, and queries as right sides of
 * products, rotated, in the order in which codes come. */
#include "attend/prepare.h"
#include "vector.cuh"

__device__ static void let_next_launch() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}

/* What runs before may be anything; it only ends while this begins. */
__device__ static void wait_for_launch_before() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

__device__ static uint32_t tiles_of(uint32_t positions) {
    return (positions + TQ_ATTEND_TILE - 1) / TQ_ATTEND_TILE;
}

/* Which positions of a sequence lie where, and which tiles of them are seen by any query. */
__device__ static tq_attend_sequence sequence_of(const tq_attend_args &a, uint32_t b) {
    tq_attend_sequence s = {};
    const int32_t given = a.lengths[b];
    s.length = min((uint32_t)max(given, 0), a.max_length);
    const uint32_t sinks = min(a.n_sinks, s.length);
    s.codes_to = s.length;
    if (a.recent.k != nullptr && a.coded_lengths != nullptr)
        s.codes_to = min((uint32_t)max(a.coded_lengths[b], (int32_t)sinks), s.length);
    s.recent_from = s.codes_to;
    s.codes_from = max(a.code_first, sinks);
    if (a.tables == nullptr && s.codes_to > a.code_first + a.page_rows)
        s.codes_from = max(s.codes_from, s.codes_to - a.page_rows);
    /* of what is before the window only sinks are seen */
    const int32_t oldest = (int32_t)(s.length - a.queries) - (int32_t)a.window + 1;
    uint32_t seen_from = a.window == 0 ? 0 : (uint32_t)max(oldest, 0);
    if (a.tree != nullptr) seen_from = min(seen_from, s.length - min(s.length, a.n_tree));
    if (s.codes_from < s.codes_to) {
        s.base = (s.codes_from - a.code_first) / TQ_ATTEND_TILE;
        const uint32_t end = tiles_of(s.codes_to - a.code_first);
        s.seen_from = max(s.codes_from, seen_from);
        uint32_t first = (s.seen_from - a.code_first) / TQ_ATTEND_TILE;
        if (seen_from > 0 && a.sink_positions > s.codes_from)
            s.head = tiles_of(min(a.sink_positions, s.codes_to) - a.code_first) - s.base;
        if (first <= s.base + s.head) first = s.base + s.head;
        s.skip = first - s.head;
        s.codes = s.head + (first < end ? end - first : 0);
    }
    if (a.sink.k != nullptr && (sinks > seen_from || a.sink_positions > 0)) s.sinks = tiles_of(sinks);
    if (a.sink_positions <= s.recent_from) s.recent_from = max(s.recent_from, min(seen_from, s.length));
    s.dense = s.sinks + tiles_of(s.length - s.recent_from);
    return s;
}

/* By one warp. */
__device__ static void lay_out(const tq_prepare_args &p) {
    const tq_attend_args &a = p.attend;
    const uint32_t lane = threadIdx.x, per_sequence = a.kv_heads * a.row_blocks;
    uint32_t total = 0, least = ~0u, most = 0;
    for (uint32_t base = 0; base < a.sequences; base += 32) {
        uint32_t units = 0;
        if (base + lane < a.sequences) {
            const tq_attend_sequence s = sequence_of(a, base + lane);
            p.plan[base + lane] = s;
            units = tq_attend_units(&s, a.dense_cost);
            least = min(least, units), most = max(most, units);
        }
        uint32_t sum = units * per_sequence;
#pragma unroll
        for (int d = 1; d < 32; d *= 2) {
            const uint32_t other = __shfl_up_sync(~0u, sum, d);
            if (lane >= d) sum += other;
        }
        if (base + lane < a.sequences) p.starts[base + lane + 1] = total + sum;
        total += __shfl_sync(~0u, sum, 31);
    }
#pragma unroll
    for (int d = 16; d > 0; d /= 2) {
        least = min(least, __shfl_xor_sync(~0u, least, d));
        most = max(most, __shfl_xor_sync(~0u, most, d));
    }
    if (lane != 0) return;
    /* Blocks of less than half a tile a warp would not be worth their part of the merge. */
    constexpr uint32_t FEW = 8;
    const uint32_t items = a.sequences * per_sequence;
    tq_attend_cut cut = {};
    if (least == most && items <= p.multiprocessors) {
        cut.split = max(1u, min(p.multiprocessors / items, most / FEW));
        cut.blocks = most == 0 ? 0 : items * cut.split;
        cut.each = most / cut.split, cut.rest = most % cut.split;
    } else {
        cut.blocks = min(p.multiprocessors, (total + FEW - 1) / FEW);
        cut.each = cut.blocks == 0 ? 0 : total / cut.blocks;
        cut.rest = cut.blocks == 0 ? 0 : total % cut.blocks;
    }
    *p.cut = cut;
    p.starts[0] = 0;
}

/* Where a coordinate's float16 lies among those of a column: step, thread of four, and place of four. */
__device__ static uint32_t place_of_code(const tq_prepare_args &p, uint32_t d) {
    const uint32_t group = p.code_group, block = d / (16 * group), in = d % (16 * group);
    const uint32_t lane = p.linear ? in / group : d % 16, k = p.linear ? in % group : in / 16;
    const uint32_t e = (block * 4 + lane % 4) * group + k;
    return (e / 4 * 32 + lane / 4) * 4 + e % 4;
}
__device__ static uint32_t place_of_dense(const tq_prepare_args &, uint32_t d) {
    return (d / 16 * 32 + d % 16 / 4) * 4 + d % 4;
}

__device__ static float largest_of(float x) {
#pragma unroll
    for (int d = 8; d > 0; d /= 2)
        x = fmaxf(x, __shfl_xor_sync(half_warp(), x, d));
    return x;
}

/* A vector as two float16 a value, times a power of two that brings the largest to between 1 and 2. */
template <class V, class P>
__device__ static void store_operands(const tq_prepare_args &p, V &v, uint32_t *item_words,
                                      uint32_t column, float scale, P place) {
    const uint32_t dim = p.k_plan.dim;
    float most = 0.0f;
#pragma unroll
    for (int k = 0; k < v.n(); k++)
        most = fmaxf(most, fabsf(v[k]));
    most = largest_of(most);
    int exponent = 0;
    if (most > 0.0f && most <= FLT_MAX) frexpf(most, &exponent);
    __half *const halves = (__half *)item_words;
    __half *const high = halves + column * 16;
    __half *const low = p.twice ? high + dim / 16 * 128 : high + p.columns * 16;
    const bool two = p.twice || p.columns < TQ_ATTEND_COLUMNS;
#pragma unroll
    for (int k = 0; k < v.n(); k++) {
        /* by halves: a factor beyond float32 has one that it holds */
        const float x = ldexpf(v[k], 1 - exponent);
        const __half h = __float2half_rn(x);
        const uint32_t at = place(p, (uint32_t)(k * TQ_LANES + lane()));
        high[at] = h;
        if (two) low[at] = __float2half_rn(__fsub_rn(x, __half2float(h)));
    }
    if (lane() == 0)
        ((float *)(item_words + dim / 16 * 64 * (p.twice ? 2 : 1)))[column] = ldexpf(scale, exponent - 1);
}

template <int N>
__global__ void __launch_bounds__(THREADS) prepare(const __grid_constant__ tq_prepare_args p) {
    extern __shared__ float shared[];
    const tq_attend_args &a = p.attend;
    wait_for_launch_before();
    let_next_launch();
    if (blockIdx.x == gridDim.x - 1) {
        if (threadIdx.x < 32) lay_out(p);
        return;
    }
    coords<N> v = make_coords<N>(shared, (int)p.k_plan.dim / TQ_LANES);
    const uint32_t column_of_all = blockIdx.x * (blockDim.x / TQ_LANES) + threadIdx.x / TQ_LANES;
    const uint32_t column = column_of_all % p.columns, item = column_of_all / p.columns;
    if (item >= a.sequences * a.kv_heads * a.row_blocks) return;
    const uint32_t block = item % a.row_blocks, head = item / a.row_blocks % a.kv_heads;
    const uint32_t b = item / a.row_blocks / a.kv_heads, row = block * p.columns + column;
    const bool there = row < a.rows;
    auto load = [&] {
        const uint64_t at = ((uint64_t)b * a.queries + row / a.group) * p.q.token +
                            (uint64_t)(head * a.group + row % a.group) * p.q.head;
        if (there)
            load_vector(v, p.q.data, p.q.type, at);
        else
#pragma unroll
            for (int k = 0; k < v.n(); k++)
                v[k] = 0.0f;
    };
    load();
    if (p.dense)
        store_operands(p, v, p.queries_dense + (uint64_t)item * a.query_words, column, p.dense_scale,
                       place_of_dense);
    if (p.rotate) rotate_in(p.k_plan, v, flips_of(p.k_plan, v));
    store_operands(p, v, p.queries_k + (uint64_t)item * a.query_words, column, p.code_scale,
                   place_of_code);
}

/* Products of queries with centres: sixteen threads a centre, all rows of its head. */
template <int N>
__global__ void __launch_bounds__(THREADS) centres(const __grid_constant__ tq_prepare_args p) {
    extern __shared__ float shared[];
    const tq_attend_args &a = p.attend;
    const int n = (int)p.k_plan.dim / TQ_LANES;
    coords<N> centre = make_coords<N>(shared, n),
              v = make_coords<N>(shared + blockDim.x / TQ_LANES * p.k_plan.dim, n);
    const uint32_t b = blockIdx.x / a.kv_heads, head = blockIdx.x % a.kv_heads;
    wait_for_launch_before();
    const tq_attend_sequence seq = sequence_of(a, b);
    const uint32_t head_to = (seq.base + seq.head) * TQ_ATTEND_TILE + a.code_first;
    const uint32_t stretches = min((seq.codes_to + a.stretch - 1) / a.stretch, a.stretches);
    const uint32_t step = gridDim.y * (blockDim.x / TQ_LANES);
    for (uint32_t s = blockIdx.y * (blockDim.x / TQ_LANES) + threadIdx.x / TQ_LANES; s < stretches;
         s += step) {
        /* numbers of stretches that nobody sees may be stale */
        const uint32_t from = s * a.stretch, to = from + a.stretch;
        if (to <= seq.codes_from || (to <= seq.seen_from && from >= head_to)) continue;
        const int32_t number =
            p.centre_tables == nullptr ? 0 : p.centre_tables[b * p.centre_table_stride + s];
        load_vector(centre, p.centre, TQ_F16, ((uint64_t)number * a.kv_heads + head) * p.k_plan.dim);
        if (!p.rotate) rotate_in(p.k_plan, centre, flips_of(p.k_plan, centre));
        for (uint32_t row = 0; row < a.rows; row++) {
            load_vector(v, p.q.data, p.q.type,
                        ((uint64_t)b * a.queries + row / a.group) * p.q.token +
                            (uint64_t)(head * a.group + row % a.group) * p.q.head);
            float sum = 0.0f;
#pragma unroll
            for (int k = 0; k < n; k++)
                sum = fmaf(v[k], centre[k], sum);
            sum = fold(sum);
            const uint32_t item = (b * a.kv_heads + head) * a.row_blocks + row / p.columns;
            if (lane() == 0)
                p.bias[((uint64_t)item * a.stretches + s) * TQ_ATTEND_COLUMNS + row % p.columns] =
                    sum * p.dense_scale;
        }
    }
}

template <class K>
static cudaError_t launch_early(K kernel, const tq_prepare_args &p, dim3 grid, unsigned threads,
                                size_t shared, cudaStream_t stream) {
    cudaLaunchConfig_t config = {};
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    config.gridDim = grid;
    config.blockDim = threads;
    config.dynamicSmemBytes = shared;
    config.stream = stream;
    config.attrs = &attribute;
    config.numAttrs = p.early ? 1 : 0;
    return cudaLaunchKernelEx(&config, kernel, p);
}

template <int N>
static cudaError_t launch(const tq_prepare_args &p, unsigned threads, cudaStream_t stream) {
    const unsigned vectors = threads / TQ_LANES;
    const uint32_t items = p.attend.sequences * p.attend.kv_heads * p.attend.row_blocks;
    const size_t shared = N == 0 ? (size_t)vectors * p.k_plan.dim * sizeof(float) : 0;
    if (p.centre != NULL) {
        const unsigned chunks = (p.attend.stretches + vectors - 1) / vectors;
        const dim3 grid(p.attend.sequences * p.attend.kv_heads, chunks < 1024 ? chunks : 1024);
        const cudaError_t error = launch_early(centres<N>, p, grid, threads, 2 * shared, stream);
        if (error != cudaSuccess) return error;
    }
    return launch_early(prepare<N>, p, (items * p.columns + vectors - 1) / vectors + 1, threads, shared,
                        stream);
}

extern "C" int tq_cuda_launch_prepare(const tq_prepare_args *p, void *stream) {
    const cudaStream_t s = (cudaStream_t)stream;
    switch (p->k_plan.dim) {
#define X(D)                                                                                             \
    case D:                                                                                              \
        return (int)launch<D / TQ_LANES>(*p, THREADS, s);
        TQ_CUDA_DIMS(X)
#undef X
    default:
        return (int)launch<0>(*p, FEW_THREADS, s);
    }
}

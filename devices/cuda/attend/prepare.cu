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
    const int64_t oldest = (int64_t)s.length - a.queries - a.window + 1;
    uint32_t seen_from = a.window == 0 || oldest < 0 ? 0 : (uint32_t)oldest;
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
template <unsigned GROUP, bool LINEAR> struct place_of_code {
    __device__ unsigned operator()(unsigned d) const {
        const unsigned block = d / (16 * GROUP), in = d % (16 * GROUP);
        const unsigned lane = LINEAR ? in / GROUP : d % 16, k = LINEAR ? in % GROUP : in / 16;
        const unsigned e = (block * 4 + lane % 4) * GROUP + k;
        return (e / 4 * 32 + lane / 4) * 4 + e % 4;
    }
};
struct place_of_dense {
    __device__ unsigned operator()(unsigned d) const {
        return (d / 16 * 32 + d % 16 / 4) * 4 + d % 4;
    }
};

/* Sixteen threads a vector. */
template <int N> using row_of = coords<N, 1>;

__device__ static float largest_of(float x) {
#pragma unroll
    for (int d = 8; d > 0; d /= 2)
        x = fmaxf(x, __shfl_xor_sync(ALL, x, d));
    return x;
}

/* 2^n of -126 to 127. */
__device__ static float power_of_2(int n) {
    return __int_as_float((n + 127) << 23);
}

/* A vector as two float16 a value, times a power of two that brings the largest to between 1 and 2. */
template <class V, class P>
__device__ static void store_operands(const tq_prepare_args &p, V &v, uint32_t *item_words,
                                      uint32_t column, float scale, bool there, P place_of) {
    const uint32_t dim = p.k_plan.dim, lane = place<V>();
    float most = 0.0f;
#pragma unroll
    for (int k = 0; k < v.n(); k++)
        most = fmaxf(most, fabsf(v[k]));
    most = largest_of(most);
    /* Of subnormals and of what is not finite the exponent is at an end: factors of two halves hold it.
     */
    const int exponent = (int)(__float_as_uint(most) >> 23) - 127, half = exponent / 2;
    const float first = power_of_2(-half), second = power_of_2(half - exponent);
    if (!there) return;
    __half *const high = (__half *)item_words + column * 16;
    __half *const low = p.twice ? high + dim / 16 * 128 : high + p.columns * 16;
    const bool two = p.twice || p.columns < TQ_ATTEND_COLUMNS;
#pragma unroll
    for (int k = 0; k < v.n(); k++) {
        const float x = __fmul_rn(__fmul_rn(v[k], first), second);
        const __half h = __float2half_rn(x);
        const uint32_t at = place_of((uint32_t)(k * TQ_LANES) + lane);
        high[at] = h;
        if (two) low[at] = __float2half_rn(__fsub_rn(x, __half2float(h)));
    }
    if (lane == 0)
        ((float *)(item_words + dim / 16 * 64 * (p.twice ? 2 : 1)))[column] =
            __fmul_rn(__fmul_rn(scale, power_of_2(half)), power_of_2(exponent - half));
}

/* In the order that keys' codes have. */
template <int N, class V>
__device__ static void store_for_codes(const tq_prepare_args &p, V &v, uint32_t *words, uint32_t column,
                                       bool there) {
    constexpr unsigned n = N == 0 ? 1 : N, GROUP = n % 8 == 0 ? 8 : pow2_of(n),
                       BYTES = n % 4 == 0 ? 4 : 1;
    if constexpr (N == 0) {
        const unsigned group = p.code_group;
        const bool linear = p.linear != 0;
        store_operands(p, v, words, column, p.code_scale, there, [=](unsigned d) {
            if (linear)
                return group == 8   ? place_of_code<8, true>()(d)
                       : group == 4 ? place_of_code<4, true>()(d)
                                    : place_of_code<1, true>()(d);
            return group == 8   ? place_of_code<8, false>()(d)
                   : group == 4 ? place_of_code<4, false>()(d)
                   : group == 2 ? place_of_code<2, false>()(d)
                                : place_of_code<1, false>()(d);
        });
    } else if (!p.linear) {
        store_operands(p, v, words, column, p.code_scale, there, place_of_code<GROUP, false>());
    } else if (p.code_group == 8) {
        store_operands(p, v, words, column, p.code_scale, there, place_of_code<8, true>());
    } else {
        store_operands(p, v, words, column, p.code_scale, there, place_of_code<BYTES, true>());
    }
}

__device__ static uint64_t query_at(const tq_prepare_args &p, uint32_t b, uint32_t head, uint32_t row) {
    const tq_attend_args &a = p.attend;
    return ((uint64_t)b * a.queries + row / a.group) * p.q.token +
           (uint64_t)(head * a.group + row % a.group) * p.q.head;
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
    float *const to = p.bias + (uint64_t)item * a.stretches * TQ_ATTEND_COLUMNS + row % p.columns;
    /* Thread i of a row has the number of stretch i. */
    auto is_seen = [&](uint32_t s) {
        const uint32_t from = s * a.stretch, end = from + a.stretch;
        return there && s < stretches && end > seq.codes_from && (end > seq.seen_from || from < head_to);
    };
    static_assert(TQ_PREPARE_STRETCHES == TQ_LANES, "a stretch a thread");
    const uint32_t mine = chunk * TQ_PREPARE_STRETCHES + place<row_of<N>>();
    int32_t numbers = 0;
    if (p.centre_tables != nullptr && is_seen(mine))
        numbers = p.centre_tables[b * p.centre_table_stride + mine];
#pragma unroll 8
    for (uint32_t i = 0; i < TQ_PREPARE_STRETCHES; i++) {
        const uint32_t s = chunk * TQ_PREPARE_STRETCHES + i;
        const bool seen = is_seen(s);
        const int32_t number = __shfl_sync(ALL, numbers, threadIdx.x % WARP / TQ_LANES * TQ_LANES + i);
        clear(centre);
        if (seen)
            load_vector(centre, p.centre, TQ_F16, ((uint64_t)number * a.kv_heads + head) * p.k_plan.dim);
        if (!p.rotate) rotate_in(p.k_plan, centre, signs);
        float sum[1] = {0.0f};
#pragma unroll
        for (int k = 0; k < q.n(); k++)
            sum[0] = fmaf(q[k], centre[k], sum[0]);
        const float total = fold<row_of<N>>(sum);
        if (seen && place<row_of<N>>() == 0) to[(uint64_t)s * TQ_ATTEND_COLUMNS] = total * p.dense_scale;
    }
}

/* Blocks of queries, one of lengths, and blocks of centres. */
template <int N>
__global__ void __launch_bounds__(THREADS) prepare(const __grid_constant__ tq_prepare_args p) {
    extern __shared__ float shared[];
    const tq_attend_args &a = p.attend;
    const uint32_t vectors = blockDim.x / TQ_LANES, nth = threadIdx.x / TQ_LANES;
    float *const signs = shared, *const rows = shared + p.k_plan.dim;
    row_of<N> v = make_coords<row_of<N>>(rows, p.k_plan.dim);
    fill_signs(p.k_plan, signs, false);
    __syncthreads();
    touch_arguments(p);
    wait_for_launch_before();
    let_next_launch();
    if (blockIdx.x == p.query_blocks) {
        if (threadIdx.x < WARP) lay_out(p);
        return;
    }
    if (blockIdx.x > p.query_blocks) {
        row_of<N> centre = make_coords<row_of<N>>(rows + vectors * p.k_plan.dim, p.k_plan.dim);
        const uint32_t block = blockIdx.x - p.query_blocks - 1;
        take_centres<N>(p, v, centre, signs, block / p.chunks * vectors + nth, block % p.chunks);
        return;
    }
    const uint32_t column_of_all = blockIdx.x * vectors + nth;
    const uint32_t column = column_of_all % p.columns, item = column_of_all / p.columns;
    const bool in = item < a.sequences * a.kv_heads * a.row_blocks;
    const uint32_t block = item % a.row_blocks, head = item / a.row_blocks % a.kv_heads;
    const uint32_t b = item / a.row_blocks / a.kv_heads, row = block * p.columns + column;
    clear(v);
    if (in && row < a.rows) load_vector(v, p.q.data, p.q.type, query_at(p, b, head, row));
    if (p.dense)
        store_operands(p, v, p.queries_dense + (uint64_t)item * a.query_words, column, p.dense_scale, in,
                       place_of_dense());
    if (p.rotate) rotate_in(p.k_plan, v, signs);
    store_for_codes<N>(p, v, p.queries_k + (uint64_t)item * a.query_words, column, in);
}

template <int N> static cudaError_t launch(tq_prepare_args p, unsigned threads, cudaStream_t stream) {
    const unsigned vectors = threads / TQ_LANES;
    const uint64_t heads = (uint64_t)p.attend.sequences * p.attend.kv_heads;
    const size_t rows = N == 0 ? 2 * (size_t)vectors * p.k_plan.dim : 0;
    uint64_t centre_blocks = 0;
    p.query_blocks = (uint32_t)((heads * p.attend.row_blocks * p.columns + vectors - 1) / vectors);
    p.chunks = (p.attend.stretches + TQ_PREPARE_STRETCHES - 1) / TQ_PREPARE_STRETCHES;
    if (p.centre != NULL) centre_blocks = (heads * p.attend.rows + vectors - 1) / vectors * p.chunks;
    if (p.query_blocks + 1 + centre_blocks > INT32_MAX) return cudaErrorInvalidConfiguration;
    cudaLaunchConfig_t config = {};
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    config.gridDim = (unsigned)(p.query_blocks + 1 + centre_blocks);
    config.blockDim = threads;
    config.dynamicSmemBytes = (p.k_plan.dim + rows) * sizeof(float);
    config.stream = stream;
    config.attrs = &attribute;
    config.numAttrs = p.early ? 1 : 0;
    return cudaLaunchKernelEx(&config, prepare<N>, p);
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

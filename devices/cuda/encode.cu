/* SPDX-License-Identifier: MIT
 * Vectors to codes and norms. */
#include <cuda_pipeline_primitives.h>

#include "planes.cuh"

/* A sum of squares beyond this may be that of a value that cannot be encoded. */
#define SUSPICIOUS (TQ_MAX_ABS * TQ_MAX_ABS / 4)

/* Where a token goes; false: it is left out, or, *missing, there is no such slot. */
__device__ static bool find_slot(const tq_cuda_encode_args &a, uint64_t token, uint64_t *slot,
                                 bool *missing) {
    *missing = false;
    if (a.slot_of == NULL) {
        *slot = a.first_slot + token; /* both are less than slots */
        if (*slot >= a.slots) *slot -= a.slots;
        return true;
    }
    const int64_t s = a.slot_of[token];
    *slot = (uint64_t)s;
    *missing = s >= 0 && (uint64_t)s >= a.slots;
    return s >= 0 && !*missing;
}

/* A slot's page, and its row there. */
typedef struct paged_row {
    uint64_t page, row;
} paged_row;

__device__ static paged_row find_page(uint64_t slot, uint64_t page_rows) {
    if (page_rows == 0) return {0, slot};
    if ((slot | page_rows) >> 32 != 0) return {slot / page_rows, slot % page_rows};
    const uint32_t page = (uint32_t)slot / (uint32_t)page_rows; /* much the shorter division */
    return {page, slot - page * page_rows};
}

__device__ static uint8_t *row_at(const tq_cuda_place &p, const paged_row &at, uint32_t head) {
    return p.data + at.page * p.page + head * p.head + at.row * p.row;
}

__device__ static uint64_t position_of(const tq_cuda_encode_args &a, uint32_t token) {
    return a.position_of == NULL ? a.first_position + token : (uint64_t)a.position_of[token];
}

/* A vector's centre; NULL: it has none. Where vectors are few it is asked for early: a thread touches
 * what a sixteenth of it lies in. */
template <class V>
__device__ static const uint16_t *centre_of(const tq_cuda_encode_args &a, const tq_cuda_encode_side &s,
                                            uint64_t position, uint32_t head) {
    if (s.centre.values == NULL) return NULL;
    const uint64_t number = s.centre.stretch == 0 ? 0 : position / s.centre.stretch % s.centre.n;
    const uint16_t *const centre = s.centre.values + (number * a.heads + head) * s.plan.dim;
    if (V::WIDTH == 1) {
        const uint16_t x = centre[place<V>() * (s.plan.dim / TQ_LANES)];
        asm volatile("" ::"h"(x));
    }
    return centre + first_lane<V>();
}

template <class V> __device__ static void subtract(V &v, const uint16_t *centre) {
    if (centre == NULL) return;
#pragma unroll
    for (int i = 0; i < v.n() * V::WIDTH; i++)
        v[i] = __fsub_rn(v[i], load_half(centre[i / V::WIDTH * TQ_LANES + i % V::WIDTH]));
}

__device__ static float load_one(const void *data, uint32_t type, uint64_t at) {
    if (type == TQ_F32) return ((const float *)data)[at];
    if (type == TQ_F16) return __half2float(((const __half *)data)[at]);
    return __bfloat162float(((const __nv_bfloat16 *)data)[at]);
}

/* The place of the first value that is not finite or too large; UINT32_MAX: there is none. A vector's
 * threads look together. */
template <int SHARE>
__device__ static uint32_t find_bad(const tq_cuda_vectors &src, uint32_t dim, uint64_t start) {
    uint32_t bad = UINT32_MAX;
    for (uint32_t i = threadIdx.x % SHARE; i < dim && bad == UINT32_MAX; i += SHARE)
        if (!(fabsf(load_one(src.data, src.type, start + i)) <= TQ_MAX_ABS)) bad = i;
    for (int h = 1; h < SHARE; h *= 2)
        bad = min(bad, __shfl_xor_sync(WHOLE_WARP, bad, h));
    return bad;
}

__device__ static uint64_t start_of(const tq_cuda_encode_side &s, uint32_t token, uint32_t head) {
    return token * s.src.token + head * s.src.head;
}

/* That coordinate i of a vector is at fault. */
template <class V> __device__ static void tell(const tq_cuda_encode_side &s, const walk &w, uint32_t i) {
    if (s.fault != NULL && place<V>() == 0)
        atomicMin(s.fault, (unsigned long long)start_of(s, w.outer, w.inner) + i);
}

__device__ static float stored_norm(const tq_cuda_plan &p, float norm, float sum) {
    if (p.norm_rule == TQ_NORM_MATCHED) return __fdiv_rn(__fmul_rn(norm, p.unit), __fsqrt_rn(sum));
    if (p.norm_rule == TQ_NORM_UNBIASED) return __fdiv_rn(__fmul_rn(norm, (float)p.dim), sum);
    return norm;
}

__device__ static void put_u16(uint8_t *p, uint16_t x) {
    const uint32_t word = x;
    store_bytes(p, 2, &word);
}

__device__ static void put_f32(uint8_t *p, float x) {
    const uint32_t word = __float_as_uint(x);
    store_bytes(p, 4, &word);
}

/* What a block looks things up in, in shared memory. */
typedef struct tables {
    float *signs;   /* [dim] */
    float *weights; /* [2^(bits-1)] */
    uint2 *cells;   /* [n_cells] */
} tables;

/* Codes in place of values, and what the rule sums up. A magnitude's cell has one boundary at most. */
template <bool UNBIASED, class V>
__device__ static float quantize_v2(const tq_cuda_plan &p, const tables &t, V &v, float scale) {
    const float per_unit = __uint_as_float(p.cells_per_unit); /* m times it, rounded, is a cell as bits */
    const uint32_t sign = 1u << (p.bits - 1);
    float sum[V::WIDTH] = {};
#pragma unroll
    for (int i = 0; i < v.n() * V::WIDTH; i++) {
        const float u = __fmul_rn(v[i], scale), m = fabsf(u);
        const uint2 cell = t.cells[__float_as_uint(__fmul_rn(m, per_unit))];
        /* Positive numbers are ordered as their bits are: one more above the boundary. */
        const uint32_t rank = cell.y + ((cell.x - __float_as_uint(m)) >> 31);
        const float weight = t.weights[rank];
        sum[i % V::WIDTH] = __fadd_rn(sum[i % V::WIDTH], UNBIASED ? __fmul_rn(m, weight) : weight);
        v[i] = __uint_as_float(rank | (__float_as_uint(u) >> (32 - p.bits) & sign));
    }
    return fold<V>(sum);
}

/* Those of vectors first to end. */
template <class V> __device__ static float squares_of(V &v, int first, int end) {
    float sum[V::WIDTH] = {};
#pragma unroll
    for (int k = 0; k < v.n(); k++)
        if (k >= first && k < end)
#pragma unroll
            for (int c = 0; c < V::WIDTH; c++) {
                const float x = v[k * V::WIDTH + c];
                sum[c] = __fadd_rn(sum[c], __fmul_rn(x, x));
            }
    return fold<V>(sum);
}

/* Codes in place of values; returns the norm, a float16, or NO_NORM: it cannot be stored. */
enum { NO_NORM = 0xffff };
template <class V>
__device__ static uint16_t encode_v2(const tq_cuda_plan &p, const tables &t, V &v, float squares) {
    const bool zero = squares < FLT_MIN;
    const float norm = __fsqrt_rn(squares), scale = zero ? 0.0f : __fdiv_rn(p.unit, norm);
    const float sum = p.norm_rule == TQ_NORM_UNBIASED ? quantize_v2<true>(p, t, v, scale)
                                                      : quantize_v2<false>(p, t, v, scale);
    const float stored = zero ? 0.0f : stored_norm(p, norm, sum);
    const uint16_t half = __half_as_ushort(__float2half_rn(stored));
    if (__any_sync(WHOLE_WARP, half == 0)) /* what is stored as zero has no codes */
        if (half == 0) clear(v);
    return stored <= TQ_MAX_NORM ? half : (uint16_t)NO_NORM;
}

/* v1: boundaries below a value of either sign, those above zero and their mirror images. */
__device__ static uint32_t rank_v1(const tq_cuda_plan &p, const tables &t, float x, float scale) {
    const uint32_t half = 1u << (p.bits - 1);
    const float u = __fmul_rn(__fmul_rn(x, scale), p.unit), m = fminf(fabsf(u), (float)TQ_CUDA_V1_MOST);
    const uint2 cell = t.cells[__float_as_uint(__fmul_rn(m, __uint_as_float(p.cells_per_unit)))];
    if (u > 0.0f) return half + cell.y + ((cell.x - __float_as_uint(m)) >> 31);
    return half - 1 - cell.y - ((cell.x - __float_as_uint(m) - 1) >> 31); /* and those at it */
}

/* v1: one norm, or one of each half. */
template <class V>
__device__ static void encode_v1(const tq_cuda_plan &p, const tables &t, V &v, uint8_t *codes,
                                 uint8_t *norms, bool live) {
    const int per = v.n() / (int)p.n_norms;
    for (int i = 0; i < (int)p.n_norms; i++) {
        const float squares = squares_of(v, i * per, i * per + per);
        const float norm = __fsqrt_rn(p.n_norms == 2 ? __fmul_rn(squares, 1.0f / 256.0f) : squares);
        const float scale = norm <= 1e-10f ? 0.0f : __fdiv_rn(1.0f, norm);
#pragma unroll
        for (int j = 0; j < v.n() * V::WIDTH; j++)
            if (j / V::WIDTH / per == i) v[j] = __uint_as_float(rank_v1(p, t, v[j], scale));
        if (live && place<V>() == 0) put_f32(norms + 4 * i, norm);
    }
    store_codes(p, v, codes, live);
}

/* Asynchronously, in pieces of 16 bytes: tables have room for the last one. */
__device__ static void bring(void *to, const void *from, uint32_t bytes) {
    for (uint32_t i = threadIdx.x * 16; i < bytes; i += blockDim.x * 16)
        __pipeline_memcpy_async((char *)to + i, (const char *)from + i, 16);
}

__device__ static void bring_tables(const tq_cuda_plan &p, const tables &t) {
    bring(t.cells, p.cells, p.n_cells * sizeof *t.cells);
    bring(t.weights, p.weights, sizeof(float) << (p.bits - 1));
    fill_signs(p, t.signs, false);
}

/* Until all of the block's threads have brought theirs. */
__device__ static void wait_for_tables(void) {
    __pipeline_commit();
    __pipeline_wait_prior(0);
    __syncthreads();
}

template <class V, bool MAY_BE_V1>
__device__ static void encode_vector(const tq_cuda_encode_args &a, const tq_cuda_encode_side &s,
                                     const tables &t, V v, walk &w, bool first) {
    const tq_cuda_plan &p = s.plan;
    const bool exists = w.outer < a.tokens;
    const uint32_t token = exists ? w.outer : 0, head = exists ? w.inner : 0;
    const uint64_t position = position_of(a, token);
    uint64_t slot;
    bool missing;
    bool live = find_slot(a, token, &slot, &missing) && exists;
    const uint16_t *const centre = centre_of<V>(a, s, position, head);
    load_vector(v, s.src.data, s.src.type, start_of(s, token, head)); /* which is there, live or not */
    if (missing && exists) tell<V>(s, w, 0);
    if (first) wait_for_tables(); /* while the vector is on its way too */
    subtract(v, centre);
    forget(w.outer), forget(w.inner);
    rotate_in(p, v, t.signs);
    const float squares = squares_of(v, 0, v.n());
    const bool suspicious = !(squares <= SUSPICIOUS);
    if (__any_sync(WHOLE_WARP,
                   suspicious)) { /* what is not finite or too large shows there; look for it */
        const bool there = w.outer < a.tokens;
        const uint32_t bad =
            find_bad<V::SHARE>(s.src, p.dim, start_of(s, there ? w.outer : 0, there ? w.inner : 0));
        if (suspicious && (bad < p.dim || !p.v1)) {
            if (live) tell<V>(s, w, bad < p.dim ? bad : 0);
            live = false;
            clear(v);
        }
    }
    if (MAY_BE_V1 && p.v1) {
        const paged_row at = find_page(slot, a.page_rows);
        encode_v1(p, t, v, row_at(s.codes, at, w.inner), row_at(s.norms, at, w.inner), live);
        return;
    }
    const uint16_t norm = encode_v2(p, t, v, live ? squares : 0.0f);
    if (live && norm == NO_NORM) tell<V>(s, w, 0);
    live = live && norm != NO_NORM;
    const paged_row at = find_page(slot, a.page_rows);
    store_codes(p, v, row_at(s.codes, at, w.inner), live);
    if (live && place<V>() == 0) put_u16(row_at(s.norms, at, w.inner), norm);
}

/* What v1 takes is left out where nobody wants it: instructions of a kernel that runs for a few
 * microseconds come from memory while it runs. */
template <class V, bool MAY_BE_V1>
__global__ void __launch_bounds__(THREADS, resident<V>())
    encode(const __grid_constant__ tq_cuda_encode_args a) {
    extern __shared__ float4 shared[]; /* signs, weights, cells, and what vectors lie there */
    const tq_cuda_encode_side &s = a.side[blockIdx.y];
    tables t;
    t.signs = (float *)shared;
    t.weights = t.signs + (V::VECTORS == 0 ? s.plan.dim : V::VECTORS * TQ_LANES);
    t.cells = (uint2 *)(t.weights + TQ_CUDA_WEIGHTS);
    bring_tables(s.plan, t);
    V v = make_coords<V>((float *)(t.cells + s.plan.n_cells), s.plan.dim);
    const uint32_t heads = (uint32_t)a.heads;
    bool first = true;
    walk w = walk_begin<V>(heads);
    do {
        encode_vector<V, MAY_BE_V1>(a, s, t, v, w, first);
        walk_on(w, a.step, heads);
        first = false;
    } while (walk_more(w, a.tokens));
}

/* What a multiprocessor encodes at once with a lane a thread: no more than a few of its warps' work. */
enum { FEW_VECTORS = 16 };

static size_t table_bytes(const tq_cuda_plan *p) {
    return (p->dim + TQ_CUDA_WEIGHTS) * sizeof(float) + p->n_cells * sizeof(tq_cuda_cell);
}

template <class V>
static cudaError_t launch_encode(const tq_cuda_encode_args *a, unsigned sides, unsigned threads,
                                 cudaStream_t stream) {
    const tq_cuda_plan *p = &a->side[0].plan;
    size_t bytes = table_bytes(p);
    if (sides == 2 && table_bytes(&a->side[1].plan) > bytes) bytes = table_bytes(&a->side[1].plan);
    if (V::VECTORS == 0) bytes += threads / V::SHARE * p->dim * sizeof(float);
    const unsigned most = a->multiprocessors * resident<V>() / sides;
    const dim3 grid(blocks_of<V>(a->tokens * a->heads, threads, most), sides);
    tq_cuda_encode_args b = *a;
    b.step = step_of<V>(grid.x, threads, a->heads);
    if constexpr (V::VECTORS * TQ_LANES == 256 || V::VECTORS * TQ_LANES == 512)
        if (p->v1 || (sides == 2 && a->side[1].plan.v1))
            return launch_kernel(encode<V, true>, grid, threads, bytes, stream, b);
    return launch_kernel(encode<V, false>, grid, threads, bytes, stream, b);
}

/* A warp with many vectors takes its time: where there are few of them, it has two. */
template <int N, int C>
static cudaError_t launch_by_number(const tq_cuda_encode_args *a, unsigned sides, cudaStream_t stream) {
    if (a->tokens * a->heads * sides <= FEW_VECTORS * a->multiprocessors)
        return launch_encode<coords<N, 1>>(a, sides, THREADS, stream);
    return launch_encode<coords<N, C>>(a, sides, THREADS, stream);
}

extern "C" int tq_cuda_launch_encode(const tq_cuda_encode_args *a, unsigned sides, void *stream) {
    const cudaStream_t s = (cudaStream_t)stream;
    switch (a->side[0].plan.dim) {
#define X(D, C)                                                                                          \
    case D:                                                                                              \
        return (int)launch_by_number<D / TQ_LANES, C>(a, sides, s);
        TQ_CUDA_DIMS(X)
#undef X
    default:
        return (int)launch_encode<coords<0, 1>>(a, sides, FEW_THREADS, s);
    }
}

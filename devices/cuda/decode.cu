/* SPDX-License-Identifier: MIT
 * Codes and norms to vectors; rotations; nearest centroids. */
#include "planes.cuh"

enum { MOST_LEVELS = 256, CACHE_LINE = 128 };

/* Whether a vector of so many coordinates may be v1's, with a norm or two in float32. */
template <class V> constexpr bool may_be_v1 = V::VECTORS *TQ_LANES == 256 || V::VECTORS *TQ_LANES == 512;

/* A norm's bits, and what they multiply a block's centroids by. */
template <class V> __device__ static uint32_t load_norm(const tq_cuda_plan &p, const uint8_t *norms) {
    uint32_t word;
    if (may_be_v1<V> && p.v1)
        load_bytes(norms, 4, &word);
    else
        load_bytes(norms, 2, &word);
    return word;
}
template <class V> __device__ static float scale_of(const tq_cuda_plan &p, uint32_t word) {
    const float norm = may_be_v1<V> && p.v1 ? __uint_as_float(word) : load_half((uint16_t)word);
    return may_be_v1<V> && p.n_norms == 2 ? __fdiv_rn(norm, p.unit) : __fmul_rn(norm, p.norm_scale);
}

/* What a block looks things up in, in shared memory, and a warp's place for vectors. */
typedef struct tables {
    float *signs;  /* [dim] */
    float *levels; /* [256], by code */
    float *warp;
} tables;

/* In the rotated domain the vector waits while the centre is rotated in its place. */
template <class V>
__device__ static void add_centre(const tq_cuda_decode_args &a, const tables &t, V &v, uint32_t head,
                                  uint32_t row) {
    constexpr int W = V::WIDTH;
    const uint64_t number = a.stretch == 0 ? 0 : (a.centre_first + row) / a.stretch;
    const uint16_t *from = a.centre + (number * a.heads + head) * a.plan.dim + first_lane<V>();
    float *parked = t.warp + threadIdx.x % WARP;
    __syncwarp(); /* all have read what was there */
#pragma unroll
    for (int i = 0; i < v.n() * W; i++) {
        const float c = load_half(from[i / W * TQ_LANES + i % W]);
        if (!a.original) parked[i * WARP] = v[i];
        v[i] = a.original ? __fadd_rn(v[i], c) : c;
    }
    if (a.original) return;
    rotate_in(a.plan, v, t.signs);
#pragma unroll
    for (int i = 0; i < v.n() * W; i++)
        v[i] = __fadd_rn(parked[i * WARP], v[i]);
}

/* A warp's next vectors are brought as far as the L2 cache while it works, where a thread has so many
 * coordinates that few warps run, which do not hide each other's waiting. Where more do, it only costs.
 */
template <class V> __device__ constexpr bool prefetches() {
    return V::VECTORS * V::WIDTH > 32;
}

template <class V> __device__ static void prefetch(const uint8_t *from, uint32_t bytes) {
    for (uint32_t at = place<V>() * CACHE_LINE; at < bytes; at += V::SHARE * CACHE_LINE)
        asm volatile("prefetch.global.L2 [%0];" ::"l"(from + at));
}

template <class V> __device__ static void prefetch_vector(const tq_cuda_decode_args &a, const walk &w) {
    const uint32_t bits = a.plan.packing == TQ_PACK_BYTES ? 8 : a.plan.bits;
    prefetch<V>(a.codes + w.outer * a.code_head + w.inner * a.code_row, a.plan.dim / 8 * bits);
    prefetch<V>(a.norms + w.outer * a.norm_head + w.inner * a.norm_row, 1);
}

template <class V, bool CENTRED>
__device__ static void decode_vector(const tq_cuda_decode_args &a, const tables &t, V v, walk &w) {
    constexpr int W = V::WIDTH;
    const tq_cuda_plan &p = a.plan;
    const bool live = w.outer < a.heads;
    const uint32_t head = live ? w.outer : 0, row = live ? w.inner : 0;
    const uint8_t *norms = a.norms + head * a.norm_head + row * a.norm_row;
    const bool two = V::VECTORS * TQ_LANES == 512 && p.n_norms == 2; /* v1: the other half has its own */
    const uint32_t norm = load_norm<V>(p, norms);                    /* on its way while codes are */
    const uint32_t other = two ? load_norm<V>(p, norms + 4) : norm;
    load_codes(p, v, a.codes + head * a.code_head + row * a.code_row);
    const float scale = scale_of<V>(p, norm), second = two ? scale_of<V>(p, other) : scale;
    forget(w.outer), forget(w.inner);
#pragma unroll
    for (int i = 0; i < v.n() * W; i++) {
        const float level = *(const float *)((const char *)t.levels + code_of(v, i));
        v[i] = __fmul_rn(level, V::VECTORS == 0 || i / W < V::VECTORS / 2 ? scale : second);
    }
    if (a.original) rotate_out<true>(p, v, t.signs); /* float16 times a level, halved: exact */
    if (CENTRED) add_centre(a, t, v, live ? w.outer : 0, live ? w.inner : 0);
    store_vectors(v, t.warp, a.dst, a.type, w.outer * a.dst_head + w.inner * a.dst_row, a.dst_row, live);
}

/* Floats of a warp's place: for what is stored, or for vectors that wait for their centres. */
template <class V> __host__ __device__ static unsigned place_of(const tq_cuda_decode_args &a) {
    if (V::VECTORS > 0) return staged_floats<V>;
    return a.centre == NULL ? 0 : WARP / V::SHARE * a.plan.dim;
}

/* Decoding takes fewer registers. */
template <class V> constexpr unsigned resident_decode() {
    return resident<V>() + (V::VECTORS * V::WIDTH <= 32 ? 1 : 0);
}

template <class V, bool CENTRED>
__global__ void __launch_bounds__(THREADS, resident_decode<V>())
    decode(const __grid_constant__ tq_cuda_decode_args a) {
    extern __shared__ float4 shared[];
    tables t;
    t.signs = (float *)shared;
    t.levels = t.signs + (V::VECTORS == 0 ? a.plan.dim : V::VECTORS * TQ_LANES);
    t.warp = t.levels + MOST_LEVELS + threadIdx.x / WARP * place_of<V>(a);
    for (unsigned i = threadIdx.x; i < 1u << a.plan.bits; i += blockDim.x)
        t.levels[i] = a.plan.levels[i];
    fill_signs(a.plan, t.signs, a.original != 0);
    __syncthreads();
    V v = make_coords<V>(t.levels + MOST_LEVELS + blockDim.x / WARP * place_of<V>(a), a.plan.dim);
    const uint32_t rows = (uint32_t)a.rows;
    walk w = walk_begin<V>(rows);
    while (walk_more(w, a.heads)) {
        if constexpr (prefetches<V>()) {
            walk next = w;
            walk_on(next, a.step, rows);
            if (next.outer < a.heads) prefetch_vector<V>(a, next);
        }
        decode_vector<V, CENTRED>(a, t, v, w);
        walk_on(w, a.step, rows);
    }
}

template <class V>
static cudaError_t launch_decode(const tq_cuda_decode_args *a, unsigned threads, cudaStream_t stream) {
    size_t floats = a->plan.dim + MOST_LEVELS + threads / WARP * place_of<V>(*a);
    if (V::VECTORS == 0) floats += threads / V::SHARE * a->plan.dim;
    const unsigned grid =
        blocks_of<V>(a->rows * a->heads, threads, a->multiprocessors * resident_decode<V>());
    tq_cuda_decode_args b = *a;
    b.step = step_of<V>(grid, threads, a->rows);
    return launch_kernel(a->centre != NULL ? decode<V, true> : decode<V, false>, grid, threads,
                         floats * sizeof(float), stream, b);
}

extern "C" int tq_cuda_launch_decode(const tq_cuda_decode_args *a, void *stream) {
    switch (a->plan.dim) {
#define X(D, C)                                                                                          \
    case D:                                                                                              \
        return (int)launch_decode<coords<D / TQ_LANES, C>>(a, THREADS, (cudaStream_t)stream);
        TQ_CUDA_DIMS(X)
#undef X
    default:
        return (int)launch_decode<coords<0, 1>>(a, FEW_THREADS, (cudaStream_t)stream);
    }
}

template <class V>
__global__ void __launch_bounds__(THREADS, resident<V>())
    rotate(const __grid_constant__ tq_cuda_rotate_args a) {
    extern __shared__ float4 shared[]; /* signs, and what vectors lie there */
    const tq_cuda_plan &p = a.plan;
    float *signs = (float *)shared;
    fill_signs(p, signs, a.out != 0);
    __syncthreads();
    V v = make_coords<V>(signs + p.dim, p.dim);
    for (walk w = walk_begin<V>(1); walk_more(w, a.rows); walk_on(w, a.step, 1)) {
        const bool live = w.outer < a.rows;
        const uint64_t at = (uint64_t)w.outer * p.dim;
        if (live) load_vector(v, a.src, TQ_F32, at); /* others may be writing where it is */
        if (a.out)
            rotate_out<false>(p, v, signs);
        else
            rotate_in(p, v, signs);
        if (live) store_as<float>(v, a.dst, at);
    }
}

template <class V>
static cudaError_t launch_rotate(const tq_cuda_rotate_args *a, unsigned threads, cudaStream_t stream) {
    const unsigned grid = blocks_of<V>(a->rows, threads, a->multiprocessors * resident<V>());
    const unsigned vectors = V::VECTORS == 0 ? threads / V::SHARE : 0;
    tq_cuda_rotate_args b = *a;
    b.step = step_of<V>(grid, threads, 1);
    return launch_kernel(rotate<V>, grid, threads, (1 + vectors) * a->plan.dim * sizeof(float), stream,
                         b);
}

extern "C" int tq_cuda_launch_rotate(const tq_cuda_rotate_args *a, void *stream) {
    switch (a->plan.dim) {
#define X(D, C)                                                                                          \
    case D:                                                                                              \
        return (int)launch_rotate<coords<D / TQ_LANES, C>>(a, THREADS, (cudaStream_t)stream);
        TQ_CUDA_DIMS(X)
#undef X
    default:
        return (int)launch_rotate<coords<0, 1>>(a, FEW_THREADS, (cudaStream_t)stream);
    }
}

/* A codebook: the boundaries as a search tree, of up to 4 bits in registers, and centroids by code. */
typedef struct book {
    float few[8];
    const float *tree, *levels;
} book;

__device__ inline book book_of(const tq_cuda_plan &p, const float *tree, const float *levels) {
    book b;
#pragma unroll
    for (int i = 0; i < 8; i++)
        b.few[i] = p.few[i];
    b.tree = tree;
    b.levels = levels;
    return b;
}

/* Positive boundaries below m, or up to it. */
template <unsigned B> __device__ inline unsigned count_below(const book &book, float m, bool or_equal) {
    const float *tree = book.tree;
    unsigned node = 1;
    if constexpr (B <= 4) {
        const float *t = book.few;
#define TQ_BELOW(b) ((or_equal ? (b) <= m : (b) < m) ? 1u : 0u)
        const unsigned top = TQ_BELOW(t[1]);
        if constexpr (B == 2) return top;
        const unsigned second = TQ_BELOW(top ? t[3] : t[2]);
        if constexpr (B == 3) return 2 * top + second;
        const float low = second ? t[5] : t[4], high = second ? t[7] : t[6];
        return 4 * top + 2 * second + TQ_BELOW(top ? high : low);
    } else {
#pragma unroll
        for (unsigned i = 1; i < B; i++)
            node = 2 * node + TQ_BELOW(tree[node]);
#undef TQ_BELOW
        return node - (1u << (B - 1));
    }
}

template <unsigned B> __device__ inline unsigned nearest(const book &book, bool ranked, float u) {
    const unsigned half = 1u << (B - 1);
    const float m = fabsf(u);
    if (ranked && !(u > 0.0f)) return half - 1 - count_below<B>(book, m, true);
    const unsigned magnitude = count_below<B>(book, m, false);
    return ranked || signbit(u) ? half + magnitude : magnitude;
}

/* RUN(bits) with a constant. */
#define TQ_CUDA_BITS(bits, RUN)                                                                          \
    switch (bits) {                                                                                      \
    case 2:                                                                                              \
        RUN(2);                                                                                          \
        break;                                                                                           \
    case 3:                                                                                              \
        RUN(3);                                                                                          \
        break;                                                                                           \
    case 4:                                                                                              \
        RUN(4);                                                                                          \
        break;                                                                                           \
    case 5:                                                                                              \
        RUN(5);                                                                                          \
        break;                                                                                           \
    case 6:                                                                                              \
        RUN(6);                                                                                          \
        break;                                                                                           \
    case 7:                                                                                              \
        RUN(7);                                                                                          \
        break;                                                                                           \
    default:                                                                                             \
        RUN(8);                                                                                          \
        break;                                                                                           \
    }

__global__ void __launch_bounds__(THREADS) requantize(const __grid_constant__ tq_cuda_requantize_args a) {
    const uint64_t i = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x;
    const bool ranked = a.plan.ranked != 0;
    const book b = book_of(a.plan, a.plan.tree, a.plan.levels);
    if (i >= a.n) return;
    const float x = a.src[i];
    unsigned code = 0;
#define NEAREST(bits) code = nearest<bits>(b, ranked, x)
    TQ_CUDA_BITS(a.plan.bits, NEAREST)
#undef NEAREST
    a.dst[i] = isnan(x) ? x : a.plan.levels[code];
}

extern "C" int tq_cuda_launch_requantize(const tq_cuda_requantize_args *a, void *stream) {
    const unsigned grid = (unsigned)((a->n + THREADS - 1) / THREADS);
    return (int)launch_kernel(requantize, grid, THREADS, 0, (cudaStream_t)stream, *a);
}

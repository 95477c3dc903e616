/* SPDX-License-Identifier: MIT
 * Codes and norms to vectors; rotations; nearest centroids. */
#include "planes.cuh"

__device__ static uint16_t get_u16(const uint8_t *p) {
    return (uint16_t)(p[0] | p[1] << 8);
}

__device__ static float get_f32(const uint8_t *p) {
    return __uint_as_float(p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24);
}

/* What a block's centroids are multiplied by. */
__device__ static float scale_of(const tq_cuda_plan &p, const uint8_t *norms, int block) {
    const float norm = p.v1 ? get_f32(norms + 4 * block) : load_half(get_u16(norms));
    return p.n_norms == 2 ? __fdiv_rn(norm, p.unit) : __fmul_rn(norm, p.norm_scale);
}

template <class V>
__device__ static void add_centre(const tq_cuda_decode_args &a, V &v, V &centre, uint64_t head,
                                  uint64_t row) {
    const uint64_t number = a.stretch == 0 ? 0 : (a.centre_first + row) / a.stretch;
    const uint16_t *from = a.centre + (number * a.heads + head) * a.plan.dim + lane();
#pragma unroll
    for (int k = 0; k < v.n(); k++)
        centre[k] = load_half(from[k * TQ_LANES]);
    if (!a.original) rotate_in(a.plan, centre, flips_of(a.plan, centre));
#pragma unroll
    for (int k = 0; k < v.n(); k++)
        v[k] = __fadd_rn(v[k], centre[k]);
}

template <class V>
__device__ static void decode_vector(const tq_cuda_decode_args &a, const float *levels, V &v, V &centre,
                                     uint64_t flips, uint32_t head, uint32_t row) {
    const tq_cuda_plan &p = a.plan;
    const uint8_t *norms = a.norms + head * a.norm_head + row * a.norm_row;
    const float scales[2] = {scale_of(p, norms, 0), p.n_norms == 2 ? scale_of(p, norms, 1) : 0.0f};
    const int per = v.n() / (int)p.n_norms;
    load_codes(p, v, a.codes + head * a.code_head + row * a.code_row);
#pragma unroll
    for (int k = 0; k < v.n(); k++)
        v[k] = __fmul_rn(levels[code_of(v, k)], k < per ? scales[0] : scales[1]);
    if (a.original) rotate_out(p, v, flips);
    if (a.centre != NULL) add_centre(a, v, centre, head, row);
    store_vector(v, a.dst, a.type, head * a.dst_head + row * a.dst_row);
}

template <int N>
__global__ void __launch_bounds__(THREADS, N == 0 || N > 16 ? 1 : 12)
    decode(const __grid_constant__ tq_cuda_decode_args a) {
    extern __shared__ float shared[]; /* of N = 0: vectors, then centres */
    __shared__ float levels[256];
    const int n = (int)a.plan.dim / TQ_LANES;
    for (unsigned i = threadIdx.x; i < 1u << a.plan.bits; i += blockDim.x)
        levels[i] = a.plan.levels[i];
    __syncthreads();
    coords<N> v = make_coords<N>(shared, n);
    coords<N> centre = make_coords<N>(shared + blockDim.x / TQ_LANES * a.plan.dim, n);
    const uint64_t flips = a.original ? flips_of(a.plan, v) : 0;
    for (walk w = walk_begin((uint32_t)a.rows); w.outer < a.heads; walk_on(w, (uint32_t)a.rows))
        decode_vector(a, levels, v, centre, flips, w.outer, w.inner);
}

extern "C" int tq_cuda_launch_decode(const tq_cuda_decode_args *a, void *stream) {
    const uint64_t vectors = a->rows * a->heads;
    const unsigned dim = a->plan.dim;
    const cudaStream_t s = (cudaStream_t)stream;
    switch (dim) {
#define X(D)                                                                                             \
    case D:                                                                                              \
        decode<D / TQ_LANES><<<blocks_of(vectors, THREADS), THREADS, 0, s>>>(*a);                        \
        break;
        TQ_CUDA_DIMS(X)
#undef X
    default:
        decode<0><<<blocks_of(vectors, FEW_THREADS), FEW_THREADS,
                    2 * (FEW_THREADS / TQ_LANES) * dim * sizeof(float), s>>>(*a);
    }
    return (int)cudaGetLastError();
}

template <int N>
__global__ void __launch_bounds__(THREADS) rotate(const __grid_constant__ tq_cuda_rotate_args a) {
    extern __shared__ float shared[];
    const tq_cuda_plan &p = a.plan;
    coords<N> v = make_coords<N>(shared, (int)p.dim / TQ_LANES);
    const uint64_t flips = flips_of(p, v);
    for (walk w = walk_begin(1); w.outer < a.rows; walk_on(w, 1)) {
        const uint64_t at = (uint64_t)w.outer * p.dim;
        load_vector(v, a.src, TQ_F32, at);
        if (a.out)
            rotate_out(p, v, flips);
        else
            rotate_in(p, v, flips);
        store_vector(v, a.dst, TQ_F32, at);
    }
}

extern "C" int tq_cuda_launch_rotate(const tq_cuda_rotate_args *a, void *stream) {
    const unsigned dim = a->plan.dim;
    const cudaStream_t s = (cudaStream_t)stream;
    switch (dim) {
#define X(D)                                                                                             \
    case D:                                                                                              \
        rotate<D / TQ_LANES><<<blocks_of(a->rows, THREADS), THREADS, 0, s>>>(*a);                        \
        break;
        TQ_CUDA_DIMS(X)
#undef X
    default:
        rotate<0><<<blocks_of(a->rows, FEW_THREADS), FEW_THREADS,
                    FEW_THREADS / TQ_LANES * dim * sizeof(float), s>>>(*a);
    }
    return (int)cudaGetLastError();
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
    requantize<<<grid, THREADS, 0, (cudaStream_t)stream>>>(*a);
    return (int)cudaGetLastError();
}

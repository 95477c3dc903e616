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
        centre[k] = load_half(from[k * LANES]);
    if (!a.original) rotate_in(a.plan, centre);
#pragma unroll
    for (int k = 0; k < v.n(); k++)
        v[k] = __fadd_rn(v[k], centre[k]);
}

template <int N> __global__ void __launch_bounds__(THREADS) decode(const tq_cuda_decode_args a) {
    extern __shared__ float shared[]; /* of N = 0: vectors, then centres */
    __shared__ float levels[256];
    const tq_cuda_plan &p = a.plan;
    for (unsigned i = threadIdx.x; i < 1u << p.bits; i += blockDim.x)
        levels[i] = p.levels[i];
    __syncthreads();
    const uint64_t index = vector_index(), head = index / a.rows, row = index % a.rows;
    if (head >= a.heads) return;
    const uint8_t *codes = a.codes + head * a.code_head + row * a.code_row;
    const uint8_t *norms = a.norms + head * a.norm_head + row * a.norm_row;
    const int n = (int)p.dim / LANES, per = n / (int)p.n_norms;
    coords<N> v = make_coords<N>(shared, n);
    const float scales[2] = {scale_of(p, norms, 0), p.n_norms == 2 ? scale_of(p, norms, 1) : 0.0f};
    load_codes(p, v, codes); /* v1's blocks are rows of their own, of which its packings know nothing */
#pragma unroll
    for (int k = 0; k < v.n(); k++)
        v[k] = __fmul_rn(levels[code_of(v, k)], k < per ? scales[0] : scales[1]);
    if (a.original) rotate_out(p, v);
    if (a.centre != NULL) {
        coords<N> centre = make_coords<N>(shared + blockDim.x / LANES * p.dim, n);
        add_centre(a, v, centre, head, row);
    }
    const uint64_t to = head * a.dst_head + row * a.dst_row;
#pragma unroll
    for (int k = 0; k < v.n(); k++)
        store(a.dst, a.type, to + (uint64_t)(k * LANES + lane()), v[k]);
}

static unsigned grid_of(uint64_t vectors, unsigned threads) {
    const uint64_t per = threads / LANES;
    return (unsigned)((vectors + per - 1) / per);
}

extern "C" int tq_cuda_launch_decode(const tq_cuda_decode_args *a, void *stream) {
    const uint64_t vectors = a->rows * a->heads;
    const unsigned dim = a->plan.dim;
    const cudaStream_t s = (cudaStream_t)stream;
    switch (dim) {
#define X(D)                                                                                             \
    case D:                                                                                              \
        decode<D / LANES><<<grid_of(vectors, THREADS), THREADS, 0, s>>>(*a);                             \
        break;
        TQ_CUDA_DIMS(X)
#undef X
    default:
        decode<0><<<grid_of(vectors, FEW_THREADS), FEW_THREADS,
                    2 * (FEW_THREADS / LANES) * dim * sizeof(float), s>>>(*a);
    }
    return (int)cudaGetLastError();
}

template <int N> __global__ void __launch_bounds__(THREADS) rotate(const tq_cuda_rotate_args a) {
    extern __shared__ float shared[];
    const tq_cuda_plan &p = a.plan;
    const uint64_t row = vector_index();
    if (row >= a.rows) return;
    coords<N> v = make_coords<N>(shared, (int)p.dim / LANES);
    const uint64_t at = row * p.dim + (uint64_t)lane();
#pragma unroll
    for (int k = 0; k < v.n(); k++)
        v[k] = a.src[at + (uint64_t)(k * LANES)];
    if (a.out)
        rotate_out(p, v);
    else
        rotate_in(p, v);
#pragma unroll
    for (int k = 0; k < v.n(); k++)
        a.dst[at + (uint64_t)(k * LANES)] = v[k];
}

extern "C" int tq_cuda_launch_rotate(const tq_cuda_rotate_args *a, void *stream) {
    const unsigned dim = a->plan.dim;
    const cudaStream_t s = (cudaStream_t)stream;
    switch (dim) {
#define X(D)                                                                                             \
    case D:                                                                                              \
        rotate<D / LANES><<<grid_of(a->rows, THREADS), THREADS, 0, s>>>(*a);                             \
        break;
        TQ_CUDA_DIMS(X)
#undef X
    default:
        rotate<0><<<grid_of(a->rows, FEW_THREADS), FEW_THREADS, FEW_THREADS / LANES * dim * sizeof(float),
                    s>>>(*a);
    }
    return (int)cudaGetLastError();
}

__global__ void __launch_bounds__(THREADS) requantize(const tq_cuda_requantize_args a) {
    const uint64_t i = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= a.n) return;
    const float x = a.src[i];
    a.dst[i] = isnan(x) ? x : a.plan.levels[nearest(a.plan.tree, a.plan.bits, a.plan.ranked != 0, x)];
}

extern "C" int tq_cuda_launch_requantize(const tq_cuda_requantize_args *a, void *stream) {
    const unsigned grid = (unsigned)((a->n + THREADS - 1) / THREADS);
    requantize<<<grid, THREADS, 0, (cudaStream_t)stream>>>(*a);
    return (int)cudaGetLastError();
}

/* SPDX-License-Identifier: MIT
 * A vector held by sixteen threads, lane l its coordinates l, 16 + l, 32 + l ..: the sums and planes of
 * docs/format.md are then a lane's own business, and only the first four stages of a rotation cross
 * lanes. Compiled without fused multiply-adds: every operation is rounded as the CPU rounds it. */
#ifndef TQ_CUDA_VECTOR_CUH
#define TQ_CUDA_VECTOR_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <float.h>

#include "launch.h"

enum { LANES = 16, MAX_DIM = 1024, MAX_VECTORS = MAX_DIM / LANES };
enum { F32, F16, BF16 };                      /* tq_type */
enum { PACK_BYTES, PACK_PAIRS, PACK_PLANES }; /* tq_packing */
enum { RULE_PLAIN = 1, RULE_MATCHED, RULE_UNBIASED };

#define MAX_ABS  144115188075855872.0f
#define MAX_NORM 65504.0f

/* The other lanes of a vector, all of which are at the same place. */
__device__ inline unsigned half_warp() {
    return 0xffffu << (threadIdx.x & 16);
}
__device__ inline int lane() {
    return threadIdx.x & (LANES - 1);
}

/* N coordinates a lane in registers, or, N = 0, any number in shared memory. */
template <int N> struct coords {
    float x[N];
    __device__ constexpr int n() const {
        return N;
    }
    __device__ float &operator[](int k) {
        return x[k];
    }
};
template <> struct coords<0> {
    float *x; /* this lane's first */
    int count;
    __device__ int n() const {
        return count;
    }
    __device__ float &operator[](int k) {
        return x[k * LANES];
    }
};

__device__ inline float flipped(const tq_cuda_plan &p, int k, float scale) {
    const int j = k * LANES + lane();
    return p.signs[j >> 3] >> (j & 7) & 1 ? -scale : scale;
}

/* Stages between lanes: neighbours, with a tilt, then lanes 2, 4 and 8 apart. */
template <class V> __device__ inline void lane_stages(V &v, float tilt) {
    const unsigned all = half_warp();
    const int l = lane();
#pragma unroll
    for (int k = 0; k < v.n(); k++) {
        float x = v[k], o = __shfl_xor_sync(all, x, 1);
        x = l & 1 ? __fsub_rn(__fmul_rn(tilt, o), x) : __fadd_rn(x, __fmul_rn(tilt, o));
#pragma unroll
        for (int h = 2; h < LANES; h *= 2) {
            o = __shfl_xor_sync(all, x, h);
            x = l & h ? __fsub_rn(o, x) : __fadd_rn(x, o);
        }
        v[k] = x;
    }
}

/* Butterflies between a lane's own coordinates, h vectors apart. */
template <class V> __device__ inline void hadamard_stages(V &v, int pow2) {
#pragma unroll
    for (int h = 1; h < MAX_VECTORS; h *= 2)
        if (h < pow2) {
#pragma unroll
            for (int k = 0; k < v.n(); k++)
                if (!(k & h)) {
                    const float a = v[k], b = v[k + h];
                    v[k] = __fadd_rn(a, b);
                    v[k + h] = __fsub_rn(a, b);
                }
        }
}

/* P values h vectors apart: y_r = x_0 + sum over s of cas(r s mod P) x_s, s ascending. */
template <int P, int H, int N> __device__ inline void hartley(coords<N> &v, const float *cas) {
#pragma unroll
    for (int base = 0; base < N; base += P * H)
#pragma unroll
        for (int j = base; j < base + H; j++) {
            float in[P];
#pragma unroll
            for (int s = 0; s < P; s++)
                in[s] = v[j + s * H];
#pragma unroll
            for (int r = 0; r < P; r++) {
                float sum = in[0];
#pragma unroll
                for (int s = 1; s < P; s++)
                    sum = __fadd_rn(sum, __fmul_rn(cas[r * s % P], in[s]));
                v[j + r * H] = sum;
            }
        }
}

__host__ __device__ constexpr int pow2_of(int n) {
    return n & -n;
}

template <int N> __device__ inline void odd_stages(const tq_cuda_plan &p, coords<N> &v) {
    constexpr int H = pow2_of(N), REST = N / H;
    static_assert(REST == 1 || REST == 3 || REST == 5 || REST == 7 || REST == 9,
                  "other dimensions lie in shared memory");
    if constexpr (REST == 9) {
        hartley<3, H>(v, p.cas[0]);
        hartley<3, 3 * H>(v, p.cas[1]);
    } else if constexpr (REST > 1) {
        hartley<REST, H>(v, p.cas[0]);
    }
}

__device__ inline void odd_stages(const tq_cuda_plan &p, coords<0> &v) {
    float in[61];
    int h = pow2_of(v.n());
    for (unsigned i = 0; i < p.n_odd; i++) {
        const int P = (int)p.odd[i];
        for (int base = 0; base < v.n(); base += P * h)
            for (int j = base; j < base + h; j++) {
                for (int s = 0; s < P; s++)
                    in[s] = v[j + s * h];
                for (int r = 0; r < P; r++) {
                    float sum = in[0];
                    for (int s = 1; s < P; s++)
                        sum = __fadd_rn(sum, __fmul_rn(p.cas[i][r * s % P], in[s]));
                    v[j + r * h] = sum;
                }
            }
        h *= P;
    }
}

template <class V> __device__ inline void stages(const tq_cuda_plan &p, V &v) {
    lane_stages(v, p.tilt);
    hadamard_stages(v, pow2_of(v.n()));
    odd_stages(p, v);
}

template <class V> __device__ inline void rotate_in(const tq_cuda_plan &p, V &v) {
    const float scale = p.scale_last ? 1.0f : p.scale;
#pragma unroll
    for (int k = 0; k < v.n(); k++)
        v[k] = __fmul_rn(v[k], flipped(p, k, scale));
    stages(p, v);
    if (p.scale_last)
#pragma unroll
        for (int k = 0; k < v.n(); k++)
            v[k] = __fmul_rn(v[k], p.scale);
}

template <class V> __device__ inline void rotate_out(const tq_cuda_plan &p, V &v) {
    stages(p, v);
#pragma unroll
    for (int k = 0; k < v.n(); k++)
        v[k] = __fmul_rn(v[k], flipped(p, k, p.scale));
}

/* Lanes folded by halves, as every sum is; all of them get it. */
__device__ inline float fold(float sum) {
    const unsigned all = half_warp();
#pragma unroll
    for (int h = LANES / 2; h > 0; h /= 2)
        sum = __fadd_rn(sum, __shfl_xor_sync(all, sum, h));
    return sum;
}

/* Positive boundaries below m, or up to it: down the search tree. */
__device__ inline unsigned count_below(const float *tree, unsigned bits, float m, bool or_equal) {
    unsigned node = 1;
    for (unsigned i = 1; i < bits; i++) {
        const float b = tree[node];
        node = 2 * node + ((or_equal ? b <= m : b < m) ? 1 : 0);
    }
    return node - (1u << (bits - 1));
}

__device__ inline unsigned nearest(const float *tree, unsigned bits, bool ranked, float u) {
    const unsigned half = 1u << (bits - 1);
    const float m = fabsf(u);
    if (ranked && !(u > 0.0f)) return half - 1 - count_below(tree, bits, m, true);
    const unsigned magnitude = count_below(tree, bits, m, false);
    return ranked || signbit(u) ? half + magnitude : magnitude;
}

__device__ inline float load(const void *data, uint32_t type, uint64_t at) {
    switch (type) {
    case F16:
        return __half2float(((const __half *)data)[at]);
    case BF16:
        return __bfloat162float(((const __nv_bfloat16 *)data)[at]);
    default:
        return ((const float *)data)[at];
    }
}

__device__ inline void store(void *data, uint32_t type, uint64_t at, float x) {
    switch (type) {
    case F16:
        ((__half *)data)[at] = __float2half_rn(x);
        break;
    case BF16:
        ((__nv_bfloat16 *)data)[at] = __float2bfloat16_rn(x);
        break;
    default:
        ((float *)data)[at] = x;
    }
}

__device__ inline float load_half(uint16_t bits) {
    return __half2float(__ushort_as_half(bits));
}

/* The sixteen threads' place among all of a grid. */
__device__ inline uint64_t vector_index() {
    return (uint64_t)blockIdx.x * (blockDim.x / LANES) + threadIdx.x / LANES;
}

/* Of a block; where vectors lie in shared memory, two each of 1024 coordinates must fit in its 48 KiB. */
enum { THREADS = 128, FEW_THREADS = 64 };

template <int N> __device__ inline coords<N> make_coords(float *, int) {
    return coords<N>();
}
template <> __device__ inline coords<0> make_coords<0>(float *shared, int n) {
    coords<0> v;
    v.x = shared + threadIdx.x / LANES * (n * LANES) + lane();
    v.count = n;
    return v;
}

/* The dimensions that have kernels of their own; the others share one. */
#define TQ_CUDA_DIMS(X) X(64) X(80) X(96) X(112) X(128) X(192) X(256) X(512) X(576)

#endif

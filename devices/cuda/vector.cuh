/* SPDX-License-Identifier: MIT
 * A vector held by sixteen threads, lane l its coordinates l, 16 + l, 32 + l ..: the sums and planes of
 * docs/format.md are then a lane's own business, and only the first four stages of a rotation cross
 * lanes. Compiled without fused multiply-adds: every operation is rounded as the CPU rounds it. */
#ifndef TQ_CUDA_VECTOR_CUH
#define TQ_CUDA_VECTOR_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <float.h>

#include "format/tables.h"
#include "launch.h"
#include "tqkv/types.h"

enum { MAX_VECTORS = TQ_MAX_DIM / TQ_LANES };

/* The other lanes of a vector, all of which are at the same place. */
__device__ inline unsigned half_warp() {
    return 0xffffu << (threadIdx.x & 16);
}
__device__ inline int lane() {
    return threadIdx.x & (TQ_LANES - 1);
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
        return x[k * TQ_LANES];
    }
};

/* Bit k: whether the lane's coordinate k changes its sign. */
template <class V> __device__ inline uint64_t flips_of(const tq_cuda_plan &p, V &v) {
    uint64_t flips = 0;
#pragma unroll
    for (int k = 0; k < v.n(); k++)
        flips |= (uint64_t)(p.signs[2 * k + (lane() >> 3)] >> (lane() & 7) & 1) << k;
    return flips;
}

/* x, with the sign changed where bit k is set. */
__device__ inline float flip(float x, uint64_t flips, int k) {
    const uint32_t half = k < 32 ? (uint32_t)flips : (uint32_t)(flips >> 32);
    return __uint_as_float(__float_as_uint(x) ^ (half << (31 - k % 32) & 0x80000000u));
}

/* x, negative in lanes that have bit h. */
__device__ inline float negate_in(float x, int h) {
    return __uint_as_float(__float_as_uint(x) ^ (lane() & h ? 0x80000000u : 0u));
}

/* Stages between lanes: neighbours, with a tilt, then lanes 2, 4 and 8 apart. A difference is a sum whose
 * second term has the other sign. */
template <class V> __device__ inline void lane_stages(V &v, float tilt) {
    const unsigned all = half_warp();
#pragma unroll
    for (int k = 0; k < v.n(); k++) {
        float x = v[k];
        x = __fadd_rn(__fmul_rn(tilt, __shfl_xor_sync(all, x, 1)), negate_in(x, 1));
#pragma unroll
        for (int h = 2; h < TQ_LANES; h *= 2)
            x = __fadd_rn(__shfl_xor_sync(all, x, h), negate_in(x, h));
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

template <class V> __device__ inline void rotate_in(const tq_cuda_plan &p, V &v, uint64_t flips) {
    const float scale = p.scale_last ? 1.0f : p.scale;
#pragma unroll
    for (int k = 0; k < v.n(); k++)
        v[k] = flip(__fmul_rn(v[k], scale), flips, k);
    stages(p, v);
    if (p.scale_last)
#pragma unroll
        for (int k = 0; k < v.n(); k++)
            v[k] = __fmul_rn(v[k], p.scale);
}

template <class V> __device__ inline void rotate_out(const tq_cuda_plan &p, V &v, uint64_t flips) {
    stages(p, v);
#pragma unroll
    for (int k = 0; k < v.n(); k++)
        v[k] = flip(__fmul_rn(v[k], p.scale), flips, k);
}

/* Lanes folded by halves, as every sum is; all of them get it. */
__device__ inline float fold(float sum) {
    const unsigned all = half_warp();
#pragma unroll
    for (int h = TQ_LANES / 2; h > 0; h /= 2)
        sum = __fadd_rn(sum, __shfl_xor_sync(all, sum, h));
    return sum;
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

/* A lane's coordinates of a vector of any type. */
template <class V>
__device__ inline void load_vector(V &v, const void *data, uint32_t type, uint64_t at) {
    at += (uint64_t)lane();
    switch (type) {
    case TQ_F16:
#pragma unroll
        for (int k = 0; k < v.n(); k++)
            v[k] = __half2float(((const __half *)data)[at + (uint64_t)(k * TQ_LANES)]);
        break;
    case TQ_BF16:
#pragma unroll
        for (int k = 0; k < v.n(); k++)
            v[k] = __bfloat162float(((const __nv_bfloat16 *)data)[at + (uint64_t)(k * TQ_LANES)]);
        break;
    default:
#pragma unroll
        for (int k = 0; k < v.n(); k++)
            v[k] = ((const float *)data)[at + (uint64_t)(k * TQ_LANES)];
    }
}

template <class V> __device__ inline void store_vector(V &v, void *data, uint32_t type, uint64_t at) {
    at += (uint64_t)lane();
    switch (type) {
    case TQ_F16:
#pragma unroll
        for (int k = 0; k < v.n(); k++)
            ((__half *)data)[at + (uint64_t)(k * TQ_LANES)] = __float2half_rn(v[k]);
        break;
    case TQ_BF16:
#pragma unroll
        for (int k = 0; k < v.n(); k++)
            ((__nv_bfloat16 *)data)[at + (uint64_t)(k * TQ_LANES)] = __float2bfloat16_rn(v[k]);
        break;
    default:
#pragma unroll
        for (int k = 0; k < v.n(); k++)
            ((float *)data)[at + (uint64_t)(k * TQ_LANES)] = v[k];
    }
}

__device__ inline float load_half(uint16_t bits) {
    return __half2float(__ushort_as_half(bits));
}

/* The sixteen threads' vector among outer times `inner` of them; a grid goes over all, so that tables are
 * brought once, and nothing is divided on the way. */
typedef struct walk {
    uint32_t outer, inner, step_outer, step_inner;
} walk;

__device__ inline walk walk_begin(uint32_t inner) {
    const uint32_t per = blockDim.x / TQ_LANES, first = blockIdx.x * per + threadIdx.x / TQ_LANES;
    const uint32_t step = gridDim.x * per;
    walk w;
    w.outer = first / inner;
    w.inner = first - w.outer * inner;
    w.step_outer = step / inner;
    w.step_inner = step - w.step_outer * inner;
    return w;
}

__device__ inline void walk_on(walk &w, uint32_t inner) {
    w.outer += w.step_outer;
    w.inner += w.step_inner;
    if (w.inner < inner) return;
    w.inner -= inner;
    w.outer++;
}

/* Of a block; where vectors lie in shared memory, two each of 1024 coordinates must fit in its 48 KiB. */
enum { THREADS = 128, FEW_THREADS = 64, MOST_BLOCKS = 132 * 16 };

static inline unsigned blocks_of(uint64_t vectors, unsigned threads) {
    const uint64_t blocks = (vectors - 1) / (threads / TQ_LANES) + 1;
    return (unsigned)(blocks < MOST_BLOCKS ? blocks : MOST_BLOCKS);
}

template <int N> __device__ inline coords<N> make_coords(float *, int) {
    return coords<N>();
}
template <> __device__ inline coords<0> make_coords<0>(float *shared, int n) {
    coords<0> v;
    v.x = shared + threadIdx.x / TQ_LANES * (n * TQ_LANES) + lane();
    v.count = n;
    return v;
}

/* The dimensions that have kernels of their own; the others share one. */
#define TQ_CUDA_DIMS(X) X(64) X(80) X(96) X(112) X(128) X(192) X(256) X(512) X(576)

#endif

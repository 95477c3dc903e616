/* SPDX-License-Identifier: MIT
 * Vectors in threads. Of docs/format.md's sixteen lanes a thread has C neighbouring ones, so that 16 / C
 * threads hold a vector, and a warp as many vectors as it has such groups: sums and planes are a lane's
 * own business, and only the stages of a rotation between lanes that are C or more apart cross threads.
 * What is done once a vector (addresses, roots, divisions) a warp does once for all of its vectors.
 *
 * Threads of a warp stay together: one whose vector does not exist works along and writes nothing.
 * Compiled without fused multiply-adds: every operation is rounded as the CPU rounds it. */
#ifndef TQ_CUDA_VECTOR_CUH
#define TQ_CUDA_VECTOR_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <float.h>

#include "format/tables.h"
#include "launch.h"
#include "tqkv/types.h"

enum { MAX_VECTORS = TQ_MAX_DIM / TQ_LANES, WARP = 32 };
#define WHOLE_WARP 0xffffffffu /* threads of a warp */

/* N coordinates of each of C lanes in registers, or, N = 0, any number of one lane in shared memory.
 * Coordinate 16 k + first_lane() + c of the vector is v[k * C + c]. */
template <int N, int C> struct coords {
    static constexpr int VECTORS = N, WIDTH = C, SHARE = TQ_LANES / C;
    float x[N * C];
    __device__ constexpr int n() const {
        return N;
    }
    __device__ float &operator[](int i) {
        return x[i];
    }
};
template <> struct coords<0, 1> {
    static constexpr int VECTORS = 0, WIDTH = 1, SHARE = TQ_LANES;
    float *x; /* this lane's first */
    int count;
    __device__ int n() const {
        return count;
    }
    __device__ float &operator[](int i) {
        return x[i * TQ_LANES];
    }
};

/* The thread's place among those of its vector. */
template <class V> __device__ inline int place() {
    return threadIdx.x % V::SHARE;
}
template <class V> __device__ inline int first_lane() {
    return place<V>() * V::WIDTH;
}

/* N neighbours, moved at once. */
template <class T, int N> struct alignas(sizeof(T) * N) run { T x[N]; };

/* Registers are for coordinates: what was computed from a number is computed anew after this. */
__device__ inline void forget(uint32_t &x) {
    asm volatile("" : "+r"(x));
}

/* a + b t; FUSED: the product is exact, and one instruction does both. */
template <bool FUSED> __device__ inline float add_product(float a, float b, float t) {
    return FUSED ? __fmaf_rn(b, t, a) : __fadd_rn(a, __fmul_rn(b, t));
}

/* Stages between lanes: neighbours, with a tilt, then lanes 2, 4 and 8 apart. TILTS: products with the
 * tilt are exact. Those with 1 and -1 are, which make differences of sums. */
template <bool TILTS, class V> __device__ inline void lane_stages(V &v, float tilt) {
    constexpr int W = V::WIDTH;
#pragma unroll
    for (int h = 1; h < TQ_LANES; h *= 2) {
        const float sign = first_lane<V>() & h ? -1.0f : 1.0f;
#pragma unroll
        for (int i = 0; i < v.n() * W; i++) {
            if (h >= W) {
                const float other = __shfl_xor_sync(WHOLE_WARP, v[i], h / W);
                v[i] = add_product<true>(h == 1 ? __fmul_rn(tilt, other) : other, v[i], sign);
            } else if (!(i & h)) {
                const float a = v[i], b = v[i + h];
                v[i] = h == 1 ? add_product<TILTS>(a, b, tilt) : __fadd_rn(a, b);
                v[i + h] = h == 1 ? add_product<TILTS>(-b, a, tilt) : __fsub_rn(a, b);
            }
        }
    }
}

/* Butterflies between a lane's own coordinates, h vectors apart. */
template <class V> __device__ inline void hadamard_stages(V &v, int pow2) {
    constexpr int W = V::WIDTH;
#pragma unroll
    for (int h = 1; h < MAX_VECTORS; h *= 2)
        if (h < pow2) {
#pragma unroll
            for (int i = 0; i < v.n() * W; i++)
                if (!(i / W & h)) {
                    const float a = v[i], b = v[i + h * W];
                    v[i] = __fadd_rn(a, b);
                    v[i + h * W] = __fsub_rn(a, b);
                }
        }
}

/* P values H apart in a lane: y_r = x_0 + sum over s of cas(r s mod P) x_s, s ascending. */
template <int P, int H, int N, int C> __device__ inline void hartley(coords<N, C> &v, const float *cas) {
    float row[P];
#pragma unroll
    for (int s = 1; s < P; s++)
        row[s] = cas[s];
#pragma unroll
    for (int base = 0; base < N * C; base += P * H * C)
#pragma unroll
        for (int j = base; j < base + H * C; j++) {
            float in[P];
#pragma unroll
            for (int s = 0; s < P; s++)
                in[s] = v[j + s * H * C];
#pragma unroll
            for (int r = 0; r < P; r++) {
                float sum = in[0];
#pragma unroll
                for (int s = 1; s < P; s++)
                    sum = __fadd_rn(sum, r * s % P == 0 ? in[s] : __fmul_rn(row[r * s % P], in[s]));
                v[j + r * H * C] = sum;
            }
        }
}

__host__ __device__ constexpr int pow2_of(int n) {
    return n & -n;
}

template <int N, int C> __device__ inline void odd_stages(const tq_cuda_plan &p, coords<N, C> &v) {
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

__device__ inline void odd_stages(const tq_cuda_plan &p, coords<0, 1> &v) {
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

template <bool TILTS, class V> __device__ inline void stages(const tq_cuda_plan &p, V &v) {
    lane_stages<TILTS>(v, p.tilt);
    hadamard_stages(v, pow2_of(v.n()));
    odd_stages(p, v);
}

/* What multiplies coordinates going into the rotated domain, or coming out: their signs, with the scale
 * but where that comes last. A block fills it together. */
__device__ inline void fill_signs(const tq_cuda_plan &p, float *signs, bool out) {
    const float size = p.scale_last && !out ? 1.0f : p.scale;
    for (unsigned j = threadIdx.x; j < p.dim; j += blockDim.x)
        signs[j] = p.signs[j / 8] >> j % 8 & 1 ? -size : size;
}

template <class V> __device__ inline void multiply(V &v, const float *by) {
    constexpr int W = V::WIDTH;
    by += first_lane<V>();
#pragma unroll
    for (int k = 0; k < v.n(); k++) {
        const run<float, W> f = *(const run<float, W> *)(by + k * TQ_LANES);
#pragma unroll
        for (int c = 0; c < W; c++)
            v[k * W + c] = __fmul_rn(v[k * W + c], f.x[c]);
    }
}

template <class V> __device__ inline void rotate_in(const tq_cuda_plan &p, V &v, const float *signs) {
    multiply(v, signs);
    stages<false>(p, v);
    if (p.scale_last)
#pragma unroll
        for (int i = 0; i < v.n() * V::WIDTH; i++)
            v[i] = __fmul_rn(v[i], p.scale);
}

template <bool TILTS, class V>
__device__ inline void rotate_out(const tq_cuda_plan &p, V &v, const float *signs) {
    stages<TILTS>(p, v);
    multiply(v, signs);
}

/* The lanes' sums folded by halves, as every sum is; all threads get it. */
template <class V> __device__ inline float fold(float (&sum)[V::WIDTH]) {
#pragma unroll
    for (int h = TQ_LANES / 2; h > 0; h /= 2)
#pragma unroll
        for (int c = 0; c < (h < V::WIDTH ? h : V::WIDTH); c++)
            sum[c] = __fadd_rn(sum[c], h < V::WIDTH ? sum[c + h]
                                                    : __shfl_xor_sync(WHOLE_WARP, sum[c], h / V::WIDTH));
    return sum[0];
}

/* A lane's coordinates of a vector of any type. */
__device__ inline float to_float(float x) {
    return x;
}
__device__ inline float to_float(__half x) {
    return __half2float(x);
}
__device__ inline float to_float(__nv_bfloat16 x) {
    return __bfloat162float(x);
}

template <class V> __device__ inline void clear(V &v) {
#pragma unroll
    for (int i = 0; i < v.n() * V::WIDTH; i++)
        v[i] = 0.0f;
}

template <class T, class V> __device__ inline void load_as(V &v, const void *data, uint64_t at) {
    constexpr int W = V::WIDTH;
    const T *from = (const T *)data + at + first_lane<V>();
    if (W == 1 || (uintptr_t)from % sizeof(run<T, W>) == 0) {
#pragma unroll
        for (int k = 0; k < v.n(); k++) {
            const run<T, W> r = *(const run<T, W> *)(from + k * TQ_LANES);
#pragma unroll
            for (int c = 0; c < W; c++)
                v[k * W + c] = to_float(r.x[c]);
        }
    } else {
#pragma unroll
        for (int i = 0; i < v.n() * W; i++)
            v[i] = to_float(from[i / W * TQ_LANES + i % W]);
    }
}

template <class V>
__device__ inline void load_vector(V &v, const void *data, uint32_t type, uint64_t at) {
    if (type == TQ_F32)
        load_as<float>(v, data, at);
    else if (type == TQ_F16)
        load_as<__half>(v, data, at);
    else
        load_as<__nv_bfloat16>(v, data, at);
}

/* To nearest, ties to even; two at once are one instruction. */
template <class T> struct rounded {};
template <> struct rounded<float> {
    __device__ static float one(float x) {
        return x;
    }
};
template <> struct rounded<__half> {
    __device__ static __half one(float x) {
        return __float2half_rn(x);
    }
    __device__ static __half2 two(float x, float y) {
        return __floats2half2_rn(x, y);
    }
};
template <> struct rounded<__nv_bfloat16> {
    __device__ static __nv_bfloat16 one(float x) {
        return __float2bfloat16_rn(x);
    }
    __device__ static __nv_bfloat162 two(float x, float y) {
        return __floats2bfloat162_rn(x, y);
    }
};

template <class T, class V> __device__ inline run<T, V::WIDTH> round_run(V &v, int i) {
    run<T, V::WIDTH> r;
    if constexpr (sizeof(T) == 2 && V::WIDTH > 1) {
#pragma unroll
        for (int c = 0; c < V::WIDTH; c += 2) {
            const auto two = rounded<T>::two(v[i + c], v[i + c + 1]);
            r.x[c] = two.x;
            r.x[c + 1] = two.y;
        }
    } else {
#pragma unroll
        for (int c = 0; c < V::WIDTH; c++)
            r.x[c] = rounded<T>::one(v[i + c]);
    }
    return r;
}

template <class T, class V> __device__ inline void store_as(V &v, void *data, uint64_t at) {
    constexpr int W = V::WIDTH;
    T *to = (T *)data + at + first_lane<V>();
    if (W == 1 || (uintptr_t)to % sizeof(run<T, W>) == 0) {
#pragma unroll
        for (int k = 0; k < v.n(); k++)
            *(run<T, W> *)(to + k * TQ_LANES) = round_run<T>(v, k * W);
    } else {
#pragma unroll
        for (int i = 0; i < v.n() * W; i++)
            to[i / W * TQ_LANES + i % W] = rounded<T>::one(v[i]);
    }
}

/* A warp's place in shared memory for its vectors, with a gap between any two, for banks. */
template <class V> constexpr unsigned staged_floats = WARP / V::SHARE *(V::VECTORS + 1) * TQ_LANES;

/* A warp's vectors, `apart` elements from one to the next, through its place: each of its stores is then
 * of neighbours, 512 bytes in lines of their own, and not of pieces of many lines. */
template <class T, class V> __device__ inline void store_staged(V &v, T *stage, T *to, uint64_t apart) {
    constexpr int W = V::WIDTH, DIM = V::VECTORS * TQ_LANES, STEP = DIM + TQ_LANES, SIZE = 16 / sizeof(T);
    constexpr int PIECES = DIM / SIZE, ALL_PIECES = WARP / V::SHARE * PIECES; /* of 16 bytes */
    uint32_t thread = threadIdx.x % WARP;
    forget(thread);
    T *mine = stage + thread / V::SHARE * STEP + first_lane<V>();
    __syncwarp(); /* all have read what was there */
#pragma unroll
    for (int k = 0; k < v.n(); k++)
        *(run<T, W> *)(mine + k * TQ_LANES) = round_run<T>(v, k * W);
    __syncwarp();
#pragma unroll
    for (uint32_t first = 0; first < ALL_PIECES; first += WARP) {
        const uint32_t piece = first + thread, vector = piece / PIECES, i = piece % PIECES * SIZE;
        if (ALL_PIECES % WARP == 0 || piece < ALL_PIECES)
            __stcs((uint4 *)(to + vector * apart + i), *(const uint4 *)(stage + vector * STEP + i));
    }
}

template <class T, class V>
__device__ inline void store_typed(V &v, float *stage, void *data, uint64_t at, uint64_t apart,
                                   bool live) {
    if constexpr (V::VECTORS > 0) {
        const uint64_t first = __shfl_sync(WHOLE_WARP, at, 0);
        const bool even = live && at == first + threadIdx.x % WARP / V::SHARE * apart;
        if (__all_sync(WHOLE_WARP, even && (uintptr_t)((T *)data + at) % 16 == 0)) {
            store_staged(v, (T *)stage, (T *)data + first, apart);
            return;
        }
    }
    if (live) store_as<T>(v, data, at);
}

/* Those of a warp; `apart`: elements between most of them. */
template <class V>
__device__ inline void store_vectors(V &v, float *stage, void *data, uint32_t type, uint64_t at,
                                     uint64_t apart, bool live) {
    if (type == TQ_F32)
        store_typed<float>(v, stage, data, at, apart, live);
    else if (type == TQ_F16)
        store_typed<__half>(v, stage, data, at, apart, live);
    else
        store_typed<__nv_bfloat16>(v, stage, data, at, apart, live);
}

__device__ inline float load_half(uint16_t bits) {
    return __half2float(__ushort_as_half(bits));
}

/* A thread's vectors, one after the other, among outer times `inner` of them. A grid goes over all, so
 * that tables are brought once, and nothing is divided on the way. */
typedef struct walk {
    uint32_t outer, inner;
} walk;

template <class V> __device__ inline walk walk_begin(uint32_t inner) {
    const uint32_t at = (blockIdx.x * blockDim.x + threadIdx.x) / V::SHARE;
    return {at / inner, at % inner};
}

__device__ inline void walk_on(walk &w, const tq_cuda_step &step, uint32_t inner) {
    w.outer += step.outer;
    w.inner += step.inner;
    if (w.inner < inner) return;
    w.inner -= inner;
    w.outer++;
}

/* Whether any thread of the warp has a vector. */
__device__ inline bool walk_more(const walk &w, uint64_t outer) {
    return __any_sync(WHOLE_WARP, w.outer < outer);
}

template <class V> static tq_cuda_step step_of(unsigned blocks, unsigned threads, uint64_t inner) {
    const uint32_t step = blocks * (threads / V::SHARE);
    return {step / (uint32_t)inner, step % (uint32_t)inner};
}

/* Of a block; where vectors lie in shared memory, two each of 1024 coordinates must fit in its 48 KiB. */
enum { THREADS = 128, FEW_THREADS = 64 };

/* Blocks that a multiprocessor runs at once, by a thread's coordinates: registers then hold what they
 * must. */
template <class V> constexpr unsigned resident() {
    constexpr int n = V::VECTORS * V::WIDTH;
    return n <= 16 ? 9 : n <= 20 ? 8 : n <= 32 ? 7 : n <= 48 ? 6 : 4;
}

/* As many blocks as there are vectors for, up to `most`. */
template <class V> static unsigned blocks_of(uint64_t vectors, unsigned threads, unsigned most) {
    const uint64_t blocks = (vectors - 1) / (threads / V::SHARE) + 1;
    return (unsigned)(blocks < most ? blocks : most);
}

/* A launch that tells its own error: cudaGetLastError() may have one of the caller's. An early one may
 * begin while the one before it in the stream ends. */
template <class A>
static cudaError_t launch_kernel(void (*kernel)(A), dim3 grid, unsigned threads, size_t shared,
                                 cudaStream_t stream, const A &arguments, bool early = false) {
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = threads;
    config.dynamicSmemBytes = shared;
    config.stream = stream;
    config.attrs = &attribute;
    config.numAttrs = early ? 1 : 0;
    return cudaLaunchKernelEx(&config, kernel, arguments);
}

template <class V> __device__ inline V make_coords(float *rows, uint32_t dim) {
    V v = V();
    if constexpr (V::VECTORS == 0) {
        v.x = rows + threadIdx.x / TQ_LANES * dim + place<V>();
        v.count = (int)(dim / TQ_LANES);
    }
    return v;
}

/* The dimensions that have kernels of their own, and the lanes of a thread there: X(dimension, lanes).
 * The others share one. */
#define TQ_CUDA_DIMS(X)                                                                                  \
    X(64, 4) X(80, 4) X(96, 4) X(112, 4) X(128, 4) X(192, 4) X(256, 4) X(512, 2) X(576, 2)

#endif

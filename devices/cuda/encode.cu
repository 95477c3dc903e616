/* SPDX-License-Identifier: MIT
 * Vectors to codes and norms. */
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

__device__ static uint8_t *row_of(const tq_cuda_place &p, uint64_t page_rows, uint64_t slot,
                                  uint64_t head) {
    uint64_t page = 0, row = slot;
    if (page_rows != 0 && (slot | page_rows) >> 32 == 0) { /* much the shorter division */
        page = (uint32_t)slot / (uint32_t)page_rows;
        row = slot - page * page_rows;
    } else if (page_rows != 0) {
        page = slot / page_rows;
        row = slot % page_rows;
    }
    return p.data + page * p.page + head * p.head + row * p.row;
}

template <class V>
__device__ static void subtract_centre(const tq_cuda_encode_args &a, const tq_cuda_encode_side &s, V &v,
                                       uint64_t token, uint64_t head) {
    if (s.centre.values == NULL) return;
    const uint64_t position =
        a.position_of == NULL ? a.first_position + token : (uint64_t)a.position_of[token];
    const uint64_t number = s.centre.stretch == 0 ? 0 : position / s.centre.stretch % s.centre.n;
    const uint16_t *centre = s.centre.values + (number * a.heads + head) * s.plan.dim + lane();
#pragma unroll
    for (int k = 0; k < v.n(); k++)
        v[k] = __fsub_rn(v[k], load_half(centre[k * TQ_LANES]));
}

/* The lowest index of a value that is not finite or too large, of all lanes; UINT64_MAX: there is none.
 */
template <class V> __device__ static uint64_t find_bad(V &v, uint64_t start) {
    unsigned bad = UINT32_MAX;
#pragma unroll
    for (int k = v.n() - 1; k >= 0; k--)
        if (!(fabsf(v[k]) <= TQ_MAX_ABS)) bad = (unsigned)(k * TQ_LANES + lane());
#pragma unroll
    for (int h = 1; h < TQ_LANES; h *= 2)
        bad = min(bad, __shfl_xor_sync(half_warp(), bad, h));
    return bad == UINT32_MAX ? UINT64_MAX : start + bad;
}

__device__ static void tell(unsigned long long *fault, uint64_t index) {
    if (fault != NULL && lane() == 0) atomicMin(fault, (unsigned long long)index);
}

__device__ static float stored_norm(const tq_cuda_plan &p, float squares, float sum) {
    if (squares < FLT_MIN) return 0.0f;
    const float norm = __fsqrt_rn(squares);
    if (p.norm_rule == TQ_NORM_MATCHED) return __fdiv_rn(__fmul_rn(norm, p.unit), __fsqrt_rn(sum));
    if (p.norm_rule == TQ_NORM_UNBIASED) return __fdiv_rn(__fmul_rn(norm, (float)p.dim), sum);
    return norm;
}

__device__ static void put_u16(uint8_t *p, uint16_t x) {
    p[0] = (uint8_t)x;
    p[1] = (uint8_t)(x >> 8);
}

__device__ static void put_f32(uint8_t *p, float x) {
    const uint32_t bits = __float_as_uint(x);
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(bits >> 8 * i);
}

/* Codes in place of values, and what the rule sums up. */
template <unsigned B, class V>
__device__ static float quantize_v2(const tq_cuda_plan &p, const book &b, V &v, float scale) {
    float sum = 0.0f;
#pragma unroll
    for (int k = 0; k < v.n(); k++) {
        const float u = __fmul_rn(v[k], scale);
        const unsigned code = nearest<B>(b, false, u);
        const float c = b.levels[code & ((1u << (B - 1)) - 1)];
        sum = __fadd_rn(sum, __fmul_rn(p.norm_rule == TQ_NORM_UNBIASED ? fabsf(u) : c, c));
        v[k] = __uint_as_float(code);
    }
    return fold(sum);
}

template <unsigned B, class V>
__device__ static void quantize_v1(const tq_cuda_plan &p, const book &b, V &v, int first, int end,
                                   float scale) {
#pragma unroll
    for (int k = 0; k < v.n(); k++)
        if (k >= first && k < end)
            v[k] = __uint_as_float(nearest<B>(b, true, __fmul_rn(__fmul_rn(v[k], scale), p.unit)));
}

template <class V> __device__ static float squares_of(V &v, int first, int end) {
    float squares = 0.0f;
#pragma unroll
    for (int k = 0; k < v.n(); k++)
        if (k >= first && k < end) squares = __fadd_rn(squares, __fmul_rn(v[k], v[k]));
    return fold(squares);
}

template <class V>
__device__ static bool encode_v2(const tq_cuda_plan &p, const book &b, V &v, float squares,
                                 uint8_t *codes, uint8_t *norms) {
    const float scale = squares < FLT_MIN ? 0.0f : __fdiv_rn(p.unit, __fsqrt_rn(squares));
    float sum = 0.0f;
#define QUANTIZE(bits) sum = quantize_v2<bits>(p, b, v, scale)
    TQ_CUDA_BITS(p.bits, QUANTIZE)
#undef QUANTIZE
    const float norm = stored_norm(p, squares, sum);
    if (!(norm <= TQ_MAX_NORM)) return false;
    const uint16_t half = __half_as_ushort(__float2half_rn(norm));
    if (half == 0) { /* what is stored as zero has no codes */
#pragma unroll
        for (int k = 0; k < v.n(); k++)
            v[k] = 0.0f;
    }
    store_codes(p, v, codes);
    if (lane() == 0) put_u16(norms, half);
    return true;
}

/* v1: one norm, or one of each half. */
template <class V>
__device__ static void encode_v1(const tq_cuda_plan &p, const book &b, V &v, uint8_t *codes,
                                 uint8_t *norms) {
    const int per = v.n() / (int)p.n_norms;
    for (int i = 0; i < (int)p.n_norms; i++) {
        const float squares = squares_of(v, i * per, i * per + per);
        const float norm = __fsqrt_rn(p.n_norms == 2 ? __fmul_rn(squares, 1.0f / 256.0f) : squares);
        const float scale = norm <= 1e-10f ? 0.0f : __fdiv_rn(1.0f, norm);
#define QUANTIZE(bits) quantize_v1<bits>(p, b, v, i * per, i * per + per, scale)
        TQ_CUDA_BITS(p.bits, QUANTIZE)
#undef QUANTIZE
        if (lane() == 0) put_f32(norms + 4 * i, norm);
    }
    store_codes(p, v, codes);
}

template <class V>
__device__ static void encode_vector(const tq_cuda_encode_args &a, const tq_cuda_encode_side &s,
                                     const book &b, V &v, uint64_t flips, uint32_t token, uint32_t head) {
    const tq_cuda_plan &p = s.plan;
    const uint64_t start = token * s.src.token + head * s.src.head;
    uint64_t slot;
    bool missing;
    const bool goes = find_slot(a, token, &slot, &missing);
    if (missing) tell(s.fault, start);
    if (!goes) return;
    load_vector(v, s.src.data, s.src.type, start);
    subtract_centre(a, s, v, token, head);
    rotate_in(p, v, flips);
    const float squares = squares_of(v, 0, v.n());
    if (!(squares <= SUSPICIOUS)) { /* what is not finite or too large shows there; look for it */
        load_vector(v, s.src.data, s.src.type, start);
        const uint64_t bad = find_bad(v, start);
        if (bad != UINT64_MAX || !p.v1) {
            tell(s.fault, bad != UINT64_MAX ? bad : start);
            return;
        }
        subtract_centre(a, s, v, token, head);
        rotate_in(p, v, flips);
    }
    uint8_t *codes = row_of(s.codes, a.page_rows, slot, head);
    uint8_t *norms = row_of(s.norms, a.page_rows, slot, head);
    if (p.v1)
        encode_v1(p, b, v, codes, norms);
    else if (!encode_v2(p, b, v, squares, codes, norms))
        tell(s.fault, start);
}

template <int N>
__global__ void __launch_bounds__(THREADS) encode(const __grid_constant__ tq_cuda_encode_args a) {
    extern __shared__ float rows[]; /* of N = 0 */
    __shared__ float tree[128], levels[128];
    const tq_cuda_encode_side &s = a.side[blockIdx.y];
    const unsigned half = 1u << (s.plan.bits - 1);
    for (unsigned i = threadIdx.x; i < half; i += blockDim.x) {
        tree[i] = s.plan.tree[i];
        levels[i] = s.plan.levels[i]; /* v2: the positive ones come first */
    }
    __syncthreads();
    coords<N> v = make_coords<N>(rows, (int)s.plan.dim / TQ_LANES);
    const uint64_t flips = flips_of(s.plan, v);
    const book b = book_of(s.plan, tree, levels);
    for (walk w = walk_begin((uint32_t)a.heads); w.outer < a.tokens; walk_on(w, (uint32_t)a.heads))
        encode_vector(a, s, b, v, flips, w.outer, w.inner);
}

extern "C" int tq_cuda_launch_encode(const tq_cuda_encode_args *a, unsigned sides, void *stream) {
    const uint64_t vectors = a->tokens * a->heads;
    const cudaStream_t s = (cudaStream_t)stream;
    const unsigned dim = a->side[0].plan.dim;
    const dim3 grid(blocks_of(vectors, THREADS), sides), large(blocks_of(vectors, FEW_THREADS), sides);
    switch (dim) {
#define X(D)                                                                                             \
    case D:                                                                                              \
        encode<D / TQ_LANES><<<grid, THREADS, 0, s>>>(*a);                                               \
        break;
        TQ_CUDA_DIMS(X)
#undef X
    default:
        encode<0><<<large, FEW_THREADS, FEW_THREADS / TQ_LANES * dim * sizeof(float), s>>>(*a);
    }
    return (int)cudaGetLastError();
}

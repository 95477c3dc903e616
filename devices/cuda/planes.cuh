/* SPDX-License-Identifier: MIT
 * Codes of a vector to and from bytes at any address, sixteen lanes at a time. */
#ifndef TQ_CUDA_PLANES_CUH
#define TQ_CUDA_PLANES_CUH

#include "vector.cuh"

__device__ inline int group_of(unsigned width, int vectors) {
    return width == 8 ? 1 : vectors % 8 == 0 ? 8 : vectors % 4 == 0 ? 4 : vectors % 2 == 0 ? 2 : 1;
}

/* A lane's word of `width` bits (1 to 32) to its place among those of the sixteen lanes. */
__device__ inline void store_word(uint8_t *block, unsigned width, uint32_t word) {
    const int l = lane();
    if (width >= 8) {
        const unsigned bytes = width / 8;
        uint8_t *to = block + l * bytes;
        if (bytes == 4 && (uintptr_t)block % 4 == 0)
            *(uint32_t *)to = word;
        else if (bytes == 2 && (uintptr_t)block % 2 == 0)
            *(uint16_t *)to = (uint16_t)word;
        else
            for (unsigned i = 0; i < bytes; i++)
                to[i] = (uint8_t)(word >> 8 * i);
        return;
    }
    const int lanes = 8 / (int)width; /* that share a byte */
    word <<= width * (unsigned)(l % lanes);
    for (int h = 1; h < lanes; h *= 2)
        word |= __shfl_xor_sync(half_warp(), word, h);
    if (l % lanes == 0) block[l / lanes] = (uint8_t)word;
}

__device__ inline uint32_t load_word(const uint8_t *block, unsigned width) {
    const int l = lane();
    if (width < 8) {
        const int lanes = 8 / (int)width;
        return block[l / lanes] >> width * (unsigned)(l % lanes) & ((1u << width) - 1);
    }
    const unsigned bytes = width / 8;
    const uint8_t *from = block + l * bytes;
    if (bytes == 4 && (uintptr_t)block % 4 == 0) return *(const uint32_t *)from;
    if (bytes == 2 && (uintptr_t)block % 2 == 0) return *(const uint16_t *)from;
    uint32_t word = 0;
    for (unsigned i = 0; i < bytes; i++)
        word |= (uint32_t)from[i] << 8 * i;
    return word;
}

/* A vector's codes lie in its coordinates, as bits. */
template <class V> __device__ inline unsigned code_of(V &v, int k) {
    return __float_as_uint(v[k]);
}

/* A plane of W bits, those from LOW on; returns where the next one begins. */
template <unsigned W, unsigned LOW, class V> __device__ inline uint8_t *store_plane(V &v, uint8_t *row) {
    const int group = group_of(W, v.n());
#pragma unroll
    for (int block = 0; block < v.n(); block += group) {
        uint32_t word = 0;
#pragma unroll
        for (int k = 0; k < group; k++)
            word |= (code_of(v, block + k) >> LOW & ((1u << W) - 1)) << W * (unsigned)k;
        store_word(row + block * TQ_LANES * (int)W / 8, W * (unsigned)group, word);
    }
    return row + v.n() * TQ_LANES * (int)W / 8;
}

template <unsigned W, unsigned LOW, class V>
__device__ inline const uint8_t *load_plane(V &v, const uint8_t *row) {
    const int group = group_of(W, v.n());
#pragma unroll
    for (int block = 0; block < v.n(); block += group) {
        const uint32_t word = load_word(row + block * TQ_LANES * (int)W / 8, W * (unsigned)group);
#pragma unroll
        for (int k = 0; k < group; k++) {
            const unsigned field = (word >> W * (unsigned)k & ((1u << W) - 1)) << LOW;
            v[block + k] = __uint_as_float(LOW == 0 ? field : code_of(v, block + k) | field);
        }
    }
    return row + v.n() * TQ_LANES * (int)W / 8;
}

/* The planes of a code of that many bits: PLANE(width, lowest bit), lowest first. */
#define TQ_CUDA_PLANES(bits, PLANE)                                                                      \
    switch (bits) {                                                                                      \
    case 2:                                                                                              \
        PLANE(2, 0);                                                                                     \
        break;                                                                                           \
    case 3:                                                                                              \
        PLANE(2, 0);                                                                                     \
        PLANE(1, 2);                                                                                     \
        break;                                                                                           \
    case 4:                                                                                              \
        PLANE(4, 0);                                                                                     \
        break;                                                                                           \
    case 5:                                                                                              \
        PLANE(4, 0);                                                                                     \
        PLANE(1, 4);                                                                                     \
        break;                                                                                           \
    case 6:                                                                                              \
        PLANE(4, 0);                                                                                     \
        PLANE(2, 4);                                                                                     \
        break;                                                                                           \
    case 7:                                                                                              \
        PLANE(4, 0);                                                                                     \
        PLANE(2, 4);                                                                                     \
        PLANE(1, 6);                                                                                     \
        break;                                                                                           \
    default:                                                                                             \
        PLANE(8, 0);                                                                                     \
        break;                                                                                           \
    }

template <class V> __device__ inline void store_codes(const tq_cuda_plan &p, V &v, uint8_t *row) {
    if (p.packing == TQ_PACK_PLANES) {
#define PLANE(width, low) row = store_plane<width, low>(v, row)
        TQ_CUDA_PLANES(p.bits, PLANE)
#undef PLANE
        return;
    }
#pragma unroll
    for (int k = 0; k < v.n(); k++) {
        const unsigned c = code_of(v, k);
        if (p.packing == TQ_PACK_BYTES) {
            row[k * TQ_LANES + lane()] = (uint8_t)c;
            continue;
        }
        const unsigned next = __shfl_xor_sync(half_warp(), c, 1); /* pairs: the even one low */
        if (lane() % 2 == 0) row[(k * TQ_LANES + lane()) / 2] = (uint8_t)(c | next << 4);
    }
}

template <class V> __device__ inline void load_codes(const tq_cuda_plan &p, V &v, const uint8_t *row) {
    if (p.packing == TQ_PACK_PLANES) {
#define PLANE(width, low) row = load_plane<width, low>(v, row)
        TQ_CUDA_PLANES(p.bits, PLANE)
#undef PLANE
        return;
    }
#pragma unroll
    for (int k = 0; k < v.n(); k++) {
        const int i = k * TQ_LANES + lane();
        v[k] = __uint_as_float(p.packing == TQ_PACK_PAIRS ? row[i / 2] >> i % 2 * 4 & 15u
                                                          : row[i] & ((1u << p.bits) - 1));
    }
}

#endif

/* SPDX-License-Identifier: MIT
 * Codes of a vector to and from bytes at any address. The planes of a code are the binary digits of its
 * bits: of 8, 4, 2 and 1, those that add up to them, the lowest bits first. */
#ifndef TQ_CUDA_PLANES_CUH
#define TQ_CUDA_PLANES_CUH

#include "vector.cuh"

/* Vectors of sixteen coordinates whose fields a plane's lane has side by side. */
__device__ inline int group_of(unsigned width, int vectors) {
    return width == 8 ? 1 : vectors % 8 == 0 ? 8 : vectors % 4 == 0 ? 4 : vectors % 2 == 0 ? 2 : 1;
}

/* `bytes` of words (16, 8, 4, 2 or 1) at once where the address allows it. */
__device__ inline void store_bytes(uint8_t *to, unsigned bytes, const uint32_t *w) {
    if (bytes == 1)
        *to = (uint8_t)w[0];
    else if (bytes == 2 && (uintptr_t)to % 2 == 0)
        *(uint16_t *)to = (uint16_t)w[0];
    else if (bytes == 16 && (uintptr_t)to % 16 == 0)
        *(uint4 *)to = make_uint4(w[0], w[1], w[2], w[3]);
    else if (bytes == 8 && (uintptr_t)to % 8 == 0)
        *(uint2 *)to = make_uint2(w[0], w[1]);
    else if (bytes >= 4 && (uintptr_t)to % 4 == 0)
        for (unsigned i = 0; i < bytes / 4; i++)
            ((uint32_t *)to)[i] = w[i];
    else
        for (unsigned i = 0; i < bytes; i++)
            to[i] = (uint8_t)(w[i / 4] >> i % 4 * 8);
}

__device__ inline void load_bytes(const uint8_t *from, unsigned bytes, uint32_t *w) {
    if (bytes == 1)
        w[0] = *from;
    else if (bytes == 2 && (uintptr_t)from % 2 == 0)
        w[0] = *(const uint16_t *)from;
    else if (bytes == 16 && (uintptr_t)from % 16 == 0) {
        const uint4 x = *(const uint4 *)from;
        w[0] = x.x, w[1] = x.y, w[2] = x.z, w[3] = x.w;
    } else if (bytes == 8 && (uintptr_t)from % 8 == 0) {
        const uint2 x = *(const uint2 *)from;
        w[0] = x.x, w[1] = x.y;
    } else if (bytes >= 4 && (uintptr_t)from % 4 == 0)
        for (unsigned i = 0; i < bytes / 4; i++)
            w[i] = ((const uint32_t *)from)[i];
    else
        for (unsigned i = 0; i < bytes; i++)
            w[i / 4] = (i % 4 == 0 ? 0 : w[i / 4]) | (uint32_t)from[i] << i % 4 * 8;
}

/* The fields of a thread's lanes, `width` bits each (1 to 32), to their place in a block of all lanes. */
template <class V>
__device__ inline void store_fields(uint8_t *block, unsigned width, const uint32_t *field, bool live) {
    constexpr unsigned W = V::WIDTH;
    const unsigned bits = width * W, place = ::place<V>();
    uint32_t w[W] = {};
#pragma unroll
    for (unsigned c = 0; c < W; c++)
        w[c * width / 32] |= field[c] << c * width % 32;
    if (bits >= 8) {
        if (live) store_bytes(block + place * (bits / 8), bits / 8, w);
        return;
    }
    const unsigned threads = 8 / bits; /* that share a byte */
    w[0] <<= bits * (place % threads);
    for (unsigned h = 1; h < threads; h *= 2)
        w[0] |= __shfl_xor_sync(WHOLE_WARP, w[0], h);
    if (live && place % threads == 0) block[place / threads] = (uint8_t)w[0];
}

/* The words that have the fields of a thread's lanes; the first one's begins at the bit that is returned.
 */
template <class V>
__device__ inline unsigned load_fields(const uint8_t *block, unsigned width, uint32_t *w) {
    const unsigned bits = width * V::WIDTH, at = place<V>() * bits;
    if (bits >= 8) {
        load_bytes(block + at / 8, bits / 8, w);
        return 0;
    }
    w[0] = block[at / 8];
    return at % 8;
}

/* Four times the field of W bits that begins at a bit: bytes of it are cut out of a word together. */
template <unsigned W> __device__ inline uint32_t field_times_4(uint32_t word, unsigned at) {
    if (W == 8) return word >> at % 32 << 2 & 0x3fc;
    const unsigned in_byte = at % 8;
    const uint32_t bytes = in_byte < 2 ? word << (2 - in_byte) : word >> (in_byte - 2);
    return __byte_perm(bytes & 0x04040404 * ((1u << W) - 1), 0, 0x4440 + at / 8 % 4);
}

/* A vector's codes lie in its coordinates, as bits. */
template <class V> __device__ inline uint32_t code_of(V &v, int i) {
    return __float_as_uint(v[i]);
}

/* The codes' lowest W bits to a plane in groups of vectors; what is `left` of the codes is for the next
 * one. Words are sums, from which that is taken away again: codes that are at their end need no masks.
 * Returns where the next plane begins. */
template <unsigned W, class V>
__device__ inline uint8_t *store_plane(V &v, uint8_t *row, int group, bool left, bool live) {
    constexpr int C = V::WIDTH;
#pragma unroll
    for (int block = 0; block < v.n(); block += group) {
        uint32_t field[C] = {};
#pragma unroll
        for (int i = 0; i < group * C; i++)
            field[i % C] += code_of(v, block * C + i) << W * (unsigned)(i / C);
        if (left)
#pragma unroll
            for (int i = 0; i < group * C; i++) {
                const uint32_t high = code_of(v, block * C + i) >> W;
                field[i % C] -= high << W * (unsigned)(i / C) << W;
                v[block * C + i] = __uint_as_float(high);
            }
        store_fields<V>(row + block * TQ_LANES * (int)W / 8, W * (unsigned)group, field, live);
    }
    return row + v.n() * TQ_LANES * (int)W / 8;
}

/* A plane of the codes: FIRST, or to be added from bit `low` on. What comes to lie in the coordinates is
 * four times the code: where its level is among floats. Returns where the next plane begins. */
template <unsigned W, bool FIRST, class V>
__device__ inline const uint8_t *load_plane(V &v, const uint8_t *row, int group, unsigned low) {
    constexpr int C = V::WIDTH;
#pragma unroll
    for (int block = 0; block < v.n(); block += group) {
        uint32_t w[C];
        const unsigned begin =
            load_fields<V>(row + block * TQ_LANES * (int)W / 8, W * (unsigned)group, w);
#pragma unroll
        for (int i = 0; i < group * C; i++) {
            const unsigned at = begin + W * (unsigned)(i % C * group + i / C);
            const uint32_t field = field_times_4<W>(w[at / 32], at);
            v[block * C + i] =
                __uint_as_float(FIRST ? field : (field << low) + code_of(v, block * C + i));
        }
    }
    return row + v.n() * TQ_LANES * (int)W / 8;
}

template <class V>
__device__ inline void store_codes(const tq_cuda_plan &p, V &v, uint8_t *row, bool live) {
    const unsigned bits = p.packing == TQ_PACK_BYTES ? 8 : p.bits;
    if (p.packing == TQ_PACK_PAIRS) {
        store_plane<4>(v, row, 1, false, live);
        return;
    }
    if (bits & 8) store_plane<8>(v, row, 1, false, live);
    if (bits & 4) row = store_plane<4>(v, row, group_of(4, v.n()), bits > 4, live);
    if (bits & 2) row = store_plane<2>(v, row, group_of(2, v.n()), bits & 1, live);
    if (bits & 1) store_plane<1>(v, row, group_of(1, v.n()), false, live);
}

/* Four times the codes. Bytes that are pairs, or not of planes, are v1's alone. */
template <class V> __device__ inline void load_codes(const tq_cuda_plan &p, V &v, const uint8_t *row) {
    const unsigned bits = p.bits;
    if (p.packing == TQ_PACK_PAIRS) {
        load_plane<4, true>(v, row, 1, 0);
    } else if (bits == 8 || p.packing == TQ_PACK_BYTES) {
        load_plane<8, true>(v, row, 1, 0);
        if (bits < 8) /* what no code has may be anything */
#pragma unroll
            for (int i = 0; i < v.n() * V::WIDTH; i++)
                v[i] = __uint_as_float(code_of(v, i) & ((4u << bits) - 4));
    } else {
        if (bits & 4) {
            row = load_plane<4, true>(v, row, group_of(4, v.n()), 0);
            if (bits & 2) row = load_plane<2, false>(v, row, group_of(2, v.n()), 4);
        } else {
            row = load_plane<2, true>(v, row, group_of(2, v.n()), 0);
        }
        if (bits & 1) load_plane<1, false>(v, row, group_of(1, v.n()), bits - 1);
    }
}

#endif

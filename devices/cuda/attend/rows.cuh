/* SPDX-License-Identifier: MIT
 * Rows of codes on their way to a stage. */
#ifndef TQ_CUDA_ROWS_CUH
#define TQ_CUDA_ROWS_CUH

#ifndef __CUDACC_RTC__
#include "attend/codes.cuh"
#endif

/* Factors of 32 bits, products of 64. */
TQ_INLINE uint64_t place_of(uint32_t page, uint32_t page_stride, uint32_t row, uint32_t row_stride) {
    return (uint64_t)page * page_stride + (uint64_t)row * row_stride;
}

/* Rows in pieces of 16 bytes, keys' in the order of products. As many lanes take neighbouring pieces of a
 * row as divide its pieces evenly, so that all addresses of a lane are one and what is known beforehand;
 * of rows of an odd number lane l takes piece l, 32 + l .. of a tile. Where a lane's first one lies: */
template <class F> __host__ __device__ constexpr int lanes_of_row() {
    constexpr int PIECES = F::ROW / 16, EVEN = PIECES & -PIECES;
    return EVEN == 1 ? PIECES : EVEN < 32 ? EVEN : 32;
}
template <class F> TQ_INLINE uint64_t lane_offset(uint32_t stride, int lane) {
    constexpr int ALONG = lanes_of_row<F>();
    return (uint64_t)(lane / ALONG) * stride + lane % ALONG * 16;
}
/* Where piece c of a row lies in a stage. */
template <class F, int LANES> TQ_INLINE int piece_at(int row, int c) {
    const int slot = LANES == 4 ? (row & 8) | (row & 3) << 1 | (row >> 2 & 1) : row;
    int begin = 0, at = 0;
#pragma unroll
    for (int i = 0; i < F::PLANES; i++) {
        const int piece = words_of<F, LANES>::CODES * F::width(i) / 8;
        if (c * 16 >= begin)
            at = place<F, true>(i, slot, c * 16 - begin, LANES == 4 ? 4 * piece : piece >= 4 ? 32 : 16);
        begin += F::bytes(i);
    }
    return at;
}
template <class F, int LANES>
TQ_INLINE void copy_rows(uint32_t to, const uint8_t *from, uint32_t stride, int lane) {
    constexpr int PIECES = F::ROW / 16, ALONG = lanes_of_row<F>(), ROWS = 32 / ALONG;
    if constexpr (PIECES % 2 == 0) {
#pragma unroll
        for (int r = 0; r < TILE; r += ROWS)
#pragma unroll
            for (int c = 0; c < PIECES; c += ALONG)
                copy_once(to + piece_at<F, LANES>(r + lane / ALONG, c + lane % ALONG),
                          from + (uint64_t)r * stride + c * 16);
    } else {
#pragma unroll
        for (int n0 = 0; n0 < TILE * PIECES; n0 += 32) {
            const int n = n0 + lane, row = n / PIECES, c = n % PIECES;
            if (TILE * PIECES % 32 != 0 && n >= TILE * PIECES) continue;
            copy_once(to + piece_at<F, LANES>(row, c),
                      from + (int64_t)(row - lane / PIECES) * stride + (c - lane % PIECES) * 16);
        }
    }
}

/* The same, a row at a time, from wherever it lies: lane n knows where row n does. */
template <int BYTES, bool KEYS>
TQ_INLINE void copy_rows_anyhow(uint32_t to, const tq_attend_codes &c, uint64_t row_at, int lane) {
#pragma unroll 1
    for (int n = 0; n < TILE; n++) {
        const uint8_t *const p = c.data + __shfl_sync(~0u, row_at, n);
        const int slot = KEYS ? (n & 8) | (n & 3) << 1 | (n >> 2 & 1) : n;
        const uint32_t s = to + slot * ((BYTES + 15) / 16 * 16);
        if (c.unit == 16)
            for (int at = lane * 16; at < BYTES; at += 512)
                copy_once(s + at, p + at);
        else if (c.unit == 4)
            for (int at = lane * 4; at < BYTES; at += 128)
                copy_async<4>(s + at, p + at);
        else
            for (int at = lane; at < BYTES; at += 32)
                store_shared_byte(s + at, p[at]);
    }
}

#endif

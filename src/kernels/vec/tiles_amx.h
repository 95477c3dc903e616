/* SPDX-License-Identifier: MIT
 * AMX's tiles. */
#ifndef TQ_KERNELS_VEC_TILES_H
#define TQ_KERNELS_VEC_TILES_H

#include <immintrin.h>

#include "kernels/vec/common.h"

/* Compilers up to GCC 12 do not know that a tile is loaded from memory. */
#define V_TILE_LOAD(tile, from, stride)                                                                  \
    do {                                                                                                 \
        __asm__ volatile("" ::: "memory");                                                               \
        _tile_loadd(tile, from, stride);                                                                 \
    } while (0)
#define V_TILE_STORE(tile, to, stride) _tile_stored(tile, to, stride)
#define V_TILE_ZERO(tile)              _tile_zero(tile)

#define V_TILE_DOT_SIGNED(sums, a, b)   _tile_dpbssd(sums, a, b)
#define V_TILE_DOT_UNSIGNED(sums, a, b) _tile_dpbusd(sums, a, b)

/* Tiles of so many rows: those of sums and of rows (attend/tiles_vec.h), by turns the first of a block
 * and the others; the last two of 16. */
V_INLINE void v_tiles_begin(size_t first, size_t others) {
    struct {
        uint8_t palette, start, unused[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } c = {.palette = 1};
    for (unsigned i = 0; i < 8; i++) {
        c.bytes[i] = 64;
        c.rows[i] = (uint8_t)(i >= 6 ? 16 : i % 2 == 0 ? first : others);
    }
    __asm__ volatile("" ::: "memory");
    _tile_loadconfig(&c);
}
V_INLINE void v_tiles_end(void) {
    _tile_release();
}

#endif

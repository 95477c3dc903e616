/* SPDX-License-Identifier: MIT
 * Where a coordinate's bits lie in a row of planes (docs/format.md, "Packing"). */
#ifndef TQ_FORMAT_PLANES_H
#define TQ_FORMAT_PLANES_H

#include "format/tables.h"

/* Widths of the planes of a code of that many bits, lowest bits first; 0 ends the list. */
static inline const unsigned char *tq_plane_widths(unsigned bits) {
    static const unsigned char widths[9][4] = {
        [2] = {2}, [3] = {2, 1}, [4] = {4}, [5] = {4, 1}, [6] = {4, 2}, [7] = {4, 2, 1}, [8] = {8},
    };
    return widths[bits];
}

/* How many vectors of 16 coordinates share a block: the largest power of two, at most 8, that divides
 * n / 16, so that a row is whole blocks. Fields of 8 bits are not grouped: bytes in order. */
static inline unsigned tq_plane_group(unsigned width, size_t n) {
    if (width == 8) return 1;
    const size_t vectors = n / TQ_LANES;
    unsigned group = 8;
    while (vectors % group != 0)
        group /= 2;
    return group;
}

/* First bit of coordinate i's field, counted from the start of its plane. A block is 16 lanes side by
 * side; a lane holds the fields of one coordinate out of each of the block's vectors. */
static inline size_t tq_plane_bit(unsigned width, unsigned group, size_t i) {
    const size_t vector = i / TQ_LANES, lane = i % TQ_LANES;
    const size_t block = vector / group, k = vector % group;
    return width * ((block * TQ_LANES + lane) * group + k);
}

#endif

/* SPDX-License-Identifier: MIT
 * Values as products want them: four positions' codes are interleaved and looked up, and kept where many
 * rows of weights meet them. */
#ifndef TQ_KERNELS_VALUE_TILE_VEC_H
#define TQ_KERNELS_VALUE_TILE_VEC_H

#include "kernels/attend/digits_vec.h"
#include "kernels/attend/fetch_vec.h"

enum { DIGITS_MOST = 128 }; /* positions whose weights are summed up at once */

/* Four positions' planes or codes at one place of a row. */
typedef struct four_codes {
    vb nibbles[4];
    vb codes[2][4];
} four_codes;

/* Of four positions; those that are not there weigh nothing. */
V_INLINE four_codes four_codes_of(const unsigned bits, size_t dim, tq_code_rows packed, size_t t,
                                  size_t piece, size_t at, const bool whole) {
    four_codes c;
    V_FOR (i, 4) {
        const uint8_t *row = tq_row_at(packed, t + i);
        vb both[2];
        if (bits == 4 && whole) {
            c.nibbles[i] = v_bytes_at(row + piece / 2 + at);
            continue;
        }
        digit_load(bits, dim, row, piece, at, whole, both);
        c.codes[0][i] = both[0];
        c.codes[1][i] = both[1];
    }
    return c;
}

/* Bytes of two codes are interleaved before they are taken apart: half of the shuffles. */
V_INLINE vb four_interleaved(const four_codes *c, const unsigned bits, const bool whole,
                             const unsigned odd, const unsigned j) {
    if (bits != 4 || !whole) return v_interleaved(c->codes[odd], j);
    const vb pairs = v_interleaved(c->nibbles, j);
    return odd ? v_nibbles_high(pairs) : v_bytes_and(pairs, 15);
}

/* Where the sums of part j of a half lie, of V_BYTES codes that stand `at` from its start. */
V_INLINE size_t part_place(size_t piece, size_t at, size_t odd, size_t j) {
    return piece + odd * TQ_DIGIT_HALF + j * 16 + at / 4;
}

/* Digits of V_BYTES codes of each half of a piece, of all positions by fours: part after part, by turns
 * V_BYTES high ones and, if there are any, as many low ones. */
typedef struct value_tile {
    _Alignas(64) uint8_t digits[8 * DIGITS_MOST / 4 * 2 * V_BYTES];
} value_tile;

V_INLINE size_t value_tile_at(const unsigned bits, size_t part, size_t t) {
    return (part * DIGITS_MOST / 4 + t / 4) * DIGITS_OF(bits) * V_BYTES;
}

V_INLINE void fill_values(value_tile *tile, const digit_book *b, const unsigned bits, size_t dim,
                          size_t n, tq_code_rows packed, size_t piece, size_t at, const bool whole) {
    for (size_t t = 0; t < n; t += 4) {
        const four_codes codes = four_codes_of(bits, dim, packed, t, piece, at, whole);
        V_FOR (i, 4)
            fetch_ahead(packed, t + i, CODES_NEAR, piece * bits / 8, 16 * bits);
        V_FOR (i, 8) {
            const vb code = four_interleaved(&codes, bits, whole, i / 4, i % 4);
            uint8_t *to = tile->digits + value_tile_at(bits, i, t);
            v_bytes_store_all(to, v_digits(&b->high, bits, code));
            if (bits > 4) v_bytes_store_all(to + V_BYTES, v_digits(&b->low, bits, code));
        }
    }
}

#endif

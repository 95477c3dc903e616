/* SPDX-License-Identifier: MIT
 * Codes to digits, on vectors of V_BYTES of them, for the products of queries and of weights. */
#ifndef TQ_KERNELS_DIGITS_VEC_H
#define TQ_KERNELS_DIGITS_VEC_H

#include <stdbool.h>

#include "kernels/attend/digits.h"

/* The planes of a row of codes; 8 bits: bytes, in nibbles. */
typedef struct digit_planes {
    const uint8_t *nibbles, *crumbs, *flags;
} digit_planes;

V_INLINE digit_planes digit_planes_of(const unsigned bits, size_t dim, const uint8_t *row) {
    digit_planes p = {row, row, row};
    if (bits >= 4) p.crumbs = p.flags = row + dim / 2;
    if ((bits & 2) != 0) p.flags = p.crumbs + dim / 4;
    return p;
}

/* V_BYTES divided by `part`, or n bytes with zeros behind them. */
V_INLINE vb digit_bytes(const uint8_t *p, const unsigned part, const bool whole, size_t n) {
    if (!whole) return v_bytes_some(p, n);
    return part == 1 ? v_bytes_at(p) : part == 2 ? v_bytes_half(p) : v_bytes_quarter(p);
}

/* Codes of the fields that stand `at` and more bytes from the start of a piece's halves, V_BYTES of each.
 * whole: the row has so many; else the piece has `fields`, and codes behind them are 0. */
V_INLINE void digit_codes(const digit_planes *p, const unsigned bits, size_t piece, size_t at,
                          const bool whole, size_t fields, vb codes[2]) {
    const size_t start = piece / 2 + at, n = whole ? V_BYTES : fields / 2 - at;
    if (bits >= 4) {
        const vb nibbles = digit_bytes(p->nibbles + start, 1, whole, n);
        codes[0] = v_bytes_and(nibbles, 15);
        codes[1] = v_nibbles_high(nibbles);
    }
    V_FOR (odd, 2) {
        if ((bits & 2) != 0) {
            const unsigned up = bits >= 4 ? 4 : 0;
            const vb crumbs = digit_bytes(p->crumbs + start / 2, 2, whole, n / 2);
            const vb two = v_bytes_and(v_crumbs(crumbs, odd, up), 3u << up);
            codes[odd] = bits >= 4 ? v_bytes_or(codes[odd], two) : two;
        }
        if ((bits & 1) != 0)
            codes[odd] =
                v_bytes_or(codes[odd], v_flags(digit_bytes(p->flags + start / 4, 4, whole, n / 4), odd,
                                               1u << (bits - 1)));
    }
}

/* The same of codes that are bytes: the second half lies behind the first. */
V_INLINE void digit_octets(const uint8_t *row, size_t piece, size_t at, const bool whole, size_t fields,
                           vb codes[2]) {
    const uint8_t *from = row + piece + at;
    V_FOR (odd, 2) {
        const size_t start = at + odd * TQ_DIGIT_HALF, end = (odd + 1) * TQ_DIGIT_HALF;
        const size_t stop = fields < end ? fields : end;
        if (whole)
            codes[odd] = v_bytes_at(from + odd * TQ_DIGIT_HALF);
        else
            codes[odd] =
                v_bytes_some(row + piece + (start < stop ? start : 0), start < stop ? stop - start : 0);
    }
}

V_INLINE void digit_load(const unsigned bits, size_t dim, const uint8_t *row, size_t piece, size_t at,
                         const bool whole, vb codes[2]) {
    const size_t fields = dim - piece < TQ_DIGIT_PIECE ? dim - piece : TQ_DIGIT_PIECE;
    const digit_planes p = digit_planes_of(bits, dim, row);
    if (bits == 8)
        digit_octets(row, piece, at, whole, fields, codes);
    else
        digit_codes(&p, bits, piece, at, whole, fields, codes);
}

/* Whether a piece has V_BYTES in each half from `at` on, and whether it has any. */
V_INLINE bool digits_whole(const unsigned bits, size_t dim, size_t piece, size_t at) {
    const size_t fields = dim - piece;
    return fields >= TQ_DIGIT_PIECE || (bits < 8 && fields / 2 >= at + V_BYTES);
}
V_INLINE size_t digits_in_half(const unsigned bits, size_t dim, size_t piece) {
    const size_t fields = dim - piece;
    if (fields >= TQ_DIGIT_PIECE) return TQ_DIGIT_HALF;
    return bits < 8 ? fields / 2 : fields < TQ_DIGIT_HALF ? fields : TQ_DIGIT_HALF;
}

/* A book's digits, ready for lookups. */
typedef struct digit_book {
    v_digit_table high, low;
} digit_book;

V_INLINE digit_book digit_book_load(const tq_codebook_tables *book, const unsigned bits, int bias) {
    digit_book b;
    b.high = v_digit_table_load(book->digits->high, bits, bias);
    if (bits > 4) b.low = v_digit_table_load(book->digits->low, bits, bias);
    return b;
}

/* Whether products with keys are of words, as tq_takes_words() says. */
#define KEY_WORDS(bits) ((bits) == 5 || (bits) == 6)

/* The digits of keys, or the bytes of their words. */
V_INLINE digit_book key_book_load(const tq_codebook_tables *book, const unsigned bits, int bias) {
    digit_book b;
    if (!KEY_WORDS(bits)) return digit_book_load(book, bits, bias);
    b.high = v_digit_table_load(book->digits->word_high, bits, 0);
    b.low = v_digit_table_load(book->digits->word_low, bits, 0);
    return b;
}

/* Keys, n of them: where their codes lie, or a tile of their digits. */
typedef struct digit_keys {
    const digit_book *book;
    size_t dim, n;
    tq_code_rows rows;
    const uint8_t *tile;
    size_t stride;
} digit_keys;

/* How many accumulators a product of so many bits takes: as many as numbers have digits. */
#define DIGITS_OF(bits) ((bits) > 4 ? 2u : 1u)

/* Rows of queries, or of weights, in the largest blocks that registers hold: RUN(q, rows that are there).
 * One row of zeros more costs less than what is looked up once more for a row by itself. */
#define DIGITS_BY_ROWS(RUN)                                                                              \
    for (size_t r = 0, here; r < rows; r += here) {                                                      \
        const size_t left = rows - r;                                                                    \
        if (V_DIGIT_ROWS == 8 && left >= 7) {                                                            \
            here = left < 8 ? left : 8;                                                                  \
            RUN(V_DIGIT_ROWS, here);                                                                     \
        } else if (left >= 3) {                                                                          \
            here = left < 4 ? left : 4;                                                                  \
            RUN(4, here);                                                                                \
        } else if (left == 2) {                                                                          \
            here = 2;                                                                                    \
            RUN(2, here);                                                                                \
        } else {                                                                                         \
            here = 1;                                                                                    \
            RUN(1, here);                                                                                \
        }                                                                                                \
    }

/* Calls RUN(bits) with a constant for the book at hand. */
#define DIGITS_SWITCH(bits, RUN)                                                                         \
    switch (bits) {                                                                                      \
        V_CASES_2_TO_6(RUN)                                                                              \
    case 7:                                                                                              \
        RUN(7);                                                                                          \
        break;                                                                                           \
    default:                                                                                             \
        RUN(8);                                                                                          \
        break;                                                                                           \
    }

#endif

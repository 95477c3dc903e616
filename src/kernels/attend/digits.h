/* SPDX-License-Identifier: MIT
 * Numbers as digits: in which order they lie, and a row of queries as integers. */
#ifndef TQ_KERNELS_DIGITS_H
#define TQ_KERNELS_DIGITS_H

#include <stdbool.h>

#include "format/planes.h"
#include "kernels/kernels.h"

/* Digits lie as codes do when bytes of planes are taken apart: of every 128 fields the even ones, which
 * are low nibbles, then the odd ones; so that a vector of codes meets its digits without a shuffle. Rows
 * are filled up with zeros to whole such pieces. Codes of 8 bits lie in order. */
enum { TQ_DIGIT_PIECE = 128, TQ_DIGIT_HALF = TQ_DIGIT_PIECE / 2 };

static inline size_t tq_digit_room(size_t dim) {
    return (dim + TQ_DIGIT_PIECE - 1) / TQ_DIGIT_PIECE * TQ_DIGIT_PIECE;
}

/* Where the digit of coordinate i lies. */
static inline size_t tq_digit_place(unsigned bits, size_t dim, size_t i) {
    if (bits == 8) return i;
    const size_t field = tq_plane_bit(1, tq_plane_group(bits, dim), i), in = field % TQ_DIGIT_PIECE;
    return field - in + in % 2 * TQ_DIGIT_HALF + in / 2;
}

/* Where the sum of values of coordinate i lies. Four positions' digits are multiplied at once, and come
 * side by side by interleaving within 16 bytes: part j of that holds bytes 4 j to 4 j + 3 of each 16, and
 * the parts of 64 bytes follow each other. */
static inline size_t tq_sum_place(unsigned bits, size_t dim, size_t i) {
    const size_t place = tq_digit_place(bits, dim, i), in = place % TQ_DIGIT_HALF;
    return place - in + in % 16 / 4 * 16 + in / 16 * 4 + in % 4;
}

/* How a row of queries begins; digits [1 or 2][room] follow, as many as the centroids have, or bytes
 * [2][room] of words: the high ones, and the low ones. */
typedef struct tq_query_head {
    float
        factor; /* times the integer product: the score but for the key's norm; NaN: it was not finite */
    int32_t sums[2]; /* of the high digits, and of the low ones; 0 of words */
    int32_t unused[13];
} tq_query_head;

/* Rows of weights whose products are summed up at once, at most. */
enum { TQ_DIGIT_ROWS = 32 };

/* Largest numbers: queries in one digit, in two and in words, weights in one and in two. Digits of
 * queries are signed, 128 high + low with low from -64 to 63. Those of weights are not: one has 8 bits,
 * two have 7.
 */
enum {
    TQ_QUERY_ONE = 127,
    TQ_QUERY_TWO = 127 * 128,
    TQ_QUERY_WORD = 2047,
    TQ_WEIGHT_ONE = 255,
    TQ_WEIGHT_TWO = 127 * 128 + 127
};

/* What is below this is as good as zero: its inverse would not fit. */
#define TQ_DIGIT_LEAST 0x1p-100f

static inline size_t tq_query_bytes(size_t dim) {
    return sizeof(tq_query_head) + 2 * tq_digit_room(dim);
}

static inline const int8_t *tq_query_digits_of(const void *row) {
    return (const int8_t *)((const tq_query_head *)row + 1);
}

/* Whether products with keys are of words. */
static inline bool tq_takes_words(const tq_codebook_tables *book) {
    return book->digits->word_high != NULL;
}

static inline int tq_query_most(const tq_codebook_tables *book) {
    return tq_takes_words(book) ? TQ_QUERY_WORD : book->digits->low != NULL ? TQ_QUERY_TWO : TQ_QUERY_ONE;
}

/* What the product of a query's whole number and a centroid's is in units of. */
static inline float tq_query_unit(const tq_codebook_tables *book) {
    return tq_takes_words(book) ? book->digits->word_unit : book->digits->unit;
}

/* A word of its bytes. */
static inline int32_t tq_word_of(int high, int low) {
    return 256 * high + (uint8_t)low;
}

/* A whole number to its high digit and its low one. */
static inline void tq_query_split(int whole, int *high, int *low) {
    *high = (whole + 64 + (1 << 20)) / 128 - (1 << 13);
    *low = whole - 128 * *high;
}

#endif

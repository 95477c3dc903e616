/* SPDX-License-Identifier: MIT
 * Products of digits by tiles: matrices of 16 rows of 64 bytes, whose product adds up four bytes at a
 * time (AMX). For so many rows that they fill tiles; fewer are better off with V_FEWER's vectors.
 *
 * V_TILE_LOAD(tile, from, stride), V_TILE_STORE, V_TILE_ZERO, V_TILE_DOT_SIGNED(sums, a, b) and
 * V_TILE_DOT_UNSIGNED, whose a has no signs, are macros: tiles are numbered by constants. */
#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/attend/value_tile_vec.h"

enum {
    TILE_ROWS = 16,
    TILE_BYTES = TILE_ROWS * 64,
    BLOCK_ROWS = 2 * TILE_ROWS, /* rows of queries or of weights that are worked on at once */
    TILES_FROM = 16             /* rows */
};

/* The tiles: sums of high digits' products, and of those with one low digit, each of a block's first 16
 * rows and of its others; rows of these; what they meet. Compilers write these numbers into names. */
#define HIGH_0    0
#define HIGH_1    1
#define LOW_0     2
#define LOW_1     3
#define ROWS_0    4
#define ROWS_1    5
#define MEET_HIGH 6
#define MEET_LOW  7

/* Sums of a block's rows, as tiles give them. */
typedef struct tile_sums {
    _Alignas(64) int32_t high[BLOCK_ROWS][16], low[BLOCK_ROWS][16];
} tile_sums;

V_INLINE void sums_begin(const bool two, size_t rows) {
    V_TILE_ZERO(HIGH_0);
    if (two) V_TILE_ZERO(LOW_0);
    if (rows <= TILE_ROWS) return;
    V_TILE_ZERO(HIGH_1);
    if (two) V_TILE_ZERO(LOW_1);
}

V_INLINE void sums_end(const bool two, size_t rows, tile_sums *to) {
    V_TILE_STORE(HIGH_0, to->high[0], 64);
    if (two) V_TILE_STORE(LOW_0, to->low[0], 64);
    if (rows <= TILE_ROWS) return;
    V_TILE_STORE(HIGH_1, to->high[TILE_ROWS], 64);
    if (two) V_TILE_STORE(LOW_1, to->low[TILE_ROWS], 64);
}

/* The whole sums of row r, in place of its high ones. */
V_INLINE void sums_join(const bool two, tile_sums *s, size_t r) {
    if (!two) return;
    v_bytes_store_all((uint8_t *)s->high[r], v_sums_join(v_bytes_at(s->high[r]), v_bytes_at(s->low[r])));
}

/* ---- scores: rows of queries' digits, as they lie, times tiles of keys' ---- */

/* Digits of 16 keys: 64 places of a row after the other, by turns high ones and, if there are any, low
 * ones; four places of all keys side by side. */
typedef struct key_tiles {
    _Alignas(64) uint8_t digits[TQ_MAX_DIM / 64 * 2 * TILE_BYTES];
} key_tiles;

V_INLINE void store_key_tile(const digit_book *b, const unsigned bits, const vb codes[TILE_ROWS],
                             uint8_t *to) {
    V_FOR (i, TILE_ROWS) {
        v_bytes_store_all(to + 64 * i, v_digits(&b->high, bits, codes[i]));
        if (bits > 4) v_bytes_store_all(to + TILE_BYTES + 64 * i, v_digits(&b->low, bits, codes[i]));
    }
}

/* Of 16 keys those that are not there are the first once more: their scores are left out. */
V_INLINE const uint8_t *key_at(const digit_keys *k, size_t i) {
    return tq_row_at(k->rows, i < k->n ? i : 0);
}

/* Bytes of two codes are brought into order before they are taken apart: half of the shuffles. */
V_INLINE void fill_key_nibbles(const digit_keys *k, size_t piece, uint8_t *to) {
    vb x[TILE_ROWS];
    V_FOR (i, TILE_ROWS) {
        const uint8_t *from = key_at(k, i) + piece / 2;
        fetch_ahead(k->rows, i, TILE_ROWS, piece / 2, 64);
        x[i] = v_bytes_at(from);
    }
    v_fours_transpose(x);
    V_FOR (i, TILE_ROWS) {
        v_bytes_store_all(to + 64 * i, v_digits(&k->book->high, 4, v_bytes_and(x[i], 15)));
        v_bytes_store_all(to + TILE_BYTES + 64 * i, v_digits(&k->book->high, 4, v_nibbles_high(x[i])));
    }
}

V_INLINE void fill_key_piece(const digit_keys *k, const unsigned bits, size_t piece, const bool whole,
                             uint8_t *to) {
    vb x[2][TILE_ROWS];
    V_FOR (i, TILE_ROWS) {
        const uint8_t *row = key_at(k, i);
        vb codes[2];
        fetch_ahead(k->rows, i, TILE_ROWS, piece * bits / 8, 16 * bits);
        digit_load(bits, k->dim, row, piece, 0, whole, codes);
        x[0][i] = codes[0];
        x[1][i] = codes[1];
    }
    V_FOR (odd, 2) {
        v_fours_transpose(x[odd]);
        store_key_tile(k->book, bits, x[odd], to + odd * DIGITS_OF(bits) * TILE_BYTES);
    }
}

V_INLINE void fill_keys(const digit_keys *k, const unsigned bits, key_tiles *tiles) {
    for (size_t piece = 0; piece < k->dim; piece += TQ_DIGIT_PIECE) {
        uint8_t *to = tiles->digits + piece / 64 * DIGITS_OF(bits) * TILE_BYTES;
        const bool whole = digits_whole(bits, k->dim, piece, 0);
        if (whole && bits == 4)
            fill_key_nibbles(k, piece, to);
        else if (whole)
            fill_key_piece(k, bits, piece, true, to);
        else
            fill_key_piece(k, bits, piece, false, to);
    }
}

/* A product of 64 places: rows of queries, `stride` bytes apart, whose low digits lie `room` further. */
#define SCORE_TILE(two, rows_of, high, low, queries, stride, room)                                       \
    do {                                                                                                 \
        V_TILE_LOAD(rows_of, queries, stride);                                                           \
        V_TILE_DOT_SIGNED(high, rows_of, MEET_HIGH);                                                     \
        if (two) {                                                                                       \
            V_TILE_DOT_SIGNED(low, rows_of, MEET_LOW);                                                   \
            V_TILE_LOAD(rows_of, (queries) + (room), stride);                                            \
            V_TILE_DOT_SIGNED(low, rows_of, MEET_HIGH);                                                  \
        }                                                                                                \
    } while (0)

static __attribute__((noinline)) void score_keys(const key_tiles *tiles, const bool two, size_t room,
                                                 size_t rows, const uint8_t *queries, size_t query_stride,
                                                 size_t n, float *scores, size_t n_stride) {
    const uint8_t *digits = tiles->digits;
    tile_sums sums;
    sums_begin(two, rows);
    for (size_t place = 0; place < room; place += 64, digits += (two ? 2 : 1) * TILE_BYTES) {
        const uint8_t *q = queries + sizeof(tq_query_head) + place;
        V_TILE_LOAD(MEET_HIGH, digits, 64);
        if (two) V_TILE_LOAD(MEET_LOW, digits + TILE_BYTES, 64);
        SCORE_TILE(two, ROWS_0, HIGH_0, LOW_0, q, query_stride, room);
        if (rows > TILE_ROWS)
            SCORE_TILE(two, ROWS_1, HIGH_1, LOW_1, q + TILE_ROWS * query_stride, query_stride, room);
    }
    sums_end(two, rows, &sums);
    for (size_t r = 0; r < rows; r++) {
        float factor, out[16];
        memcpy(&factor, queries + r * query_stride + offsetof(tq_query_head, factor), sizeof factor);
        sums_join(two, &sums, r);
        v_store(out, v_mul(v_load_ints(sums.high[r]), v_set(factor)));
        memcpy(scores + r * n_stride, out, n * sizeof *out);
    }
}
#undef SCORE_TILE

V_INLINE void score_tiles_of(const tq_codebook_tables *book, const unsigned bits, size_t dim, size_t rows,
                             const uint8_t *queries, size_t query_stride, size_t n, tq_code_rows packed,
                             float *scores, size_t n_stride) {
    const digit_book b = digit_book_load(book, bits, 0);
    key_tiles tiles;
    for (size_t t = 0; t < n; t += TILE_ROWS) {
        const size_t here = n - t < TILE_ROWS ? n - t : TILE_ROWS;
        const digit_keys k = {&b, dim, here, tq_rows_from(packed, t), NULL, 0};
        fill_keys(&k, bits, &tiles);
        score_keys(&tiles, bits > 4, tq_digit_room(dim), rows, queries, query_stride, here, scores + t,
                   n_stride);
    }
}

/* So many rows at a time that tiles hold; what is left, if that is few, goes to vectors, and so do words,
 * which tiles do not multiply. */
void V_NAME(score_digits)(const tq_codebook_tables *book, size_t dim, size_t rows, const void *queries,
                          size_t query_stride, size_t n, tq_code_rows packed, float *scores,
                          size_t n_stride) {
    const uint8_t *q = queries;
    assert(dim % TQ_LANES == 0 && dim <= TQ_MAX_DIM && book->digits != NULL);
    for (size_t here; rows >= TILES_FROM && !tq_takes_words(book);
         rows -= here, q += here * query_stride, scores += here * n_stride) {
        here = rows < BLOCK_ROWS ? rows : BLOCK_ROWS;
        v_tiles_begin(TILE_ROWS, here > TILE_ROWS ? here - TILE_ROWS : 1);
#define RUN(bits)                                                                                        \
    if (!KEY_WORDS(bits))                                                                                \
    score_tiles_of(book, bits, dim, here, q, query_stride, n, packed, scores, n_stride)
        DIGITS_SWITCH(book->bits, RUN);
#undef RUN
        v_tiles_end();
    }
    if (rows > 0) V_FEWER(score_digits)
    (book, dim, rows, q, query_stride, n, packed, scores, n_stride);
}

/* ---- sums of values: rows of weights times tiles of values' digits ---- */

/* Weights with zeros behind them. */
typedef struct tile_weights {
    _Alignas(64) uint8_t digits[2][BLOCK_ROWS][DIGITS_MOST];
} tile_weights;

V_INLINE void take_weights(tile_weights *w, const bool two, size_t rows, const uint8_t *weights,
                           size_t weight_stride, size_t n) {
    for (size_t d = 0; d < (two ? 2 : 1); d++)
        for (size_t r = 0; r < rows; r++) {
            const uint8_t *from = weights + r * weight_stride + d * (weight_stride / 2);
            for (size_t t = 0; t < n; t += 64)
                v_bytes_store_all(w->digits[d][r] + t, v_bytes_some(from + t, n - t));
        }
}

#define ADD_TILE(two, rows_of, high, low, w, first, t)                                                   \
    do {                                                                                                 \
        V_TILE_LOAD(rows_of, (w)->digits[0][first] + (t), DIGITS_MOST);                                  \
        V_TILE_DOT_UNSIGNED(high, rows_of, MEET_HIGH);                                                   \
        if (two) {                                                                                       \
            V_TILE_DOT_UNSIGNED(low, rows_of, MEET_LOW);                                                 \
            V_TILE_LOAD(rows_of, (w)->digits[1][first] + (t), DIGITS_MOST);                              \
            V_TILE_DOT_UNSIGNED(low, rows_of, MEET_HIGH);                                                \
        }                                                                                                \
    } while (0)

/* n: a multiple of 64. to: the sums of part 0 of the piece, of the first row. */
static __attribute__((noinline)) void add_values(const value_tile *tile, const tile_weights *w,
                                                 const bool two, size_t rows, size_t n, int32_t *to,
                                                 size_t sum_stride) {
    const unsigned bits = two ? 5 : 4; /* a digit is a digit */
    const size_t stride = (two ? 2 : 1) * 64;
    for (size_t part = 0; part < 8; part++) {
        tile_sums sums;
        sums_begin(two, rows);
        for (size_t t = 0; t < n; t += 64) {
            const uint8_t *digits = tile->digits + value_tile_at(bits, part, t);
            V_TILE_LOAD(MEET_HIGH, digits, stride);
            if (two) V_TILE_LOAD(MEET_LOW, digits + 64, stride);
            ADD_TILE(two, ROWS_0, HIGH_0, LOW_0, w, 0, t);
            if (rows > TILE_ROWS) ADD_TILE(two, ROWS_1, HIGH_1, LOW_1, w, TILE_ROWS, t);
        }
        sums_end(two, rows, &sums);
        for (size_t r = 0; r < rows; r++) {
            sums_join(two, &sums, r);
            v_sums_add(v_bytes_at(sums.high[r]),
                       to + r * sum_stride + part_place(0, 0, part / 4, part % 4));
        }
    }
}
#undef ADD_TILE

/* Digits of positions that are not there, to a whole tile: weights there are zeros. */
V_INLINE void fill_rest(value_tile *tile, const unsigned bits, size_t n, size_t end) {
    for (size_t part = 0; part < 8; part++)
        for (size_t t = (n + 3) / 4 * 4; t < end; t += 4)
            memset(tile->digits + value_tile_at(bits, part, t), 0, DIGITS_OF(bits) * 64);
}

V_INLINE void accumulate_tiles_of(const tq_codebook_tables *book, const unsigned bits, size_t dim,
                                  size_t rows, const uint8_t *weights, size_t weight_stride, size_t n,
                                  tq_code_rows packed, int32_t *sums, size_t sum_stride) {
    const digit_book b = digit_book_load(book, bits, 0);
    const size_t end = (n + 63) / 64 * 64;
    tile_weights w;
    value_tile tile;
    take_weights(&w, bits > 4, rows, weights, weight_stride, n);
    fill_rest(&tile, bits, n, end);
    for (size_t piece = 0; piece < dim; piece += TQ_DIGIT_PIECE) {
        if (digits_whole(bits, dim, piece, 0))
            fill_values(&tile, &b, bits, dim, n, packed, piece, 0, true);
        else
            fill_values(&tile, &b, bits, dim, n, packed, piece, 0, false);
        add_values(&tile, &w, bits > 4, rows, end, sums + piece, sum_stride);
    }
}

void V_NAME(accumulate_digits)(const tq_codebook_tables *book, size_t dim, size_t rows,
                               const uint8_t *weights, size_t weight_stride, size_t n,
                               tq_code_rows packed, int32_t *sums, size_t sum_stride) {
    assert(dim % TQ_LANES == 0 && dim <= TQ_MAX_DIM && n <= DIGITS_MOST && rows <= TQ_DIGIT_ROWS &&
           book->digits != NULL);
    if (rows < TILES_FROM) {
        V_FEWER(accumulate_digits)
        (book, dim, rows, weights, weight_stride, n, packed, sums, sum_stride);
        return;
    }
    v_tiles_begin(TILE_ROWS, rows > TILE_ROWS ? rows - TILE_ROWS : 1);
#define RUN(bits)                                                                                        \
    accumulate_tiles_of(book, bits, dim, rows, weights, weight_stride, n, packed, sums, sum_stride)
    DIGITS_SWITCH(book->bits, RUN);
#undef RUN
    v_tiles_end();
}

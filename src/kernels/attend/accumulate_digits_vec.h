/* SPDX-License-Identifier: MIT
 * Sums of values in integers: four positions' codes are interleaved and looked up, and the digits meet
 * the weights of all rows that share the head; they are kept in a tile where these are more than
 * registers hold. */
#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/attend/value_tile_vec.h"

/* Rows of weights with zeros behind them, to four positions and to all of a block's rows. */
typedef struct digit_weights {
    _Alignas(64) uint8_t digits[2][V_DIGIT_ROWS][DIGITS_MOST];
    int32_t totals[2][V_DIGIT_ROWS]; /* of digits; where values' digits have a bias */
    size_t rows;                     /* that are there */
} digit_weights;

V_INLINE int32_t total_of(const uint8_t *digits, size_t n) {
    int32_t sum = 0;
    for (size_t t = 0; t < n; t++)
        sum += digits[t];
    return sum;
}

V_INLINE void gather_weights(digit_weights *g, const unsigned bits, const unsigned q,
                             const uint8_t *weights, size_t weight_stride, size_t n) {
    for (unsigned d = 0; d < DIGITS_OF(bits); d++)
        for (unsigned r = 0; r < q; r++) {
            const uint8_t *from = weights + r * weight_stride + d * (weight_stride / 2);
            for (size_t t = 0; t < n; t += V_BYTES)
                v_bytes_store_all(g->digits[d][r] + t, v_bytes_some(from + t, r < g->rows ? n - t : 0));
            if (V_VALUE_BIAS != 0) g->totals[d][r] = total_of(g->digits[d][r], n);
        }
}

/* What the bias of values' digits adds to the sums of row r, of products of high digits (0) and of those
 * with one low digit (1). */
V_INLINE int32_t value_bias(const digit_weights *g, const unsigned bits, const unsigned d, unsigned r) {
    if (V_VALUE_BIAS == 0) return 0;
    return V_VALUE_BIAS * (g->totals[0][r] + (bits > 4 && d == 1 ? g->totals[1][r] : 0));
}

/* Where part i lies: parts that come of the same shuffles follow each other. */
#define PART_ODD(bits, i) ((bits) == 4 ? (i) % 2 : (i) / 4)
#define PART_J(bits, i)   ((bits) == 4 ? (i) / 2 : (i) % 4)

/* Sums of `parts` parts for `q` rows: products of high digits, and of those with one low digit. */
typedef struct value_sums {
    vi high[V_SUMS], low[V_SUMS];
} value_sums;

V_INLINE void value_sums_begin(value_sums *s, const digit_weights *g, const unsigned bits,
                               const unsigned q, const unsigned parts) {
    V_FOR (r, q)
        V_FOR (i, parts) {
            s->high[r * parts + i] = v_sums_of(-value_bias(g, bits, 0, r));
            s->low[r * parts + i] = v_sums_of(-value_bias(g, bits, 1, r));
        }
}

/* Weights of four positions from t on. */
typedef struct four_weights {
    v_weight high[V_DIGIT_ROWS], low[V_DIGIT_ROWS];
} four_weights;

V_INLINE four_weights four_weights_of(const digit_weights *g, const unsigned bits, const unsigned q,
                                      size_t t) {
    four_weights w;
    V_FOR (r, q) {
        w.high[r] = v_weight_of(g->digits[0][r] + t);
        if (bits > 4) w.low[r] = v_weight_of(g->digits[1][r] + t);
    }
    return w;
}

/* Digits of part i, of four positions, times their weights. */
V_INLINE void value_sums_add(value_sums *s, const four_weights *w, const unsigned bits, const unsigned q,
                             const unsigned parts, const unsigned i, vb high, vb low) {
    const v_value value = v_value_of(high);
    if (bits <= 4) {
        V_FOR (r, q)
            s->high[r * parts + i] = v_dot_value(s->high[r * parts + i], &w->high[r], &value);
        return;
    }
    const v_value value_low = v_value_of(low);
    V_FOR (r, q) {
        vi *h = &s->high[r * parts + i], *l = &s->low[r * parts + i];
        *h = v_dot_value(*h, &w->high[r], &value);
        *l = v_dot_value(v_dot_value(*l, &w->high[r], &value_low), &w->low[r], &value);
    }
}

/* to: the sums of part i, of the first row. */
V_INLINE void value_sums_end(const value_sums *s, const digit_weights *g, const unsigned bits,
                             const unsigned q, const unsigned parts, const unsigned i, int32_t *to,
                             size_t sum_stride) {
    V_FOR (r, q) {
        const vi high = s->high[r * parts + i];
        if (r < g->rows)
            v_sums_add(bits <= 4 ? high : v_sums_join(high, s->low[r * parts + i]), to + r * sum_stride);
    }
}

/* Sums of parts [first, first + parts) of V_BYTES codes of each half of a piece: registers hold so many
 * for `q` rows. */
V_INLINE void accumulate_digits_parts(const digit_book *b, const digit_weights *g, const unsigned bits,
                                      const unsigned q, const unsigned first, const unsigned parts,
                                      size_t dim, size_t n, tq_code_rows packed, size_t piece, size_t at,
                                      const bool whole, int32_t *sums, size_t sum_stride) {
    value_sums s;
    value_sums_begin(&s, g, bits, q, parts);
    for (size_t t = 0; t < n; t += 4) {
        const four_codes codes = four_codes_of(bits, dim, packed, t, piece, at, whole);
        const four_weights w = four_weights_of(g, bits, q, t);
        if (first == 0)
            V_FOR (i, 4)
                fetch_ahead(packed, t + i, CODES_NEAR, piece * bits / 8, 16 * bits);
        V_FOR (i, parts) {
            const vb code =
                four_interleaved(&codes, bits, whole, PART_ODD(bits, first + i), PART_J(bits, first + i));
            const vb high = v_digits(&b->high, bits, code);
            value_sums_add(&s, &w, bits, q, parts, i, high,
                           bits > 4 ? v_digits(&b->low, bits, code) : high);
        }
    }
    V_FOR (i, parts)
        value_sums_end(&s, g, bits, q, parts, i,
                       sums + part_place(piece, at, PART_ODD(bits, first + i), PART_J(bits, first + i)),
                       sum_stride);
}

/* The end of rows of an odd dimension, a row of weights at a time: kernels for it would double the code.
 */
static __attribute__((noinline)) void accumulate_digits_rest(const digit_book *b, unsigned bits,
                                                             size_t dim, const uint8_t *weights,
                                                             size_t weight_stride, size_t n,
                                                             tq_code_rows packed, size_t piece, size_t at,
                                                             int32_t *sums) {
    digit_weights g;
    g.rows = 1;
#define REST(bits, first)                                                                                \
    accumulate_digits_parts(b, &g, bits, 1, first, 4, dim, n, packed, piece, at, false, sums, 0)
#define RUN(bits)                                                                                        \
    gather_weights(&g, bits, 1, weights, weight_stride, n);                                              \
    REST(bits, 0);                                                                                       \
    REST(bits, 4)
    DIGITS_SWITCH(bits, RUN);
#undef RUN
#undef REST
}

V_INLINE void accumulate_digits_rows(const digit_book *b, const unsigned bits, const unsigned q,
                                     size_t rows, size_t dim, const uint8_t *weights,
                                     size_t weight_stride, size_t n, tq_code_rows packed, int32_t *sums,
                                     size_t sum_stride) {
    const unsigned fit = V_SUMS / (q * DIGITS_OF(bits)), parts = fit > 8 ? 8 : fit < 1 ? 1 : fit;
    digit_weights g;
    g.rows = rows;
    gather_weights(&g, bits, q, weights, weight_stride, n);
    for (size_t piece = 0; piece < dim; piece += TQ_DIGIT_PIECE) {
        const size_t half = digits_in_half(bits, dim, piece);
        for (size_t at = 0; at < half; at += V_BYTES) {
#define PARTS(i)                                                                                         \
    if ((i)*parts < 8)                                                                                   \
    accumulate_digits_parts(b, &g, bits, q, (i)*parts, parts, dim, n, packed, piece, at, true, sums,     \
                            sum_stride)
            if (digits_whole(bits, dim, piece, at)) {
                V_FOR (i, 8)
                    PARTS(i);
            } else {
                for (unsigned r = 0; r < rows; r++)
                    accumulate_digits_rest(b, bits, dim, weights + r * weight_stride, weight_stride, n,
                                           packed, piece, at, sums + r * sum_stride);
            }
#undef PARTS
        }
    }
}

V_INLINE void accumulate_tile_of(const value_tile *tile, const digit_weights *g, const unsigned bits,
                                 size_t n, size_t piece, size_t at, int32_t *sums, size_t sum_stride) {
    const unsigned q = V_DIGIT_ROWS, fit = V_SUMS / (q * DIGITS_OF(bits)), parts = fit < 1 ? 1 : fit;
    for (unsigned first = 0; first < 8; first += parts) {
        value_sums s;
        value_sums_begin(&s, g, bits, q, parts);
        for (size_t t = 0; t < n; t += 4) {
            const four_weights w = four_weights_of(g, bits, q, t);
            V_FOR (i, parts) {
                const uint8_t *from = tile->digits + value_tile_at(bits, first + i, t);
                const vb high = v_bytes_at(from);
                value_sums_add(&s, &w, bits, q, parts, i, high,
                               bits > 4 ? v_bytes_at(from + V_BYTES) : high);
            }
        }
        V_FOR (i, parts)
            value_sums_end(&s, g, bits, q, parts, i,
                           sums + part_place(piece, at, (first + i) / 4, (first + i) % 4), sum_stride);
    }
}

/* Not once more for every number of bits: a digit is a digit. */
static __attribute__((noinline)) void accumulate_tile(const value_tile *tile, const digit_weights *g,
                                                      const bool two, size_t n, size_t piece, size_t at,
                                                      int32_t *sums, size_t sum_stride) {
    if (two)
        accumulate_tile_of(tile, g, 5, n, piece, at, sums, sum_stride);
    else
        accumulate_tile_of(tile, g, 4, n, piece, at, sums, sum_stride);
}

V_INLINE void accumulate_many_rows(const digit_book *b, const unsigned bits, size_t dim, size_t rows,
                                   const uint8_t *weights, size_t weight_stride, size_t n,
                                   tq_code_rows packed, int32_t *sums, size_t sum_stride) {
    digit_weights g[TQ_DIGIT_ROWS / V_DIGIT_ROWS];
    value_tile tile;
    const size_t blocks = (rows - 1) / V_DIGIT_ROWS + 1;
    for (size_t i = 0; i < blocks; i++) {
        const size_t r = i * V_DIGIT_ROWS, left = rows - r;
        g[i].rows = left < V_DIGIT_ROWS ? left : V_DIGIT_ROWS;
        gather_weights(&g[i], bits, V_DIGIT_ROWS, weights + r * weight_stride, weight_stride, n);
    }
    for (size_t piece = 0; piece < dim; piece += TQ_DIGIT_PIECE) {
        const size_t half = digits_in_half(bits, dim, piece);
        for (size_t at = 0; at < half; at += V_BYTES)
            if (digits_whole(bits, dim, piece, at)) {
                fill_values(&tile, b, bits, dim, n, packed, piece, at, true);
                for (size_t i = 0; i < blocks; i++)
                    accumulate_tile(&tile, &g[i], bits > 4, n, piece, at,
                                    sums + i * V_DIGIT_ROWS * sum_stride, sum_stride);
            } else {
                for (size_t r = 0; r < rows; r++)
                    accumulate_digits_rest(b, bits, dim, weights + r * weight_stride, weight_stride, n,
                                           packed, piece, at, sums + r * sum_stride);
            }
    }
}

V_INLINE void accumulate_digits_of(const tq_codebook_tables *book, const unsigned bits, size_t dim,
                                   size_t rows, const uint8_t *weights, size_t weight_stride, size_t n,
                                   tq_code_rows packed, int32_t *sums, size_t sum_stride) {
    const digit_book b = digit_book_load(book, bits, V_VALUE_BIAS);
    if (rows > V_DIGIT_ROWS) {
        accumulate_many_rows(&b, bits, dim, rows, weights, weight_stride, n, packed, sums, sum_stride);
        return;
    }
#define RUN(q, here)                                                                                     \
    accumulate_digits_rows(&b, bits, q, here, dim, weights + r * weight_stride, weight_stride, n,        \
                           packed, sums + r * sum_stride, sum_stride)
    DIGITS_BY_ROWS(RUN)
#undef RUN
}

void V_NAME(accumulate_digits)(const tq_codebook_tables *book, size_t dim, size_t rows,
                               const uint8_t *weights, size_t weight_stride, size_t n,
                               tq_code_rows packed, int32_t *sums, size_t sum_stride) {
    assert(dim % TQ_LANES == 0 && dim <= TQ_MAX_DIM && n <= DIGITS_MOST && rows <= TQ_DIGIT_ROWS &&
           book->digits != NULL);
#define RUN(bits)                                                                                        \
    accumulate_digits_of(book, bits, dim, rows, weights, weight_stride, n, packed, sums, sum_stride)
    DIGITS_SWITCH(book->bits, RUN);
#undef RUN
}

/* SPDX-License-Identifier: MIT
 * Attention in integers, on vectors of V_BYTES digits: a code's digits go from the lookup straight into
 * the products of all queries, or all weights, that share its head. */
#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/attend/digits.h"
#include "kernels/attend/fetch_vec.h"
#include "kernels/kernels.h"

enum { DIGITS_MOST = 128 }; /* positions whose weights are summed up at once */

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
    vb x[2];
    if (bits >= 4) {
        x[0] = digit_bytes(p->nibbles + start, 1, whole, n);
        x[1] = v_nibbles_high(x[0]);
        x[0] = v_bytes_and(x[0], 15);
    }
    V_FOR (odd, 2) {
        codes[odd] = x[odd];
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

/* How many accumulators a product of so many bits takes: as many as numbers have digits. */
#define DIGITS_OF(bits) ((bits) > 4 ? 2u : 1u)

/* Rows of queries as blocks of keys want them: the digits of V_BYTES fields of every row, then those of
 * the next, so that one pointer serves all rows. Rows that are not there are zeros. */
typedef struct digit_rows {
    _Alignas(64) int8_t digits[V_DIGIT_ROWS * 2 * TQ_MAX_DIM];
    int32_t bias[V_SUMS]; /* what keys' digits with a bias add to a sum, by sum of a block */
    float factors[V_SUMS];
    size_t rows; /* that are there */
} digit_rows;

/* Sums go by modulo 2^32. */
V_INLINE uint32_t score_bias(const tq_query_head *head, const unsigned bits) {
    const uint32_t high = (uint32_t)head->sums[0], low = (uint32_t)head->sums[1];
    return V_KEY_BIAS * (bits <= 4 ? high : 128 * high + high + low);
}

V_INLINE void gather_digits(digit_rows *g, const unsigned bits, const unsigned q, size_t dim,
                            const uint8_t *queries, size_t query_stride) {
    const size_t room = tq_digit_room(dim), row_bytes = DIGITS_OF(bits) * V_BYTES;
    for (unsigned r = 0; r < q; r++)
        for (unsigned d = 0; d < DIGITS_OF(bits); d++) {
            int8_t *to = g->digits + r * row_bytes + d * V_BYTES;
            const int8_t *from = tq_query_digits_of(queries + r * query_stride) + d * room;
            for (size_t place = 0; place < room; place += V_BYTES, to += q * row_bytes)
                if (r < g->rows)
                    memcpy(to, from + place, V_BYTES);
                else
                    memset(to, 0, V_BYTES);
        }
}

/* The bias and the factor of each sum of blocks of n keys. */
V_INLINE void gather_heads(digit_rows *g, const unsigned bits, const unsigned n, const uint8_t *queries,
                           size_t query_stride) {
    for (size_t i = 0; i < V_SUMS; i++) {
        const size_t r = i / n < g->rows ? i / n : 0;
        tq_query_head head;
        memcpy(&head, queries + r * query_stride, sizeof head);
        g->bias[i] = (int32_t)score_bias(&head, bits);
        g->factors[i] = head.factor;
    }
}

/* V_BYTES codes of each half of a piece, of n keys, times `q` queries. high: products of high digits,
 * low: those with one low digit. */
V_INLINE void score_digits_step(const digit_book *b, const digit_rows *g, const unsigned bits,
                                const unsigned q, const unsigned n, size_t dim, const uint8_t *packed,
                                size_t packed_stride, size_t piece, size_t at, const bool whole, vi *high,
                                vi *low) {
    V_FOR (t, n) {
        vb codes[2];
        digit_load(bits, dim, packed + t * packed_stride, piece, at, whole, codes);
        V_FOR (odd, 2) {
            const int8_t *query = g->digits + (piece + odd * TQ_DIGIT_HALF + at) * q * DIGITS_OF(bits);
            const vb key = v_digits(&b->high, bits, codes[odd]);
            if (bits <= 4) {
                V_FOR (r, q)
                    high[r * n + t] = v_dot_key(high[r * n + t], key, v_bytes_at(query + r * V_BYTES));
                continue;
            }
            const vb key_low = v_digits(&b->low, bits, codes[odd]);
            V_FOR (r, q) {
                const vb digit = v_bytes_at(query + 2 * r * V_BYTES);
                high[r * n + t] = v_dot_key(high[r * n + t], key, digit);
                low[r * n + t] = v_dot_key(low[r * n + t], key_low, digit);
                low[r * n + t] =
                    v_dot_key(low[r * n + t], key, v_bytes_at(query + (2 * r + 1) * V_BYTES));
            }
        }
    }
}

V_INLINE void score_digits_block(const digit_book *b, const digit_rows *g, const unsigned bits,
                                 const unsigned q, const unsigned n, size_t dim, const uint8_t *packed,
                                 size_t packed_stride, float *scores, size_t n_stride) {
    vi high[V_SUMS], low[V_SUMS];
    float out[V_SUMS];
    V_FOR (i, V_SUMS) /* sums are taken by fours and more */
        high[i] = low[i] = v_sums_of(0);
    for (size_t piece = 0; piece < dim; piece += TQ_DIGIT_PIECE) {
        const size_t half = digits_in_half(bits, dim, piece);
        for (unsigned t = 0; t < n; t++)
            fetch_ahead(packed + t * packed_stride + piece * bits / 8, 16 * bits, packed_stride);
        for (size_t at = 0; at < half; at += V_BYTES)
            if (digits_whole(bits, dim, piece, at))
                score_digits_step(b, g, bits, q, n, dim, packed, packed_stride, piece, at, true, high,
                                  low);
            else
                score_digits_step(b, g, bits, q, n, dim, packed, packed_stride, piece, at, false, high,
                                  low);
    }
    if (bits > 4)
        V_FOR (i, q * n)
            high[i] = v_sums_join(high[i], low[i]);
    v_sums_scaled(high, q * n, g->bias, g->factors, out);
    V_FOR (r, q)
        if (r < g->rows) memcpy(scores + r * n_stride, out + r * n, n * sizeof *out);
}

V_INLINE void score_digits_rows(const digit_book *b, const unsigned bits, const unsigned q, size_t rows,
                                size_t dim, const uint8_t *queries, size_t query_stride, size_t n,
                                const uint8_t *packed, size_t packed_stride, float *scores,
                                size_t n_stride) {
    const unsigned fit = V_SUMS / (q * DIGITS_OF(bits)), block = fit > 8 ? 8 : fit < 1 ? 1 : fit;
    digit_rows g;
    size_t t = 0;
    g.rows = rows;
    gather_digits(&g, bits, q, dim, queries, query_stride);
    gather_heads(&g, bits, block, queries, query_stride);
    for (; n - t >= block; t += block)
        score_digits_block(b, &g, bits, q, block, dim, packed + t * packed_stride, packed_stride,
                           scores + t, n_stride);
    if (t == n) return;
    gather_heads(&g, bits, 1, queries, query_stride);
    for (; t < n; t++)
        score_digits_block(b, &g, bits, q, 1, dim, packed + t * packed_stride, packed_stride, scores + t,
                           n_stride);
}

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

V_INLINE void score_digits_of(const tq_codebook_tables *book, const unsigned bits, size_t dim,
                              size_t rows, const uint8_t *queries, size_t query_stride, size_t n,
                              const uint8_t *packed, size_t packed_stride, float *scores,
                              size_t n_stride) {
    const digit_book b = digit_book_load(book, bits, V_KEY_BIAS);
#define RUN(q, here)                                                                                     \
    score_digits_rows(&b, bits, q, here, dim, queries + r * query_stride, query_stride, n, packed,       \
                      packed_stride, scores + r * n_stride, n_stride)
    DIGITS_BY_ROWS(RUN)
#undef RUN
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

void V_NAME(score_digits)(const tq_codebook_tables *book, size_t dim, size_t rows, const void *queries,
                          size_t query_stride, size_t n, const uint8_t *packed, size_t packed_stride,
                          float *scores, size_t n_stride) {
    assert(dim % TQ_LANES == 0 && dim <= TQ_MAX_DIM && book->digits != NULL);
#define RUN(bits)                                                                                        \
    score_digits_of(book, bits, dim, rows, queries, query_stride, n, packed, packed_stride, scores,      \
                    n_stride)
    DIGITS_SWITCH(book->bits, RUN);
#undef RUN
}

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

/* Four positions' planes or codes at one place of a row. */
typedef struct four_codes {
    vb nibbles[4];
    vb codes[2][4];
} four_codes;

/* Of positions, of which there are n, those that are not there are the first once more, and weigh
 * nothing. */
V_INLINE four_codes four_codes_of(const unsigned bits, size_t dim, const uint8_t *packed,
                                  size_t packed_stride, size_t n, size_t piece, size_t at,
                                  const bool whole) {
    four_codes c;
    V_FOR (t, 4) {
        const uint8_t *row = packed + (t < n ? t : 0) * packed_stride;
        vb both[2];
        if (bits == 4 && whole) {
            c.nibbles[t] = v_bytes_at(row + piece / 2 + at);
            continue;
        }
        digit_load(bits, dim, row, piece, at, whole, both);
        c.codes[0][t] = both[0];
        c.codes[1][t] = both[1];
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

/* Where part i lies: parts that come of the same shuffles follow each other. */
#define PART_ODD(bits, i) ((bits) == 4 ? (i) % 2 : (i) / 4)
#define PART_J(bits, i)   ((bits) == 4 ? (i) / 2 : (i) % 4)

/* Sums of parts [first, first + parts) of V_BYTES codes of each half of a piece: registers hold so many
 * for `q` rows. */
V_INLINE void accumulate_digits_parts(const digit_book *b, const digit_weights *g, const unsigned bits,
                                      const unsigned q, const unsigned first, const unsigned parts,
                                      size_t dim, size_t n, const uint8_t *packed, size_t packed_stride,
                                      size_t piece, size_t at, const bool whole, int32_t *sums,
                                      size_t sum_stride) {
    vi high[V_SUMS], low[V_SUMS];
    V_FOR (r, q)
        V_FOR (i, parts) {
            high[r * parts + i] = v_sums_of(-value_bias(g, bits, 0, r));
            low[r * parts + i] = v_sums_of(-value_bias(g, bits, 1, r));
        }
    for (size_t t = 0; t < n; t += 4) {
        const four_codes codes =
            four_codes_of(bits, dim, packed + t * packed_stride, packed_stride, n - t, piece, at, whole);
        v_weight w[V_DIGIT_ROWS], w_low[V_DIGIT_ROWS];
        if (first == 0)
            V_FOR (i, 4)
                fetch_ahead(packed + (t + i) * packed_stride + piece * bits / 8, 16 * bits,
                            packed_stride);
        V_FOR (r, q) {
            w[r] = v_weight_of(g->digits[0][r] + t);
            if (bits > 4) w_low[r] = v_weight_of(g->digits[1][r] + t);
        }
        V_FOR (i, parts) {
            const vb code =
                four_interleaved(&codes, bits, whole, PART_ODD(bits, first + i), PART_J(bits, first + i));
            const v_value value = v_value_of(v_digits(&b->high, bits, code));
            if (bits <= 4) {
                V_FOR (r, q)
                    high[r * parts + i] = v_dot_value(high[r * parts + i], &w[r], &value);
                continue;
            }
            const v_value value_low = v_value_of(v_digits(&b->low, bits, code));
            V_FOR (r, q) {
                vi *h = &high[r * parts + i], *l = &low[r * parts + i];
                *h = v_dot_value(*h, &w[r], &value);
                *l = v_dot_value(v_dot_value(*l, &w[r], &value_low), &w_low[r], &value);
            }
        }
    }
    V_FOR (r, q) {
        if (r >= g->rows) continue;
        V_FOR (i, parts) {
            const unsigned odd = PART_ODD(bits, first + i), j = PART_J(bits, first + i);
            const vi sum =
                bits <= 4 ? high[r * parts + i] : v_sums_join(high[r * parts + i], low[r * parts + i]);
            v_sums_add(sum, sums + r * sum_stride + piece + odd * TQ_DIGIT_HALF + j * 16 + at / 4);
        }
    }
}

/* The end of rows of an odd dimension, a row of weights at a time: kernels for it would double the code.
 */
static __attribute__((noinline)) void accumulate_digits_rest(const digit_book *b, unsigned bits,
                                                             size_t dim, const uint8_t *weights,
                                                             size_t weight_stride, size_t n,
                                                             const uint8_t *packed, size_t packed_stride,
                                                             size_t piece, size_t at, int32_t *sums) {
    digit_weights g;
    g.rows = 1;
#define REST(bits, first)                                                                                \
    accumulate_digits_parts(b, &g, bits, 1, first, 4, dim, n, packed, packed_stride, piece, at, false,   \
                            sums, 0)
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
                                     size_t weight_stride, size_t n, const uint8_t *packed,
                                     size_t packed_stride, int32_t *sums, size_t sum_stride) {
    const unsigned fit = V_SUMS / (q * DIGITS_OF(bits)), parts = fit > 8 ? 8 : fit < 1 ? 1 : fit;
    digit_weights g;
    g.rows = rows;
    gather_weights(&g, bits, q, weights, weight_stride, n);
    for (size_t piece = 0; piece < dim; piece += TQ_DIGIT_PIECE) {
        const size_t half = digits_in_half(bits, dim, piece);
        for (size_t at = 0; at < half; at += V_BYTES) {
#define PARTS(i)                                                                                         \
    if ((i)*parts < 8)                                                                                   \
    accumulate_digits_parts(b, &g, bits, q, (i)*parts, parts, dim, n, packed, packed_stride, piece, at,  \
                            true, sums, sum_stride)
            if (digits_whole(bits, dim, piece, at)) {
                V_FOR (i, 8)
                    PARTS(i);
            } else {
                for (unsigned r = 0; r < rows; r++)
                    accumulate_digits_rest(b, bits, dim, weights + r * weight_stride, weight_stride, n,
                                           packed, packed_stride, piece, at, sums + r * sum_stride);
            }
#undef PARTS
        }
    }
}

V_INLINE void accumulate_digits_of(const tq_codebook_tables *book, const unsigned bits, size_t dim,
                                   size_t rows, const uint8_t *weights, size_t weight_stride, size_t n,
                                   const uint8_t *packed, size_t packed_stride, int32_t *sums,
                                   size_t sum_stride) {
    const digit_book b = digit_book_load(book, bits, V_VALUE_BIAS);
#define RUN(q, here)                                                                                     \
    accumulate_digits_rows(&b, bits, q, here, dim, weights + r * weight_stride, weight_stride, n,        \
                           packed, packed_stride, sums + r * sum_stride, sum_stride)
    DIGITS_BY_ROWS(RUN)
#undef RUN
}

void V_NAME(accumulate_digits)(const tq_codebook_tables *book, size_t dim, size_t rows,
                               const uint8_t *weights, size_t weight_stride, size_t n,
                               const uint8_t *packed, size_t packed_stride, int32_t *sums,
                               size_t sum_stride) {
    assert(dim % TQ_LANES == 0 && dim <= TQ_MAX_DIM && n <= DIGITS_MOST && book->digits != NULL);
#define RUN(bits)                                                                                        \
    accumulate_digits_of(book, bits, dim, rows, weights, weight_stride, n, packed, packed_stride, sums,  \
                         sum_stride)
    DIGITS_SWITCH(book->bits, RUN);
#undef RUN
}

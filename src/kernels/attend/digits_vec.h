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

/* How many accumulators a product of so many bits takes. */
#define DIGITS_OF(bits) ((bits) > 4 ? 2u : 1u)

/* V_BYTES codes of each half of a piece, of n keys, times `q` queries. high: products of high digits,
 * low: those with one low digit. */
V_INLINE void score_digits_step(const digit_book *b, const unsigned bits, const unsigned q,
                                const unsigned n, size_t dim, const int8_t *queries, size_t query_stride,
                                const uint8_t *packed, size_t packed_stride, size_t piece, size_t at,
                                const bool whole, vi *high, vi *low) {
    const size_t room = tq_digit_room(dim);
    V_FOR (t, n) {
        vb codes[2];
        digit_load(bits, dim, packed + t * packed_stride, piece, at, whole, codes);
        V_FOR (odd, 2) {
            const int8_t *query = queries + piece + odd * TQ_DIGIT_HALF + at;
            const vb key = v_digits(&b->high, bits, codes[odd]);
            if (bits <= 4) {
                V_FOR (r, q)
                    high[r * n + t] =
                        v_dot_key(high[r * n + t], key, v_bytes_at(query + r * query_stride));
                continue;
            }
            const vb key_low = v_digits(&b->low, bits, codes[odd]);
            V_FOR (r, q) {
                const vb digit = v_bytes_at(query + r * query_stride);
                high[r * n + t] = v_dot_key(high[r * n + t], key, digit);
                low[r * n + t] = v_dot_key(low[r * n + t], key_low, digit);
                low[r * n + t] =
                    v_dot_key(low[r * n + t], key, v_bytes_at(query + r * query_stride + room));
            }
        }
    }
}

/* What keys' digits with a bias add to a row's sum; sums go by modulo 2^32. */
V_INLINE uint32_t score_bias(const tq_query_head *head, const unsigned bits) {
    const uint32_t high = (uint32_t)head->sums[0], low = (uint32_t)head->sums[1];
    return V_KEY_BIAS * (bits <= 4 ? high : 128 * high + high + low);
}

V_INLINE void score_digits_block(const digit_book *b, const unsigned bits, const unsigned q,
                                 const unsigned n, size_t dim, const uint8_t *queries,
                                 size_t query_stride, const uint8_t *packed, size_t packed_stride,
                                 float *scores, size_t n_stride) {
    enum { MOST = V_SUMS < 2 * V_DIGIT_ROWS ? 2 * V_DIGIT_ROWS : V_SUMS };
    const int8_t *digits = tq_query_digits_of(queries);
    vi high[MOST], low[MOST];
    V_FOR (i, q * n)
        high[i] = low[i] = v_no_sums();
    for (size_t i = q * n; i < MOST; i++) /* groups of four below */
        high[i] = low[i] = v_no_sums();
    for (size_t piece = 0; piece < dim; piece += TQ_DIGIT_PIECE) {
        const size_t half = digits_in_half(bits, dim, piece);
        for (unsigned t = 0; t < n; t++)
            fetch_ahead(packed + t * packed_stride + piece * bits / 8, 16 * bits, packed_stride);
        for (size_t at = 0; at < half; at += V_BYTES)
            if (digits_whole(bits, dim, piece, at))
                score_digits_step(b, bits, q, n, dim, digits, query_stride, packed, packed_stride, piece,
                                  at, true, high, low);
            else
                score_digits_step(b, bits, q, n, dim, digits, query_stride, packed, packed_stride, piece,
                                  at, false, high, low);
    }
    int32_t sums[MOST];
    if (bits > 4)
        V_FOR (i, q * n)
            high[i] = v_sums_join(high[i], low[i]);
    V_FOR (i, (q * n + 3) / 4)
        v_sum4(high + 4 * i, sums + 4 * i);
    V_FOR (r, q) {
        const tq_query_head *head = (const tq_query_head *)(const void *)(queries + r * query_stride);
        const uint32_t bias = score_bias(head, bits);
        V_FOR (t, n)
            scores[r * n_stride + t] = (float)(int32_t)((uint32_t)sums[r * n + t] - bias) * head->factor;
    }
}

V_INLINE void score_digits_rows(const digit_book *b, const unsigned bits, const unsigned q, size_t dim,
                                const uint8_t *queries, size_t query_stride, size_t n,
                                const uint8_t *packed, size_t packed_stride, float *scores,
                                size_t n_stride) {
    const unsigned fit = V_SUMS / (q * DIGITS_OF(bits)), block = fit > 8 ? 8 : fit < 1 ? 1 : fit;
    size_t t = 0;
    for (; n - t >= block; t += block)
        score_digits_block(b, bits, q, block, dim, queries, query_stride, packed + t * packed_stride,
                           packed_stride, scores + t, n_stride);
    for (; t < n; t++)
        score_digits_block(b, bits, q, 1, dim, queries, query_stride, packed + t * packed_stride,
                           packed_stride, scores + t, n_stride);
}

/* Rows of queries, or of weights, in the largest blocks that registers hold. */
#define DIGITS_BY_ROWS(RUN)                                                                              \
    do {                                                                                                 \
        size_t r = 0;                                                                                    \
        for (; V_DIGIT_ROWS == 8 && rows - r >= 8; r += 8) {                                             \
            RUN(8);                                                                                      \
        }                                                                                                \
        for (; rows - r >= 4; r += 4) {                                                                  \
            RUN(4);                                                                                      \
        }                                                                                                \
        for (; rows - r >= 2; r += 2) {                                                                  \
            RUN(2);                                                                                      \
        }                                                                                                \
        if (r < rows) {                                                                                  \
            RUN(1);                                                                                      \
        }                                                                                                \
    } while (0)

V_INLINE void score_digits_of(const tq_codebook_tables *book, const unsigned bits, size_t dim,
                              size_t rows, const uint8_t *queries, size_t query_stride, size_t n,
                              const uint8_t *packed, size_t packed_stride, float *scores,
                              size_t n_stride) {
    const digit_book b = digit_book_load(book, bits, V_KEY_BIAS);
#define RUN(q)                                                                                           \
    score_digits_rows(&b, bits, q, dim, queries + r * query_stride, query_stride, n, packed,             \
                      packed_stride, scores + r * n_stride, n_stride)
    DIGITS_BY_ROWS(RUN);
#undef RUN
}

/* Calls RUN(bits) with a constant for the book at hand. */
#define DIGITS_SWITCH(bits, RUN)                                                                         \
    switch (bits) {                                                                                      \
    case 2:                                                                                              \
        RUN(2);                                                                                          \
        break;                                                                                           \
    case 3:                                                                                              \
        RUN(3);                                                                                          \
        break;                                                                                           \
    case 4:                                                                                              \
        RUN(4);                                                                                          \
        break;                                                                                           \
    case 5:                                                                                              \
        RUN(5);                                                                                          \
        break;                                                                                           \
    case 6:                                                                                              \
        RUN(6);                                                                                          \
        break;                                                                                           \
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

/* The codes of four positions, of which there are n: those that are not there are the first once more,
 * and weigh nothing. */
V_INLINE void value_codes(const unsigned bits, size_t dim, const uint8_t *packed, size_t packed_stride,
                          size_t n, size_t piece, size_t at, const bool whole, vb codes[2][4]) {
    V_FOR (t, 4) {
        vb both[2];
        digit_load(bits, dim, packed + (t < n ? t : 0) * packed_stride, piece, at, whole, both);
        codes[0][t] = both[0];
        codes[1][t] = both[1];
    }
}

V_INLINE uint32_t four_weights(const uint8_t *weights, size_t n) {
    uint32_t four = 0;
    memcpy(&four, weights, n < 4 ? n : 4); /* byte t is position t's on little-endian processors */
    return four;
}

/* Sums of parts [first, first + parts) of V_BYTES codes of each half of a piece, or of those of one half
 * alone: registers hold so many for `q` rows. A part of half `odd` is numbered 4 odd + j. */
V_INLINE void accumulate_digits_parts(const digit_book *b, const unsigned bits, const unsigned q,
                                      const unsigned first, const unsigned parts, size_t dim,
                                      const uint8_t *weights, size_t weight_stride, size_t n,
                                      const uint8_t *packed, size_t packed_stride, size_t piece,
                                      size_t at, const bool whole, int32_t *sums, size_t sum_stride) {
    vi high[V_SUMS], low[V_SUMS];
    V_FOR (i, q * parts)
        high[i] = low[i] = v_no_sums();
    for (size_t t = 0; t < n; t += 4) {
        vb codes[2][4];
        v_weight w[V_DIGIT_ROWS], w_low[V_DIGIT_ROWS];
        value_codes(bits, dim, packed + t * packed_stride, packed_stride, n - t, piece, at, whole, codes);
        if (first == 0)
            V_FOR (i, 4)
                fetch_ahead(packed + (t + i) * packed_stride + piece * bits / 8, 16 * bits,
                            packed_stride);
        V_FOR (r, q) {
            w[r] = v_weight_of(four_weights(weights + r * weight_stride + t, n - t));
            if (bits > 4)
                w_low[r] =
                    v_weight_of(four_weights(weights + r * weight_stride + weight_stride / 2 + t, n - t));
        }
        V_FOR (i, parts) {
            const unsigned odd = (first + i) / 4, j = (first + i) % 4;
            const vb code = v_interleaved(codes[odd], j), value = v_digits(&b->high, bits, code);
            if (bits <= 4) {
                V_FOR (r, q)
                    high[r * parts + i] = v_dot_value(high[r * parts + i], &w[r], value);
                continue;
            }
            const vb value_low = v_digits(&b->low, bits, code);
            V_FOR (r, q) {
                vi *h = &high[r * parts + i], *l = &low[r * parts + i];
                *h = v_dot_value(*h, &w[r], value);
                *l = v_dot_value(v_dot_value(*l, &w[r], value_low), &w_low[r], value);
            }
        }
    }
    V_FOR (r, q)
        V_FOR (i, parts) {
            const unsigned odd = (first + i) / 4, j = (first + i) % 4;
            const vi sum =
                bits <= 4 ? high[r * parts + i] : v_sums_join(high[r * parts + i], low[r * parts + i]);
            v_sums_add(sum, sums + r * sum_stride + piece + odd * TQ_DIGIT_HALF + j * 16 + at / 4);
        }
}

/* The end of rows of an odd dimension, a row of weights at a time: kernels for it would double the code.
 */
static __attribute__((noinline)) void accumulate_digits_rest(const digit_book *b, unsigned bits,
                                                             size_t dim, const uint8_t *weights,
                                                             size_t weight_stride, size_t n,
                                                             const uint8_t *packed, size_t packed_stride,
                                                             size_t piece, size_t at, int32_t *sums) {
#define REST(bits, first)                                                                                \
    accumulate_digits_parts(b, bits, 1, first, 4, dim, weights, weight_stride, n, packed, packed_stride, \
                            piece, at, false, sums, 0)
#define RUN(bits)                                                                                        \
    REST(bits, 0);                                                                                       \
    REST(bits, 4)
    DIGITS_SWITCH(bits, RUN);
#undef RUN
#undef REST
}

V_INLINE void accumulate_digits_rows(const digit_book *b, const unsigned bits, const unsigned q,
                                     size_t dim, const uint8_t *weights, size_t weight_stride, size_t n,
                                     const uint8_t *packed, size_t packed_stride, int32_t *sums,
                                     size_t sum_stride) {
    const unsigned fit = V_SUMS / (q * DIGITS_OF(bits)), parts = fit > 8 ? 8 : fit < 1 ? 1 : fit;
    for (size_t piece = 0; piece < dim; piece += TQ_DIGIT_PIECE) {
        const size_t half = digits_in_half(bits, dim, piece);
        for (size_t at = 0; at < half; at += V_BYTES) {
#define PARTS(i, whole)                                                                                  \
    if ((i)*parts < 8)                                                                                   \
    accumulate_digits_parts(b, bits, q, (i)*parts, parts, dim, weights, weight_stride, n, packed,        \
                            packed_stride, piece, at, whole, sums, sum_stride)
            if (digits_whole(bits, dim, piece, at)) {
                V_FOR (i, 8)
                    PARTS(i, true);
            } else {
                for (unsigned r = 0; r < q; r++)
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
    const digit_book b = digit_book_load(book, bits, 0);
#define RUN(q)                                                                                           \
    accumulate_digits_rows(&b, bits, q, dim, weights + r * weight_stride, weight_stride, n, packed,      \
                           packed_stride, sums + r * sum_stride, sum_stride)
    DIGITS_BY_ROWS(RUN);
#undef RUN
}

void V_NAME(accumulate_digits)(const tq_codebook_tables *book, size_t dim, size_t rows,
                               const uint8_t *weights, size_t weight_stride, size_t n,
                               const uint8_t *packed, size_t packed_stride, int32_t *sums,
                               size_t sum_stride) {
    assert(dim % TQ_LANES == 0 && dim <= TQ_MAX_DIM && book->digits != NULL);
#define RUN(bits)                                                                                        \
    accumulate_digits_of(book, bits, dim, rows, weights, weight_stride, n, packed, packed_stride, sums,  \
                         sum_stride)
    DIGITS_SWITCH(book->bits, RUN);
#undef RUN
}

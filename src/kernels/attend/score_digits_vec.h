/* SPDX-License-Identifier: MIT
 * Scores in integers: a key's digits go from the lookup straight into the products of all queries that
 * share its head, and are kept in a tile where these are more than registers hold. */
#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/attend/digits_vec.h"
#include "kernels/attend/fetch_vec.h"

enum { KEYS_MOST = 8 }; /* of a block */

/* Sums of a product: of high digits, and of those with one low digit. */
#define KEY_SUMS(bits) (KEY_WORDS(bits) ? 1u : DIGITS_OF(bits))

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
    if (KEY_WORDS(bits)) return 0;
    return V_KEY_BIAS * (bits <= 4 ? high : 128 * high + high + low);
}

/* The words of a row that is there, in the order of keys' words. */
V_INLINE void gather_words(const int8_t *high, const int8_t *low, int8_t *to) {
    const vb from_low = v_bytes_at(low), from_high = v_bytes_at(high);
    v_bytes_store_all((uint8_t *)to, v_words_first(from_low, from_high));
    v_bytes_store_all((uint8_t *)to + V_BYTES, v_words_last(from_low, from_high));
}

V_INLINE void gather_digits(digit_rows *g, const unsigned bits, const unsigned q, size_t dim,
                            const uint8_t *queries, size_t query_stride) {
    const size_t room = tq_digit_room(dim), row_bytes = DIGITS_OF(bits) * V_BYTES;
    for (unsigned r = 0; KEY_WORDS(bits) && r < q; r++) {
        const int8_t *from = tq_query_digits_of(queries + r * query_stride);
        int8_t *to = g->digits + r * row_bytes;
        for (size_t place = 0; place < room; place += V_BYTES, to += q * row_bytes)
            if (r < g->rows)
                gather_words(from + place, from + room + place, to);
            else
                memset(to, 0, row_bytes);
    }
    for (unsigned r = 0; !KEY_WORDS(bits) && r < q; r++)
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

/* The digits of V_BYTES codes of each half of a piece of a key, or their words: the first half of them
 * and the second. ready: its row is what this gives, by turns V_BYTES high ones and, if there are any, as
 * many low ones. */
V_INLINE void key_digits(const digit_keys *k, const unsigned bits, const bool ready, const uint8_t *row,
                         size_t piece, size_t at, const bool whole, vb high[2], vb low[2]) {
    vb codes[2];
    if (!ready) digit_load(bits, k->dim, row, piece, at, whole, codes);
    V_FOR (odd, 2) {
        const uint8_t *digits = row + (piece + odd * TQ_DIGIT_HALF + at) * DIGITS_OF(bits);
        high[odd] = ready ? v_bytes_at(digits) : v_digits(&k->book->high, bits, codes[odd]);
        if (bits > 4)
            low[odd] = ready ? v_bytes_at(digits + V_BYTES) : v_digits(&k->book->low, bits, codes[odd]);
        if (KEY_WORDS(bits) && !ready) {
            const vb first = v_words_first(low[odd], high[odd]);
            low[odd] = v_words_last(low[odd], high[odd]);
            high[odd] = first;
        }
    }
}

/* V_BYTES codes of each half of a piece, of n keys, times `q` queries. high: products of high digits,
 * low: those with one low digit. */
V_INLINE void score_digits_step(const digit_keys *k, const digit_rows *g, const unsigned bits,
                                const bool ready, const unsigned q, const unsigned n,
                                const uint8_t *const *rows, size_t piece, size_t at, const bool whole,
                                vi *high, vi *low) {
    V_FOR (i, n) {
        vb keys[2], keys_low[2];
        key_digits(k, bits, ready, rows[i], piece, at, whole, keys, keys_low);
        V_FOR (odd, 2) {
            const int8_t *query = g->digits + (piece + odd * TQ_DIGIT_HALF + at) * q * DIGITS_OF(bits);
            V_FOR (r, q) {
                const vb digit = v_bytes_at(query + DIGITS_OF(bits) * r * V_BYTES);
                vi *h = &high[r * n + i], *l = &low[r * n + i];
                if (KEY_WORDS(bits)) {
                    *h = v_dot_words(*h, keys[odd], digit);
                    *h = v_dot_words(*h, keys_low[odd], v_bytes_at(query + (2 * r + 1) * V_BYTES));
                    continue;
                }
                *h = v_dot_key(*h, keys[odd], digit);
                if (bits <= 4) continue;
                *l = v_dot_key(*l, keys_low[odd], digit);
                *l = v_dot_key(*l, keys[odd], v_bytes_at(query + (2 * r + 1) * V_BYTES));
            }
        }
    }
}

V_INLINE void score_digits_block(const digit_keys *k, const digit_rows *g, const unsigned bits,
                                 const bool ready, const unsigned q, const unsigned n, size_t t,
                                 float *scores, size_t n_stride) {
    const uint8_t *rows[KEYS_MOST];
    vi high[V_SUMS], low[V_SUMS];
    float out[V_SUMS];
    V_FOR (i, n)
        rows[i] = ready ? k->tile + (t + i) * k->stride : tq_row_at(k->rows, t + i);
    V_FOR (i, V_SUMS) /* sums are taken by fours and more */
        high[i] = low[i] = v_sums_of(0);
    for (size_t piece = 0; piece < k->dim; piece += TQ_DIGIT_PIECE) {
        const size_t half = digits_in_half(bits, k->dim, piece);
        for (unsigned i = 0; !ready && i < n; i++)
            fetch_ahead(k->rows, t + i, CODES_NEAR, piece * bits / 8, 16 * bits);
        for (size_t at = 0; at < (ready ? TQ_DIGIT_HALF : half); at += V_BYTES)
            if (ready || digits_whole(bits, k->dim, piece, at))
                score_digits_step(k, g, bits, ready, q, n, rows, piece, at, true, high, low);
            else
                score_digits_step(k, g, bits, ready, q, n, rows, piece, at, false, high, low);
    }
    if (KEY_SUMS(bits) == 2)
        V_FOR (i, q * n)
            high[i] = v_sums_join(high[i], low[i]);
    v_sums_scaled(high, q * n, g->bias, g->factors, out);
    V_FOR (r, q)
        if (r < g->rows) memcpy(scores + r * n_stride + t, out + r * n, n * sizeof *out);
}

V_INLINE void score_digits_rows(const digit_keys *k, const unsigned bits, const bool ready,
                                const unsigned q, size_t rows, const uint8_t *queries,
                                size_t query_stride, float *scores, size_t n_stride) {
    const unsigned fit = V_SUMS / (q * KEY_SUMS(bits)), block = fit > KEYS_MOST ? KEYS_MOST
                                                                : fit < 1       ? 1
                                                                                : fit;
    digit_rows g;
    size_t t = 0;
    g.rows = rows;
    gather_digits(&g, bits, q, k->dim, queries, query_stride);
    gather_heads(&g, bits, block, queries, query_stride);
    for (; k->n - t >= block; t += block)
        score_digits_block(k, &g, bits, ready, q, block, t, scores, n_stride);
    if (t == k->n) return;
    gather_heads(&g, bits, 1, queries, query_stride);
    for (; t < k->n; t++)
        score_digits_block(k, &g, bits, ready, q, 1, t, scores, n_stride);
}

/* Digits of so many bytes are kept for all blocks of many rows: half of a first-level cache of 32 KiB. */
enum { KEY_TILE = 16384 };

/* Codes to digits as key_digits() takes them. What lies behind a row's end is met by zeros of queries. */
V_INLINE void fill_keys(const digit_keys *k, const unsigned bits, size_t n, uint8_t *tile,
                        size_t stride) {
    for (size_t t = 0; t < n; t++) {
        const uint8_t *row = tq_row_at(k->rows, t);
        for (size_t piece = 0; piece < k->dim; piece += TQ_DIGIT_PIECE) {
            const size_t half = digits_in_half(bits, k->dim, piece);
            fetch_ahead(k->rows, t, CODES_NEAR, piece * bits / 8, 16 * bits);
            for (size_t at = 0; at < half; at += V_BYTES) {
                vb high[2], low[2];
                if (digits_whole(bits, k->dim, piece, at))
                    key_digits(k, bits, false, row, piece, at, true, high, low);
                else
                    key_digits(k, bits, false, row, piece, at, false, high, low);
                V_FOR (odd, 2) {
                    uint8_t *to =
                        tile + t * stride + (piece + odd * TQ_DIGIT_HALF + at) * DIGITS_OF(bits);
                    v_bytes_store_all(to, high[odd]);
                    if (bits > 4) v_bytes_store_all(to + V_BYTES, low[odd]);
                }
            }
        }
    }
}

/* Not once more for every number of bits: a digit is a digit. */
static __attribute__((noinline)) void score_tile(const digit_keys *k, const unsigned bits, size_t rows,
                                                 const uint8_t *queries, size_t query_stride,
                                                 float *scores, size_t n_stride) {
    for (size_t r = 0; r < rows; r += V_DIGIT_ROWS) {
        const size_t here = rows - r < V_DIGIT_ROWS ? rows - r : V_DIGIT_ROWS;
        const uint8_t *query = queries + r * query_stride;
#define TILE(like)                                                                                       \
    score_digits_rows(k, like, true, V_DIGIT_ROWS, here, query, query_stride, scores + r * n_stride,     \
                      n_stride)
        if (KEY_WORDS(bits))
            TILE(6);
        else if (bits > 4)
            TILE(8);
        else
            TILE(4);
#undef TILE
    }
}

V_INLINE void score_many_rows(digit_keys k, const unsigned bits, size_t rows, const uint8_t *queries,
                              size_t query_stride, float *scores, size_t n_stride) {
    const size_t stride = tq_digit_room(k.dim) * DIGITS_OF(bits), most = KEY_TILE / stride;
    _Alignas(64) uint8_t digits[KEY_TILE];
    if (k.dim % TQ_DIGIT_PIECE != 0) memset(digits, 0, sizeof digits);
    for (size_t n; k.n > 0; k.n -= n, k.rows = tq_rows_from(k.rows, n), scores += n) {
        n = k.n < most ? k.n : most;
        const digit_keys tile = {.dim = k.dim, .n = n, .tile = digits, .stride = stride};
        fill_keys(&k, bits, n, digits, stride);
        score_tile(&tile, bits, rows, queries, query_stride, scores, n_stride);
    }
}

V_INLINE void score_digits_of(const tq_codebook_tables *book, const unsigned bits, size_t dim,
                              size_t rows, const uint8_t *queries, size_t query_stride, size_t n,
                              tq_code_rows packed, float *scores, size_t n_stride) {
    const digit_book b = key_book_load(book, bits, V_KEY_BIAS);
    const digit_keys k = {&b, dim, n, packed, NULL, 0};
    if (rows > V_DIGIT_ROWS) {
        score_many_rows(k, bits, rows, queries, query_stride, scores, n_stride);
        return;
    }
#define RUN(q, here)                                                                                     \
    score_digits_rows(&k, bits, false, q, here, queries + r * query_stride, query_stride,                \
                      scores + r * n_stride, n_stride)
    DIGITS_BY_ROWS(RUN)
#undef RUN
}

void V_NAME(score_digits)(const tq_codebook_tables *book, size_t dim, size_t rows, const void *queries,
                          size_t query_stride, size_t n, tq_code_rows packed, float *scores,
                          size_t n_stride) {
    assert(dim % TQ_LANES == 0 && dim <= TQ_MAX_DIM && book->digits != NULL);
#define RUN(bits)                                                                                        \
    score_digits_of(book, bits, dim, rows, queries, query_stride, n, packed, scores, n_stride)
    DIGITS_SWITCH(book->bits, RUN);
#undef RUN
}

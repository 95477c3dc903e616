/* SPDX-License-Identifier: MIT
 * Attention in integers: scalar's bytes, and what the digits stand for. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "books.h"
#include "check_kernels.h"
#include "kernels/attend/digits.h"
#include "rows.h"
#include "values.h"

enum { MOST_POSITIONS = 33, CHUNK = 128, ROW_BYTES = sizeof(tq_query_head) + 2 * TQ_MAX_DIM };

static const size_t row_counts[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 23, TQ_DIGIT_ROWS};
enum { ROW_COUNTS = sizeof row_counts / sizeof row_counts[0], MOST_COUNT = TQ_DIGIT_ROWS };

static size_t digits_of(const tq_codebook_tables *book) {
    return book->digits->low == NULL ? 1 : 2;
}

static int whole_of(const tq_codebook_tables *book, unsigned code) {
    const tq_digit_tables *d = book->digits;
    return d->low == NULL ? d->high[code] : 128 * d->high[code] + d->low[code];
}

/* Of those numbers. */
static double unit_of(const tq_codebook_tables *book) {
    return (double)book->digits->unit / (book->digits->low == NULL ? 1.0 : 128.0);
}

/* The same of what keys take. */
static int key_of(const tq_codebook_tables *book, unsigned code) {
    const tq_digit_tables *d = book->digits;
    if (!tq_takes_words(book)) return whole_of(book, code);
    return tq_word_of(d->word_high[code], d->word_low[code]);
}
static double key_unit(const tq_codebook_tables *book) {
    return tq_takes_words(book) ? (double)book->digits->word_unit : unit_of(book);
}

/* Calls one_case for each v2 book, copied to the edge of its pages. */
static void each_book(run *r, const tq_kernels *kernel,
                      void (*one_case)(run *, const tq_kernels *, const tq_codebook_tables *, size_t dim),
                      unsigned cases) {
    for (size_t i = 0; i < n_books() && !r->failed; i++) {
        const char *format;
        const tq_codebook_tables *book = nth_book(i, &format);
        if (book->digits == NULL) continue;
        for (size_t dim = TQ_LANES; dim <= TQ_MAX_DIM && !r->failed; dim += TQ_LANES)
            for (unsigned c = 0; c < cases; c++)
                one_case(r, kernel, book, dim);
    }
}

static unsigned draw_place(run *r) {
    const uint32_t choice = rng_below(&r->rng, 3);
    return choice == 0 ? PLACE_FIRST : choice == 1 ? PLACE_LAST : rng_below(&r->rng, 16);
}

static float largest(const float *x, size_t n) {
    float top = 0;
    for (size_t i = 0; i < n; i++)
        top = fabsf(x[i]) > top ? fabsf(x[i]) : top;
    return top;
}

/* What a query's digits come to, times its factor, is its value within half of a step. */
static void query_case(run *r, const tq_kernels *kernel, const tq_codebook_tables *book, size_t dim) {
    static float x[TQ_MAX_DIM];
    _Alignas(8) uint8_t want[ROW_BYTES];
    const pattern p = (pattern)rng_below(&r->rng, ALL_PATTERNS);
    const unsigned in = draw_place(r), out = draw_place(r);
    const size_t count = digits_of(book), room = tq_digit_room(dim);
    const size_t floats = (sizeof(tq_query_head) + count * room) / sizeof(float);
    fill_values(p, &r->rng, NULL, x, dim);
    if (!run_case(r, "%u bits, dim %zu, %s", book->bits, dim, pattern_name(p))) return;
    const float *query = slot_place(&r->slots[0], "query", ELEMENT_FLOAT, in, 1, dim, dim);
    uint8_t *row = slot_place(&r->slots[1], "row", ELEMENT_FLOAT, out, 1, floats, floats);
    slot_write(&r->slots[0], x);
    kernel->query_digits(book, dim, query, row);
    tq_query_digits_scalar(book, dim, x, want);
    run_expect(r, &r->slots[1], want, SAME_OR_NAN);
    tq_query_head head;
    memcpy(&head, row, sizeof head);
    const int8_t *digits = (const int8_t *)row + sizeof head;
    const double step = (double)head.factor / (double)tq_query_unit(book);
    int sums[2] = {0};
    for (size_t i = 0; i < dim && !isnan(head.factor); i++) {
        const size_t place = tq_digit_place(book->bits, dim, i);
        const int high = digits[place], low = count == 2 ? digits[room + place] : 0;
        const double tiny = head.factor == 0.0f ? (double)TQ_DIGIT_LEAST : 0.0;
        if (!tq_takes_words(book)) {
            sums[0] += high;
            sums[1] += low;
        }
        const int whole = tq_takes_words(book) ? tq_word_of(high, low)
                          : count == 2         ? 128 * high + low
                                               : high;
        run_expect_near(r, step * whole, (double)x[i],
                        0.50001 * step + (double)fabsf(x[i]) * 1e-6 + tiny);
    }
    run_expect_index(r, (size_t)(sums[0] + (1 << 20)), (size_t)(head.sums[0] + (1 << 20)));
    run_expect_index(r, (size_t)(sums[1] + (1 << 20)), (size_t)(head.sums[1] + (1 << 20)));
}

void check_query_digits(run *r, const tq_kernels *kernel) {
    each_book(r, kernel, query_case, 3);
}

typedef struct digit_data {
    size_t dim, rows, n, width, stride;
    bytes_pattern bytes;
    row_order order;
    uint8_t packed[CHUNK * TQ_MAX_DIM], codes[TQ_MAX_DIM];
    float queries[MOST_COUNT * TQ_MAX_DIM];
    _Alignas(8) uint8_t digits[MOST_COUNT * ROW_BYTES];
    float scores[MOST_COUNT * MOST_POSITIONS];
    int32_t sums[MOST_COUNT * TQ_MAX_DIM];
    uint8_t weights[MOST_COUNT * 2 * CHUNK];
} digit_data;

static const uint8_t *codes_at(const digit_data *d, size_t t) {
    return d->packed + order_at(&d->order, t) * d->width;
}

static void draw_codes(run *r, digit_data *d, const tq_codebook_tables *book, size_t dim, size_t most) {
    d->dim = dim;
    d->rows = row_counts[rng_below(&r->rng, ROW_COUNTS)];
    d->n = rng_below(&r->rng, (uint32_t)most + 1);
    if (d->n * dim * 4 > MOST_QUERIES * TQ_MAX_DIM * 4) d->n = MOST_QUERIES * TQ_MAX_DIM / dim;
    d->width = row_bytes(book, dim);
    d->stride = d->width + some_gap(r);
    d->order = draw_order(r, d->n);
    d->bytes = rng_below(&r->rng, 2) ? BYTES_RANDOM : (bytes_pattern)rng_below(&r->rng, BYTES_PATTERNS);
    if (d->n > 0) fill_bytes(d->bytes, &r->rng, d->packed, d->n * d->width, 0xff);
}

/* The product of the values that codes stand for, as far as both are rounded. */
static void expect_product(run *r, const digit_data *d, const tq_codebook_tables *book, size_t row,
                           const uint8_t *codes, float got) {
    const float *q = d->queries + row * d->dim;
    const double step = (double)largest(q, d->dim) / tq_query_most(book), unit = key_unit(book);
    double want = 0, slack = 1e-30;
    for (size_t i = 0; i < d->dim; i++) {
        const double level = (double)book->levels[codes[i]];
        const double off = fabs(level - unit * key_of(book, codes[i]));
        want += (double)q[i] * level;
        slack += 0.501 * step * fabs(level) + off * ((double)fabsf(q[i]) + step);
        if (digits_of(book) == 2 && !tq_takes_words(book)) slack += 64.0 * 64.0 * step * unit;
        slack += 1e-6 * fabs((double)q[i] * level);
    }
    run_expect_near(r, (double)got, want, slack);
}

static void score_case(run *r, const tq_kernels *kernel, const tq_codebook_tables *book, size_t dim) {
    static digit_data d;
    draw_codes(r, &d, book, dim, MOST_POSITIONS);
    const size_t row = sizeof(tq_query_head) + digits_of(book) * tq_digit_room(dim);
    const size_t gap = 4 * some_gap(r), n_stride = d.n + some_gap(r);
    const unsigned places[] = {draw_place(r), draw_place(r), draw_place(r)};
    const tq_codebook_tables edge = edge_book(r, book, draw_place(r));
    fill_values(rng_below(&r->rng, 4) ? GAUSS : ALL_EQUAL, &r->rng, NULL, d.queries, d.rows * dim);
    for (size_t i = 0; i < d.rows; i++)
        tq_query_digits_scalar(book, dim, d.queries + i * dim, d.digits + i * row);
    if (!run_case(r, "%u bits, dim %zu, %zu rows, %zu positions, %s", book->bits, dim, d.rows, d.n,
                  bytes_pattern_name(d.bytes)))
        return;
    slot *const in = &r->slots[0], *const codes = &r->slots[1], *const out = &r->slots[2];
    const void *queries =
        slot_place(in, "queries", ELEMENT_FLOAT, places[0], d.rows, row / 4, (row + gap) / 4);
    const uint8_t *packed = slot_place(codes, "packed", ELEMENT_BYTE, places[1], d.n, d.width, d.stride);
    float *scores = slot_place(out, "scores", ELEMENT_FLOAT, places[2], d.rows, d.n, n_stride);
    slot_write(in, d.digits);
    slot_write(codes, d.packed);
    kernel->score_digits(&edge, dim, d.rows, queries, row + gap, d.n, rows_of(&d.order, packed, d.stride),
                         scores, n_stride);
    tq_score_digits_scalar(book, dim, d.rows, d.digits, row, d.n, rows_of(&d.order, d.packed, d.width),
                           d.scores, d.n);
    run_expect(r, in, d.digits, SAME_BYTES);
    run_expect(r, codes, d.packed, SAME_BYTES);
    run_expect(r, out, d.scores, SAME_BYTES);
    for (size_t t = 0; t < d.n && !r->failed; t++) {
        tq_unpack_scalar(book, dim, codes_at(&d, t), d.codes);
        for (size_t i = 0; i < d.rows; i++)
            expect_product(r, &d, book, i, d.codes, scores[i * n_stride + t]);
    }
}

void check_score_digits(run *r, const tq_kernels *kernel) {
    each_book(r, kernel, score_case, 3);
}

/* Now and then one is negative, not finite, or all are as good as zero. */
static void draw_products(run *r, size_t n, float *weights, float *scales) {
    fill_values(rng_below(&r->rng, 2) ? GAUSS : MIXED, &r->rng, NULL, weights, n);
    fill_values(GAUSS, &r->rng, NULL, scales, n);
    const uint32_t odd = rng_below(&r->rng, 8);
    for (size_t i = 0; i < n; i++) {
        weights[i] = odd == 0 ? 0.0f : odd == 1 ? 1e-35f : fabsf(weights[i]);
        scales[i] = fabsf(scales[i]);
    }
    if (n == 0) return;
    if (odd == 2 || odd == 3) weights[rng_below(&r->rng, (uint32_t)n)] = odd == 2 ? -1.0f : NAN;
    if (odd == 3 || odd == 4) scales[rng_below(&r->rng, (uint32_t)n)] = odd == 3 ? -1.0f : INFINITY;
}

static void weight_case(run *r, const tq_kernels *kernel, size_t n, size_t count) {
    float w[CHUNK], s[CHUNK];
    uint8_t want[2][CHUNK] = {{0}};
    const unsigned places[] = {draw_place(r), draw_place(r), draw_place(r), draw_place(r)};
    const double most = count == 1 ? TQ_WEIGHT_ONE : TQ_WEIGHT_TWO;
    draw_products(r, n, w, s);
    if (!run_case(r, "%zu digits of %zu weights", count, n)) return;
    const float *weights = slot_place(&r->slots[0], "weights", ELEMENT_FLOAT, places[0], 1, n, n);
    uint8_t *high = slot_place(&r->slots[1], "high", ELEMENT_BYTE, places[1], 1, n, n);
    uint8_t *low = slot_place(&r->slots[2], "low", ELEMENT_BYTE, places[2], 1, n, n);
    const float *scales = slot_place(&r->slots[3], "scales", ELEMENT_FLOAT, places[3], 1, n, n);
    slot_write(&r->slots[0], w);
    slot_write(&r->slots[3], s);
    uint32_t squares[2] = {1, 2}, sum = 0;
    const float top = kernel->weight_digits(count, n, weights, scales, high, low, &squares[0]);
    const float wanted = tq_weight_digits_scalar(count, n, w, s, want[0], want[1], &squares[1]);
    for (size_t i = 0; i < n && count == 1; i++)
        sum += (uint32_t)want[0][i] * want[0][i];
    run_expect_near(r, squares[0], sum, 0.0);
    run_expect_near(r, squares[1], sum, 0.0);
    if (isnan(wanted) != isnan(top)) run_expect_near(r, (double)top, (double)wanted, 0.0);
    if (!isnan(wanted)) run_expect_near(r, (double)top, (double)wanted, 0.0);
    run_expect(r, &r->slots[1], want[0], SAME_BYTES);
    if (count == 2)
        run_expect(r, &r->slots[2], want[1], SAME_BYTES);
    else
        run_expect_untouched(r, &r->slots[2]);
    for (size_t i = 0; i < n && top >= TQ_DIGIT_LEAST; i++)
        run_expect_near(r, count == 2 ? 128.0 * high[i] + low[i] : high[i],
                        (double)w[i] * (double)s[i] * most / (double)top, 0.502);
}

void check_weight_digits(run *r, const tq_kernels *kernel) {
    for (size_t n = 0; n <= CHUNK && !r->failed; n++)
        for (size_t count = 1; count <= 2; count++)
            weight_case(r, kernel, n, count);
}

static void draw_weights(run *r, digit_data *d, size_t count) {
    for (size_t i = 0; i < d->rows * 2 * CHUNK; i++)
        d->weights[i] = (uint8_t)(rng_below(&r->rng, 4) ? rng_below(&r->rng, count == 1 ? 256 : 128)
                                  : count == 1          ? 255
                                                        : 127);
}

/* What lies behind a row's positions in its weights is not to be used, but may be read. */
static void accumulate_case(run *r, const tq_kernels *kernel, const tq_codebook_tables *book,
                            size_t dim) {
    static digit_data d;
    static int64_t want[TQ_MAX_DIM];
    draw_codes(r, &d, book, dim, rng_below(&r->rng, 4) ? 13 : CHUNK);
    const size_t room = tq_digit_room(dim), count = digits_of(book);
    const unsigned places[] = {draw_place(r), draw_place(r)};
    const tq_codebook_tables edge = edge_book(r, book, draw_place(r));
    draw_weights(r, &d, count);
    for (size_t i = 0; i < d.rows * room; i++)
        d.sums[i] = (int32_t)rng_below(&r->rng, 1000) - 500;
    if (!run_case(r, "%u bits, dim %zu, %zu rows, %zu positions, %s", book->bits, dim, d.rows, d.n,
                  bytes_pattern_name(d.bytes)))
        return;
    slot *const codes = &r->slots[0], *const out = &r->slots[1], *const in = &r->slots[2];
    const uint8_t *packed = slot_place(codes, "packed", ELEMENT_BYTE, places[0], d.n, d.width, d.stride);
    int32_t *sums = slot_place(out, "sums", ELEMENT_FLOAT, places[1], d.rows, room, room);
    const uint8_t *weights = slot_place(in, "weights", ELEMENT_BYTE, 0, d.rows, 2 * CHUNK, 2 * CHUNK);
    slot_write(codes, d.packed);
    slot_write(out, d.sums);
    slot_write(in, d.weights);
    kernel->accumulate_digits(&edge, dim, d.rows, weights, 2 * CHUNK, d.n,
                              rows_of(&d.order, packed, d.stride), sums, room);
    run_expect(r, codes, d.packed, SAME_BYTES);
    run_expect_surroundings(r, out);
    for (size_t row = 0; row < d.rows && !r->failed; row++) {
        for (size_t i = 0; i < dim; i++)
            want[i] = d.sums[row * room + tq_sum_place(book->bits, dim, i)];
        for (size_t t = 0; t < d.n; t++) {
            const int64_t high = d.weights[row * 2 * CHUNK + t],
                          low = d.weights[row * 2 * CHUNK + CHUNK + t];
            tq_unpack_scalar(book, dim, codes_at(&d, t), d.codes);
            for (size_t i = 0; i < dim; i++)
                want[i] += count == 1
                               ? high * whole_of(book, d.codes[i])
                               : high * whole_of(book, d.codes[i]) + low * book->digits->high[d.codes[i]];
        }
        for (size_t i = 0; i < dim; i++)
            run_expect_near(r, sums[row * room + tq_sum_place(book->bits, dim, i)], (double)want[i], 0.0);
    }
}

void check_accumulate_digits(run *r, const tq_kernels *kernel) {
    each_book(r, kernel, accumulate_case, 3);
}

static void add_case(run *r, const tq_kernels *kernel, const tq_codebook_tables *book, size_t dim) {
    static int32_t sums[TQ_MAX_DIM];
    static float acc[TQ_MAX_DIM];
    const size_t room = tq_digit_room(dim);
    const float factor = rng_below(&r->rng, 8) ? (float)rng_below(&r->rng, 1000) * 1e-6f : NAN;
    const unsigned places[] = {draw_place(r), draw_place(r)};
    for (size_t i = 0; i < room; i++)
        sums[i] = (int32_t)(uint32_t)rng_next(&r->rng);
    fill_values(GAUSS, &r->rng, NULL, acc, dim);
    if (!run_case(r, "%u bits, dim %zu, factor %g", book->bits, dim, (double)factor)) return;
    const int32_t *in = slot_place(&r->slots[0], "sums", ELEMENT_FLOAT, places[0], 1, room, room);
    float *out = slot_place(&r->slots[1], "acc", ELEMENT_FLOAT, places[1], 1, dim, dim);
    slot_write(&r->slots[0], sums);
    slot_write(&r->slots[1], acc);
    kernel->add_sums(book, dim, in, factor, out);
    for (size_t i = 0; i < dim; i++)
        acc[i] = fmaf((float)sums[tq_sum_place(book->bits, dim, i)], factor, acc[i]);
    run_expect(r, &r->slots[1], acc, SAME_OR_NAN);
}

void check_add_sums(run *r, const tq_kernels *kernel) {
    each_book(r, kernel, add_case, 3);
}

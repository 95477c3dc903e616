/* SPDX-License-Identifier: MIT
 * Attention on packed codes: every codebook, every dim, every way in which rows and positions are taken
 * together. Sums stay within the bound of their order, and are the scalar kernel's, to the bit, which
 * takes one row and one position at a time, from elsewhere. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "books.h"
#include "check_kernels.h"
#include "rows.h"
#include "values.h"

/* A decoded tile holds 4096 values: with positions of two tiles and one more, every dim sees their ends.
 */
enum { MOST_POSITIONS = 40, TILE_VALUES = 4096, CASES_PER_DIM = 7 };
enum {
    MANY_POSITIONS = 2 * TILE_VALUES / TQ_LANES + 1,
    VALUES = MOST_POSITIONS * TQ_MAX_DIM, /* more than so many positions of the smallest dim have */
};

/* Kernels take 1, 2, 4 or 8 rows at once, and decode a tile for more. */
static const size_t row_counts[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, MOST_QUERIES};
enum { ROW_COUNTS = sizeof row_counts / sizeof row_counts[0] };

typedef struct codes_data {
    const char *format;
    tq_codebook_tables plain, edge;
    size_t dim, rows, n, width;
    bytes_pattern bytes;
    pattern values;
    row_order order;
    size_t code_stride, n_stride, acc_stride;
    unsigned places[3];
    uint8_t packed[VALUES];
    float decoded[VALUES];
    float queries[MOST_QUERIES * TQ_MAX_DIM]; /* of accumulate: what acc holds before */
    float weights[MOST_QUERIES * MANY_POSITIONS];
    float alone[MOST_QUERIES * (MANY_POSITIONS > TQ_MAX_DIM ? MANY_POSITIONS : TQ_MAX_DIM)];
} codes_data;

/* The rounding errors of a chain of so many additions, in units of the sum of the terms' magnitudes; a
 * product may be rounded before it is added. What is lost below the smallest number comes on top. */
static double sum_bound(size_t additions, size_t products, double terms) {
    return (double)(additions + 2) * (FLT_EPSILON / 2) * terms + (double)products * 0x1p-149;
}

/* Edges of pages as often as all else: that is where kernels that read ahead are caught. */
static unsigned edge_place(run *r, unsigned others) {
    const uint32_t choice = rng_below(&r->rng, 3);
    return choice == 0 ? PLACE_FIRST : choice == 1 ? PLACE_LAST : rng_below(&r->rng, others);
}

static const uint8_t *codes_at(const codes_data *d, size_t t) {
    return d->packed + order_at(&d->order, t) * d->width;
}

/* One row alone, and nothing next to it. */
static const row_order alone = {ROWS_IN_PLACE, 1, 0};

static void fill_codes(run *r, codes_data *d) {
    static const pattern patterns[] = {GAUSS, GAUSS, MIXED, ALL_EQUAL, ONE_HOT, ONE_HUGE};
    static const float one = 1.0f;
    d->width = row_bytes(&d->plain, d->dim);
    d->bytes = rng_below(&r->rng, 2) ? BYTES_RANDOM : (bytes_pattern)rng_below(&r->rng, BYTES_PATTERNS);
    d->values = patterns[rng_below(&r->rng, 6)];
    d->code_stride = d->width + some_gap(r);
    d->n_stride = d->n + some_gap(r);
    d->acc_stride = d->dim + some_gap(r);
    d->order = draw_order(r, d->n);
    d->places[0] = edge_place(r, 16);
    d->places[1] = edge_place(r, 64);
    d->places[2] = edge_place(r, 16);
    if (d->n > 0) fill_bytes(d->bytes, &r->rng, d->packed, d->n * d->width, 0xff);
    fill_values(d->values, &r->rng, NULL, d->queries, d->rows * d->dim);
    fill_values(d->values, &r->rng, NULL, d->weights, d->rows * d->n);
    for (size_t t = 0; t < d->n; t++)
        tq_dequantize_scalar(&d->plain, d->dim, 1, codes_at(d, t), 0, &one, d->decoded + t * d->dim,
                             d->dim, 0);
}

static bool begin_case(run *r, codes_data *d) {
    fill_codes(r, d);
    return run_case(r, "%s, dim %zu, %zu rows, %zu positions, %s, %s", d->format, d->dim, d->rows, d->n,
                    bytes_pattern_name(d->bytes), pattern_name(d->values));
}

static void expect_score(run *r, const codes_data *d, size_t row, size_t t, float got) {
    const float *q = d->queries + row * d->dim, *key = d->decoded + t * d->dim;
    double want = 0, terms = 0;
    for (size_t j = 0; j < d->dim; j++) {
        const double term = (double)q[j] * (double)key[j];
        want += term;
        terms += fabs(term);
    }
    /* a lane's terms, then four halvings */
    run_expect_near(r, (double)got, want, sum_bound(d->dim / TQ_LANES + 4, d->dim, terms));
}

static void score_codes_case(run *r, const tq_kernels *kernel, codes_data *d) {
    if (!begin_case(r, d)) return;
    slot *const in = &r->slots[0], *const codes = &r->slots[1], *const out = &r->slots[2];
    const float *queries =
        slot_place(in, "queries", ELEMENT_FLOAT, d->places[0], 1, d->rows * d->dim, d->rows * d->dim);
    const uint8_t *packed =
        slot_place(codes, "packed", ELEMENT_BYTE, d->places[1], d->n, d->width, d->code_stride);
    float *scores = slot_place(out, "scores", ELEMENT_FLOAT, d->places[2], d->rows, d->n, d->n_stride);
    slot_write(in, d->queries);
    slot_write(codes, d->packed);
    kernel->score_codes(&d->edge, d->dim, d->rows, queries, d->n,
                        rows_of(&d->order, packed, d->code_stride), scores, d->n_stride);
    run_expect(r, in, d->queries, SAME_BYTES);
    run_expect(r, codes, d->packed, SAME_BYTES);
    for (size_t row = 0; row < d->rows; row++)
        for (size_t t = 0; t < d->n && !r->failed; t++) {
            expect_score(r, d, row, t, scores[row * d->n_stride + t]);
            tq_score_codes_scalar(&d->plain, d->dim, 1, d->queries + row * d->dim, 1,
                                  rows_of(&alone, codes_at(d, t), 0), d->alone + row * d->n + t, 1);
        }
    run_expect(r, out, d->alone, SAME_BYTES);
}

static void expect_sums(run *r, const codes_data *d, size_t row, const float *got) {
    const float *weights = d->weights + row * d->n;
    for (size_t j = 0; j < d->dim && !r->failed; j++) {
        double want = (double)d->queries[row * d->dim + j], terms = fabs(want);
        for (size_t t = 0; t < d->n; t++) {
            const double term = (double)weights[t] * (double)d->decoded[t * d->dim + j];
            want += term;
            terms += fabs(term);
        }
        run_expect_near(r, (double)got[j], want, sum_bound(d->n, d->n, terms));
    }
}

static void accumulate_codes_case(run *r, const tq_kernels *kernel, codes_data *d) {
    if (!begin_case(r, d)) return;
    slot *const in = &r->slots[0], *const codes = &r->slots[1], *const out = &r->slots[2];
    const float *weights =
        slot_place(in, "weights", ELEMENT_FLOAT, d->places[0], d->rows, d->n, d->n_stride);
    const uint8_t *packed =
        slot_place(codes, "packed", ELEMENT_BYTE, d->places[1], d->n, d->width, d->code_stride);
    float *acc = slot_place(out, "acc", ELEMENT_FLOAT, d->places[2], d->rows, d->dim, d->acc_stride);
    slot_write(in, d->weights);
    slot_write(codes, d->packed);
    slot_write(out, d->queries);
    memcpy(d->alone, d->queries, d->rows * d->dim * sizeof *d->alone);
    kernel->accumulate_codes(&d->edge, d->dim, d->rows, weights, d->n_stride, d->n,
                             rows_of(&d->order, packed, d->code_stride), acc, d->acc_stride);
    run_expect(r, in, d->weights, SAME_BYTES);
    run_expect(r, codes, d->packed, SAME_BYTES);
    for (size_t row = 0; row < d->rows && !r->failed; row++) {
        expect_sums(r, d, row, acc + row * d->acc_stride);
        for (size_t t = 0; t < d->n; t++)
            tq_accumulate_codes_scalar(&d->plain, d->dim, 1, d->weights + row * d->n + t, 1, 1,
                                       rows_of(&alone, codes_at(d, t), 0), d->alone + row * d->dim,
                                       d->dim);
    }
    run_expect(r, out, d->alone, SAME_BYTES);
}

typedef void codes_case(run *r, const tq_kernels *kernel, codes_data *d);

/* The counts of rows and of positions have no common factor: a book sees every pair of them. */
static void check_book(run *r, const tq_kernels *kernel, codes_data *d, codes_case *one_case) {
    size_t i = rng_below(&r->rng, ROW_COUNTS * (MOST_POSITIONS + 1));
    for (d->dim = TQ_LANES; d->dim <= TQ_MAX_DIM && !r->failed; d->dim += TQ_LANES) {
        d->edge = edge_book(r, &d->plain, d->dim % 32 ? PLACE_FIRST : PLACE_LAST);
        for (unsigned c = 0; c < CASES_PER_DIM; c++, i++) {
            d->rows = row_counts[i % ROW_COUNTS];
            d->n = i % (MOST_POSITIONS + 1);
            one_case(r, kernel, d);
        }
        if (2 * TILE_VALUES / d->dim < MOST_POSITIONS) continue;
        d->rows = row_counts[rng_below(&r->rng, ROW_COUNTS)];
        d->n = 2 * TILE_VALUES / d->dim + rng_below(&r->rng, 2);
        one_case(r, kernel, d);
    }
}

static void check_books(run *r, const tq_kernels *kernel, codes_case *one_case) {
    static codes_data d;
    for (size_t i = 0; i < n_books(); i++) {
        d.plain = *nth_book(i, &d.format);
        check_book(r, kernel, &d, one_case);
    }
}

void check_score_codes(run *r, const tq_kernels *kernel) {
    check_books(r, kernel, score_codes_case);
}

void check_accumulate_codes(run *r, const tq_kernels *kernel) {
    check_books(r, kernel, accumulate_codes_case);
}

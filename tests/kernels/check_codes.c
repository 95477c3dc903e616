/* SPDX-License-Identifier: MIT
 * quantize, dequantize, pack and unpack: every codebook, every length of a row. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "books.h"
#include "check_kernels.h"
#include "values.h"

typedef struct quantize_data {
    const char *format;
    tq_codebook_tables plain, edge;
    size_t n;
    pattern pattern;
    tq_code_sum sum;
    float scale1;
    float y[MOST_ROWS * TQ_MAX_DIM], scales[MOST_ROWS], sums[MOST_ROWS];
    uint8_t packed[MOST_ROWS * TQ_MAX_DIM];
} quantize_data;

static void quantize_case(run *r, const tq_kernels *kernel, const quantize_data *d, unsigned place) {
    static const char *const sums_names[] = {"no sum", "sum of c c", "sum of u c"};
    const size_t rows = some_rows(r), width = row_bytes(&d->plain, d->n), stride = width + some_gap(r);
    const unsigned y_place = rng_below(&r->rng, FLOAT_PLACES), edge = rng_below(&r->rng, FLOAT_PLACES);
    if (!run_case(r, "%s, n %zu, %s, %s, scale1 %a", d->format, d->n, sums_names[d->sum],
                  pattern_name(d->pattern), (double)d->scale1))
        return;
    slot *const in = &r->slots[0], *const out = &r->slots[1], *const factors = &r->slots[2];
    slot *const totals = &r->slots[3];
    const float *y = slot_place(in, "y", ELEMENT_FLOAT, float_place(y_place), rows, d->n, d->n);
    const float *scales = slot_place(factors, "scales", ELEMENT_FLOAT, PLACE_LAST, 1, rows, rows);
    float *sums = slot_place(totals, "sums", ELEMENT_FLOAT, float_place(edge), 1, rows, rows);
    uint8_t *packed = slot_place(out, "packed", ELEMENT_BYTE, place, rows, width, stride);
    slot_write(in, d->y);
    slot_write(factors, d->scales);
    kernel->quantize(&d->edge, d->n, rows, y, scales, d->scale1, d->sum, sums, packed, stride);
    run_expect(r, in, d->y, SAME_BYTES);
    run_expect(r, factors, d->scales, SAME_BYTES);
    run_expect(r, out, d->packed, SAME_BYTES);
    if (d->sum == TQ_SUM_NONE)
        run_expect_untouched(r, totals);
    else
        run_expect(r, totals, d->sums, SAME_BYTES);
}

/* The scale that makes the row's variance 1, as encoders do, or one that no encoder would take. */
static float some_scale(run *r, const float *y, size_t n) {
    static const float odd[] = {0.0f, 1.0f, FLT_MIN, FLT_MAX};
    const uint32_t choice = rng_below(&r->rng, 16);
    double squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += (double)y[i] * (double)y[i];
    if (choice < 4 || squares < (double)FLT_MIN) return odd[choice % 4];
    return (float)sqrt((double)n / squares);
}

/* Ties must arrive at the boundary exactly: both scales are powers of two then, undone in y. */
static void fill_row(run *r, quantize_data *d, unsigned row, int shift1) {
    float *y = d->y + row * d->n;
    fill_values(d->pattern, &r->rng, &d->plain, y, d->n);
    if (d->pattern != TIES) {
        d->scales[row] = some_scale(r, y, d->n);
        return;
    }
    const int shift = (int)rng_below(&r->rng, 9) - 4;
    d->scales[row] = ldexpf(1.0f, shift);
    for (size_t i = 0; i < d->n; i++)
        y[i] = ldexpf(y[i], -shift - shift1);
}

static void fill_quantize(run *r, quantize_data *d) {
    static const float factors[] = {1.0f, 1.75f, 1e-3f, FLT_MAX};
    /* v2 has scale1 = 1, and v1 no sums: the contract */
    const int shift1 = d->plain.ranked ? (int)rng_below(&r->rng, 5) : 0;
    const uint32_t choice = rng_below(&r->rng, 12);
    d->sum = d->plain.ranked ? TQ_SUM_NONE : (tq_code_sum)rng_below(&r->rng, 3);
    d->scale1 = ldexpf(1.0f, shift1);
    if (d->plain.ranked && d->pattern != TIES && choice < 4) d->scale1 = factors[choice];
    for (unsigned t = 0; t < MOST_ROWS; t++)
        fill_row(r, d, t, shift1);
    tq_quantize_scalar(&d->plain, d->n, MOST_ROWS, d->y, d->scales, d->scale1, d->sum, d->sums, d->packed,
                       row_bytes(&d->plain, d->n));
}

static void quantize_length(run *r, const tq_kernels *kernel, quantize_data *d) {
    d->edge = edge_book(r, &d->plain, d->n % 32 ? PLACE_FIRST : PLACE_LAST);
    for (pattern p = 0; p < FINITE_PATTERNS && !r->failed; p++) {
        d->pattern = p;
        fill_quantize(r, d);
        for (unsigned place = p; place < PLACES; place += FINITE_PATTERNS)
            quantize_case(r, kernel, d, place);
    }
}

void check_quantize(run *r, const tq_kernels *kernel) {
    static quantize_data d;
    for (size_t i = 0; i < n_books(); i++)
        for (d.n = TQ_LANES; d.n <= TQ_MAX_DIM && !r->failed; d.n += TQ_LANES) {
            d.plain = *nth_book(i, &d.format);
            quantize_length(r, kernel, &d);
        }
}

typedef struct dequantize_data {
    const char *format;
    tq_codebook_tables plain, edge;
    size_t n;
    bytes_pattern pattern;
    uint8_t packed[MOST_ROWS * TQ_MAX_DIM];
    float scales[MOST_ROWS], want[MOST_ROWS * TQ_MAX_DIM];
} dequantize_data;

/* Streaming stores want rows at multiples of 64 bytes. */
static unsigned streamed_place(unsigned place) {
    return place < 22 ? 0 : place < 44 ? PLACE_FIRST : PLACE_LAST;
}

static void dequantize_case(run *r, const tq_kernels *kernel, const dequantize_data *d, unsigned place) {
    const size_t rows = some_rows(r), width = row_bytes(&d->plain, d->n), gap = some_gap(r);
    const int stream = rng_below(&r->rng, 3) == 0;
    const unsigned at = rng_below(&r->rng, PLACES), scales_at = rng_below(&r->rng, FLOAT_PLACES);
    const size_t packed_stride = width + some_gap(r);
    const size_t stride = d->n + (stream ? gap / TQ_LANES * TQ_LANES : gap);
    if (!run_case(r, "%s, n %zu%s, %s", d->format, d->n, stream ? ", streamed" : "",
                  bytes_pattern_name(d->pattern)))
        return;
    slot *const in = &r->slots[0], *const out = &r->slots[1], *const factors = &r->slots[2];
    const uint8_t *packed = slot_place(in, "packed", ELEMENT_BYTE, place, rows, width, packed_stride);
    const float *scales =
        slot_place(factors, "scales", ELEMENT_FLOAT, float_place(scales_at), 1, rows, rows);
    float *dst =
        slot_place(out, "dst", ELEMENT_FLOAT,
                   stream ? streamed_place(at) : float_place(at % FLOAT_PLACES), rows, d->n, stride);
    slot_write(in, d->packed);
    slot_write(factors, d->scales);
    kernel->dequantize(&d->edge, d->n, rows, packed, packed_stride, scales, dst, stride, stream);
    run_expect(r, in, d->packed, SAME_BYTES);
    run_expect(r, factors, d->scales, SAME_BYTES);
    run_expect(r, out, d->want, SAME_OR_NAN);
}

static void dequantize_length(run *r, const tq_kernels *kernel, dequantize_data *d) {
    const size_t width = row_bytes(&d->plain, d->n);
    d->edge = edge_book(r, &d->plain, d->n % 32 ? PLACE_FIRST : PLACE_LAST);
    for (bytes_pattern p = 0; p < BYTES_PATTERNS && !r->failed; p++) {
        d->pattern = p;
        fill_bytes(p, &r->rng, d->packed, MOST_ROWS * width, 0xff);
        fill_values((pattern)rng_below(&r->rng, ALL_PATTERNS), &r->rng, NULL, d->scales, MOST_ROWS);
        tq_dequantize_scalar(&d->plain, d->n, MOST_ROWS, d->packed, width, d->scales, d->want, d->n, 0);
        for (unsigned place = p; place < PLACES; place += BYTES_PATTERNS)
            dequantize_case(r, kernel, d, place);
    }
}

void check_dequantize(run *r, const tq_kernels *kernel) {
    static dequantize_data d;
    for (size_t i = 0; i < n_books(); i++)
        for (d.n = TQ_LANES; d.n <= TQ_MAX_DIM && !r->failed; d.n += TQ_LANES) {
            d.plain = *nth_book(i, &d.format);
            dequantize_length(r, kernel, &d);
        }
}

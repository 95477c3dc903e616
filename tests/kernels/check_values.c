/* SPDX-License-Identifier: MIT
 * sum_squares, requantize and scan: values without codes. */
#include <float.h>
#include <math.h>

#include "books.h"
#include "check_kernels.h"
#include "values.h"

enum { MOST_VALUES = 4 * TQ_LANES + 1 };

static void sum_squares_case(run *r, const tq_kernels *kernel, size_t n, pattern p, unsigned place,
                             const float *values, const float *want) {
    const size_t rows = some_rows(r);
    const unsigned sums_place = float_place(rng_below(&r->rng, FLOAT_PLACES));
    if (!run_case(r, "n %zu, %s", n, pattern_name(p))) return;
    slot *const in = &r->slots[0], *const out = &r->slots[1];
    const float *y = slot_place(in, "y", ELEMENT_FLOAT, place, rows, n, n);
    float *sums = slot_place(out, "sums", ELEMENT_FLOAT, sums_place, 1, rows, rows);
    slot_write(in, values);
    kernel->sum_squares(n, rows, y, sums);
    run_expect(r, in, values, SAME_BYTES);
    run_expect(r, out, want, SAME_BYTES);
}

void check_sum_squares(run *r, const tq_kernels *kernel) {
    static float y[MOST_ROWS * TQ_MAX_DIM];
    float want[MOST_ROWS];
    for (size_t n = TQ_LANES; n <= TQ_MAX_DIM && !r->failed; n += TQ_LANES)
        for (pattern p = 0; p < FINITE_PATTERNS; p++) {
            for (unsigned t = 0; t < MOST_ROWS; t++)
                fill_values(p, &r->rng, NULL, y + t * n, n);
            tq_sum_squares_scalar(n, MOST_ROWS, y, want);
            for (unsigned place = 0; place < FLOAT_PLACES; place++)
                sum_squares_case(r, kernel, n, p, float_place(place), y, want);
        }
}

typedef struct requantize_data {
    const char *format;
    tq_codebook_tables plain, edge;
    size_t n;
    pattern pattern;
    float src[MOST_VALUES], want[MOST_VALUES];
} requantize_data;

static void requantize_case(run *r, const tq_kernels *kernel, const requantize_data *d, unsigned place) {
    const bool in_place = rng_below(&r->rng, 4) == 0;
    const unsigned dst_place = float_place(rng_below(&r->rng, FLOAT_PLACES));
    if (!run_case(r, "%s, n %zu%s, %s", d->format, d->n, in_place ? ", in place" : "",
                  pattern_name(d->pattern)))
        return;
    slot *const in = &r->slots[0], *const out = in_place ? in : &r->slots[1];
    float *src = slot_place(in, "src", ELEMENT_FLOAT, place, 1, d->n, d->n), *dst = src;
    slot_write(in, d->src);
    if (!in_place) dst = slot_place(out, "dst", ELEMENT_FLOAT, dst_place, 1, d->n, d->n);
    kernel->requantize(&d->edge, d->n, src, dst);
    if (!in_place) run_expect(r, in, d->src, SAME_BYTES);
    run_expect(r, out, d->want, SAME_BYTES);
}

static void requantize_length(run *r, const tq_kernels *kernel, requantize_data *d) {
    d->edge = edge_book(r, &d->plain, d->n % 2 ? PLACE_FIRST : PLACE_LAST);
    for (pattern p = 0; p < FINITE_PATTERNS && !r->failed; p++) {
        d->pattern = p;
        fill_values(p, &r->rng, &d->plain, d->src, d->n);
        tq_requantize_scalar(&d->plain, d->n, d->src, d->want);
        /* over three lengths, every place */
        for (unsigned place = (unsigned)d->n % 3; place < FLOAT_PLACES; place += 3)
            requantize_case(r, kernel, d, float_place(place));
    }
}

void check_requantize(run *r, const tq_kernels *kernel) {
    static requantize_data d;
    for (size_t i = 0; i < n_books(); i++)
        for (d.n = 0; d.n <= MOST_VALUES && !r->failed; d.n++) {
            d.plain = *nth_book(i, &d.format);
            requantize_length(r, kernel, &d);
        }
}

/* The first bad value at `bad`; before it all at most the limit, behind it a few more bad ones. */
static void fill_scan(run *r, float limit, size_t n, size_t bad, float *x) {
    for (size_t i = 0; i < n; i++) {
        const float most = rng_below(&r->rng, 4) ? limit * (float)rng_uniform(&r->rng) : limit;
        const uint32_t kind =
            i == bad || (i > bad && rng_below(&r->rng, 8) == 0) ? rng_below(&r->rng, 3) : 3;
        x[i] = kind == 0 ? NAN : kind == 1 ? INFINITY : kind == 2 ? nextafterf(limit, INFINITY) : most;
        if (rng_below(&r->rng, 2)) x[i] = -x[i];
    }
}

static void scan_case(run *r, const tq_kernels *kernel, size_t n, size_t bad, unsigned place) {
    static const float limits[] = {TQ_MAX_ABS, FLT_MAX, 1.0f, 0.0f};
    const float limit = limits[rng_below(&r->rng, 4)];
    float values[MOST_VALUES];
    fill_scan(r, limit, n, bad, values);
    if (!run_case(r, "n %zu, limit %a", n, (double)limit)) return;
    slot *const in = &r->slots[0];
    const float *x = slot_place(in, "x", ELEMENT_FLOAT, place, 1, n, n);
    slot_write(in, values);
    run_expect_index(r, kernel->scan(n, x, limit), bad);
    run_expect(r, in, values, SAME_BYTES);
}

void check_scan(run *r, const tq_kernels *kernel) {
    unsigned place = 0;
    for (size_t n = 0; n <= MOST_VALUES && !r->failed; n++)
        for (size_t bad = 0; bad <= n; bad++)
            for (unsigned i = 0; i < 7; i++) /* prime to the places, so that all come in turn */
                scan_case(r, kernel, n, bad, float_place(place++ % FLOAT_PLACES));
}

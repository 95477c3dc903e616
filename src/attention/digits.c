/* SPDX-License-Identifier: MIT
 * Scores and sums of values in integers. Products are exact; what is rounded is in a written order and
 * depends on a row and its chunk alone, not on how positions lie or on what is worked on beside it. */
#include "kernels/attend/digits.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "attention/kind.h"
#include "attention/reader.h"

enum { CHUNK = TQ_ATTEND_CHUNK, ROWS = 8, WEIGHT_STRIDE = 2 * CHUNK };

void tq_view_score_digits(const tq_view_reader *s, const tq_kernels *kernels, size_t head, size_t first,
                          size_t n, size_t rows, const void *queries, size_t query_stride, float *scores,
                          size_t n_stride) {
    while (n > 0) {
        const tq_view_place at = tq_view_place_of(&s->view, first, n);
        kernels->score_digits(s->plan.book, s->dim, rows, queries, query_stride, at.run,
                              tq_view_data_at(s, head, at), s->view.row_stride, scores, n_stride);
        tq_view_scale_run(s, kernels, head, at, rows, scores, n_stride);
        first += at.run;
        n -= at.run;
        scores += at.run;
    }
}

/* Rows of a chunk: weights as digits, and the sums of their products with the values'. */
typedef struct weighed {
    size_t rows;
    float factors[ROWS]; /* of sums: 0 where there is nothing to add, NaN where a weight is not finite */
    _Alignas(64) uint8_t digits[ROWS * WEIGHT_STRIDE];
    _Alignas(64) int32_t sums[ROWS * TQ_MAX_DIM];
} weighed;

static void load_scales(const tq_view_reader *s, const tq_kernels *kernels, size_t head, size_t first,
                        size_t n, float *scales) {
    const size_t stride = s->view.norm_row_stride;
    while (n > 0) {
        const tq_view_place at = tq_view_place_of(&s->view, first, n);
        tq_load_scales(kernels, &s->plan, at.run, tq_view_norms_at(s, head, at), stride, 0, scales);
        first += at.run;
        n -= at.run;
        scales += at.run;
    }
}

static bool sees(const uint64_t *seen, size_t i) {
    return seen == NULL || (seen[i / 64] >> i % 64 & 1) != 0;
}

/* Weights times the values' scales. */
static void scale_weights(const tq_kernels *kernels, size_t n, const float *scales, const float *weights,
                          const uint64_t *seen, size_t bit, float *scaled) {
    memcpy(scaled, weights, n * sizeof *scaled);
    kernels->multiply(n, scales, scaled);
    for (size_t i = 0; seen != NULL && i < n; i++)
        if (!sees(seen, bit + i)) scaled[i] = 0.0f;
}

static bool has_negative(size_t n, const float *x) {
    bool negative = false;
    for (size_t i = 0; i < n; i++)
        negative = negative || x[i] < 0.0f;
    return negative;
}

/* Scaled weights of row r to digits: multiplied by the largest number there is over the largest of them.
 */
static void take_digits(weighed *w, size_t r, const tq_kernels *kernels, const tq_digit_tables *book,
                        size_t n, const float *scaled) {
    const size_t count = book->low == NULL ? 1 : 2;
    const float most = count == 1 ? TQ_WEIGHT_ONE : TQ_WEIGHT_TWO;
    const float top = kernels->reduce_max(n, scaled, 0.0f);
    uint8_t *digits = w->digits + r * WEIGHT_STRIDE;
    if (top >= TQ_DIGIT_LEAST) {
        kernels->weight_digits(count, n, scaled, most / top, digits, digits + CHUNK);
        w->factors[r] = top / most * book->unit;
        return;
    }
    memset(digits, 0, WEIGHT_STRIDE);
    w->factors[r] = isnan(top) ? NAN : 0.0f;
}

static void sum_up(weighed *w, const tq_view_reader *s, const tq_kernels *kernels, size_t head,
                   size_t first, size_t n) {
    const uint8_t *digits = w->digits;
    for (size_t r = 0; r < w->rows; r++)
        memset(w->sums + r * TQ_MAX_DIM, 0, tq_digit_room(s->dim) * sizeof *w->sums);
    while (n > 0) {
        const tq_view_place at = tq_view_place_of(&s->view, first, n);
        kernels->accumulate_digits(s->plan.book, s->dim, w->rows, digits, WEIGHT_STRIDE, at.run,
                                   tq_view_data_at(s, head, at), s->view.row_stride, w->sums, TQ_MAX_DIM);
        first += at.run;
        n -= at.run;
        digits += at.run;
    }
}

/* No encoder writes a negative norm, but who reads one must not be told nonsense: digits of weights have
 * no sign, so such a row of a chunk is summed up in float32. */
static void add_floats(const tq_view_reader *s, const tq_kernels *kernels, size_t head, size_t first,
                       size_t n, float *weights, const uint64_t *seen, size_t bit, float *acc) {
    for (size_t i = 0; i < n; i++)
        if (sees(seen, bit + i))
            tq_view_accumulate(s, kernels, head, first + i, 1, 1, weights + i, CHUNK, acc, s->dim);
}

void tq_view_accumulate_digits(const tq_view_reader *s, const tq_kernels *kernels, size_t head,
                               size_t first, size_t n, size_t rows, float *weights, size_t n_stride,
                               const uint64_t *seen, size_t bit, float *acc, size_t acc_stride) {
    weighed w;
    float scales[CHUNK], scaled[CHUNK];
    assert(n <= CHUNK);
    load_scales(s, kernels, head, first, n, scales);
    for (size_t done = 0; done < rows; done += w.rows) {
        w.rows = rows - done < ROWS ? rows - done : ROWS;
        for (size_t r = 0; r < w.rows; r++) {
            float *row = weights + (done + r) * n_stride;
            scale_weights(kernels, n, scales, row, seen, bit, scaled);
            if (has_negative(n, scaled)) {
                add_floats(s, kernels, head, first, n, row, seen, bit, acc + (done + r) * acc_stride);
                memset(scaled, 0, sizeof scaled);
            }
            take_digits(&w, r, kernels, s->plan.book->digits, n, scaled);
        }
        sum_up(&w, s, kernels, head, first, n);
        for (size_t r = 0; r < w.rows; r++)
            if (w.factors[r] != 0.0f) /* NaN too */
                kernels->add_sums(s->plan.book, s->dim, w.sums + r * TQ_MAX_DIM, w.factors[r],
                                  acc + (done + r) * acc_stride);
    }
}

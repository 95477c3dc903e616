/* SPDX-License-Identifier: MIT
 * Scores and sums of values in integers. Products are exact; what is rounded is in a written order and
 * depends on a row and its chunk alone, not on how positions lie or on what is worked on beside it. */
#include "kernels/attend/digits.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "attention/kind.h"
#include "attention/reader.h"

enum {
    CHUNK = TQ_ATTEND_CHUNK,
    WEIGHT_STRIDE = 2 * CHUNK,
    SLOTS = TQ_DIGIT_ROWS,
    SUMS = 16 * TQ_MAX_DIM /* 64 KiB, of the second-level cache and of a thread's stack */
};

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

/* Rows of a chunk: weights as digits, and the sums of their products with the values'. A slot is a row,
 * or a digit of one. */
typedef struct weighed {
    size_t slots;
    size_t rows[SLOTS];
    float factors[SLOTS]; /* of sums: NaN where a weight is not finite */
    _Alignas(64) uint8_t digits[SLOTS * WEIGHT_STRIDE];
    _Alignas(64) int32_t sums[SUMS]; /* [slots][tq_digit_room(dim)] */
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

/* Whether a few weights outdo the others so far that the roundings of all of them, 1 / 12 each, would
 * show beside the format's error: it is 0.0095 of the sum of the squares of what is weighed, and 1 /
 * SHARP of it is allowed. One digit does with tq2 and tq3, whose error is larger. Positions that the row
 * does not see weigh nothing, and have no say: how many of them are in a chunk depends on other rows. */
static bool is_sharp(const tq_codebook_tables *book, size_t n, const float *weights, const float *scales,
                     const uint8_t *digits) {
    enum { SHARP = 125 };
    uint32_t squares = 0, rounded = 0;
    if (book->bits != 4) return false;
    for (size_t i = 0; i < n; i++)
        squares += (uint32_t)digits[i] * digits[i];
    /* 0.0095 times 12 is 0.114. Mostly it is enough however many are rounded. */
    if (114 * squares >= 1000 * SHARP * (uint32_t)n) return false;
    for (size_t i = 0; i < n; i++)
        rounded += weights[i] * scales[i] != 0.0f;
    return 114 * squares < 1000 * SHARP * rounded;
}

static uint8_t *slot_digits(weighed *w, size_t i) {
    return w->digits + (w->slots + i) * WEIGHT_STRIDE;
}

/* Rows that there are slots for, whatever their weights: a second one is for digits of one. */
static size_t rows_together(const tq_codebook_tables *book, size_t room) {
    const size_t slots = SUMS / room < SLOTS ? SUMS / room : SLOTS;
    return book->digits->low == NULL ? slots / 2 : slots;
}

static void add_slot(weighed *w, size_t row, float factor) {
    w->rows[w->slots] = row;
    w->factors[w->slots++] = factor;
}

/* Of weights times the values' scales, of a row. False: one of them is negative. */
static bool take_digits(weighed *w, size_t row, const tq_kernels *kernels, const tq_codebook_tables *book,
                        size_t n, const float *weights, const float *scales) {
    const bool two = book->digits->low != NULL;
    const float unit = book->digits->unit;
    uint8_t *digits = slot_digits(w, 0);
    const float top =
        kernels->weight_digits(two ? 2 : 1, n, weights, scales, digits, digits + WEIGHT_STRIDE / 2);
    if (isnan(top)) {
        add_slot(w, row, NAN);
    } else if (top >= TQ_DIGIT_LEAST && two) {
        add_slot(w, row, top / TQ_WEIGHT_TWO * unit);
    } else if (top >= TQ_DIGIT_LEAST && !is_sharp(book, n, weights, scales, digits)) {
        add_slot(w, row, top / TQ_WEIGHT_ONE * unit);
    } else if (top >= TQ_DIGIT_LEAST) {
        kernels->weight_digits(2, n, weights, scales, digits, slot_digits(w, 1));
        add_slot(w, row, top / TQ_WEIGHT_TWO * unit * 128.0f);
        add_slot(w, row, top / TQ_WEIGHT_TWO * unit);
    }
    return !(top < 0.0f);
}

static void sum_up(weighed *w, const tq_view_reader *s, const tq_kernels *kernels, size_t head,
                   size_t first, size_t n) {
    const uint8_t *digits = w->digits;
    const size_t room = tq_digit_room(s->dim);
    memset(w->sums, 0, w->slots * room * sizeof *w->sums);
    while (n > 0 && w->slots > 0) {
        const tq_view_place at = tq_view_place_of(&s->view, first, n);
        kernels->accumulate_digits(s->plan.book, s->dim, w->slots, digits, WEIGHT_STRIDE, at.run,
                                   tq_view_data_at(s, head, at), s->view.row_stride, w->sums, room);
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
    float scales[CHUNK + TQ_LANES]; /* they come by vectors, and runs begin anywhere */
    assert(n <= CHUNK && (seen == NULL || rows == 1));
    load_scales(s, kernels, head, first, n, scales);
    for (size_t i = 0; seen != NULL && i < n; i++)
        if (!sees(seen, bit + i)) scales[i] = 0.0f;
    const size_t room = tq_digit_room(s->dim), together = rows_together(s->plan.book, room);
    for (size_t done = 0; done < rows; done += together) {
        w.slots = 0;
        for (size_t r = done; r < rows && r < done + together; r++) {
            float *row = weights + r * n_stride;
            if (!take_digits(&w, r, kernels, s->plan.book, n, row, scales))
                add_floats(s, kernels, head, first, n, row, seen, bit, acc + r * acc_stride);
        }
        sum_up(&w, s, kernels, head, first, n);
        for (size_t i = 0; i < w.slots; i++)
            kernels->add_sums(s->plan.book, s->dim, w.sums + i * room, w.factors[i],
                              acc + w.rows[i] * acc_stride);
    }
}

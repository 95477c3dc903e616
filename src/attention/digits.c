/* SPDX-License-Identifier: MIT
 * Sums of values in integers. Products are exact; what is rounded is in a written order and
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

/* A chunk of values that is summed up. */
typedef struct chunk {
    const tq_kernels *kernels;
    const tq_codebook_tables *book;
    size_t dim, n;
    tq_code_rows packed;
    float scales[CHUNK + TQ_LANES]; /* they come by vectors, and runs begin anywhere */
} chunk;

/* Rows of a chunk: weights as digits, and the sums of their products with the values'. */
typedef struct weighed {
    size_t slots; /* in use, one a row */
    size_t rows[SLOTS];
    float factors[SLOTS]; /* of sums: NaN where a weight is not finite */
    _Alignas(64) uint8_t digits[SLOTS * WEIGHT_STRIDE];
    _Alignas(64) int32_t sums[SUMS]; /* [slots][tq_digit_room(dim)] */
} weighed;

static bool sees(const uint64_t *seen, size_t i) {
    return seen == NULL || (seen[i / 64] >> i % 64 & 1) != 0;
}

/* One position times its weight, in float32. */
static void add_position(const chunk *c, size_t i, float weight, float *acc) {
    const float product = weight * c->scales[i];
    c->kernels->accumulate_codes(c->book, c->dim, 1, &product, 1, 1, tq_rows_from(c->packed, i), acc,
                                 c->dim);
}

/* No encoder writes a negative norm, but who reads one must not be told nonsense: digits of weights have
 * no sign, so such a row of a chunk is summed up in float32. */
static void add_floats(const chunk *c, const float *weights, const uint64_t *seen, size_t bit,
                       float *acc) {
    for (size_t i = 0; i < c->n; i++)
        if (sees(seen, bit + i)) add_position(c, i, weights[i], acc);
}

/* Whether a weight outdoes the others so far that the roundings of all of them, 1 / 12 each, would show
 * beside the format's error: it is 0.0095 of `squares`, the sum of those of all that is weighed, and 1 /
 * SHARP of it is allowed. One digit does with tq2 and tq3, whose error is larger. Positions that the row
 * does not see weigh nothing, and have no say: how many of them are in a chunk depends on other rows. */
static bool is_sharp(const chunk *c, const float *weights, float squares) {
    enum { SHARP = 125 };
    const float allowed = squares * (0.0095f * 12 / SHARP);
    size_t rounded = 0;
    if (c->book->bits != 4 || allowed >= (float)c->n) return false; /* mostly, however many there are */
    for (size_t i = 0; i < c->n; i++)
        rounded += weights[i] * c->scales[i] != 0.0f;
    return allowed < (float)rounded;
}

/* Weights times the values' scales to digits of a slot, of formats of one digit. What outdoes the others
 * is added to acc by itself and leaves its place to the next: two at most, since a weight that has less
 * than 0.46 of the squares of 128 does not outdo the others. */
static float take_single(const chunk *c, float *weights, uint8_t *digits, float *acc) {
    float apart = 0.0f, before = 0.0f; /* squares of what was added by itself, in digits of this top */
    for (;;) {
        uint32_t squares;
        const float top = c->kernels->weight_digits(1, c->n, weights, c->scales, digits,
                                                    digits + WEIGHT_STRIDE / 2, &squares);
        if (!(top >= TQ_DIGIT_LEAST)) return top;
        if (apart > 0.0f) apart *= before / top * (before / top);
        if (!is_sharp(c, weights, (float)squares + apart)) return top;
        const size_t i = (size_t)((const uint8_t *)memchr(digits, TQ_WEIGHT_ONE, c->n) - digits);
        add_position(c, i, weights[i], acc);
        weights[i] = 0.0f;
        apart += (float)TQ_WEIGHT_ONE * TQ_WEIGHT_ONE;
        before = top;
    }
}

/* Of a row: to a slot, if it has something to add. False: a weight is negative. */
static bool take_digits(weighed *w, const chunk *c, size_t row, float *weights, float *acc) {
    const bool two = c->book->digits->low != NULL;
    uint8_t *digits = w->digits + w->slots * WEIGHT_STRIDE, *low = digits + WEIGHT_STRIDE / 2;
    uint32_t squares;
    const float top = two ? c->kernels->weight_digits(2, c->n, weights, c->scales, digits, low, &squares)
                          : take_single(c, weights, digits, acc);
    if (top < 0.0f) return false;
    if (top < TQ_DIGIT_LEAST) return true;
    w->rows[w->slots] = row;
    w->factors[w->slots++] = top / (two ? TQ_WEIGHT_TWO : TQ_WEIGHT_ONE) * c->book->digits->unit;
    return true;
}

static void sum_up(weighed *w, const chunk *c) {
    const size_t room = tq_digit_room(c->dim);
    memset(w->sums, 0, w->slots * room * sizeof *w->sums);
    if (w->slots > 0)
        c->kernels->accumulate_digits(c->book, c->dim, w->slots, w->digits, WEIGHT_STRIDE, c->n,
                                      c->packed, w->sums, room);
}

void tq_view_accumulate_digits(const tq_view_reader *s, const tq_kernels *kernels, size_t head,
                               size_t first, size_t n, tq_view_offsets *offsets, size_t rows,
                               float *weights, size_t n_stride, const uint64_t *seen, size_t bit,
                               float *acc, size_t acc_stride) {
    weighed w;
    chunk c;
    assert(n <= CHUNK && (seen == NULL || rows == 1));
    c.kernels = kernels;
    c.book = s->plan.book;
    c.dim = s->dim;
    c.n = n;
    c.packed = tq_view_rows(s, head, first, n, offsets);
    tq_view_scales(s, kernels, head, first, n, c.scales);
    for (size_t i = 0; seen != NULL && i < n; i++)
        if (!sees(seen, bit + i)) c.scales[i] = 0.0f;
    const size_t room = tq_digit_room(s->dim), together = SUMS / room < SLOTS ? SUMS / room : SLOTS;
    for (size_t done = 0; done < rows; done += together) {
        w.slots = 0;
        for (size_t r = done; r < rows && r < done + together; r++) {
            float *row = weights + r * n_stride, *to = acc + r * acc_stride;
            if (!take_digits(&w, &c, r, row, to)) add_floats(&c, row, seen, bit, to);
        }
        sum_up(&w, &c);
        for (size_t i = 0; i < w.slots; i++)
            kernels->add_sums(s->plan.book, s->dim, w.sums + i * room, w.factors[i],
                              acc + w.rows[i] * acc_stride);
    }
}

/* SPDX-License-Identifier: MIT
 * Partial results put together, in the order of the positions. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "attention/batch.h"
#include "kernels/exponential.h"

static void poison(size_t dim, float *acc, float *top, float *sum) {
    *top = *sum = NAN;
    for (size_t i = 0; i < dim; i++)
        acc[i] = NAN;
}

/* A row is finite, or NaN altogether. */
static void settle(const tq_kernels *kernels, size_t dim, float *acc, float *top, float *sum) {
    if (isnan(*top) || !isfinite(*sum) || kernels->scan(dim, acc, FLT_MAX) < dim)
        poison(dim, acc, top, sum);
}

/* The larger of the two, NaN if one is NaN or infinity. */
static float higher(float top, float t) {
    if (isnan(top) || isnan(t) || t == INFINITY) return NAN;
    return t > top ? t : top;
}

/* exp(top - highest), 0 for a part that saw nothing; mostly the part is all there is. */
static float weight_of(float top, float highest) {
    if (top == highest) return top == -INFINITY ? 0.0f : 1.0f;
    return top == -INFINITY ? 0.0f : tq_exponential(top - highest);
}

/* Tops and sums of a row's splits, which lie side by side. */
static void merge_tails(const tq_attend_sequence *s, const float *partial, float *top, float *sum) {
    const float *first = partial + s->tail_at;
    *top = -INFINITY;
    *sum = 0.0f;
    for (size_t i = 0; i < s->cut.splits; i++)
        *top = higher(*top, first[i * s->partial_floats]);
    for (size_t i = 0; i < s->cut.splits && !isnan(*top); i++) {
        const float *tail = first + i * s->partial_floats;
        *sum += weight_of(tail[0], *top) * tail[1];
    }
}

/* One of the accumulators, `offset` floats into the partial rows, summed over the splits. */
static void sum_splits(const tq_attend_sequence *s, const float *partial, size_t offset, float highest,
                       size_t dim, float *acc) {
    for (size_t i = 0; i < s->cut.splits; i++, partial += s->partial_floats) {
        const float w = weight_of(partial[s->tail_at], highest);
        const float *from = partial + offset;
        if (i == 0 && w == 1.0f)
            memcpy(acc, from, dim * sizeof *acc);
        else if (i == 0)
            for (size_t j = 0; j < dim; j++)
                acc[j] = w * from[j];
        else if (w > 0.0f)
            for (size_t j = 0; j < dim; j++)
                acc[j] += w * from[j];
    }
}

/* A row's splits, unnormalised, in the call's domain. A row that float32 cannot carry is NaN in all
 * three; work() has seen to it in one split as it is. */
static void collect(const tq_attend_batch *b, const tq_attend_sequence *s, size_t row, float *acc,
                    float *top, float *sum) {
    const float *partial = tq_attend_partial(b, s, row, 0);
    const size_t dim = b->kind->v_dim;
    const bool rotated = s->encoded_v && b->kind->domain == TQ_ORIGINAL;
    float plain[TQ_MAX_DIM];
    merge_tails(s, partial, top, sum);
    if (isnan(*top)) {
        poison(dim, acc, top, sum);
        return;
    }
    if (s->acc_floats == 0) memset(acc, 0, dim * sizeof *acc);
    if (s->acc_floats > 0) sum_splits(s, partial, 0, *top, dim, acc);
    if (rotated) b->kernels->rotate(&s->v_rotation, TQ_ROTATE_OUT, 1, acc, dim, acc, dim);
    if (s->encoded_v && s->dense_v) {
        sum_splits(s, partial, dim, *top, dim, plain);
        for (size_t i = 0; i < dim; i++)
            acc[i] += plain[i];
    }
    if (s->cut.splits > 1 || s->encoded_v || !isfinite(*sum)) settle(b->kernels, dim, acc, top, sum);
}

void tq_attend_finish_row(const tq_attend_batch *b, const tq_attend_sequence *s, size_t row) {
    const tq_attend_io *io = &b->io;
    const size_t token = s->first_token + row % s->n_queries, head = row / s->n_queries;
    const size_t at = token * io->lse_token + head * io->lse_head;
    const size_t out_at = token * io->out_token + head * io->out_head;
    float wide[TQ_MAX_DIM], top, sum;
    float *acc = b->kind->out_type == TQ_F32 ? (float *)io->out + out_at : wide;
    collect(b, s, row, acc, &top, &sum);
    if (io->sum == NULL) {
        tq_attend_finish(b->kernels, b->kind->v_dim, acc, top, sum,
                         io->sinks == NULL ? NULL : &io->sinks[head],
                         io->lse == NULL ? NULL : io->lse + at);
    } else {
        io->max[at] = top;
        io->sum[at] = sum;
    }
    if (acc == wide)
        tq_narrow(b->kernels, b->kind->out_type, b->kind->v_dim, acc, (uint16_t *)io->out + out_at);
}

void tq_attend_merge_row(const tq_kernels *kernels, size_t n_partials, size_t dim, size_t r,
                         const float *const *acc, const float *const *max, const float *const *sum,
                         float *out, float *top, float *total) {
    *top = -INFINITY;
    *total = 0.0f;
    for (size_t i = 0; i < n_partials; i++)
        *top = higher(*top, max[i][r]);
    for (size_t i = 0; i < n_partials; i++) {
        const float w = weight_of(max[i][r], *top);
        *total += w * sum[i][r];
        for (size_t j = 0; j < dim; j++) {
            const float term = w * acc[i][r * dim + j];
            out[r * dim + j] = i == 0 ? term : out[r * dim + j] + term;
        }
    }
    settle(kernels, dim, out + r * dim, top, total);
}

void tq_attend_finish(const tq_kernels *kernels, size_t dim, float *acc, float top, float sum,
                      const float *sink, float *lse) {
    if (isnan(top)) { /* acc is NaN already */
        if (lse != NULL) *lse = top;
        return;
    }
    const float highest = sink != NULL && *sink > top ? *sink : top;
    const float w = weight_of(top, highest);
    const float total = w * sum + (sink == NULL ? 0.0f : weight_of(*sink, highest));
    const float inverse = total > 0.0f ? w / total : 0.0f;
    const size_t whole = dim - dim % TQ_LANES; /* merges are of any dimension */
    kernels->scale(whole, inverse, acc);
    for (size_t i = whole; i < dim; i++)
        acc[i] *= inverse;
    if (lse != NULL) *lse = total > 0.0f ? highest + logf(total) : -INFINITY;
}

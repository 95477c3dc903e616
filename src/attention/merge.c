/* SPDX-License-Identifier: MIT
 * Partial results put together, in the order of the positions. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "attention/plan.h"

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

/* exp(top - highest), 0 for a part that saw nothing. */
static float weight_of(float top, float highest) {
    return top == -INFINITY ? 0.0f : expf(top - highest);
}

/* Sums one of the accumulators over the splits. */
static void sum_splits(const tq_attend_plan *plan, const float *partial, size_t offset, float highest,
                       float *acc) {
    memset(acc, 0, plan->dim * sizeof *acc);
    for (size_t s = 0; s < plan->splits; s++, partial += plan->partial_floats) {
        const float w = weight_of(partial[plan->partial_floats - TQ_LANES], highest);
        if (w == 0.0f) continue;
        for (size_t i = 0; i < plan->dim; i++)
            acc[i] += w * partial[offset + i];
    }
}

void tq_attend_collect(const tq_attend_plan *plan, const void *workspace, size_t row, float *acc,
                       float *top, float *sum) {
    const float *partial = (const float *)(const void *)((const uint8_t *)workspace + plan->at.partials) +
                           tq_attend_partial_at(plan, row, 0);
    float plain[TQ_MAX_DIM];
    *top = -INFINITY;
    *sum = 0.0f;
    for (size_t s = 0; s < plan->splits; s++)
        *top = higher(*top, partial[(s + 1) * plan->partial_floats - TQ_LANES]);
    if (isnan(*top)) {
        poison(plan->dim, acc, top, sum);
        return;
    }
    for (size_t s = 0; s < plan->splits; s++) {
        const float *tail = partial + (s + 1) * plan->partial_floats - TQ_LANES;
        *sum += weight_of(tail[0], *top) * tail[1];
    }
    memset(acc, 0, plan->dim * sizeof *acc);
    if (plan->encoded_v) {
        sum_splits(plan, partial, 0, *top, acc);
        if (plan->params->domain == TQ_ORIGINAL)
            plan->kernels->rotate(&plan->v_rotation, TQ_ROTATE_OUT, 1, acc, plan->dim, acc, plan->dim);
    }
    if (plan->dense_v) {
        sum_splits(plan, partial, plan->encoded_v ? plan->dim : 0, *top, plain);
        for (size_t i = 0; i < plan->dim; i++)
            acc[i] += plain[i];
    }
    settle(plan->kernels, plan->dim, acc, top, sum);
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

void tq_attend_finish(size_t dim, float *acc, float top, float sum, const float *sink, float *lse) {
    if (isnan(top)) { /* acc is NaN already */
        if (lse != NULL) *lse = top;
        return;
    }
    const float highest = sink != NULL && *sink > top ? *sink : top;
    const float w = weight_of(top, highest);
    const float total = w * sum + (sink == NULL ? 0.0f : weight_of(*sink, highest));
    const float inverse = total > 0.0f ? w / total : 0.0f;
    for (size_t i = 0; i < dim; i++)
        acc[i] *= inverse;
    if (lse != NULL) *lse = total > 0.0f ? highest + logf(total) : -INFINITY;
}

/* SPDX-License-Identifier: MIT
 * Attention in float64, from its definition, a query at a time: what results are measured against. */
#include "exact.h"

#include <math.h>
#include <stddef.h>

size_t measure_exact_group(const measure_exact *x, size_t h) {
    return h / (x->n_heads / x->n_kv_heads);
}

/* Eight sums beside each other, so that they need not wait for one another. */
static double product(const float *a, const float *b, size_t n) {
    double lane[8] = {0.0};
    size_t d = 0;
    for (; n - d >= 8; d += 8)
        for (size_t l = 0; l < 8; l++)
            lane[l] += (double)a[d + l] * (double)b[d + l];
    for (; d < n; d++)
        lane[0] += (double)a[d] * (double)b[d];
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

static bool sees(const measure_exact *x, size_t query, size_t key) {
    if (x->causal && key > query) return false;
    return x->window == 0 || key >= query || query - key < x->window;
}

void measure_exact_scores(const measure_exact *x, size_t h, size_t i, double *scores) {
    const float *q = x->q + (h * x->n_queries + i) * x->head_dim;
    const float *k = x->k + measure_exact_group(x, h) * x->n_positions * x->head_dim;
    for (size_t t = 0; t < x->n_positions; t++, k += x->head_dim) {
        if (!sees(x, x->first_query + i, t)) {
            scores[t] = -(double)INFINITY;
            continue;
        }
        const double score = x->scale * product(q, k, x->head_dim);
        scores[t] = x->softcap > 0.0 ? x->softcap * tanh(score / x->softcap) : score;
    }
}

double measure_exact_softmax(const double *scores, size_t n, double *weights) {
    double top = -(double)INFINITY, sum = 0.0;
    for (size_t t = 0; t < n; t++)
        top = fmax(top, scores[t]);
    if (isinf(top)) {
        for (size_t t = 0; t < n; t++)
            weights[t] = 0.0;
        return top;
    }
    for (size_t t = 0; t < n; t++) {
        weights[t] = exp(scores[t] - top);
        sum += weights[t];
    }
    for (size_t t = 0; t < n; t++)
        weights[t] /= sum;
    return top + log(sum);
}

void measure_exact_output(const measure_exact *x, size_t h, const double *weights, size_t first, size_t n,
                          double *out, double *terms) {
    const size_t dim = x->head_dim;
    const float *v = x->v + (measure_exact_group(x, h) * x->n_positions + first) * dim;
    for (size_t d = 0; d < dim; d++)
        out[d] = terms[d] = 0.0;
    for (size_t t = 0; t < n; t++, v += dim) {
        for (size_t d = 0; weights[t] > 0.0 && d < dim; d++) {
            out[d] += weights[t] * (double)v[d];
            terms[d] += weights[t] * fabs((double)v[d]);
        }
    }
}

void measure_exact_attend(const measure_exact *x, size_t h, size_t i, double *scratch, double *out,
                          double *terms) {
    measure_exact_scores(x, h, i, scratch);
    measure_exact_softmax(scratch, x->n_positions, scratch);
    measure_exact_output(x, h, scratch, 0, x->n_positions, out, terms);
}

double measure_exact_error(const float *got, const double *want, const double *measure, size_t n) {
    double off = 0.0;
    for (size_t d = 0; d < n; d++)
        off += ((double)got[d] - want[d]) * ((double)got[d] - want[d]);
    return sqrt(off) / measure_exact_length(measure, n);
}

double measure_exact_length(const double *vector, size_t n) {
    double sum = 0.0;
    for (size_t d = 0; d < n; d++)
        sum += vector[d] * vector[d];
    return sqrt(sum);
}

double measure_exact_float_length(const float *vector, size_t n) {
    return sqrt(product(vector, vector, n));
}

double measure_exact_divergence(const double *p, const double *p_scores, double p_lse,
                                const double *scores, double lse, size_t n) {
    double sum = 0.0;
    for (size_t t = 0; t < n; t++)
        if (p[t] > 0.0) sum += p[t] * ((p_scores[t] - p_lse) - (scores[t] - lse));
    /* It is not negative; rounding may make it so by a little. */
    return sum > 0.0 || isnan(sum) ? sum : 0.0;
}

/* SPDX-License-Identifier: MIT
 * Attention in float64, a loop a sentence of its definition. */
#include "model.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

bool model_sees(const scene *s, size_t b, size_t i, size_t position) {
    const tq_attention_config *c = &s->config.layer;
    const int64_t length = (int64_t)scene_length(s, b), key = (int64_t)position;
    const int64_t query = length - (int64_t)s->n_queries + (int64_t)i;
    const int64_t bit = key - (length - (int64_t)s->n_tree);
    if (s->n_tree > 0 && bit >= 0) {
        const uint64_t *bits = s->tree + (b * s->n_queries + i) * ((s->n_tree + 63) / 64);
        return (bits[bit / 64] >> bit % 64 & 1) != 0;
    }
    if (query < 0) return false;
    if (key > query) return c->bidirectional != 0;
    return c->window == 0 || position < c->sink_positions || (uint64_t)(query - key) < c->window;
}

/* In eight sums, as compilers like it. */
static double product(const float *x, const float *y, size_t n) {
    double sum[8] = {0}, all = 0;
    for (size_t d = 0; d < n; d += 8)
        for (size_t j = 0; j < 8; j++)
            sum[j] += (double)x[d + j] * (double)y[d + j];
    for (size_t j = 0; j < 8; j++)
        all += sum[j];
    return all;
}

static double score_of(const scene *s, const float *q, const float *key, double lean) {
    const tq_attention_config *c = &s->config.layer;
    const double score = product(q, key, c->head_dim) * (double)c->scale, cap = (double)c->softcap;
    return (c->softcap > 0.0f ? cap * tanh(score / cap) : score) - lean;
}

/* Scores of all positions, -infinity of those that are hidden. */
static void all_scores(const scene *s, size_t b, size_t i, size_t h, double *scores, row *r) {
    const tq_attention_config *c = &s->config.layer;
    const size_t T = scene_length(s, b), g = h / group_of(s), stride = s->room[b];
    const float *q = s->q + ((b * s->n_queries + i) * c->n_heads + h) * c->head_dim;
    const double slope = s->slopes ? (double)s->slope_values[h] : 0;
    const double query = (double)T - (double)s->n_queries + (double)i;
    double longest = 0, most_lean = 0;
    for (size_t t = 0; t < T; t++) {
        const size_t at = g * stride + t;
        scores[t] = -(double)INFINITY;
        if (!model_sees(s, b, i, t)) continue;
        const double lean = slope * fabs(query - (double)t);
        r->seen++;
        if (isnan(s->k.length[b][at]) || isnan(s->v.length[b][at])) {
            r->nan = true;
            continue;
        }
        scores[t] = score_of(s, q, s->k.values[b] + at * c->head_dim, lean);
        r->nan |= !(fabs(scores[t]) <= 2 * (double)FLT_MAX);
        r->unsure |= fabs(scores[t]) > (double)FLT_MAX / 16;
        r->max = fmax(r->max, scores[t]);
        longest = fmax(longest, s->k.length[b][at]);
        most_lean = fmax(most_lean, fabs(lean));
    }
    r->reach = fabs((double)c->scale) * sqrt(product(q, q, c->head_dim)) * longest + most_lean;
}

static double log_sum(const double *scores, size_t n, double top, const float *sink) {
    const double extra = sink == NULL ? -(double)INFINITY : (double)*sink;
    const double max = fmax(top, extra);
    double sum = sink == NULL ? 0 : exp(extra - max);
    if (isinf(max)) return max;
    for (size_t t = 0; t < n; t++)
        sum += exp(scores[t] - max);
    return max + log(sum);
}

void model_attend(const scene *s, size_t b, size_t i, size_t h, row *r) {
    const size_t T = scene_length(s, b), E = s->v.dim, g = h / group_of(s);
    double *scores = host(T * sizeof *scores);
    *r = (row){.out = r->out, .max = -(double)INFINITY};
    all_scores(s, b, i, h, scores, r);
    r->lse = log_sum(scores, T, r->max, s->logits && !s->open ? &s->sink_logits[h] : NULL);
    for (size_t d = 0; d < E; d++)
        r->out[d] = 0;
    for (size_t t = 0; t < T && !r->nan; t++) {
        if (isinf(scores[t])) continue;
        const size_t at = g * s->room[b] + t;
        const double weight = exp(scores[t] - r->lse);
        const float *value = s->v.values[b] + at * E;
        for (size_t d = 0; d < E; d++)
            r->out[d] += weight * (double)value[d];
        r->terms += weight * s->v.length[b][at];
    }
    free(scores);
}

/* E of attention.h. */
static double exact_bound(const scene *s, const row *r) {
    const double T = (double)r->seen, D = s->config.layer.head_dim;
    return ldexp(fmin(T, 512) + T / 16 + 16 + (D / 16 + 24) * r->reach, -24);
}

double model_out_bound(const scene *s, const row *r) {
    if (s->config.accuracy == TQ_CUDA_EXACT) return 2 * exact_bound(s, r);
    return ldexp(1 + r->reach, -9);
}

double model_lse_bound(const scene *s, const row *r) {
    const bool exact = s->config.accuracy == TQ_CUDA_EXACT;
    const double relative = ldexp(fabs(r->lse), exact ? -24 : -22);
    return relative + (exact ? exact_bound(s, r) : ldexp(r->reach, -9) + ldexp(1, -20));
}

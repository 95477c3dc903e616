/* SPDX-License-Identifier: MIT
 * Attention in float64, a loop a sentence of its definition. */
#include "model.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "half.h"
#include "support/cm.h"
#include "support/guard.h"

model_row model_row_new(size_t dim) {
    return (model_row){.out = test_alloc(dim * sizeof(double))};
}

void model_row_free(model_row *m) {
    free(m->out);
}

static bool visible(const tq_attention_params *p, uint64_t query, uint64_t key) {
    if (!p->bidirectional && key > query) return false;
    return p->window == 0 || key < p->sink_positions || key > query || query - key < p->window;
}

/* Of the last n_tree positions up to the queries' end a tree's bits say it alone. */
static bool sees(const scene *s, size_t i, uint64_t query, uint64_t key) {
    const uint64_t end = query - i + s->params.n_queries, start = end - s->n_tree;
    if (s->tree == NULL || key < start || key >= end) return visible(&s->params, query, key);
    const uint64_t *bits = s->tree + i * ((s->n_tree + 63) / 64), bit = key - start;
    return (bits[bit / 64] >> bit % 64 & 1) != 0;
}

/* Where query i stands. */
static uint64_t position_of(const scene *s, size_t i) {
    uint64_t end = s->params.query_end;
    for (size_t t = 0; t < s->n_segments && s->params.query_end == 0; t++)
        if (s->segments[t].length > 0 && s->segments[t].first_position + s->segments[t].length > end)
            end = s->segments[t].first_position + s->segments[t].length;
    return end - s->params.n_queries + i;
}

static double score_of(const scene *s, const float *q, const double *key, double slope, uint64_t query,
                       uint64_t at) {
    const tq_attention_params *p = &s->params;
    double sum = 0;
    for (size_t d = 0; d < p->head_dim; d++)
        sum += (double)q[d] * key[d];
    sum *= (double)p->scale;
    const double cap = (double)p->softcap;
    return (cap == 0 ? sum : cap * tanh(sum / cap)) - slope * fabs((double)query - (double)at);
}

static double length_of(const double *x, size_t dim) {
    double sum = 0;
    for (size_t d = 0; d < dim; d++)
        sum += x[d] * x[d];
    return sqrt(sum);
}

static double float_length(const float *x, size_t dim) {
    double sum = 0;
    for (size_t d = 0; d < dim; d++)
        sum += (double)x[d] * (double)x[d];
    return sqrt(sum);
}

/* |k| + 2 |c| of a key. */
static double reach(const scene *s, size_t t, size_t g, size_t j, const double *key) {
    const size_t dim = s->params.head_dim;
    const uint16_t *centre = scene_centre(s, t, g, j);
    double square = 0;
    for (size_t d = 0; d < dim && centre != NULL; d++)
        square += half_to(centre[d]) * half_to(centre[d]);
    return length_of(key, dim) + 2 * sqrt(square);
}

/* Scores of all positions, in the order of the segments, and the bound that goes with them; returns how
 * many. */
static size_t all_scores(const scene *s, size_t h, size_t i, double *scores, double *bound) {
    const tq_attention_params *p = &s->params;
    const size_t g = h / (p->n_heads / p->n_kv_heads), dim = p->head_dim;
    const float *q = s->q + (h * p->n_queries + i) * dim;
    const double slope = p->slopes == NULL ? 0 : (double)p->slopes[h];
    const uint64_t query = position_of(s, i);
    double most = 0, lean = 0;
    size_t n = 0, seen = 0;
    for (size_t t = 0; t < s->n_segments; t++) {
        const tq_segment *seg = &s->segments[t];
        for (size_t j = 0; j < seg->length; j++, n++) {
            const double *key = s->k[t].values + (g * seg->length + j) * dim;
            scores[n] = -(double)INFINITY;
            const uint64_t at = seg->first_position + j;
            if (!sees(s, i, query, at)) continue;
            scores[n] = score_of(s, q, key, slope, query, at);
            lean = fmax(lean, fabs(slope * ((double)query - (double)at)));
            most = fmax(most, reach(s, t, g, j, key));
            seen++;
        }
    }
    most = most * fabs((double)p->scale) * float_length(q, dim) + lean;
    *bound =
        ldexp(fmin((double)seen, 512) + (double)seen / 16 + 16 + ((double)dim / 16 + 24) * most, -24);
    return n;
}

static double log_sum_exp(const double *scores, size_t n, double max, const float *sink) {
    double top = max, sum = 0;
    if (sink != NULL) top = fmax(top, (double)*sink);
    if (isinf(top)) return top;
    for (size_t j = 0; j < n; j++)
        sum += exp(scores[j] - top);
    if (sink != NULL) sum += exp((double)*sink - top);
    return top + log(sum);
}

static void add_values(const scene *s, size_t h, const double *scores, model_row *m) {
    const tq_attention_params *p = &s->params;
    const size_t g = h / (p->n_heads / p->n_kv_heads), dim = scene_v_dim(s);
    for (size_t t = 0; t < s->n_segments; t++)
        for (size_t j = 0; j < s->segments[t].length; j++, scores++) {
            if (isinf(*scores)) continue;
            const double weight = exp(*scores - m->lse);
            const double *value = s->v[t].values + (g * s->segments[t].length + j) * dim;
            for (size_t d = 0; d < dim; d++)
                m->out[d] += weight * value[d];
            m->terms += weight * length_of(value, dim);
        }
}

void model_attend(const scene *s, size_t h, size_t i, model_row *m) {
    size_t total = 0;
    for (size_t t = 0; t < s->n_segments; t++)
        total += s->segments[t].length;
    double *scores = test_alloc(total * sizeof *scores);
    const size_t n = all_scores(s, h, i, scores, &m->bound);
    m->max = -(double)INFINITY;
    for (size_t j = 0; j < n; j++)
        m->max = fmax(m->max, scores[j]);
    m->lse = log_sum_exp(scores, n, m->max, s->params.sinks == NULL ? NULL : &s->params.sinks[h]);
    m->terms = 0;
    memset(m->out, 0, scene_v_dim(s) * sizeof *m->out);
    add_values(s, h, scores, m);
    free(scores);
}

/* Error of a row; fails beyond what is promised. */
static void row_error(worst *w, const model_row *m, const float *out, double factor, size_t dim,
                      const char *what, size_t h, size_t i) {
    double error = 0;
    for (size_t d = 0; d < dim; d++) {
        const double off = (double)out[d] * factor - m->out[d];
        if (isnan(out[d])) fail_msg("%s of head %zu, query %zu: coordinate %zu is NaN", what, h, i, d);
        error += off * off;
    }
    error = sqrt(error);
    const double most = 2 * m->bound * m->terms;
    /* Not written as error > most, which a NaN would pass. */
    if (!(error <= most + (double)FLT_MIN))
        fail_msg("%s of head %zu, query %zu: error %g, at most %g is promised", what, h, i, error, most);
    if (!(m->terms > 0)) return;
    w->out = fmax(w->out, error / m->terms);
    w->out_share = fmax(w->out_share, error / most);
}

/* The same for a logarithm, or the largest score. */
static void log_error(worst *w, const model_row *m, double got, double want, const char *what, size_t h,
                      size_t i) {
    if (isinf(want)) {
        if (got == want) return;
        fail_msg("%s of head %zu, query %zu is %g; nothing is seen: -inf wanted", what, h, i, got);
    }
    const double most = m->bound + ldexp(fabs(want), -24);
    if (!(fabs(got - want) <= most))
        fail_msg("%s of head %zu, query %zu is %.9g; %.9g wanted, within %g", what, h, i, got, want,
                 most);
    w->lse_share = fmax(w->lse_share, fabs(got - want) / most);
}

static void count(worst *w, const model_row *m) {
    w->rows++;
    w->unseen += isinf(m->max) != 0;
}

void assert_attends(const scene *s, const float *out, const float *lse, worst *w) {
    const size_t n = s->params.n_queries, dim = scene_v_dim(s);
    model_row m = model_row_new(dim);
    for (size_t row = 0; row < scene_rows(s); row++) {
        const size_t h = row / n, i = row % n;
        model_attend(s, h, i, &m);
        count(w, &m);
        row_error(w, &m, out + row * dim, 1, dim, "out", h, i);
        if (lse != NULL) log_error(w, &m, (double)lse[row], m.lse, "lse", h, i);
        for (size_t d = 0; d < dim && isinf(m.max); d++)
            if (out[row * dim + d] != 0.0f) fail_msg("head %zu, query %zu sees nothing: not 0", h, i);
    }
    w->cases++;
    model_row_free(&m);
}

void assert_partial(const scene *s, const float *acc, const float *max, const float *sum, worst *w) {
    const size_t n = s->params.n_queries, dim = scene_v_dim(s);
    scene open = *s;
    open.params.sinks = NULL;
    model_row m = model_row_new(dim);
    for (size_t row = 0; row < scene_rows(s); row++) {
        const size_t h = row / n, i = row % n;
        model_attend(&open, h, i, &m);
        count(w, &m);
        log_error(w, &m, (double)max[row], m.max, "max", h, i);
        if (isinf(m.max)) {
            assert_true(sum[row] == 0.0f);
            row_error(w, &m, acc + row * dim, 1, dim, "acc", h, i);
            continue;
        }
        /* acc is relative to the max that was written, rounded as it may be. */
        row_error(w, &m, acc + row * dim, exp((double)max[row] - m.lse), dim, "acc", h, i);
        log_error(w, &m, log((double)sum[row]) + (double)max[row], m.lse, "sum", h, i);
    }
    w->cases++;
    model_row_free(&m);
}

void worst_print(const char *group, const worst *w) {
    if (w == NULL)
        printf("%-28s %6s %8s %8s %10s %10s %10s\n", "group", "cases", "rows", "unseen", "out",
               "of bound", "lse's");
    else
        printf("%-28s %6zu %8zu %8zu %10.2e %10.4f %10.4f\n", group, w->cases, w->rows, w->unseen, w->out,
               w->out_share, w->lse_share);
    fflush(stdout);
}

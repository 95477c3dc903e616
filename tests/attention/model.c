/* SPDX-License-Identifier: MIT
 * Attention in float64, a loop a sentence of its definition. */
#include "model.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/cm.h"
#include "support/guard.h"

model_row model_row_new(size_t dim) {
    return (model_row){.out = test_alloc(dim * sizeof(double)),
                       .terms = test_alloc(dim * sizeof(double))};
}

void model_row_free(model_row *m) {
    free(m->out);
    free(m->terms);
}

static bool visible(const tq_attention_params *p, uint64_t query, uint64_t key) {
    if (p->causal && key > query) return false;
    return p->window == 0 || key > query || query - key < p->window;
}

static double score_of(const scene *s, const float *q, const double *key) {
    const tq_attention_params *p = &s->params;
    double sum = 0;
    for (size_t d = 0; d < p->head_dim; d++)
        sum += (double)q[d] * key[d];
    sum *= (double)p->scale;
    const double cap = (double)p->softcap;
    return cap == 0 ? sum : cap * tanh(sum / cap);
}

/* Scores of all positions, in the order of the segments; returns how many. */
static size_t all_scores(const scene *s, size_t h, size_t i, double *scores) {
    const tq_attention_params *p = &s->params;
    const size_t g = h / (p->n_heads / p->n_kv_heads), dim = p->head_dim;
    size_t n = 0;
    for (size_t t = 0; t < s->n_segments; t++) {
        const tq_segment *seg = &s->segments[t];
        for (size_t j = 0; j < seg->length; j++, n++) {
            const bool seen = visible(p, p->first_query + i, seg->first_position + j);
            scores[n] = seen ? score_of(s, s->q + (h * p->n_queries + i) * dim,
                                        s->k[t].values + (g * seg->length + j) * dim)
                             : -(double)INFINITY;
        }
    }
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
    const size_t g = h / (p->n_heads / p->n_kv_heads), dim = p->head_dim;
    for (size_t t = 0; t < s->n_segments; t++)
        for (size_t j = 0; j < s->segments[t].length; j++, scores++) {
            if (isinf(*scores)) continue;
            const double weight = exp(*scores - m->lse);
            const double *value = s->v[t].values + (g * s->segments[t].length + j) * dim;
            for (size_t d = 0; d < dim; d++) {
                m->out[d] += weight * value[d];
                m->terms[d] += weight * fabs(value[d]);
            }
        }
}

void model_attend(const scene *s, size_t h, size_t i, model_row *m) {
    size_t total = 0;
    for (size_t t = 0; t < s->n_segments; t++)
        total += s->segments[t].length;
    double *scores = test_alloc(total * sizeof *scores);
    const size_t n = all_scores(s, h, i, scores);
    m->max = -(double)INFINITY;
    for (size_t j = 0; j < n; j++)
        m->max = fmax(m->max, scores[j]);
    m->lse = log_sum_exp(scores, n, m->max, s->params.sinks == NULL ? NULL : &s->params.sinks[h]);
    for (size_t d = 0; d < s->params.head_dim; d++)
        m->out[d] = m->terms[d] = 0;
    add_values(s, h, scores, m);
    free(scores);
}

/* Error of a row in units of the norm of its absolute terms; fails beyond the bound. */
static double row_error(const model_row *m, const float *out, double factor, size_t dim, const char *what,
                        size_t h, size_t i) {
    double error = 0, terms = 0;
    for (size_t d = 0; d < dim; d++) {
        const double off = (double)out[d] * factor - m->out[d];
        if (isnan(out[d])) fail_msg("%s of head %zu, query %zu: coordinate %zu is NaN", what, h, i, d);
        error += off * off;
        terms += m->terms[d] * m->terms[d];
    }
    error = sqrt(error);
    terms = sqrt(terms);
    /* Not written as error > bound, which a NaN would pass. */
    if (!(error <= MODEL_BOUND * terms + (double)FLT_MIN))
        fail_msg("%s of head %zu, query %zu: error %g, absolute terms %g, ratio %g", what, h, i, error,
                 terms, error / terms);
    return terms > 0 ? error / terms : 0;
}

/* The same for a logarithm. */
static double log_error(double got, double want, const char *what, size_t h, size_t i) {
    if (isinf(want)) {
        if (got == want) return 0;
        fail_msg("%s of head %zu, query %zu is %g; nothing is seen: -inf wanted", what, h, i, got);
    }
    const double error = fabs(got - want) / fmax(1, fabs(want));
    if (!(error <= MODEL_BOUND))
        fail_msg("%s of head %zu, query %zu is %.9g; %.9g wanted", what, h, i, got, want);
    return error;
}

static void count(worst *w, const model_row *m, double out, double lse) {
    w->rows++;
    w->unseen += isinf(m->max) != 0;
    w->out = fmax(w->out, out);
    w->lse = fmax(w->lse, lse);
}

void assert_attends(const scene *s, const float *out, const float *lse, worst *w) {
    const size_t n = s->params.n_queries, dim = s->params.head_dim;
    model_row m = model_row_new(dim);
    for (size_t row = 0; row < scene_rows(s); row++) {
        const size_t h = row / n, i = row % n;
        model_attend(s, h, i, &m);
        const double error = row_error(&m, out + row * dim, 1, dim, "out", h, i);
        count(w, &m, error, lse == NULL ? 0 : log_error((double)lse[row], m.lse, "lse", h, i));
        for (size_t d = 0; d < dim && isinf(m.max); d++)
            if (out[row * dim + d] != 0.0f) fail_msg("head %zu, query %zu sees nothing: not 0", h, i);
    }
    w->cases++;
    model_row_free(&m);
}

void assert_partial(const scene *s, const float *acc, const float *max, const float *sum, worst *w) {
    const size_t n = s->params.n_queries, dim = s->params.head_dim;
    scene open = *s;
    open.params.sinks = NULL;
    model_row m = model_row_new(dim);
    for (size_t row = 0; row < scene_rows(s); row++) {
        const size_t h = row / n, i = row % n;
        model_attend(&open, h, i, &m);
        log_error((double)max[row], m.max, "max", h, i);
        if (isinf(m.max)) {
            assert_true(sum[row] == 0.0f);
            count(w, &m, row_error(&m, acc + row * dim, 1, dim, "acc", h, i), 0);
            continue;
        }
        /* acc is relative to the max that was written, rounded as it may be. */
        const double error =
            row_error(&m, acc + row * dim, exp((double)max[row] - m.lse), dim, "acc", h, i);
        count(w, &m, error, log_error(log((double)sum[row]) + (double)max[row], m.lse, "sum", h, i));
    }
    w->cases++;
    model_row_free(&m);
}

void worst_print(const char *group, const worst *w) {
    if (w == NULL)
        printf("%-28s %6s %8s %8s %10s %10s   (bound %.1e)\n", "group", "cases", "rows", "unseen", "out",
               "lse", MODEL_BOUND);
    else
        printf("%-28s %6zu %8zu %8zu %10.2e %10.2e\n", group, w->cases, w->rows, w->unseen, w->out,
               w->lse);
    fflush(stdout);
}

/* SPDX-License-Identifier: MIT
 * Attention over a cache's segments against float64 on what its model says they hold. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attention/half.h"
#include "broken.h"
#include "check.h"
#include "memory.h"

/* What tqkv/attention.h promises, in units of the norm of an output's absolute terms. */
static const double bound = 2e-6;

static void decoded(const model *m, const lane *l, uint64_t p, size_t g, const uint16_t *centre,
                    double *x) {
    const size_t row = lane_row(m, p, g);
    const tq_batch one = {.heads = 1, .rows = 1};
    float *y = zeroed(l->dim, sizeof *y);
    if (l->store != TQ_STORE_CODES || p < m->sinks || p >= m->encoded_end) {
        for (size_t i = 0; i < l->dim; i++)
            x[i] = lane_value(l, l->halves[row * l->dim + i]);
    } else {
        if (tq_decode(&l->codec, &one, TQ_ORIGINAL, l->codes + row * l->row_bytes, l->row_bytes,
                      l->norms + row * l->norm_bytes, l->norm_bytes, NULL, 0, y, l->dim) != TQ_OK)
            broken("%s", tq_last_error()->message);
        for (size_t i = 0; i < l->dim; i++)
            x[i] = (double)y[i] + (centre == NULL ? 0 : half_to(centre[g * l->dim + i]));
    }
    free(y);
}

/* Error of an output over what is allowed. */
static double compare(const double *sum, const double *terms, double total, const float *out,
                      size_t dim) {
    double error = 0, size = 0;
    for (size_t i = 0; i < dim; i++) {
        const double off = (double)out[i] - sum[i] / total;
        error += off * off;
        size += terms[i] * terms[i] / (total * total);
    }
    return sqrt(error) / (bound * sqrt(size) + 1e-30);
}

/* Query q at `position` over [from, position] and the sinks before that, by head g's keys and values. */
static double check_row(const model *m, const tq_attention_params *p, size_t g, uint64_t from,
                        uint64_t position, const float *q, const float *out) {
    const uint64_t sinks = p->sink_positions < from ? p->sink_positions : from;
    const size_t n = (size_t)(position - from + sinks) + 1;
    const size_t widest = m->k.dim > m->v.dim ? m->k.dim : m->v.dim;
    double *x = zeroed(widest, sizeof *x), *score = zeroed(n, sizeof *score);
    double *sum = zeroed(m->v.dim, sizeof *sum), *terms = zeroed(m->v.dim, sizeof *terms);
    double top = -HUGE_VAL, total = 0;
    for (size_t j = 0; j < n; j++) {
        const uint64_t at = j < sinks ? j : from + j - sinks;
        decoded(m, &m->k, at, g, model_centre(m, at), x);
        for (size_t i = 0; i < m->k.dim; i++)
            score[j] += (double)q[i] * x[i] * (double)p->scale;
        top = fmax(top, score[j]);
    }
    for (size_t j = 0; j < n; j++) {
        const double weight = exp(score[j] - top);
        decoded(m, &m->v, j < sinks ? j : from + j - sinks, g, NULL, x);
        total += weight;
        for (size_t i = 0; i < m->v.dim; i++) {
            sum[i] += weight * x[i];
            terms[i] += weight * fabs(x[i]);
        }
    }
    const double ratio = compare(sum, terms, total, out, m->v.dim);
    free(x);
    free(score);
    free(sum);
    free(terms);
    if (!(ratio <= 1)) /* not ratio > 1, which a NaN would pass */
        broken("attention from position %llu, head %zu: %g times the error allowed",
               (unsigned long long)position, g, ratio);
    return ratio;
}

/* On the segments by hand, and by the cache itself from as little as it can be told: the same bits. */
static void attend(const tq_attention_params *p, const tq_cache *cache, const float *q, float *out) {
    const tq_attention_params least = {.size = sizeof least,
                                       .n_heads = p->n_heads,
                                       .n_queries = p->n_queries,
                                       .scale = p->scale,
                                       .arithmetic = p->arithmetic};
    const size_t values = (size_t)p->n_heads * p->n_queries * p->v_head_dim;
    const size_t n_q = (size_t)p->n_heads * p->n_queries * p->head_dim;
    float *again = zeroed(values, sizeof *again);
    tq_segment segments[TQ_CACHE_SEGMENTS];
    size_t n = 0, bytes = 0, own = 0;
    void *work = NULL;
    if (tq_cache_segments(cache, segments, &n) != TQ_OK ||
        tq_attention_workspace(p, segments, n, &bytes) != TQ_OK ||
        tq_cache_attend_workspace(cache, &least, &own) != TQ_OK)
        broken("%s", tq_last_error()->message);
    if (own != bytes) broken("workspace of %zu bytes by hand, %zu by the cache", bytes, own);
    if (posix_memalign(&work, 64, bytes + 64) != 0) broken("no memory for %zu bytes", bytes);
    if (tq_attention(p, segments, n, q, n_q, out, values, NULL, 0, work, bytes) != TQ_OK ||
        tq_cache_attend(cache, &least, q, n_q, again, values, NULL, 0, work, bytes) != TQ_OK)
        broken("%s", tq_last_error()->message);
    if (memcmp(out, again, values * sizeof *out) != 0) broken("tq_cache_attend() gives other bits");
    free(work);
    free(again);
}

/* The error of a score grows with the score, and the promise is for those that models have. */
static float modest_scale(const model *m) {
    float largest = 0;
    for (size_t i = 0; i < (size_t)m->length * m->heads * m->k.dim; i++)
        largest = fmaxf(largest, fabsf(m->k.x[i]));
    for (size_t i = 0; m->given != NULL && i < m->heads * m->k.dim; i++)
        largest = fmaxf(largest, fabsf((float)half_to(m->given[i])));
    return (largest > 8 ? 1 / largest : 1) / sqrtf((float)m->k.dim);
}

double check_attention(const model *m, const tq_cache *cache, size_t n_queries, size_t group, rng *r) {
    const size_t heads = m->heads * group, rows = heads * n_queries;
    float *q = zeroed(rows * m->k.dim, sizeof *q), *out = zeroed(rows * m->v.dim, sizeof *out);
    double worst = 0;
    const tq_attention_params p = {
        .size = sizeof p,
        .n_heads = (uint32_t)heads,
        .n_kv_heads = (uint32_t)m->heads,
        .head_dim = (uint32_t)m->k.dim,
        .v_head_dim = (uint32_t)m->v.dim,
        .n_queries = n_queries,
        .scale = modest_scale(m),
        .arithmetic = TQ_ARITHMETIC_FLOAT,
        .window = m->forgets ? m->window : 0,
        .sink_positions = m->forgets ? m->sinks : 0,
    };
    rng_gauss_fill(r, q, rows * m->k.dim);
    attend(&p, cache, q, out);
    for (size_t row = 0; row < rows; row++) {
        const uint64_t at = m->length - n_queries + row % n_queries;
        if (!model_sees_all(m, at)) broken("position %llu cannot be asked for", (unsigned long long)at);
        const uint64_t from = p.window == 0 || at + 1 < p.window ? 0 : at + 1 - p.window;
        worst = fmax(worst, check_row(m, &p, row / n_queries / group, from, at, q + row * m->k.dim,
                                      out + row * m->v.dim));
    }
    free(q);
    free(out);
    return worst;
}

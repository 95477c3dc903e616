/* SPDX-License-Identifier: MIT
 * v1's attention in float64, from the words of its header. */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "attend.h"
#include "support/cm.h"

static bool visible(const attend_call *c, size_t i, size_t position) {
    const tq_flash_attn_vec_tq_hb_params *p = &c->p;
    if (p->mask_type == TQ_MASK_NONE) return true;
    const size_t query = p->kv_seq_len - c->n_queries + i;
    if (position > query) return false;
    return p->mask_type == TQ_MASK_CAUSAL || position + p->sliding_window > query;
}

static double score(const attend_call *c, const float *q, const float *k) {
    double sum = 0;
    for (size_t d = 0; d < c->p.head_dim; d++)
        sum += (double)q[d] * (double)k[d];
    sum *= (double)c->p.scale;
    const double cap = (double)c->p.softcap;
    return cap == 0 ? sum : cap * tanh(sum / cap);
}

bool attend_model(const attend_call *c, const float *q, const float *k, const float *v, size_t row,
                  double *out, double *terms) {
    const tq_flash_attn_vec_tq_hb_params *p = &c->p;
    const size_t dim = p->head_dim, n = p->kv_seq_len, i = row % c->n_queries;
    const size_t first = row / c->n_queries / (p->n_heads / p->n_kv_heads) * n; /* of its KV head */
    double *scores = test_alloc(n * sizeof *scores), top = -(double)INFINITY, total = 0;
    for (size_t j = 0; j < n; j++) {
        scores[j] = -(double)INFINITY;
        if (visible(c, i, j)) scores[j] = score(c, q + row * dim, k + (first + j) * dim);
        top = fmax(top, scores[j]);
    }
    for (size_t j = 0; j < n && !isinf(top); j++)
        total += exp(scores[j] - top);
    for (size_t d = 0; d < dim; d++)
        out[d] = terms[d] = 0;
    for (size_t j = 0; j < n; j++) {
        if (isinf(scores[j])) continue;
        const double weight = exp(scores[j] - top) / total;
        for (size_t d = 0; d < dim; d++) {
            out[d] += weight * (double)v[(first + j) * dim + d];
            terms[d] += weight * fabs((double)v[(first + j) * dim + d]);
        }
    }
    free(scores);
    return !isinf(top);
}

static void assert_row(const attend_case *c, size_t row, attend_worst *w) {
    const size_t dim = c->call.p.head_dim;
    const float *got = c->call.dst + row * dim;
    double out[512], terms[512], error = 0, norm = 0;
    const bool seen = attend_model(&c->call, c->call.q, c->k_values, c->v_values, row, out, terms);
    for (size_t d = 0; d < dim; d++) {
        if (isnan(got[d])) fail_msg("row %zu, coordinate %zu is NaN", row, d);
        if (!seen && got[d] != 0.0f) fail_msg("row %zu sees nothing: not 0", row);
        error += ((double)got[d] - out[d]) * ((double)got[d] - out[d]);
        norm += terms[d] * terms[d];
    }
    error = sqrt(error);
    norm = sqrt(norm);
    /* Not written as error > bound, which a NaN would pass. */
    if (!(error <= ATTEND_BOUND * norm + (double)FLT_MIN)) {
        const tq_flash_attn_vec_tq_hb_params *p = &c->call.p;
        fail_msg("%u bits, D %u, G %u, H %u, T %u of %u from slot %u, n %zu, mask %u, window %u, softcap "
                 "%g, nwg %u: row %zu is off by %g, absolute terms %g",
                 c->call.bits, p->head_dim, p->n_kv_heads, p->n_heads, p->kv_seq_len, p->kv_capacity,
                 p->ring_start, c->call.n_queries, p->mask_type, p->sliding_window, (double)p->softcap,
                 p->nwg, row, error, norm);
    }
    w->rows++;
    w->unseen += !seen;
    if (norm > 0) w->error = fmax(w->error, error / norm);
}

void attend_assert(const attend_case *c, attend_worst *w) {
    for (size_t row = 0; row < attend_rows(&c->call); row++)
        assert_row(c, row, w);
}

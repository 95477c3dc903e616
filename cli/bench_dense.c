/* SPDX-License-Identifier: MIT
 * Attention in float64 on float32 keys and values: what benchmarked results are checked against. */
#include "bench_dense.h"

#include <math.h>
#include <string.h>

enum { LANES = 8 }; /* sums that do not wait for each other */

static double dot(const float *a, const float *b, size_t dim) {
    double lane[LANES] = {0}, sum = 0.0;
    for (size_t d = 0; d < dim; d += LANES) {
        for (size_t l = 0; l < LANES; l++) {
            lane[l] += (double)a[d + l] * (double)b[d + l];
        }
    }
    for (size_t l = 0; l < LANES; l++) {
        sum += lane[l];
    }
    return sum;
}

void cli_dense_attend(const cli_dense_head *head, const float *q, size_t positions, double *scratch,
                      double *out, double *terms) {
    const size_t dim = head->dim;
    double top = -INFINITY, sum = 0.0;
    for (size_t t = 0; t < positions; t++) {
        scratch[t] = (double)head->scale * dot(q, head->k + t * dim, dim);
        top = fmax(top, scratch[t]);
    }
    for (size_t t = 0; t < positions; t++) {
        scratch[t] = exp(scratch[t] - top);
        sum += scratch[t];
    }
    memset(out, 0, dim * sizeof *out);
    memset(terms, 0, dim * sizeof *terms);
    for (size_t t = 0; t < positions; t++) {
        const double weight = scratch[t] / sum;
        const float *v = head->v + t * dim;
        for (size_t d = 0; d < dim; d++) {
            out[d] += weight * (double)v[d];
            terms[d] += weight * fabs((double)v[d]);
        }
    }
}

double cli_dense_error(const float *got, const double *want, const double *measure, size_t dim) {
    double off = 0.0, all = 0.0;
    for (size_t d = 0; d < dim; d++) {
        off += ((double)got[d] - want[d]) * ((double)got[d] - want[d]);
        all += measure[d] * measure[d];
    }
    return sqrt(off / all);
}

/* SPDX-License-Identifier: MIT
 * One vector to codes and norms. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "codec/plan.h"
#include "cpu/dispatch.h"

/* A norm up to this makes v1's scale zero. */
static const float v1_tiny = 1e-10f;

static void encode_v1(const tq_plan *plan, const tq_kernels *k, const float *y, uint8_t *codes,
                      float *norms) {
    for (size_t b = 0; b < plan->n_norms; b++, y += plan->block, codes += plan->block_bytes) {
        float sum = k->sum_squares(plan->block, y);
        if (plan->n_norms == 2) /* a root mean square each, not a length */
            sum *= 1.0f / 256.0f;
        norms[b] = sqrtf(sum);
        const float inverse = norms[b] <= v1_tiny ? 0.0f : 1.0f / norms[b];
        k->quantize(plan->book, plan->block, y, inverse, plan->unit, TQ_SUM_NONE, codes);
    }
}

static void encode_v2(const tq_plan *plan, const tq_kernels *k, const float *y, uint8_t *codes,
                      float *norms) {
    static const tq_code_sum sum_of[] = {
        [TQ_NORM_PLAIN] = TQ_SUM_NONE,
        [TQ_NORM_MATCHED] = TQ_SUM_CC,
        [TQ_NORM_UNBIASED] = TQ_SUM_UC,
    };
    const float squares = k->sum_squares(plan->dim, y);
    if (squares < FLT_MIN) { /* subnormal sums have lost their digits */
        norms[0] = 0.0f;
        memset(codes, 0, plan->row_bytes);
        return;
    }
    const float norm = sqrtf(squares);
    const float sum =
        k->quantize(plan->book, plan->dim, y, plan->unit / norm, 1.0f, sum_of[plan->norm_rule], codes);
    switch (plan->norm_rule) {
    case TQ_NORM_PLAIN:
        norms[0] = norm;
        break;
    case TQ_NORM_MATCHED:
        norms[0] = norm * plan->unit / sqrtf(sum);
        break;
    case TQ_NORM_UNBIASED:
        norms[0] = norm * (float)plan->dim / sum;
        break;
    }
}

void tq_encode_row(const tq_plan *plan, const float *src, const float *centre, uint8_t *codes,
                   float *norms) {
    const tq_kernels *k = tq_active_kernels();
    float y[TQ_MAX_DIM];
    if (centre != NULL) {
        for (size_t j = 0; j < plan->dim; j++)
            y[j] = src[j] - centre[j];
        src = y;
    }
    k->rotate(&plan->rotation, TQ_ROTATE_IN, src, y);
    (plan->v1 ? encode_v1 : encode_v2)(plan, k, y, codes, norms);
}

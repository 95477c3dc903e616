/* SPDX-License-Identifier: MIT
 * Codes and norms to one vector. */
#include "codec/plan.h"
#include "cpu/dispatch.h"

void tq_decode_row(const tq_plan *plan, tq_domain domain, const uint8_t *codes, const float *norms,
                   const float *centre, float *dst) {
    const tq_kernels *k = tq_active_kernels();
    for (size_t b = 0; b < plan->n_norms; b++) {
        /* With two norms `unit` is v1's scale factor, and the reference divides by it. */
        const float scale = plan->n_norms == 2 ? norms[b] / plan->unit : norms[b] * plan->norm_scale;
        k->dequantize(plan->book, plan->block, codes + b * plan->block_bytes, scale,
                      dst + b * plan->block);
    }
    if (domain == TQ_ORIGINAL) k->rotate(&plan->rotation, TQ_ROTATE_OUT, dst, dst);
    for (size_t j = 0; centre != NULL && j < plan->dim; j++)
        dst[j] += centre[j];
}

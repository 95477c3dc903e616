/* SPDX-License-Identifier: MIT
 * Codes and norms to vectors. */
#include "codec/rows.h"

/* Rows are taken in batches that a first-level cache of 32 KiB holds: un-rotating finds them there.
 * Streamed rows are not touched again, and every batch of them ends with a wait for the stores: they go
 * in long ones. */
enum { BATCH_VALUES = 8192, BATCH_ROWS = 1024 };

/* One block of each row: all of it, or one of v1's halves. */
static void dequantize_block(const tq_kernels *kernels, const tq_plan *plan, const tq_row_set *set,
                             size_t block, const uint8_t *codes, const uint8_t *norms, float *dst,
                             bool stream) {
    float scales[BATCH_ROWS];
    tq_load_scales(kernels, plan, set->rows, norms, set->norm_stride, block, scales);
    kernels->dequantize(plan->book, plan->block, set->rows, codes + block * plan->block_bytes,
                        set->code_stride, scales, dst + block * plan->block, set->dense_stride, stream);
}

void tq_decode_rows(const tq_kernels *kernels, const tq_plan *plan, const tq_row_set *set,
                    tq_domain domain, const uint8_t *codes, const uint8_t *norms, const float *centre,
                    float *dst, bool stream) {
    tq_row_set part = *set;
    /* What is touched again must stay in the caches. */
    const bool past_caches = stream && domain == TQ_ROTATED && centre == NULL;
    const size_t most = past_caches ? BATCH_ROWS : BATCH_VALUES / plan->dim;
    for (size_t t = 0; t < set->rows; t += most) {
        float *out = dst + t * set->dense_stride;
        part.rows = set->rows - t < most ? set->rows - t : most;
        for (size_t block = 0; block < plan->n_norms; block++)
            dequantize_block(kernels, plan, &part, block, codes + t * set->code_stride,
                             norms + t * set->norm_stride, out, past_caches);
        if (domain == TQ_ORIGINAL)
            kernels->rotate(&plan->rotation, TQ_ROTATE_OUT, part.rows, out, set->dense_stride, out,
                            set->dense_stride);
        for (size_t i = 0; centre != NULL && i < part.rows; i++)
            for (size_t j = 0; j < plan->dim; j++)
                out[i * set->dense_stride + j] += centre[j];
    }
}

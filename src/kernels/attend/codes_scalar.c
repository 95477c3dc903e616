/* SPDX-License-Identifier: MIT
 * Attention on packed codes, to read and to compare with: a row is decoded, then used. */
#include "kernels/kernels.h"

static const float one = 1.0f;

void tq_score_codes_scalar(const tq_codebook_tables *book, size_t dim, size_t rows, const float *queries,
                           size_t n, tq_code_rows packed, float *scores, size_t n_stride) {
    float row[TQ_MAX_DIM];
    for (size_t t = 0; t < n; t++) {
        tq_dequantize_scalar(book, dim, 1, tq_row_at(packed, t), 0, &one, row, dim, 0);
        tq_score_scalar(dim, rows, queries, 1, row, scores + t, n_stride);
    }
}

void tq_accumulate_codes_scalar(const tq_codebook_tables *book, size_t dim, size_t rows,
                                const float *weights, size_t n_stride, size_t n, tq_code_rows packed,
                                float *acc, size_t acc_stride) {
    float row[TQ_MAX_DIM];
    for (size_t t = 0; t < n; t++) {
        tq_dequantize_scalar(book, dim, 1, tq_row_at(packed, t), 0, &one, row, dim, 0);
        tq_accumulate_scalar(dim, rows, weights + t, n_stride, 1, row, acc, acc_stride);
    }
}

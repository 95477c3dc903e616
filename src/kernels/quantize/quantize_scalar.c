/* SPDX-License-Identifier: MIT
 * Rotated values to packed codes. */
#include "kernels/kernels.h"
#include "kernels/lanes.h"
#include "kernels/nearest.h"

static float quantize_row(const tq_codebook_tables *book, size_t n, const float *y, float scale0,
                          float scale1, tq_code_sum sum, uint8_t *packed) {
    uint8_t codes[TQ_MAX_DIM];
    float lane[TQ_LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        const float u = y[i] * scale0 * scale1;
        const unsigned code = tq_nearest_code(book, u);
        const float c = book->levels[code];
        codes[i] = (uint8_t)code;
        if (sum != TQ_SUM_NONE) lane[i % TQ_LANES] += (sum == TQ_SUM_CC ? c : u) * c;
    }
    tq_pack_scalar(book, n, codes, packed);
    return tq_fold_lanes(lane);
}

void tq_quantize_scalar(const tq_codebook_tables *book, size_t n, size_t rows, const float *y,
                        const float *scales, float scale1, tq_code_sum sum, float *sums, uint8_t *packed,
                        size_t packed_stride) {
    for (size_t t = 0; t < rows; t++) {
        const float total =
            quantize_row(book, n, y + t * n, scales[t], scale1, sum, packed + t * packed_stride);
        if (sum != TQ_SUM_NONE) sums[t] = total;
    }
}

/* SPDX-License-Identifier: MIT
 * Values to their nearest centroids, nothing packed. */
#include "kernels/kernels.h"
#include "kernels/nearest.h"

void tq_requantize_scalar(const tq_codebook_tables *book, size_t n, const float *src, float *dst) {
    for (size_t i = 0; i < n; i++)
        dst[i] = book->levels[tq_nearest_code(book, src[i])];
}

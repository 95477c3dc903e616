/* SPDX-License-Identifier: MIT
 * Packed codes to values in the rotated domain. */
#include "kernels/kernels.h"

void tq_dequantize_scalar(const tq_codebook_tables *book, size_t n, const uint8_t *packed, float scale,
                          float *dst) {
    uint8_t codes[TQ_MAX_DIM];
    tq_unpack_scalar(book, n, packed, codes);
    for (size_t i = 0; i < n; i++)
        dst[i] = book->levels[codes[i]] * scale;
}

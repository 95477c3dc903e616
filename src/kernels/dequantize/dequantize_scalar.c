/* SPDX-License-Identifier: MIT
 * Packed codes to values in the rotated domain. */
#include "kernels/kernels.h"

void tq_dequantize_scalar(const tq_codebook_tables *book, size_t n, size_t rows, const uint8_t *packed,
                          size_t packed_stride, const float *scales, float *dst, size_t dst_stride,
                          int stream) {
    (void)stream; /* a hint */
    for (size_t t = 0; t < rows; t++) {
        uint8_t codes[TQ_MAX_DIM];
        tq_unpack_scalar(book, n, packed + t * packed_stride, codes);
        for (size_t i = 0; i < n; i++)
            dst[t * dst_stride + i] = book->levels[codes[i]] * scales[t];
    }
}

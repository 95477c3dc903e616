/* SPDX-License-Identifier: MIT
 * The kernels of the level avx512 that work on digits are those of AVX2: without the dot product of bytes
 * (VNNI) integers lose to the float32 of this level with longer vectors too (1.05 to 2 times its time,
 * these 1.5 to 3.7, Sapphire Rapids), and kernels take long to compile. Who asks for integers gets their
 * bytes. */
#include "kernels/kernels.h"

void tq_query_digits_avx512(const tq_codebook_tables *book, size_t dim, const float *query, void *row) {
    tq_query_digits_avx2(book, dim, query, row);
}

void tq_score_digits_avx512(const tq_codebook_tables *book, size_t dim, size_t rows, const void *queries,
                            size_t query_stride, size_t n, const uint8_t *packed, size_t packed_stride,
                            float *scores, size_t n_stride) {
    tq_score_digits_avx2(book, dim, rows, queries, query_stride, n, packed, packed_stride, scores,
                         n_stride);
}

float tq_weight_digits_avx512(size_t count, size_t n, const float *weights, const float *scales,
                              uint8_t *high, uint8_t *low) {
    return tq_weight_digits_avx2(count, n, weights, scales, high, low);
}

void tq_accumulate_digits_avx512(const tq_codebook_tables *book, size_t dim, size_t rows,
                                 const uint8_t *weights, size_t weight_stride, size_t n,
                                 const uint8_t *packed, size_t packed_stride, int32_t *sums,
                                 size_t sum_stride) {
    tq_accumulate_digits_avx2(book, dim, rows, weights, weight_stride, n, packed, packed_stride, sums,
                              sum_stride);
}

void tq_add_sums_avx512(const tq_codebook_tables *book, size_t dim, const int32_t *sums, float factor,
                        float *acc) {
    tq_add_sums_avx2(book, dim, sums, factor, acc);
}

/* SPDX-License-Identifier: MIT
 * The operations on data: one typed signature and contract each. Kernels never fail; the public calls
 * have checked everything before, and debug builds assert it. Every implementation of an
 * operation gives the same bytes, but for what a NaN holds: sums run in 16 lanes (lane l takes
 * coordinates l, 16 + l, 32 + l .., in that order, then lanes are folded by halves). The codec's products
 * are rounded before they are added; attention's are fused with their additions. */
#ifndef TQ_KERNELS_H
#define TQ_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "format/tables.h"

typedef enum tq_direction { TQ_ROTATE_IN, TQ_ROTATE_OUT } tq_direction;

/* What quantize() sums over a row, 16 lanes, for the norm rules. */
typedef enum tq_code_sum {
    TQ_SUM_NONE,
    TQ_SUM_CC, /* centroid squared */
    TQ_SUM_UC, /* value times centroid */
} tq_code_sum;

/* Rotates rows in (signs first) or out (signs last). dst may be src. Strides in floats. */
typedef void tq_rotate_fn(const tq_rotation *r, tq_direction direction, size_t rows, const float *src,
                          size_t src_stride, float *dst, size_t dst_stride);

/* sums[t] = sum of squares of y[t] [n]; n a multiple of 16, rows side by side. */
typedef void tq_sum_squares_fn(size_t n, size_t rows, const float *y, float *sums);

/* Codes of u = (y[t][i] * scales[t]) * scale1, packed, and sums[t] as asked for (untouched for
 * TQ_SUM_NONE). n is a multiple of 16; rows of y lie side by side. v2 has scale1 = 1. */
typedef void tq_quantize_fn(const tq_codebook_tables *book, size_t n, size_t rows, const float *y,
                            const float *scales, float scale1, tq_code_sum sum, float *sums,
                            uint8_t *packed, size_t packed_stride);

/* dst[t][i] = levels[code t,i] * scales[t]. n is a multiple of 16. stream: dst and its stride are
 * multiples of 64 bytes, and the caches are better left to others. */
typedef void tq_dequantize_fn(const tq_codebook_tables *book, size_t n, size_t rows,
                              const uint8_t *packed, size_t packed_stride, const float *scales,
                              float *dst, size_t dst_stride, int stream);

/* Codes [n], one a byte, to packed and back. n is a multiple of 16. */
typedef void tq_pack_fn(const tq_codebook_tables *book, size_t n, const uint8_t *codes, uint8_t *packed);
typedef void tq_unpack_fn(const tq_codebook_tables *book, size_t n, const uint8_t *packed,
                          uint8_t *codes);

/* dst[i] = the centroid nearest to src[i], any n. dst may be src. */
typedef void tq_requantize_fn(const tq_codebook_tables *book, size_t n, const float *src, float *dst);

/* Index of the first value whose magnitude is not at most `limit` (NaN is not), or n. */
typedef size_t tq_scan_fn(size_t n, const float *x, float limit);

/* Attention, on tiles of decoded vectors. Rows of queries and tiles are `dim` values apart, scores and
 * weights n_stride.
 *
 * scores[r][t] = <queries[r], tile[t]>, in lanes */
typedef void tq_score_fn(size_t dim, size_t rows, const float *queries, size_t n, const float *tile,
                         float *scores, size_t n_stride);

/* acc[r] += sum over t of weights[r][t] tile[t], in the order of t; rows of acc lie acc_stride apart. */
typedef void tq_accumulate_fn(size_t dim, size_t rows, const float *weights, size_t n_stride, size_t n,
                              const float *tile, float *acc, size_t acc_stride);

/* Rows of codes: row t lies `offsets[t]` bytes from `base`, modulo the address space, so that they may be
 * scattered. Offsets go on behind the last row for TQ_ROWS_AHEAD more, of rows that are wanted next: what
 * fills a four of rows may be read, though not used; the others are asked into the caches, not read, and
 * may be anything. */
typedef struct tq_code_rows {
    const uint8_t *base;
    const uintptr_t *offsets;
} tq_code_rows;

enum { TQ_ROWS_AHEAD = 80 };

static inline const uint8_t *tq_row_at(tq_code_rows rows, size_t t) {
    return (const uint8_t *)((uintptr_t)rows.base + rows.offsets[t]);
}

/* The rows from row t on. */
static inline tq_code_rows tq_rows_from(tq_code_rows rows, size_t t) {
    return (tq_code_rows){rows.base, rows.offsets + t};
}

/* The same on codes as they lie: what dequantize() with scales of 1 gives is never written. */
typedef void tq_score_codes_fn(const tq_codebook_tables *book, size_t dim, size_t rows,
                               const float *queries, size_t n, tq_code_rows packed, float *scores,
                               size_t n_stride);
typedef void tq_accumulate_codes_fn(const tq_codebook_tables *book, size_t dim, size_t rows,
                                    const float *weights, size_t n_stride, size_t n, tq_code_rows packed,
                                    float *acc, size_t acc_stride);

/* Attention in integers, on codes of v2 (book->digits is not NULL). attend/digits.h says how digits lie.
 *
 * A row of queries to digits: tq_query_bytes(dim) bytes at most, on a multiple of 4. The largest
 * magnitude becomes the largest number, others are rounded to nearest, ties to even. */
typedef void tq_query_digits_fn(const tq_codebook_tables *book, size_t dim, const float *query,
                                void *row);

/* scores[r][t] = (float)(sum of the products of query r's digits and centroid digits) * the row's factor.
 * Rows of queries lie query_stride bytes apart. */
typedef void tq_score_digits_fn(const tq_codebook_tables *book, size_t dim, size_t rows,
                                const void *queries, size_t query_stride, size_t n, tq_code_rows packed,
                                float *scores, size_t n_stride);

/* Products of weights and scales, 256 at most, to `count` digits, one or two: the largest becomes
 * TQ_WEIGHT_ONE or TQ_WEIGHT_TWO. Returns the largest; -1 where one is negative, else NaN where one is
 * not finite. Then, and where it is below TQ_DIGIT_LEAST, digits are 0. squares: the sum of the squares
 * of single digits; 0 with two. */
typedef float tq_weight_digits_fn(size_t count, size_t n, const float *weights, const float *scales,
                                  uint8_t *high, uint8_t *low, uint32_t *squares);

/* sums[r][place] += the products of the weights' digits and the centroids', over t. A row of weights has
 * its high digits first, and the low ones from weight_stride / 2 on. 128 positions fit into sums at most,
 * and TQ_DIGIT_ROWS rows are served.
 * A row of sums has tq_digit_room(dim); what lies beyond the coordinates may become anything. */
typedef void tq_accumulate_digits_fn(const tq_codebook_tables *book, size_t dim, size_t rows,
                                     const uint8_t *weights, size_t weight_stride, size_t n,
                                     tq_code_rows packed, int32_t *sums, size_t sum_stride);

/* acc[i] += (float)sums[place of i] * factor, fused */
typedef void tq_add_sums_fn(const tq_codebook_tables *book, size_t dim, const int32_t *sums, float factor,
                            float *acc);

/* x[i] *= factors[i] */
typedef void tq_multiply_fn(size_t n, const float *factors, float *x);

/* The largest of top and x [n], no zero below 0; NaN if one of x is not finite, or top is NaN. */
typedef float tq_reduce_max_fn(size_t n, const float *x, float top);

/* x[i] = cap * tanh(x[i] / cap), within a few units in the last place of cap. cap > 0. Infinities give
 * the cap with their sign, NaN stays NaN. */
typedef void tq_softcap_fn(size_t n, float cap, float *x);

/* Scores to weights, in place: scores[t] = exp(scores[t] - top); returns their sum. Scores are at most
 * top. */
typedef float tq_exp_sum_fn(size_t n, float top, float *scores);

/* acc[i] *= factor */
typedef void tq_scale_fn(size_t n, float factor, float *acc);

/* float16 to float32 */
typedef void tq_f16_to_f32_fn(size_t n, const uint16_t *src, float *dst);

/* float32 to float16, to nearest, ties to even; n a multiple of 16. Beyond 65504 and half a step it is
 * infinity. A NaN stays one, quiet, with its sign and as much of its payload as fits. Exact. */
typedef void tq_f32_to_f16_fn(size_t n, const float *src, uint16_t *dst);

/* bfloat16, the upper half of a float32, to float32 and back: to nearest, ties to even; n a multiple of
 * 16. Beyond the largest and half a step it is infinity; a NaN stays one, quiet. bfloat16 need not be
 * aligned. */
typedef void tq_bf16_to_f32_fn(size_t n, const uint16_t *src, float *dst);
typedef void tq_f32_to_bf16_fn(size_t n, const float *src, uint16_t *dst);

/* THE list: X(operation, level). Declarations, the tables in use, the kernel tests and benches are made
 * of it. A kernel of operation op at a level is called tq_op_level. */
#define TQ_OPERATIONS(X, level)                                                                          \
    TQ_FLOAT_OPERATIONS(X, level)                                                                        \
    X(query_digits, level)                                                                               \
    X(weight_digits, level)                                                                              \
    X(add_sums, level)                                                                                   \
    TQ_DIGIT_PRODUCTS(X, level)

#define TQ_FLOAT_OPERATIONS(X, level)                                                                    \
    X(rotate, level)                                                                                     \
    X(sum_squares, level)                                                                                \
    X(quantize, level)                                                                                   \
    X(dequantize, level)                                                                                 \
    X(pack, level)                                                                                       \
    X(unpack, level)                                                                                     \
    X(requantize, level)                                                                                 \
    X(scan, level)                                                                                       \
    X(score, level)                                                                                      \
    X(accumulate, level)                                                                                 \
    X(score_codes, level)                                                                                \
    X(accumulate_codes, level)                                                                           \
    X(multiply, level)                                                                                   \
    X(reduce_max, level)                                                                                 \
    X(softcap, level)                                                                                    \
    X(exp_sum, level)                                                                                    \
    X(scale, level)                                                                                      \
    X(f16_to_f32, level)                                                                                 \
    X(f32_to_f16, level)                                                                                 \
    X(bf16_to_f32, level)                                                                                \
    X(f32_to_bf16, level)

#define TQ_DIGIT_PRODUCTS(X, level)                                                                      \
    X(score_digits, level)                                                                               \
    X(accumulate_digits, level)

/* The same for every level that is compiled for this processor family, worst first. A level that has no
 * kernel for an operation takes that of the level it is built on (cpu/dispatch.c). avxvnni and
 * neondotprod are no more than a product of bytes, amx one of matrices. avx512 lacks one: with longer
 * vectors digits would still lose to its float32 (1.05 to 2 times its time, AVX2's kernels 1.5 to 3.7,
 * Sapphire Rapids), and kernels take long to compile. */
#if defined(TQ_X86_64)
#define TQ_KERNELS(X)                                                                                    \
    TQ_OPERATIONS(X, scalar)                                                                             \
    TQ_OPERATIONS(X, avx2)                                                                               \
    TQ_DIGIT_PRODUCTS(X, avxvnni)                                                                        \
    TQ_FLOAT_OPERATIONS(X, avx512)                                                                       \
    TQ_OPERATIONS(X, avx512vbmi)                                                                         \
    TQ_DIGIT_PRODUCTS(X, amx)
#elif defined(TQ_AARCH64)
#define TQ_KERNELS(X)                                                                                    \
    TQ_OPERATIONS(X, scalar)                                                                             \
    TQ_OPERATIONS(X, neon)                                                                               \
    TQ_DIGIT_PRODUCTS(X, neondotprod)
#else
#define TQ_KERNELS(X) TQ_OPERATIONS(X, scalar)
#endif

/* A kernel for each operation. */
typedef struct tq_kernels {
#define TQ_MEMBER(op, level) tq_##op##_fn *op;
    TQ_OPERATIONS(TQ_MEMBER, )
#undef TQ_MEMBER
} tq_kernels;

#define TQ_DECLARE(op, level) tq_##op##_fn tq_##op##_##level;
TQ_KERNELS(TQ_DECLARE)
#undef TQ_DECLARE

#endif

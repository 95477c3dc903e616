/* SPDX-License-Identifier: MIT
 * Rows of vectors to codes and back, and checks of their values. Everything else has been checked before.
 */
#ifndef TQ_CODEC_ROWS_H
#define TQ_CODEC_ROWS_H

#include "base/check.h"
#include "format/plan.h"
#include "kernels/kernels.h"

/* Rows of vectors, and where they lie. Strides in floats, of codes and norms in bytes. */
typedef struct tq_row_set {
    size_t rows;
    size_t dense_stride, code_stride, norm_stride;
} tq_row_set;

/* centre [dim] or NULL. Returns the index in src of the first value that cannot be encoded: not finite,
 * beyond TQ_MAX_ABS, or the first of a vector whose norm is beyond TQ_MAX_NORM. Norms of that row and of
 * those after it are not written; SIZE_MAX when all are done. */
size_t tq_encode_rows(const tq_kernels *kernels, const tq_plan *plan, const tq_row_set *set,
                      const float *src, const float *centre, uint8_t *codes, uint8_t *norms);

/* stream: the dense side is better written past the caches, and aligned for it. */
void tq_decode_rows(const tq_kernels *kernels, const tq_plan *plan, const tq_row_set *set,
                    tq_domain domain, const uint8_t *codes, const uint8_t *norms, const float *centre,
                    float *dst, bool stream);

/* What the centroids of n rows are multiplied by, whose norms lie `stride` bytes apart; v1: of that
 * block. `out` has room for a multiple of 16. */
void tq_load_scales(const tq_kernels *kernels, const tq_plan *plan, size_t n, const uint8_t *norms,
                    size_t stride, size_t block, float *out);

/* v2: the longest vector of which it is sure that float16 holds its norm, whatever its codes come to. A
 * rule makes most of a vector along a rotated axis: one coordinate beyond the outermost centroid, the
 * others at the innermost. centred: a centre as long may be subtracted before. */
float tq_longest_vector(const tq_plan *plan, bool centred);

/* The largest finite float16, which a norm is. */
#define TQ_MAX_HALF TQ_MAX_NORM

/* The error for a value that is not finite, or beyond the limit; or, if it is neither, for the norm of
 * the vector that begins there. */
tq_status tq_fail_value(const char *name, size_t index, float value, float limit);

/* The error for the value at that index: TQ_E_NOT_FINITE or TQ_E_RANGE; TQ_OK for SIZE_MAX. */
tq_status tq_rows_fail_value(const tq_rows *r, size_t index);

/* The same for the first value that cannot be encoded, in memory order. */
tq_status tq_rows_check_values(const tq_kernels *kernels, const tq_rows *r);

/* TQ_E_NOT_FINITE, with the index, if one of n values side by side is not finite. */
tq_status tq_check_finite(const tq_kernels *kernels, const char *name, const float *x, size_t n);

/* n values to float32, from any address; and to a type of two bytes. n is a multiple of 16. */
void tq_widen(const tq_kernels *kernels, tq_type type, size_t n, const void *src, float *out);
void tq_narrow(const tq_kernels *kernels, tq_type type, size_t n, const float *x, uint16_t *out);

#endif

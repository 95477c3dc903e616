/* SPDX-License-Identifier: MIT
 * A matrix of weights in the type that its file has, half as large as in float32: the products, which
 * read every weight for every token, make float32 of a tile at a time. */
#ifndef LM_MATRIX_H
#define LM_MATRIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum lm_type { LM_F32, LM_F16, LM_BF16 } lm_type;

typedef struct lm_matrix {
    const void *values; /* [out][in] */
    lm_type type;
    size_t out, in;
} lm_matrix;

size_t lm_type_size(lm_type type);

/* n values from value `first` of an array of the type on. */
void lm_widen(lm_type type, const void *values, size_t first, size_t n, float *out);

#endif

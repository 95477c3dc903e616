/* SPDX-License-Identifier: MIT
 * Matrix products. */
#ifndef LM_PRODUCT_H
#define LM_PRODUCT_H

#include "matrix.h"
#include "tqkv/codec.h"

/* Rows of activations lie in blocks of so many: arrays are rounded up to whole ones. */
enum { LM_ROWS = 8 };

/* y = x W^T + bias. x [rows][in], y [rows][out] out; bias [out] or NULL. */
typedef struct lm_product {
    lm_matrix w;
    const float *bias, *x;
    float *y;
} lm_product;

/* To be called before any product: OpenBLAS is told to use one thread, since threads share out tasks
 * here, and a task is too small for two. This holds for the whole process. */
void lm_products_set_up(void);

/* n rows rounded up to whole blocks. */
size_t lm_padded(size_t rows);

/* Does all products, which are independent of each other. Rows up to a whole block are read and written
 * as well where OpenBLAS does them.
 *
 * A row of y depends on its row of x alone, bit for bit: not on how many rows there are, on its place, or
 * on threads. */
void lm_products(const tq_parallel *parallel, size_t rows, size_t n, const lm_product *products);

#endif

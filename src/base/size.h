/* SPDX-License-Identifier: MIT
 * Size arithmetic that says when it overflows. */
#ifndef TQ_BASE_SIZE_H
#define TQ_BASE_SIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool tq_size_mul(size_t a, size_t b, size_t *product) {
    if (b != 0 && a > SIZE_MAX / b) return false;
    *product = a * b;
    return true;
}

static inline bool tq_size_add(size_t a, size_t b, size_t *sum) {
    if (a > SIZE_MAX - b) return false;
    *sum = a + b;
    return true;
}

/* Moves *end, behind a piece, to behind the last of n pieces a stride apart; n at least 1. */
static inline bool tq_size_reach(size_t *end, size_t n, size_t stride) {
    size_t skip;
    return tq_size_mul(n - 1, stride, &skip) && tq_size_add(*end, skip, end);
}

/* The stride of pages side by side, whichever of heads and rows is outermost in them. */
static inline bool tq_size_page(size_t heads, size_t head_stride, size_t rows, size_t row_stride,
                                size_t *stride) {
    size_t of_heads, of_rows;
    if (!tq_size_mul(heads, head_stride, &of_heads) || !tq_size_mul(rows, row_stride, &of_rows))
        return false;
    *stride = of_heads > of_rows ? of_heads : of_rows;
    return true;
}

/* Puts `count` things of `size` bytes behind what fills *total, on a multiple of 64 bytes. */
static inline bool tq_size_place(size_t *total, size_t *where, size_t count, size_t size) {
    size_t bytes;
    *where = *total;
    return tq_size_mul(count, size, &bytes) && tq_size_add(bytes, 63, &bytes) &&
           tq_size_add(*total, bytes / 64 * 64, total);
}

#endif

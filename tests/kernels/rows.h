/* SPDX-License-Identifier: MIT
 * Rows of codes in an order of their own, as pages scatter them. */
#ifndef TQKV_TESTS_ROWS_H
#define TQKV_TESTS_ROWS_H

#include "check_kernels.h"
#include "kernels/kernels.h"

/* Where row t lies among n: in place, some rows further and round, or from the end. */
typedef struct row_order {
    enum { ROWS_IN_PLACE, ROWS_TURNED, ROWS_REVERSED, ROW_ORDERS } kind;
    size_t n, shift;
} row_order;

row_order draw_order(run *r, size_t n);
size_t order_at(const row_order *order, size_t t);

/* The rows of `packed`, `stride` bytes apart, in that order. Pointers to those that are wanted next
 * cannot be read, and nothing lies behind them; the next call overwrites all of them. */
tq_code_rows rows_of(const row_order *order, const uint8_t *packed, size_t stride);

#endif

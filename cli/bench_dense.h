/* SPDX-License-Identifier: MIT
 * Attention in float64 on float32 keys and values: what benchmarked results are checked against. */
#ifndef TQKV_CLI_BENCH_DENSE_H
#define TQKV_CLI_BENCH_DENSE_H

#include <stddef.h>

/* Keys and values of a head, a vector after the other. */
typedef struct cli_dense_head {
    const float *k, *v; /* [positions][dim] */
    size_t dim;         /* a multiple of 8 */
    float scale;        /* of scores */
} cli_dense_head;

/* One query over the first `positions` positions.
 *
 * scratch   [positions]
 * out       [dim] out
 * terms     [dim] out: the sum of weight times |v|, what errors are measured in */
void cli_dense_attend(const cli_dense_head *head, const float *q, size_t positions, double *scratch,
                      double *out, double *terms);

/* The length of (got - want) over that of `measure`. */
double cli_dense_error(const float *got, const double *want, const double *measure, size_t dim);

#endif

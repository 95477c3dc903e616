/* SPDX-License-Identifier: MIT
 * How long the list's kernels take, beside the scalar ones. */
#ifndef TESTS_KERNELS_BENCH_H
#define TESTS_KERNELS_BENCH_H

#include "check_kernels.h"

/* The table's head, and what its columns mean. */
void bench_head(void);

/* Times one kernel and the scalar one in turn: a line for each format where that matters. */
void bench_row(const kernel_row *row);

#endif

/* SPDX-License-Identifier: MIT
 * Percentiles, medians too, of everything that is measured: the smallest value that at least so many
 * percent of all do not exceed (nearest rank). */
#ifndef TQKV_MEASURE_PERCENTILE_H
#define TQKV_MEASURE_PERCENTILE_H

#include <stddef.h>

/* Ascending. */
void measure_sort(double *values, size_t n);
void measure_sort_floats(float *values, size_t n);

/* Where the percentile stands among n sorted values, n above 0. */
size_t measure_rank(size_t n, size_t percent);

#endif

/* SPDX-License-Identifier: MIT
 * Mean squared error of scalar quantisers of N(0, 1): of a given table, and the least that is possible.
 */
#ifndef TQKV_MEASURE_LLOYD_MAX_H
#define TQKV_MEASURE_LLOYD_MAX_H

#include <stddef.h>

/* The exact integral over N(0, 1) for n ascending centroids and the n - 1 boundaries between them. */
double measure_gaussian_distortion(const float *centroids, const float *boundaries, size_t n);

/* The least distortion of 2^bits centroids, bits from 2 to 8: solved here, from no table. */
double measure_optimal_distortion(unsigned bits);

#endif

/* SPDX-License-Identifier: MIT
 * How far one set of vectors is from another: relative squared error, cosines, largest difference. */
#ifndef TQKV_MEASURE_DISTANCE_H
#define TQKV_MEASURE_DISTANCE_H

#include <stddef.h>

#include "tqkv/status.h"

/* Of two vectors: sums of a^2, a b, b^2 and (a - b)^2. */
typedef struct measure_sums {
    double aa, ab, bb, error;
} measure_sums;

measure_sums measure_sums_of(const float *a, const float *b, size_t n);

typedef struct measure_distance {
    double error;     /* sum of (a - b)^2 */
    double reference; /* sum of a^2 */
    double max_abs;   /* largest |a - b| */
    double *cosines;  /* one a vector added so far */
    size_t n_vectors;
} measure_distance;

/* Room for n vectors. TQ_E_NO_MEMORY. */
tq_status measure_distance_begin(measure_distance *distance, size_t n_vectors);

/* Adds `rows` pairs of vectors; a is the reference. */
void measure_distance_add(measure_distance *distance, const float *a, const float *b, size_t rows,
                          size_t head_dim);

void measure_distance_free(measure_distance *distance);

/* error / reference; 0 if both are 0, infinite if only the reference is. */
double measure_relative_error(const measure_distance *distance);

/* A vector against itself has cosine 1, the zero vector against itself too; zero against another: 0. */
double measure_mean_cosine(const measure_distance *distance);

/* The smallest cosine such that at least 1 % of the vectors have no larger one (nearest rank). Sorts. */
double measure_first_percentile(measure_distance *distance);

#endif

/* SPDX-License-Identifier: MIT
 * How far one set of vectors is from another: relative squared error, cosines, largest difference. */
#ifndef TQKV_CLI_DISTANCE_H
#define TQKV_CLI_DISTANCE_H

#include <stddef.h>

typedef struct cli_distance {
    double error;     /* sum of (a - b)^2 */
    double reference; /* sum of a^2 */
    double max_abs;   /* largest |a - b| */
    double *cosines;  /* one a vector added so far */
    size_t n_vectors;
} cli_distance;

/* Room for n vectors. CLI_DONE, or CLI_FAILED after a message. */
int cli_distance_begin(cli_distance *distance, size_t n_vectors);

/* Adds `rows` pairs of vectors; a is the reference. */
void cli_distance_add(cli_distance *distance, const float *a, const float *b, size_t rows,
                      size_t head_dim);

void cli_distance_free(cli_distance *distance);

/* error / reference; 0 if both are 0, infinite if only the reference is. */
double cli_relative_error(const cli_distance *distance);

/* A vector against itself has cosine 1, the zero vector against itself too; zero against another: 0. */
double cli_mean_cosine(const cli_distance *distance);

/* The smallest cosine such that at least 1 % of the vectors have no larger one (nearest rank). Sorts. */
double cli_first_percentile(cli_distance *distance);

#endif

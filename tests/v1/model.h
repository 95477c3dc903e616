/* SPDX-License-Identifier: MIT
 * v1 from its definition alone: float64 for the encoder, plain float32 formulas for the decoder. */
#ifndef TESTS_V1_MODEL_H
#define TESTS_V1_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { V1_MAX_DIM = 512 };

const float *model_centroids(unsigned bits);
const float *model_boundaries(unsigned bits);

/* +1 or -1 for coordinate j. */
double model_sign(uint32_t head_dim, uint32_t j);

/* +1 or -1: entry (i, j) of the Hadamard matrix in natural order. */
double model_entry(uint32_t i, uint32_t j);

/* Row and column sums over the whole matrix, not butterflies: O(D^2) on purpose. */
void model_rotate_in(uint32_t head_dim, const float *x, double *y);
void model_rotate_out(uint32_t head_dim, const float *y, double *x);

/* What the encoder has to find: norms and unit-variance values of one vector. */
typedef struct model_row {
    double norm[2];
    double value[V1_MAX_DIM];
} model_row;

void model_encode(uint32_t head_dim, float scale_factor, const float *x, model_row *out);

/* The number of boundaries strictly below the value. */
unsigned model_code(unsigned bits, double value);

/* Whether a boundary lies within the tolerance of the value. */
bool model_near_boundary(unsigned bits, double value, double tolerance);

size_t model_row_bytes(unsigned bits, uint32_t head_dim);
unsigned model_stored_code(unsigned bits, const uint8_t *row, uint32_t coord);
float model_decode(unsigned bits, uint32_t head_dim, float scale_factor, const uint8_t *row,
                   const float *norms, uint32_t coord);

#endif

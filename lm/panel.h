/* SPDX-License-Identifier: MIT
 * Matrix products for processors with AVX2 and without AVX-512. */
#ifndef LM_PANEL_H
#define LM_PANEL_H

#include "matrix.h"

enum { LM_PANEL_TILE = 64 }; /* most outputs of a call */

/* Whether this processor is one that they are for. */
bool lm_panels_serve(void);

/* Where the partial sum that begins at input `at` ends. */
size_t lm_panels_part_end(size_t at, size_t in);

/* y = x W^T of the outputs first to first + n - 1: x [rows][in], y [rows][out]. For every part of the
 * inputs, those at even places and those at odd ones are summed apart, in order, by fused multiply-adds;
 * even + odd is added to the parts before. */
void lm_panels_multiply(const lm_matrix *w, size_t first, size_t n, size_t rows, const float *x,
                        float *y);

#endif

/* SPDX-License-Identifier: MIT
 * What happens to single vectors between the matrices. */
#ifndef LM_ROW_H
#define LM_ROW_H

#include <stddef.h>
#include <stdint.h>

/* out = x / sqrt(mean(x^2) + eps) * weight, n values; out may be x. */
void lm_row_norm(float *out, const float *x, const float *weight, size_t n, float eps);

/* RoPE on n_heads vectors of dim values side by side. angles: dim/2 cosines, then dim/2 sines. */
void lm_row_rope(float *x, size_t n_heads, size_t dim, const float *angles);

/* The angles of a position. frequency [dim/2] radians a position. */
void lm_row_angles(float *angles, uint64_t position, const double *frequency, size_t dim);

/* gate = f(gate) * up. silu: x / (1 + e^-x); gelu: x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) */
void lm_row_silu(float *gate, const float *up, size_t n);
void lm_row_gelu_tanh(float *gate, const float *up, size_t n);

void lm_row_add(float *x, const float *y, size_t n);

#endif

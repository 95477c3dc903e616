/* SPDX-License-Identifier: MIT
 * What happens to single vectors between the matrices. */
#include "row.h"

#include <math.h>

enum { LANES = 16 }; /* sums that a compiler can keep side by side; their order does not depend on it */

static float mean_square(const float *x, size_t n) {
    float sum[LANES] = {0};
    float total = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++)
            sum[j] += x[i + j] * x[i + j];
    for (; i < n; i++)
        total += x[i] * x[i];
    for (size_t j = 0; j < LANES; j++)
        total += sum[j];
    return total / (float)n;
}

void lm_row_norm(float *out, const float *x, const float *weight, size_t n, float eps) {
    const float factor = 1 / sqrtf(mean_square(x, n) + eps);
    for (size_t i = 0; i < n; i++)
        out[i] = x[i] * factor * weight[i];
}

void lm_row_angles(float *angles, uint64_t position, const double *frequency, size_t dim) {
    for (size_t i = 0; i < dim / 2; i++) {
        const double angle = (double)position * frequency[i];
        angles[i] = (float)cos(angle);
        angles[dim / 2 + i] = (float)sin(angle);
    }
}

void lm_row_rope(float *x, size_t n_heads, size_t dim, const float *angles) {
    const size_t half = dim / 2;
    const float *cosine = angles, *sine = angles + half;
    for (size_t h = 0; h < n_heads; h++) {
        float *a = x + h * dim, *b = a + half;
        for (size_t i = 0; i < half; i++) {
            const float before = a[i];
            a[i] = before * cosine[i] - b[i] * sine[i];
            b[i] = b[i] * cosine[i] + before * sine[i];
        }
    }
}

void lm_row_silu(float *gate, const float *up, size_t n) {
    for (size_t i = 0; i < n; i++)
        gate[i] = gate[i] / (1 + expf(-gate[i])) * up[i];
}

void lm_row_gelu_tanh(float *gate, const float *up, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const float x = gate[i], inner = 0.7978845608028654f * (x + 0.044715f * x * x * x);
        gate[i] = 0.5f * x * (1 + tanhf(inner)) * up[i];
    }
}

void lm_row_add(float *x, const float *y, size_t n) {
    for (size_t i = 0; i < n; i++)
        x[i] += y[i];
}

/* SPDX-License-Identifier: MIT
 * v1 from its definition alone. */
#include "model.h"

#include <math.h>

#include "support/cm.h"
#include "tables.inc"

const float *model_centroids(unsigned bits) {
    switch (bits) {
    case 4:
        return centroids4;
    case 5:
        return centroids5;
    case 6:
        return centroids6;
    default:
        assert_int_equal(bits, 8);
        return centroids8;
    }
}

const float *model_boundaries(unsigned bits) {
    switch (bits) {
    case 4:
        return boundaries4;
    case 5:
        return boundaries5;
    case 6:
        return boundaries6;
    default:
        assert_int_equal(bits, 8);
        return boundaries8;
    }
}

double model_sign(uint32_t head_dim, uint32_t j) {
    const uint8_t *signs = head_dim == 256 ? signs256 : signs512;
    return (signs[j >> 3] >> (j & 7)) & 1 ? -1.0 : 1.0;
}

double model_entry(uint32_t i, uint32_t j) {
    unsigned ones = 0;
    for (uint32_t both = i & j; both != 0; both &= both - 1)
        ones++;
    return ones & 1 ? -1.0 : 1.0;
}

void model_rotate_in(uint32_t head_dim, const float *x, double *y) {
    for (uint32_t i = 0; i < head_dim; i++) {
        double sum = 0;
        for (uint32_t j = 0; j < head_dim; j++)
            sum += model_entry(i, j) * model_sign(head_dim, j) * (double)x[j];
        y[i] = sum / sqrt((double)head_dim);
    }
}

void model_rotate_out(uint32_t head_dim, const float *y, double *x) {
    for (uint32_t i = 0; i < head_dim; i++) {
        double sum = 0;
        for (uint32_t j = 0; j < head_dim; j++)
            sum += model_entry(i, j) * (double)y[j];
        x[i] = model_sign(head_dim, i) * sum / sqrt((double)head_dim);
    }
}

void model_encode(uint32_t head_dim, float scale_factor, const float *x, model_row *out) {
    uint32_t n_norms = head_dim / 256;
    model_rotate_in(head_dim, x, out->value);
    for (uint32_t b = 0; b < n_norms; b++) {
        double sum = 0, *y = out->value + 256 * (size_t)b;
        for (uint32_t j = 0; j < 256; j++)
            sum += y[j] * y[j];
        double norm = n_norms == 1 ? sqrt(sum) : sqrt(sum / 256);
        double to_unit = n_norms == 1 ? 16.0 : (double)scale_factor;
        out->norm[b] = norm;
        for (uint32_t j = 0; j < 256; j++)
            y[j] = norm <= 1e-10 ? 0 : y[j] / norm * to_unit;
    }
}

unsigned model_code(unsigned bits, double value) {
    const float *boundary = model_boundaries(bits);
    unsigned code = 0;
    for (unsigned i = 0; i + 1 < 1U << bits; i++)
        code += value > (double)boundary[i];
    return code;
}

bool model_near_boundary(unsigned bits, double value, double tolerance) {
    const float *boundary = model_boundaries(bits);
    for (unsigned i = 0; i + 1 < 1U << bits; i++)
        if (fabs(value - (double)boundary[i]) <= tolerance) return true;
    return false;
}

size_t model_row_bytes(unsigned bits, uint32_t head_dim) {
    return bits == 4 ? head_dim / 2 : head_dim;
}

unsigned model_stored_code(unsigned bits, const uint8_t *row, uint32_t coord) {
    if (bits != 4) return row[coord] & ((1U << bits) - 1);
    return coord % 2 == 0 ? row[coord / 2] & 15U : row[coord / 2] >> 4;
}

float model_decode(unsigned bits, uint32_t head_dim, float scale_factor, const uint8_t *row,
                   const float *norms, uint32_t coord) {
    float norm = head_dim == 256 ? norms[0] : norms[coord / 256];
    float scale = head_dim == 256 ? norm * 0.0625f : norm / scale_factor;
    return model_centroids(bits)[model_stored_code(bits, row, coord)] * scale;
}

/* SPDX-License-Identifier: MIT
 * The rotation, stage by stage, as docs/format.md defines it. */
#include <string.h>

#include "kernels/kernels.h"

/* Each value times `scale`, with the coordinate's sign. */
static void scale_signed(const tq_rotation *r, float scale, const float *src, float *dst) {
    for (unsigned j = 0; j < r->dim; j++)
        dst[j] = src[j] * ((r->signs[j >> 3] >> (j & 7)) & 1 ? -scale : scale);
}

/* Neighbours, with a tilt: (a + t b, t a - b). t = 1 is the Hadamard butterfly. */
static void tilted_stage(const tq_rotation *r, float *x) {
    for (unsigned j = 0; j < r->dim; j += 2) {
        const float a = x[j], b = x[j + 1];
        x[j] = a + r->tilt * b;
        x[j + 1] = r->tilt * a - b;
    }
}

static void hadamard_stage(const tq_rotation *r, unsigned h, float *x) {
    for (unsigned base = 0; base < r->dim; base += 2 * h)
        for (unsigned j = base; j < base + h; j++) {
            const float a = x[j], b = x[j + h];
            x[j] = a + b;
            x[j + h] = a - b;
        }
}

/* p values, h apart: y_r = x_0 + sum over s of cas[r s mod p] x_s, s ascending. */
static void hartley_butterfly(const tq_odd_factor *f, unsigned h, float *x) {
    float in[TQ_MAX_DIM / TQ_LANES];
    for (unsigned s = 0; s < f->p; s++)
        in[s] = x[s * h];
    for (unsigned r = 0; r < f->p; r++) {
        float sum = in[0];
        for (unsigned s = 1; s < f->p; s++)
            sum += f->cas[r * s % f->p] * in[s];
        x[r * h] = sum;
    }
}

static void hartley_stage(const tq_rotation *r, const tq_odd_factor *f, unsigned h, float *x) {
    for (unsigned base = 0; base < r->dim; base += f->p * h)
        for (unsigned j = base; j < base + h; j++)
            hartley_butterfly(f, h, x + j);
}

static void rotate_row(const tq_rotation *r, tq_direction direction, const float *src, float *dst) {
    if (direction == TQ_ROTATE_IN)
        scale_signed(r, r->scale_last ? 1.0f : r->scale, src, dst);
    else if (dst != src)
        memcpy(dst, src, r->dim * sizeof *dst);
    tilted_stage(r, dst);
    unsigned h = 2;
    for (; h < r->pow2; h *= 2)
        hadamard_stage(r, h, dst);
    for (unsigned i = 0; i < r->n_odd; h *= r->odd[i++].p)
        hartley_stage(r, &r->odd[i], h, dst);
    if (direction == TQ_ROTATE_OUT) {
        scale_signed(r, r->scale, dst, dst);
        return;
    }
    for (unsigned j = 0; j < r->dim && r->scale_last; j++)
        dst[j] *= r->scale;
}

void tq_rotate_scalar(const tq_rotation *r, tq_direction direction, size_t rows, const float *src,
                      size_t src_stride, float *dst, size_t dst_stride) {
    for (size_t t = 0; t < rows; t++)
        rotate_row(r, direction, src + t * src_stride, dst + t * dst_stride);
}

/* SPDX-License-Identifier: MIT
 * Norms where they lie, at any address: a float16 of v2, one or two float32 of v1. */
#include <math.h>
#include <string.h>

#include "codec/rows.h"

static void load_floats(const tq_plan *plan, size_t n, const uint8_t *norms, size_t stride, float *out) {
    for (size_t i = 0; i < n; i++) {
        float norm;
        memcpy(&norm, norms + i * stride, sizeof norm);
        /* With two norms `unit` is v1's scale factor, and the reference divides by it. */
        out[i] = plan->n_norms == 2 ? norm / plan->unit : norm * plan->norm_scale;
    }
}

static void load_halves(const tq_kernels *kernels, size_t n, const uint8_t *norms, size_t stride,
                        float *out) {
    uint16_t halves[TQ_LANES] = {0};
    size_t done = stride == sizeof *halves ? n / TQ_LANES * TQ_LANES : 0; /* side by side */
    kernels->f16_to_f32(done, (const uint16_t *)(const void *)norms, out);
    for (; done < n; done += TQ_LANES) {
        for (size_t i = 0; i < TQ_LANES && done + i < n; i++)
            memcpy(&halves[i], norms + (done + i) * stride, sizeof *halves);
        kernels->f16_to_f32(TQ_LANES, halves, out + done);
    }
}

void tq_load_scales(const tq_kernels *kernels, const tq_plan *plan, size_t n, const uint8_t *norms,
                    size_t stride, size_t block, float *out) {
    if (plan->v1) {
        load_floats(plan, n, norms + block * sizeof *out, stride, out);
        return;
    }
    load_halves(kernels, n, norms, stride, out);
    kernels->scale((n + TQ_LANES - 1) / TQ_LANES * TQ_LANES, plan->norm_scale, out);
}

float tq_longest_vector(const tq_plan *plan, bool centred) {
    const float least = plan->book->levels[0],
                most = plan->book->levels[(1u << (plan->book->bits - 1)) - 1];
    const float dim = (float)plan->dim, room = 64000.0f / (centred ? 2.0f : 1.0f); /* and some rounding */
    switch (plan->norm_rule) {
    case TQ_NORM_MATCHED:
        return room * sqrtf((most * most + (dim - 1.0f) * least * least) / dim);
    case TQ_NORM_UNBIASED:
        return room * most / sqrtf(dim);
    default:
        return room;
    }
}

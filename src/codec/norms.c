/* SPDX-License-Identifier: MIT
 * Norms where they lie, at any address: a float16 of v2, one or two float32 of v1. */
#include <math.h>
#include <string.h>

#include "codec/rows.h"

void tq_load_norms(const tq_kernels *kernels, const tq_plan *plan, size_t n, const uint8_t *norms,
                   size_t stride, size_t block, float *out) {
    if (plan->v1) {
        for (size_t i = 0; i < n; i++)
            memcpy(&out[i], norms + i * stride + block * sizeof *out, sizeof *out);
        return;
    }
    uint16_t halves[TQ_LANES] = {0};
    size_t done = stride == sizeof *halves ? n / TQ_LANES * TQ_LANES : 0; /* side by side */
    kernels->f16_to_f32(done, (const uint16_t *)(const void *)norms, out);
    for (; done < n; done += TQ_LANES) {
        for (size_t i = 0; i < TQ_LANES && done + i < n; i++)
            memcpy(&halves[i], norms + (done + i) * stride, sizeof *halves);
        kernels->f16_to_f32(TQ_LANES, halves, out + done);
    }
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

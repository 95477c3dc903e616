/* SPDX-License-Identifier: MIT
 * A caller's vectors, of any type and stride. */
#include "cache/cache.h"

const void *tq_source_at(const tq_source *s, size_t position, size_t head) {
    const size_t at = position * s->position_stride + head * s->head_stride;
    return (const uint8_t *)s->data + at * tq_type_size(s->type);
}

const float *tq_source_floats(const tq_source *s, const tq_kernels *kernels, size_t position, size_t head,
                              float *buffer) {
    const void *row = tq_source_at(s, position, head);
    if (s->type == TQ_F32) return row;
    tq_widen(kernels, s->type, s->dim, row, buffer);
    return buffer;
}

/* What lies side by side and needs no widening is looked at together. */
bool tq_source_find_bad(const tq_source *s, const tq_kernels *kernels, size_t n, size_t heads,
                        float limit, tq_bad_value *bad) {
    size_t length = s->dim;
    float buffer[TQ_MAX_DIM];
    if (s->type == TQ_F32 && s->head_stride == length) {
        length *= heads;
        heads = 1;
    }
    if (heads == 1 && s->type == TQ_F32 && s->position_stride == length) {
        length *= n;
        n = 1;
    }
    for (size_t p = 0; p < n; p++)
        for (size_t h = 0; h < heads; h++) {
            const float *x = tq_source_floats(s, kernels, p, h, buffer);
            const size_t i = kernels->scan(length, x, limit);
            if (i == length) continue;
            *bad = (tq_bad_value){p * s->position_stride + h * s->head_stride + i, x[i]};
            return true;
        }
    return false;
}

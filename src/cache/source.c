/* SPDX-License-Identifier: MIT
 * A caller's vectors, of any type and stride. */
#include <math.h>

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

/* So many rows at a time: they are still in the nearest cache when their lengths are taken. */
enum { FEW_ROWS = 16 };

bool tq_find_bad_row(const tq_kernels *kernels, size_t dim, size_t rows, const float *x,
                     tq_vector_limit limit, tq_bad_value *bad) {
    float squares[FEW_ROWS];
    for (size_t first = 0; first < rows; first += FEW_ROWS, x += FEW_ROWS * dim) {
        const size_t n = rows - first < FEW_ROWS ? rows - first : FEW_ROWS;
        const size_t at = kernels->scan(n * dim, x, limit.value), good = at / dim;
        size_t row = good;
        if (limit.length > 0.0f) {
            kernels->sum_squares(dim, good, x, squares);
            row = kernels->scan(good, squares, limit.length * limit.length);
        }
        if (row < good) {
            *bad = (tq_bad_value){(first + row) * dim, sqrtf(squares[row]), true};
            return true;
        }
        if (good < n) {
            *bad = (tq_bad_value){first * dim + at, x[at], false};
            return true;
        }
    }
    return false;
}

/* What lies side by side and needs no widening is looked at together. */
bool tq_source_find_bad(const tq_source *s, const tq_kernels *kernels, size_t n, size_t heads,
                        tq_vector_limit limit, tq_bad_value *bad) {
    size_t rows = 1;
    float buffer[TQ_MAX_DIM];
    if (s->type == TQ_F32 && s->head_stride == s->dim) {
        rows = heads;
        heads = 1;
    }
    if (heads == 1 && s->type == TQ_F32 && s->position_stride == rows * s->dim) {
        rows *= n;
        n = 1;
    }
    for (size_t p = 0; p < n; p++)
        for (size_t h = 0; h < heads; h++) {
            const float *x = tq_source_floats(s, kernels, p, h, buffer);
            if (!tq_find_bad_row(kernels, s->dim, rows, x, limit, bad)) continue;
            bad->index += p * s->position_stride + h * s->head_stride;
            return true;
        }
    return false;
}

/* SPDX-License-Identifier: MIT
 * Little-endian bytes, checked sizes and memory. */
#include "bytes.h"

#include <stdlib.h>

_Static_assert(sizeof(float) == 4, "float must be IEEE binary32");

void tqio_floats_from_bytes(float *out, const uint8_t *bytes, size_t n) {
    for (size_t i = 0; i < n; i++)
        out[i] = tqio_float(tqio_le32(bytes + 4 * i));
}

void tqio_floats_to_bytes(uint8_t *out, const float *floats, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &floats[i], sizeof bits);
        for (size_t b = 0; b < 4; b++)
            out[4 * i + b] = (uint8_t)(bits >> 8 * b);
    }
}

bool tqio_shape_values(const size_t *shape, size_t n_dims, size_t item_size, size_t *n_values) {
    size_t limit = (size_t)PTRDIFF_MAX / item_size;
    size_t product = 1;
    bool empty = false;
    for (size_t i = 0; i < n_dims; i++) {
        if (shape[i] == 0) {
            empty = true;
            continue;
        }
        if (product > limit / shape[i]) return false;
        product *= shape[i];
    }
    *n_values = empty ? 0 : product;
    return true;
}

void *tqio_alloc(size_t bytes) {
    const size_t line = 64;
    if (bytes > (size_t)PTRDIFF_MAX - line) return NULL;
    return aligned_alloc(line, bytes == 0 ? line : (bytes + line - 1) / line * line);
}
